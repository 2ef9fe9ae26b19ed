"""Checkpoints between snapshots, without Ray: when they come, what is kept, and that they change no bit."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.train import Checkpoint, Result

from benchmarks.faults.project import digest
from pipelines.cluster import workers
from pipelines.cluster.files import Shared
from pipelines.params import Params
from pipelines.train import recent
from pipelines.train.driver import past_damage, reached
from pipelines.train.integrity import CHECKSUMS, Damaged
from pipelines.train.recent import Keeper, frozen_copy, newest
from pipelines.train.snapshots import STATE
from pipelines.train.worker import train_worker
from stylegan import checkpoint as files
from stylegan.checkpoint import save_checkpoint
from stylegan.data import ImageDataset
from stylegan.state import TrainState
from stylegan.train import train

Make = Callable[..., Params]
# Eight ticks of a step, p adjusted every third step, and no snapshot before the end.
LONG = ("train.tick_kimg=0.004", "train.total_kimg=0.032", "train.snapshot_ticks=100", "augment.p=0.2",
        "augment.ada_interval=3", "augment.ada_kimg=1", "monitor.num_images=0", "monitor.export=last")  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the Keeper's clock shows; a minute passes whenever it is looked at"""
    now = [0.0]

    def look() -> float:
        now[0] += 60
        return now[0]

    monkeypatch.setattr(recent.time, "monotonic", look)
    return now


@dataclass
class Reported:
    """What a worker told Ray."""

    positions: list[float] = field(default_factory=list)
    states: list[str] = field(default_factory=list)  # digests of the tensors of each snapshot


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> Reported:
    said = Reported()

    def report(row: dict[str, Any], checkpoint: Checkpoint | None = None, **_: Any) -> None:
        said.positions.append(row["nimg"])
        if checkpoint is not None:
            said.states.append(digest(Path(checkpoint.path) / STATE))

    monkeypatch.setattr("ray.train.report", report)
    monkeypatch.setattr("ray.train.get_checkpoint", lambda: None)
    monkeypatch.setattr("ray.train.get_preemption_info", lambda: None)
    monkeypatch.setattr("ray.train.torch.get_device", lambda: torch.device("cpu"))
    return said


def work(params: Params, archive: Path, state: Path) -> str | int | Damaged | None:
    """A worker's whole life, alone"""
    job = {"files": {"archive": Shared(archive, "", None, None)}, "folder": state, "state": str(state)}
    return train_worker(job | {"params": params, "spare_checkpoints": [], "driver_node": None, "yardstick": None})


def names(state: Path) -> list[str]:
    return sorted(path.name for path in (state / "resume").iterdir())


def test_they_come_after_so_many_minutes_at_the_end_of_a_tick_and_the_last_two_stay(
    clock: list[float], reported: Reported, make_params: Make, tiny_archive: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    begun: list[int] = []
    monkeypatch.setattr(recent, "frozen_copy", lambda state: begun.append(state.cur_nimg) or frozen_copy(state))
    monkeypatch.setattr(Keeper, "_is_due", slowly(Keeper._is_due))
    work(make_params(*LONG, "cluster.checkpoint_minutes=2"), tiny_archive, tmp_path)
    assert len(begun) >= 2
    assert all(nimg % 4 == 0 for nimg in begun)
    assert names(tmp_path) == [f"resume_{nimg:09d}" for nimg in begun[-2:]]
    size = sum(file.stat().st_size for file in (tmp_path / "resume" / names(tmp_path)[0]).iterdir())
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "checkpoint to resume from every 2 min" in line]
    assert line.endswith(
        f"{size / 1e6:.1f} MB each; with snapshots the run takes about {5 * size / 1e6:.1f} MB at most"
    )


def slowly(is_due: Callable[[Keeper], bool]) -> Callable[[Keeper], bool]:
    """As on a run whose ticks take longer than writing"""

    def asked(keeper: Keeper) -> bool:
        keeper.finish()
        return is_due(keeper)

    return asked


def test_the_size_that_is_told_counts_the_snapshots_that_ray_keeps() -> None:
    assert recent.NUM_SNAPSHOTS == workers.NUM_TO_KEEP + 1


def test_none_is_written_if_the_parameters_say_so(
    clock: list[float], reported: Reported, make_params: Make, tiny_archive: Path, tmp_path: Path
) -> None:
    work(make_params(*LONG, "cluster.checkpoint_minutes=0"), tiny_archive, tmp_path)
    assert not (tmp_path / "resume").exists()


