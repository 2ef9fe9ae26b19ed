"""Frames to an MP4 file that every browser plays."""

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from torch import Tensor

from stylegan.files import replacing
from stylegan.images import preview

# H.264 with 4:2:0 colour is what browsers and phones decode; crf 16 keeps single pixels sharp.
# One thread, because their number changes the bytes.
_OUTPUT = "-an -c:v libx264 -pix_fmt yuv420p -crf 16 -threads 1 -movflags +faststart -f mp4 -y"


def save_mp4(frames: Iterable[Tensor], path: Path, *, fps: int, scale: int = 1) -> int:
    """Write uint8 frames [C, H, W], each pixel enlarged to scale x scale, and return their number.

    Grey frames become RGB, transparent ones lie on white, odd sides lose a pixel (4:2:0 needs even ones).
    Raises ValueError when there is no frame, RuntimeError when the encoder fails.
    """
    pictures = (_rgb(frame, scale) for frame in frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError(f"{path}: a film needs at least one frame, got none")
    with replacing(path) as temporary:
        return _encode(chain([first], pictures), temporary, (first.shape[1], first.shape[0]), fps)


def _encode(pictures: Iterator[np.ndarray], path: Path, size: tuple[int, int], fps: int) -> int:
    source = f"-loglevel error -f rawvideo -pix_fmt rgb24 -s {size[0]}x{size[1]} -r {fps} -i -"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *source.split(), *_OUTPUT.split(), str(path)]
    count = 0
    # An encoder that dies breaks the pipe; its status below tells.
    with suppress(BrokenPipeError), subprocess.Popen(command, stdin=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None
        for picture in pictures:
            encoder.stdin.write(picture.tobytes())
            count += 1
    if encoder.returncode:
        raise RuntimeError(f"{path}: the encoder ended with status {encoder.returncode}; its last line says why.")
    return count


def _rgb(frame: Tensor, scale: int) -> np.ndarray:
    """uint8 [C, H, W] -> uint8 [H * scale, W * scale, 3] with even sides"""
    picture = preview(frame).cpu().permute(1, 2, 0).numpy()
    picture = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    height, width = (side - side % 2 for side in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width])
