"""LPIPS on VGG16 (Zhang et al. 2018): how different two images look, as a squared distance between embeddings.

N images, C channels, H W image or map.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan.metrics.arrays import MetricError
from stylegan.metrics.extractors.loading import build, load_weights
from stylegan.metrics.extractors.scripts import Script
from stylegan.metrics.extractors.weights import VGG16_SCRIPT, find_weights

LPIPS_FILE = "lpips_vgg16.safetensors"
NUM_CONVS = 13
TAPS = (1, 3, 6, 9, 12)  # relu1_2 relu2_2 relu3_3 relu4_3 relu5_3; all but the last are followed by pooling
NORM_EPS = 1e-10  # Zhang et al.'s code
# ImageNet's mean and deviation of channels, for pixels in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
RANDOM_WIDTHS = (4, 4, 8, 8, 8)


class Lpips(nn.Module):
    """Distance between images, float [N, 3, H, W] in [-1, 1].

    weights: conv{0..12}.weight [O, I, 3, 3], conv{0..12}.bias [O], lin{0..4}.weight [C].
    Raises KeyError if a tensor is missing.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, weights: Mapping[str, Tensor], name: str) -> None:
        super().__init__()
        self.name = name
        names = [f"conv{i}.{part}" for i in range(NUM_CONVS) for part in ("weight", "bias")]
        names += [f"lin{i}.weight" for i in range(len(TAPS))]
        for tensor_name in names:
            self.register_buffer(tensor_name.replace(".", "_"), weights[tensor_name].float())
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None])

    def embed(self, img: Tensor) -> list[Tensor]:
        """img [N, 3, H, W] -> five maps [N, C, H', W'] whose squared differences sum to LPIPS (Zhang et al., Eq. 1)"""
        x = ((img - self.shift) / self.scale).contiguous(memory_format=torch.channels_last)
        maps: list[Tensor] = []
        for i in range(NUM_CONVS):
            x = F.conv2d(x, self.get_buffer(f"conv{i}_weight"), self.get_buffer(f"conv{i}_bias"), padding=1).relu()
            if i in TAPS:
                unit = x / (x.square().sum(dim=1, keepdim=True).sqrt() + NORM_EPS)
                heads = self.get_buffer(f"lin{len(maps)}_weight")[:, None, None]
                maps.append(unit * (heads / (x.shape[2] * x.shape[3])).sqrt())
                x = F.max_pool2d(x, 2) if i != TAPS[-1] else x
        return maps

    def forward(self, img0: Tensor, img1: Tensor) -> Tensor:
        """LPIPS of each pair  ->  [N]

        Raises MetricError if the images are not RGB, equal in shape, and at least 16 pixels wide.
        """
        if img0.shape != img1.shape or img0.ndim != 4 or img0.shape[1] != 3 or min(img0.shape[2:]) < 16:
            raise MetricError(
                f"LPIPS got images {list(img0.shape)} and {list(img1.shape)}; expected two of [N, 3, H, W] with H and "
                "W at least 16, because VGG16 halves them four times."
            )
        pairs = zip(self.embed(img0), self.embed(img1), strict=True)
        return torch.stack([(a - b).square().sum(dim=(1, 2, 3)) for a, b in pairs]).sum(dim=0)


class ScriptedLpips(Lpips):
    """LPIPS as the public VGG16 file of precision and recall has it: the one of published path lengths."""

    def __init__(self, script: Script) -> None:
        nn.Module.__init__(self)  # weights are in the script
        self.name = "vgg16"
        self.script = script
        # LPIPS compares images at their own size; the file's signature says whether it would resize them.
        self.options = {name: False for name in script.arguments() if name.startswith("resize")}

    def embed(self, img: Tensor) -> list[Tensor]:
        """img [N, 3, H, W] -> one map [N, F, 1, 1] whose squared differences sum to LPIPS"""
        embedding: Tensor = self.script((img + 1) * 127.5, return_lpips=True, **self.options)
        return [embedding[:, :, None, None]]


def load_lpips(name: str, weights: Path) -> Lpips:
    """Network of params.yaml's `evaluate.ppl_network`, its weights in the folder `weights`.

    Raises MetricError for an unknown name or unfit weights, FileNotFoundError where there are none.
    """
    if name == "random":
        return Lpips(_random_weights(), "random")
    if name == "vgg16":
        remedy = "set evaluate.ppl_network to lpips_vgg16"
        return ScriptedLpips(Script(find_weights("LPIPS on VGG16", (VGG16_SCRIPT,), weights, remedy=remedy)[0]))
    if name != "lpips_vgg16":
        raise MetricError(
            f"evaluate.ppl_network is {name!r}; expected vgg16, lpips_vgg16, or random, which needs no download."
        )
    path = weights / LPIPS_FILE
    tensors = load_weights(path, "LPIPS on VGG16", remedy="set evaluate.ppl_network to random")
    return build(lambda: Lpips(tensors, "lpips_vgg"), lambda net, img: net(img, img), path, "LPIPS on VGG16")


def _random_weights() -> dict[str, Tensor]:
    """A narrow VGG16 with random weights and equal heads"""
    rng = np.random.default_rng(0)
    weights: dict[str, Tensor] = {}
    channels, tap = 3, 0
    for i in range(NUM_CONVS):
        width = RANDOM_WIDTHS[tap]
        kernel = rng.standard_normal((width, channels, 3, 3), dtype=np.float32) * np.float32(
            np.sqrt(2 / (9 * channels))
        )
        weights[f"conv{i}.weight"], weights[f"conv{i}.bias"] = torch.from_numpy(kernel), torch.zeros(width)
        if i in TAPS:
            weights[f"lin{tap}.weight"], tap = torch.ones(width), tap + 1
        channels = width
    return weights
