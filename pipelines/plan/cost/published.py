"""Training speed on GPUs that are not at hand: the official implementation's as published, and this project's own.

SEC_PER_KIMG is the official implementation's, as its authors published it: not measured by this project. V100: README
of stylegan2-ada-pytorch, `auto` configuration with augmentation, the range it gives for short and long runs. A100:
docs/configs of stylegan3, the StyleGAN2 configurations. Both compute in mixed precision with CUDA kernels of their own.
Images a GPU are those of `auto`: min(4096 / resolution, 32), and 64 over all GPUs at most; the published GPU memory,
which halves where these do, agrees.

MEASURED is this project's, on one GPU at one batch size; the two never mix.
"""

from dataclasses import dataclass

from pipelines.plan.cost.scaling import Compute
from stylegan.config import ConfigError

Range = tuple[float, float]
GPUS = (1, 2, 4, 8)

# device -> resolution -> lowest and highest sec/kimg on 1, 2, 4, 8 GPUs
SEC_PER_KIMG: dict[str, dict[int, dict[int, Range]]] = {
    "v100": {
        128: {1: (12.8, 13.7), 2: (6.5, 6.8), 4: (4.1, 4.6), 8: (3.9, 4.9)},
        256: {1: (21.6, 24.2), 2: (11.2, 11.8), 4: (5.6, 5.9), 8: (4.4, 5.5)},
        512: {1: (72.5, 74.9), 2: (37.7, 40.0), 4: (18.7, 19.1), 8: (9.5, 9.7)},
        1024: {1: (154.3, 161.6), 2: (80.6, 86.2), 4: (40.1, 40.8), 8: (20.2, 20.6)},
    },
    "a100": {
        128: {1: (6.79, 6.79), 2: (3.45, 3.45), 4: (2.23, 2.23)},
        256: {1: (12.53, 12.53), 2: (6.36, 6.36), 4: (3.20, 3.20), 8: (2.38, 2.38)},
        512: {1: (41.06, 41.06), 2: (20.83, 20.83), 4: (10.45, 10.45), 8: (5.24, 5.24)},
        1024: {1: (90.39, 90.39), 2: (46.04, 46.04), 4: (23.15, 23.15), 8: (11.66, 11.66)},
    },
}


@dataclass(frozen=True)
class Measurement:
    """Of one process on one GPU, the lazy regularisers shared out."""

    sec_per_kimg: float
    batch: int  # images of a step, in one forward pass
    what: str  # version, precision, and what is not in it
    has_kernels: bool  # whether the version had those of stylegan/ops/kernels/

    @property
    def version(self) -> str:
        """What a short source says of it"""
        return "" if self.has_kernels else " without kernels"


# device -> resolution -> what `python -m benchmarks.gpu` measured there (section steps, kernels auto, the largest batch
# in bf16: sec_per_kimg). Numbers of a newer call replace these.
MEASURED: dict[str, dict[int, Measurement]] = {
    "h100": {
        256: Measurement(14.04, 64, "commit d268daf in bf16, which had no CUDA kernels, without R1", False),
    },
}
REFERENCES = (*SEC_PER_KIMG, *MEASURED)


def measured(device: str, resolution: int) -> Measurement:
    """Raises ConfigError for a resolution that was not measured."""
    table = MEASURED[device]
    if resolution not in table:
        known = ", ".join(map(str, table))
        raise ConfigError(
            f"--reference {device}: this project was measured there at {known} pixels, not at {resolution}. Time a "
            "step with --measure on such a machine, or give one GPU's figure with --sec-per-kimg."
        )
    return table[resolution]


def images_per_gpu(resolution: int, gpus: int) -> int:
    return min(4096 // resolution, 32, 64 // gpus)


def sec_per_kimg(device: str, resolution: int, gpus: int) -> float:
    """Middle of the published range"""
    return sum(SEC_PER_KIMG[device][resolution][gpus]) / 2


def compute(device: str, resolution: int) -> Compute:
    """Arithmetic from the time on one GPU; the floor from the steps with fewer images a GPU than one GPU takes.

    From 512 pixels the published batch never gets that small: there the floor of 256 pixels counts, which is too low.
    Raises ConfigError for a resolution without figures.
    """
    table = SEC_PER_KIMG[device]
    if resolution not in table:
        known = ", ".join(map(str, table))
        raise ConfigError(
            f"--reference {device}: figures are published for {known} pixels, not for {resolution}. Time a step with "
            "--measure on such a machine, or give one GPU's figure with --sec-per-kimg."
        )
    return Compute(sec_per_kimg(device, resolution, 1) / 1000, floor_sec=_floor_sec(device, resolution))


def _floor_sec(device: str, resolution: int) -> float:
    for size in sorted((size for size in SEC_PER_KIMG[device] if size <= resolution), reverse=True):
        gpus = max(SEC_PER_KIMG[device][size])
        if images_per_gpu(size, gpus) < images_per_gpu(size, 1):
            return sec_per_kimg(device, size, gpus) / 1000 * images_per_gpu(size, gpus) * gpus
    raise AssertionError("128 pixels have such a step")
