"""What a sweep writes of what it found, how its commands are read, and where to look at it."""

import csv
import importlib.util
import io
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from pipelines.artifacts import sweep_json
from pipelines.artifacts.sweep_json import Trial
from pipelines.params import ROOT, Params, load
from pipelines.sweep import __main__ as sweep
from pipelines.sweep import findings, plots, scheduler, search, tuner
from pipelines.sweep.plots import Point
from pipelines.tracking import publisher
from stylegan.config import ConfigError
from tests.evaluation_results import truncation

Make = Callable[..., Params]


def measured(target: float, kids: dict[float, float]) -> Trial:
    rows = tuple(
        truncation(psi, {"kid_efflite0": kid, "precision_efflite0": 0.9 - psi / 2, "recall_efflite0": psi / 2})
        for psi, kid in kids.items()
    )
    drawn = {"augment.ada_target": target}
    return Trial(drawn=drawn, run=f"run{target}", status="measured", kimg=40.0, kid=0.5, truncation=rows)


FOUND = [
    measured(0.4, {1.0: 0.7, 0.5: 0.6}),
    measured(0.6, {0.5: 0.3, 1.0: 0.3}),
    Trial(drawn={"augment.ada_target": 0.7}, run="run0.7", status="stopped", kimg=20.0, kid=1.25),
    Trial(
        drawn={"augment.ada_target": 0.8},
        run="",
        status="failed",
        kimg=0.0,
        kid=None,
        problem="TrainError: not | finite",
    ),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, tiny_params: Params) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "sweep"
    findings.write(FOUND, tiny_params, folder)
    return folder


def test_the_table_has_a_row_for_each_trial_and_psi_and_for_each_trial_that_was_not_measured(written: Path) -> None:
    with (written / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["augment.ada_target"], row["psi"], row["kid_efflite0"]) for row in rows] == [
        ("0.4", "0.5", "0.6"), ("0.4", "1.0", "0.7"), ("0.6", "0.5", "0.3"), ("0.6", "1.0", "0.3"),
        ("0.7", "", ""), ("0.8", "", ""),
    ]  # fmt: skip
    assert [(row["status"], row["kimg"], row["monitor/kid"], row["problem"]) for row in rows[4:]] == [
        ("stopped", "20.0", "1.25", ""), ("failed", "0.0", "", "TrainError: not | finite"),
    ]  # fmt: skip


def test_the_best_is_the_lowest_distance_and_of_equals_the_higher_psi(written: Path) -> None:
    trial, row = sweep_json.best_of(FOUND)
    assert (trial.drawn, row.psi) == ({"augment.ada_target": 0.6}, 1.0)
    assert yaml.safe_load((written / "best.yaml").read_text()) == {
        "augment": {"ada_target": 0.6}, "render": {"truncation_psi": 1.0},
    }  # fmt: skip
    assert findings.summary(FOUND).split("\n") == [
        "best: augment.ada_target 0.6 at psi 1 (KID 0.3), run run0.6",
        "stopped: augment.ada_target 0.7 at kimg 20",
        "failed: augment.ada_target 0.8: TrainError: not | finite",
    ]


def test_the_page_is_a_table_with_the_best_row_bold(written: Path) -> None:
    head, rule, *rows = (written / "table.md").read_text().splitlines()[:8]
    assert head.startswith("| run | status | kimg | augment.ada_target | psi | kid_efflite0 |")
    assert {line.replace("\\|", "").count("|") for line in (head, rule, *rows)} == {head.count("|")}
    assert [row for row in rows if "**" in row] == [rows[3]]
    assert rows[3].startswith("| **run0.6** | **measured** | **40** | **0.6** | **1** | **0.3** |")


@pytest.mark.parametrize("name", ["target", "frontier", "parallel"])
def test_charts_are_pictures(written: Path, name: str) -> None:
    with Image.open(written / f"{name}.png") as picture:
        assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 8, "nothing is drawn"


def points(*trials: Trial) -> list[Point]:
    return [Point(trial.run, trial.drawn, at) for trial in trials for at in trial.truncation]


def test_charts_differ_with_what_was_found() -> None:
    found = points(measured(0.4, {1.0: 0.7, 0.5: 0.6}), measured(0.6, {0.5: 0.3, 1.0: 0.3}))
    changed = points(measured(0.4, {1.0: 0.49, 0.5: 0.36}), measured(0.6, {0.5: 0.09, 1.0: 0.09}))
    for draw in (plots.against_parameter, plots.parallel):
        assert draw(found, ["augment.ada_target"]) != draw(changed, ["augment.ada_target"])


