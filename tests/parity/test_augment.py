"""Every transform against the official pipe, with all strengths fixed at a percentile of their distribution."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from stylegan.augment import AugmentPipe

BLIT_GEOM_COLOR = (
    "xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac",
    "brightness", "contrast", "lumaflip", "hue", "saturation",
)  # fmt: skip
SETS = {"bgc": BLIT_GEOM_COLOR, "bgcf": (*BLIT_GEOM_COLOR, "imgfilter")}
TOLERANCE = 1e-4  # fp32 on another machine; up to 1e-5 was measured, after a chain of three resamplings


@cache
def numbers(kind: str) -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "data" / f"augment_{kind}.npz") as file:
        return dict(file)


KEYS = [(kind, key) for kind in ("rgb", "gray") for key in numbers(kind) if key != "images"]


@pytest.mark.parametrize(("kind", "key"), KEYS)
def test_transform_at_percentile(kind: str, key: str, difference: Callable[..., float]) -> None:
    name, percentile = key.split("@")
    pipe = AugmentPipe.from_multipliers(**dict.fromkeys(SETS.get(name, (name,)), 1.0))
    images = torch.from_numpy(numbers(kind)["images"])
    assert difference(pipe(images, p=1.0, percentile=float(percentile)), numbers(kind)[key]) < TOLERANCE


@pytest.mark.parametrize("kind", ["rgb", "gray"])
def test_every_transform_is_compared(kind: str) -> None:
    # Noise is random at any percentile; grey images have neither hue nor saturation.
    expected = {*BLIT_GEOM_COLOR, "imgfilter", "cutout", *SETS} - ({"hue", "saturation"} if kind == "gray" else set())
    assert {key.split("@")[0] for key in numbers(kind)} - {"images"} == expected
