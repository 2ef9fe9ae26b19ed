"""The page: complete, self-contained, readable without sight, and safe from what names contain."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from typing import Any

import pytest

from pipelines.artifacts.manifest_json import Overview
from pipelines.artifacts.metrics_json import ClassResult, MetricsReport, Neighbors
from pipelines.params import Params
from pipelines.render import report_page as page_module
from pipelines.render.report_page import (
    Facts,
    Pictures,
    build_page,
    number,
    target,
    trained_on,
    worst_classes,
)
from tests.evaluation_results import evaluation_results, metrics_of, truncation
from tests.tick_rows import ticks

NAMES = ("kid_x", "fid_x", "precision_x", "recall_x")
NEIGHBORS = Neighbors(k=1, rows=(7,), distance=((0.1,),), spacing=(0.2,))
PICTURES = Pictures(
    samples=b"samples",
    reals=b"reals",
    augmented=b"augmented",
    truncation=b"strip",
    mixing=b"mixing",
    noise=b"noise",
    walk=b"walk",
    film=b"film",
    neighbors=None,
    realism=None,
)


def results(more: Mapping[str, float] = {}, bounds: Mapping[str, Sequence[float]] = {}, **others: Any) -> MetricsReport:
    """More metrics of the generator, and intervals of each psi."""
    measured = dict(zip(NAMES, (0.05, 40.0, 0.6, 0.3), strict=True))
    return evaluation_results(
        measured | {"ppl_y": 30.0} | more,
        floor=dict(zip(NAMES, (0.001, 5.0, 0.8, 0.8), strict=True)),
        untrained=dict(zip(NAMES, (0.4, 300.0, 0.0, 0.0), strict=True)) | {"ppl_y": 3.0},
        sweep=[truncation(1.0, measured, bounds), truncation(0.5, dict.fromkeys(NAMES, 0.04), bounds)],
        **others,
    )


@pytest.fixture(scope="module", autouse=True)
def charts_drawn_once() -> Iterator[None]:
    """Pages of this file differ in words; their charts are real, and each is drawn once."""
    drawn: dict[str, bytes] = {}

    def remembering(draw: Callable[..., bytes]) -> Callable[..., bytes]:
        def once(*arguments: Any, dark: bool) -> bytes:
            key = repr((draw.__name__, arguments, dark))
            if key not in drawn:
                drawn[key] = draw(*arguments, dark=dark)
            return drawn[key]

        return once

    with pytest.MonkeyPatch.context() as patch:
        for name in ("training_curves", "layer_chart", "frontier_chart"):
            patch.setattr(page_module, name, remembering(getattr(page_module, name)))
        yield


@pytest.fixture(scope="module")
def facts(tiny_params: Params) -> Facts:
    rows = [{"kimg": k, "loss/G": 1.0, "loss/D": 1.0} for k in (20.0, 40.0, 60.0)]
    rows[1] |= {"contribution/b4": 75.04, "contribution/b8": 24.96}
    rows[2] |= {"contribution/b4": 60.04, "contribution/b8": 39.96}
    bands = {"generated": {4: 52.04, 8: 47.96}, "real": {4: 51.06, 8: 48.94}}
    return Facts(
        results(), ticks(rows), (), bands, tiny_params, 2338, None, ["coarse: styles 0 to 3"], 4, (3, 32, 32), "abc123"
    )


@dataclass(frozen=True)
class Alarm:
    name: str
    seen: str
    cause: str
    remedy: str


@pytest.fixture(scope="module")
def full(facts: Facts) -> str:
    """The page of a run that has everything a page may show."""
    measured = results(
        {"memorized_x": 0.02},
        {"recall_x": [0.21, 0.37]},
        intervals={"kid_x": [0.041, 0.0597]},
        neighbors=NEIGHBORS,
        per_class=(
            ClassResult(label=0, name="cat", num_real=50, num_gen=40, distance=20.0),
            ClassResult(label=1, name=None, num_real=51, num_gen=1, distance=None),
            ClassResult(label=2, name="dog", num_real=52, num_gen=42, distance=30.0),
        ),
        notes=("The covariance is <singular>.",),
    )
    measured = measured.model_copy(update={"floor": (*measured.floor, *metrics_of({"memorized_x": 0.015}))})
    alarms = [Alarm("recall is 0", "kimg 20 to 60", "a collapse", "raise loss.r1_gamma")]
    return build_page(replace(facts, results=measured, alarms=alarms), replace(PICTURES, neighbors=b"neighbors"))


class Outline(HTMLParser):
    """Tags with their attributes, and the visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text = " ".join((self.text + " " + data).split())


