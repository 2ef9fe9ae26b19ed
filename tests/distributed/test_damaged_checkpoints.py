"""Under a real Ray: a damaged newest checkpoint costs its replay and no failure, and changes no bit of the outcome."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from pipelines.artifacts.workspace import GENERATOR
from pipelines.cluster.connection import connect
from pipelines.params import Params
from pipelines.tracking import publisher
from pipelines.train import driver as stage
from pipelines.train.driver import run
from pipelines.train.snapshots import STATE

pytestmark = [pytest.mark.distributed, pytest.mark.long, pytest.mark.timeout(600)]

# Ten ticks with a snapshot every third, and no failure that Ray may forgive.
OVERRIDES = (
    "train.total_kimg=0.08", "train.tick_kimg=0.008", "train.snapshot_ticks=3", "augment.p=0.2",
    "cluster.max_failures=0",
)  # fmt: skip
SHORTER = ("train.total_kimg=0.072",)  # where both have a snapshot
LAST = "nimg_000000072"  # of the shorter run


@pytest.fixture(scope="module", autouse=True)
def tracking_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Publish to a database of this module instead of the checkout's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(stage, "publishing", partial(publisher.publishing, root=tmp_path_factory.mktemp("tracking")))
        yield


@pytest.fixture(scope="module")
def ray(tiny_params: Params) -> Iterator[None]:
    with connect(tiny_params.cluster):
        yield


def work_tree(folder: Path, archive: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    shutil.copyfile(archive, folder / "data" / "archive.zip")
    return folder


def outcome(root: Path) -> dict[str, bytes]:
    """What the stage promises, and the last state"""
    (last,) = root.glob(f"runs/*/checkpoints/nimg_000000080/{STATE}")
    files = [root / "models" / "train.json", root / "models" / GENERATOR, root / "reports" / "ticks.csv", last]
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def undisturbed(
    ray: None, make_params: Callable[..., Params], tiny_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    root = work_tree(tmp_path_factory.mktemp("undisturbed") / "root", tiny_archive)
    run(make_params(*OVERRIDES), root, root / "runs")
    return outcome(root)


@pytest.fixture(scope="module")
def begun(
    ray: None, make_params: Callable[..., Params], tiny_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A work tree whose run has come to 72 of 80 images"""
    root = work_tree(tmp_path_factory.mktemp("begun") / "root", tiny_archive)
    run(make_params(*OVERRIDES, *SHORTER), root, root / "runs")
    return root


def change_a_byte(newest: Path) -> None:
    content = bytearray((newest / STATE).read_bytes())
    content[len(content) // 2] ^= 1
    (newest / STATE).write_bytes(content)


def cut(newest: Path) -> None:
    (newest / STATE).write_bytes((newest / STATE).read_bytes()[:1000])


@pytest.mark.parametrize("harm", [change_a_byte, cut, shutil.rmtree])
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one_and_ends_as_an_undisturbed_run(
    harm: Callable[[Path], None], begun: Path, undisturbed: dict[str, bytes], make_params: Callable[..., Params],
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    root = Path(shutil.copytree(begun, tmp_path / "root"))
    (newest,) = root.glob(f"runs/*/checkpoints/{LAST}")
    harm(newest)
    capsys.readouterr()
    run(make_params(*OVERRIDES), root, root / "runs")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if LAST in line]
    if harm is shutil.rmtree:
        assert "it lists nimg_000000072, which is gone) and removed; training resumes from nimg_000000048" in line
    else:
        assert line.startswith(f"damaged checkpoint {LAST} is not used: {newest}/{STATE}: ")
        assert line.endswith("Training starts from nimg_000000048, the newest that is whole.")
    assert outcome(root) == undisturbed
