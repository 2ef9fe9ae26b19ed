"""A population whose members fail: real Ray Tune, members that train nothing."""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from pipelines.cluster import connection
from pipelines.params import Params
from pipelines.sweep.population import member_number
from pipelines.sweep.scheduler import scheduler

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

INTERVAL, FAILS_AT, END = 32, 64, 128  # images: one rung before the failure, and one after it


def member(config: dict[str, Any], failing: int) -> None:
    number, nimg = member_number(tune.get_context().get_trial_id()), 0
    if (found := tune.get_checkpoint()) is not None:
        with found.as_directory() as folder:
            nimg = json.loads((Path(folder) / "nimg.json").read_text())
    while nimg < END:
        nimg += INTERVAL
        if number == failing and nimg == FAILS_AT:
            time.sleep(3)  # until the others wait
            raise RuntimeError("this member fails")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "nimg.json").write_text(json.dumps(nimg))
            if nimg < END:
                report = {"rung_nimg": nimg, "kid": 0.1 * number}
                tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))
    tune.report({"nimg": nimg, "kid": 0.0})


@pytest.mark.filterwarnings("ignore:Consider boosting PBT")  # trials that are paused still have their workers
@pytest.mark.timeout(200)
def test_a_member_that_fails_leaves_no_other_waiting(tmp_path: Path, make_params: Callable[..., Params]) -> None:
    params = make_params(
        "sweep.space=[{parameter: augment.ada_target, draw: choice, values: [0.4, 0.5, 0.6]}]",
        "sweep.searcher=random", "sweep.num_trials=3", "sweep.scheduler=pbt", "sweep.pbt_quantile=0.5",
        f"sweep.pbt_interval_kimg={INTERVAL / 1000}", f"sweep.total_kimg={END / 1000}",
    )  # fmt: skip
    with connection.connect(params.cluster):
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(member, failing=2), {"CPU": 0.1}),
            param_space={"drawn": tune.grid_search([{"augment.ada_target": target} for target in (0.4, 0.5, 0.6)])},
            tune_config=tune.TuneConfig(scheduler=scheduler(params), reuse_actors=False),
            run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
        )
        results = tuner.fit()
    assert results.num_errors == 1
    assert [result.metrics["nimg"] for result in results if result.error is None] == [END, END]
