"""Writes the table of results in README.md from measurements that are kept in benchmarks/results/readme.json.

    python -m benchmarks.readme_results [--repro reports/metrics.json] [--earth32 reports/evaluations/NAME/metrics.json]

A measurement that is named takes the place of the one that is kept. That of earth32 is written by
`stylegan evaluate --network pretrained/earth32.safetensors --data data/archive.zip`.
"""

import argparse
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.artifacts import metrics_json
from pipelines.artifacts.metrics_json import MetricsReport
from stylegan.metrics.evaluation.metric import KINDS, Kind, short

ROOT = Path(__file__).parents[1]
KEPT, README = ROOT / "benchmarks/results/readme.json", ROOT / "README.md"
BEGIN = "<!-- results: written by `.venv/bin/python -m benchmarks.readme_results` -->"
END = "<!-- end of results -->"
WIDTH = 150  # of a line of the page
# Rows: what is said of the training, which metrics.json does not know.
TRAININGS = {
    "repro": ("160 (`make repro`)", "15 to 36 min"),
    "earth32": ("1680 ([command](pretrained/earth32.md))", "68 min, bf16"),
}
SHOWN: tuple[Kind, ...] = ("kid", "fid", "precision", "recall")
HEADS = {"fid": "Frechet distance"}  # of a network whose distances are not FID
EXTRACTORS = {"efflite0": "EfficientNet-Lite0"}
FACTS = ("extractor", "num_images", "num_real", "floor_num_images", "floor_num_real", "floor_num_splits",
         "archive_sha256", "generator_sha256", "confidence")  # fmt: skip
NUMBERS = ("measures", "metrics", "intervals", "floor", "floor_sd", "like_floor", "like_floor_sd")


def main() -> None:
    """Take in new measurements and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in TRAININGS:
        parser.add_argument(f"--{name}", type=Path, metavar="metrics.json", help="default: what is kept")
    given = vars(parser.parse_args())
    kept = read() | {name: kept_of(metrics_json.read(path)) for name, path in given.items() if path is not None}
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    README.write_text(with_results(README.read_text(encoding="utf-8"), kept), encoding="utf-8")


def read() -> dict[str, Any]:
    """What is kept of each measurement"""
    return dict(json.loads(KEPT.read_text(encoding="utf-8"))) if KEPT.exists() else {}


def kept_of(report: MetricsReport) -> dict[str, Any]:
    """The part of a measurement that the table is made from, as in metrics.json"""
    folded = report.folded()
    return {name: folded[name] for name in (*FACTS, *NUMBERS)}


def with_results(text: str, kept: dict[str, Any]) -> str:
    """A page with the table between its marks. Raises ValueError if it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{README}: {BEGIN} and {END} are not both there. Put them where the table belongs.")
    return before + "\n".join([BEGIN, *lines(kept), END]) + after


def lines(kept: dict[str, Any]) -> Iterator[str]:
    """The table, and below it what its numbers are of"""
    heads = [HEADS.get(kind, KINDS[kind].label) for kind in SHOWN]
    yield f"| kimg | training on two CPU cores | {' | '.join(heads)} |"
    yield "|---" * 2 + "|--:" * len(heads) + "|"
    for name, (kimg, training) in TRAININGS.items():
        yield row(kimg, training, *(cell(kept[name], kind) for kind in SHOWN))
    yield row("real images (the baseline)", "", *(baseline_cell(kept["repro"], kind) for kind in SHOWN))
    yield ""
    yield from explanation(kept["repro"])


def row(*cells: str) -> str:
    """A line of the table"""
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def cell(measured: dict[str, Any], kind: Kind) -> str:
    """KID with its interval; what depends on the numbers of images, with those of the baseline"""
    name = name_of(measured, kind)
    if kind == "kid":
        low, high = measured["intervals"][name]
        return f"{short(measured['metrics'][name], 3)} ({short(low, 3)} to {short(high, 3)})"
    return number(measured["like_floor"][name], kind)


def number(value: float, kind: Kind) -> str:
    """Three digits of a distance, three decimals of a share"""
    return f"{value:.3f}" if KINDS[kind].unit == "share" else short(value, 3)


def baseline_cell(measured: dict[str, Any], kind: Kind) -> str:
    """The mean over splits with the standard deviation of one"""
    name = name_of(measured, kind)
    value, sd = measured["floor"][name], measured["floor_sd"][name]
    shown = short(value, 2) if kind == "kid" else number(value, kind)  # next to 0, its standard deviation says more
    return f"{shown} (sd {short(sd, 2)})"


def name_of(measured: dict[str, Any], kind: Kind) -> str:
    """What metrics.json calls a number"""
    return str(next(each["name"] for each in measured["measures"] if each["kind"] == kind))


def explanation(measured: dict[str, Any]) -> list[str]:
    """What the numbers are of"""
    extractor, level = measured["extractor"], measured["confidence"]
    network = EXTRACTORS.get(extractor["name"], extractor["name"])
    count, others, splits = (measured[f"floor_{name}"] for name in ("num_images", "num_real", "num_splits"))
    text = (
        f"The baseline is what {count:,} real images score against the {others:,} others: the mean of {splits} random "
        f"splits, with the standard deviation of one. KID is of {measured['num_images']:,} generated images against "
        f"all {measured['num_real']:,}, with its {level:.0%} interval for drawing the images again. The other columns "
        f"depend on the numbers of images, so they are against the same {others:,}. No interval covers the difference "
        f"between two trainings. Features are those of {network} at {extractor['input_size']} pixels and psi is 1, so "
        "do not compare with published numbers ([metrics](docs/metrics.md))."
    )
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    main()
