"""The model registry: what a recorded model becomes on a real embedded database, and when `best` moves."""

import base64
import errno
import json
import os
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grimp
import pytest
import torch
import yaml

from pipelines.params import Params, TrackingConfig
from pipelines.tracking import registry
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import (
    Publisher,
    TrackingError,
    fetch_generator,
    initialise,
    name_version,
    tracking_uri,
)
from pipelines.tracking.recording import record_model
from stylegan.__main__ import main as stylegan
from stylegan.checkpoint import save_generator
from stylegan.files import sha256_of
from stylegan.networks import Generator
from tests.evaluation_results import results, write_train_record

TRACKING = TrackingConfig(uri=None, experiment="tests", system_metrics=False)
Record = Callable[..., Journal]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with an empty database; making one takes seconds, copying it none."""
    root = tmp_path_factory.mktemp("fresh")
    initialise(tracking_uri(TRACKING, root), "unused", root)
    return root


@pytest.fixture
def root(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copytree(fresh, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def record(root: Path, make_params: Callable[..., Params]) -> Record:
    """record(name, kid=...) -> journal of a run that was measured; others replace fields of the report."""

    def make(name: str, kid: float, seed: int = 0, **others: Any) -> Journal:
        folder = root / "runs" / name
        params = make_params("prepare.source=photos/my cats", f"train.seed={seed}")
        torch.manual_seed(seed)
        G = Generator(params.generator, img_resolution=16, img_channels=3, c_dim=2).eval()
        save_generator(G, folder / "models/generator.safetensors", ["dark", "light"])
        write_train_record(folder, fingerprint=name)
        report = results(kid=kid, generator_sha256=sha256_of(folder / "models/generator.safetensors"), **others)
        record_model(journal := Journal(folder), folder, root, params, report)
        return journal

    return make


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of a card alone, for what is about versions"""
    monkeypatch.setattr(registry, "save", lambda folder, *_: folder.mkdir())


def publish(journal: Journal, root: Path) -> int:
    return Publisher(journal, TRACKING, root).publish()


def client_of(root: Path) -> Any:
    return initialise(tracking_uri(TRACKING, root), "tests", root)[0]


def best(root: Path) -> str | None:
    """The version that `best` names; the embedded registry says numbers, a server texts"""
    found = client_of(root).get_registered_model(NAME).aliases
    return str(found["best"]) if found else None


NAME = "my_cats-16-aaaaaaaa"


def test_a_measured_generator_becomes_a_model_that_draws_what_generate_draws(
    root: Path, record: Record, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = record("abc", 0.5)
    assert publish(journal, root) == 1
    assert publish(journal, root) == 0
    client = client_of(root)
    (found,) = client.search_model_versions(f"name = '{NAME}'")
    assert found.tags["kid"] == "0.5"
    assert found.description.startswith("**")
    assert best(root) == "1"
    assert client.get_run(found.run_id).info.run_name == "abc"

    import mlflow
    import pandas as pd

    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(TRACKING, root))
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}@best", dst_path=str(tmp_path / "model")))
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"MLmodel", "README.md", "artifacts/generator.safetensors", "code/stylegan/networks/generator.py"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pyc"))]
    assert NAME in (card := (folder / "README.md").read_text())
    assert "licence of the images" in card
    assert "## Limits" in card
    pins = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["dependencies"]
    assert set((folder / "requirements.txt").read_text().split()) <= set(pins)
    model = yaml.safe_load((folder / "MLmodel").read_text())
    flavor = str(model["flavors"])
    assert str(repository) not in flavor
    assert str(root) not in flavor
    assert [column["name"] for column in json.loads(model["signature"]["inputs"])] == ["seed", "psi", "class"]

    loaded = mlflow.pyfunc.load_model(str(folder))
    example = loaded.input_example
    rows = [{"seed": 7, "psi": 0.7, "class": "light"}, {"seed": 8, "psi": None, "class": "0"}]
    pngs = [base64.b64decode(text) for text in loaded.predict(pd.DataFrame(rows))["png"]]
    generator = str(folder / "artifacts/generator.safetensors")
    for seed, psi, name in ((7, "0.7", "light"), (8, "1", "dark")):
        assert stylegan(["generate", generator, f"--seeds={seed}", f"--psi={psi}", f"--class={name}",
                         "--out", str(tmp_path / "images")]) == 0  # fmt: skip
    assert pngs == [(tmp_path / f"images/seed000{seed}.png").read_bytes() for seed in (7, 8)]
    assert len(loaded.predict(example)) == 1
    with pytest.raises(mlflow.exceptions.MlflowException, match="class 'lght' does not exist; did you mean light"):
        loaded.predict(pd.DataFrame([{"seed": 7, "psi": 1.0, "class": "lght"}]))


