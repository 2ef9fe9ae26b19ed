"""stylegan.data.heif: photos of phones are known by their content, and read where pillow-heif is installed."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from pipelines.params import Params
from stylegan.data import heif
from stylegan.data.transforms import check_header, check_image, convert_image
from tests.photos import HEIC, encode, picture

Make = Callable[..., Params]
REASON = "is HEIC; convert it to JPEG, or run `.venv/bin/pip install pillow-heif`"


@pytest.mark.parametrize("brands", ["heic....mif1heic", "mif1....mif1heic", "heix....", "msf1....hevc", "mif1....miaf"])
def test_files_of_the_family_are_known_by_their_brands(brands: str) -> None:
    box = brands.encode()
    assert heif.is_heif((len(box) + 8).to_bytes(4, "big") + b"ftyp" + box + b"\0" * 40)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif", "gif", "tiff"])
def test_what_pillow_reads_is_not_taken_for_one(suffix: str) -> None:
    assert not heif.is_heif(encode(picture(0, 20, 20), suffix))


@pytest.mark.parametrize("data", [b"", b"\0\0\0\x18ftyp", b"\0\0\0\x18ftypmp42" + b"\0" * 40])
def test_neither_is_a_film_nor_half_a_header(data: bytes) -> None:
    assert not heif.is_heif(data)


def test_without_the_library_the_remedy_is_named_whatever_the_suffix(
    make_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heif, "can_read", lambda: False)
    params = make_params()
    for check in (check_image(HEIC, params.prepare), check_header(io.BytesIO(HEIC), params.prepare)):
        assert check.problem is not None
        assert check.problem.reason == REASON


def test_with_the_library_a_photo_is_read(make_params: Make) -> None:
    pytest.importorskip("pillow_heif")
    assert heif.can_read()
    photo = picture(0, 64, 64)
    data = encode(photo, "heif", quality=95)
    assert heif.is_heif(data)
    config = make_params().prepare
    for check in (check_image(data, config), check_header(io.BytesIO(data), config)):
        assert (check.problem, check.width, check.height, check.mode) == (None, 64, 64, "RGB")
    found = Image.open(io.BytesIO(convert_image(data, make_params("prepare.resolution=64").prepare, "RGB")))
    difference = np.asarray(found, float) - np.asarray(photo, float)
    assert np.abs(difference).mean() < 6  # grey levels, of lossy compression


def test_avif_and_webp_need_no_library(make_params: Make) -> None:
    for suffix in ("avif", "webp"):
        assert check_image(encode(picture(0, 16, 16), suffix), make_params().prepare).problem is None
