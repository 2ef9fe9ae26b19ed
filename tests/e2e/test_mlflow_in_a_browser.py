"""A saved view in the interface of a real MLflow server, in a real Chromium: these runs, and these charts first."""

import html
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pipelines.params import TrackingConfig
from pipelines.tracking import ui, views
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import Publisher
from pipelines.tracking.views import View
from tests.browser import CHROMIUM, Page

RESULTS, CURVES = ["eval/precision_x", "eval/kid_x"], ["monitor/recall", "monitor/kid"]
LIMIT_SEC = 120.0  # that a busy machine may take to draw the charts
ROWS = 12  # more than the ten that the interface shows unless it is told otherwise

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrackingConfig:
    """A database with runs of a ladder and one that does not belong to it"""
    root = tmp_path_factory.mktemp("tracking")
    config = TrackingConfig(uri=f"sqlite:///{root}/mlflow.db", experiment="tests", system_metrics=False)
    for number in range(ROWS + 1):
        journal = Journal(root / "runs" / f"run{number}")
        journal.title(f"other/{number}" if number == ROWS else f"row/{number:02d}")
        journal.tags({"ladder_run": "y" if number == ROWS else "x"})
        journal.params({"p": number})
        journal.summary(0, {**dict.fromkeys(RESULTS, number / 10), "floor/kid_x": 0.1})
        for step in (1000, 2000):
            journal.metrics(step, {**dict.fromkeys(CURVES, step / 1000), "loss/G": 1.0})
        journal.status("FINISHED")
        Publisher(journal, config, root).publish()
    return config


@pytest.fixture(scope="module")
def server(config: TrackingConfig) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", str(config.uri), "--workers", "1"]
    with subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)], start_new_session=True) as process:
        try:
            ui.wait_until_up(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            ui.end_group(process)


def text_of(page: Page) -> str:
    """The text of a page as its scripts have left it, a line for each piece"""
    dom = str(page.evaluate("document.documentElement.outerHTML"))
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", dom, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", "\n", text))


def opened(address: str, folder: Path, wanted: Sequence[str]) -> str:
    """The text of a page, once it has these lines, or after a while without them"""
    with Page(folder, address) as page:
        page.open(1600, 2400)
        deadline = time.monotonic() + LIMIT_SEC
        while -1 in places(text := text_of(page), *wanted) and time.monotonic() < deadline:
            time.sleep(0.5)
    return text


def places(text: str, *wanted: str) -> list[int]:
    """Where lines of a page are, -1 for what is not there"""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return [lines.index(line) if line in lines else -1 for line in wanted]


def test_a_saved_view_opens_on_its_runs_with_its_charts_first(
    config: TrackingConfig, server: str, tmp_path: Path
) -> None:
    view = View("rows", "tags.ladder_run = 'x'", key="ladder-x", axes=["p"], results=RESULTS, curves=CURVES)
    (address,) = views.save(config, [view]).values()
    names = [f"row/{number:02d}" for number in range(ROWS)]
    charts = ["Results", *RESULTS, "Training", *CURVES]
    text = opened(address.replace(ui.LOCAL, server), tmp_path, [*names, *charts])
    assert "Error loading shared view state" not in text
    assert -1 not in places(text, *names)
    assert places(text, f"other/{ROWS}") == [-1]
    order = places(text, *charts)
    assert -1 not in order
    assert order == sorted(order)
