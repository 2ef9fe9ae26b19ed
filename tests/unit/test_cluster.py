"""pipelines.cluster: what is asked of Ray; tests/distributed asks Ray itself."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.cluster import workers
from pipelines.params import ClusterConfig, Params
from stylegan.config import ConfigError

Make = Callable[..., Params]


@pytest.fixture
def config(make_params: Make) -> ClusterConfig:
    overrides = ("cluster.num_workers=2", "cluster.cpus_per_worker=3", "cluster.max_failures=5")
    return make_params(*overrides, "train.batch_size=8").cluster


def test_every_worker_reserves_its_cores(config: ClusterConfig) -> None:
    scaling = workers.scaling(config)
    assert (scaling.num_workers, scaling.use_gpu, scaling.resources_per_worker) == (2, False, {"CPU": 3.0})


def test_fewest_and_most_workers_are_elastic_and_one_number_is_not(make_params: Make) -> None:
    config = make_params("cluster.num_workers=[1, 4]", "train.batch_gpu=1", "discriminator.mbstd_group_size=1",
                         "loss.pl_batch_shrink=1").cluster  # fmt: skip
    scaling = workers.scaling(config)
    assert (scaling.min_workers, scaling.max_workers, config.max_workers) == (1, 4, 4)
    assert scaling.elastic_resize_monitor_interval_s >= 30 * 24 * 3600, "Ray would begin everything again"
    assert make_params("cluster.num_workers=[1, 1]").cluster.num_workers == 1


@pytest.mark.parametrize("bad", ["0", "[2, 1]", "[0, 2]", "[1, 2, 3]", "1.5", "all", "true"])
def test_other_numbers_of_workers_are_refused(bad: str, make_params: Make) -> None:
    with pytest.raises(ConfigError, match=r"cluster.num_workers is .*; expected a number of processes, or \[fewest"):
        make_params(f"cluster.num_workers={bad}")


def test_a_worker_with_a_gpu_reserves_one(config: ClusterConfig) -> None:
    scaling = workers.scaling(config.model_copy(update={"use_gpu": True}))
    assert (scaling.use_gpu, scaling.resources_per_worker) == (True, {"CPU": 3.0, "GPU": 1.0})


def test_the_folder_of_a_run_is_its_name_and_resumes_it(config: ClusterConfig, tmp_path: Path) -> None:
    run = workers.run_config(config, tmp_path / "fingerprint" / "checkpoints", [], "monitor/kid")
    assert (run.storage_path, run.name) == (str(tmp_path / "fingerprint"), "checkpoints")
    assert run.failure_config.max_failures == run.failure_config.controller_failure_limit == 0  # see attempts.py
    kept = run.checkpoint_config
    assert (kept.num_to_keep, kept.checkpoint_score_attribute, kept.checkpoint_score_order) == (2, "monitor/kid", "min")
