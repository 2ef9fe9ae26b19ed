"""Saved views of MLflow: what they hold, and the links to them in tables. tests/e2e opens one in a browser."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from pipelines.params import TrackingConfig
from pipelines.tracking import publisher, ui, views
from pipelines.tracking.views import View

ROWS = View(
    "rows", "tags.x = 'a'", key="ladder a", axes=["p"], results=["eval/kid", "eval/fid"], curves=["monitor/kid"]
)
IMAGES = View("images", "tags.x = 'a'", key="images", mode="ARTIFACT")
LINKS = {"rows": "http://127.0.0.1:5000/#/rows", "images": "http://127.0.0.1:5000/#/images"}


def unpacked(tag: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(tag.removeprefix("deflate;"))))
    return content


def test_a_view_filters_runs_and_shows_results_before_training_and_all_runs() -> None:
    state = unpacked(views.compressed(ROWS.state))
    assert (state["searchFilter"], state["runsHiddenMode"]) == ("tags.x = 'a'", "SHOW_ALL")
    assert [section["name"] for section in state["compareRunSections"]] == ["Results", "Training"]
    charts = [(chart["type"], chart["metricSectionId"], chart.get("metricKey")) for chart in state["compareRunCharts"]]
    assert charts == [
        ("PARALLEL", "Results", None), ("BAR", "Results", "eval/kid"), ("BAR", "Results", "eval/fid"),
        ("LINE", "Training", "monitor/kid"),
    ]  # fmt: skip
    parallel = state["compareRunCharts"][0]
    assert (parallel["selectedParams"], parallel["selectedMetrics"]) == (["p"], ["eval/kid", "eval/fid"])


def test_a_view_without_results_yet_has_only_curves() -> None:
    state = View("rows", "tags.x = 'a'", key="a", axes=["p"], curves=["monitor/kid"]).state
    assert [section["name"] for section in state["compareRunSections"]] == ["Training"]


def test_a_view_of_every_metric_fits_into_a_tag() -> None:
    results = [f"eval/metric_{number}_efflite0" for number in range(20)]
    curves = [f"monitor/{number}" for number in range(10)]
    axes = [f"section.setting_{number}" for number in range(10)]
    view = View("rows", "x" * 200, key="a", axes=axes, results=results, curves=curves)
    assert len(views.compressed(view.state)) < 5000


def test_views_are_saved_with_the_experiment_and_have_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrackingConfig(uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="tests", system_metrics=False)
    tags: dict[str, str] = {}
    monkeypatch.setattr(publisher, "find_experiment", lambda config: "7")
    monkeypatch.setattr(publisher, "set_experiment_tags", lambda config, new: tags.update(new))
    links = views.save(config, [ROWS, IMAGES])
    assert links == {
        "rows": f"{ui.LOCAL}/#/experiments/7/runs?compareRunsMode=CHART&workflowType=machine_learning"
        "&viewStateShareKey=ladder%20a",
        "images": ui.saved_view(ui.LOCAL, "7", "ARTIFACT", "images"),
    }
    assert tags == {f"mlflow.sharedViewState.{view.key}": views.compressed(view.state) for view in (ROWS, IMAGES)}
    assert IMAGES.state.keys() == {"searchFilter", "runsHiddenMode", "hideEmptyCharts"}


def test_links_to_a_server_hold_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrackingConfig(uri="https://me:secret@host", experiment="tests", system_metrics=False)
    monkeypatch.setattr(publisher, "find_experiment", lambda config: "7")
    monkeypatch.setattr(publisher, "set_experiment_tags", lambda config, new: None)
    (address,) = views.save(config, [IMAGES]).values()
    assert address.startswith("https://host/#/experiments/7/")
    assert views.when(address) == ""


def test_links_say_when_they_answer() -> None:
    assert views.describe_links(LINKS) == (
        "In MLflow (after `make ui`): [rows](http://127.0.0.1:5000/#/rows), [images](http://127.0.0.1:5000/#/images)"
    )
    assert views.describe_links({}) == ""
