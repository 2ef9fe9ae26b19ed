"""Names of files and classes that no terminal should see raw, and names that are not UTF-8, from source to manifest."""

import json
import os
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.artifacts import manifest_json
from pipelines.params import Params
from pipelines.prepare import prepare
from stylegan.data import ImageDataset
from stylegan.text import visible

CLASSES = (b"plain", b"caf\xe9", b"esc\x1b[31m", b"new\nline", "\u202egnp".encode(), b"cr\rX")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder for each class with an image, a damaged image and a file of another kind"""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        folder = os.fsencode(tmp_path / "source") + b"/" + name
        os.makedirs(folder)
        with open(folder + b"/a\xff\x1b]0;t\x07.png", "wb") as file:
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(file, "png")
        for other in (b"/bad\x1b[2J.png", b"/x\n.txt"):
            with open(folder + other, "wb") as file:
                file.write(b"no image")
    return tmp_path / "source"


def test_names_of_every_kind_are_prepared_and_shown_escaped(
    make_params: Callable[..., Params], source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = f"prepare.source={source}", "prepare.labels=folders", "prepare.max_bad_share=0.6"
    config = make_params(*overrides, "prepare.holdout_fraction=0.3").prepare
    out, facts = tmp_path / "archive.zip", tmp_path / "manifest.json"
    prepare(config, out, facts, Path("no earth"), workers=1)
    said = capsys.readouterr().out
    assert "6 cannot be decoded" in said
    assert all(line.isprintable() for line in said.split("\n"))
    shown = sorted(visible(os.fsdecode(name)) for name in CLASSES)
    manifest = manifest_json.read(facts)
    assert sorted(manifest.class_names or ()) == shown
    assert all(entry.source.isprintable() for entry in manifest.images)
    assert ImageDataset(out, use_labels=True, xflip=False, split="all", max_images=None).c_dim == len(CLASSES)


def test_folders_that_differ_in_normal_form_alone_are_one_class(
    make_params: Callable[..., Params], tmp_path: Path
) -> None:
    from stylegan.data.sources import open_source

    for number, folder in enumerate(("é", unicodedata.normalize("NFD", "é"), "b")):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (16, 16), (number, 0, 0)).save(tmp_path / folder / f"{number}.png")
    config = make_params(f"prepare.source={tmp_path}", "prepare.labels=folders").prepare
    source = open_source(config, Path("no earth"))
    assert (sorted(source.labels or (), key=str), source.class_names) == ([0, 1, 1], ["b", "é"])


def test_class_names_of_an_archive_are_printable(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    given = {"labels": [["a.png", 0]], "class_names": ["\x1b[31m\nx\udce9"]}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
        archive.writestr("dataset.json", json.dumps(given))
    data = ImageDataset(tmp_path / "a.zip", use_labels=True, xflip=False, split="all", max_images=None)
    assert data.class_names == [r"\x1b[31m\nx\udce9"]
