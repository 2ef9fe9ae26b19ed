"""pipelines.prepare: what the stage writes, what it says, and how it fails."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import prepare as stage
from pipelines.params import Params
from stylegan.data import ArchiveError, ImageDataset

Make = Callable[..., Params]
Write = Callable[..., list[str]]


def run(config: Params, folder: Path) -> dict[str, object]:
    stage.prepare(config.prepare, folder / "archive.zip", folder / "manifest.json", folder / "none.jpg", workers=2)
    facts: dict[str, object] = json.loads((folder / "manifest.json").read_text())
    return facts


def test_the_manifest_describes_every_image_and_the_archive(
    make_params: Make, tmp_path: Path, write_pictures: Write
) -> None:
    write_pictures(tmp_path / "set" / "cat", 5)
    config = make_params(f"prepare.source={tmp_path / 'set'}", "prepare.holdout_fraction=0.4")
    facts = run(config, tmp_path)
    image = facts["images"][2]
    source = tmp_path / "set" / "cat" / "good02.png"
    assert image["source"] == str(source)
    assert image["name"] == "00000/img00000002.png"
    assert image["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (image["width"], image["height"], image["mode"], image["label"]) == (20, 20, "RGB", None)
    assert facts["split"] == {"holdout": 2, "train": 3}
    assert facts["prepare"] == config.prepare.model_dump(mode="json")
    assert facts["archive_sha256"] == hashlib.sha256((tmp_path / "archive.zip").read_bytes()).hexdigest()


def test_the_archive_says_by_itself_what_is_held_out(make_params: Make, tmp_path: Path, write_pictures: Write) -> None:
    write_pictures(tmp_path / "set", 10)
    facts = run(make_params(f"prepare.source={tmp_path / 'set'}", "prepare.holdout_fraction=0.3"), tmp_path)
    (tmp_path / "manifest.json").unlink()
    data = ImageDataset(tmp_path / "archive.zip", use_labels=False, xflip=False, split="holdout", max_images=None)
    assert len(data) == facts["split"]["holdout"] == 3


def test_an_archive_prepared_again_keeps_images_labels_and_split(
    make_params: Make, tmp_path: Path, tiny_archive: Path
) -> None:
    facts = run(make_params(f"prepare.source={tiny_archive}", "prepare.labels=file"), tmp_path)
    assert (tmp_path / "archive.zip").read_bytes() == tiny_archive.read_bytes()
    assert facts["class_counts"] == {"0": 12, "1": 12}


def test_the_console_lists_bad_files_classes_and_what_was_enlarged(
    make_params: Make, tmp_path: Path, write_pictures: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "set" / "cat", 2, size=8)
    write_pictures(tmp_path / "set" / "dog", 1)
    (tmp_path / "set" / "dog" / "bad.jpg").write_text("text")
    (tmp_path / "set" / "notes.txt").write_text("text")
    run(make_params(f"prepare.source={tmp_path / 'set'}", "prepare.labels=folders"), tmp_path)
    said = capsys.readouterr().out
    assert (
        "1 of 4 files cannot be used:\n"
        f"  {tmp_path}/set/dog/bad.jpg  cannot be decoded (not an image file); replace or remove it\n"
        "Left out, as prepare.bad_files is skip.\n"
    ) in said
    assert said.endswith(
        f"{tmp_path}/archive.zip: 3 images RGB, 2 to train, 1 held out\n"
        "classes: cat 2, dog 1\n"
        "2 images are smaller than prepare.resolution and were enlarged\n"
        "1 files are not images by their names and were ignored; the manifest lists them\n"
    )


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(stage.track(range(25), 25, "checking")) == list(range(25))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("checking 3/25 images, ")
    assert lines[-1] == "checking 25/25 images, 0 s left"


def test_a_failed_run_leaves_the_earlier_archive_as_it_was(
    make_params: Make, tmp_path: Path, write_pictures: Write
) -> None:
    write_pictures(tmp_path / "set", 3)
    run(make_params(f"prepare.source={tmp_path / 'set'}"), tmp_path)
    before = (tmp_path / "archive.zip").read_bytes()
    (tmp_path / "set" / "bad.png").write_text("text")
    with pytest.raises(ArchiveError, match="1 of 4 files cannot be used"):
        run(make_params(f"prepare.source={tmp_path / 'set'}", "prepare.bad_files=fail"), tmp_path)
    assert (tmp_path / "archive.zip").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["archive.zip", "manifest.json", "set"]
