"""pipelines.train without Ray: names of runs, one trainer a run, damaged registers; tests/distributed runs it."""

import json
import math
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.train import Checkpoint, Result
from safetensors.torch import load_file

from pipelines.artifacts.workspace import GENERATOR
from pipelines.cluster.files import Shared
from pipelines.params import Params
from pipelines.train import snapshots
from pipelines.train.driver import TrainError, exclusive
from pipelines.train.identity import monitor_extractor
from pipelines.train.kept import spare_checkpoints, whole
from pipelines.train.pulse import Pulse
from pipelines.train.snapshots import STATE, chosen, contributions, resume, snapshot
from pipelines.train.start import open_training_set
from pipelines.train.worker import measure, train_worker
from stylegan import monitor
from stylegan.checkpoint import load_generator, read_class_names
from stylegan.config import ConfigError
from stylegan.data import ImageDataset
from stylegan.data.arrays import encode_array
from stylegan.metrics.arrays import MetricError
from stylegan.networks import Generator
from stylegan.state import TrainState
from stylegan.step import Trainer
from stylegan.train import Tick

Make = Callable[..., Params]


def test_a_second_trainer_is_refused_with_the_first_one_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with exclusive(folder), pytest.raises(TrainError) as caught, exclusive(folder):
        pass
    pid = os.getpid()
    assert str(caught.value) == (
        f"{folder}: process {pid} is training this run. Wait until it ends and run the same command again, or end "
        f"it with `kill {pid}`; the run then resumes from its last checkpoint."
    )
    with exclusive(folder):  # free again
        pass


def measure_again(G: Generator) -> dict[str, float]:
    """What a worker measures of a snapshot"""
    return {"monitor/kid": 0.25}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    for nimg in ("000000008", "000000016"):
        (tmp_path / f"nimg_{nimg}").mkdir()
    return tmp_path


def test_a_whole_register_is_left_to_ray(checkpoints: Path) -> None:
    (checkpoints / "checkpoint_manager_snapshot.json").write_text("{}")
    assert spare_checkpoints(str(checkpoints), None) == []
    assert (checkpoints / "checkpoint_manager_snapshot.json").exists()


@pytest.mark.parametrize("content", ["", '{"checkpoint_results": [{"chec'])
def test_a_register_cut_short_is_set_aside_and_checkpoints_are_tried_newest_first(
    content: str, checkpoints: Path
) -> None:
    (checkpoints / "checkpoint_manager_snapshot.json").write_text(content)
    assert [Path(spare.path).name for spare in spare_checkpoints(str(checkpoints), None)] == [
        "nimg_000000016",
        "nimg_000000008",
    ]
    assert not (checkpoints / "checkpoint_manager_snapshot.json").exists()


def test_a_fresh_run_has_no_checkpoints(tmp_path: Path) -> None:
    assert spare_checkpoints(str(tmp_path / "none"), None) == []


def test_a_row_holds_position_speed_memory_and_statistics(tiny_params: Params) -> None:
    job = {"params": tiny_params, "driver_node": None, "kernels": "kernels: all"}
    row = measure(Tick(1, 4000, {"loss/G": 0.5}, is_snapshot=False, is_last=False), sec=3.0, nimg=2000, job=job)
    assert row.pop("memory_gb") > 0
    own = row.pop("own")
    assert (own["busy_sec_per_kimg"] <= 1.5, own["kernels"]) == (True, "kernels: all")
    assert row == {"nimg": 4000, "kimg": 4, "sec": 3, "sec_per_kimg": 1.5, "loss/G": 0.5}


@pytest.fixture
def dataset(tiny_archive: Path) -> ImageDataset:
    return ImageDataset(tiny_archive, use_labels=True, xflip=False, split="train", max_images=None)


def create(params: Params) -> TrainState:
    return TrainState.create(params, img_resolution=16, img_channels=3, c_dim=2, device=torch.device("cpu"))


def test_a_snapshot_holds_state_generator_pictures_and_row(tiny_params: Params, dataset: ImageDataset) -> None:
    with snapshot(create(tiny_params), dataset, {"nimg": 8.0, "kimg": 0.008, "loss/G": 0.1}, "yard") as checkpoint:
        assert checkpoint is not None
        folder = Path(checkpoint.path)
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        assert names == {
            "state.safetensors", "generator.safetensors", "samples.png", "tick.json", "monitor.json", "checksums.json",
        }  # fmt: skip
        assert load_generator(folder / GENERATOR).c_dim == 2
        assert read_class_names(folder / GENERATOR) == ["circle", "square"]
        assert json.loads((folder / "tick.json").read_text()) == {"nimg": 8, "kimg": 0.008, "loss/G": 0.1}
    assert not folder.exists()


