"""stylegan.images: the one conversion between uint8 and float, grids, PNG files."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylegan.images import encode_png, grid, preview, save_image, save_png, to_float, to_pil, to_uint8

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


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_png_keeps_every_pixel(channels: int, mode: str, tmp_path: Path) -> None:
    img = torch.randint(256, (channels, 5, 7), dtype=torch.uint8)
    save_png(img, tmp_path / "folder" / "image.png")
    assert (tmp_path / "folder" / "image.png").read_bytes() == encode_png(img)
    with Image.open(io.BytesIO(encode_png(img))) as picture:
        assert (picture.mode, picture.size) == (mode, (7, 5))
        assert picture.getpixel((6, 4)) == (tuple(img[:, 4, 6].tolist()) if channels > 1 else img[0, 4, 6].item())


def test_of_five_channels_a_png_shows_three_and_all_lie_beside_it(tmp_path: Path) -> None:
    img = torch.randint(256, (5, 4, 6), dtype=torch.uint8)
    save_image(img, tmp_path / "image.png")
    assert (tmp_path / "image.png").read_bytes() == encode_png(img[:3])
    assert np.array_equal(np.load(tmp_path / "image.npy"), img.permute(1, 2, 0).numpy())
    save_image(img[:4], tmp_path / "rgba.png")
    assert not (tmp_path / "rgba.npy").exists()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_a_preview_is_what_pillow_shows_on_white(channels: int) -> None:
    img = torch.randint(256, (2, channels, 4, 6), dtype=torch.uint8)
    for one, seen in zip(img, preview(img), strict=True):
        picture = to_pil(one).convert("RGBA")
        page = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
        difference = seen.permute(1, 2, 0).int() - torch.from_numpy(np.array(page)).int()
        assert difference.abs().max() <= 1  # Pillow rounds by integers


def test_grid_goes_row_by_row_and_fills_with_white() -> None:
    img = torch.tensor([10, 20, 30], dtype=torch.uint8)[:, None, None, None].expand(3, 1, 1, 2)
    assert grid(img, columns=2).tolist() == [[[10, 10, 20, 20], [30, 30, 255, 255]]]


def test_grid_scales_by_repeating_pixels() -> None:
    img = torch.tensor([[[[1, 2]]]], dtype=torch.uint8)
    assert grid(img, columns=1, scale=2).tolist() == [[[1, 1, 2, 2], [1, 1, 2, 2]]]
