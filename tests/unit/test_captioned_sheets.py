"""Sheets of the commands: enlarged pictures with captions below."""

import numpy as np
import pytest
import torch

from stylegan.drawing.sheets import scale_to, sheet


def test_a_sheet_without_captions_is_the_enlarged_pictures() -> None:
    img = torch.stack([torch.full((3, 4, 4), value, dtype=torch.uint8) for value in (0, 200)])
    page = np.asarray(sheet(img, 2, 3))
    assert page.shape == (12, 24, 3)
    assert (page[:, :12] == 0).all()
    assert (page[:, 12:] == 200).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_captions_lie_below_each_picture_and_leave_it_alone(channels: int) -> None:
    img = torch.full((3, channels, 16, 16), 90, dtype=torch.uint8)
    page = sheet(img, 2, 4, ["seed0000", "seed0001", "x"])
    pixels = np.asarray(page).reshape(page.height, page.width, -1)
    line = page.height // 2 - 64
    assert line > 0
    for index in range(3):
        left, top = index % 2 * 64, index // 2 * (64 + line)
        assert (pixels[top : top + 64, left : left + 64] == 90).all()
        caption = pixels[top + 64 : top + 64 + line, left : left + 64, 0]
        assert caption.min() < 128  # drawn
        assert caption[:, [0, -1]].min() > 128  # and within its column
    assert (pixels[64 + line :, 64:, 0] == 255).all()  # the missing cell is paper


@pytest.mark.parametrize(("side", "scale"), [(4, 32), (32, 4), (100, 1), (128, 1), (1024, 1)])
def test_small_pictures_are_enlarged_to_at_most_the_size_wanted(side: int, scale: int) -> None:
    assert scale_to(side, 128) == scale
