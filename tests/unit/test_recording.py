"""What stages record about a run, and the record of a run that came out of the cache."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.artifacts import metrics_json
from pipelines.artifacts.metrics_json import ClassResult
from pipelines.artifacts.ticks import read_csv
from pipelines.cluster.load import system_metrics
from pipelines.params import Params, flatten
from pipelines.tracking.journal import Journal
from pipelines.tracking.recording import (
    record_evaluation,
    record_outputs,
    record_report,
    record_tick,
    record_training,
    source_tags,
)
from stylegan.checkpoint import save_generator
from stylegan.config import ConfigError
from stylegan.files import sha256_of
from stylegan.networks import Generator
from tests.evaluation_results import evaluation_results, metrics_of, truncation, write_train_record
from tests.tick_rows import tick

EVALUATE = {"num_images": 20, "seed": 3}
RESULTS = evaluation_results(
    {"kid_efflite0": 0.02, "ppl_lpips_vgg16": 30.0},
    floor={"kid_efflite0": 0.001},
    untrained={"kid_efflite0": 0.3, "ppl_lpips_vgg16": 3.0},
    sweep=[truncation(1.0, {"kid_efflite0": 0.02}), truncation(-0.5, {"kid_efflite0": 0.2})],
    cur_nimg=3000,
    intervals={"kid_efflite0": [0.01, 0.03]},
    per_class=(
        ClassResult(label=0, name="cat", num_real=5, num_gen=5, distance=7.0),
        ClassResult(label=1, name="K\u00e4tzchen", num_real=5, num_gen=5, distance=8.0),
        ClassResult(label=2, name=None, num_real=5, num_gen=5, distance=9.0),
        ClassResult(label=3, name="dog", num_real=1, num_gen=1, distance=None),
    ),
)


def values_of(journal: Journal, kind: str) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for record, _ in journal.read(0):
        if record["kind"] == kind:
            merged |= {
                f"{name}@{record['step']}" if "step" in record else name: v for name, v in record["values"].items()
            }
    return merged


def test_nested_values_become_dotted_names() -> None:
    nested = {"a": {"b": 1, "c": {"d": None}}, "e": [1, 2], "f": (0.5,)}
    assert flatten(nested) == {"a.b": 1, "a.c.d": None, "e": "[1, 2]", "f": "[0.5]"}


def test_training_records_what_decides_the_run_as_parameters_and_what_may_change_as_tags(
    tmp_path: Path, tiny_params: Params
) -> None:
    journal = Journal(tmp_path / "run")
    record_training(journal, tiny_params, "f" * 64, root=tmp_path)
    params = values_of(journal, "params")
    assert {name.partition(".")[0] for name in params} == {
        "prepare", "data", "generator", "discriminator", "augment", "loss", "train"
    }  # fmt: skip
    assert params["augment.multipliers.xflip"] == 1
    tags = values_of(journal, "tags")
    assert tags.pop("archive_sha256") == "f" * 64
    assert tags.pop("mlflow.runName") == "earth, 16 pixels, 0.032 kimg, seed 0"
    assert tags["train.total_kimg"] == tiny_params.train.total_kimg
    assert {name for name in tags if not name.startswith("monitor.")} == {
        "train.total_kimg", "train.tick_kimg", "train.snapshot_ticks", "train.resume_from"
    }  # fmt: skip
    assert not params.keys() & tags.keys()
    kinds = [record["kind"] for record, _ in journal.read(0)]
    assert kinds == ["params", "tags", "dataset", "tags", "tags", "status"]


def test_a_tick_carries_the_load_of_the_machine_only_if_asked(
    tmp_path: Path, make_params: Callable[..., Params]
) -> None:
    for answer, expected in (("false", set()), ("true", {"system"})):
        journal = Journal(tmp_path / answer)
        record_tick(
            journal, tick({"nimg": 1000, "loss/G": 1.0}), make_params(f"tracking.system_metrics={answer}").tracking
        )
        names = {name.partition("/")[0] for name in values_of(journal, "metrics")}
        assert names == {"loss"} | expected


def test_an_evaluation_is_recorded_with_psi_as_the_step_of_the_sweep(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    record_evaluation(journal, RESULTS, EVALUATE)
    assert values_of(journal, "summary") == {
        "eval/kid_efflite0@3000": 0.02,
        "eval/ppl_lpips_vgg16@3000": 30.0,
        "eval/kid_efflite0_low@3000": 0.01,
        "eval/kid_efflite0_high@3000": 0.03,
        "recommended/psi@3000": 1.0,
        "class/cat@3000": 7.0,
        "class/K_tzchen 1@3000": 8.0,
        "class/2@3000": 9.0,
        "floor/kid_efflite0@3000": 0.001,
        "like_floor/kid_efflite0@3000": 0.02,
        "untrained/kid_efflite0@3000": 0.3,
        "untrained/ppl_lpips_vgg16@3000": 3.0,
        "truncation/kid_efflite0@-50": 0.2,
        "truncation/kid_efflite0@100": 0.02,
    }
    tags = values_of(journal, "tags")
    assert (tags["evaluate.num_images"], tags["extractor.sha256"]) == (20, "e" * 64)
    assert tags["recommended"] == RESULTS.recommended.sentence


def test_a_network_from_elsewhere_is_recorded_at_step_0(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    plain = metrics_of({"kid_efflite0": 0.02})
    changed = RESULTS.model_copy(update={"cur_nimg": None, "per_class": None, "metrics": plain})
    record_evaluation(journal, changed, EVALUATE)
    recorded = values_of(journal, "summary")
    assert recorded["eval/kid_efflite0@0"] == 0.02
    assert not [name for name in recorded if name.startswith("class/") or "_low" in name]


def test_a_repeated_evaluation_records_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    record_evaluation(journal, RESULTS, EVALUATE)
    size = journal.path.stat().st_size
    record_evaluation(journal, RESULTS, EVALUATE)
    assert journal.path.stat().st_size == size


def test_a_report_is_page_numbers_and_sheets(tmp_path: Path) -> None:
    for name in ("index.html", "metrics.json", "samples.png"):
        (tmp_path / name).write_text(name)
    journal = Journal(tmp_path / "run")
    record_report(journal, tmp_path)
    assert [record["name"] for record, _ in journal.read(0)] == ["index.html", "metrics.json", "samples.png"]
    for name in ("neighbors.png", "realism.png"):
        (tmp_path / name).write_text(name)
    record_report(journal, tmp_path)
    assert [record["name"] for record, _ in journal.read(0)][3:] == ["neighbors.png", "realism.png"]


def test_ticks_without_a_value_leave_it_out(tmp_path: Path) -> None:
    path = tmp_path / "ticks.csv"
    path.write_text("kimg,nimg,loss/pl_penalty\n2,2000,\n4,4000,0.5\n")
    assert [row.columns for row in read_csv(path)] == [
        {"kimg": 2, "nimg": 2000}, {"kimg": 4, "nimg": 4000, "loss/pl_penalty": 0.5},
    ]  # fmt: skip


def test_a_missing_training_log_names_the_stage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        read_csv(tmp_path / "ticks.csv")
    expected = f"{tmp_path / 'ticks.csv'}: training log not found. Run `dvc repro train`, which writes it."
    assert str(error.value) == expected


def lay_out_outputs(root: Path, params: Params) -> None:
    """A work tree as `dvc pull` leaves it: outputs, and no runs/ folder."""
    torch.manual_seed(0)
    G = Generator(params.generator, img_resolution=16, img_channels=3, c_dim=0)
    save_generator(G, root / "models/generator.safetensors")
    write_train_record(root, archive_sha256="f" * 64, cur_nimg=3000, trained_nimg=4000)
    (root / "reports").mkdir()
    (root / "reports/ticks.csv").write_text("kimg,nimg,loss/G\n1,1000,0.5\n3,3000,0.25\n")
    metrics_json.write(root / "reports/metrics.json", RESULTS)
    for name in ("index.html", "samples.png"):
        (root / "reports" / name).write_text(name)


def test_outputs_out_of_the_cache_are_recorded_once(tmp_path: Path, tiny_params: Params) -> None:
    lay_out_outputs(tmp_path, tiny_params)
    journal = record_outputs(tmp_path, tiny_params)
    assert journal is not None
    assert values_of(journal, "metrics") == {"loss/G@1000": 0.5, "loss/G@3000": 0.25}
    assert values_of(journal, "params")["generator.channel_base"] == tiny_params.generator.channel_base
    assert values_of(journal, "summary")["eval/kid_efflite0@3000"] == 0.02
    assert values_of(journal, "tags").items() >= {"snapshot": "best", "snapshot_kimg": 3}.items()
    names = [record["name"] for record, _ in journal.read(0) if record["kind"] == "artifact"]
    assert names == ["generator.safetensors", "index.html", "metrics.json", "samples.png"]
    size = journal.path.stat().st_size
    record_outputs(tmp_path, tiny_params)
    assert journal.path.stat().st_size == size


def test_outputs_get_the_parameters_they_were_made_with(tmp_path: Path, make_params: Callable[..., Params]) -> None:
    lay_out_outputs(tmp_path, make_params())
    read = {
        "prepare": {"prepare": {"source": "locked"}},
        "train": {"train": {"total_kimg": 3}, "loss": {"r1_gamma": 7}},
        "evaluate": {"evaluate": {"seed": 1}, "train.kernels": "stock"},
    }
    stages = {name: {"params": {"params.yaml": values}} for name, values in read.items()}
    (tmp_path / "dvc.lock").write_text(json.dumps({"stages": stages}))
    journal = record_outputs(tmp_path, make_params("train.total_kimg=99"))
    assert journal is not None
    recorded = values_of(journal, "params")
    assert recorded.items() >= {"prepare.source": "locked", "loss.r1_gamma": 7}.items()
    tags = values_of(journal, "tags")
    assert (tags["train.total_kimg"], tags["evaluate.seed"]) == (3, 1)
    assert "evaluate.num_images" not in tags  # of params.yaml, which did not make the report
    assert not [name for name in recorded if name.startswith("evaluate.")]


def publish_locked(root: Path, params: Params, augment: object) -> list[dict[str, Any]]:
    """Records of models, of a work tree whose images were augmented like this"""
    lay_out_outputs(root, params)
    report = RESULTS.model_copy(update={"generator_sha256": sha256_of(root / "models/generator.safetensors")})
    metrics_json.write(root / "reports/metrics.json", report)
    read = {"prepare": {"prepare": {"source": "locked"}}, "train": {"augment": augment}}
    stages = {name: {"params": {"params.yaml": values}} for name, values in read.items()}
    (root / "dvc.lock").write_text(json.dumps({"stages": stages}))
    journal = record_outputs(root, params)
    assert journal is not None
    assert journal.path.read_text().count('"FINISHED"') == 1
    return [record for record, _ in journal.read(0) if record["kind"] == "model"]


def test_a_model_has_the_images_and_augmentation_it_was_made_with_whatever_else_params_yaml_says_today(
    tmp_path: Path, make_params: Callable[..., Params]
) -> None:
    today = make_params("generator.architecture=msg", "discriminator.architecture=msg", "augment.mode=none")
    with pytest.raises(ConfigError, match=r"augment\.mode is ada, but"):  # the two do not go together
        make_params("generator.architecture=msg", "discriminator.architecture=msg", "augment.mode=ada")
    (model,) = publish_locked(tmp_path, today, {"mode": "ada", "p_max": 0.625})
    assert model["name"].startswith("locked-16-")
    card = (tmp_path / "runs/abc/tracking" / model["card"] / "README.md").read_text()
    assert "| augmentation | ada, at most p = 0.625 |" in card


@pytest.mark.parametrize(
    ("augment", "problems"),
    [({"mode": "adaptive", "strength": 3}, ["mode is 'adaptive': ", "strength is not a parameter"]), (3, ["is 3, "])],
)
def test_a_section_of_dvc_lock_that_cannot_be_read_costs_the_model_and_nothing_else(
    tmp_path: Path, tiny_params: Params, caplog: pytest.LogCaptureFixture, augment: object, problems: list[str]
) -> None:
    assert publish_locked(tmp_path, tiny_params, augment) == []
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("The model is not recorded for the registry: dvc.lock: section augment")
    assert [problem for problem in problems if problem not in said] == []
    assert "\n" not in said


def test_an_untrained_work_tree_has_nothing_to_record(tmp_path: Path, tiny_params: Params) -> None:
    assert record_outputs(tmp_path, tiny_params) is None


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


def test_the_commit_and_edits_of_the_code_are_tagged(tmp_path: Path) -> None:
    assert source_tags(tmp_path) == {}
    git(tmp_path, "init")
    (tmp_path / "code.py").write_text("1")
    (tmp_path / "dvc.lock").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    (tmp_path / "dvc.lock").write_text("2")  # every run writes it
    clean = source_tags(tmp_path)
    assert len(str(clean["mlflow.source.git.commit"])) == 40
    assert clean["git_edited"] is False
    assert clean["mlflow.source.name"] == tmp_path.name
    (tmp_path / "code.py").write_text("2")
    assert source_tags(tmp_path)["git_edited"] is True


def test_the_load_of_the_machine_has_names_of_mlflows_system_tab() -> None:
    load = system_metrics()
    assert load["system/system_memory_usage_megabytes"] > 0
    assert 0 <= load["system/cpu_utilization_percentage"] <= 100
    assert all(name.startswith("system/") for name in load)


def test_a_driver_that_does_not_answer_in_time_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\nexec sleep 60\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("pipelines.cluster.load.ANSWER_SEC", 0.2)
    assert not [name for name in system_metrics() if "gpu" in name]


def test_graphics_cards_are_read_and_what_they_do_not_measure_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho '37, 1024'\necho '[N/A], 2048'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    load = system_metrics()
    cards = {name: value for name, value in load.items() if "gpu" in name}
    assert cards == {"system/gpu_0_utilization_percentage": 37.0, "system/gpu_0_memory_usage_megabytes": 1024.0,
                     "system/gpu_1_memory_usage_megabytes": 2048.0}  # fmt: skip
