"""LPIPS against a plain re-computation of its definition, in fp64 and one pair of positions at a time."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.metrics.extractors.lpips import Lpips

WIDTHS = (3, 4, 4, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8)  # channels before and after each of the 13 convolutions
STAGE_ENDS = (1, 3, 6, 9, 12)


def random_weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for i in range(13):
        weights[f"conv{i}.weight"] = torch.randn(WIDTHS[i + 1], WIDTHS[i], 3, 3, generator=generator) / 4
        weights[f"conv{i}.bias"] = torch.randn(WIDTHS[i + 1], generator=generator) / 4
    for i, end in enumerate(STAGE_ENDS):
        weights[f"lin{i}.weight"] = torch.rand(WIDTHS[end + 1], generator=generator)
    return weights


def plain_lpips(weights: dict[str, Tensor], img0: Tensor, img1: Tensor) -> float:
    """Zhang et al. 2018, Eq. 1: mean over positions of the head-weighted squared difference of unit vectors"""

    def maps(img: Tensor) -> list[Tensor]:
        shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64).reshape(3, 1, 1)
        scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64).reshape(3, 1, 1)
        x, found = (img.double() - shift) / scale, []
        for i in range(13):
            kernel, bias = weights[f"conv{i}.weight"].double(), weights[f"conv{i}.bias"].double()
            x = F.conv2d(x[None], kernel, bias, padding=1)[0].clamp(min=0)
            if i in STAGE_ENDS:
                found.append(x)
            if i in STAGE_ENDS[:-1]:
                h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
                x = x[:, :h, :w].unfold(1, 2, 2).unfold(2, 2, 2).amax(dim=(3, 4))
        return found

    total = 0.0
    for i, (a, b) in enumerate(zip(maps(img0), maps(img1), strict=True)):
        positions = []
        for row in range(a.shape[1]):
            for column in range(a.shape[2]):
                u, v = a[:, row, column], b[:, row, column]
                difference = u / (u.norm() + 1e-10) - v / (v.norm() + 1e-10)
                positions.append(float((weights[f"lin{i}.weight"].double() * difference**2).sum()))
        total += sum(positions) / len(positions)
    return total


@pytest.mark.parametrize("size", [(16, 16), (19, 22)])
def test_distance_is_the_plain_recomputation(size: tuple[int, int]) -> None:
    weights = random_weights()
    generator = torch.Generator().manual_seed(1)
    img0, img1 = torch.rand(2, 2, 3, *size, generator=generator) * 2 - 1
    distances = Lpips(weights, "test")(img0, img1)
    for i in range(2):
        # fp32 against fp64 over 13 convolutions of up to 72 terms
        assert float(distances[i]) == pytest.approx(plain_lpips(weights, img0[i], img1[i]), rel=1e-4)
