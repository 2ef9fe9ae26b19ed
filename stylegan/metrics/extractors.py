"""Extractors: uint8 images -> features, through one protocol; where their weights come from, and how images reach them.

N images, C channels, H W image, F features.
"""

import hashlib
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stylegan.files import sha256_of
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.efficientnet import NUM_FEATURES, EfficientNetLite0

# How every image reaches an extractor's input size; recorded beside each number, since it is part of the metric.
RESIZE_FILTER = "bilinear-antialias"
RANDOM_FEATURES = 64
RANDOM_SEED = 0
EFFICIENTNET_FILE = "efficientnet_lite0.safetensors"


class Extractor(Protocol):
    """A network that sees an image as features: uint8 [N, C, H, W] -> float32 [N, F], on its own device."""

    name: str  # suffix of the names of the metrics made with it
    sha256: str  # of its weights
    input_size: int  # side of the square it sees, pixels
    num_features: int  # F

    def __call__(self, img: Tensor, /) -> Tensor: ...

    def to(self, device: torch.device | str, /) -> Self:
        """Move its weights."""


class EfficientNetExtractor(nn.Module):
    """Penultimate features of EfficientNet-Lite0, an ImageNet classifier: the offline default."""

    def __init__(self, path: Path, input_size: int) -> None:
        super().__init__()
        weights = load_weights(path, "EfficientNet-Lite0", remedy="set evaluate.extractor to random")
        try:
            self.network = EfficientNetLite0(weights)
        except KeyError as error:
            raise unfit_weights(path, "EfficientNet-Lite0", error) from None
        self.name = "efflite0"
        self.sha256 = sha256_of(path)
        self.input_size = input_size
        self.num_features = NUM_FEATURES

    @torch.no_grad()
    def forward(self, img: Tensor) -> Tensor:
        rgb = resize(to_rgb(img.to(self.network.fc_weight.device)), self.input_size)
        features: Tensor = self.network((rgb - 127) / 128)  # the scale it was trained with
        return features


class RandomExtractor(nn.Module):
    """A fixed random convolution: no download, and no FID. For tests, and for seeing whether the plumbing works."""

    weight: Tensor

    def __init__(self, input_size: int) -> None:
        super().__init__()
        rng = np.random.default_rng(RANDOM_SEED)
        weight = rng.standard_normal((RANDOM_FEATURES, 3, 4, 4), dtype=np.float32)
        weight /= np.float32(np.sqrt(weight[0].size))  # keeps the spread of its input
        self.register_buffer("weight", torch.from_numpy(weight))
        self.name = "random"
        self.sha256 = hashlib.sha256(weight.tobytes()).hexdigest()
        self.input_size = input_size
        self.num_features = RANDOM_FEATURES

    @torch.no_grad()
    def forward(self, img: Tensor) -> Tensor:
        rgb = resize(to_rgb(img.to(self.weight.device)), self.input_size)
        return F.conv2d(rgb / 127.5 - 1, self.weight, stride=2, padding=1).relu().mean(dim=(2, 3))


def load_extractor(name: str, input_size: int, weights: Path) -> Extractor:
    """Extractor of params.yaml's `evaluate.extractor`, its weights in the folder `weights`.

    Raises MetricError for an unknown name or unfit weights, FileNotFoundError where there are none.
    """
    if name == "efficientnet_lite0":
        return EfficientNetExtractor(weights / EFFICIENTNET_FILE, input_size)
    if name == "random":
        return RandomExtractor(input_size)
    raise MetricError(
        f"evaluate.extractor is {name!r}; expected efficientnet_lite0, or random, which needs no download."
    )


def load_weights(path: Path, what: str, remedy: str) -> dict[str, Tensor]:
    """Tensors of a safetensors file.

    Raises FileNotFoundError where there is none, MetricError for another or a damaged file.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no weights of {what} there. "
            f"Run `python -m pipelines.assets`, or {remedy}, which needs no download."
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise MetricError(
            f"{path}: not a safetensors file ({error}). Delete it and run `python -m pipelines.assets`."
        ) from None


def unfit_weights(path: Path, what: str, missing: KeyError) -> MetricError:
    """The error for a file that lacks a tensor of the network `what`"""
    return MetricError(
        f"{path}: no tensor {missing}, so these are not the weights of {what}. "
        "Delete the file and run `python -m pipelines.assets`."
    )


def to_rgb(img: Tensor) -> Tensor:
    """uint8 [N, C, H, W] -> float32 [N, 3, H, W] in [0, 255]: grey is repeated, transparency is seen on white.

    White, because what is hidden under a transparent pixel must not count, and pages that show images are white.
    Of more than four channels only the first three are seen: no extractor knows others.
    Raises MetricError for another shape or another type.
    """
    if img.dtype != torch.uint8 or img.ndim != 4 or img.shape[1] == 0:
        raise MetricError(
            f"an extractor got {img.dtype} {list(img.shape)}; expected uint8 [N, C, H, W]. "
            "Convert generated images with stylegan.images.to_uint8."
        )
    return on_white(img.to(torch.float32), black=0, white=255)


def on_white(img: Tensor, black: float, white: float) -> Tensor:
    """Grey, grey with alpha, RGB, RGBA or more [N, C, H, W] with values from black to white -> RGB [N, 3, H, W]"""
    if img.shape[1] > 4:
        return img[:, :3]
    has_alpha = img.shape[1] % 2 == 0
    colour = img[:, :-1] if has_alpha else img
    if has_alpha:
        alpha = (img[:, -1:] - black) / (white - black)
        colour = colour * alpha + white * (1 - alpha)
    return colour.expand(-1, 3, -1, -1)


def resize(rgb: Tensor, size: int) -> Tensor:
    """float [N, 3, H, W] -> [N, 3, size, size], bilinear; filtered against aliasing where it gets smaller"""
    if tuple(rgb.shape[2:]) == (size, size):
        return rgb
    return F.interpolate(rgb, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