def test_the_code_that_a_model_leaves_out_is_not_imported_by_what_it_runs() -> None:
    graph = grimp.build_graph("stylegan", "pipelines", exclude_type_checking_imports=True, cache_dir=None)
    found, waiting = set[str](), ["pipelines.tracking.model_from_code"]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += graph.find_modules_directly_imported_by(module)
    left_out = tuple(f"stylegan.{name.removesuffix('.py')}" for name in registry.LEFT_OUT)
    assert "stylegan.networks.generator" in found
    assert [module for module in found if module.startswith(left_out)] == []


def test_the_generator_of_a_registered_model_is_fetched_without_its_code(
    root: Path, record: Record, tmp_path: Path
) -> None:
    publish(journal := record("abc", 0.5), root)
    (tmp_path / "fetched").mkdir()
    found = fetch_generator(f"models:/{NAME}@best", TRACKING, tmp_path / "fetched", root)
    assert sha256_of(found) == sha256_of(journal.folder / "models/generator.safetensors")
    assert [path for path in (tmp_path / "fetched").rglob("*") if path.is_file()] == [found]
    with pytest.raises(TrackingError, match="Registered Model with name=none not found"):
        fetch_generator("models:/none@best", TRACKING, tmp_path, root)
    with pytest.raises(TrackingError, match=r"models:/x: not a registered model\. Write models:/NAME@best"):
        fetch_generator("models:/x", TRACKING, tmp_path, root)


@pytest.mark.usefixtures("quick")
def test_an_alias_names_the_version_that_it_points_to_now(root: Path, record: Record) -> None:
    for seed, kid in enumerate((0.5, 0.4)):
        publish(record(f"run{seed}", kid, seed), root)
        assert name_version(f"models:/{NAME}@best", TRACKING, root) == f"models:/{NAME}/{seed + 1}"
    assert name_version(f"models:/{NAME}/1", TRACKING, root) == f"models:/{NAME}/1"
    with pytest.raises(TrackingError, match="Registered Model with name=none not found"):
        name_version("models:/none@best", TRACKING, root)


@pytest.mark.usefixtures("quick")
def test_best_moves_to_a_lower_kid_of_the_same_measurement_alone(root: Path, record: Record) -> None:
    for seed, (name, kid, others, expected) in enumerate([
        ("first", 0.5, {}, "1"), ("worse", 0.6, {}, "1"), ("better", 0.4, {}, "3"),
        ("elsewhere", 0.1, {"num_real": 7}, "3"), ("equal", 0.4, {}, "3"), ("diverged", float("nan"), {}, "3"),
        ("lowest", 0.3, {}, "7"),
    ]):  # fmt: skip
        assert publish(record(name, kid, seed, **others), root) == 1
        assert best(root) == expected, name
    assert publish(record("worse", 0.2, 1), root) == 1  # the same generator, measured anew
    assert best(root) == "2"
    assert len(client_of(root).search_model_versions(f"name = '{NAME}'")) == 7


@pytest.mark.parametrize(
    ("measured_anew", "expected"),
    [
        ({"kid": 0.7}, ["2", "3"]),  # and worse than the other
        ({"kid": 0.1, "num_real": 7}, ["2", "3"]),
        ({"kid": float("nan")}, ["2", "3"]),
        ({"kid": 0.55}, ["1", "3"]),
    ],
)
@pytest.mark.usefixtures("quick")
def test_best_is_looked_for_again_if_it_is_measured_anew(
    root: Path, record: Record, measured_anew: dict[str, Any], expected: list[str]
) -> None:
    publish(record("first", 0.5, 1), root)
    publish(record("second", 0.6, 2), root)
    assert best(root) == "1"
    publish(record("first", **measured_anew, seed=1), root)
    found = [best(root)]
    publish(record("third", 0.54, 3), root)
    assert [*found, best(root)] == expected


@pytest.mark.usefixtures("quick")
def test_best_changes_to_another_measurement_when_most_versions_have_it_and_ends_without_any(
    root: Path, record: Record
) -> None:
    publish(record("first", 0.5, 1), root)
    publish(record("first", float("nan"), 1), root)
    assert best(root) is None
    for seed, kid in ((1, 0.5), (2, 0.6), (3, 0.7)):
        publish(record(f"run{seed}", kid, seed), root)
    for seed, kid, expected in ((4, 0.9, "2"), (5, 0.8, "2"), (6, 0.85, "6")):
        publish(record(f"run{seed}", kid, seed, num_real=7), root)
        assert best(root) == expected, seed