def test_the_data_are_counted_with_what_could_not_be_used(facts: Facts) -> None:
    data = Overview(
        resize_filter="box", num_found=1200, num_not_drawn=100, num_images=1050, num_enlarged=1,
        split={"train": 1000, "holdout": 50}, class_counts={f"class {n}": n for n in range(22)},
        bad_kinds={"not an image": 50},
    )  # fmt: skip
    text = Outline(build_page(replace(facts, data=data), PICTURES)).text
    for part in (
        "Images found 1,200 In the archive 1,050 (1,000 train, 50 holdout) Not drawn 100",
        "Enlarged 1 image smaller than prepare.resolution Could not be used 50: not an image",
        "22 classes class 21 21, class 20 20",
        "class 2 2, and 2 classes more",
    ):
        assert part in text


@pytest.mark.parametrize(("p", "leaks"), [(0.0, False), (0.3, True)])
def test_only_augmented_images_are_said_to_be_a_sign_of_leaks(facts: Facts, p: float, leaks: bool) -> None:
    rows = ticks([{"kimg": 20.0, "loss/G": 1.0, "loss/D": 1.0, "augment/p": p}])
    text = Outline(build_page(replace(facts, ticks=rows), PICTURES)).text
    assert ("augmentations leak" in text) is leaks
    assert ("nothing augmented them" in text) is not leaks


@pytest.fixture(scope="module")
def html(facts: Facts) -> str:
    return build_page(facts, PICTURES)


@pytest.fixture(scope="module")
def page(html: str) -> Outline:
    return Outline(html)


def test_every_tag_is_closed(page: Outline) -> None:
    assert page.open == []


def test_the_page_fetches_nothing(page: Outline) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "srcset"):
            if name in attributes:
                assert str(attributes[name]).startswith("data:"), f"<{tag}> fetches {attributes[name]}"
        assert tag not in ("link", "iframe", "object")
        assert str(attributes.get("href", "#")).startswith("#")


def test_every_picture_is_inside_once(html: str) -> None:
    for content in (b"samples", b"reals", b"strip", b"mixing", b"film"):
        assert html.count(f"base64,{base64.b64encode(content).decode()}") == 1


def test_every_picture_says_what_it_shows(page: Outline) -> None:
    shown = [
        attributes.get("alt") or attributes.get("aria-label")
        for tag, attributes in page.tags
        if tag in ("img", "video")
    ]
    assert len(shown) == 11
    assert all(len(str(text)) > 20 for text in shown)
    assert len(set(shown)) == 11


def test_every_link_leads_to_a_section(page: Outline) -> None:
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [str(attributes["href"])[1:] for tag, attributes in page.tags if tag == "a"]
    assert len(links) == 8
    assert set(links) <= ids


def test_the_language_and_both_themes_are_declared(page: Outline) -> None:
    assert ("html", {"lang": "en"}) in page.tags
    assert ("meta", {"name": "color-scheme", "content": "light dark"}) in page.tags
    assert [tag for tag, attributes in page.tags if attributes.get("media") == "(prefers-color-scheme: dark)"] == [
        "source", "source", "source"
    ]  # fmt: skip


def test_the_page_says_how_good_what_next_and_how_it_was_made(page: Outline) -> None:
    for part in (
        "Not yet: its KID is 0.05; real images score 0.001.",
        "kid_x poor 0.05 0.001 0.4",
        "fid_x poor 40 5 300",
        "precision_x good 0.6 0.8 0",
        "recall_x ok 0.3 0.8 0",
        "ppl_y none 30 - 3",
        "Train longer: train.total_kimg",
        "psi 0.5 (recommended) 1 kid_x 0.04 0.05 fid_x 0.04 40 precision_x 0.04 0.6 recall_x 0.04 0.3 * best",
        "psi 0.5 is the best trade: its KID 0.04 is the lowest, and no other psi comes within 5% of it.",
        "Block contribution, % bands of generated images, % bands of real images, % "
        "b4 60.0 52.0 51.1 b8 40.0 48.0 48.9",
        "2,338 training images, 32 x 32 pixels, 3 channels",
        "60 kimg",
        "abc123",
        "Generator sha256 " + "d" * 64,
        "x, input 128 pixels, sha256 " + "e" * 64,
        "1000 images, seed 3, split train, resize filter bicubic",
        "good up to 1% of the untrained generator's excess or within 2 standard errors, ok up to 10%",
    ):
        assert part in page.text


def test_a_run_whose_log_has_no_contributions_shows_the_bands_alone(facts: Facts) -> None:
    rows = [row.model_copy(update={"contribution": {}}) for row in facts.ticks]
    text = Outline(build_page(replace(facts, ticks=rows), PICTURES)).text
    assert "Block bands of generated images, % bands of real images, % b4 52.0 51.1 b8 48.0 48.9" in text
    assert "it is recorded where generator.architecture is skip" in text


