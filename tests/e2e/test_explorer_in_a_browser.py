"""`stylegan explore` in a real Chromium: every control does what it says, by mouse and by keyboard, on any width."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.params import Params
from stylegan.drawing.generate import generate_images, render_styles
from stylegan.drawing.style_files import load_styles
from stylegan.images import save_png
from stylegan.networks import Generator
from tests.browser import CHROMIUM, Page
from tests.explorer import make_studio, serving, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")]

# What a frame of this width cuts off, and controls and images without a name.
CUT = """[...document.querySelectorAll("main *")].filter(each => each.getClientRects().length &&
  each.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(each => each.outerHTML)"""
NAMELESS = """[...document.querySelectorAll("button, input, select, progress, img, video")].filter(each =>
  !(each.getAttribute("aria-label") || each.alt || each.textContent.trim() || each.closest("label")?.textContent.trim()
    || [...each.children].some(child => child.alt))).map(each => each.outerHTML)"""
SHOWN = "document.getElementById('caption').textContent"
NEAR = "[...document.querySelectorAll('#near img')].map(each => each.src)"


@pytest.fixture(scope="module")
def G(tiny_params: Params) -> Generator:
    torch.manual_seed(0)
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=2).eval().requires_grad_(False)
    G.mapping.w_avg.normal_()
    for res in G.synthesis.block_resolutions:  # so that images of an untrained network differ visibly
        getattr(G.synthesis, f"b{res}").torgb.weight *= 4
    return G


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def browser(G: Generator, folder: Path) -> Iterator[Page]:
    with serving(make_studio(G, ["circle", "<b>square"])) as address, Page(folder, address) as page:
        yield page


@pytest.fixture
def page(browser: Page) -> Page:
    """The page as it opens"""
    browser.open(1440, 1000)
    browser.wait_for(f"({NEAR}).length === 8")
    return browser


def drawn(page: Page, caption: str) -> np.ndarray[Any, Any]:
    """Pixels of the image, once its caption is this"""
    page.wait_for(f"{SHOWN} === {json.dumps(caption)} && !document.body.classList.contains('busy')")
    values = page.evaluate("""document.getElementById("image").decode().then(() => {
      const image = document.getElementById("image"), canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
      canvas.getContext("2d").drawImage(image, 0, 0);
      return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]; })""")
    return np.array(values, np.uint8).reshape(16, 16, 4)[:, :, :3]


def expected(G: Generator, seed: int, psi: float, label: int = 0) -> np.ndarray[Any, Any]:
    c = torch.eye(2)[[label]]
    return generate_images(G, [seed], psi=psi, c=c, batch_size=1)[0].permute(1, 2, 0).numpy()


def fill(page: Page, control: str, value: object) -> None:
    """Set a control as a person would, with the events that follow"""
    page.evaluate(f"""(() => {{ const e = document.getElementById("{control}"); e.value = {json.dumps(value)};
      for (const kind of ["input", "change"]) e.dispatchEvent(new Event(kind, {{bubbles: true}})); }})()""")


def test_seed_psi_and_class_draw_what_generate_draws(page: Page, G: Generator) -> None:
    assert np.array_equal(drawn(page, "seed 0, class circle, psi 0.7"), expected(G, 0, 0.7))
    fill(page, "seed", 5)
    fill(page, "psi", 1)
    fill(page, "class", 1)
    assert np.array_equal(drawn(page, "seed 5, class <b>square, psi 1"), expected(G, 5, 1.0, label=1))
    assert page.evaluate("document.getElementById('image').alt") == "Generated image: seed 5, class <b>square, psi 1"
    page.click("#back")
    assert np.array_equal(drawn(page, "seed 0, class circle, psi 0.7"), expected(G, 0, 0.7))


def test_layers_of_a_second_seed_are_mixed_in_by_keyboard_alone(page: Page, G: Generator) -> None:
    page.evaluate("document.querySelector('#mix-layers button').focus()")
    for layer in range(6):
        page.press(" ")
        page.press("Tab")
        page.wait_for(f"document.querySelector('#mix-layers [data-layer=\"{layer}\"]').ariaPressed === 'true'")
    found = drawn(page, "seed 0, class circle, psi 0.7, layers 0, 1, 2, 3, 4, 5 of seed 1")
    assert np.array_equal(found, expected(G, 1, 0.7))


@pytest.mark.parametrize("kind", ["pca", "affine"])
def test_a_direction_moves_the_image_and_reset_brings_it_back(page: Page, G: Generator, kind: str) -> None:
    page.click(f"input[value={kind}]")
    page.wait_for(f"!document.getElementById('{kind}').hidden")
    page.wait_for(f"document.querySelector('#{kind} span').textContent.endsWith('%)')")
    page.evaluate(f"document.getElementById('{kind}-0').focus()")
    for _ in range(3):
        page.press("ArrowRight")
    assert page.evaluate(f"document.querySelector('#{kind} output').value") == "0.3"
    fill(page, f"{kind}-0", 3)
    moved = drawn(page, "seed 0, class circle, psi 0.7, moved")
    assert not np.array_equal(moved, expected(G, 0, 0.7))
    page.click("#reset")
    assert np.array_equal(drawn(page, "seed 0, class circle, psi 0.7"), expected(G, 0, 0.7))


def test_a_click_on_an_image_continues_from_it(page: Page) -> None:
    before = page.evaluate(NEAR)
    page.click("#near button:nth-child(3)")
    drawn(page, "variation of seed 0, psi 0.7")
    assert page.evaluate("document.getElementById('image').src") == before[2]
    page.wait_for(f"({NEAR})[0] !== {json.dumps(before[0])}")
    page.click("#near button:nth-child(1)")
    page.wait_for(f"({NEAR}).length === 8 && document.getElementById('image').src !== {json.dumps(before[2])}")
    drawn(page, "variation of seed 0, psi 0.7")
    page.click("#back")
    page.wait_for(f"document.getElementById('image').src === {json.dumps(before[2])}")


def test_a_class_is_named_only_where_it_decides_the_image(page: Page) -> None:
    drawn(page, "seed 0, class circle, psi 0.7")
    page.click("#near button:nth-child(3)")
    before = drawn(page, "variation of seed 0, psi 0.7")
    fill(page, "class", 1)
    fill(page, "psi", 0.75)  # draws anew
    drawn(page, "variation of seed 0, psi 0.75")
    fill(page, "psi", 0.7)
    assert np.array_equal(drawn(page, "variation of seed 0, psi 0.7"), before)
    assert page.evaluate("document.getElementById('image').alt") == "Generated image: variation of seed 0, psi 0.7"
    page.click("#mix-layers [data-layer='0']")
    mixed = drawn(page, "variation of seed 0, psi 0.7, layers 0 of seed 1, class <b>square")
    fill(page, "class", 0)
    assert not np.array_equal(drawn(page, "variation of seed 0, psi 0.7, layers 0 of seed 1, class circle"), mixed)


@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_a_walk_is_recorded_and_saved(page: Page, folder: Path, kind: str) -> None:
    drawn(page, "seed 0, class circle, psi 0.7")
    page.click("#add")
    assert page.evaluate("document.getElementById('record').disabled")
    page.click("#near button:nth-child(2)")
    drawn(page, "variation of seed 0, psi 0.7")
    page.click("#add")
    fill(page, "frames", 5)
    fill(page, "walk-kind", kind)
    page.click("#record")
    page.wait_for("!document.getElementById('film').hidden")
    page.click("#film button")
    file = folder / f"walk.{kind}"
    wait_until(file.exists)
    if kind == "mp4":
        page.wait_for("document.querySelector('#film video').videoWidth === 256")
        assert imageio_ffmpeg.count_frames_and_secs(str(file))[0] == 10  # there and back
    else:
        with Image.open(file) as film:
            assert film.n_frames == 10
    page.click("#stops li:first-child button")
    assert page.evaluate("document.querySelectorAll('#stops li').length") == 1


def test_an_image_is_projected_and_its_styles_are_used_and_saved(page: Page, G: Generator, folder: Path) -> None:
    save_png(generate_images(G, [7], psi=1, c=torch.eye(2)[:1], batch_size=1)[0], folder / "photo.png")
    fill(page, "steps", 5)
    page.choose_file("#file", folder / "photo.png")
    page.wait_for("document.getElementById('search-state').textContent.startsWith('Step 5 of 5, distance 0.')")
    page.wait_for("!document.getElementById('use').disabled")
    assert page.evaluate("document.getElementById('search-progress').value") == 5
    best = page.evaluate("document.getElementById('found').src")
    page.click("#use")
    drawn(page, "projection of photo.png, psi 1")
    assert page.evaluate("document.getElementById('image').src") == best
    page.click("[data-styles=npz]")
    wait_until((folder / "image.npz").exists)
    w = load_styles(folder / "image.npz", G.num_ws, G.w_dim)
    page.click("#save-png")
    wait_until((folder / "image.png").exists)
    with Image.open(folder / "image.png") as picture:
        assert np.array_equal(np.asarray(picture), render_styles(G, w, batch_size=1)[0].permute(1, 2, 0).numpy())


def test_a_file_that_is_no_image_is_one_line_on_the_page(page: Page, folder: Path) -> None:
    (folder / "notes.png").write_text("no image")
    page.choose_file("#file", folder / "notes.png")
    page.wait_for("!document.getElementById('alert').hidden")
    assert page.evaluate("document.getElementById('alert').textContent") == (
        "notes.png: cannot be decoded (not an image file); replace or remove it."
    )
    fill(page, "seed", 1)  # what works again takes the line away
    page.wait_for("document.getElementById('alert').hidden")


def test_a_search_is_cancelled(page: Page, folder: Path, G: Generator) -> None:
    save_png(generate_images(G, [7], psi=1, c=torch.eye(2)[:1], batch_size=1)[0], folder / "photo.png")
    fill(page, "steps", 5000)
    page.choose_file("#file", folder / "photo.png")
    page.wait_for("document.getElementById('search-progress').value > 3")
    page.click("#search-cancel")
    page.wait_for("document.getElementById('search-state').textContent === 'Stopped'")
    assert page.evaluate("document.getElementById('use').disabled")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_cut_and_everything_has_a_name(page: Page, folder: Path, width: int, dark: bool) -> None:
    page.resize(width, 900, dark=dark)
    page.click("#add")
    page.evaluate("for (const each of document.querySelectorAll('[hidden]')) each.hidden = false")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert page.evaluate(CUT) == []
    assert page.evaluate(NAMELESS) == []
    ink, paper = (page.evaluate(f"getComputedStyle(document.body).{key}") for key in ("color", "backgroundColor"))
    brightness = [sum(map(int, colour.strip("rgb()").split(","))) for colour in (ink, paper)]
    assert (brightness[0] > brightness[1]) == dark


def test_the_page_asks_nobody_else_and_no_script_fails(page: Page) -> None:
    own = (page.address, "data:", "blob:")
    assert {page.address, f"{page.address}draw", f"{page.address}near"} <= {*page.requests}  # the check sees requests
    assert [request for request in page.requests if not request.startswith(own)] == []
    assert page.failures == []
