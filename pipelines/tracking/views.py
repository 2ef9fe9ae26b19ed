"""Saved views of MLflow's interface: which runs it shows, and which charts come first.

The interface keeps a view that a user shares as a tag of the experiment, and opens it by `viewStateShareKey`. Its form
is not documented, so tests/e2e/test_mlflow_in_a_browser.py opens one. If a filter or an order stands in the address
too, the interface ignores the view.
"""

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pipelines.params import TrackingConfig
from pipelines.tracking import publisher, ui

TAG = "mlflow.sharedViewState."
COMPRESSED = "deflate;"  # what the interface begins compressed views with; a tag holds 5000 characters
JsonObject: TypeAlias = dict[str, object]
RUNS = 100  # that a chart shows; the interface shows 10 unless told otherwise


@dataclass(frozen=True)
class View:
    """Runs, and what to see of them."""

    name: str  # what people call it
    wanted: str  # the filter that finds the runs
    key: str  # its name in the address
    mode: ui.Mode = "CHART"
    axes: Sequence[str] = ()  # parameters, as parallel coordinates with the results
    results: Sequence[str] = ()  # metrics, a bar for each run
    curves: Sequence[str] = ()  # metrics, over the length of training

    @property
    def state(self) -> JsonObject:
        """The view as the interface keeps it"""
        state: JsonObject = {"searchFilter": self.wanted, "runsHiddenMode": "SHOW_ALL", "hideEmptyCharts": True}
        charts = [*self._results(), *self._curves()]
        if not charts:
            return state
        titles = dict.fromkeys(chart["metricSectionId"] for chart in charts)
        sections = [
            {"uuid": title, "name": title, "display": True, "isReordered": True, "isGenerated": False}
            for title in titles
        ]
        # Without isAccordionReordered, sections are in the order of the alphabet.
        return state | {"compareRunCharts": charts, "compareRunSections": sections, "isAccordionReordered": True}

    def _results(self) -> Iterator[JsonObject]:
        if self.axes and self.results:
            parallel = {"selectedParams": [*self.axes], "selectedMetrics": [*self.results], "showAllRuns": True}
            yield _chart("PARALLEL", "Results", "axes") | parallel
        for metric in self.results:
            yield _chart("BAR", "Results", metric) | {"metricKey": metric}

    def _curves(self) -> Iterator[JsonObject]:
        for metric in self.curves:
            yield _chart("LINE", "Training", metric) | {
                "metricKey": metric,
                "lineSmoothness": 0,
                "scaleType": "linear",
                "xAxisScaleType": "linear",
                "xAxisKey": "step",
                "yAxisKey": "metric",
                "yAxisExpressions": [],
                "selectedXAxisMetricKey": "",
                "range": {},
                "useGlobalXaxisKey": True,
                "useGlobalLineSmoothing": True,
            }


def _chart(kind: str, section: str, name: str) -> JsonObject:
    return {
        "type": kind,
        "uuid": f"{section}-{name}",
        "metricSectionId": section,
        "runsCountToCompare": RUNS,
        "deleted": False,
        "isGenerated": False,
    }


def save(config: TrackingConfig, views: Sequence[View]) -> Mapping[str, str]:
    """Save views on the tracking server  ->  name: address. Raises TrackingError if it cannot be reached."""
    uri, experiment_id = publisher.tracking_uri(config), publisher.find_experiment(config)
    publisher.set_experiment_tags(config, {f"{TAG}{view.key}": compressed(view.state) for view in views})
    server = publisher.shown(uri) if uri.startswith("http") else ui.LOCAL
    return {view.name: ui.saved_view(server, experiment_id, view.mode, view.key) for view in views}


def compressed(state: JsonObject) -> str:
    """A view as a tag"""
    text = json.dumps(state, separators=(",", ":"))
    return COMPRESSED + base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def when(address: str) -> str:
    """What has to be done before an address of MLflow answers"""
    return " (after `make ui`)" if address.startswith(ui.LOCAL) else ""


def describe_links(links: Mapping[str, str]) -> str:
    """Where MLflow compares runs, in Markdown; empty without links"""
    shown = ", ".join(f"[{name}]({address})" for name, address in links.items())
    return f"In MLflow{when(next(iter(links.values())))}: {shown}" if links else ""