def test_the_best_of_each_metric_and_the_recommended_psi_are_marked(page: Outline) -> None:
    classes = [(tag, attributes.get("class")) for tag, attributes in page.tags]
    assert classes.count(("span", "best")) == len(NAMES)
    assert classes.count(("th", "n chosen")) == 1
    assert classes.count(("td", "n chosen")) == len(NAMES)


def test_what_was_not_measured_has_no_section(page: Outline) -> None:
    for part in ("Nearest training images", "Classes", "Alarms", "Note:", "[low, high]"):
        assert part not in page.text
    assert not any(attributes.get("class") == "bounds" for _, attributes in page.tags)


def test_everything_that_was_measured_is_shown(full: str) -> None:
    page = Outline(full)
    assert page.open == []
    for part in (
        "kid_x poor 0.05 [0.041, 0.0597] 0.001 0.4",
        "memorized_x good 0.02 0.015 -",
        "[low, high]: a 95% confidence interval",
        "Note: The covariance is <singular>.",
        "recall_x 0.04 [0.21, 0.37] 0.3 [0.21, 0.37]",
        "recall is 0 kimg 20 to 60 a collapse raise loss.r1_gamma",
        "2.0% of the generated images look like copies of a training image; of the training images themselves, 1.5% "
        "look like copies of another one. Images are compared as thumbnails",
        "nearer to a training image than 60% of the distance",
        "Class Real images Generated Distance dog 52 42 30 cat 50 40 20 1 51 1 -",
    ):
        assert part in page.text
    assert full.count(f"base64,{base64.b64encode(b'neighbors').decode()}") == 1
    ids = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    links = [str(attributes["href"])[1:] for tag, attributes in page.tags if tag == "a"]
    assert links == ids  # all of them, in the order of the page
    assert len(links) == 11


def test_a_page_with_fid_alone_is_judged_by_it(facts: Facts) -> None:
    measured = evaluation_results({"fid_x": 40.0}, floor={}, untrained={"fid_x": 300.0}, neighbors=NEIGHBORS)
    text = Outline(build_page(replace(facts, results=measured), replace(PICTURES, neighbors=b"neighbors"))).text
    for part in (
        "Not graded: FID is 40, and nothing says what real images score.",
        "Only psi 1 was measured (FID 40)",
        "Nearest training images The most suspicious first.",  # without the share that look like copies
    ):
        assert part in text


def test_of_many_classes_the_worst_are_shown() -> None:
    rows = [
        ClassResult(label=label, name=None, num_real=5, num_gen=5, distance=None if label == 3 else float(label))
        for label in range(30)
    ]
    assert [row.label for row in worst_classes(rows)] == list(range(29, 9, -1))
    assert [row.label for row in worst_classes(rows[:5])] == [4, 2, 1, 0, 3]
    assert worst_classes(None) == []


def test_the_page_says_how_long_was_trained_and_which_snapshot_it_is(make_params: Callable[..., Params]) -> None:
    rows = ticks([{"kimg": 1.0}, {"kimg": 2.0}])
    found = [trained_on(1500, rows, make_params(f"monitor.export={export}")) for export in ("best", "last")]
    assert found == [
        f"2 kimg (thousand images shown), seed 0; the generator is its {export} snapshot, of kimg 1.5"
        for export in ("best", "last")
    ]


def test_every_parameter_that_decides_the_result_is_listed(page: Outline, tiny_params: Params) -> None:
    for section, values in tiny_params.model_dump(exclude={"cluster", "tracking", "sweep", "ablate"}).items():
        assert f"{section}:" in page.text
        assert all(f"{key}: " in page.text for key in values)
    assert not any(f"{section}:" in page.text for section in ("cluster", "tracking", "sweep", "ablate"))


def test_names_cannot_inject_markup(facts: Facts, make_params: Callable[..., Params]) -> None:
    params = make_params("prepare.source=<script>alert(1)</script>")
    page = build_page(replace(facts, config=params), PICTURES)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_a_run_with_nothing_to_improve_says_so(facts: Facts) -> None:
    real = results().floor
    best = results(num_images=50000).model_copy(update={"metrics": real, "like_floor": real})
    best = best.model_copy(update={"truncation": best.truncation[:1]})
    text = Outline(build_page(replace(facts, results=best), PICTURES)).text
    assert "No rule found anything to improve" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.00041234, "0.000412"),
        (41.23, "41.2"),
        (402.4, "402"),
        (999.7, "1000"),
        (12345.6, "12346"),
        (0, "0"),
    ],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_r_t_has_a_target_only_where_augmentation_adapts(make_params: Callable[..., Params]) -> None:
    assert target(make_params("augment.mode=ada", "augment.ada_target=0.6")) == 0.6
    assert target(make_params("augment.mode=ada_rv", "augment.ada_target=0.5")) == 0.5
    assert target(make_params("augment.mode=fixed")) is None
    assert target(make_params("augment.mode=diffaugment")) is None
