"""stylegan.augment.transforms: matrices of the augmentation and the draws behind them."""

import math

import pytest
import torch
from torch import Tensor

from stylegan.augment import transforms as T
from stylegan.augment.pipe import STRENGTHS

RED = torch.tensor([1.0, 0.0, 0.0, 1.0])


def numbers(**strengths: float | tuple[float, ...]) -> dict[str, list[Tensor]]:
    """Of one image, by transform"""
    return {
        name: [torch.tensor([number]) for number in (value if isinstance(value, tuple) else (value,))]
        for name, value in strengths.items()
    }


def moved(x: float, y: float, **strengths: float | tuple[float, ...]) -> Tensor:
    """Where the geometry of images 200 pixels high and 100 wide takes a point"""
    return (T.geometry(numbers(**strengths), 1, 200, 100) @ torch.tensor([x, y, 1.0]))[0, :2]


def recolored(**strengths: float) -> Tensor:
    return (T.color(numbers(**strengths), 1) @ RED)[0]


@pytest.mark.parametrize(
    ("strengths", "expected"),
    [
        ({}, (2.0, 1.0)),
        ({"xflip": 1.0}, (-2.0, 1.0)),
        ({"rotate90": 1.0}, (-2.0, -1.0)),  # half a turn, because the image is not square
        ({"xint": (0.1, 0.011)}, (-8.0, -1.0)),  # by -10 and -2.2, rounded
        ({"scale": 2.0}, (1.0, 0.5)),
        ({"rotate": (math.pi / 2,)}, (-1.0, 2.0)),
        ({"rotate": (math.pi / 2, math.pi / 2)}, (-2.0, -1.0)),
        ({"aniso": 2.0}, (1.0, 2.0)),
        ({"xfrac": (0.1, 0.011)}, (-8.0, -1.2)),
        # The last to be applied to an image is the first on the way back.
        ({"xfrac": (0.1, 0.0), "scale": 2.0, "xflip": 1.0}, (4.0, 0.5)),
        ({"rotate": (math.pi / 2, 0.0), "aniso": 2.0}, (-2.0, 1.0)),
        ({"rotate": (0.0, math.pi / 2), "aniso": 2.0}, (-0.5, 4.0)),
    ],
)
def test_geometry_is_the_way_back_from_output_to_input(
    strengths: dict[str, float], expected: tuple[float, float]
) -> None:
    torch.testing.assert_close(moved(2.0, 1.0, **strengths), torch.tensor(expected))


def test_square_images_turn_by_quarters() -> None:
    turn = T.geometry(numbers(rotate90=1.0), 1, 8, 8) @ torch.tensor([2.0, 1.0, 1.0])
    torch.testing.assert_close(turn, torch.tensor([[-1.0, 2.0, 1.0]]))


def test_matrices_are_one_per_image() -> None:
    factor = {"scale": [torch.tensor([1.0, 2.0])], "contrast": [torch.tensor([1.0, 2.0])]}
    assert torch.equal(T.geometry(factor, 2, 8, 8)[:, 0, 0], torch.tensor([1.0, 0.5]))
    assert torch.equal(T.color(factor, 2)[:, 0, 0], torch.tensor([1.0, 2.0]))
    assert torch.equal(T.geometry({}, 2, 8, 8), torch.eye(3).repeat(2, 1, 1))
    assert torch.equal(T.color({}, 2), torch.eye(4).repeat(2, 1, 1))


def test_brightness_adds_and_contrast_multiplies() -> None:
    torch.testing.assert_close(recolored(brightness=0.5), torch.tensor([1.5, 0.5, 0.5, 1.0]))
    torch.testing.assert_close(recolored(contrast=2.0), torch.tensor([2.0, 0.0, 0.0, 1.0]))
    torch.testing.assert_close(recolored(contrast=2.0, brightness=0.5), torch.tensor([3.0, 1.0, 1.0, 1.0]))


def test_luma_flip_negates_grey_and_keeps_the_colour_differences() -> None:
    flip = T.color(numbers(lumaflip=1.0), 1)
    grey = torch.tensor([0.4, 0.4, 0.4, 1.0])
    torch.testing.assert_close(flip @ grey, torch.tensor([[-0.4, -0.4, -0.4, 1.0]]))
    out = (flip @ RED)[0]
    torch.testing.assert_close(out[0] - out[1], torch.tensor(1.0))
    torch.testing.assert_close((flip @ flip)[0], torch.eye(4), rtol=0, atol=1e-6)
    assert torch.equal(T.color(numbers(lumaflip=0.0), 1)[0], torch.eye(4))


