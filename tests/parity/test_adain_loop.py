"""AdaIN against one map at a time, and a style block against its figure (Karras et al. 2019, Eq. 1; 2020, Fig. 2b)."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pipelines.params import Params
from stylegan.networks.adain import AdaInLayer, adain
from stylegan.ops import setup_filter, upsample2d


def adain_of_one_map(x: np.ndarray, scale: float, shift: float) -> np.ndarray:  # type: ignore[type-arg]
    return scale * (x - x.mean()) / np.sqrt(x.var() + 1e-5) + shift


def test_adain_equals_a_loop_over_maps() -> None:
    x, styles = torch.randn(3, 4, 5, 6, dtype=torch.float64), torch.randn(3, 8, dtype=torch.float64)
    expected = torch.empty_like(x)
    for n in range(3):
        for o in range(4):
            one = adain_of_one_map(x[n, o].numpy(), styles[n, o].item(), styles[n, 4 + o].item())
            expected[n, o] = torch.from_numpy(one)
    torch.testing.assert_close(adain(x, styles), expected, rtol=1e-12, atol=1e-12)  # float64


@pytest.mark.parametrize("up", [1, 2])
def test_a_style_block_is_convolution_noise_bias_leaky_relu_and_adain(
    up: int, make_params: Callable[..., Params]
) -> None:
    config = make_params("generator.style_block=adain", "generator.w_dim=5").generator
    layer = AdaInLayer(config, 3, 4, (8, 8), up=up).requires_grad_(False)
    for param in layer.parameters():
        param.normal_()
    x, w = torch.randn(2, 3, 8 // up, 8 // up), torch.randn(2, 5)

    weight = layer.weight / np.sqrt(3 * 3 * 3)
    if up == 1:
        y = torch.nn.functional.conv2d(x, weight, padding=1)
    else:  # a convolution of the upsampled picture, with the kernel turned as the published weights expect
        y = torch.nn.functional.conv2d(upsample2d(x, setup_filter([1.0, 3.0, 3.0, 1.0])), weight.flip(2, 3), padding=1)
    y = y + layer.noise_const * layer.noise_strength[:, None, None] + layer.bias[:, None, None]
    y = torch.nn.functional.leaky_relu(y, 0.2) * np.sqrt(2)
    styles = w @ layer.affine.weight.t() / np.sqrt(5) + layer.affine.bias
    inner = (..., slice(2, -2), slice(2, -2)) if up == 2 else ...  # the border of zeros is filtered before or after
    got = layer(x, layer.affine(w), "const")
    expected = adain(y, styles)
    if up == 2:  # so that the border does not count in the statistics either
        got, expected = (adain(z[inner], torch.cat([torch.ones(2, 4), torch.zeros(2, 4)], 1)) for z in (got, expected))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)  # fp32
