"""Sheets of images that people look at: enlarged when small, a caption under each.

N images, C channels, H W image.
"""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from stylegan.files import replacing
from stylegan.images import grid, to_pil

CELL = 128  # pixels a side that an image of a sheet should at least have: fewer are hard to see on a screen
WHITE: dict[str, int | tuple[int, ...]] = {
    "L": 255,
    "LA": (255, 255),
    "RGB": (255, 255, 255),
    "RGBA": (255, 255, 255, 255),
}
BLACK: dict[str, int | tuple[int, ...]] = {"L": 0, "LA": (0, 255), "RGB": (0, 0, 0), "RGBA": (0, 0, 0, 255)}


def scale_to(side: int, wanted: int) -> int:
    """Whole enlargement that brings a side to at most `wanted` pixels, at least 1"""
    return max(1, wanted // side)


def sheet(img: Tensor, columns: int, scale: int, captions: Sequence[str] = ()) -> Image.Image:
    """uint8 [N, C, H, W] row by row -> one image of the same channels, each pixel scale x scale

    captions: N texts, drawn below the images, or none; they shrink to the width of an image.
    """
    if not captions:
        return to_pil(grid(img, columns, scale))
    height, width = img.shape[2] * scale, img.shape[3] * scale
    size = _font_size(captions, width - 4)
    font, line = ImageFont.load_default(size), round(1.5 * size)
    cells = [to_pil(grid(one[None], 1, scale)) for one in img]
    mode = cells[0].mode
    rows = -(-len(cells) // columns)
    page = Image.new(mode, (columns * width, rows * (height + line)), WHITE[mode])
    draw = ImageDraw.Draw(page)
    for index, (cell, text) in enumerate(zip(cells, captions, strict=True)):
        left, top = index % columns * width, index // columns * (height + line)
        page.paste(cell, (left, top))
        draw.text((left + width / 2, top + height + line / 2), text, font=font, fill=BLACK[mode], anchor="mm")
    return page


def save_sheet(page: Image.Image, path: Path) -> None:
    """Write a sheet as a PNG file, making its folder."""
    with replacing(path) as temporary:
        page.save(temporary, format="png")


def _font_size(captions: Sequence[str], width: int) -> int:
    """The largest from 14 down to 5 pixels in which the longest caption fits"""
    fits = (
        size
        for size in range(14, 5, -1)
        if max(ImageFont.load_default(size).getlength(text) for text in captions) <= width
    )
    return next(fits, 5)
