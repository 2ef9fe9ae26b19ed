"""stylegan.images: the one conversion between uint8 and float, grids, PNG files."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from stylegan.images import encode_png, grid, save_png, to_float, to_pil, to_uint8

LEVELS = torch.arange(256, dtype=torch.uint8)


def test_every_level_survives_the_round_trip() -> None:
    assert torch.equal(to_uint8(to_float(LEVELS)), LEVELS)


def test_levels_span_minus_one_to_one() -> None:
    values = to_float(LEVELS)
    assert values.dtype == torch.float32
    assert values[[0, -1]].tolist() == [-1, 1]


def test_values_are_rounded_and_clamped() -> None:
    # 0.0 lies between levels 127 and 128; half-way goes to the even one.
    assert to_uint8(torch.tensor([-5.0, 0.0, 5.0])).tolist() == [0, 128, 255]
    assert to_uint8(to_float(LEVELS) + 0.3 / 127.5).tolist() == LEVELS.tolist()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_png_keeps_every_pixel(channels: int, mode: str, tmp_path: Path) -> None:
    img = torch.randint(256, (channels, 5, 7), dtype=torch.uint8)
    save_png(img, tmp_path / "folder" / "image.png")
    assert (tmp_path / "folder" / "image.png").read_bytes() == encode_png(img)
    with Image.open(io.BytesIO(encode_png(img))) as picture:
        assert (picture.mode, picture.size) == (mode, (7, 5))
        assert picture.getpixel((6, 4)) == (tuple(img[:, 4, 6].tolist()) if channels > 1 else img[0, 4, 6].item())


def test_image_of_two_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="channels") as caught:
        to_pil(torch.zeros(2, 4, 4, dtype=torch.uint8))
    assert str(caught.value) == (
        "an image of 2 channels has no PNG mode; known: {1: 'L', 3: 'RGB', 4: 'RGBA'}. Select channels first."
    )


def test_grid_goes_row_by_row_and_fills_with_white() -> None:
    img = torch.tensor([10, 20, 30], dtype=torch.uint8)[:, None, None, None].expand(3, 1, 1, 2)
    assert grid(img, columns=2).tolist() == [[[10, 10, 20, 20], [30, 30, 255, 255]]]


def test_grid_scales_by_repeating_pixels() -> None:
    img = torch.tensor([[[[1, 2]]]], dtype=torch.uint8)
    assert grid(img, columns=1, scale=2).tolist() == [[[1, 1, 2, 2], [1, 1, 2, 2]]]
