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
    """

    def __init__(self, seed: int, **settings: Any) -> None:
        super().__init__(**settings)
        self._seed = seed

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
