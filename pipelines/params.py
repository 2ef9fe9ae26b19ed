"""Params: the mathematics' Config plus the sections that say how to run; load and override.

The one reader of params.yaml. `stylegan/` receives frozen sections and knows no file.
"""

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, Strict, model_validator

from pipelines.yaml_files import parse_yaml, read_yaml
from stylegan.config import Config, ConfigError, Section, parse, worker_problems
from stylegan.config.sections import Count, Metric, NonNegative, Positive, Seed

# DVC points to the user's repository even when it works in a temporary clone; run state belongs there.
ROOT = Path(os.environ.get("DVC_ROOT", Path(__file__).resolve().parent.parent))

Scalar = str | int | float | bool | None
Settings = dict[str, Any]  # values of parameters: sections within sections, or by dotted path

# What stage `train` reads; the other sections say where it runs, what is measured, and how it is shown.
TRAINED_SECTIONS = ("data", "generator", "discriminator", "augment", "loss", "train", "monitor")
# Of these, what decides no weights: when to stop, what to look at, and a path whose content counts instead. batch_gpu
# does decide them: a micro-batch has its own random numbers and groups of minibatch standard deviation.
NO_WEIGHTS = ("train.total_kimg", "train.tick_kimg", "train.snapshot_ticks", "train.resume_from", "monitor.")


def _num_workers(value: object) -> int | tuple[int, int]:
    """One number, or [fewest, most]"""
    bounds = value if isinstance(value, list | tuple) else (value, value)
    if len(bounds) != 2 or not all(type(bound) is int for bound in bounds) or not 1 <= bounds[0] <= bounds[1]:
        raise ValueError(
            f"cluster.num_workers is {value!r}; expected a number of processes, or [fewest, most] to continue with "
            "fewer after losing a node."
        )
    return bounds[0] if bounds[0] == bounds[1] else (bounds[0], bounds[1])


def _seeds(path: str, value: object) -> int | tuple[int, ...]:
    """A number of seeds, or the seeds themselves"""
    if isinstance(value, list | tuple):
        if value and all(type(seed) is int and seed >= 0 for seed in value) and len(set(value)) == len(value):
            return tuple(value)
    elif type(value) is int and value > 0:
        return value
    raise ValueError(f"{path} is {value!r}; expected a number of seeds such as 3, or distinct seeds such as [0, 1, 2].")


def seeds_from(chosen: int | tuple[int, ...], first: int) -> tuple[int, ...]:
    """Every train.seed that `seeds` asks for; a number counts up from `first`"""
    return tuple(range(first, first + chosen)) if isinstance(chosen, int) else chosen


class ClusterConfig(Section):
    """Where training and evaluation run; never what they compute."""

    address: str | None
    num_workers: Annotated[int | tuple[int, int], BeforeValidator(_num_workers)]  # or fewest and most
    cpus_per_worker: Count
    use_gpu: bool
    max_failures: Annotated[int, Field(ge=0)]  # without progress in between
    wait_hours: Positive  # for nodes that have room
    checkpoint_minutes: NonNegative  # between checkpoints to resume from; 0: snapshots alone
    collective_timeout_sec: Count  # that ranks wait for one that hangs
    storage_path: str | None
    cache_path: str | None

    @property
    def max_workers(self) -> int:
        """Workers while every node is there"""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[1]

    @property
    def min_workers(self) -> int:
        """Workers that it takes to begin"""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]

    @property
    def resources(self) -> dict[str, float]:
        """What each worker reserves"""
        return {"CPU": float(self.cpus_per_worker)} | ({"GPU": 1.0} if self.use_gpu else {})


class TrackingConfig(Section):
    """Where runs are recorded."""

    uri: str | None
    experiment: str
    system_metrics: bool


class Axis(Section):
    """One parameter of a sweep and the values it takes."""

    parameter: str  # dotted, such as augment.ada_target
    draw: Literal["grid", "choice", "uniform", "loguniform"]
    values: Annotated[tuple[Any, ...], Strict(False), Field(min_length=1)]  # those to take; of the last two [low, high]


