"""Frames to an MP4 file."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from stylegan.drawing.video import save_gif, save_mp4, save_video


def read_back(path: Path, size: tuple[int, int]) -> tuple[str, Tensor]:
    """What ffmpeg says of a film, and its frames uint8 [F, H, W, 3]"""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    frames = torch.frombuffer(bytearray(done.stdout), dtype=torch.uint8).reshape(-1, size[1], size[0], 3)
    return done.stderr.decode(), frames


def flat(colour: list[int], side: int = 16) -> Tensor:
    return torch.tensor(colour, dtype=torch.uint8)[:, None, None].repeat(1, side, side)


def test_a_film_has_every_frame_in_order_enlarged(tmp_path: Path) -> None:
    frames = [flat([level, level, level]) for level in (0, 80, 160, 240)]
    assert save_mp4(frames, tmp_path / "new/film.mp4", fps=10, scale=3) == 4
    said, seen = read_back(tmp_path / "new/film.mp4", (48, 48))
    assert all(part in said for part in ("Video: h264", "yuv420p", " 48x48", " 10 fps"))
    # H.264 is lossy and stores limited-range luma.
    assert [round(frame.float().mean().item()) for frame in seen] == pytest.approx([0, 80, 160, 240], abs=3)


def test_grey_and_transparent_frames_become_rgb(tmp_path: Path) -> None:
    save_mp4([flat([100])], tmp_path / "grey.mp4", fps=1)
    save_mp4([flat([0, 0, 0, 0])], tmp_path / "clear.mp4", fps=1)
    # H.264 is lossy and stores limited-range luma.
    assert read_back(tmp_path / "grey.mp4", (16, 16))[1].float().mean() == pytest.approx(100, abs=3)
    assert read_back(tmp_path / "clear.mp4", (16, 16))[1].float().mean() == pytest.approx(255, abs=3)


def test_odd_sides_lose_a_pixel(tmp_path: Path) -> None:
    save_mp4([flat([9, 9, 9], side=17)], tmp_path / "odd.mp4", fps=1)
    assert " 16x16" in read_back(tmp_path / "odd.mp4", (16, 16))[0]


def test_equal_frames_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        save_mp4([flat([10, 200, 30]), flat([0, 0, 0])], tmp_path / name, fps=5)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_film_without_frames_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"film.mp4: a video needs at least one frame, got none$"):
        save_mp4([], tmp_path / "film.mp4", fps=5)
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_fails_is_an_error_and_leaves_no_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError, match=r"the encoder ended with status [0-9]+; its last line says why\.$"):
        save_mp4([flat([0, 0, 0], side=64)] * 64, tmp_path / "film.mp4", fps=0)
    assert capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_gif_has_every_frame_in_order_enlarged_and_loops(tmp_path: Path) -> None:
    frames = [flat([level, 0, 255 - level], side=5) for level in (0, 80, 160, 240)]
    assert save_gif(frames, tmp_path / "new/film.gif", fps=10, scale=3) == 4
    with Image.open(tmp_path / "new/film.gif") as film:
        assert (film.format, film.size, film.info["loop"]) == ("GIF", (15, 15), 0)
        seen = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)]
    # One colour a frame is in its palette exactly.
    assert [(frame[0, 0, 0], frame[7, 7, 2]) for frame in seen] == [(0, 255), (80, 175), (160, 95), (240, 15)]


@pytest.mark.parametrize(("fps", "expected"), [(30, [30, 40, 30]), (50, [20, 20, 20]), (1, [1000, 1000, 1000])])
def test_a_gif_takes_the_time_that_its_rate_says(tmp_path: Path, fps: int, expected: list[int]) -> None:
    save_gif([flat([level, level, level]) for level in (0, 100, 200)], tmp_path / "film.gif", fps=fps)
    with Image.open(tmp_path / "film.gif") as film:
        assert [frame.info["duration"] for frame in ImageSequence.Iterator(film)] == expected


def test_a_gif_without_frames_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"film.gif: a video needs at least one frame, got none$"):
        save_gif([], tmp_path / "film.gif", fps=5)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "magic"), [("film.gif", b"GIF89a"), ("film.GIF", b"GIF89a"), ("film.mp4", b"\0\0\0")])
def test_the_ending_says_which_film_is_written(tmp_path: Path, name: str, magic: bytes) -> None:
    assert save_video([flat([9, 9, 9])], tmp_path / name, fps=5) == 1
    assert (tmp_path / name).read_bytes().startswith(magic)
