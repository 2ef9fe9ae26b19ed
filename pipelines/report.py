"""The one page that tells a person how good a generator is: everything inside, nothing fetched."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from pipelines import verdict
from pipelines.figures import contributions, layer_chart, training_curves, truncation_curves
from stylegan.config import Config

TEMPLATE = Path(__file__).with_name("report.html")


@dataclass(frozen=True)
class Facts:
    """All the page is made of besides its pictures."""

    results: Mapping[str, Any]  # reports/metrics.json
    ticks: Sequence[Mapping[str, float]]  # reports/ticks.csv
    bands: Mapping[str, Mapping[int, float]]  # of "generated" and of "real" images: {resolution: per cent}
    config: Config
    num_images: int  # in the training split
    img_shape: tuple[int, int, int]  # C, H, W
    fingerprint: str
    commit: str | None


@dataclass(frozen=True)
class Pictures:
    """Files of the page, as bytes."""

    samples: bytes
    reals: bytes
    truncation: bytes
    mixing: bytes
    film: bytes


def build_page(facts: Facts, pictures: Pictures) -> str:
    """One self-contained HTML page.

    Raises ValueError when metrics.json or ticks.csv lacks what the page is about.
    """
    results, config = facts.results, facts.config
    judged = verdict.verdicts(results)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        headline=verdict.headline(judged),
        yardstick=verdict.yardstick(judged, results["num_images"]),
        verdicts=judged,
        limits=verdict,
        advice=verdict.advice(judged, results["truncation"], facts.ticks, config, results["num_images"]),
        readings=verdict.readings(facts.ticks, config),
        truncation=sorted(results["truncation"], key=lambda row: float(row["psi"])),
        best=best_rows(results["truncation"]),
        made=how_it_was_made(facts),
        sections=config.model_dump(mode="json", exclude={"cluster", "tracking"}),  # which decide no result
        render=config.render,
        samples=embed(pictures.samples, "image/png"),
        reals=embed(pictures.reals, "image/png"),
        strip=embed(pictures.truncation, "image/png"),
        mixing=embed(pictures.mixing, "image/png"),
        film=embed(pictures.film, "video/mp4"),
        curves=[embed(training_curves(facts.ticks, target(config), dark=dark), "image/png") for dark in (False, True)],
        layers=[embed(layer_chart(facts.ticks, facts.bands, dark=dark), "image/png") for dark in (False, True)],
        shares=last_shares(facts),
        frontier=[embed(truncation_curves(results["truncation"], dark=dark), "image/png") for dark in (False, True)],
    )


def target(config: Config) -> float | None:
    """The target of r_t, where augmentation adapts to it"""
    return config.augment.ada_target if config.augment.mode == "ada" else None


def best_rows(truncation: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """For each metric the psi at which it is best"""
    best = {}
    for metric in truncation[0]:
        if metric != "psi":
            choose = max if metric.startswith(verdict.HIGHER_IS_BETTER) else min
            best[metric] = choose(truncation, key=lambda row: row[metric])["psi"]
    return best


def last_shares(facts: Facts) -> dict[str, Mapping[int, float]]:
    """Columns of the table of resolutions: the last contributions, if the run has any, and the bands of images"""
    _, shares = contributions(facts.ticks)
    last = {"contribution": {res: values[-1] for res, values in shares.items()}} if shares else {}
    return last | {f"bands of {name} images": values for name, values in facts.bands.items()}


def how_it_was_made(facts: Facts) -> list[tuple[str, str]]:
    """Rows of (what, value): enough to repeat the run and to compare it fairly."""
    results, config = facts.results, facts.config
    channels, height, width = facts.img_shape
    size = f"{width} x {height} pixels, {channels} channel(s)"
    extractor = results["extractor"]
    seen = f", sees the first 3 of {channels} channels" if channels > 4 else ""
    return [
        ("Data", f"{config.prepare.source}: {facts.num_images} training images, {size}"),
        ("Archive sha256", results["archive_sha256"]),
        ("Trained on", f"{results['cur_nimg'] / 1000:g} kimg (thousand images shown), seed {config.train.seed}"),
        ("Training time", duration(training_seconds(facts.ticks))),
        ("Run", facts.fingerprint),
        ("Git commit", facts.commit or "not in a git repository"),
        ("Extractor", f"{extractor['name']}, input {extractor['input_size']} pixels{seen}, "
                      f"sha256 {extractor['sha256']}"),
        ("Measured with", f"{results['num_images']} images, seed {results['seed']}, split {results['split']}, "
                          f"resize filter {results['resize_filter']}"),
    ]  # fmt: skip


def training_seconds(ticks: Sequence[Mapping[str, float]]) -> float:
    """Time spent on training over all ticks, across interruptions"""
    return sum(tick.get("sec", 0.0) for tick in ticks)


def duration(seconds: float) -> str:
    """Seconds as "3 h 02 min", "4 min 05 s" or "7.0 s" """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def number(value: float | None) -> str:
    """Three significant digits; a dash for what was not measured"""
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def embed(content: bytes, media_type: str) -> str:
    """Bytes as an address that holds them"""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
