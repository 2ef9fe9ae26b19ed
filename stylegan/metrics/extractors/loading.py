"""Extractors: uint8 images -> features, through one protocol, chosen by name or by file.

N images, C channels, H W image, F features.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stylegan.files import check_regular, sha256_of
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.extractors.efficientnet import NUM_FEATURES, EfficientNetLite0
from stylegan.metrics.extractors.model_files import SUFFIXES, FileExtractor
from stylegan.metrics.extractors.pixels import RESIZE_FILTER, resize, to_rgb
from stylegan.metrics.extractors.standard import load_inception, load_vgg16

RANDOM_FEATURES = 64
RANDOM_SEED = 0
TRIED_ON = 32  # pixels of the image that weights are tried on
EFFICIENTNET_FILE = "efficientnet_lite0.safetensors"
N = TypeVar("N", bound=nn.Module)


class Extractor(Protocol):
    """A network that sees an image as features: uint8 [N, C, H, W] -> float32 [N, F], on its own device."""

    name: str  # suffix of the names of the metrics made with it
    sha256: str  # of its weights
    input_size: int  # side of the square it sees, pixels
    num_features: int  # F
    resize_filter: str  # by which images reach input_size; part of the metric

    def __call__(self, img: Tensor, /) -> Tensor: ...

    def to(self, device: torch.device | str, /) -> Self:
        """Move its weights."""


@runtime_checkable
class Classifier(Extractor, Protocol):
    """An extractor whose features a last layer turns into class scores."""

    def scores(self, features: Tensor, /) -> Tensor:
        """Features [N, F] -> class scores [N, K] before the softmax"""


class EfficientNetExtractor(nn.Module):
    """Penultimate features of EfficientNet-Lite0, an ImageNet classifier: the offline default."""

    def __init__(self, path: Path, input_size: int) -> None:
        super().__init__()
        weights = load_weights(path, "EfficientNet-Lite0", remedy="set evaluate.extractor to random")
        self.network = build(
            lambda: EfficientNetLite0(weights), lambda net, img: net.classify(net(img)), path, "EfficientNet-Lite0"
        )
        self.name = "efflite0"
        self.sha256 = sha256_of(path)
        self.input_size = input_size
        self.num_features = NUM_FEATURES
        self.resize_filter = RESIZE_FILTER

    @torch.no_grad()
    def forward(self, img: Tensor) -> Tensor:
        rgb = resize(to_rgb(img.to(self.network.fc_weight.device)), self.input_size)
        features: Tensor = self.network((rgb - 127) / 128)  # the scale it was trained with
        return features

    @torch.no_grad()
    def scores(self, features: Tensor) -> Tensor:
        """Features [N, 1280] -> ImageNet class scores [N, 1000] before the softmax"""
        return self.network.classify(features.to(self.network.fc_weight.device)).to(features.device)


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
        self.resize_filter = RESIZE_FILTER

    @torch.no_grad()
    def forward(self, img: Tensor) -> Tensor:
        rgb = resize(to_rgb(img.to(self.weight.device)), self.input_size)
        return F.conv2d(rgb / 127.5 - 1, self.weight, stride=2, padding=1).relu().mean(dim=(2, 3))


def load_extractor(name: str, input_size: int, weights: Path) -> Extractor:
    """Extractor of params.yaml's `evaluate.extractor`, its weights in the folder `weights` (assets/).

    Public files are looked for in the places of weights.py, the user's own below the parent of assets/.

    Raises MetricError for an unknown name or unfit weights, FileNotFoundError where there are none.
    """
    if name == "efficientnet_lite0":
        return EfficientNetExtractor(weights / EFFICIENTNET_FILE, input_size)
    if name == "random":
        return RandomExtractor(input_size)
    if name == "inception":
        return load_inception(weights)
    if name == "vgg16":
        return load_vgg16(weights)
    if name.endswith(SUFFIXES):
        return FileExtractor(weights.parent / name, input_size)
    raise MetricError(
        f"evaluate.extractor is {name!r}; expected inception, vgg16, efficientnet_lite0, a .pt or .onnx file, or "
        "random, which needs no download."
    )


def load_weights(path: Path, what: str, remedy: str) -> dict[str, Tensor]:
    """Tensors of a safetensors file.

    Raises FileNotFoundError if there is none, MetricError for another or a damaged file.
    """
    check_regular(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no weights of {what} there. "
            f"Run `python -m pipelines.assets`, or {remedy}, which needs no download."
        )
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    except (SafetensorError, RuntimeError) as error:
        raise MetricError(
            f"{path}: not a safetensors file ({error}). Delete it and run `python -m pipelines.assets`."
        ) from None
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise unfit_weights(path, what, f"{name} holds values that are not finite")
    return tensors


def build(make: Callable[[], N], trial: Callable[[N, Tensor], object], path: Path, what: str) -> N:
    """The network that `make` builds of the weights of a file, tried on a small image [1, 3, H, W]

    Raises MetricError for weights that are not its own.
    """
    try:
        built = make()
        with torch.no_grad():
            trial(built, torch.zeros(1, 3, TRIED_ON, TRIED_ON))
    except KeyError as error:
        raise unfit_weights(path, what, f"no tensor {error}") from None
    except (RuntimeError, IndexError, ValueError) as error:  # shapes that do not fit together
        raise unfit_weights(path, what, next(iter(str(error).splitlines()), type(error).__name__)) from None
    return built


def unfit_weights(path: Path, what: str, reason: str) -> MetricError:
    """The error for a file of other weights than those of the network `what`"""
    return MetricError(
        f"{path}: {reason}, so these are not the weights of {what}. "
        "Delete the file and run `python -m pipelines.assets`."
    )
