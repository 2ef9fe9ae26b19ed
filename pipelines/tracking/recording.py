"""What each stage records about its run, and how a run that DVC restored from its cache is recorded after the fact.

Series have the number of real images shown to D as their step. Names are grouped by a prefix, such as
loss/ or eval/.
"""

import json
import logging
import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open

from pipelines import model_card
from pipelines.artifacts import manifest_json, metrics_json, train_json
from pipelines.artifacts.metrics_json import ClassResult, MetricsReport
from pipelines.artifacts.ticks import TickRow, read_csv
from pipelines.artifacts.train_json import TrainRecord
from pipelines.artifacts.workspace import ARCHIVE, EXPORTED, METRICS, TICKS
from pipelines.cluster.load import system_metrics
from pipelines.diagnosis import verdict
from pipelines.model_card import Origin
from pipelines.params import NO_WEIGHTS, ROOT, Params, Scalar, Settings, TrackingConfig, flatten, trained_values
from pipelines.tracking.journal import NOTE, Journal
from pipelines.yaml_files import read_yaml
from stylegan.config import Config, ConfigError, Section, parse
from stylegan.config.pyramid import spelt
from stylegan.exit_codes import explain
from stylegan.files import sha256_of
from stylegan.metrics.evaluation.metric import find
from stylegan.text import lines_of
from stylegan.wording import counted

logger = logging.getLogger(__name__)

STAGES = ("prepare", "train", "evaluate")  # of dvc.lock, which have parameters that are recorded
_NOT_IN_MODELS = re.compile(r"[^0-9a-zA-Z_.-]")  # in the name of a registered model, which is part of addresses
_REFUSED = re.compile(r"[^\w. :-]", re.ASCII)  # in the name of a metric; a slash would begin another group


def record_training(journal: Journal, config: Config, archive_sha256: str, root: Path = ROOT) -> None:
    """Record what a run computes and from what, at its start or resume."""
    _record_sections(journal, trained_values(config))
    journal.dataset(Path(config.prepare.source).name, archive_sha256)
    journal.tags(source_tags(root) | {"archive_sha256": archive_sha256})
    journal.title(title_of(config), if_none=True)
    journal.status("RUNNING")


def title_of(config: Config) -> str:
    """ "earth, 32 pixels, 160 kimg, seed 0": what a person calls a run that is not part of an experiment"""
    size, train = spelt(config.prepare.resolution), config.train
    return f"{Path(config.prepare.source).name}, {size} pixels, {train.total_kimg:g} kimg, seed {train.seed}"


def _record_sections(journal: Journal, sections: Settings) -> None:
    """Record parameters; those that may change while the run stays the same one as tags."""
    values = flatten(sections)
    changeable = {path: value for path, value in values.items() if path.startswith(NO_WEIGHTS)}
    journal.params({path: value for path, value in values.items() if path not in changeable})
    journal.tags(changeable)


def record_tick(journal: Journal, row: TickRow, tracking: TrackingConfig) -> None:
    """Record one row of the training log, and the load of the machine if asked for."""
    journal.metrics(round(row.nimg), row.series | (system_metrics() if tracking.system_metrics else {}))


def record_export(journal: Journal, trained: TrainRecord) -> None:
    """Record which snapshot became the generator."""
    journal.tags({"snapshot": trained.snapshot, "snapshot_kimg": trained.cur_nimg / 1000})


def record_evaluation(journal: Journal, report: MetricsReport, evaluate: Settings) -> None:
    """Record reports/metrics.json (schema in artifacts/metrics_json.py); a new evaluation replaces the old one.

    evaluate: the section that the report was made with.
    The step of truncation/... is the percentage of psi, so that MLflow draws the metric against psi.
    """
    step = report.cur_nimg or 0  # a network from elsewhere does not say
    for name, metrics in (("eval", report.metrics), ("floor", report.floor), ("untrained", report.untrained)):
        journal.summary(step, {f"{name}/{metric.name}": metric.value for metric in metrics})
    for name, metrics in (("floor", report.floor), ("like_floor", report.like_floor)):
        numbers = {f"{name}/{metric.name}_sd": metric.sd for metric in metrics if metric.sd is not None}
        journal.summary(step, numbers)
    journal.summary(step, {f"like_floor/{metric.name}": metric.value for metric in report.like_floor})
    bounds = [(metric.name, metric.interval) for metric in report.metrics if metric.interval is not None]
    found = {f"eval/{name}_low": interval.low for name, interval in bounds}
    found |= {f"eval/{name}_high": interval.high for name, interval in bounds}
    journal.summary(step, found | {"recommended/psi": report.recommended.psi} | class_distances(report.per_class or ()))
    for row in report.by_rising_psi:
        numbers = {f"truncation/{metric.name}": metric.value for metric in row.metrics}
        journal.summary(round(100 * row.psi), numbers)
    values = {"evaluate": evaluate, "extractor": report.extractor.model_dump()}
    journal.tags(flatten(values) | {"recommended": report.recommended.sentence, NOTE: _note(report)})


def _note(report: MetricsReport) -> str:
    judged = verdict.verdicts(report)
    return f"**{verdict.headline(judged)}** {verdict.summary(judged, report.num_images)} {report.recommended.sentence}"


