"""Conversions between uint8 and float images, grids, and PNG files: the only home of 127.5.

N batch, C channels, H W image.
"""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylegan.config.modes import MODES
from stylegan.files import replacing, write_bytes


def to_float(img: Tensor) -> Tensor:
    """uint8 [0, 255] -> float32 [-1, 1]"""
    return img.to(torch.float32) / 127.5 - 1


def to_uint8(img: Tensor) -> Tensor:
    """float [-1, 1] -> uint8 [0, 255], rounded and clamped"""
    return ((img + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_pil(img: Tensor) -> Image.Image:
    """uint8 [C, H, W] -> image of the mode its channels name (1: L, 2: LA, 3: RGB, 4: RGBA).

    Of more channels the first three are shown, as RGB: a preview. `save_image` keeps them all.
    """
    img = img if img.shape[0] in MODES else img[:3]
    array = img.cpu().permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(array.squeeze(2) if img.shape[0] == 1 else array))


def preview(img: Tensor) -> Tensor:
    """uint8 [..., C, H, W] -> uint8 [..., 3, H, W] as the eye sees it on a white page"""
    return on_white(img.to(torch.float32), black=0, white=255).round().to(torch.uint8)


def on_white(img: Tensor, black: float, white: float) -> Tensor:
    """[..., C, H, W] with values from black to white -> RGB [..., 3, H, W]

    Grey is repeated, alpha lies over white, and of more than four channels the first three are seen.
    """
    channels = img.shape[-3]
    colour = img[..., : 3 if channels > 2 else 1, :, :]
    if channels in (2, 4):
        alpha = (img[..., -1:, :, :] - black) / (white - black)
        colour = colour * alpha + white * (1 - alpha)
    return colour.expand(*img.shape[:-3], 3, *img.shape[-2:])


def grid(img: Tensor, columns: int, scale: int = 1) -> Tensor:
    """uint8 [N, C, H, W] -> uint8 [C, rows * H * scale, columns * W * scale], row by row, missing cells white"""
    n, c, h, w = img.shape
    rows = -(-n // columns)
    cells = torch.full((rows * columns, c, h, w), 255, dtype=torch.uint8)
    cells[:n] = img.cpu()
    sheet = cells.reshape(rows, columns, c, h, w).permute(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w)
    return sheet.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)


def encode_png(img: Tensor) -> bytes:
    """uint8 [C, H, W] -> the bytes of a PNG file"""
    buffer = io.BytesIO()
    to_pil(img).save(buffer, format="png")
    return buffer.getvalue()


def save_png(img: Tensor, path: Path) -> None:
    """Write uint8 [C, H, W] as a PNG file, making its folder."""
    write_bytes(path, encode_png(img))


def save_image(img: Tensor, path: Path) -> None:
    """Write uint8 [C, H, W] as a PNG file. If that shows only some channels, also write all as .npy [H, W, C]."""
    save_png(img, path)
    if img.shape[0] not in MODES:
        with replacing(path.with_suffix(".npy")) as temporary, temporary.open("wb") as file:
            np.save(file, np.ascontiguousarray(img.cpu().permute(1, 2, 0).numpy()))
