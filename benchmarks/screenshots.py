"""Screenshots for the documentation, into docs/images: the report, MLflow's comparison of runs, and the explorer.

    .venv/bin/python -m benchmarks.screenshots [--report reports/index.html] [--mlflow ADDRESS]

Without options it draws the explorer, which needs assets/ for the projection. ADDRESS is a view that a ladder or sweep
has printed, while `make ui` runs. All need Chromium.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from PIL import Image

from pipelines.explore.studio import Studio
from stylegan.generators import load_any_generator
from tests.browser import Page
from tests.conftest import REPOSITORY
from tests.explorer import serving

GENERATOR = REPOSITORY / "pretrained/earth32.safetensors"
IMAGES = REPOSITORY / "docs/images"
DRAWN = "document.querySelectorAll('#near img').length === 8 && !document.body.classList.contains('busy')"
COAST = (2450, 480, 2706, 736)  # pixels of the built-in image of the Earth: from Spain to Ireland
STOPS = (32, 33, 6)
SETTLE_SEC = 1.0  # a grid of images follows its image after 0.3 s
CHARTS_SEC = 20.0  # until MLflow has drawn its charts


def fill(page: Page, control: str, value: object) -> None:
    """Set a control, with the events that follow."""
    page.evaluate(f"""(() => {{ const e = document.getElementById("{control}"); e.value = {json.dumps(value)};
      for (const kind of ["input", "change"]) e.dispatchEvent(new Event(kind, {{bubbles: true}})); }})()""")


def settle(page: Page) -> None:
    """Wait until everything is drawn."""
    time.sleep(SETTLE_SEC)
    page.wait_for(DRAWN)


def shoot_explorer(page: Page, photo: Path) -> None:
    """A walk through three images on a desktop in light colours, and a projection on a phone in dark ones"""
    page.open(1440, 1330)
    fill(page, "psi", 0.85)
    for seed in STOPS:
        fill(page, "seed", seed)
        settle(page)
        page.click("#add")
    fill(page, "pca-0", 1.2)
    fill(page, "pca-2", -0.8)
    settle(page)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    (IMAGES / "explorer.png").write_bytes(page.screenshot())
    page.open(390, 844, dark=True)
    page.choose_file("#file", photo)
    page.wait_for("!document.getElementById('use').disabled", seconds=600)
    page.evaluate("document.activeElement.blur(); document.getElementById('use').scrollIntoView({block: 'end'})")
    settle(page)
    (IMAGES / "explorer_phone.png").write_bytes(page.screenshot())


def explorer(folder: Path) -> None:
    """The explorer with the generator that comes with the project"""
    G, class_names = load_any_generator(GENERATOR)
    studio = Studio(G, class_names, distance="lpips_vgg16", weights=REPOSITORY / "assets")
    with serving(studio, GENERATOR.name) as address, Page(folder, address) as page:
        with Image.open(REPOSITORY / "assets/earth/bmng.jpg") as earth:
            earth.crop(COAST).save(folder / "coast.png")
        shoot_explorer(page, folder / "coast.png")


def report(folder: Path, file: Path) -> None:
    """The first screen of a report, on a desktop in light colours and on a phone in dark ones"""
    with Page(folder, file.resolve().as_uri()) as page:
        for name, width, height, dark in (("report", 1440, 900, False), ("report_phone", 390, 844, True)):
            page.open(width, height, dark=dark)
            (IMAGES / f"{name}.png").write_bytes(page.screenshot())


def mlflow(folder: Path, address: str) -> None:
    """Runs and charts of a view"""
    with Page(folder, address) as page:
        page.open(2000, 1000)
        time.sleep(CHARTS_SEC)
        (IMAGES / "mlflow_view.png").write_bytes(page.screenshot())


def main() -> None:
    """Command line"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.screenshots", description=__doc__.split("\n")[0])
    parser.add_argument("--report", type=Path)
    parser.add_argument("--mlflow", metavar="ADDRESS")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Chromium still writes there
        if given.report:
            report(Path(folder), given.report)
        if given.mlflow:
            mlflow(Path(folder), given.mlflow)
        if not (given.report or given.mlflow):
            explorer(Path(folder))


if __name__ == "__main__":
    main()