def test_a_snapshot_of_a_skip_generator_logs_contributions_that_sum_to_100(
    make_params: Make, dataset: ImageDataset
) -> None:
    row = contributions(create(make_params()), dataset)
    assert list(row) == ["contribution/b4", "contribution/b8", "contribution/b16"]
    assert sum(row.values()) == pytest.approx(100)
    assert row == contributions(create(make_params("train.batch_gpu=4")), dataset)  # fixed latents
    for architecture in ("orig", "resnet"):
        assert contributions(create(make_params(f"generator.architecture={architecture}")), dataset) == {}


@pytest.fixture
def work(
    tiny_archive: Path, tmp_path: Path, reports: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Params], None]:
    """work(params): the whole life of a worker, alone"""
    monkeypatch.setattr("ray.train.torch.get_device", lambda: torch.device("cpu"))
    job = {"files": {"archive": Shared(tiny_archive, "", None, None)}, "folder": tmp_path / "none"}
    job |= {"state": str(tmp_path / "none")}

    def run(params: Params) -> None:
        nothing = {"spare_checkpoints": [], "driver_node": None, "yardstick": None}
        assert train_worker({"params": params} | nothing | job) is None

    return run


def test_the_worker_reports_contributions_and_kid_with_snapshots_only(
    work: Callable[[Params], None], make_params: Make, reports: list[dict[str, Any]]
) -> None:
    work(make_params("train.snapshot_ticks=3", "train.total_kimg=0.032", "train.tick_kimg=0.008"))
    for column in ("contribution/b16", "monitor/kid", "monitor/precision", "monitor/recall", "monitor/spread"):
        found = [(report["has_state"], column in report["row"]) for report in reports]
        assert found == [(snapshot, snapshot) for snapshot, _ in found]
        assert {True, False} == {snapshot for snapshot, _ in found}


