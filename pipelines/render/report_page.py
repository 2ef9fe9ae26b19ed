"""The one page that tells a person how good a generator is: everything inside, nothing fetched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pipelines.artifacts.manifest_json import Overview
from pipelines.artifacts.metrics_json import ClassResult, MetricsReport
from pipelines.artifacts.ticks import TickRow
from pipelines.diagnosis import frontier, thresholds, verdict
from pipelines.diagnosis.advice import advice
from pipelines.diagnosis.alarms import Alarm
from pipelines.diagnosis.training_curves import readings
from pipelines.drawing.page import embed, fill
from pipelines.render.charts import MonitorCounts, contributions, frontier_chart, layer_chart, training_curves
from stylegan.config import Config
from stylegan.config.augmentation import adapts
from stylegan.metrics.evaluation.metric import by_name, find, short
from stylegan.metrics.memorization import COPY
from stylegan.wording import counted

TEMPLATE = Path(__file__).with_name("report.html")
NUM_CLASSES = 20  # shown, the worst ones; the others are in reports/metrics.json


@dataclass(frozen=True)
class Facts:
    """All the page is made of besides its images."""

    results: MetricsReport  # reports/metrics.json
    ticks: Sequence[TickRow]  # reports/ticks.csv
    alarms: Sequence[Alarm]
    bands: Mapping[str, Mapping[int, float]]  # of "generated" and of "real" images: {resolution: per cent}
    config: Config
    num_images: int  # in the training split
    data: Overview | None  # of all that prepare found; None if no manifest is of this archive
    bands_of_styles: Sequence[str]  # that are mixed together
    num_keys: int  # images that the film passes through
    img_shape: tuple[int, int, int]  # C, H, W
    fingerprint: str


@dataclass(frozen=True)
class Pictures:
    """Files of the page, as bytes."""

    samples: bytes
    reals: bytes
    augmented: bytes
    truncation: bytes
    mixing: bytes
    noise: bytes
    walk: bytes
    film: bytes
    neighbors: bytes | None  # None if results have none
    realism: bytes | None


def build_page(facts: Facts, pictures: Pictures) -> str:
    """One self-contained HTML page.

    Raises ValueError if metrics.json or ticks.csv lacks what the page is about.
    """
    results, config = facts.results, facts.config
    judged = verdict.verdicts(results)
    values = dict(
        headline=verdict.headline(judged),
        summary=verdict.summary(judged, results.num_images),
        verdicts=judged,
        results=results,
        limits=thresholds,
        confidence=results.confidence if any(metric.interval for metric in results.metrics) else None,
        notes=results.notes,
        alarms=facts.alarms,
        advice=advice(judged, results, facts.ticks, config),
        readings=readings(facts.ticks, config),
        truncation=[(row.psi, by_name(row.metrics)) for row in results.by_rising_psi],
        columns=list(by_name(metric for row in results.truncation for metric in row.metrics)),
        best=frontier.best_of_columns(results.truncation),
        copy=COPY,
        recommended=results.recommended,
        neighbors=neighbor_lines(results),
        classes=worst_classes(results.per_class),
        num_hidden=max(len(results.per_class or ()) - NUM_CLASSES, 0),
        bands_of_styles=facts.bands_of_styles,
        num_keys=facts.num_keys,
        p=facts.ticks[-1].augment.p,
        augmentation=config.augment.mode,
        xflip=config.data.xflip,
        generator_use_noise=config.generator.use_noise,
        num_generated=results.num_images,
        data=data_lines(facts.data),
        made=how_it_was_made(facts),
        sections=config.model_dump(mode="json", exclude={"cluster", "tracking", "sweep", "ablate"}),  # decide no result
        render=config.render,
    )
    return fill(TEMPLATE, values | embedded(facts, pictures), {"number": number})


def embedded(facts: Facts, pictures: Pictures) -> dict[str, object]:
    """Addresses of every image and video, and of every chart in (light, dark)"""
    results, ticks, r_t = facts.results, facts.ticks, target(facts.config)
    counts = MonitorCounts.of(facts.config, facts.num_images)
    themes = (False, True)
    return {
        "samples": embed(pictures.samples, "image/png"),
        "reals": embed(pictures.reals, "image/png"),
        "strip": embed(pictures.truncation, "image/png"),
        "mixing": embed(pictures.mixing, "image/png"),
        "noise": embed(pictures.noise, "image/png"),
        "walk": embed(pictures.walk, "image/png"),
        "augmented": embed(pictures.augmented, "image/png"),
        "realism_sheet": None if pictures.realism is None else embed(pictures.realism, "image/png"),
        "film": embed(pictures.film, "video/mp4"),
        "neighbor_sheet": None if pictures.neighbors is None else embed(pictures.neighbors, "image/png"),
        "curves": [embed(training_curves(ticks, r_t, counts, dark=dark), "image/png") for dark in themes],
        "layers": [embed(layer_chart(ticks, facts.bands, dark=dark), "image/png") for dark in themes],
        "trade": [embed(frontier_chart(results, dark=dark), "image/png") for dark in themes],
        "shares": last_shares(facts),
    }


def target(config: Config) -> float | None:
    """The target of r_t or r_v, where augmentation adapts to it"""
    return config.augment.ada_target if adapts(config.augment) else None


def neighbor_lines(results: MetricsReport) -> dict[str, float | None] | None:
    """Shares of generated and of real images that look like copies, where measured; None without neighbours"""
    if results.neighbors is None:
        return None
    generated, real = find(results.metrics, "memorized"), find(results.floor, "memorized")
    return {
        "generated": None if generated is None else generated.value,
        "real": None if real is None else real.value,
    }


def worst_classes(per_class: Sequence[ClassResult] | None) -> list[ClassResult]:
    """The NUM_CLASSES classes of greatest distance first; those too small to measure last"""
    ranked = sorted(per_class or (), key=lambda row: (row.distance is None, -(row.distance or 0.0)))
    return ranked[:NUM_CLASSES]


def last_shares(facts: Facts) -> dict[str, Mapping[int, float]]:
    """Columns of the table of resolutions: the last contributions, if the run has any, and the bands of images"""
    _, shares = contributions(facts.ticks)
    last = {"contribution": {res: values[-1] for res, values in shares.items()}} if shares else {}
    return last | {f"bands of {name} images": values for name, values in facts.bands.items()}


def data_lines(data: Overview | None) -> list[tuple[str, str]]:
    """Rows of (what, value): how many images there are, and what became of the others"""
    if data is None:
        return []
    used = ", ".join(f"{count:,} {split}" for split, count in data.split.items())
    rows = [("Images found", f"{data.num_found:,}"), ("In the archive", f"{data.num_images:,} ({used})")]
    if data.num_not_drawn:
        rows.append(("Not drawn", f"{data.num_not_drawn:,}: prepare.max_images takes a part at random"))
    if data.num_enlarged:
        rows.append(("Enlarged", f"{counted(data.num_enlarged, 'image')} smaller than prepare.resolution"))
    rows += [("Could not be used", f"{count:,}: {kind}") for kind, count in data.bad_kinds.items()]
    largest = sorted(data.class_counts.items(), key=lambda item: -item[1])
    if largest:
        shown = ", ".join(f"{name} {count:,}" for name, count in largest[:NUM_CLASSES])
        more = (
            f", and {counted(len(largest) - NUM_CLASSES, 'class', 'classes')} more"
            if len(largest) > NUM_CLASSES
            else ""
        )
        rows.append((f"{counted(len(largest), 'class', 'classes')}", shown + more))
    return rows


def how_it_was_made(facts: Facts) -> list[tuple[str, str]]:
    """Rows of (what, value): enough to repeat the run and to compare it fairly

    Nothing of the day or the commit: the page of a run that is repeated is the same to the byte.
    """
    results, config = facts.results, facts.config
    channels, height, width = facts.img_shape
    size = f"{width} x {height} pixels, {counted(channels, 'channel')}"
    extractor = results.extractor
    seen = f", sees the first 3 of {channels} channels" if channels > 4 else ""
    return [
        ("Data", f"{config.prepare.source}: {counted(facts.num_images, 'training image')}, {size}"),
        ("Archive sha256", results.archive_sha256),
        ("Generator sha256", results.generator_sha256),
        ("Trained on", trained_on(results.cur_nimg or 0, facts.ticks, config)),
        ("Run", facts.fingerprint),
        ("Extractor", f"{extractor.name}, input {extractor.input_size} pixels{seen}, sha256 {extractor.sha256}"),
        ("Measured with", f"{results.num_images} images, seed {results.seed}, split {results.split}, "
                          f"resize filter {results.resize_filter}"),
        ("Libraries", ", ".join(f"{name} {version(name).partition('+')[0]}" for name in ("torch", "numpy", "pillow"))),
        ("Time, machine, commit", "in MLflow (make ui): they differ from run to run, and this page does not"),
    ]  # fmt: skip


def trained_on(cur_nimg: int, ticks: Sequence[TickRow], config: Config) -> str:
    """How many images D was shown, and in which snapshot the generator is"""
    kimg = ticks[-1].kimg
    chosen = f"; the generator is its {config.monitor.export} snapshot, of kimg {cur_nimg / 1000:g}"
    return f"{kimg:g} kimg (thousand images shown), seed {config.train.seed}{chosen}"


def number(value: float | None) -> str:
    """Three significant digits; a dash for what was not measured"""
    return "-" if value is None else short(value, 3)
