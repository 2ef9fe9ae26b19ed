"""R1 and the gradient penalty against central differences of the discriminator, pixel by pixel."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from pipelines.params import Params
from stylegan.loss import gradient_penalty, r1_penalty
from stylegan.networks import Discriminator

STEP = 1e-5  # in fp64 the difference quotient is then good to about 1e-9


@pytest.mark.parametrize("c_dim", [0, 3])
def test_penalties_are_those_of_the_norm_of_difference_quotients(
    c_dim: int, tiny_params: Params, as_double: Callable[[nn.Module], nn.Module]
) -> None:
    torch.manual_seed(0)
    D = as_double(Discriminator(tiny_params.discriminator, img_resolution=8, img_channels=1, c_dim=c_dim))
    D.requires_grad_(False)
    img, c = (
        torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True),
        torch.randn(2, c_dim, dtype=torch.float64),
    )
    r1, gp = r1_penalty(D(img, c), img), gradient_penalty(D(img, c), img)

    expected = torch.zeros(2, dtype=torch.float64)
    pixels = img.detach().clone()
    for n in range(2):
        for pixel in range(64):
            value = pixels.view(2, 64)[n, pixel].item()
            ends = []
            for end in (value + STEP, value - STEP):
                pixels.view(2, 64)[n, pixel] = end
                ends.append(D(pixels, c).sum())  # of all logits: the images of a group see each other
            pixels.view(2, 64)[n, pixel] = value
            expected[n] += ((ends[0] - ends[1]) / (2 * STEP)) ** 2
    torch.testing.assert_close(r1, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(gp, (expected.sqrt() - 1).square(), rtol=1e-6, atol=0)
