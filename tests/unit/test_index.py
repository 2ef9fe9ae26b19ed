"""stylegan.data.index: names, labels and split of an archive, whatever its size."""

import json
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stylegan.data import ArchiveError, ImageDataset, annotations
from stylegan.data.index import Index, read_index
from stylegan.data.zipped import ZipReader
from tests.wide_archive import write_wide_archive


def read(path: Path, *, use_labels: bool = True) -> Index:
    return read_index(path, ZipReader(path), use_labels=use_labels)


def archive(path: Path, names: list[str], facts: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"")
        file.writestr("dataset.json", facts)
    return path


NAMES = ["b/2.PNG", "a/1.png", "a/10.jpg", "ä.npy", "c.png"]
LABELS = {"b/2.PNG": 3, "a/1.png": 0, "a/10.jpg": 1, "ä.npy": 2, "c.png": 0}
FACTS: dict[str, Any] = {
    "labels": [[name, label] for name, label in LABELS.items()], "class_names": None, "holdout": ["ä.npy", "a/10.jpg"],
}  # fmt: skip


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("piece", [1, 2, 1000])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"other": [[1], {"a": "]"}], "empty": [], "nothing": {}, "last": '\\"]}'},
        {"labels": LABELS, "class_names": ["w", "x", "y", "z", "unused"]},
        {"labels": [["no such image", 3], *FACTS["labels"], ["a longer name than any of those images has.png", 1]]},
        {"labels": [["c.png", 2], *FACTS["labels"]]},  # the last one counts
        {"holdout": []},
        {"holdout": None},
    ],
)
def test_facts_are_those_that_json_reads(
    more: dict[str, Any], piece: int, indent: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotations, "PIECE", piece)
    facts = FACTS | more
    found = read(archive(tmp_path / "a.zip", [*NAMES, "notes.txt"], json.dumps(facts, indent=indent)))
    names = [name.decode() for name in found.names]
    assert names == sorted(NAMES)
    assert found.labels is not None
    assert dict(zip(names, found.labels.tolist(), strict=True)) == LABELS
    assert found.labels.dtype == np.int32
    assert found.num_classes == max(4, len(facts["class_names"] or ()))
    held = {name for name, held in zip(names, found.is_held_out, strict=True) if held}
    assert held == set(facts["holdout"] or ())
    assert found.class_names == facts["class_names"]


def test_vectors_are_read_as_float32(tmp_path: Path) -> None:
    facts = {"labels": [["a.png", [1, 2]], ["b.png", [0.1, -3]]]}
    found = read(archive(tmp_path / "a.zip", ["a.png", "b.png"], json.dumps(facts)))
    assert found.labels is not None
    assert found.labels.tolist() == np.array([[1, 2], [0.1, -3]], np.float32).tolist()
    assert (found.labels.dtype, found.num_classes) == (np.float32, 0)


@pytest.mark.parametrize(
    "facts",
    [
        "", "[]", "{", '{"labels": [', '{"labels": [["a.png", 1]}', '{"labels" 1}', '{"a": 1,}', '{"a": [1,]}',
        "{'a': 1}", '{"labels": [["a.png", "cat"]]}', '{"labels": [["a.png", -1]]}', '{"labels": [["a.png", 1.5]]}',
        '{"labels": [["a.png", [1]], ["b.png", 1]]}', '{"labels": [["a.png", [1]], ["b.png", [1, 2]]]}',
    ],
)  # fmt: skip
def test_facts_that_cannot_be_read_refuse_the_archive(facts: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", ["a.png", "b.png"], facts)
    with pytest.raises(ArchiveError, match="not a dataset archive"):
        ImageDataset(path, use_labels=True, xflip=False, split="all", max_images=None)


def test_labels_of_one_piece_unlike_those_of_another_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotations, "PIECE", 1)
    path = archive(tmp_path / "a.zip", ["a.png", "b.png"], '{"labels": [["a.png", [1]], ["b.png", 1]]}')
    with pytest.raises(ValueError, match="labels are of kind int, vector of 1"):
        read(path)


FEW, MANY = 20_000, 40_000  # images, many pieces of 4,096


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Archives by the number of their images"""
    folder = tmp_path_factory.mktemp("wide")
    paths = {count: folder / f"{count}.zip" for count in (FEW, MANY)}
    for count, path in paths.items():
        write_wide_archive(path, count, num_classes=7)
    return paths


def test_an_image_more_takes_two_dozen_bytes_and_no_object(
    wide: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So ten million take 200 MB. A name alone, as a string, would take 70 bytes."""
    monkeypatch.setattr(annotations, "PIECE", 4096)
    kept, peak = {}, {}
    for count, path in wide.items():
        tracemalloc.start()
        data = ImageDataset(path, use_labels=True, xflip=True, split="train", max_images=None)
        kept[count], peak[count] = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(data) == 2 * count * 19 // 20
    assert kept[MANY] - kept[FEW] < 24 * (MANY - FEW)  # places 8, rows 4, labels 4
    # While it is opened: the text of dataset.json twice (30 bytes and 30), names (21) and what is kept.
    assert peak[MANY] - peak[FEW] < 200 * (MANY - FEW)


def test_labels_and_split_of_a_wide_archive(wide: dict[int, Path]) -> None:
    found = read(wide[FEW])
    assert found.labels is not None
    assert np.array_equal(found.labels, np.arange(FEW) % 7)
    assert np.array_equal(np.flatnonzero(found.is_held_out), np.arange(0, FEW, 20))
