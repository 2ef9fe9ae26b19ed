"""Path lengths against an explicit Jacobian of the synthesis network, column by column."""

from collections.abc import Callable

import torch
from torch import nn

from pipelines.params import Params
from stylegan.loss import path_length_penalty
from stylegan.networks import Generator

STEP = 1e-5  # in fp64 the difference quotient is then good to about 1e-9


def test_length_is_the_norm_of_the_transposed_jacobian_times_noise(
    tiny_params: Params, as_double: Callable[[nn.Module], Generator]
) -> None:
    torch.manual_seed(0)
    G = as_double(Generator(tiny_params.generator, img_resolution=8, img_channels=3, c_dim=0)).requires_grad_(False)
    ws = torch.randn(2, G.num_ws, G.w_dim, dtype=torch.float64, requires_grad=True)
    img = G.synthesis(ws, noise_mode="const")
    noise = torch.randn_like(img) / 8  # 1 / sqrt(H W)
    mean = torch.tensor(0.3, dtype=torch.float64)
    penalty, new_mean = path_length_penalty(img, ws, mean, 0.01, noise)

    pulled_back = torch.zeros_like(ws)  # J^T y
    for layer in range(G.num_ws):
        for j in range(G.w_dim):
            step = torch.zeros_like(ws)
            step[:, layer, j] = STEP
            column = (G.synthesis(ws + step, "const") - G.synthesis(ws - step, "const")) / (2 * STEP)
            pulled_back[:, layer, j] = (column * noise).sum(dim=(1, 2, 3))
    lengths = pulled_back.square().sum(dim=2).mean(dim=1).sqrt()
    expected_mean = 0.99 * mean + 0.01 * lengths.mean()
    torch.testing.assert_close(new_mean, expected_mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(penalty, (lengths - expected_mean) ** 2, rtol=1e-6, atol=0)
