"""pipelines.peek and the snapshots that are kept, without Ray: which run, which snapshot, and what is refused."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from ray.train import Checkpoint

from pipelines import peek
from pipelines.artifacts import run_json
from pipelines.artifacts.run_json import RunRecord
from pipelines.params import Params, trained_values
from pipelines.peek import PeekError, choose_run, lay_out, params_of
from pipelines.train.divergence import after_divergence
from pipelines.train.kept import Kept, newest_nimg, registered, take
from pipelines.train.recent import end_nimg

Make = Callable[..., Params]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with three registered snapshots, a fourth that is being written, and a checkpoint that is no snapshot"""
    folder = tmp_path / "run" / "checkpoints"
    kids = {"nimg_000000024": 0.3, "nimg_000000008": 0.2, "nimg_000000016": math.nan, "leaving_000000020": math.inf}
    for name in (*kids, "nimg_000000032"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_text(name)
    positions = {name: float(name.rpartition("_")[2]) for name in kids}
    results = [
        {"checkpoint_dir_name": name, "metrics": {"nimg": nimg, "kimg": nimg / 1000, "monitor/kid": kids[name]}}
        for name, nimg in positions.items()
    ]
    (folder / "checkpoint_manager_snapshot.json").write_text(json.dumps({"checkpoint_results": results}))
    return tmp_path / "run"


@pytest.mark.parametrize(("best", "nimg"), [(False, 24), (True, 8)])
def test_the_newest_or_the_best_snapshot_that_is_whole_is_taken(
    best: bool, nimg: int, run: Path, tmp_path: Path
) -> None:
    assert [kept.nimg for kept in registered(str(run))] == [8, 16, 24]
    assert newest_nimg(str(run)) == 32
    kept = take(str(run), "file", lambda kept: tmp_path / str(kept.nimg), best=best)
    assert (kept.nimg, (tmp_path / str(nimg)).read_text()) == (nimg, f"nimg_{nimg:09d}")


def test_a_snapshot_that_goes_while_it_is_copied_is_not_waited_for(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trainer registers another and deletes it."""
    monkeypatch.setattr("pipelines.train.kept.WAIT_SEC", 0.0)
    (run / "checkpoints" / "nimg_000000024" / "file").unlink()
    register = run / "checkpoints" / "checkpoint_manager_snapshot.json"

    def place(kept: Kept) -> Path:
        if kept.nimg == 24:
            content = json.loads(register.read_text())
            register.write_text(json.dumps({"checkpoint_results": content["checkpoint_results"][1:]}))
        return tmp_path / "copy"

    assert take(str(run), "file", place, best=False).nimg == 16
    assert (tmp_path / "copy").read_text() == "nimg_000000016"


@pytest.mark.parametrize("content", [None, "", "{", "{}"])
def test_a_run_without_a_snapshot_says_when_there_is_one(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.train.kept.WAIT_SEC", 0.0)
    if content is not None:
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "checkpoint_manager_snapshot.json").write_text(content)
    with pytest.raises(FileNotFoundError, match=r"no snapshot yet\. The first comes after train\.tick_kimg x"):
        take(str(tmp_path), "file", lambda kept: tmp_path / "copy", best=False)


@pytest.fixture
def runs(tmp_path: Path, tiny_params: Params) -> Path:
    for number, name in enumerate(("first", "second", "unstarted")):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "driver.lock").touch()
        if name != "unstarted":
            run_json.write(folder, RunRecord(archive_sha256="a", sections=trained_values(tiny_params)))
            (folder / "ticks.jsonl").touch()
            os.utime(folder / "ticks.jsonl", (number, number))
    return tmp_path / "runs"


def test_the_run_that_logged_last_is_looked_at_or_the_one_that_is_named(runs: Path) -> None:
    assert choose_run(runs, None).name == "second"
    assert choose_run(runs, "first").name == "first"
    with pytest.raises(PeekError) as caught:
        choose_run(runs, "third")
    assert str(caught.value) == f"{runs / 'third'}: not a run that can be looked at; found first, second."
    with pytest.raises(PeekError, match=r"no runs yet\. `dvc repro train` starts one\."):
        choose_run(runs / "none", None)


def test_training_is_as_the_run_says_and_measuring_as_params_yaml_says_on_one_process(
    runs: Path, make_params: Make, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    other = make_params("train.seed=7", "loss.r1_gamma=3.0", "evaluate.seed=5")
    run_json.write(runs / "first", RunRecord(archive_sha256="a", sections=trained_values(other)))
    monkeypatch.chdir(repository)
    params = params_of(runs / "first", ["evaluate.num_images=700", "monitor.num_images=9"])
    assert (params.train, params.loss, params.monitor) == (other.train, other.loss, other.monitor)
    assert (params.evaluate.num_images, params.evaluate.seed) == (700, 0)
    assert (params.cluster.num_workers, params.cluster.use_gpu, params.cluster.address) == (1, False, None)


def test_the_work_tree_itself_is_no_place_for_a_look(tmp_path: Path) -> None:
    with pytest.raises(PeekError, match=r"holds what DVC keeps\. Name another folder with --out\."):
        lay_out(tmp_path, tmp_path)


def test_help_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        peek.main(["--help"])
    assert caught.value.code == 0
    assert "--networks FILE" in capsys.readouterr().out


@pytest.mark.parametrize(("total", "end"), [("0.028", 28), ("0.029", 32), ("0.03", 32), ("0.001", 4)])
def test_training_ends_with_the_first_whole_step_that_reaches_the_total(
    total: str, end: int, make_params: Make
) -> None:
    assert end_nimg(make_params(f"train.total_kimg={total}").train) == end


def test_after_a_divergence_the_command_names_the_snapshot_and_halves_the_rates(make_params: Make) -> None:
    params = make_params("train.precision=bf16", "train.total_kimg=40", "train.g_lr=0.004", "train.d_lr=0.002")
    found = after_divergence("It failed.", params, "abc", Checkpoint("/runs/abc/checkpoints/nimg_000012000"))
    assert found == (
        "It failed. The snapshot of kimg 12 is good and kept as /runs/abc/checkpoints/nimg_000012000. To continue "
        "from its networks with half the learning rates: `python -m pipelines.peek --run abc --networks "
        "pretrained/abc-12kimg.safetensors && python -m pipelines.train "
        "train.resume_from=pretrained/abc-12kimg.safetensors train.total_kimg=28 train.g_lr=0.002 train.d_lr=0.001`; "
        "or raise loss.r1_gamma from 0.01 to 0.04, or set train.precision to fp32."
    )
    assert after_divergence("It failed.", make_params(), "abc", None) == (
        "It failed. No snapshot was saved before. Start again with `python -m pipelines.train train.g_lr=0.00125 "
        "train.d_lr=0.00125`, or raise loss.r1_gamma from 0.01 to 0.04."
    )
