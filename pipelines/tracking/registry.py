"""The model registry of MLflow: a generator with its code, signature, example, requirements and card.

The alias `best` is the version with the lowest KID of those that were measured alike. It is found anew whenever a
version is added or measured anew. The publisher sends models like any record: what fails is tried again later, and what
was sent before a kill is not sent again.
"""

import math
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import stylegan
from pipelines.artifacts.json_lines import Record
from pipelines.artifacts.workspace import GENERATOR
from pipelines.tracking.journal import CARD
from stylegan.drawing.requested import PSI

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import Model

BEST = "best"
NUM_TRIES = 10  # to set it, of nodes that do so at once
CODE = Path(__file__).with_name("model_from_code.py")
PACKAGE = Path(stylegan.__file__).parent
LEFT_OUT = {"__main__.py", "__pycache__", "analysis", "commands", "metrics"}  # of PACKAGE: CODE imports none of it
NEEDED = ("mlflow", "numpy", "pillow", "pydantic", "safetensors", "torch")  # by CODE and what it imports of stylegan


def add_version(client: "MlflowClient", run_id: str, record: Record, generator: Path, card: Path) -> None:
    """Have the registry hold a recorded model of a run; one that it holds gets the new measurement and its card."""
    name, tags = record["name"], {key: str(record[key]) for key in ("generator", "kid", "measured_by")}
    _ensure_name(client, name)
    for found in client.search_model_versions(f"name = '{name}'"):
        if (found.run_id, found.tags.get("generator")) == (run_id, record["generator"]):
            _describe_anew(client, found, record, tags, card)
            return
    logged = _upload(client, run_id, record, generator, card)
    # A server takes no path of its own disk; without a server the other form is looked up in the process-wide database.
    source = f"models:/{logged.model_id}" if client.tracking_uri.startswith("http") else logged.artifact_location
    client.create_model_version(name, source, run_id, tags, description=record["about"], model_id=logged.model_id)


def move_best(client: "MlflowClient", name: str) -> None:
    """Let `best` be the version with the lowest KID of those measured alike; without any KID there is no `best`."""
    for _ in range(NUM_TRIES):
        lowest = _lowest_kid(client.search_model_versions(f"name = '{name}'"))
        present = client.get_registered_model(name).aliases.get(BEST)
        if lowest == (None if present is None else int(present)):
            return
        # Meanwhile another node may have added a version and set the alias, so look again afterwards.
        if lowest is None:
            client.delete_registered_model_alias(name, BEST)
        else:
            client.set_registered_model_alias(name, BEST, str(lowest))


def find_version(client: "MlflowClient", model: str) -> "ModelVersion":
    """What models:/NAME@ALIAS or models:/NAME/VERSION means now. Raises ValueError for another address."""
    named = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", model)
    if named is None:
        raise ValueError(f"{model}: not a registered model. Write models:/NAME@{BEST} or models:/NAME/VERSION.")
    name, alias, number = named.groups()
    return client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)


def fetch_generator(client: "MlflowClient", model: str, folder: Path) -> Path:
    """Bring the generator of a model, and none of its code, into a folder. Raises as find_version."""
    from mlflow.artifacts import download_artifacts

    place = str(find_version(client, model).source)
    if place.startswith("models:/"):
        place = client.get_logged_model(place.removeprefix("models:/")).artifact_location
    artifact = f"{place}/artifacts/{GENERATOR}"
    return Path(download_artifacts(artifact_uri=artifact, dst_path=str(folder), tracking_uri=client.tracking_uri))


def requirements() -> list[str]:
    """What the model needs, in the versions that are installed here, which are those of the project's pins"""
    return [f"{name}=={version(name).partition('+')[0]}" for name in NEEDED]


def save(folder: Path, generator: Path, card: Path, model: "Model | None" = None) -> None:
    """Write the folder of an MLflow model, without a pickle."""
    # MLflow warns of its own type hints when it is imported.
    warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType", UserWarning)
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, Schema, TensorSpec

    from stylegan.generators import load_any_generator  # deferred with torch, which journals do without

    G, class_names = load_any_generator(generator)
    label = {"class": (class_names or ["0"])[0]} if G.c_dim else {}
    columns: list[ColSpec | TensorSpec] = [ColSpec("long", "seed"), ColSpec("double", "psi", required=False)]
    columns += [ColSpec("string", "class")] if G.c_dim else []
    with tempfile.TemporaryDirectory() as name:  # MLflow writes down the paths of what it copies
        parts = Path(name)
        for file in (generator, CODE):
            shutil.copyfile(file, parts / file.name)
        shutil.copytree(PACKAGE, parts / PACKAGE.name, ignore=lambda _, names: LEFT_OUT & set(names))
        save_model(
            folder, mlflow_model=model, python_model=str(parts / CODE.name),
            artifacts={"generator": str(parts / generator.name)},
            code_paths=[str(parts / PACKAGE.name)], model_config={"device": "cpu"},
            signature=ModelSignature(Schema(columns), Schema([ColSpec("string", "png")])),
            input_example=pd.DataFrame([{"seed": 7, "psi": PSI, **label}]), pip_requirements=requirements(),
        )  # fmt: skip
    shutil.copyfile(card, folder / CARD)


def _lowest_kid(versions: Iterable["ModelVersion"]) -> int | None:
    """Number of the version with the lowest KID of those measured as most are, or of equally many, as the newest is"""
    alike: dict[str, list[tuple[float, int]]] = {}
    for each in versions:
        kid, measured_by = _finite(each.tags.get("kid")), each.tags.get("measured_by")
        if kid is not None and measured_by:
            alike.setdefault(measured_by, []).append((kid, int(each.version)))
    if not alike:
        return None
    # One version that was measured otherwise, and may be lower for that alone, does not take `best` from many.
    usual = max(alike.values(), key=lambda found: (len(found), max(number for _, number in found)))
    return min(usual)[1]


def _finite(text: str | None) -> float | None:
    """The number in a tag, which anybody may edit or delete"""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _describe_anew(
    client: "MlflowClient", found: "ModelVersion", record: Record, tags: Mapping[str, str], card: Path
) -> None:
    for key, value in tags.items():
        client.set_model_version_tag(found.name, found.version, key, value)
    client.update_model_version(found.name, found.version, description=record["about"])
    if (logged := _find_logged(client, str(found.run_id), record["generator"])) is not None:
        client.log_model_artifact(logged.model_id, str(card))


def _ensure_name(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _upload(client: "MlflowClient", run_id: str, record: Record, generator: Path, card: Path) -> "LoggedModel":
    from mlflow.models import Model

    digest = record["generator"]
    logged = _find_logged(client, run_id, digest)
    if logged is None:
        experiment = client.get_run(run_id).info.experiment_id
        logged = client.create_logged_model(experiment, record["name"], run_id, tags={"generator": digest})
    if logged.status == "READY":
        return logged
    with tempfile.TemporaryDirectory() as temporary:
        folder, place = Path(temporary) / "model", logged.artifact_location
        save(folder, generator, card, Model(run_id=run_id, model_id=logged.model_id, artifact_path=place))
        client.log_model_artifacts(logged.model_id, str(folder))
    return client.finalize_logged_model(logged.model_id, "READY")


def _find_logged(client: "MlflowClient", run_id: str, digest: str) -> "LoggedModel | None":
    """The model of the run that was uploaded, or that an earlier attempt has begun"""
    experiment = client.get_run(run_id).info.experiment_id
    models = client.search_logged_models([experiment], f"tags.generator = '{digest}'")
    return next((model for model in models if model.source_run_id == run_id), None)
