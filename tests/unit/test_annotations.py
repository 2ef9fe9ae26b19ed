"""stylegan.data.annotations: one model of labels for dataset.json, CIFAR-10, MNIST and archives."""

import io
import json
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.params import Params
from pipelines.prepare import prepare
from stylegan.data import ArchiveError, ImageDataset
from stylegan.data.annotations import MAX_CLASSES, AnnotationError, Annotations, LabelModel, match_names, renumber
from stylegan.data.sources import open_source

DEEP = "[" * 100_000


def labels(value: str, more: str = "") -> str:
    return f'{{"labels": [["a.png", {value}], ["b.png", 0]]{more}}}'


REFUSED = {
    "negative": labels("-1"),
    "beyond int32": labels("2147483648"),
    "4000 digits": labels("9" * 4000),
    "5000 digits": labels("9" * 5000),
    "1e400": labels("1e400"),
    "NaN": labels("NaN"),
    "boolean": labels("true"),
    "text": labels('"cat"'),
    "object": labels("{}"),
    "float": labels("1.5"),
    "vector with NaN": '{"labels": [["a.png", [NaN]]]}',
    "vector beyond float32": '{"labels": [["a.png", [1e39]]]}',
    "vector of 400 digits": f'{{"labels": [["a.png", [{"9" * 400}]]]}}',
    "vector of null": '{"labels": [["a", [null]]]}',
    "vector of booleans": '{"labels": [["a.png", [true]]]}',
    "empty vector": '{"labels": [["a.png", []]]}',
    "vector of lists": '{"labels": [["a.png", [[1]]]]}',
    "two kinds": labels("[1]"),
    "wide vector": json.dumps({"labels": [["a.png", [0] * (MAX_CLASSES + 1)]]}),
    "deep label": f'{{"labels": [["a.png", {DEEP}',
    "deep member": f'{{"more": {{"more": {DEEP}',
    "triple": '{"labels": [["a.png", 1, 2]]}',
    "a name that is a number": '{"labels": [[1, 1]]}',
    "labels as text": '{"labels": "ab"}',
    "labels as number": '{"labels": 3}',
    "labels twice": '{"labels":[],"labels":[]}',
    "too few names": labels("1", ', "class_names": ["x"]'),
    "names as text": labels("1", ', "class_names": "xy"'),
    "names as object": labels("1", ', "class_names": {"x": 0, "y": 1}'),
    "number": labels("1", ', "class_names": [1, 2]'),
    "long name": labels("1", f', "class_names": ["{"x" * 1001}", "y"]'),
    "name long once escaped": json.dumps({"labels": [["a", 0]], "class_names": ["\x1b" * 600]}),
    "many names": json.dumps({"labels": [["a.png", 1]], "class_names": ["x"] * (MAX_CLASSES + 1)}),
    "names of a vector": '{"labels": [["a.png", [1, 2]]], "class_names": ["x"]}',
    "holdout of numbers": '{"holdout": [1]}',
    "holdout as text": '{"holdout": "a"}',
    "no object": "3",
    "nothing": "",
    "more behind it": '{"labels": null} x',
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_every_reader_refuses_what_the_model_refuses_in_one_short_line(
    text: str, make_params: Callable[..., Params], tmp_path: Path
) -> None:
    with pytest.raises(AnnotationError) as said:
        Annotations.read(text.encode())
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"")
    (folder / "dataset.json").write_text(text)
    with pytest.raises(ArchiveError) as prepared:
        open_source(make_params(f"prepare.source={folder}", "prepare.labels=file").prepare, Path("no earth"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"")
        archive.writestr("dataset.json", text)
    with pytest.raises(ArchiveError) as opened:
        ImageDataset(tmp_path / "a.zip", use_labels=True, xflip=False, split="all", max_images=None)
    for error in (said, prepared, opened):
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 1200
        assert str(said.value)[:100] in str(error.value)


def test_an_archive_with_more_classes_than_a_network_may_have_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"")
        archive.writestr("dataset.json", json.dumps({"labels": [["a.png", MAX_CLASSES]]}))
    with pytest.raises(ArchiveError, match=r"class 65,536\. Expected at most 65,536 classes"):
        ImageDataset(tmp_path / "a.zip", use_labels=True, xflip=False, split="all", max_images=None)


