"""The stage under a real Ray: what it writes, and that neither SIGKILL nor a damaged register changes any of it."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from pipelines.artifacts import ticks
from pipelines.artifacts.workspace import GENERATOR
from pipelines.cluster.connection import connect
from pipelines.params import Params
from pipelines.tracking import publisher
from pipelines.train import driver as stage
from pipelines.train.driver import TrainError, run
from pipelines.train.snapshots import STATE
from stylegan.checkpoint import load_checkpoint, load_generator, load_networks
from stylegan.files import sha256_of
from stylegan.state import TrainState

pytestmark = [
    pytest.mark.distributed,
]

Make = Callable[..., Params]
# Twenty ticks of two steps, with a snapshot every third: some ticks are replayed after most kills. G learns so fast
# that it soon gets worse.
OVERRIDES = (
    "train.total_kimg=0.16", "train.tick_kimg=0.008", "train.snapshot_ticks=3", "augment.p=0.2", "augment.ada_kimg=0.2",
    "train.g_lr=0.06", "train.d_lr=0.005",
)  # fmt: skip
EVERY_TICK = list(range(8, 161, 8))


@pytest.fixture(scope="module")
def make_root(tmp_path_factory: pytest.TempPathFactory, tiny_archive: Path) -> Callable[[], Path]:
    """make_root() -> a work tree as `prepare` leaves it"""

    def make() -> Path:
        root = tmp_path_factory.mktemp("root")
        (root / "data").mkdir()
        (root / "data" / "archive.zip").write_bytes(tiny_archive.read_bytes())
        return root

    return make


@pytest.fixture(scope="module", autouse=True)
def tracking_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Publish to a database of this module instead of the checkout's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        here = partial(publisher.publishing, root=tmp_path_factory.mktemp("tracking"))
        patch.setattr(stage, "publishing", here)
        yield


@pytest.fixture(scope="module")
def ray(tiny_params: Params) -> Iterator[None]:
    with connect(tiny_params.cluster):
        yield


@pytest.fixture(scope="module")
def params(make_params: Make) -> Params:
    return make_params(*OVERRIDES)


@pytest.fixture(scope="module")
def finished(ray: None, params: Params, make_root: Callable[[], Path]) -> Path:
    """The work tree after an uninterrupted run"""
    root = make_root()
    assert run(params, root, root / "runs").parent == root / "runs"
    return root


def table(root: Path) -> list[dict[str, str]]:
    with (root / "reports" / "ticks.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def outputs(root: Path) -> tuple[bytes, bytes]:
    return (root / "models" / "generator.safetensors").read_bytes(), (root / "models" / "train.json").read_bytes()


def best_of(root: Path) -> int:
    """Position of the snapshot with the lowest KID"""
    measured = [row for row in table(root) if row["monitor/kid"]]
    return round(float(min(measured, key=lambda row: float(row["monitor/kid"]))["nimg"]))


def folder_of(root: Path) -> Path:
    (folder,) = (root / "runs").iterdir()
    return folder


def test_stage_writes_generator_record_and_log(finished: Path) -> None:
    folder = folder_of(finished)
    assert json.loads((finished / "models" / "train.json").read_text()) == {
        "version": 1,
        "fingerprint": folder.name,
        "archive_sha256": sha256_of(finished / "data" / "archive.zip"),
        "resume_from": None,
        "snapshot": "best",
        "cur_nimg": best_of(finished),
        "trained_nimg": 160,
        "seed": 0,
    }
    G = load_generator(finished / "models" / "generator.safetensors")
    assert G(torch.randn(2, G.z_dim), torch.zeros(2, 0)).isfinite().all()
    assert [float(row["nimg"]) for row in table(finished)] == EVERY_TICK
    assert all(cost and cost > 0 for row in ticks.read(folder) for cost in (row.sec, row.sec_per_kimg, row.memory_gb))
    snapshots = [24, 48, 72, 96, 120, 144, 160]
    drawn = [0, *snapshots]  # the first of the untrained generator
    assert sorted(path.stem for path in (folder / "samples").iterdir()) == [f"{nimg:09d}" for nimg in drawn]
    assert [float(row["nimg"]) for row in table(finished) if row["contribution/b16"]] == snapshots
    kinds = [json.loads(line)["kind"] for line in (folder / "tracking.jsonl").read_text().splitlines()]
    assert kinds.count("metrics") == len(EVERY_TICK)
    assert kinds.count("image") == len(snapshots)
    assert kinds[-1] == "status"


def test_the_best_snapshot_is_exported_and_kept_whole_beside_the_last(finished: Path) -> None:
    best, checkpoints = best_of(finished), folder_of(finished) / "checkpoints"
    assert best < 144, "the newest are kept in any case"
    kept = sorted(int(path.name.removeprefix("nimg_")) for path in checkpoints.glob("nimg_*"))
    assert {best, 160} <= {*kept}
    # Ray keeps two of the best: a damaged one leaves another.
    assert len(kept) == 3
    exported = (finished / "models" / "generator.safetensors").read_bytes()
    assert exported == (checkpoints / f"nimg_{best:09d}" / GENERATOR).read_bytes()
    assert exported != (checkpoints / "nimg_000000160" / GENERATOR).read_bytes()
    assert load_networks(checkpoints / f"nimg_{best:09d}" / STATE).G
    records = [json.loads(line) for line in (folder_of(finished) / "tracking.jsonl").read_text().splitlines()]
    tags = {name: value for record in records if record["kind"] == "tags" for name, value in record["values"].items()}
    assert (tags["snapshot"], tags["snapshot_kimg"]) == ("best", best / 1000)
    assert tags["alarm/kid-rising"].startswith("kid-rising: At kimg 0.")


def test_a_finished_run_is_not_trained_again_but_goes_on_from_its_last_snapshot_whatever_the_best(
    finished: Path, ray: None, params: Params
) -> None:
    before, log = outputs(finished), folder_of(finished) / "ticks.jsonl"
    lines = log.read_text()
    (finished / "models" / "generator.safetensors").unlink()  # as DVC does before it runs a stage
    # A kill may come after Ray has registered a checkpoint and before its tick is logged.
    log.write_text("".join(lines.splitlines(keepends=True)[:-1]))
    best = folder_of(finished) / "checkpoints" / f"nimg_{best_of(finished):09d}"
    aside = (best / STATE).rename(best / "aside")  # to go on from it is an error now
    run(params, finished, finished / "runs")
    aside.rename(best / STATE)
    assert outputs(finished) == before
    assert log.read_text() == lines


def test_half_of_a_register_costs_no_checkpoint(finished: Path, ray: None, params: Params) -> None:
    """Ray does not write its register of checkpoints whole."""
    before, checkpoints = (outputs(finished), table(finished)), folder_of(finished) / "checkpoints"
    register = checkpoints / "checkpoint_manager_snapshot.json"
    register.write_bytes(register.read_bytes()[:100])
    run(params, finished, finished / "runs")
    assert (outputs(finished), table(finished)) == before
    assert json.loads(register.read_text())


def test_a_changed_parameter_is_a_run_of_its_own_and_a_diverging_one_stops_with_its_last_good_checkpoint(
    finished: Path, ray: None, make_params: Make
) -> None:
    before, first = outputs(finished), folder_of(finished)
    # Weights of the order of 1000 in every layer after the first step: the second one's gradients overflow.
    diverging = ("augment.mode=none", "loss.r1_gamma=0.0", "loss.pl_weight=0.0", "train.d_lr=1000.0")
    params = make_params(*OVERRIDES, *diverging, "train.tick_kimg=0.004", "train.snapshot_ticks=1")
    with pytest.raises(TrainError) as caught:
        run(params, finished, finished / "runs")
    assert outputs(finished) == before
    (second,) = set((finished / "runs").iterdir()) - {first}
    state = TrainState.create(params, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))
    newest = max((second / "checkpoints").glob("nimg_*"))
    load_checkpoint(state, newest / STATE)
    assert all(p.isfinite().all() for net in (state.G, state.D, state.G_ema) for p in net.parameters())
    assert f"{state.cur_nimg:09d}" == newest.name.removeprefix("nimg_")
    # Ray would have wrapped the message and counted attempts, had it tried again.
    assert re.match(
        rf"the gradients of phase (Gmain|Dmain) are not finite at kimg 0\.0\d\d\. The snapshot of kimg "
        rf"{state.cur_nimg / 1000:g} is good and kept as {newest}\. ",
        str(caught.value),
    )
    assert [row.nimg for row in ticks.read(second)] == list(range(4, state.cur_nimg + 1, 4))
    assert json.loads((second / "tracking.jsonl").read_text().splitlines()[-1])["status"] == "FAILED"


def test_a_run_starts_from_networks_and_keeps_those_that_are_frozen(
    finished: Path, ray: None, make_params: Make, make_root: Callable[[], Path]
) -> None:
    root = make_root()
    file = root / "pretrained" / "state.safetensors"
    file.parent.mkdir()
    name = json.loads((finished / "models" / "train.json").read_text())["fingerprint"]
    file.write_bytes((finished / "runs" / name / "checkpoints" / "nimg_000000160" / STATE).read_bytes())
    overrides = ("train.resume_from=pretrained/state.safetensors", "train.freeze_g=2", "train.total_kimg=0.008")
    slow = ("train.g_lr=0.0025", "generator.mapping_layers=3")
    folder = run(make_params(*OVERRIDES, *overrides, *slow), root, root / "runs")
    record = json.loads((root / "models" / "train.json").read_text())["resume_from"]
    assert (record["file"], record["sha256"]) == ("pretrained/state.safetensors", sha256_of(file))
    assert json.loads((folder / "transfer.json").read_text()) == record
    assert {"name": "G.mapping.fc2.bias", "action": "initialised", "reason": "not in the file"} in (
        record["report"]["entries"]
    )
    before = load_networks(file).G
    (state,) = (folder / "checkpoints").glob(f"nimg_*/{STATE}")
    after = load_networks(state).G
    assert torch.equal(after["synthesis.b4.const"], before["synthesis.b4.const"])
    assert torch.equal(after["synthesis.b4.conv1.weight"], before["synthesis.b4.conv1.weight"])
    moved = (after["synthesis.b8.conv0.weight"] - before["synthesis.b8.conv0.weight"]).abs()
    assert 0 < moved.max() < 0.02  # two steps of about 0.002 from where it was
    records = [json.loads(line) for line in (folder / "tracking.jsonl").read_text().splitlines()]
    assert "transfer.json" in {record["name"] for record in records if record["kind"] == "artifact"}
