"""The report page in a real Chromium: nothing is cut on a phone or a desktop, and every picture is drawn."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts import metrics_json
from pipelines.params import Params
from pipelines.render.report import render
from stylegan.checkpoint import save_generator
from stylegan.networks import Generator
from tests.evaluation_results import evaluation_results, truncation, write_train_record

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=4000",
    "--window-size=1600,1200",
)  # fmt: skip
# A frame is as narrow as it is told to be, which the window of a browser without a screen is not.
FRAME = """<!doctype html><iframe id="frame" style="width:{width}px;height:900px;border:0" srcdoc="{page}"></iframe>
<script>
document.getElementById("frame").onload = event => {{
  const page = event.target.contentDocument, root = page.documentElement;
  const pictures = [...page.images].map(each => [each.alt, each.naturalWidth]);
  const isCut = each => each.getBoundingClientRect().right > root.clientWidth + 1 && !each.closest(".wide, pre");
  const cut = [...page.querySelectorAll("main *")].filter(isCut)
    .map(each => each.tagName + " " + each.textContent.slice(0, 40));
  const wide = [...page.querySelectorAll(".wide")].filter(each => each.scrollWidth > each.clientWidth + 1);
  const tables = wide.map(each => each.textContent.trim().slice(0, 40));
  const found = {{tables, pictures, cut, scroll: root.scrollWidth, client: root.clientWidth}};
  document.body.dataset.found = JSON.stringify(found);
}};
</script>"""

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, tiny_archive: Path, tiny_params: Params) -> str:
    """The report of a tiny run whose metrics have long names"""
    root = tmp_path_factory.mktemp("work")
    numbers = {"kid_efficientnet_lite0": 0.1, "precision_efficientnet_lite0": 0.5, "recall_efficientnet_lite0": 0.5}
    (root / "data").mkdir()
    shutil.copyfile(tiny_archive, root / "data/archive.zip")
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0)
    save_generator(G.eval(), root / "models/generator.safetensors")
    write_train_record(root, fingerprint="abc123")
    (root / "reports").mkdir()
    sweep = [truncation(psi, numbers) for psi in (0.5, 0.7, 0.85, 1.0)]
    report = evaluation_results(numbers, floor=numbers, untrained=dict.fromkeys(numbers, 3.0), sweep=sweep)
    metrics_json.write(root / "reports/metrics.json", report)
    (root / "reports/ticks.csv").write_text("nimg,kimg,sec,loss/G,loss/D\n1000,1,2,1,1\n2000,2,2,1,1\n")
    return render(tiny_params, root).read_text()


def shown(page: str, width: int, folder: Path) -> dict[str, Any]:
    """What Chromium makes of the page in a frame of so many pixels"""
    assert CHROMIUM is not None
    file = folder / "frame.html"
    file.write_text(FRAME.format(width=width, page=html.escape(page)))
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    found = re.search(r'data-found="([^"]*)"', answer)
    assert found is not None, answer[-2000:]
    values: dict[str, Any] = json.loads(html.unescape(found[1]))
    return values


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_cut_and_every_picture_is_drawn(page: str, width: int, tmp_path: Path) -> None:
    found = shown(page, width, tmp_path)
    assert found["client"] <= width
    assert found["scroll"] == found["client"], "the page scrolls sideways"
    assert found["cut"] == []
    assert width == 390 or found["tables"] == [], "a table scrolls though there is room"
    assert len(found["pictures"]) == 10
    assert all(natural > 0 for _, natural in found["pictures"])
    assert all(len(alt) > 20 for alt, _ in found["pictures"])


def test_the_browser_sees_what_is_cut(page: str, tmp_path: Path) -> None:
    spoilt = page.replace("<h1>", '<div style="width:900px">too wide</div><h1>')
    found = shown(spoilt, 390, tmp_path)
    assert found["scroll"] > found["client"]
    assert any("too wide" in each for each in found["cut"])
