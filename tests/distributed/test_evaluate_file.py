"""`python -m pipelines.evaluate --network`: any generator against any images, as a user types it."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pipelines.evaluate import external
from pipelines.evaluate.measurement import EvaluationError, open_matching
from pipelines.params import Params
from stylegan.data import ArchiveError, ImageDataset
from stylegan.networks import Generator
from tests.conftest import TINY

OFFICIAL = Path(__file__).parents[1] / "parity" / "data" / "origG_origD_r16.pkl"


def generator(params: Params, resolution: int = 16, channels: int = 3, c_dim: int = 0) -> Generator:
    return Generator(params.generator, img_resolution=resolution, img_channels=channels, c_dim=c_dim)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(external, "ROOT", tmp_path)
    return tmp_path / "runs"


def test_an_archive_is_taken_as_it_is(tiny_params: Params, tiny_archive: Path, runs: Path) -> None:
    assert external.archive_of(tiny_archive, generator(tiny_params), tiny_params) == tiny_archive
    assert not runs.exists()


def test_a_folder_is_prepared_at_the_size_and_in_the_colours_of_the_generator(
    tiny_params: Params, write_pictures: Callable[..., list[str]], runs: Path, tmp_path: Path
) -> None:
    for label in ("a", "b"):
        write_pictures(tmp_path / "images" / label, 3, size=40)
    G = generator(tiny_params, resolution=32, channels=1, c_dim=2)
    archive = external.archive_of(tmp_path / "images", G, tiny_params)
    assert archive.is_relative_to(runs)
    dataset = open_matching(archive, G)
    assert (dataset.img_shape, len(dataset), dataset.c_dim) == ((1, 32, 32), 6, 2)  # nothing is held out
    assert external.archive_of(tmp_path / "images", G, tiny_params) == archive


def test_images_of_another_kind_are_refused(tiny_params: Params, tiny_archive: Path) -> None:
    with pytest.raises(EvaluationError) as caught:
        open_matching(tiny_archive, generator(tiny_params, resolution=32))
    assert str(caught.value) == (
        f"{tiny_archive}: resolution, channels and label width are (16, 3, 0), of the generator (32, 3, 0). "
        "Evaluate it on images of the same kind: `dvc repro evaluate` first trains on the present archive, and "
        "--data accepts other images."
    )


def zip_of(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder).as_posix())
    return target


def test_a_zip_is_prepared_as_its_folder_is(
    make_params: Callable[..., Params], write_pictures: Callable[..., list[str]], runs: Path, tmp_path: Path
) -> None:
    """Also if its first image happens to suit the generator."""
    write_pictures(tmp_path / "images" / "a", 3, size=16)
    write_pictures(tmp_path / "images" / "b", 3, size=40)
    params = make_params("prepare.max_bad_share=0")
    G = generator(params, c_dim=2)
    of_zip = external.archive_of(zip_of(tmp_path / "images", tmp_path / "images.ZIP"), G, params)
    of_folder = external.archive_of(tmp_path / "images", G, params)
    assert of_zip.read_bytes() == of_folder.read_bytes()
    assert (len(open_matching(of_zip, G)), open_matching(of_zip, G).c_dim) == (6, 2)


def test_an_archive_of_another_size_is_prepared_with_its_labels_and_its_split(
    make_params: Callable[..., Params], tiny_archive: Path, runs: Path
) -> None:
    params = make_params("prepare.max_bad_share=0")
    G = generator(params, resolution=32, channels=1, c_dim=2)
    archive = external.archive_of(tiny_archive, G, params)
    assert archive != tiny_archive
    assert (open_matching(archive, G).img_shape, len(open_matching(archive, G))) == ((1, 32, 32), 18)


def test_no_image_is_left_out_unless_it_is_asked_for(
    make_params: Callable[..., Params], write_pictures: Callable[..., list[str]], runs: Path, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "images", 99)
    Image.new("RGB", (30, 20)).save(tmp_path / "images" / "wide.png")
    params = make_params("prepare.max_bad_share=0")  # as `evaluate --network` sets it
    with pytest.raises(ArchiveError, match=r"1 of 100 images \(1\.0%\) cannot be used"):
        external.archive_of(tmp_path / "images", generator(params), params)
    allowed = make_params("prepare.max_bad_share=0.01")
    assert (
        len(open_matching(external.archive_of(tmp_path / "images", generator(params), allowed), generator(params)))
        == 99
    )


def test_the_command_refuses_a_loss_that_the_stage_prepare_would_bear(
    repository: Path, write_pictures: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.evaluate import __main__ as command

    shutil.copy(repository / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    given: list[Params] = []

    def stop(params: Params, *_: object) -> None:
        given.append(params)
        raise SystemExit

    monkeypatch.setattr(external, "evaluate_file", stop)
    for overrides in ([], ["prepare.max_bad_share=0.2"]):
        with pytest.raises(SystemExit):
            command.main(["--network", "any.pkl", *overrides])
    assert [params.prepare.max_bad_share for params in given] == [0, 0.2]


def test_data_that_is_not_there_is_named(tiny_params: Params, runs: Path, tmp_path: Path) -> None:
    for data in (tmp_path / "gone.zip", tmp_path / "gone"):
        with pytest.raises(ArchiveError, match=rf"{data}: not found"):
            external.archive_of(data, generator(tiny_params), tiny_params)


@pytest.mark.distributed
def test_official_network_is_measured_on_a_folder_and_recorded(
    repository: Path, write_pictures: Callable[..., list[str]], tmp_path: Path
) -> None:
    write_pictures(tmp_path / "images", 12)
    shutil.copy(repository / "params.yaml", tmp_path)
    run = subprocess.run(
        [sys.executable, "-m", "pipelines.evaluate", "--network", str(OFFICIAL), "--data", "images", "--out", "out",
         *TINY, "evaluate.num_images=9", "evaluate.truncation_psi=[0.5, 1.0]"],
        cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
        env=os.environ | {"DVC_ROOT": str(tmp_path), "PYTHONPATH": str(repository), "MLFLOW_TRACKING_URI": ""},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (content["num_images"], content["num_real"], content["cur_nimg"]) == (9, 12, None)
    assert content["recommended"]["sentence"] in run.stdout
    assert (tmp_path / "out" / "neighbors.png").read_bytes().startswith(b"\x89PNG")
    (journal,) = (tmp_path / "runs").glob("*/tracking.jsonl")
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    assert {"params", "dataset", "summary", "tags", "artifact", "status"} == {record["kind"] for record in records}
    (bookmark,) = journal.parent.glob("tracking/published-*.json")  # the server has all of it
    assert json.loads(bookmark.read_text())["offset"] == journal.stat().st_size


def test_open_matching_reads_the_train_split(tiny_params: Params, tiny_archive: Path) -> None:
    assert isinstance(open_matching(tiny_archive, generator(tiny_params)), ImageDataset)
    assert len(open_matching(tiny_archive, generator(tiny_params))) == 18
