"""Which trials are stopped or changed while they train: ASHA, or population based training."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining, TrialScheduler

from pipelines.params import Axis, Params, Settings
from pipelines.sweep import space
from pipelines.sweep.population import member_number
from pipelines.sweep.search import domain

FACTORS = (1.2, 0.8)  # by one of which pbt multiplies a number (Jaderberg et al. 2017, App. A.1)


def scheduler(params: Params) -> TrialScheduler | None:
    """What stops or changes trials; they are judged by the KID of their snapshots"""
    if params.sweep.scheduler == "asha":
        return ASHAScheduler(
            time_attr="rung_nimg",
            metric="kid",
            mode="min",
            max_t=round(params.sweep.total_kimg * 1000),
            grace_period=round(params.sweep.asha_grace_kimg * 1000),
            reduction_factor=params.sweep.asha_reduction_factor,
        )
    if params.sweep.scheduler == "pbt":
        return Population(
            params.sweep.seed,
            time_attr="rung_nimg",
            metric="kid",
            mode="min",
            perturbation_interval=round(params.sweep.pbt_interval_kimg * 1000),
            quantile_fraction=params.sweep.pbt_quantile,
            hyperparam_mutations={
                "drawn": {axis.parameter: mutation(axis) for axis in space.trained_axes(params.sweep)}
            },
            perturbation_factors=FACTORS,
            custom_explore_fn=lambda drawn: within(drawn, params),
            require_attrs=False,  # the end of a trial is no occasion
            synch=True,
        )
    return None


class Population(PopulationBasedTraining):  # type: ignore[misc]
    """Decides by the seed, the member and its position alone, so that a sweep which was killed decides the same again.

    Ray draws from the global generators, which others use in between; where it does is no public interface of Ray 2.60.
    Ray also looks at a population only when a result arrives, and takes a member that has failed for one that will
    arrive, so the others would wait for ever.
    """

    _next_perturbation_sync: float  # of Ray: the position at which members wait for each other

    def __init__(self, seed: int, **settings: Any) -> None:
        super().__init__(**settings)
        self._seed = seed
        self._ended: set[Any] = set()

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Settings) -> str:
        for ended in self._ended:  # they count as arrived
            self._trial_state[ended].last_train_time = self._next_perturbation_sync
        decision: str = super().on_trial_result(tune_controller, trial, result)
        return decision

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_error(tune_controller, trial)
        self._continue_without(trial, tune_controller)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Settings) -> None:
        super().on_trial_complete(tune_controller, trial, result)
        self._continue_without(trial, tune_controller)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_remove(tune_controller, trial)
        self._continue_without(trial, tune_controller)

    def _continue_without(self, ended: Any, tune_controller: Any) -> None:
        """Compare and change the others, as Ray does, if all of them wait for the one that has ended."""
        self._ended.add(ended)
        self._trial_state[ended].last_score = None  # it is neither taken over nor changed
        waiting = [trial for trial in tune_controller.get_trials() if trial not in self._ended]
        times = [self._trial_state[trial].last_train_time for trial in waiting]
        if not waiting or min(times) < self._next_perturbation_sync:
            return
        lower, upper = self._quantiles()
        others = [trial for trial in waiting if trial not in (*lower, *upper)]
        for trial in (*upper, *others, *lower):  # the best are saved before others take their state
            self._trial_state[trial].last_perturbation_time = max(times)
            self._checkpoint_or_exploit(trial, tune_controller, upper, lower)
        self._next_perturbation_sync = max(self._next_perturbation_sync + self._perturbation_interval, max(times))

    def _checkpoint_or_exploit(self, trial: Any, *others: Any) -> None:
        numbers = [self._seed, member_number(trial.trial_id), self._trial_state[trial].last_train_time]
        random.seed(repr(numbers))
        np.random.seed(np.random.SeedSequence(numbers).generate_state(4))
        super()._checkpoint_or_exploit(trial, *others)


def mutation(axis: Axis) -> Any:
    """What pbt changes a value to: a neighbour in a list, or something in the range"""
    return list(axis.values) if axis.draw in ("grid", "choice") else domain(axis)


def within(config: Mapping[str, Any], params: Params) -> Settings:
    """A changed configuration with its numbers inside the ranges of the space"""
    drawn = dict(config["drawn"])
    for axis in space.trained_axes(params.sweep):
        if axis.draw in ("uniform", "loguniform"):
            low, high = axis.values
            drawn[axis.parameter] = space.rounded(min(max(drawn[axis.parameter], low), high))
    return {**config, "drawn": drawn}
