"""stylegan.ops.conv2d_resample: joined operations equal the separate ones, in the published order."""

import pytest
import torch
import torch.nn.functional as F

from stylegan.ops import conv2d_resample, downsample2d, setup_filter, upsample2d

FILTER = setup_filter([1.0, 3.0, 3.0, 1.0])
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
BIAS = torch.tensor([1.0, -2.0])


def kernel(k: int) -> torch.Tensor:
    return torch.randn(2, 3, k, k, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("k", [1, 3])
def test_plain_layer_is_a_same_correlation(k: int) -> None:
    expected = F.conv2d(X, kernel(k), BIAS, padding=k // 2)
    assert torch.equal(conv2d_resample(X, kernel(k), None, bias=BIAS), expected)


def test_1x1_layers_convolve_at_the_lower_resolution() -> None:
    up = upsample2d(F.conv2d(X, kernel(1)), FILTER) + BIAS[:, None, None]
    down = F.conv2d(downsample2d(X, FILTER), kernel(1), BIAS)
    assert torch.equal(conv2d_resample(X, kernel(1), FILTER, up=2, bias=BIAS), up)
    assert torch.equal(conv2d_resample(X, kernel(1), FILTER, down=2, bias=BIAS), down)


def test_3x3_upsampling_layer_convolves() -> None:
    # Away from the border, filtering first and a flipped kernel second is the same product in the other order.
    expected = F.conv2d(upsample2d(X, FILTER), kernel(3).flip(2, 3), BIAS, padding=1)
    actual = conv2d_resample(X, kernel(3), FILTER, up=2, bias=BIAS)
    assert actual.shape == (2, 2, 16, 16)
    torch.testing.assert_close(actual[..., 3:-3, 3:-3], expected[..., 3:-3, 3:-3], rtol=1e-5, atol=1e-5)


def test_3x3_downsampling_layer_filters_then_correlates_at_every_second_pixel() -> None:
    filtered = F.conv2d(F.pad(X, [2, 2, 2, 2]), FILTER.expand(3, 1, 4, 4), groups=3)
    expected = F.conv2d(filtered, kernel(3), BIAS, stride=2)
    actual = conv2d_resample(X, kernel(3), FILTER, down=2, bias=BIAS)
    assert actual.shape == (2, 2, 4, 4)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)  # fp32 sums in another order