def test_a_worker_that_is_asked_to_end_saves_beside_the_snapshots_with_a_score_that_a_register_can_hold(
    tiny_archive: Path,
    tmp_path: Path,
    make_params: Make,
    reports: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ray.train.torch.get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(Pulse, "should_end", lambda pulse, nimg: nimg == 12)
    job = {"files": {"archive": Shared(tiny_archive, "", None, None)}, "folder": tmp_path / "none"}
    job |= {"state": str(tmp_path / "none")}
    job |= {"params": make_params(), "spare_checkpoints": [], "driver_node": None, "yardstick": None}
    assert train_worker(job) == 12  # half of the second tick
    assert [(report["name"], report["has_state"]) for report in reports] == [
        (None, False),  # the pictures before the first step
        ("nimg_000000008", True),
        ("leaving_000000012", True),
    ]
    last = json.loads(json.dumps({name: value for name, value in reports[-1]["row"].items() if name != "own"}))
    assert last["nimg"] == 8
    assert math.isfinite(last["monitor/kid"])
    assert last["monitor/kid"] > 1e9, "never the best"


def test_what_is_measured_changes_no_bit_of_the_training(
    work: Callable[[Params], None],
    make_params: Make,
    reports: list[dict[str, Any]],
    states: list[dict[str, torch.Tensor]],
) -> None:
    for overrides in ([], ["monitor.num_images=5"], ["monitor.num_images=0", "monitor.export=last"]):
        work(make_params("train.total_kimg=0.016", *overrides))
    measured, otherwise, unmeasured = (states[start : start + 2] for start in (0, 2, 4))
    for state, *others in zip(measured, otherwise, unmeasured, strict=True):
        for other in others:
            assert state.keys() == other.keys()
            assert all(torch.equal(tensor, other[name]) for name, tensor in state.items())
    rows = [report["row"] for report in reports if report["has_state"]]
    assert [row.get("monitor/kid") for row in rows[4:]] == [None] * 2
    assert len({row["monitor/kid"] for row in rows[:4]}) == 4


def test_training_may_round_to_tf32_and_what_it_measures_and_draws_never_does(
    work: Callable[[Params], None], make_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[bool]] = {}

    def watch(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            seen.setdefault(name, set()).add(torch.backends.cudnn.allow_tf32)
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, watched)

    watch(Trainer, "step")
    for owner, name in ((monitor, "features"), (monitor, "kernel_distance_left_out"), (snapshots, "generate_images"),
                        (snapshots, "layer_contributions")):  # fmt: skip
        watch(owner, name)
    work(make_params("train.allow_tf32=true"))
    assert seen.pop("step") == {True}
    assert seen == {
        name: {False} for name in ("features", "kernel_distance_left_out", "generate_images", "layer_contributions")
    }


@pytest.mark.parametrize(("export", "nimg"), [("best", 16), ("last", 24)])
def test_the_parameters_choose_the_snapshot_that_becomes_the_generator(
    export: str, nimg: int, make_params: Make, tmp_path: Path
) -> None:
    best, last = (Checkpoint.from_directory(tmp_path / name) for name in ("best", "last"))
    rows = [{"nimg": nimg, "kimg": nimg / 1000, "monitor/kid": kid} for nimg, kid in ((24.0, 0.3), (16.0, 0.2))]
    result = Result(
        metrics=rows[0], checkpoint=last, error=None, path="", best_checkpoints=[(last, rows[0]), (best, rows[1])]
    )
    checkpoint, row = chosen(result, make_params(f"monitor.export={export}").monitor)
    assert (checkpoint, row.nimg) == ({"best": best, "last": last}[export], nimg)


def test_too_few_images_or_no_weights_to_measure_with_are_refused_before_anything_starts(
    make_params: Make, dataset: ImageDataset, tmp_path: Path
) -> None:
    with pytest.raises(MetricError) as caught:
        monitor_extractor(make_params("monitor.num_images=50", "monitor.pr_neighbors=18"), dataset, tmp_path)
    assert str(caught.value) == (
        f"{dataset.path}: monitor.pr_neighbors is 18, but each of its 18 training images has fewer others. Lower "
        "monitor.pr_neighbors, or set monitor.num_images to 0 and monitor.export to last."
    )
    with pytest.raises(FileNotFoundError) as missing:
        monitor_extractor(make_params("monitor.extractor=efficientnet_lite0"), dataset, tmp_path)
    assert str(missing.value).startswith(f"monitor.extractor is efficientnet_lite0: {tmp_path / 'efficientnet_lite0'}")
    assert str(missing.value).endswith(
        "The same holds for monitor.extractor, and with monitor.num_images 0 and monitor.export last nothing is "
        "measured while training."
    )
    unmeasured = make_params("monitor.num_images=0", "monitor.export=last", "monitor.extractor=efficientnet_lite0")
    assert monitor_extractor(unmeasured, dataset, tmp_path) is None


@pytest.fixture
def states() -> list[dict[str, torch.Tensor]]:
    """Tensors of every snapshot that a worker reported"""
    return []


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch, states: list[dict[str, torch.Tensor]]) -> list[dict[str, Any]]:
    """What a worker told Ray, which has no checkpoint for it"""
    said: list[dict[str, Any]] = []

    def report(
        row: dict[str, float], checkpoint: Checkpoint | None = None, checkpoint_dir_name: str | None = None, **_: Any
    ) -> None:
        files = [] if checkpoint is None else [path.name for path in Path(checkpoint.path).iterdir()]
        said.append({"row": row, "name": checkpoint_dir_name, "has_state": STATE in files})
        if checkpoint is not None:
            states.append(load_file(Path(checkpoint.path) / STATE))

    monkeypatch.setattr("ray.train.report", report)
    monkeypatch.setattr("ray.train.get_checkpoint", lambda: None)
    monkeypatch.setattr("ray.train.get_preemption_info", lambda: None)
    return said


def keep(folder: Path, state: TrainState, dataset: ImageDataset, nimg: int) -> Path:
    """Write the snapshot of a position as Ray keeps it."""
    state.cur_nimg = nimg
    with snapshot(state, dataset, {"nimg": nimg, "kimg": nimg / 1000}, None) as checkpoint:
        assert checkpoint is not None
        shutil.copytree(checkpoint.path, folder / f"nimg_{nimg:09d}")
    return folder / f"nimg_{nimg:09d}"