def test_hue_rotation_by_a_third_turn_permutes_the_channels() -> None:
    rotated = recolored(hue=2 * math.pi / 3)
    torch.testing.assert_close(rotated, torch.tensor([0.0, 1.0, 0.0, 1.0]), rtol=0, atol=1e-6)


def test_saturation_scales_the_distance_from_grey() -> None:
    torch.testing.assert_close(recolored(saturation=0.0)[:3], torch.full((3,), 1 / 3))
    torch.testing.assert_close(recolored(saturation=1.0), RED, rtol=0, atol=1e-6)


def draw(kind: str, n: int, *, probability: float = 1.0, scale: float = 1.0, width: int = 1) -> list[Tensor]:
    strength = T.Strength("it", kind, scale, width)
    return list(T.draw(n, [(strength, probability)], None)["it"])


@pytest.mark.parametrize("kind", list(T.KINDS))
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_strength_is_chosen_with_the_probability(probability: float, kind: str) -> None:
    (chosen,) = draw(kind, 20000, probability=probability, scale=1e6)
    neutral = float(kind == "power")
    # One standard deviation of the share is at most 0.0035.
    assert (chosen != neutral).float().mean().item() == pytest.approx(
        probability, abs=0.015 if 0 < probability < 1 else 0
    )


def test_one_coin_serves_both_axes_of_an_image() -> None:
    x, y = draw("normal", 100, probability=0.5, width=2)
    assert torch.equal(x == 0, y == 0)
    assert not torch.equal(x, y)


def test_strengths_have_their_distribution() -> None:
    # Three standard deviations of a mean of 20000 values are at most 0.02 of their own deviation.
    (count,), (span,), (power,), (normal,), (half,) = (draw(kind, 20000, scale=4.0) for kind in T.KINDS)
    assert count.unique().tolist() == [0, 1, 2, 3]
    assert count.mean().item() == pytest.approx(1.5, abs=0.03)
    assert span.abs().max().item() == pytest.approx(4, abs=0.01)
    assert span.mean().item() == pytest.approx(0, abs=0.05)
    assert power.log2().std().item() == pytest.approx(4, abs=0.08)
    assert normal.std().item() == pytest.approx(4, abs=0.08)
    assert half.mean().item() == pytest.approx(4 * math.sqrt(2 / math.pi), abs=0.08)


@pytest.mark.parametrize("n", [1, 7, 16, 33])
def test_all_numbers_are_those_of_one_draw_after_another(n: int) -> None:
    """Strength, then coin, transform by transform: the order that decides what a seed gives."""
    rows = [(strength, 1.0) for strength in STRENGTHS]
    torch.manual_seed(0)
    found = T.draw(n, rows, None)
    after = torch.rand([])
    torch.manual_seed(0)
    expected: dict[str, list[Tensor]] = {}
    for kind, group in ((strength.kind, strength) for strength in STRENGTHS):
        shape = (n,) if group.width == 1 else (n, group.width)
        raw = torch.rand(shape) if kind in T.UNIFORM else torch.randn(shape)
        torch.rand(n)
        values = [raw] if group.width == 1 else list(raw.unbind(1))
        scale = torch.tensor([[group.scale]])
        expected.setdefault(group.transform, []).extend(T.KINDS[kind](value[None], scale)[0] for value in values)
    assert torch.equal(after, torch.rand([]))
    assert found.keys() == expected.keys()
    for name, rows_of in expected.items():
        assert torch.equal(torch.stack(list(found[name])), torch.stack(rows_of))


def test_percentile_fixes_every_strength_and_applies_it() -> None:
    def at(percentile: float, kind: str) -> Tensor:
        (value,) = T.draw(3, [(T.Strength("it", kind, 4.0), 0.0)], percentile)["it"]
        assert (value == value[0]).all()
        return value[0]

    assert at(0.8, "count") == 3
    assert at(0.75, "span") == 2
    assert at(0.5, "normal") == 0
    assert at(0.5, "power") == 1
    assert at(0.8, "normal") > 0
    assert at(0.5, "half_normal").item() == pytest.approx(4 * 0.4769, abs=1e-3)  # erfinv(1/2)
