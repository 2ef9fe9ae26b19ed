"""The networks that published metrics are defined with: FID's Inception, and VGG16 of precision and recall.

N images, H W image, F features. A TorchScript file runs in torch's interpreter of scripts, not in Python; its sha256
is checked before it is opened.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan.metrics.arrays import MetricError
from stylegan.metrics.extractors import inception
from stylegan.metrics.extractors.pixels import to_rgb
from stylegan.metrics.extractors.scripts import Script, device_of
from stylegan.metrics.extractors.weights import INCEPTION_SCRIPT, INCEPTION_STATE, VGG16_SCRIPT, find_weights

VGG16_INPUT_SIZE = 224
VGG16_FEATURES = 4096  # of the last hidden layer
OFFLINE = "set evaluate.extractor to efficientnet_lite0, whose numbers carry its name"


class ScriptedInception(nn.Module):
    """The TorchScript Inception, called as FIDInception is: float [N, 3, H, W] in [0, 255] -> [N, 2048]"""

    fc_weight: Tensor

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.script = Script(path)
        self.register_buffer("fc_weight", _output_weights(self.script.script.state_dict(), path))

    def forward(self, img: Tensor) -> Tensor:
        features: Tensor = self.script(img.to(torch.uint8), return_features=True)
        return features.flatten(1).float()

    def scores(self, features: Tensor) -> Tensor:
        return F.linear(features, self.fc_weight)


class InceptionExtractor(nn.Module):
    """pool3 of the Inception that FID, KID and Inception Score are defined with; it resizes images itself."""

    def __init__(self, network: inception.FIDInception | ScriptedInception, sha256: str) -> None:
        super().__init__()
        self.network = network
        self.name = "inception"
        self.sha256 = sha256
        self.input_size = inception.INPUT_SIZE
        self.num_features = inception.NUM_FEATURES
        self.resize_filter = "bilinear-tf1"

    @torch.no_grad()
    def forward(self, img: Tensor) -> Tensor:
        features: Tensor = self.network(to_rgb(img.to(device_of(self.network))))
        return features

    @torch.no_grad()
    def scores(self, features: Tensor) -> Tensor:
        """Features [N, 2048] -> class scores [N, 1008] without the output bias, as Inception Score takes them"""
        scores: Tensor = self.network.scores(features.to(device_of(self.network)))
        return scores.to(features.device)


class VGG16Extractor(nn.Module):
    """Last hidden layer of VGG16, which improved precision and recall are defined with; it resizes images itself."""

    def __init__(self, script: Script, sha256: str) -> None:
        super().__init__()
        self.network = script
        self.name = "vgg16"
        self.sha256 = sha256
        self.input_size = VGG16_INPUT_SIZE
        self.num_features = VGG16_FEATURES
        self.resize_filter = "as-in-file"

    @torch.no_grad()
    def forward(self, img: Tensor) -> Tensor:
        rgb = to_rgb(img.to(device_of(self.network))).to(torch.uint8)
        features: Tensor = self.network(rgb, return_features=True)
        return features.flatten(1).float()


def load_inception(assets: Path) -> InceptionExtractor:
    """FID's Inception from whichever public file is there. Raises FileNotFoundError, MetricError."""
    wanted = (INCEPTION_STATE, INCEPTION_SCRIPT)
    path, file = find_weights("FID's Inception", wanted, assets, remedy=OFFLINE)
    network = ScriptedInception(path) if file is INCEPTION_SCRIPT else inception_of_state(path)
    return InceptionExtractor(network, file.sha256)


def inception_of_state(path: Path) -> inception.FIDInception:
    """The network of a state dict, read without running what the file asks for. Raises MetricError for another one."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return inception.FIDInception(state)
    except Exception as error:  # whatever such bytes lead torch.load to
        reason = f"no tensor {error}" if isinstance(error, KeyError) else str(error).strip().splitlines()[0]
        raise MetricError(f"{path}: these are not the weights of FID's Inception ({reason}).") from None


def load_vgg16(assets: Path) -> VGG16Extractor:
    """VGG16 from the public file. Raises FileNotFoundError, MetricError."""
    path, file = find_weights("VGG16", (VGG16_SCRIPT,), assets, remedy=OFFLINE)
    return VGG16Extractor(Script(path), file.sha256)


def _output_weights(state: Mapping[str, Tensor], path: Path) -> Tensor:
    """The one matrix from 2048 features to 1008 classes  ->  [1008, 2048]"""
    shape = (inception.NUM_CLASSES, inception.NUM_FEATURES)
    found = [t if tuple(t.shape) == shape else t.T for t in state.values() if tuple(t.shape) in (shape, shape[::-1])]
    if len(found) != 1:
        raise MetricError(
            f"{path}: {len(found)} matrices of {shape[0]} classes by {shape[1]} features, expected one; this is not "
            "the public Inception."
        )
    return found[0].float().contiguous()
