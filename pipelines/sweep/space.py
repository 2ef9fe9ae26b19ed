"""The space of a sweep: which values its parameters take, and the parameters of a trial.

evaluate.truncation_psi is no axis of training: every trained generator is measured at every psi. Everything that does
not fit is said before anything is trained.
"""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.params import (
    TRAINED_SECTIONS,
    Axis,
    ClusterConfig,
    Params,
    Settings,
    SweepConfig,
    fingerprint,
    flatten,
    laid,
)
from stylegan.config import ConfigError, parse
from stylegan.config.strict import close_to
from stylegan.wording import counted

PSI = "evaluate.truncation_psi"
CHANGEABLE = ("augment.", "loss.", "train.g_lr", "train.d_lr")  # while a state of training is carried on
HELD = ("augment.mode", "augment.p")  # but for these: a state holds what belongs to them
DEFINING = ("space", "searcher", "num_trials", "seed", "total_kimg", "scheduler", "asha_grace_kimg",
            "asha_reduction_factor", "pbt_interval_kimg", "pbt_quantile")  # fmt: skip
TURN_HOURS = 24.0 * 365  # that members of a population may wait for each other's workers: taking turns is no failure

Drawn = Settings  # dotted parameter -> its value in a trial


class TrialCluster(ClusterConfig):
    """The workers of one trial; each may reserve a fraction of a core or card."""

    cpus: float
    gpus: float

    @property
    def resources(self) -> dict[str, float]:
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.use_gpu else {})


def trained_axes(sweep: SweepConfig) -> list[Axis]:
    """The axes of which every value is another training"""
    return [axis for axis in sweep.space if axis.parameter != PSI]


def check(params: Params) -> None:
    """Raises ConfigError that lists every part of the section `sweep` that cannot be used."""
    problems = [problem for axis in params.sweep.space for problem in _axis_problems(axis, params)]
    problems += _search_problems(params)
    if problems:
        raise ConfigError("\n".join(problems))


def _axis_problems(axis: Axis, params: Params) -> Iterator[str]:
    name, section = axis.parameter, axis.parameter.partition(".")[0]
    known = [*flatten(params.model_dump(mode="json"))]
    if name == PSI:
        if axis.draw != "grid":
            yield f"sweep.space: {PSI} has draw {axis.draw}; every generator is measured at every psi, so write grid."
        return
    if name not in known:
        yield f"sweep.space: {name} is not a parameter; {close_to(name, known)}"
    elif name == "train.total_kimg":
        yield "sweep.space: train.total_kimg is sweep.total_kimg in a sweep. Set that, or --kimg."
    elif section not in TRAINED_SECTIONS:
        yield (
            f"sweep.space: {name} is not a parameter of training. Name one of the sections "
            f"{', '.join(TRAINED_SECTIONS)}, or {PSI}."
        )
    elif params.sweep.scheduler == "pbt" and (not name.startswith(CHANGEABLE) or name in HELD):
        yield (
            f"sweep.space: {name} cannot change during training, which scheduler pbt does. Name parameters of "
            f"augment (except {' and '.join(name.partition('.')[2] for name in HELD)}) or loss, train.g_lr or "
            "train.d_lr; or set sweep.scheduler to none or asha."
        )
    yield from _range_problems(axis)


def _range_problems(axis: Axis) -> Iterator[str]:
    if axis.draw in ("grid", "choice"):
        if len({repr(value) for value in axis.values}) < len(axis.values):
            yield f"sweep.space: {axis.parameter} has a value twice in {list(axis.values)}. Remove one."
        return
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in axis.values)
    if not numbers or len(axis.values) != 2 or axis.values[0] >= axis.values[1]:
        yield f"sweep.space: {axis.parameter} has values {list(axis.values)}; {axis.draw} takes [low, high]."
    elif axis.draw == "loguniform" and axis.values[0] <= 0:
        yield f"sweep.space: {axis.parameter} starts at {axis.values[0]:g}; loguniform needs a low above 0."


