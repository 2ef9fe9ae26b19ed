"""stylegan.config.pyramid: which sizes can be made, and what is said about the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylegan.config.pyramid import MAX_BASE, MIN_BASE, Pyramid, pyramid

SIDES = st.integers(1, 2048)


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [
        (8, Pyramid(4, 4, 1)),
        (32, Pyramid(4, 4, 3)),
        (1024, Pyramid(4, 4, 8)),
        (28, Pyramid(7, 7, 2)),
        (36, Pyramid(9, 9, 2)),
        ((48, 80), Pyramid(6, 10, 3)),
        ([80, 48], Pyramid(10, 6, 3)),
        ((64, 256), Pyramid(4, 16, 4)),
    ],
)
def test_sides_are_halved_while_both_can_be(resolution: int | tuple[int, int], expected: Pyramid) -> None:
    assert pyramid(resolution) == expected


def test_squares_of_powers_of_two_have_the_official_blocks_and_styles() -> None:
    for n in range(1, 9):
        levels = pyramid(4 * 2**n)
        assert levels.nominal == [levels.longer_side(level) for level in range(n + 1)]
        assert levels.num_ws == 2 * (n + 2) - 2


@given(st.integers(MIN_BASE, MAX_BASE), st.integers(MIN_BASE, MAX_BASE), st.integers(1, 8))
def test_every_small_base_doubled_can_be_made(height: int, width: int, n: int) -> None:
    levels = pyramid((height * 2**n, width * 2**n))
    assert levels.size(levels.num_doublings) == (height * 2**n, width * 2**n)
    assert levels.num_doublings >= n


@given(SIDES, SIDES)
def test_every_size_named_as_a_remedy_can_be_made(height: int, width: int) -> None:
    try:
        pyramid((height, width))
    except ValueError as error:
        remedy = str(error).split("Set prepare.resolution to ")[1].rstrip(".")
        named = [[int(side) for side in size.strip("[]").split(", ")] for size in remedy.split(" or ")]
        assert all(pyramid(size if len(size) == 2 else size[0]).num_doublings >= 1 for size in named)
        if height == width:
            assert all(len(size) == 1 for size in named)


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [
        (4, "comes to 4 x 4. Set prepare.resolution to 8."),
        (200, "comes to 25 x 25. Set prepare.resolution to 192 or 208."),
        ((1080, 1920), "comes to 135 x 240. Set prepare.resolution to [1024, 1920] or [1152, 1920]."),
        ((64, 512), "comes to 4 x 32. Set prepare.resolution to [64, 256] or [128, 512]."),
    ],
)
def test_the_remedy_is_near(resolution: int | tuple[int, int], expected: str) -> None:
    with pytest.raises(ValueError, match="resolution is ") as caught:
        pyramid(resolution)
    assert str(caught.value).endswith(expected)