class SweepConfig(Section):
    """What a sweep tries (`make sweep`), and how it shares the machine; no stage of the main chain reads it."""

    space: Annotated[tuple[Axis, ...], Strict(False), Field(min_length=1)]
    searcher: Literal["grid", "random", "optuna"]
    num_trials: Count  # of random and optuna; a grid has as many as it has combinations
    seed: Seed  # of what the searcher draws
    # Trainings of each trial, which differ in train.seed.
    seeds: Annotated[int | tuple[int, ...], BeforeValidator(partial(_seeds, "sweep.seeds"))]
    total_kimg: Positive  # of each trial, in place of train.total_kimg
    scheduler: Literal["none", "asha", "pbt"]
    asha_grace_kimg: Positive
    asha_reduction_factor: Annotated[float, Field(gt=1)]
    pbt_interval_kimg: Positive
    pbt_quantile: Annotated[float, Field(gt=0, le=0.5)]
    max_concurrent_trials: Count
    workers_per_trial: Count
    cpus_per_worker: Positive  # may be a fraction
    gpus_per_worker: NonNegative  # may be a fraction; 0 leaves GPUs alone


class AblateConfig(Section):
    """How long each row of a ladder trains and what is measured of it (`make ablate`)."""

    # Trainings of each row, which differ in train.seed.
    seeds: Annotated[int | tuple[int, ...], BeforeValidator(partial(_seeds, "ablate.seeds"))]
    total_kimg: Positive  # of each row, in place of train.total_kimg
    metrics: Annotated[tuple[Metric, ...], Strict(False), Field(min_length=1)]  # in place of evaluate.metrics
    peaks_num_images: Count  # whose feature maps are looked at for droplets


class Params(Config):
    """The whole of params.yaml."""

    cluster: ClusterConfig
    tracking: TrackingConfig
    sweep: SweepConfig
    ablate: AblateConfig

    @model_validator(mode="after")
    def _workers_share_the_batch(self) -> Self:
        problems = list(worker_problems(self.train, self.cluster.max_workers))
        if problems:
            raise ValueError("\n".join(problems))
        return self


def load(path: Path = Path("params.yaml"), overrides: Sequence[str] = ()) -> Params:
    """Read params.yaml and apply overrides of the form section.key=value.

    Raises ConfigError that lists every problem, FileNotFoundError when there is no file.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: file not found. Run from the repository root, or restore the file with `git restore {path}`."
        )
    values = read_yaml(path, path, "sections such as `train:`")
    return parse(Params, override(values, overrides), str(path))


def override(values: Mapping[str, Any], assignments: Sequence[str]) -> Settings:
    """Copy of nested values with every `section.key=value` set; values are read as YAML.

    Raises ConfigError for an assignment without `=` or a path through a value that is not a section.
    """
    result: Settings = json.loads(json.dumps(values))
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"override {assignment!r}: expected section.key=value, such as train.total_kimg=100")
        *sections, key = path.split(".")
        node = result
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                raise ConfigError(f"override {assignment!r}: {section} is a value, not a section")
        try:
            node[key] = parse_yaml(text)
        except ValueError:
            raise ConfigError(
                f"override {assignment!r}: {text} is not a YAML value; quote it or close its bracket"
            ) from None
    return result


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of everything that is not a section"""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def flatten(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """Nested values -> {"section.key": value}; lists become their JSON text"""
    return {path: json.dumps(value) if isinstance(value, list | tuple) else value for path, value in leaves(values)}


def laid(values: Mapping[str, Any], changes: Mapping[str, Any]) -> Settings:
    """Copy of nested values with those of `changes`, which are named by dotted paths, laid over them"""
    result: Settings = json.loads(json.dumps(values))
    for path, value in changes.items():
        *sections, key = path.split(".")
        node = result
        for section in sections:
            node = node.setdefault(section, {})
        node[key] = value
    return result


def trained_values(config: Config) -> Settings:
    """Plain values of what images are made from and what stage `train` reads"""
    return config.model_dump(mode="json", include={"prepare", *TRAINED_SECTIONS})


def decides_weights(path: str) -> bool:
    """Whether a parameter, by its dotted path, changes weights; others change when training stops or what is seen"""
    return path.partition(".")[0] in TRAINED_SECTIONS and not path.startswith(NO_WEIGHTS)


def short_hash(*values: object) -> str:
    """Twelve characters that stand for plain values"""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def fingerprint(config: Section, *digests: str, sections: Collection[str] | None = None) -> str:
    """Short hash of a section (or of some of its sections) and of the digests of its inputs: the name of a run."""
    values = config.model_dump(mode="json", include=None if sections is None else set(sections))
    return short_hash(values, *digests)
