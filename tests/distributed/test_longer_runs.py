"""Stage train under a real Ray when train.total_kimg or monitor changes: the same run, and the same weights."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pipelines import peek
from pipelines.artifacts import ticks, train_json
from pipelines.artifacts.workspace import EXPORTED, GENERATOR
from pipelines.cluster.connection import connect
from pipelines.params import Params
from pipelines.tracking import publisher
from pipelines.train import driver as stage
from pipelines.train.driver import TrainError, run
from pipelines.train.kept import registered
from pipelines.train.snapshots import STATE
from stylegan.checkpoint import load_networks

pytestmark = [pytest.mark.distributed, pytest.mark.long]

Make = Callable[..., Params]
SHORT = (
    "train.total_kimg=0.04", "train.tick_kimg=0.008", "train.snapshot_ticks=2", "augment.p=0.2", "augment.ada_kimg=0.2",
    "train.g_lr=0.06", "train.d_lr=0.005", "monitor.export=last",
)  # fmt: skip
LONG = (*SHORT, "train.total_kimg=0.072", "monitor.export=best")


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
def make_root(tmp_path_factory: pytest.TempPathFactory, tiny_archive: Path) -> Callable[[], Path]:
    """make_root() -> a work tree as `prepare` leaves it"""

    def make() -> Path:
        root = tmp_path_factory.mktemp("root")
        (root / "data").mkdir()
        (root / "data" / "archive.zip").write_bytes(tiny_archive.read_bytes())
        return root

    return make


@pytest.fixture(scope="module")
def straight(ray: None, make_params: Make, make_root: Callable[[], Path]) -> Path:
    """The work tree of a run that had the larger total from the start"""
    root = make_root()
    run(make_params(*LONG), root, root / "runs")
    return root


@pytest.fixture(scope="module")
def longer(ray: None, make_params: Make, make_root: Callable[[], Path]) -> Path:
    """That of a run which ended, and was made longer"""
    root = make_root()
    first = run(make_params(*SHORT), root, root / "runs")
    assert train_json.read(root).trained_nimg == 40
    assert run(make_params(*LONG), root, root / "runs") == first
    return root


def copy_of(root: Path, tmp_path: Path) -> Path:
    """The work tree again, to be changed"""
    shutil.copytree(root, tmp_path / "copy")
    return tmp_path / "copy"


def folder_of(root: Path) -> Path:
    (folder,) = (root / "runs").iterdir()
    return folder


def state_at(root: Path, nimg: int) -> bytes:
    return (folder_of(root) / "checkpoints" / f"nimg_{nimg:09d}" / STATE).read_bytes()


def tensors_at(root: Path, nimg: int) -> dict[str, Tensor]:
    """Of the state, whose header also says how it is measured"""
    return load_file(folder_of(root) / "checkpoints" / f"nimg_{nimg:09d}" / STATE)


def test_a_larger_total_continues_the_run_and_ends_with_the_same_bits(straight: Path, longer: Path) -> None:
    assert folder_of(longer).name == folder_of(straight).name
    assert state_at(longer, 72) == state_at(straight, 72)
    record = train_json.read(longer)
    assert (record.fingerprint, record.trained_nimg) == (folder_of(longer).name, 72)
    kimg = [round(row.nimg) for row in ticks.read(folder_of(longer))]
    assert kimg == [8, 16, 24, 32, 40, 48, 56, 64, 72]  # 40 is a tick anyway: nothing was trained twice
    tags: dict[str, object] = {}
    named: dict[str, object] = {}
    for line in (folder_of(longer) / "tracking.jsonl").read_text().splitlines():
        said = json.loads(line)
        if said["kind"] in ("tags", "params"):
            (tags if said["kind"] == "tags" else named).update(said["values"])
    assert tags["train.total_kimg"] == 0.072
    assert "train.total_kimg" not in named
    assert "monitor.export" not in named
    assert named["train.batch_size"] == 4


@pytest.mark.parametrize(("total", "begins"), [(0.064, "kimg 0.064"), (0.024, "0, for no")])
def test_a_smaller_total_leaves_the_run_alone_and_has_the_weights_of_a_run_of_that_length(
    total: float, begins: str, straight: Path, make_params: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, params = copy_of(straight, tmp_path), make_params(*LONG, f"train.total_kimg={total}", "monitor.export=last")
    first = folder_of(root)
    kept = {path.name for path in (first / "checkpoints").glob("nimg_*")}
    if total == 0.064:
        assert "nimg_000000064" in kept, "the test needs it"
    folder = run(params, root, root / "runs")
    said = capsys.readouterr().out
    assert f"run {first.name} has come to kimg 0.072 and stays so" in said
    assert f"this is run {folder.name}, which begins " in said
    assert begins in said
    assert {path.name for path in (first / "checkpoints").glob("nimg_*")} == kept
    assert train_json.read(root).trained_nimg == round(total * 1000)
    assert [row.nimg for row in ticks.read(folder)] == list(range(8, round(total * 1000) + 1, 8))
    # Ray kept the snapshot of the straight run only by chance, so compare with one that is trained here.
    other = tmp_path / "other"
    (other / "data").mkdir(parents=True)
    shutil.copy(root / "data" / "archive.zip", other / "data")
    run(params, other, other / "runs")
    assert (root / EXPORTED).read_bytes() == (other / EXPORTED).read_bytes()


def test_another_monitor_trains_nothing_and_measures_the_snapshots_that_are_kept_again(
    straight: Path, make_params: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copy_of(straight, tmp_path)
    folder, before = folder_of(root), ticks.read(folder_of(root))
    state = tensors_at(root, 72)
    assert run(make_params(*LONG, "monitor.num_images=6"), root, root / "runs") == folder
    assert "monitor: changed since the" in capsys.readouterr().out
    now = tensors_at(root, 72)
    assert now.keys() == state.keys()
    assert all(torch.equal(now[name], state[name]) for name in state)
    after = ticks.read(folder)
    assert [row.nimg for row in after] == [row.nimg for row in before]
    kept = registered(str(folder))
    measured = {row.nimg: row.monitor.kid for row in after if row.monitor.kid is not None}
    assert measured == {each.nimg: each.row.monitor.kid for each in kept}
    assert not set(measured.values()) & {row.monitor.kid for row in before}
    assert train_json.read(root).cur_nimg == min(kept, key=lambda each: each.row.monitor.kid).nimg
    # Once is enough.
    run(make_params(*LONG, "monitor.num_images=6"), root, root / "runs")
    assert "monitor: changed" not in capsys.readouterr().out


def test_the_advice_after_a_divergence_copies_the_last_snapshot_and_names_a_run_that_starts_from_it(
    ray: None, make_params: Make, make_root: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_root()
    overrides = (*SHORT, "augment.mode=none", "loss.r1_gamma=0.0", "loss.pl_weight=0.0", "train.d_lr=1000.0",
                 "train.tick_kimg=0.004", "train.snapshot_ticks=1")  # fmt: skip
    with pytest.raises(TrainError) as caught:
        run(make_params(*overrides), root, root / "runs")
    folder, text = folder_of(root), str(caught.value)
    assert "\n" not in text
    commands = text.split("`")[1]
    look, again = (command.removeprefix("python -m ").split() for command in commands.split(" && "))
    assert (look[0], again[0]) == ("pipelines.peek", "pipelines.train")
    newest = max((folder / "checkpoints").glob("nimg_*"))
    assert f"kept as {newest}" in text
    monkeypatch.chdir(root)
    shutil.copy(Path(__file__).resolve().parents[2] / "params.yaml", root)
    monkeypatch.setattr(peek, "ROOT", root)
    peek.main(look[1:])
    file = root / "pretrained" / f"{folder.name}-{int(newest.name[5:]) / 1000:g}kimg.safetensors"
    assert file.read_bytes() == (newest / STATE).read_bytes()
    # That run is not trained here: a rate that diverges within steps has spoilt these networks too.
    params = make_params(*overrides, *again[1:])
    assert params.train.resume_from == f"pretrained/{file.name}"
    assert params.train.total_kimg == pytest.approx(0.04 - int(newest.name[5:]) / 1000)
    assert load_networks(file).G


def test_a_stopped_run_can_be_looked_at_without_touching_it_or_what_dvc_keeps(
    straight: Path, make_params: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    root = copy_of(straight, tmp_path)
    folder = folder_of(root)

    def files() -> dict[Path, bytes]:
        found = [path for path in root.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in found if not path.is_relative_to(folder / "peek")
                and not path.is_relative_to(root / "runs" / "features")}  # fmt: skip

    params = make_params(*LONG)
    monkeypatch.setattr(peek, "ROOT", root)
    before = files()
    page = peek.peek(peek_params(params, folder), folder, root, None, best=False)
    assert files() == before
    out = folder / "peek" / "000000072"
    assert page == out / "reports" / "index.html"
    assert page.stat().st_size > 10000
    assert (out / EXPORTED).read_bytes() == (folder / "checkpoints" / "nimg_000000072" / GENERATOR).read_bytes()
    assert json.loads((out / "reports" / "metrics.json").read_text())["cur_nimg"] == 72
    assert f"run {folder.name}: the newest snapshot, of kimg 0.072" in capsys.readouterr().out


def peek_params(params: Params, folder: Path) -> Params:
    """As peek makes them, over the tiny parameters instead of params.yaml"""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peek, "load", lambda overrides: params)
        return peek.params_of(folder, [])