@pytest.mark.parametrize("damage", ["state.safetensors", "tick.json", "missing"])
def test_without_a_register_the_newest_checkpoint_that_can_be_read_is_resumed_and_registered(
    damage: str, tmp_path: Path, tiny_params: Params, dataset: ImageDataset, reports: list[dict[str, Any]]
) -> None:
    state = create(tiny_params)
    for nimg in (8, 16):
        newest = keep(tmp_path, state, dataset, nimg)
    if damage == "missing":
        (newest / STATE).unlink()
    else:
        content = (newest / damage).read_bytes()
        (newest / damage).write_bytes(content[: len(content) // 2])
    fresh = create(tiny_params)
    resume(fresh, dataset, whole(spare_checkpoints(str(tmp_path), None)), None, measure_again)
    assert fresh.cur_nimg == 8
    assert reports == [{"row": {"nimg": 8, "kimg": 0.008}, "name": "nimg_000000008", "has_state": True}]


def test_without_a_register_every_checkpoint_is_registered_again_and_the_newest_goes_on(
    tmp_path: Path, tiny_params: Params, dataset: ImageDataset, reports: list[dict[str, Any]]
) -> None:
    for nimg in (8, 24, 16):  # the best, the last, and one more
        keep(tmp_path, create(tiny_params), dataset, nimg)
    fresh = create(tiny_params)
    resume(fresh, dataset, spare_checkpoints(str(tmp_path), None), None, measure_again)
    assert fresh.cur_nimg == 24
    assert [report["name"] for report in reports] == ["nimg_000000008", "nimg_000000016", "nimg_000000024"]


def test_snapshots_of_another_yardstick_are_measured_again_and_those_of_the_same_are_not(
    tmp_path: Path, tiny_params: Params, dataset: ImageDataset, reports: list[dict[str, Any]]
) -> None:
    for nimg, yardstick in ((8, "old"), (16, "new")):
        row = {"nimg": nimg, "kimg": nimg / 1000, "monitor/kid": 0.5}
        with snapshot(create(tiny_params), dataset, row, yardstick) as checkpoint:
            assert checkpoint is not None
            shutil.copytree(checkpoint.path, tmp_path / f"nimg_{nimg:09d}")
    register = tmp_path / "checkpoint_manager_snapshot.json"
    for yardstick in (None, "new"):
        register.write_text("{}")
        assert len(spare_checkpoints(str(tmp_path), yardstick)) == (2 if yardstick else 0)
        assert register.exists() == (yardstick is None)
    resume(create(tiny_params), dataset, spare_checkpoints(str(tmp_path), "new"), "new", measure_again)
    assert [report["row"] for report in reports] == [
        {"nimg": 8, "kimg": 0.008, "monitor/kid": 0.25},
        {"nimg": 16, "kimg": 0.016, "monitor/kid": 0.5},
    ]


def test_nothing_to_resume_stays_fresh(
    tmp_path: Path, tiny_params: Params, dataset: ImageDataset, reports: list[dict[str, Any]]
) -> None:
    state = create(tiny_params)
    resume(state, dataset, spare_checkpoints(str(tmp_path), None), None, measure_again)
    assert (state.cur_nimg, reports) == (0, [])


def test_a_registered_checkpoint_is_resumed_and_its_tick_said_again_but_not_registered_twice(
    tmp_path: Path,
    tiny_params: Params,
    dataset: ImageDataset,
    reports: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registered = Checkpoint.from_directory(keep(tmp_path, create(tiny_params), dataset, 16))
    monkeypatch.setattr("ray.train.get_checkpoint", lambda: registered)
    state = create(tiny_params)
    resume(state, dataset, [], None, measure_again)
    assert state.cur_nimg == 16
    assert reports == [{"row": {"nimg": 16, "kimg": 0.016}, "name": None, "has_state": False}]


def test_channels_that_the_augmentations_do_not_take_are_refused_before_anything_starts(
    make_params: Make, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(4):  # as many as evaluation needs
            archive.writestr(f"img{number}.npy", encode_array(np.zeros((16, 16, 5), np.uint8)))
    with pytest.raises(ConfigError) as caught:
        open_training_set(tmp_path / "a.zip", make_params())
    assert str(caught.value) == (
        "augment.multipliers brightness, contrast, lumaflip, hue, saturation change colours, which L, RGB and RGBA "
        "images have, but images of 5 channels do not. Set them to 0."
    )
    assert open_training_set(tmp_path / "a.zip", make_params("augment.mode=none")).channels == 5


def test_too_few_images_for_what_is_measured_are_refused_before_anything_starts(
    make_params: Make, tiny_archive: Path
) -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.pr_neighbors is 9, which needs two halves .* Set .* to 8, or"):
        open_training_set(tiny_archive, make_params("evaluate.pr_neighbors=9", "evaluate.num_images=10"))
    assert len(open_training_set(tiny_archive, make_params("evaluate.pr_neighbors=7"))) == 18


def test_an_archive_that_holds_nothing_out_is_refused_where_held_out_images_steer_p(
    make_params: Make, tiny_archive: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(4):  # as many as evaluation needs
            archive.writestr(f"img{number}.npy", encode_array(np.zeros((16, 16, 3), np.uint8)))
    params = make_params("augment.mode=ada_rv")
    with pytest.raises(ConfigError) as caught:
        open_training_set(tmp_path / "a.zip", params)
    assert str(caught.value) == (
        "augment.mode is ada_rv, which compares training images with held-out ones, but "
        f"{tmp_path / 'a.zip'} holds none out. Prepare it with a higher prepare.holdout_fraction, or set augment.mode "
        "to ada."
    )
    assert len(open_training_set(tiny_archive, params).holdout()) == 6
