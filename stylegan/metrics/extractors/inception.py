"""Inception-v3 (Szegedy et al. 2016) as Google's graph of 2015-12-05 has it, the network that FID is defined with.

That graph differs from the Inception-v3 of today's libraries: averages of pooling leave the padding out, the last block
pools by maximum, images are resized without half-pixel centres, and there are 1008 classes.
Owns the graph only; where weights come from is in weights.py. Batch norms are folded into convolutions.
N batch, C/I/O channels/in/out, H W image, kh kw kernel, F features.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INPUT_SIZE = 299
NUM_FEATURES = 2048
NUM_CLASSES = 1008
BATCH_NORM_EPS = 1e-3
# Convolutions of stride 2 and two of stride 1 see only whole windows (TensorFlow's VALID); the others keep the size.
HALVING = {
    "Conv2d_1a_3x3",
    "Mixed_6a.branch3x3",
    "Mixed_6a.branch3x3dbl_3",
    "Mixed_7a.branch3x3_2",
    "Mixed_7a.branch7x7x3_4",
}
VALID = HALVING | {"Conv2d_2a_3x3", "Conv2d_4a_3x3"}
STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
# Branches of each kind of block, as chains of layers; the pooled branch is last. Szegedy et al. 2016, Fig. 5, 10, 6, 7.
A = (("branch1x1",), ("branch5x5_1", "branch5x5_2"), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"))
B = (("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"))
C = (
    ("branch1x1",),
    ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
    ("branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"),
)
D = (("branch3x3_1", "branch3x3_2"), ("branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"))
E = (
    ("branch1x1",),
    ("branch3x3_1", "branch3x3_2a"),
    ("branch3x3_1", "branch3x3_2b"),
    ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3a"),
    ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3b"),
)
# Name, branches, and how the last branch pools: average or maximum at the same size and a convolution, or halving.
BLOCKS = (
    *((f"Mixed_5{i}", A, "average") for i in "bcd"),
    ("Mixed_6a", B, "halve"),
    *((f"Mixed_6{i}", C, "average") for i in "bcde"),
    ("Mixed_7a", D, "halve"),
    ("Mixed_7b", E, "average"),
    ("Mixed_7c", E, "maximum"),
)


def layer_names() -> list[str]:
    """The 94 convolutions, named as in the public weight files"""
    names = list(STEM)
    for block, branches, pooling in BLOCKS:
        layers = dict.fromkeys(layer for branch in branches for layer in branch)  # once each, in order
        names += [f"{block}.{layer}" for layer in layers]
        names += [] if pooling == "halve" else [f"{block}.branch_pool"]
    return names


def resize_tf1(img: Tensor, size: int) -> Tensor:
    """float [N, C, H, W] -> [N, C, size, size], as TensorFlow 1's resize_bilinear with align_corners=False

    Output pixel i is read at i * H / size, not at the centre of its area, and shrinking does not filter.
    """
    top, bottom, y = _neighbours(img.shape[2], size, img.device)
    left, right, x = _neighbours(img.shape[3], size, img.device)
    upper, lower = img[:, :, top], img[:, :, bottom]
    upper = upper[..., left].lerp(upper[..., right], x)
    lower = lower[..., left].lerp(lower[..., right], x)
    return upper.lerp(lower, y[:, None])


def _neighbours(old: int, new: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Indices before and after the position of each new pixel, and how far it is between them  ->  [new] each"""
    position = torch.arange(new, device=device, dtype=torch.float32) * (old / new)
    before = position.long().clamp_max(old - 1)
    return before, (before + 1).clamp_max(old - 1), position - before


class FoldedConv(nn.Module):
    """Convolution, batch norm and ReLU.  [N, I, H, W] -> [N, O, H', W']"""

    weight: Tensor
    bias: Tensor

    def __init__(self, weights: Mapping[str, Tensor], name: str) -> None:
        super().__init__()
        norm = {term: weights[f"{name}.bn.{term}"].double() for term in ("weight", "bias", "running_mean")}
        gain = norm["weight"] / (weights[f"{name}.bn.running_var"].double() + BATCH_NORM_EPS).sqrt()
        folded = weights[f"{name}.conv.weight"].double() * gain[:, None, None, None]  # in fp64, rounded once
        self.register_buffer("weight", folded.float().contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", (norm["bias"] - norm["running_mean"] * gain).float())
        self.stride = 2 if name in HALVING else 1
        kh, kw = self.weight.shape[2:]
        self.padding = (0, 0) if name in VALID else (kh // 2, kw // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding).relu_()


class FIDInception(nn.Module):
    """uint8-valued float [N, 3, H, W] in [0, 255], of any size -> pool3 features [N, 2048].

    weights: <layer>.conv.weight [O, I, kh, kw], <layer>.bn.{weight,bias,running_mean,running_var} [O] of every
    layer_names(), fc.weight [1008, 2048]. Raises KeyError if one is missing, ValueError for another classifier.
    """

    fc_weight: Tensor

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        # Names of submodules may not hold dots.
        self.layers = nn.ModuleDict({_key(name): FoldedConv(weights, name) for name in layer_names()})
        fc_weight = weights["fc.weight"]
        if tuple(fc_weight.shape) != (NUM_CLASSES, NUM_FEATURES):
            raise ValueError(
                f"fc.weight is {list(fc_weight.shape)}; expected [{NUM_CLASSES}, {NUM_FEATURES}], as in the graph of "
                "2015-12-05"
            )
        self.register_buffer("fc_weight", fc_weight.float())

    def forward(self, img: Tensor) -> Tensor:
        x = (resize_tf1(img, INPUT_SIZE) - 128) / 128
        return self.features(x.contiguous(memory_format=torch.channels_last))

    def features(self, x: Tensor) -> Tensor:
        """Scaled pixels [N, 3, H, W] of at least 75 by 75 -> pool3 features [N, 2048]"""
        x = self._chain(x, STEM[:3])
        x = self._chain(F.max_pool2d(x, 3, 2), STEM[3:])
        x = F.max_pool2d(x, 3, 2)
        for block, branches, pooling in BLOCKS:
            maps = [self._chain(x, branch, block) for branch in branches]
            x = torch.cat([*maps, self._pooled(x, block, pooling)], dim=1)
        return x.mean(dim=(2, 3))

    def scores(self, features: Tensor) -> Tensor:
        """Features [N, 2048] -> class scores [N, 1008] before the softmax, without the output bias"""
        return F.linear(features, self.fc_weight)

    def _chain(self, x: Tensor, names: tuple[str, ...], block: str = "") -> Tensor:
        for name in names:
            x = self.layers[_key(f"{block}.{name}" if block else name)](x)
        return x

    def _pooled(self, x: Tensor, block: str, pooling: str) -> Tensor:
        if pooling == "halve":
            return F.max_pool2d(x, 3, 2)
        if pooling == "average":
            x = F.avg_pool2d(x, 3, 1, padding=1, count_include_pad=False)
        else:
            x = F.max_pool2d(x, 3, 1, padding=1)
        return self._chain(x, ("branch_pool",), block)


def _key(name: str) -> str:
    return name.replace(".", ":")
