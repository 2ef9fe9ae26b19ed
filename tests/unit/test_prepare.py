"""pipelines.prepare: what the stage writes, what it says, and how it fails."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from pipelines import prepare as stage
from pipelines.params import Params, load
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


def test_the_console_groups_bad_files_and_says_what_the_archive_holds(
    make_params: Make, tmp_path: Path, write_pictures: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "set" / "cat", 4, size=8)
    write_pictures(tmp_path / "set" / "dog", 1)
    (tmp_path / "set" / "dog" / "bad.jpg").write_text("text")
    for number in range(5):
        Image.new("RGB", (30 + number, 20)).save(tmp_path / "set" / "dog" / f"wide{number}.png")
    (tmp_path / "set" / "notes.txt").write_text("text")
    run(
        make_params(f"prepare.source={tmp_path / 'set'}", "prepare.labels=folders", "prepare.max_bad_share=1"), tmp_path
    )
    said = capsys.readouterr().out
    assert (
        "6 of 11 images cannot be used:\n"
        "      5 is not square; set prepare.transform to center-crop\n"
        f"        {tmp_path}/set/dog/wide0.png (30 x 20)\n"
        f"        {tmp_path}/set/dog/wide1.png (31 x 20)\n"
        f"        {tmp_path}/set/dog/wide2.png (32 x 20)\n"
        "        and 2 others\n"
        "      1 cannot be decoded; replace or remove it\n"
        f"        {tmp_path}/set/dog/bad.jpg (not an image file)\n"
        f"They are left out. All of them: {tmp_path}/manifest.json\n"
    ) in said
    assert said.endswith(
        f"{tmp_path}/archive.zip: 5 images RGB, 4 to train, 1 held out\n"
        "classes: cat 4, dog 1\n"
        "4 images are smaller than prepare.resolution and were enlarged\n"
        f"1 file is ignored, not named as images (.txt 1), such as {tmp_path}/set/notes.txt\n"
    )


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(stage.track(range(25), 25, "checking")) == list(range(25))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("checking 3/25 images, ")
    assert lines[-1] == "checking 25/25 images, 0 s left"


def test_a_refused_run_leaves_the_earlier_archive_as_it_was_and_lists_every_bad_file(
    make_params: Make, tmp_path: Path, write_pictures: Write
) -> None:
    write_pictures(tmp_path / "set", 3)
    source = f"prepare.source={tmp_path / 'set'}"
    run(make_params(source), tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in ("archive.zip", "manifest.json")}
    for number in range(9):
        (tmp_path / "set" / f"bad{number}.png").write_text("text")
    with pytest.raises(ArchiveError, match=r"9 of 12 images \(75\.0%\) cannot be used"):
        run(make_params(source), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    listed = json.loads((tmp_path / "bad_files.json").read_text())
    assert [file["source"] for file in listed] == [f"{tmp_path}/set/bad{number}.png" for number in range(9)]
    for number in range(9):
        (tmp_path / "set" / f"bad{number}.png").unlink()
    run(make_params(source), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["archive.zip", "manifest.json", "set"]


@pytest.mark.slow
def test_the_built_in_images_give_the_archive_that_the_stage_graph_recorded(repository: Path, tmp_path: Path) -> None:
    """No change of how images are prepared or held out may retrain the default run."""
    config = load(repository / "params.yaml").prepare
    lock = yaml.safe_load((repository / "dvc.lock").read_text())
    recorded = {out["path"]: out["md5"] for out in lock["stages"]["prepare"]["outs"]}
    stage.prepare(config, tmp_path / "archive.zip", tmp_path / "manifest.json", repository / stage.EARTH, workers=2)
    found = hashlib.md5((tmp_path / "archive.zip").read_bytes(), usedforsecurity=False).hexdigest()
    assert found == recorded["data/archive.zip"]