def test_a_run_that_resumes_from_one_ends_with_the_bits_of_a_run_that_wrote_none(
    clock: list[float], reported: Reported, make_params: Make, tiny_archive: Path, tmp_path: Path
) -> None:
    work(make_params(*LONG, "cluster.checkpoint_minutes=0"), tiny_archive, tmp_path / "undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recent, "save_checkpoint", killed_at(16))
        work(make_params(*LONG, "cluster.checkpoint_minutes=1"), tiny_archive, tmp_path / "run")
    assert newest(str(tmp_path / "run"), 32) is not None
    begun = reached(str(tmp_path / "run"))
    assert begun % 4 == 0
    assert 0 < begun < 32
    del reported.positions[:]
    work(make_params(*LONG, "cluster.checkpoint_minutes=0"), tiny_archive, tmp_path / "run")
    assert reported.positions == [float(nimg) for nimg in range(begun, 33, 4)]
    undisturbed, writing, resumed = reported.states
    assert undisturbed == writing == resumed


def killed_at(nimg: int) -> Callable[[TrainState, Path], None]:
    """Writes states up to a position, and none beyond, as if the run had been killed there"""

    def save(state: TrainState, path: Path) -> None:
        if state.cur_nimg > nimg:
            raise OSError(28, "No space left on device")
        files.save_checkpoint(state, path)

    return save


def test_what_is_written_is_the_state_of_the_moment_however_training_goes_on(
    make_params: Make, tiny_archive: Path, tmp_path: Path
) -> None:
    params = make_params(*LONG)
    dataset = ImageDataset(tiny_archive, use_labels=False, xflip=False, split="train", max_images=None)
    state = TrainState.create(params, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))
    ticks = train(state, dataset)
    next(ticks)
    save_checkpoint(state, tmp_path / "then")
    frozen = frozen_copy(state)
    next(ticks)
    save_checkpoint(frozen, tmp_path / "frozen")
    save_checkpoint(state, tmp_path / "later")
    assert (tmp_path / "frozen").read_bytes() == (tmp_path / "then").read_bytes() != (tmp_path / "later").read_bytes()


@pytest.fixture(params=["folder", "store"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "folder" else f"memory://{tmp_path.name}"


def test_one_that_a_kill_cut_short_is_passed_over_and_removed_by_the_next(url: str, make_params: Make) -> None:
    state = TrainState.create(make_params(), img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))
    for nimg in (8, 16, 24):
        state.cur_nimg = nimg
        recent.write(recent.store.join(url, "resume"), state, {"nimg": float(nimg), "kimg": nimg / 1000}, None)
    fs, folder = recent.store.filesystem(recent.store.join(url, "resume"))
    fs.delete_file(f"{folder}/resume_000000024/{CHECKSUMS}")
    assert [recent.newest_nimg(url), reached(url)] == [16, 16]
    found = newest(url, 15)
    assert found is not None
    with found.as_directory() as here:
        assert json.loads((Path(here) / "tick.json").read_text()) == {"nimg": 8, "kimg": 0.008}
    recent.prune(recent.store.join(url, "resume"), 16)
    assert sorted(recent.store.list_names(recent.store.join(url, "resume"))) == [
        "resume_000000008",
        "resume_000000016",
    ]
    recent.remove(url)
    assert reached(url) == 0


def test_a_damaged_one_is_named_and_the_one_before_it_is_used(
    tmp_path: Path, make_params: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    state = TrainState.create(make_params(), img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))
    for nimg in (8, 16):
        state.cur_nimg = nimg
        recent.write(str(tmp_path / "resume"), state, {"nimg": float(nimg), "kimg": nimg / 1000}, None)
    (tmp_path / "checkpoints").mkdir()
    register = tmp_path / "checkpoints" / "checkpoint_manager_snapshot.json"
    register.write_text("{}")
    results = [Damaged("resume_000000016", f"{tmp_path}/resume/resume_000000016/{STATE}: damaged."), None]

    def attempt(spares: Any) -> Result:
        result = Result(metrics=None, checkpoint=None, error=None, path="")
        object.__setattr__(result, "return_value", results.pop(0))
        return result

    past_damage(attempt, [], str(tmp_path))
    assert capsys.readouterr().out == (
        f"damaged checkpoint resume_000000016 is not used: {tmp_path}/resume/resume_000000016/{STATE}: damaged. The "
        "one before it is.\n"
    )
    assert reached(str(tmp_path)) == 8
    assert register.exists(), "the snapshots are as they were"


def test_a_disk_that_is_full_costs_a_line_and_no_training(
    clock: list[float], reported: Reported, make_params: Make, tiny_archive: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(recent, "save_checkpoint", killed_at(0))
    assert work(make_params(*LONG, "cluster.checkpoint_minutes=1"), tiny_archive, tmp_path) is None
    assert "warning: no checkpoint to resume from was written: " in capsys.readouterr().out
    assert (reported.positions[-1], len(reported.states)) == (32.0, 1)
