"""What a plan makes of the images themselves: a look at the source, and the settings that suit what is seen there."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from statistics import mean, median, median_low

from pipelines.params import Params, Settings
from pipelines.plan.origins import Choice, Choices
from pipelines.plan.source_report import describe_source
from pipelines.prepare import EARTH
from stylegan.config import ConfigError, parse
from stylegan.config.pyramid import MAX_BASE, MIN_BASE, Resolution, plain, sides
from stylegan.config.sections import PrepareConfig
from stylegan.data import ArchiveError
from stylegan.data.survey import Labels, Survey, survey
from stylegan.data.transforms import has_shape, largest_window
from stylegan.text import is_utf8, visible
from stylegan.wording import counted

USUAL_SHARE = 0.05  # held out
MOST_HELD_OUT = 1000  # images; tests of your own hardly need more
FEWEST_TO_HOLD_OUT = 200  # images; of fewer each is needed to train
FEW_IN_CLASS = 10  # images; if half of the classes have fewer, they are too small to learn apart
SAME_SHAPE = 0.02  # by which the aspects of images may differ
WIDE = 1.7  # from this aspect on, about 16:9, a square from the middle is less than 60% of an image
COUNTERS = re.compile(r"\d{4,}|\d{4}[-_. ]?\d\d([-_. ]?\d\d)?.*|\d{3}[A-Z]{5}|\d{3}_\w*|IMG_?\d+|DCIM", re.IGNORECASE)


@dataclass(frozen=True)
class Look:
    """What was seen in a source, and what it decides."""

    found: Survey
    choices: Choices

    def lines(self, params: Params) -> list[str]:
        """What a person should know of it, for the settings that were planned in the end"""
        return [*describe_source(self.found, params), *advise_shape(self.found, params)]


def survey_source(path: str, choices: Choices) -> Survey:
    """Look at the images, of which nothing depends on the plan. Raises ConfigError if the source cannot be opened."""
    if not is_utf8(path):
        raise ConfigError(f"--source {visible(path)}: not UTF-8, as params.yaml has to be; rename it, or link to it")
    values: Settings = {name: choice.value for name, choice in choices.items()}
    config = _prepare_section(values | {"prepare.source": path})
    try:
        return survey(config, EARTH)
    except ArchiveError as error:
        raise ConfigError(f"--source {error}") from None


def look_at(path: str, found: Survey, choices: Choices, asked: Choices) -> Look:
    """Choose what depends on the images unless it was asked for.

    choices: the plan so far. Raises ConfigError if its settings do not fit together.
    """
    values: Settings = {name: choice.value for name, choice in (choices | asked).items()}
    _prepare_section(values | {"prepare.source": path})
    chosen = {"prepare.source": Choice(path, "--source")}
    if found.good:
        chosen["prepare.transform"] = choose_transform(found, values["prepare.resolution"])
        chosen["prepare.mode"] = choose_mode(found)
        if found.source.holdout is None and found.source.groups is None:
            num_images = min(len(found.source.names), values["prepare.max_images"] or len(found.source.names))
            chosen["prepare.holdout_fraction"] = choose_holdout_share(num_images, values["augment.mode"])
    labels, reason = choose_labels(found.labels, wanted="data.use_labels" in asked and values["data.use_labels"])
    labels = asked["prepare.labels"].value if "prepare.labels" in asked else labels
    reason = f"prepare.labels is {labels}" if "prepare.labels" in asked else reason
    chosen["prepare.labels"] = Choice(labels, reason)
    chosen["data.use_labels"] = Choice(labels != "none", reason)
    return Look(found, {name: choice for name, choice in chosen.items() if name not in asked})


def _prepare_section(values: Settings) -> PrepareConfig:
    section = {name.removeprefix("prepare."): value for name, value in values.items() if name.startswith("prepare.")}
    return parse(PrepareConfig, section, "plan")


def choose_transform(found: Survey, resolution: Resolution | Sequence[int]) -> Choice:
    """none if every image has the shape of the resolution; else the crop that keeps more"""
    (high, wide), total = sides(resolution), len(found.good)
    shape = "square" if wide == high else f"of the shape {wide} x {high}"
    others = sum(not has_shape(check.width, check.height, wide, high) for check in found.good)
    if not others:
        return Choice("none", f"all images are {shape}")
    aspects = [check.width / check.height for check in found.good]
    fits = all(
        min(largest_window(check.width, check.height, 4, 3)[0] / wide, check.height / (high * 3 // 4)) >= 1
        for check in found.good
    )
    if wide == high and min(aspects) >= 4 / 3 and median(aspects) >= WIDE and fits:
        return Choice("center-crop-wide", "all images are wide: the middle 4:3 of each, between black bands")
    kept = mean(_kept_share(check.width, check.height, wide, high) for check in found.good)
    return Choice("center-crop", f"{others:,} of {total:,} images are not {shape}; the middle {kept:.0%} is kept")


def _kept_share(width: int, height: int, wide: int, high: int) -> float:
    window = largest_window(width, height, wide, high)
    return window[0] * window[1] / (width * height)


def choose_mode(found: Survey) -> Choice:
    """The mode that most images have or become without loss"""
    modes, total = found.modes, len(found.good)
    most = modes.most_common(1)[0][0]
    if most.endswith("-channel"):
        return Choice("keep", f"most images have {most.removesuffix('-channel')} channels")
    grey = sum(modes[mode] for mode in ("1", "L"))
    if grey == total:
        return Choice("L", "all images are grey")
    transparent = sum(count for mode, count in modes.items() if mode.upper().endswith("A"))
    if transparent == total and found.shows_transparency:
        return Choice("RGBA", "all images have transparency")
    reasons = [f"{grey:,} grey images get colours"] * bool(grey)
    reasons += [f"{transparent:,} with transparency are laid over white"] * bool(transparent)
    return Choice("RGB", "; ".join(reasons) or "all images have colours")


def choose_labels(labels: Labels | None, *, wanted: bool) -> tuple[str, str]:
    """prepare.labels, and why; wanted: data.use_labels was asked for"""
    if labels is None:
        return "none", "no sub-folders, and no dataset.json with labels"
    where = "sub-folders" if labels.kind == "folders" else "classes of the source"
    if not labels.counts:
        return labels.kind, "label vectors of the source"
    if wanted:
        return labels.kind, f"data.use_labels, and {len(labels.counts):,} {where}"
    if labels.num_unlabelled:
        return "none", f"{counted(labels.num_unlabelled, 'image has', 'images have')} no class"
    if len(labels.counts) < 2:
        return "none", "a single class"
    if labels.kind == "folders" and all(COUNTERS.fullmatch(name) for name in labels.counts):
        return "none", "the sub-folders are named like dates or counters, not classes"
    if median_low(labels.counts.values()) < FEW_IN_CLASS:
        return "none", f"half of {len(labels.counts):,} {where} have fewer than {FEW_IN_CLASS} images"
    return labels.kind, f"{len(labels.counts):,} {where}"


def choose_holdout_share(num_images: int, augment_mode: str) -> Choice:
    """Enough images for tests on images that G never saw, and no more: what is held out is not learnt"""
    if augment_mode == "ada_rv":
        return Choice(2 * USUAL_SHARE, "augment.mode ada_rv compares with held-out images")
    if num_images < FEWEST_TO_HOLD_OUT:
        return Choice(0.0, f"{counted(num_images, 'image is', 'images are')} few: all of them train")
    share = float(f"{min(USUAL_SHARE, MOST_HELD_OUT / num_images):.2g}")
    return Choice(
        share, f"{counted(round(share * num_images), 'image is', 'images are')} enough for tests on what G never saw"
    )


def advise_shape(found: Survey, params: Params) -> list[str]:
    """A rectangular resolution, if all images have one shape that is not that of the resolution"""
    high, wide = sides(params.prepare.resolution)
    aspects = [check.width / check.height for check in found.good]
    if (
        not aspects
        or max(aspects) > (1 + SAME_SHAPE) * min(aspects)
        or abs(log(median(aspects) * high / wide)) < SAME_SHAPE
    ):
        return []
    best = closest_resolution(median(aspects), max(high, wide))
    if best is None:
        return []
    shape = "x".join(map(str, sides(best)))
    return [f"All images have one shape: --resolution {shape} (height x width) keeps them whole."]


def closest_resolution(aspect: float, longer: int) -> Resolution | None:
    """Sides that networks can make, of this width / height, and the longer one nearest to that asked for"""
    bases = range(MIN_BASE, MAX_BASE + 1)
    sizes = {
        (h * 2**n, w * 2**n)
        for h in bases for w in bases for n in range(1, longer.bit_length())
        if abs(log(w / h / aspect)) < SAME_SHAPE
    }  # fmt: skip
    return (
        plain(min(sizes, key=lambda size: (abs(log(max(size) / longer)), abs(log(size[1] / size[0] / aspect)), size)))
        if sizes
        else None
    )
