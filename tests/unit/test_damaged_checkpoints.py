"""Damaged checkpoints without Ray: found whatever the damage is, named, left out; see also tests/distributed."""

import json
import math
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from ray.train import Checkpoint, Result

from pipelines.artifacts.workspace import EXPORTED, GENERATOR
from pipelines.params import Params
from pipelines.train.driver import TrainError, past_damage
from pipelines.train.integrity import CHECKSUMS, Damaged, DamagedError
from pipelines.train.kept import REGISTER, set_aside, spare_checkpoints, whole
from pipelines.train.snapshots import ROW, STATE, export, find_damage, resume, snapshot
from stylegan.data import ImageDataset
from stylegan.state import TrainState
from stylegan.tensor_files import CheckpointError

FILES = ["state.safetensors", "generator.safetensors", "samples.png", "tick.json", "monitor.json", CHECKSUMS]
SEEDS = range(4)


def create(params: Params) -> TrainState:
    return TrainState.create(params, img_resolution=16, img_channels=3, c_dim=2, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def dataset(tiny_archive: Path) -> ImageDataset:
    return ImageDataset(tiny_archive, use_labels=True, xflip=False, split="train", max_images=None)


@pytest.fixture(scope="module")
def original(
    tmp_path_factory: pytest.TempPathFactory, make_params: Callable[..., Params], dataset: ImageDataset
) -> Path:
    """A folder of checkpoints: snapshots of 8 and 16 images, and one that was saved when the run was interrupted"""
    folder, state = tmp_path_factory.mktemp("checkpoints"), create(make_params())
    for name, nimg, sums in (("nimg", 8, None), ("nimg", 16, None), ("leaving", 20, {"loss/G": [0.5, 1.0, 1.0]})):
        state.cur_nimg = nimg
        row = {"nimg": float(nimg), "kimg": nimg / 1000, "monitor/kid": 0.25}
        with snapshot(state, dataset, row, "yard", sums) as checkpoint:
            assert checkpoint is not None
            shutil.copytree(checkpoint.path, folder / f"{name}_{nimg:09d}")
    return folder


@pytest.fixture
def checkpoints(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage"""
    return Path(shutil.copytree(original, tmp_path / "checkpoints"))


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Names of the checkpoints that a worker registered; None for a tick without"""
    said: list[str | None] = []
    monkeypatch.setattr(
        "ray.train.report", lambda row, checkpoint, checkpoint_dir_name, **_: said.append(checkpoint_dir_name)
    )
    monkeypatch.setattr("ray.train.get_checkpoint", lambda: None)
    return said


def flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def remove(path: Path, rng: random.Random) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [flip, cut, remove])
@pytest.mark.parametrize("name", FILES)
def test_a_changed_bit_a_cut_and_a_missing_file_are_found_in_every_file_and_nothing_else_is(
    name: str, harm: Callable[[Path, random.Random], None], checkpoints: Path
) -> None:
    newest = checkpoints / "nimg_000000016"
    before = (newest / name).read_bytes()
    for seed in SEEDS:
        assert find_damage(Checkpoint.from_directory(newest)) is None
        harm(newest / name, random.Random(seed))
        damaged = find_damage(Checkpoint.from_directory(newest))
        if (name, harm) == (CHECKSUMS, remove):  # as earlier versions wrote them: the state has its own checksum
            assert damaged is None
        else:
            assert damaged is not None, seed
            assert damaged.name == "nimg_000000016"
            assert damaged.problem.startswith(f"{newest}/")
            assert "\n" not in damaged.problem
        (newest / name).write_bytes(before)


def test_without_a_list_of_checksums_the_state_is_still_checked(checkpoints: Path) -> None:
    newest = checkpoints / "nimg_000000016"
    (newest / CHECKSUMS).unlink()
    for seed in SEEDS:
        before = (newest / STATE).read_bytes()
        flip(newest / STATE, random.Random(seed))
        assert find_damage(Checkpoint.from_directory(newest)) is not None, seed
        (newest / STATE).write_bytes(before)


@pytest.mark.parametrize("name", ["nimg_000000016", "leaving_000000020"])
def test_a_worker_does_not_use_a_damaged_registered_checkpoint_and_reports_nothing(
    name: str, checkpoints: Path, tiny_params: Params, dataset: ImageDataset, reports: list[str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    flip(checkpoints / name / STATE, random.Random(0))
    monkeypatch.setattr("ray.train.get_checkpoint", lambda: Checkpoint.from_directory(checkpoints / name))
    with pytest.raises(DamagedError) as caught:
        resume(create(tiny_params), dataset, [], "yard", lambda G: {})
    assert caught.value.damaged.name == name
    assert reports == []


def test_a_run_that_begins_with_another_runs_state_never_begins_at_0_instead(
    checkpoints: Path, tiny_params: Params, make_params: Callable[..., Params], dataset: ImageDataset,
    reports: list[str | None],
) -> None:  # fmt: skip
    origin = Checkpoint.from_directory(checkpoints / "nimg_000000016")
    state = create(tiny_params)
    resume(state, dataset, [], "yard", lambda G: {}, start_from=[origin])
    assert (state.cur_nimg, reports) == (16, ["nimg_000000016"])
    reports.clear()
    other_sums = create(make_params("augment.mode=ada_rv"))
    with pytest.raises(DamagedError, match=r"augment.mode=ada when saved, now ada_rv") as caught:
        resume(other_sums, dataset, [], "yard", lambda G: {}, start_from=[origin])
    flip(checkpoints / "nimg_000000016" / STATE, random.Random(0))
    with pytest.raises(DamagedError) as caught:
        resume(create(tiny_params), dataset, [], "yard", lambda G: {}, start_from=[origin])
    assert reports == []
    result = Result(metrics=None, checkpoint=None, error=None, path="")
    object.__setattr__(result, "return_value", caught.value.damaged)
    with pytest.raises(TrainError) as refused:
        past_damage(lambda job: result, {}, str(checkpoints))
    assert str(refused.value).startswith(f"{checkpoints}/nimg_000000016/{STATE}: damaged")
    assert "is not trained from 0 instead" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("is_registered", [True, False])
def test_a_rank_that_can_read_the_checkpoint_leaves_it_too_if_another_cannot(
    is_registered: bool, checkpoints: Path, tiny_params: Params, dataset: ImageDataset, reports: list[str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    other = Damaged("nimg_000000016", "what rank 1 says")
    found = Checkpoint.from_directory(checkpoints / other.name)
    monkeypatch.setattr("ray.train.get_checkpoint", lambda: found if is_registered else None)
    monkeypatch.setattr("pipelines.train.snapshots.all_gather", lambda mine: [mine, other])
    with pytest.raises(DamagedError, match="what rank 1 says"):
        resume(create(tiny_params), dataset, [] if is_registered else [found], "yard", lambda G: {})
    assert reports == []


@pytest.mark.parametrize("name", ["nimg_000000016", "leaving_000000020"])
def test_a_damaged_checkpoint_is_named_once_and_the_one_before_it_is_registered_and_used(
    name: str, checkpoints: Path, tiny_params: Params, dataset: ImageDataset, reports: list[str | None],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    flip(checkpoints / name / STATE, random.Random(0))
    (checkpoints / REGISTER).write_text("{}")
    state, results = create(tiny_params), [Damaged(name, f"{checkpoints}/{name}/{STATE}: damaged."), None]

    def attempt(spares: Sequence[Checkpoint]) -> Result:
        result = Result(metrics=None, checkpoint=None, error=None, path="")
        if (value := results.pop(0)) is None:
            resume(state, dataset, list(spares), "yard", lambda G: {})
        object.__setattr__(result, "return_value", value)
        return result

    past_damage(attempt, [], str(checkpoints.parent))
    start = "nimg_000000008" if name.startswith("nimg") else "nimg_000000016"
    assert capsys.readouterr().out == (
        f"damaged checkpoint {name} is not used: {checkpoints}/{name}/{STATE}: damaged. "
        f"Training starts from {start}, the newest that is whole.\n"
    )
    assert state.cur_nimg == int(start.removeprefix("nimg_"))
    assert [*reports][-1] == start
    assert not (checkpoints / REGISTER).exists()


def test_with_nothing_left_training_starts_at_0_and_says_so(
    checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(checkpoints / "nimg_000000008" / "tick.json", random.Random(0))
    assert set_aside(str(checkpoints), Damaged("nimg_000000016", "damaged.")) == []
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines] == ["nimg_000000016", "nimg_000000008"]
    assert all(line.endswith("Training starts anew, for no other is whole.") for line in lines)


def test_a_checkpoint_that_is_damaged_again_after_it_was_written_anew_ends_the_run(checkpoints: Path) -> None:
    result = Result(metrics=None, checkpoint=None, error=None, path="")
    object.__setattr__(result, "return_value", Damaged("nimg_000000016", "damaged."))
    with pytest.raises(TrainError, match=r"is damaged once more\. Check the disk that holds"):
        past_damage(lambda spares: result, [], str(checkpoints.parent))


def write_register(checkpoints: Path) -> Path:
    results = [
        {"checkpoint_dir_name": f"nimg_{nimg:09d}", "metrics": {"nimg": float(nimg), "monitor/kid": 0.25}}
        for nimg in (8, 16)
    ]
    content = {
        "ray_version": "2", "checkpoint_results": results, "checkpoint_report_indices": [0, 1],
        "latest_checkpoint_result": results[1], "pending_training_results": [], "pending_validation_specs": [],
        "current_report_index": 2,
    }  # fmt: skip
    (checkpoints / REGISTER).write_text(json.dumps(content))
    return checkpoints / REGISTER


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"nimg_000000016"', '"nimg_000000017"', "damaged (it lists nimg_000000017, which is gone)"),
        ('"monitor/kid": 0.25', '"monitor/kid": 0.05', "damaged (its numbers of nimg_000000008 are not those in"),
        ('"current_report_index"', '"currant_report_index"', "damaged (it has no current_report_index)"),
        (
            '"checkpoint_dir_name"',
            '"checkpoint_dir_nama"',
            "damaged (checkpoint_results.0.checkpoint_dir_name: Field required)",
        ),
        (
            '"checkpoint_results": [',
            '"checkpoint_results": 1.5, "was": [',
            "damaged (checkpoint_results: Input should be",
        ),
        ("[0, 1]", "[0]", "damaged (it has not as many checkpoint_report_indices as checkpoint_results)"),
    ],
)
def test_a_register_that_contradicts_its_checkpoints_is_named_and_set_aside(
    old: str, new: str, problem: str, checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register = write_register(checkpoints)
    assert spare_checkpoints(str(checkpoints), "yard") == []
    register.write_text(register.read_text().replace(old, new, 1))
    names = [Path(spare.path).name for spare in whole(spare_checkpoints(str(checkpoints), "yard"))]
    assert names == ["nimg_000000016", "nimg_000000008"]
    assert capsys.readouterr().out.startswith(f"{register}: {problem}")
    assert not register.exists()


def test_a_register_whose_snapshot_has_a_kid_that_is_no_number_is_whole(checkpoints: Path) -> None:
    register = write_register(checkpoints)
    tick = checkpoints / "nimg_000000008" / ROW
    tick.write_text(json.dumps({**json.loads(tick.read_text()), "monitor/kid": math.nan}))
    register.write_text(register.read_text().replace("0.25", "NaN", 1))
    (checkpoints / "nimg_000000008" / CHECKSUMS).unlink()  # of the row before
    spare_checkpoints(str(checkpoints), "yard")
    assert register.exists()


def test_a_damaged_generator_is_written_anew_from_its_state_with_equal_bytes(
    checkpoints: Path, dataset: ImageDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = checkpoints / "nimg_000000008"
    before = (best / GENERATOR).read_bytes()
    for harm in (flip, cut, remove):
        harm(best / GENERATOR, random.Random(0))
        export(Checkpoint.from_directory(best), tmp_path, dataset.class_names)
        assert (tmp_path / EXPORTED).read_bytes() == before
        said = capsys.readouterr().out
        assert said.startswith(f"{best}/{GENERATOR}: ")
        assert said.endswith("It is written again from the state in the same folder.\n")
        (best / GENERATOR).write_bytes(before)


def test_a_snapshot_without_a_readable_generator_or_state_is_not_exported_and_the_remedy_is_said(
    checkpoints: Path, tmp_path: Path
) -> None:
    best = checkpoints / "nimg_000000008"
    for name in (GENERATOR, STATE):
        flip(best / name, random.Random(0))
    with pytest.raises(CheckpointError) as caught:
        export(Checkpoint.from_directory(best), tmp_path)
    assert f"Delete {best} and run the same command again, which exports the best of the others" in str(caught.value)
    assert not (tmp_path / EXPORTED).exists()
