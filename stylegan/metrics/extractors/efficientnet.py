"""EfficientNet-Lite0 (Tan and Le 2019; Lite: no squeeze-excitation, ReLU6) with batch norms folded into convolutions.

Owns the graph only; where weights come from and how images reach it is in extractors.py.
N batch, C/I/O channels/in/out, H W image, k kernel, F features.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_FEATURES = 1280
NUM_CLASSES = 1000
# (blocks, stride of the first, expansion): Tan and Le 2019, Table 1; widths and kernels come with the weights.
STAGES = ((1, 1, 1), (2, 2, 6), (2, 2, 6), (3, 2, 6), (3, 1, 6), (4, 2, 6), (1, 1, 6))
BATCH_NORM_EPS = 1e-3  # TensorFlow's, with which the weights were trained


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME rule: pixels to add (before, after) so that ceil(size / stride) come out.

    With a stride of 2 and an even size the odd pixel goes after, unlike torch's symmetric padding.
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class FoldedConv(nn.Module):
    """Convolution with SAME padding, its batch norm folded in, optionally ReLU6.  [N, I, H, W] -> [N, O, H', W']"""

    weight: Tensor
    bias: Tensor

    def __init__(
        self, weight: Tensor, norm: Mapping[str, Tensor], *, stride: int, depthwise: bool, relu6: bool
    ) -> None:
        super().__init__()
        # (conv(x, w) - mean) * gain + shift = conv(x, w * gain) + (shift - mean * gain); in fp64, rounded once.
        gain = norm["weight"].double() / (norm["running_var"].double() + BATCH_NORM_EPS).sqrt()
        bias = norm["bias"].double() - norm["running_mean"].double() * gain
        folded = (weight.double() * gain[:, None, None, None]).float().contiguous(memory_format=torch.channels_last)
        self.register_buffer("weight", folded)
        self.register_buffer("bias", bias.float())
        self.stride, self.groups, self.relu6 = stride, weight.shape[0] if depthwise else 1, relu6

    def forward(self, x: Tensor) -> Tensor:
        k = self.weight.shape[-1]
        rows, columns = (same_padding(size, k, self.stride) for size in x.shape[2:])
        if rows[0] == rows[1] and columns[0] == columns[1]:
            x = F.conv2d(x, self.weight, self.bias, self.stride, (rows[0], columns[0]), groups=self.groups)
        else:
            x = F.conv2d(F.pad(x, (*columns, *rows)), self.weight, self.bias, self.stride, groups=self.groups)
        return x.clamp_(0, 6) if self.relu6 else x


class InvertedBottleneck(nn.Module):
    """Expand, filter each channel, project; added to the input where shapes agree (Sandler et al. 2018, Sec. 3.4)."""

    def __init__(self, weights: Mapping[str, Tensor], prefix: str, *, stride: int, expansion: int) -> None:
        super().__init__()
        layers = [_conv(weights, prefix, "_expand_conv", "_bn0")] if expansion > 1 else []
        layers += [
            _conv(weights, prefix, "_depthwise_conv", "_bn1", stride=stride, depthwise=True),
            _conv(weights, prefix, "_project_conv", "_bn2", relu6=False),
        ]
        self.layers = nn.Sequential(*layers)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out.add_(x) if self.stride == 1 and out.shape == x.shape else out


class EfficientNetLite0(nn.Module):
    """[N, 3, H, W] scaled as (rgb - 127) / 128 -> features [N, 1280], the mean over the head's H x W.

    Raises KeyError if weights lack a layer, ValueError for another classifier.
    """

    fc_weight: Tensor
    fc_bias: Tensor

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.stem = _conv(weights, "", "_conv_stem", "_bn0", stride=2)
        blocks: list[nn.Module] = []
        for num_blocks, stride, expansion in STAGES:
            for i in range(num_blocks):
                prefix = f"_blocks.{len(blocks)}."
                blocks.append(InvertedBottleneck(weights, prefix, stride=1 if i else stride, expansion=expansion))
        self.blocks = nn.Sequential(*blocks)
        self.head = _conv(weights, "", "_conv_head", "_bn1")
        if weights["_fc.weight"].shape[1:] != (NUM_FEATURES,):
            raise ValueError(f"_fc.weight is {list(weights['_fc.weight'].shape)}, expected [K, {NUM_FEATURES}]")
        self.register_buffer("fc_weight", weights["_fc.weight"])
        self.register_buffer("fc_bias", weights["_fc.bias"])

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.head(self.blocks(self.stem(x))).mean(dim=(2, 3))
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Features [N, 1280] -> ImageNet logits [N, 1000], to check that the weights do what they were trained for"""
        return F.linear(features, self.fc_weight, self.fc_bias)


def _conv(
    weights: Mapping[str, Tensor],
    prefix: str,
    conv: str,
    norm: str,
    *,
    stride: int = 1,
    depthwise: bool = False,
    relu6: bool = True,
) -> FoldedConv:
    terms = {term: weights[f"{prefix}{norm}.{term}"] for term in ("weight", "bias", "running_mean", "running_var")}
    return FoldedConv(weights[f"{prefix}{conv}.weight"], terms, stride=stride, depthwise=depthwise, relu6=relu6)
