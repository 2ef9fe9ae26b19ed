"""Screenshots of `stylegan explore` for the documentation: docs/images/explorer.png and explorer_phone.png.

.venv/bin/python -m benchmarks.explorer_screenshots

Needs Chromium, and assets/ for the projection.
"""

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


def fill(page: Page, control: str, value: object) -> None:
    """Set a control, with the events that follow."""
    page.evaluate(f"""(() => {{ const e = document.getElementById("{control}"); e.value = {json.dumps(value)};
      for (const kind of ["input", "change"]) e.dispatchEvent(new Event(kind, {{bubbles: true}})); }})()""")


def settle(page: Page) -> None:
    """Wait until everything is drawn."""
    time.sleep(SETTLE_SEC)
    page.wait_for(DRAWN)


def shoot(page: Page, photo: Path) -> None:
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


def main() -> None:
    """Write both files."""
    G, class_names = load_any_generator(GENERATOR)
    studio = Studio(G, class_names, distance="lpips_vgg16", weights=REPOSITORY / "assets")
    with (
        serving(studio, GENERATOR.name) as address,
        tempfile.TemporaryDirectory() as folder,
        Page(Path(folder), address) as page,
    ):
        with Image.open(REPOSITORY / "assets/earth/bmng.jpg") as earth:
            earth.crop(COAST).save(Path(folder) / "coast.png")
        shoot(page, Path(folder) / "coast.png")


if __name__ == "__main__":
    main()
