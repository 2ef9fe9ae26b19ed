"""Sheets of images: rows and columns with labels, and generated images next to the training images nearest to them.

N images, M generated ones, k neighbours, C channels, H W image.
"""

import io
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from stylegan.images import grid, preview, to_pil
from stylegan.metrics.evaluation.metric import short

LONGEST = 4300  # pixels of a sheet: more is no use on a screen, and a plan's 4096 have room for labels
PAPER, INK = "#ffffff", "#1f2328"
CELL = 128  # pixels a side of a neighbour: small images are enlarged in whole steps up to it, large ones reduced to it
GAP = 32  # between a generated image and its neighbours
MARGIN, FONT_SIZE, LINE = 6, 13, 20


def labelled_sheet(
    img: Tensor, columns: int, scale: int, *, column_labels: Sequence[str] = (), row_labels: Sequence[str] = ()
) -> Image.Image:
    """uint8 [N, C, H, W] row by row -> one RGB image, each pixel scale x scale, labels above and to the left

    One with a side of more than LONGEST pixels is reduced.
    """
    sheet = opaque(to_pil(grid(img, columns, scale)))
    cell_h, cell_w = img.shape[2] * scale, img.shape[3] * scale
    size = max(11, min(cell_w // 5, 28))
    font = ImageFont.load_default(size)
    top = int(size * 1.8) if column_labels else 0
    left = int(max((font.getlength(text) for text in row_labels), default=0)) + (12 if row_labels else 0)
    page = Image.new("RGB", (sheet.width + left, sheet.height + top), PAPER)
    page.paste(sheet, (left, top))
    draw = ImageDraw.Draw(page)
    for i, text in enumerate(column_labels):
        draw.text((left + (i + 0.5) * cell_w, top / 2), text, font=font, fill=INK, anchor="mm")
    for i, text in enumerate(row_labels):
        draw.text((left - 6, top + (i + 0.5) * cell_h), text, font=font, fill=INK, anchor="rm")
    if max(page.size) > LONGEST:
        page.thumbnail((LONGEST, LONGEST))
    return page


def opaque(picture: Image.Image) -> Image.Image:
    """The picture in RGB, on white paper where it is transparent"""
    layer = picture.convert("RGBA")
    page = Image.new("RGB", picture.size, PAPER)
    page.paste(layer, (0, 0), layer)
    return page


def png_of(picture: Image.Image) -> bytes:
    """The bytes of a PNG file"""
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def neighbor_captions(distance: Tensor, spacing: Tensor) -> list[list[str]]:
    """distance [M, k], spacing [M] -> a caption for each neighbour: its distance, and of the nearest (spacing)"""
    rows = zip(distance.tolist(), spacing.tolist(), strict=True)
    return [[f"{short(near[0], 3)} ({short(own, 3)})", *(short(value, 3) for value in near[1:])] for near, own in rows]


def neighbor_sheet(gen: Tensor, train: Tensor, captions: Sequence[Sequence[str]]) -> Image.Image:
    """Generated images uint8 [M, C, H, W] down the left, each next to its nearest training images [M, k, C, H, W]

    captions: [M][k], drawn below each training image.
    """
    count, k = train.shape[:2]
    cells = [[_cell(img) for img in (gen[i], *train[i])] for i in range(count)]
    width, height = cells[0][0].size if cells else (CELL, CELL)
    lefts = [MARGIN] + [MARGIN + width + GAP + j * (width + MARGIN) for j in range(k)]
    page, draw, font = _page(lefts[-1] + width + MARGIN, LINE + MARGIN + count * (height + LINE + MARGIN))
    for left, text in ((lefts[0], "generated"), (lefts[1], "nearest training images")):
        draw.text((left, MARGIN + LINE / 2), text, font=font, fill=INK, anchor="lm")
    for i, row in enumerate(cells):
        top = MARGIN + LINE + i * (height + LINE + MARGIN)
        for left, cell, text in zip(lefts, row, ["", *captions[i]], strict=True):
            _paste(page, draw, font, cell, (left, top), text)
    return page


def realism_sheet(img: Tensor, captions: Sequence[str], columns: int, row_labels: Sequence[str]) -> Image.Image:
    """Images uint8 [N, C, H, W] row by row, a caption below each, a label to the left of each row"""
    cells = [_cell(one) for one in img]
    width, height = cells[0].size if cells else (CELL, CELL)
    left = 2 * MARGIN + math.ceil(max((_font().getlength(text) for text in row_labels), default=0))
    step_x, step_y = width + MARGIN, height + LINE + MARGIN
    page, draw, font = _page(left + columns * step_x, MARGIN + len(row_labels) * step_y)
    for row, text in enumerate(row_labels):
        draw.text((MARGIN, MARGIN + row * step_y + height / 2), text, font=font, fill=INK, anchor="lm")
    for i, (cell, text) in enumerate(zip(cells, captions, strict=True)):
        _paste(page, draw, font, cell, (left + i % columns * step_x, MARGIN + i // columns * step_y), text)
    return page


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _font() -> Font:
    return ImageFont.load_default(FONT_SIZE)


def _page(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw, Font]:
    page = Image.new("RGB", (width, height), PAPER)
    return page, ImageDraw.Draw(page), _font()


def _paste(
    page: Image.Image, draw: ImageDraw.ImageDraw, font: Font, cell: Image.Image, place: tuple[int, int], caption: str
) -> None:
    left, top = place
    page.paste(cell, place)
    draw.text((left + cell.width / 2, top + cell.height + LINE / 2), caption, font=font, fill=INK, anchor="mm")


def _cell(img: Tensor) -> Image.Image:
    picture = to_pil(preview(img))
    longest = max(picture.size)
    if longest > CELL:
        picture.thumbnail((CELL, CELL), Image.Resampling.BOX)
        return picture
    scale = CELL // longest
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