def test_numbers_with_gaps_are_renumbered_named_by_the_old_ones_and_said(
    make_params: Callable[..., Params], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, colour in (("a.png", "red"), ("b.png", "blue"), ("c.png", "green")):
        Image.new("RGB", (16, 16), colour).save(tmp_path / name)
    given = {"labels": [["a.png", 2_000_000_000], ["b.png", 7], ["c.png", 7]]}
    (tmp_path / "dataset.json").write_text(json.dumps(given))
    config = make_params(f"prepare.source={tmp_path}", "prepare.labels=file", "prepare.holdout_fraction=0").prepare
    prepare(config, tmp_path / "out.zip", tmp_path / "manifest.json", Path("no earth"), workers=1)
    said = capsys.readouterr().out
    assert "class numbers have gaps: the 2 from 7 to 2000000000 became 0 to 1, named by their old numbers" in said
    assert max(map(len, said.split("\n"))) < 500
    data = ImageDataset(tmp_path / "out.zip", use_labels=True, xflip=False, split="all", max_images=None)
    assert data.class_names == ["7", "2000000000"]
    assert data.labels([0, 1, 2]).argmax(dim=1).tolist() == [1, 0, 0]


def test_names_of_classes_keep_their_numbers_and_dense_numbers_stay() -> None:
    named = Annotations.read(b'{"labels": [["a", 2]], "class_names": ["x", "y", "z"]}')
    assert (named.labels, named.class_names, named.note) == ([("a", 2)], ["x", "y", "z"], "")
    dense = Annotations.read(b'{"labels": [["a", 1], ["b", 0], ["c", null]]}')
    assert (dense.labels, dense.class_names, dense.note) == ([("a", 1), ("b", 0)], None, "")


def test_more_classes_than_the_limit_are_refused() -> None:
    with pytest.raises(AnnotationError, match="put several classes into one"):
        renumber(np.arange(MAX_CLASSES + 1))


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16"])
def test_a_file_of_a_windows_editor_is_read(codec: str) -> None:
    assert Annotations.read(labels("1").encode(codec)).labels == [("a.png", 1), ("b.png", 0)]


@pytest.mark.parametrize("given", [[1, "2"], [0], None, [True, False], [10**5000, 0], [[0.5], [1.0]]])
def test_labels_of_a_dataset_in_one_file_are_held_to_the_same_model(given: object) -> None:
    with pytest.raises(AnnotationError):
        Annotations.of_classes(["a", "b"], given, None)


def test_a_piece_may_hold_no_label_at_all() -> None:
    assert LabelModel().check([["a", None]])[0] == []


NFC, NFD = "é/ä.png", unicodedata.normalize("NFD", "é/ä.png")


@pytest.mark.parametrize(
    ("file", "name"),
    [("a/b.png", r"a\b.png"), ("a/b.png", "./a//b.png"), (NFC, NFD), (NFD, NFC), (r"a\b.png", "a/b.png")],
)
def test_a_label_finds_its_file_however_the_path_is_spelt(file: str, name: str, tmp_path: Path) -> None:
    assert match_names(["other.png", file])(name) == file
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        buffer = io.BytesIO()
        Image.new("RGB", (4, 4)).save(buffer, "png")
        archive.writestr(file, buffer.getvalue())
        archive.writestr("dataset.json", json.dumps({"labels": [[name, 3]], "holdout": [name]}))
    if "\\" not in file:  # only Windows writes such entries, and no archive of this project has them
        data = ImageDataset(tmp_path / "a.zip", use_labels=True, xflip=False, split="holdout", max_images=None)
        assert data.labels([0]).argmax().item() == 3


def test_of_two_files_that_differ_in_normal_form_alone_each_has_its_own_label() -> None:
    find = match_names([NFC, NFD])
    assert (find(NFC), find(NFD), find("./" + NFC)) == (NFC, NFD, "./" + NFC)