@pytest.mark.parametrize(
    ("tag", "value"), [("kid", "None"), ("kid", "nan"), ("kid", None), ("measured_by", "by eye"), ("measured_by", None)]
)
@pytest.mark.usefixtures("quick")
def test_tags_that_were_edited_or_deleted_cost_best_that_version_alone(
    root: Path, record: Record, tag: str, value: str | None
) -> None:
    publish(record("first", 0.5, 1), root)
    client = client_of(root)
    if value is None:
        client.delete_model_version_tag(NAME, "1", tag)
    else:
        client.set_model_version_tag(NAME, "1", tag, value)
    assert publish(record("second", 0.6, 2), root) == 1
    assert best(root) == "2"


@pytest.mark.usefixtures("quick")
def test_of_two_nodes_with_one_server_the_last_to_set_best_knows_what_both_have_added(
    root: Path, record: Record
) -> None:
    publish(record("first", 0.5, 1), root)
    slow = client_of(root)
    read = slow.search_model_versions

    def read_before_the_other_node_adds_one(*arguments: object) -> object:
        found = read(*arguments)
        slow.search_model_versions = read
        publish(record("second", 0.4, 2), root)
        assert best(root) == "2"
        return found

    slow.search_model_versions = read_before_the_other_node_adds_one
    registry.move_best(slow, NAME)
    assert best(root) == "2"


@pytest.mark.usefixtures("quick")
def test_a_version_that_is_measured_anew_gets_the_words_of_the_new_measurement(root: Path, record: Record) -> None:
    publish(record("abc", 0.5, precision=0.1), root)
    publish(journal := record("abc", 0.4, precision=0.7), root)
    old, new = (each for each, _ in journal.read(0))
    assert old["about"] != new["about"]
    client = client_of(root)
    (found,) = client.search_model_versions(f"name = '{NAME}'")
    assert (found.tags["kid"], found.description) == ("0.4", new["about"])
    (logged,) = client.search_logged_models([client.get_experiment_by_name("tests").experiment_id])
    shown = Path(logged.artifact_location.removeprefix("file://")) / "README.md"
    assert shown.read_bytes() == (journal.files / new["card"] / "README.md").read_bytes()


def test_what_is_tried_again_after_a_newer_record_of_the_same_does_not_replace_it(
    root: Path, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the line is slow")

    journal = record("abc", 0.5)
    (tmp_path / "metrics.json").write_text("old")
    journal.artifact(tmp_path / "metrics.json")
    with monkeypatch.context() as slow:
        for sending in ("_send_model", "_send_artifact"):
            slow.setattr(Publisher, sending, fail)
        assert publish(journal, root) == 0
    monkeypatch.setattr(registry, "save", lambda folder, *_: folder.mkdir())
    journal = record("abc", 0.4)
    (tmp_path / "metrics.json").write_text("new")
    journal.artifact(tmp_path / "metrics.json")
    other = record("abc", 0.7, seed=1)  # of another generator: what became of the run, trained on
    Publisher(other, TRACKING, root).publish(at_once=True)
    client = client_of(root)
    found = client.search_model_versions(f"name = '{NAME}'")
    assert {version.tags["kid"] for version in found} == {"0.4", "0.7"}
    assert Path(client.download_artifacts(found[0].run_id, "metrics.json", str(tmp_path))).read_text() == "new"
    assert publish(other, root) == 0


def test_a_model_that_cannot_be_sent_holds_up_nothing_and_is_sent_later_once(
    root: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = record("abc", 0.5)
    journal.metrics(1000, {"loss/G": 0.5})

    def fail(folder: Path, *_: object) -> None:
        raise RuntimeError("no room for a model")

    save = registry.save
    monkeypatch.setattr(registry, "save", fail)
    with pytest.raises(TrackingError, match="no room for a model"):
        Publisher(journal, TRACKING, root).publish(at_once=True)
    client = client_of(root)
    (run,) = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    assert run.data.metrics == {"loss/G": 0.5}
    assert best(root) is None
    monkeypatch.setattr(registry, "save", save)
    assert Publisher(journal, TRACKING, root).publish(at_once=True) == 1
    assert best(root) == "1"
    assert len(client.search_logged_models([run.info.experiment_id])) == 1


def test_a_report_of_another_generator_makes_no_model(root: Path, record: Record, tiny_params: Params) -> None:
    journal = record("abc", 0.5)
    size = journal.path.stat().st_size
    record_model(journal, root / "runs/abc", root, tiny_params, results(kid=0.1))
    assert journal.path.stat().st_size == size


def test_a_disk_that_is_full_costs_the_model_and_not_the_run(
    root: Path, record: Record, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(root))

    monkeypatch.setattr(Journal, "_keep", full)
    assert [each for each, _ in record("abc", 0.5).read(0)] == []
    assert "The model is not recorded for the registry: " in caplog.text
    assert "No space left on device. Free space on its disk" in caplog.text
