"""Frames to a video that every browser plays: MP4, or a GIF."""

import errno
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, pairwise
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image
from torch import Tensor

from stylegan.files import replacing
from stylegan.images import preview

# H.264 with 4:2:0 colour is what browsers and phones decode; crf 16 keeps single pixels sharp.
# One thread, because their number changes the bytes.
_OUTPUT = "-an -c:v libx264 -pix_fmt yuv420p -crf 16 -threads 1 -movflags +faststart -f mp4 -y"

# With which the encoder ends as 256 less the number, where it cannot write.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)

SUFFIXES = (".mp4", ".gif")
GIF_FPS = 50  # browsers slow a GIF of more down to 10
SIDE = 256  # videos of smaller images are enlarged to about this many pixels


def check_video(path: Path, fps: int) -> None:
    """Raises ValueError for a kind of video that `save_video` does not write."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: videos are written as {' or '.join(SUFFIXES)}. Give the file such an ending.")
    if path.suffix.lower() == ".gif" and fps > GIF_FPS:
        raise ValueError(
            f"{path}: a GIF plays at most {GIF_FPS} frames a second, not {fps}. Lower --fps or write .mp4."
        )


def save_video(frames: Iterable[Tensor], path: Path, *, fps: int, scale: int = 1) -> int:
    """Write uint8 frames [C, H, W] as the ending of the path says, and return their number.

    Raises ValueError for another ending and when there is no frame, RuntimeError when the encoder fails.
    """
    check_video(path, fps)
    save = save_gif if path.suffix.lower() == ".gif" else save_mp4
    return save(frames, path, fps=fps, scale=scale)


def save_gif(frames: Iterable[Tensor], path: Path, *, fps: int, scale: int = 1) -> int:
    """As `save_mp4`, but a GIF that loops: 256 colours a frame, of its own, and no side loses a pixel."""
    pictures = [Image.fromarray(_enlarged(frame, scale)).quantize(256) for frame in frames]
    if not pictures:
        raise ValueError(f"{path}: a video needs at least one frame, got none")
    # A GIF counts hundredths of a second, so 30 frames a second are 3, 3 and 4 of them in turn.
    ends = [round(100 * index / fps) for index in range(len(pictures) + 1)]
    times = [10 * (end - start) for start, end in pairwise(ends)]
    with replacing(path) as temporary:
        first, *others = pictures
        first.save(temporary, "gif", save_all=True, append_images=others, duration=times, loop=0, disposal=1)
    return len(pictures)


def save_mp4(frames: Iterable[Tensor], path: Path, *, fps: int, scale: int = 1) -> int:
    """Write uint8 frames [C, H, W], each pixel enlarged to scale x scale, and return their number.

    Grey frames become RGB, transparent ones lie on white, odd sides lose a pixel (4:2:0 needs even ones).
    Raises ValueError if there is no frame, RuntimeError when the encoder fails.
    """
    pictures = (_rgb(frame, scale) for frame in frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError(f"{path}: a video needs at least one frame, got none")
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
    if (number := -encoder.returncode & 0xFF) in DISK:
        raise OSError(number, os.strerror(number), str(path))
    if encoder.returncode:
        raise RuntimeError(f"{path}: the encoder ended with status {encoder.returncode}; its last line says why.")
    return count


def _rgb(frame: Tensor, scale: int) -> np.ndarray:
    """uint8 [C, H, W] -> uint8 [H * scale, W * scale, 3] with even sides"""
    picture = _enlarged(frame, scale)
    height, width = (side - side % 2 for side in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width])


def _enlarged(frame: Tensor, scale: int) -> np.ndarray:
    """uint8 [C, H, W] -> uint8 [H * scale, W * scale, 3]"""
    picture = preview(frame).cpu().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(picture.repeat(scale, axis=0).repeat(scale, axis=1))
