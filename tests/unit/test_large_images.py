"""Large images whose conversion takes several times their memory: refused before they are decoded."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.params import Params
from stylegan.analysis import targets
from stylegan.data import transforms
from stylegan.data.transforms import check_header, check_image
from stylegan.networks import Generator

Make = Callable[..., Params]
REASON = "has more than 100 pixels (11 x 11 with alpha or inks); make it smaller"


def encoded(mode: str, side: int, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 4), np.uint8)
    image = Image.fromarray(pixels).convert("RGB" if mode in ("CMYK", "P") else mode).convert(mode)
    image.save(buffer := io.BytesIO(), "tiff" if mode == "CMYK" else "png", **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "options", "wanted", "is_refused"),
    [
        ("RGBA", {}, "RGB", True), ("LA", {}, "RGB", True), ("CMYK", {}, "RGB", True), ("RGBA", {}, "L", True),
        ("P", {"transparency": 0}, "RGB", True), ("LA", {}, "RGBA", True),
        ("RGBA", {}, "RGBA", False), ("RGBA", {}, "keep", False), ("RGB", {}, "RGB", False), ("P", {}, "RGB", False),
    ],
)  # fmt: skip
def test_alpha_and_inks_have_a_limit_of_their_own(
    mode: str, options: dict[str, int], wanted: str, is_refused: bool, make_params: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(transforms, "MAX_PIXELS_BLENDED", 100)
    config = make_params(f"prepare.mode={wanted}").prepare
    for side, expected in ((11, REASON if is_refused else None), (10, None)):
        data = encoded(mode, side, **options)
        for check in (check_image(data, config), check_header(io.BytesIO(data), config)):
            assert (check.problem and check.problem.reason) == expected


@pytest.mark.parametrize(
    ("suffix", "options", "said"),
    [("jpeg", {}, ""), ("jpeg", {"progressive": True}, "in a progressive JPEG"), ("avif", {}, "in AVIF")],
)
def test_so_have_formats_whose_decoders_hold_more_than_pixels(
    suffix: str, options: dict[str, bool], said: str, make_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transforms, "MAX_PIXELS_BLENDED", 100)
    Image.new("RGB", (16, 16)).save(buffer := io.BytesIO(), suffix, **options)
    problem = check_image(buffer.getvalue(), make_params().prepare).problem
    assert (problem.detail if problem else "") == (f"16 x 16 {said}" if said else "")


def test_arrays_of_many_channels_have_a_limit(make_params: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms, "MAX_VALUES", 500)
    config = make_params("prepare.mode=keep", "prepare.transform=center-crop").prepare
    problem = check_image(np.zeros((10, 10, 6), np.uint8), config).problem
    assert problem is not None
    assert problem.reason == "has more than 500 values (10 x 10 x 6); make it smaller"
    assert check_image(np.zeros((10, 10, 5), np.uint8), config).problem is None


@pytest.mark.parametrize("length", [10, 4000, 10_000])
def test_a_comment_of_a_ppm_is_short(length: int, make_params: Make) -> None:
    """Pillow reads the header byte by byte, and a comment can have as many as the file."""
    data = b"P6\n#" + b"x" * length + b"\n# another\n2 2 #\n255\n" + bytes(12)
    config = make_params("prepare.transform=none").prepare
    for check in (check_image(data, config), check_header(io.BytesIO(data), config)):
        said = "" if check.problem is None else check.problem.kind
        assert said == ("has a PPM header of more than 4,096 bytes" if length == 10_000 else "")


def test_project_and_detect_have_these_limits_too(
    make_params: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transforms, "MAX_PIXELS_BLENDED", 100)
    monkeypatch.setattr(targets, "MAX_PIXELS_HEAVY", 100)
    (tmp_path / "alpha.png").write_bytes(encoded("RGBA", 11))
    Image.fromarray(np.zeros((11, 11), np.uint16)).save(tmp_path / "deep.png")
    shape = {"img_resolution": 16, "img_channels": 3, "c_dim": 0}
    G = Generator(make_params().generator, **shape)
    with pytest.raises(ValueError, match=r"alpha\.png: has more than 100 pixels \(11 x 11 with alpha or inks\)"):
        targets.load_target(tmp_path / "alpha.png", G)
    with pytest.raises(ValueError, match=r"deep\.png: has more than 100 pixels \(11 x 11 of more than 8 bits\)"):
        targets.load_target(tmp_path / "deep.png", G)