def record_model(journal: Journal, folder: Path, root: Path, params: Params, report: MetricsReport) -> None:
    """Record the generator of a work tree or a run for the model registry, unless the report is about another one

    params: that it was trained with; root: of the archive.
    """
    generator = folder / EXPORTED
    data = manifest_json.overview_of(root / ARCHIVE, report.archive_sha256)
    origin = Origin(train_json.read(folder), data, params, sha256_of(generator))
    if report.generator_sha256 != origin.digest:
        return
    prepare, extractor = params.prepare, report.extractor
    source = _NOT_IN_MODELS.sub("_", Path(prepare.source).name)[:100]
    name = f"{source}-{spelt(prepare.resolution)}-{report.archive_sha256[:8]}"
    kid = find(report.metrics, "kid")
    usage = model_card.in_python(name, conditional=class_count(generator) > 0)
    card = model_card.card(
        report, origin, name=name, licence="other", data_licence="not stated", usage=usage, samples=None
    )
    measured_by = (
        f"{extractor.name} {extractor.sha256[:12]} at {extractor.input_size} pixels ({report.resize_filter}), "
        f"{counted(report.num_real, 'image')} of {report.split} in archive {report.archive_sha256[:12]}"
    )
    try:
        journal.model(
            generator, card, name=name, about=_note(report),
            measured_by="" if kid is None else f"{kid.name} by {measured_by}",
            kid=kid.value if kid is not None and math.isfinite(kid.value) else None,
        )  # fmt: skip
    except OSError as error:  # a run does not end because its copy has no room
        logger.warning("The model is not recorded for the registry: %s", explain(error))


def class_count(generator: Path) -> int:
    """How many classes the generator in a file takes"""
    with safe_open(generator, framework="numpy") as file:
        return int(json.loads(file.metadata()["generator"])["c_dim"])


def class_distances(per_class: Sequence[ClassResult]) -> dict[str, float]:
    """class/<name> -> distance, of the classes that have one

    A class without a name goes by its number, and one whose name MLflow would refuse by both.
    """
    found = {}
    for row in per_class:
        spelt = _REFUSED.sub("_", row.title)
        if row.distance is not None:
            found[f"class/{spelt}" if spelt == row.title else f"class/{spelt} {row.label}"] = row.distance
    return found


def record_report(journal: Journal, reports: Path) -> None:
    """Record the page, the numbers, the sheet of samples, and those of evaluate where they are."""
    for name in ("index.html", "metrics.json", "samples.png", "neighbors.png", "realism.png"):
        if (reports / name).exists():
            journal.artifact(reports / name)


def record_outputs(root: Path, params: Params) -> Journal | None:
    """Record the stage outputs that lie in a work tree, wherever they came from; None if nothing was trained.

    What the stages recorded themselves is not repeated, so this is safe at any time.
    """
    generator = root / EXPORTED
    if not train_json.is_finished(root):
        return None
    trained = train_json.read(root)
    journal = Journal(root / "runs" / trained.fingerprint)
    with safe_open(generator, framework="numpy") as file:
        journal.params(flatten({"generator": json.loads(file.metadata()["config"])}))
    locked = _locked_params(root / "dvc.lock")
    evaluate = locked.pop("evaluate", params.evaluate.model_dump(mode="json"))
    _record_sections(journal, locked)
    journal.tags({"archive_sha256": trained.archive_sha256})
    record_export(journal, trained)
    for row in read_csv(root / TICKS):
        journal.metrics(int(row.nimg), row.series)
    journal.artifact(generator)
    metrics = root / METRICS
    if metrics.exists():
        report = metrics_json.read(metrics)
        record_evaluation(journal, report, evaluate)
        _record_model_as_made(journal, root, params, locked, report)
        if (root / "reports/index.html").exists():
            record_report(journal, root / "reports")
    journal.status("FINISHED")
    return journal


def _record_model_as_made(
    journal: Journal, root: Path, params: Params, locked: Settings, report: MetricsReport
) -> None:
    """Record the model of a work tree, with the images and augmentation that it was made with."""
    try:
        made = {
            "prepare": _locked_section("prepare", params.prepare, locked),
            "augment": _locked_section("augment", params.augment, locked),
        }
    except ConfigError as error:  # of another version of the project, or edited
        logger.warning("The model is not recorded for the registry: %s", "; ".join(lines_of(error)))
        return
    # Without the checks of a whole: with other sections of today, which are not looked at, they need not agree.
    record_model(journal, root, root, params.model_copy(update=made), report)


def _locked_section(name: str, today: Section, locked: Settings) -> Section:
    values = locked.get(name, {})
    if not isinstance(values, dict):
        raise ConfigError(f"dvc.lock: section {name} is {values!r}, expected parameters. Run `dvc repro`.")
    return parse(type(today), today.model_dump(mode="json") | values, f"dvc.lock: section {name}")


def _locked_params(lock: Path) -> Settings:
    """Sections that the outputs were made with, which params.yaml may have left behind; empty without a lock file"""
    if not lock.exists():
        return {}
    stages = read_yaml(lock, lock, "stages, as `dvc repro` writes them").get("stages", {})
    found: Settings = {}
    for stage in STAGES:
        read = stages.get(stage, {}).get("params", {}).get("params.yaml", {})
        found |= {name: values for name, values in read.items() if stage != "evaluate" or name == stage}
    return found


def source_tags(root: Path) -> dict[str, Scalar]:
    """The git commit of the code and whether it had been edited since; empty outside a repository"""
    if not shutil.which("git"):
        return {}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    if commit.returncode:
        return {}
    # dvc.lock is rewritten by every run, so it says nothing about the code.
    edits = ["git", "status", "--porcelain", "--untracked-files=no", "--", ":!dvc.lock"]
    status = subprocess.run(edits, cwd=root, capture_output=True, text=True, check=False)
    shown = {"mlflow.source.name": root.name, "mlflow.source.type": "LOCAL"}  # without them MLflow hides the commit
    return {**shown, "mlflow.source.git.commit": commit.stdout.strip(), "git_edited": bool(status.stdout.strip())}
