"""The space as Ray Tune spells it, and the searcher that learns from trials."""

from collections.abc import Sequence
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from pipelines.params import Axis, Params, Settings
from pipelines.sweep import space
from pipelines.sweep.job import was_stopped
from stylegan.config import ConfigError

OPTUNA = "optuna==5.0.0"


def domains(params: Params) -> Settings:
    """The space as Tune spells it"""
    return {axis.parameter: domain(axis) for axis in space.trained_axes(params.sweep)}


def domain(axis: Axis) -> Any:
    """One axis as Tune spells it"""
    if axis.draw in ("grid", "choice"):
        return tune.choice(list(axis.values))
    return (tune.loguniform if axis.draw == "loguniform" else tune.uniform)(*axis.values)


def optuna_searcher(params: Params, before: Sequence[space.Drawn]) -> Searcher:
    """Optuna's TPE; what an earlier attempt drew is drawn again first.

    Raises ConfigError if Optuna is not installed.
    """
    try:
        import optuna
        from ray.tune.search.optuna import OptunaSearch
    except ImportError:
        raise ConfigError(
            f"sweep.searcher is optuna, which is not installed. Run `pip install {OPTUNA}`, or set sweep.searcher to "
            "random."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    points = [{f"drawn/{name}": value for name, value in drawn.items()} for drawn in before]

    class Searcher(OptunaSearch):  # type: ignore[misc]
        """Compares equal measurements: the KID of a stopped trial is of a shorter training, so it is no result.

        What it reported of its snapshots stays: Optuna compares it with what others had at the same snapshot.
        """

        def on_trial_complete(self, trial_id: str, result: Settings | None = None, error: bool = False) -> None:
            super().on_trial_complete(trial_id, None if result and was_stopped(result) else result, error)

    return Searcher(
        metric="distance",
        mode="min",
        sampler=optuna.samplers.TPESampler(seed=params.sweep.seed),
        points_to_evaluate=points or None,
    )
