"""upfirdn2d against outputs of the official implementation: 25 filters, factors, paddings, gains and flips."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from stylegan.ops import setup_filter, upfirdn2d

with np.load(Path(__file__).parent / "data" / "upfirdn2d.npz") as file:
    NUMBERS = dict(file)
TOLERANCE = 1e-6  # fp32 sums of at most 25 terms


@pytest.mark.parametrize("i", range(len(NUMBERS["spec"])))
def test_output(i: int, difference: Callable[..., float]) -> None:
    *integers, gain, flip = NUMBERS["spec"][i].tolist()
    up_x, up_y, down_x, down_y, *padding = (int(number) for number in integers)
    actual = upfirdn2d(
        torch.from_numpy(NUMBERS["x"]), setup_filter(torch.from_numpy(NUMBERS[f"f{i}"])), up=(up_x, up_y),
        down=(down_x, down_y), padding=padding, gain=gain, flip_filter=bool(flip),
    )  # fmt: skip
    assert difference(actual, NUMBERS[f"y{i}"]) < TOLERANCE