def _search_problems(params: Params) -> Iterator[str]:
    sweep, names = params.sweep, [axis.parameter for axis in params.sweep.space]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"sweep.space: {name} appears twice. Keep one of them."
    for axis in trained_axes(sweep):
        if sweep.searcher == "grid" and axis.draw != "grid":
            yield (
                f"sweep.searcher is grid, but {axis.parameter} is drawn by {axis.draw}. Set sweep.searcher to random "
                "or optuna, or list values with draw grid."
            )
    if sweep.scheduler != "none" and params.monitor.num_images == 0:
        yield (
            f"sweep.scheduler is {sweep.scheduler}, which judges by the KID of snapshots, but monitor.num_images is 0. "
            "Set monitor.num_images to 500, or sweep.scheduler to none."
        )
    if sweep.workers_per_trial > 1 and 0 < sweep.gpus_per_worker < 1:
        yield (
            f"sweep.gpus_per_worker is {sweep.gpus_per_worker:g} with {counted(sweep.workers_per_trial, 'worker')} per "
            "trial; NCCL needs a whole GPU for each of several workers. Set sweep.gpus_per_worker to 1, or "
            "sweep.workers_per_trial to 1."
        )
    if sweep.seeds != 1:
        if sweep.scheduler == "pbt":
            yield "sweep.scheduler pbt trains one population. Set sweep.seeds to 1, or sweep.scheduler to none or asha."
        if "train.seed" in names:
            yield "sweep.space: train.seed is what sweep.seeds counts up. Name it in one of both places."
    if sweep.scheduler == "pbt" and sweep.searcher == "optuna":
        yield "sweep.scheduler pbt draws new values itself. Set sweep.searcher to grid or random."
    for name, kimg in (("asha_grace_kimg", sweep.asha_grace_kimg), ("pbt_interval_kimg", sweep.pbt_interval_kimg)):
        if name.startswith(sweep.scheduler) and kimg >= sweep.total_kimg:
            yield f"sweep.{name} is {kimg:g}, not below sweep.total_kimg = {sweep.total_kimg:g}: nothing would happen."


def drawn_before(sweep: SweepConfig) -> list[Drawn] | None:
    """What each trial takes, the same at every call; None for optuna, which draws as results come in"""
    axes = trained_axes(sweep)
    if sweep.searcher == "optuna":
        return None
    if sweep.searcher == "grid":
        return [
            dict(zip([axis.parameter for axis in axes], values, strict=True))
            for values in itertools.product(*(axis.values for axis in axes))
        ]
    generator, found = random.Random(sweep.seed), list[Drawn]()
    for _ in range(100 * sweep.num_trials):  # equal draws are one trial
        drawn = {axis.parameter: _draw(axis, generator) for axis in axes}
        found += [drawn] if drawn not in found else []
        if len(found) == sweep.num_trials:
            return found
    raise ConfigError(
        f"sweep.num_trials is {sweep.num_trials}, but sweep.space has only "
        f"{counted(len(found), 'combination')}. Lower it."
    )


def _draw(axis: Axis, generator: random.Random) -> Any:
    if axis.draw in ("grid", "choice"):
        return generator.choice(axis.values)
    low, high = axis.values
    if axis.draw == "loguniform":
        return rounded(math.exp(generator.uniform(math.log(low), math.log(high))))
    return rounded(generator.uniform(low, high))


def rounded(value: float) -> float:
    """Four significant digits: what a person would write into params.yaml"""
    return float(f"{value:.4g}")


def with_psis(params: Params) -> Params:
    """The parameters with evaluate.truncation_psi as the sweep names it"""
    values = params.model_dump(mode="json")
    for axis in params.sweep.space:
        if axis.parameter == PSI:
            values["evaluate"]["truncation_psi"] = list(axis.values)
    return parse(Params, values, "sweep.space")


def of_trial(params: Params, drawn: Mapping[str, Any]) -> Params:
    """All parameters of one trial, on its own share of the machine.

    Raises ConfigError for values that do not fit together.
    """
    sweep = params.sweep
    values = with_psis(params).model_dump(mode="json")
    own = {"num_workers": sweep.workers_per_trial, "cpus_per_worker": max(1, math.floor(sweep.cpus_per_worker))}
    if sweep.scheduler == "pbt":
        own |= {"wait_hours": max(values["cluster"]["wait_hours"], TURN_HOURS)}
    values["cluster"] |= own | {"use_gpu": sweep.gpus_per_worker > 0}
    values = laid(values, {"train.total_kimg": sweep.total_kimg, **drawn})
    trial = parse(Params, values, f"trial {described(drawn)}")
    share = TrialCluster(**trial.cluster.model_dump(), cpus=sweep.cpus_per_worker, gpus=sweep.gpus_per_worker)
    return trial.model_copy(update={"cluster": share})


def described(drawn: Mapping[str, Any]) -> str:
    """ "augment.ada_target 0.6, loss.r1_gamma 0.5" """
    return ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in drawn.items())  # fmt: skip


def name_of(params: Params, archive_sha256: str) -> str:
    """Name of a sweep: hash of what decides its trials and their measurement"""
    defining = params.sweep.model_dump_json(include=set(DEFINING))
    return fingerprint(params, archive_sha256, defining, sections=(*TRAINED_SECTIONS, "evaluate"))


def psis(params: Params) -> Sequence[float]:
    """Every psi at which each generator is measured, ascending"""
    return sorted(set(with_psis(params).evaluate.truncation_psi))
