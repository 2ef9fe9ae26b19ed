"""Sheets of images: rows and columns with labels, and generated images next to the training images nearest to them.

N images, M generated ones, k neighbours, C channels, H W image.
"""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from stylegan.images import grid, preview, to_pil
from stylegan.metrics.evaluation.metric import short

PAPER, INK = "#ffffff", "#1f2328"
CELL = 128  # pixels a side of a neighbour: small images are enlarged in whole steps up to it, large ones reduced to it
GAP = 32  # between a generated image and its neighbours
MARGIN, FONT_SIZE = 6, 13


def labelled_sheet(
    img: Tensor, columns: int, scale: int, *, column_labels: Sequence[str] = (), row_labels: Sequence[str] = ()
) -> Image.Image:
    """uint8 [N, C, H, W] row by row -> one RGB image, each pixel scale x scale, labels above and to the left"""
    sheet = to_pil(grid(img, columns, scale)).convert("RGBA")
    cell_h, cell_w = img.shape[2] * scale, img.shape[3] * scale
    size = max(11, min(cell_w // 5, 28))
    font = ImageFont.load_default(size)
    top = int(size * 1.8) if column_labels else 0
    left = int(max((font.getlength(text) for text in row_labels), default=0)) + (12 if row_labels else 0)
    page = Image.new("RGB", (sheet.width + left, sheet.height + top), PAPER)
    page.paste(sheet, (left, top), sheet)
    draw = ImageDraw.Draw(page)
    for i, text in enumerate(column_labels):
        draw.text((left + (i + 0.5) * cell_w, top / 2), text, font=font, fill=INK, anchor="mm")
    for i, text in enumerate(row_labels):
        draw.text((left - 6, top + (i + 0.5) * cell_h), text, font=font, fill=INK, anchor="rm")
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
    font = ImageFont.load_default(FONT_SIZE)
    line = round(1.5 * FONT_SIZE)
    cells = [[_cell(img) for img in (gen[i], *train[i])] for i in range(count)]
    width, height = cells[0][0].size if cells else (CELL, CELL)
    step_x, step_y = width + MARGIN, height + line + MARGIN
    lefts = [MARGIN] + [MARGIN + width + GAP + j * step_x for j in range(k)]
    page = Image.new("RGB", (lefts[-1] + width + MARGIN, line + MARGIN + count * step_y), PAPER)
    draw = ImageDraw.Draw(page)
    for left, text in ((lefts[0], "generated"), (lefts[1], "nearest training images")):
        draw.text((left, MARGIN + line / 2), text, font=font, fill=INK, anchor="lm")
    for i, row in enumerate(cells):
        top = MARGIN + line + i * step_y
        for left, cell, text in zip(lefts, row, ["", *captions[i]], strict=True):
            page.paste(cell, (left, top))
            draw.text((left + width / 2, top + height + line / 2), text, font=font, fill=INK, anchor="mm")
    return page


def _cell(img: Tensor) -> Image.Image:
    picture = to_pil(preview(img))
    longest = max(picture.size)
    if longest > CELL:
        picture.thumbnail((CELL, CELL), Image.Resampling.BOX)
        return picture
    scale = CELL // longest
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
