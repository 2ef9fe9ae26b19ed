"""stylegan.ops.upfirdn2d: filters, sizes, and what up- and downsampling leave as it is."""

import pytest
import torch

from stylegan.augment.warp import SYM6
from stylegan.ops import downsample2d, setup_filter, upfirdn2d, upsample2d

FILTER = setup_filter([1.0, 3.0, 3.0, 1.0])


def test_short_filter_becomes_an_outer_product_of_sum_1() -> None:
    assert torch.equal(FILTER * 64, torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])))
    assert FILTER.dtype == torch.float32


def test_filter_of_eight_taps_or_more_stays_separable() -> None:
    assert setup_filter([1.0] * 8).shape == (8,)
    assert setup_filter([1.0] * 7).shape == (7, 7)
    assert setup_filter([1.0] * 8).sum() == 1


def test_filter_of_two_dimensions_is_only_normalised() -> None:
    assert torch.equal(setup_filter(torch.ones(2, 4)), torch.full((2, 4), 1 / 8))


@pytest.mark.parametrize("shape", [(0,), (2, 2, 2), ()])
def test_filter_without_taps_or_of_three_dimensions_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="filter") as caught:
        setup_filter(torch.ones(shape))
    assert str(caught.value) == (
        f"filter has shape {list(shape)}; expected 1 or 2 dimensions with at least one tap each"
    )


def test_filter_of_three_dimensions_cannot_be_applied() -> None:
    with pytest.raises(ValueError, match="filter") as caught:
        upfirdn2d(torch.ones(1, 1, 4, 4), torch.ones(1, 2, 2))
    assert str(caught.value) == "filter has shape [1, 2, 2]; expected [f] or [fh, fw], see setup_filter"


def test_separable_filter_equals_its_outer_product() -> None:
    x, taps = torch.randn(2, 3, 9, 8), torch.arange(1.0, 10.0)
    actual, expected = (
        upfirdn2d(x, f, up=(2, 1), down=(1, 3), padding=(5, 4, 3, 6), gain=2.0, flip_filter=True)
        for f in (taps, torch.outer(taps, taps))
    )
    assert actual.shape == expected.shape == (2, 3, 4, 17)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-3)  # fp32 sums of 81 terms up to 81


def test_one_number_stands_for_both_axes_and_sides() -> None:
    x = torch.randn(1, 2, 6, 6)
    expected = upfirdn2d(x, FILTER, up=(2, 2), down=(3, 3), padding=(2, 2, 2, 2))
    assert torch.equal(upfirdn2d(x, FILTER, up=2, down=3, padding=2), expected)
    assert torch.equal(upfirdn2d(x, FILTER, up=2, down=3, padding=(2, 2)), expected)


def test_unit_filter_does_nothing_but_gain() -> None:
    x = torch.randn(1, 2, 5, 5)
    assert torch.equal(upfirdn2d(x, torch.ones(1, 1), gain=2), x * 2)


@pytest.mark.parametrize("taps", [(1.0, 3.0, 3.0, 1.0), (1.0, 1.0), SYM6])
def test_resampling_keeps_flat_colour_away_from_the_border(taps: tuple[float, ...]) -> None:
    f, flat = setup_filter(taps), torch.full((1, 1, 32, 32), 0.7)
    for resampled, size in ((downsample2d(flat, f), 16), (upsample2d(flat, f), 64)):
        assert resampled.shape == (1, 1, size, size)
        inner = resampled[..., 6:-6, 6:-6]
        torch.testing.assert_close(inner, torch.full_like(inner, 0.7))


def test_up_then_down_keeps_the_centre_of_mass() -> None:
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    there_and_back = downsample2d(upsample2d(ramp, FILTER), FILTER)
    torch.testing.assert_close(there_and_back[..., 4:-4, 4:-4], ramp[..., 4:-4, 4:-4])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layout_in_memory_changes_nothing(layout: torch.memory_format) -> None:
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(upsample2d(x.contiguous(memory_format=layout), FILTER), upsample2d(x, FILTER))
