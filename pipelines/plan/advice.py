"""What `plan` shows of the values that it chose."""

from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from pipelines.params import Params, leaves
from pipelines.plan.origins import Choices
from pipelines.plan.yaml_edit import spelt
from stylegan.config import modes

CHANNELS = {**modes.CHANNELS, "keep": 3}  # keep: unknown before the images are read; colour is usual
GAMMA_FACTORS = (0.25, 0.5, 1, 2, 4)


def parameter_counts(params: Params) -> tuple[int, int]:
    """Parameters of G and D without labels"""
    from stylegan.networks import sizes  # deferred: a wrong value is reported before torch is imported

    channels = CHANNELS[params.prepare.mode]
    return sizes.parameter_counts(params, resolution=params.prepare.resolution, channels=channels, c_dim=0)


def table(choices: Choices, base: Params) -> Table:
    """Parameter, value, the value before where it differs, and the reason, in 80 columns; changed rows are bold."""
    before = dict(leaves(base.model_dump(mode="json")))
    result = Table("parameter", "value", "was", "because", box=SIMPLE, pad_edge=False)
    result.columns[0].no_wrap = True
    for path, choice in choices.items():
        changed = choice.value != before[path]
        was = spelt(before[path]) if changed else ""
        result.add_row(path, spelt(choice.value), was, choice.origin, style="bold" if changed else None)
    return result


@dataclass(frozen=True)
class Changed:
    """A row of the table."""

    value: Any
    was: Any
    because: str


def describe(choices: Choices, base: Params) -> dict[str, Changed]:
    """The rows of the table by their dotted paths"""
    before = dict(leaves(base.model_dump(mode="json")))
    return {path: Changed(choice.value, before[path], choice.origin) for path, choice in choices.items()}


def advice(params: Params) -> list[str]:
    """What the numbers mean, and which one is worth a sweep."""
    g_count, d_count = parameter_counts(params)
    steps = round(params.train.total_kimg * 1000 / params.train.batch_size)
    gammas = ", ".join(f"{params.loss.r1_gamma * factor:.4g}" for factor in GAMMA_FACTORS)
    lines = [
        f"G has {g_count:,} parameters, D has {d_count:,} (without labels).",
        f"{params.train.total_kimg:g} kimg are {steps:,} steps of {params.train.batch_size} images.",
    ]
    if params.loss.d_regularizer == "r1":
        best = f"try {gammas} and keep the lowest KID or FID."
        lines.append(f"loss.r1_gamma decides most and no formula knows it: {best}")
    return lines