def test_charts_take_words_wide_ranges_many_psi_and_a_single_trial() -> None:
    rows = [
        Point(str(i), {"augment.mode": mode, "loss.r1_gamma": gamma}, truncation(psi / 10, {"fid_x": 1.0}))
        for i, (mode, gamma) in enumerate([("ada", 0.01), ("none", 10.0)])
        for psi in range(11)
    ]  # fmt: skip
    names = ["augment.mode", "loss.r1_gamma"]
    for some in (rows, rows[:1]):
        pngs = [
            plots.against_parameter(some, names), plots.frontiers(some, names),
            plots.parallel(some, names), plots.against_parameter(some, names[:1]),
        ]  # fmt: skip
        assert all(Image.open(io.BytesIO(png)).size[0] > 300 for png in pngs)


def test_kimg_and_gpus_scale_the_sweep_and_what_is_written_out_goes_over_them(repository: Path) -> None:
    options = Namespace(kimg=200.0, gpus=8, overrides=["sweep.gpus_per_worker=0.5"])
    params = load(repository / "params.yaml", sweep.scaled(options))
    assert (params.sweep.total_kimg, params.sweep.max_concurrent_trials) == (200.0, 8)
    assert (params.sweep.cpus_per_worker, params.sweep.gpus_per_worker) == (1.0, 0.5)
    assert sweep.scaled(Namespace(kimg=None, gpus=None, overrides=[])) == []


def test_pbt_changes_values_within_their_ranges_only(make_params: Make) -> None:
    params = make_params(
        "sweep.space=[{parameter: augment.ada_target, draw: uniform, values: [0.2, 0.9]}, "
        "{parameter: augment.mode, draw: choice, values: [ada, none]}]"
    )
    changed = scheduler.within({"drawn": {"augment.ada_target": 1.08, "augment.mode": "ada"}}, params)
    assert changed == {"drawn": {"augment.ada_target": 0.9, "augment.mode": "ada"}}
    changed = scheduler.within({"drawn": {"augment.ada_target": 0.123456, "augment.mode": "ada"}}, params)
    assert changed["drawn"]["augment.ada_target"] == 0.2


@pytest.mark.parametrize("name", ["none", "asha", "pbt"])
def test_schedulers_judge_by_kid_at_images_seen(make_params: Make, name: str) -> None:
    params = make_params(
        f"sweep.scheduler={name}", "sweep.space=[{parameter: augment.ada_target, draw: grid, values: [0.4, 0.8]}]"
    )
    found = scheduler.scheduler(params)
    assert (found is None) == (name == "none")
    if found is not None:
        assert (found._time_attr, found._metric, found._metric_op) == ("rung_nimg", "kid", -1)


def test_without_optuna_the_remedy_is_named(make_params: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError) as caught:
        search.optuna_searcher(make_params(), [])
    assert str(caught.value) == (
        "sweep.searcher is optuna, which is not installed. Run `pip install optuna==5.0.0`, or set sweep.searcher to "
        "random."
    )


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="needs optuna: pip install -e '.[sweep]'")
def test_optuna_draws_again_what_it_drew_before_and_stays_in_the_ranges(make_params: Make) -> None:
    params = make_params(
        "sweep.space=[{parameter: augment.ada_target, draw: uniform, values: [0.2, 0.9]}]", "sweep.searcher=optuna"
    )
    searcher = search.optuna_searcher(params, [{"augment.ada_target": 0.321}])
    searcher.set_search_properties(None, None, {"drawn": search.domains(params)})
    drawn = [searcher.suggest(str(i))["drawn"]["augment.ada_target"] for i in range(3)]
    assert drawn[0] == 0.321
    assert all(0.2 <= value <= 0.9 for value in drawn)
    assert len(set(drawn)) == 3


@pytest.mark.parametrize("address", ["http://server:5000", ""])
def test_trials_write_where_the_console_says_whatever_their_own_root_is(
    address: str, make_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    params = tuner.with_tracking_address(make_params("tracking.uri=null"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert publisher.tracking_uri(params.tracking, Path("/elsewhere")) == (address or f"sqlite:///{ROOT}/mlflow.db")


def test_reason_is_the_last_line_of_what_came_through_ray() -> None:
    assert tuner.reason(ValueError("ray::train()\n  File x\npipelines.train.TrainError: too high\n\n")) == (
        "pipelines.train.TrainError: too high"
    )
    assert tuner.reason(ValueError()) == "ValueError"
