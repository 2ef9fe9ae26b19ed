"""Settings of the networks that are counted and timed, from settings.json next to this file.

    python -m benchmarks.settings

writes that file from the presets of pipelines.plan for one GPU. Reading it needs pydantic only, so that a machine
without this project's other requirements measures the same networks.
"""

import copy
import json
from pathlib import Path
from typing import Any

from stylegan.config import Config, parse

FILE = Path(__file__).with_suffix(".json")
PARAMS = Path(__file__).parents[1] / "params.yaml"
PRESETS = {64: "auto", 256: "paper256", 512: "auto", 1024: "auto"}  # resolution -> preset
DECIDED = ("generator", "discriminator", "augment", "loss", "train")  # sections that decide what a step costs
CLAMP = 256.0  # keeps fp16 below 65504; fp32 and bf16 have the range and do without

# Networks of a rehearsal, which has to end in seconds on a processor.
TINY = 16  # pixels
TINY_VALUES: dict[str, dict[str, Any]] = {
    "prepare": {"resolution": TINY},
    "generator": {"z_dim": 16, "w_dim": 16, "channel_base": 128, "channel_max": 8},
    "discriminator": {"channel_base": 128, "channel_max": 8, "mbstd_group_size": 2},
    "monitor": {"num_images": 16},
}


def config(resolution: int, batch: int, precision: str, **train: Any) -> Config:
    """Settings of one size, with `batch` images a step in one forward pass; train: other values of that section."""
    values = json.loads(FILE.read_text(encoding="utf-8"))
    found = copy.deepcopy(values["64" if resolution == TINY else str(resolution)])
    for section, changes in (TINY_VALUES if resolution == TINY else {}).items():
        found[section] |= changes
    found["train"] |= {"batch_size": batch, "batch_gpu": batch, "precision": precision} | train
    for network in ("generator", "discriminator"):
        found[network]["conv_clamp"] = CLAMP if precision == "fp16" else None
    return parse(Config, found, str(FILE))


def planned(resolution: int) -> dict[str, Any]:
    """What pipelines.plan writes for one GPU, without sections that only pipelines/ knows"""
    from pipelines.params import load
    from pipelines.plan.resolve import checked, resolve

    params = checked(resolve(PRESETS[resolution], resolution, 1, load(PARAMS)))
    return params.model_dump(mode="json", include=set(Config.model_fields))


def text() -> str:
    """Content of settings.json: a line for each section"""
    sizes = []
    for resolution in PRESETS:
        lines = [f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in planned(resolution).items()]
        sizes.append(f'"{resolution}": {{\n' + ",\n".join(lines) + "\n }")
    return "{\n " + ",\n ".join(sizes) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
