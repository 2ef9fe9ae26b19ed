"""What a processor can train in about an hour: the recipe of the default run, scaled with the resolution.

Networks of the published width would take years there. The recipe was measured at 32 pixels (docs/log.md).
"""

import os
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import yaml

from pipelines.plan.origins import Choice, Choices

if TYPE_CHECKING:
    from stylegan.data.survey import Survey

SMALL, LARGE = 32, 64  # pixels
CORES_FOR_LARGE = 4  # a step takes about four times as long there
MOST_WORKERS = 4  # of a batch of 32: eight images each
LENGTH_SEC = 3600.0
FEWEST_KIMG = 1.0

RECIPE = Path(__file__).parent / "presets" / "narrow.yaml"


def narrow_choices(longer_side: int) -> Choices:
    """Preset auto on a processor"""
    value = narrow_base(longer_side)
    base = Choice(value, f"{min(value // longer_side, 64)} channels at {longer_side} pixels")
    widths = {f"{name}.channel_base": base for name in ("generator", "discriminator")}
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    return {path: Choice(value, reason) for reason, values in recipe.items() for path, value in values.items()} | widths


def narrow_base(longer_side: int) -> int:
    """16 channels at the highest resolution up to 64 pixels; above, the FLOPs of a level no longer grow, down to 4"""
    return max(512, min(16 * longer_side, 16 * LARGE), 4 * longer_side)


def count_workers() -> int:
    """A process for each core, as powers of two that share the batch"""
    cores = os.cpu_count() or 1
    return max(size for size in (1, 2, MOST_WORKERS) if size <= cores)


def choose_resolution(found: "Survey") -> Choice:
    """32 pixels, or 64 if there are cores for it and the images show that much"""
    workers = count_workers()
    if workers < CORES_FOR_LARGE:
        return Choice(
            SMALL, f"what {workers} core{'s' * (workers > 1)} can train in an hour; 64 take four times as long"
        )
    shorter = median(min(check.width, check.height) for check in found.good) if found.good else 0
    if shorter < LARGE:
        return Choice(SMALL, f"the images' shorter side is {shorter:g} pixels")
    return Choice(LARGE, f"{CORES_FOR_LARGE} cores or more, and images of {shorter:g} pixels")


def choose_length(sec_per_kimg: float) -> Choice:
    """What an hour holds, in two digits"""
    kimg = float(f"{max(LENGTH_SEC / sec_per_kimg, FEWEST_KIMG):.2g}")
    return Choice(kimg, f"about an hour at {sec_per_kimg:.3g} sec/kimg; raise it later, and the run continues")
