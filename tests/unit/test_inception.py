"""FID's Inception: its layers against a table of the 2015-12-05 graph, and its pixels against TensorFlow's rule."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.metrics.extractors.inception import FIDInception, FoldedConv, layer_names, resize_tf1
from tests.inception_table import STEM, TABLE, random_inception

# What each block's pooled branch does: kind of pooling, stride. TF's averages leave the padding out.
POOLING = dict.fromkeys(("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"), "mean")
POOLING |= {"Mixed_6a": "halve", "Mixed_7a": "halve", "Mixed_7b": "mean", "Mixed_7c": "max"}
BRANCHES = {  # chains of each block, in the order in which their maps are concatenated; the pooled one is last
    "Mixed_5": ("branch1x1", "branch5x5_1 branch5x5_2", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3"),
    "Mixed_6a": ("branch3x3", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3"),
    "Mixed_6": (
        "branch1x1",
        "branch7x7_1 branch7x7_2 branch7x7_3",
        "branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5",
    ),
    "Mixed_7a": ("branch3x3_1 branch3x3_2", "branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4"),
    "Mixed_7": (
        "branch1x1",
        "branch3x3_1 branch3x3_2a",
        "branch3x3_1 branch3x3_2b",
        "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a",
        "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3b",
    ),
}


def plain_inception(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The table in fp64, unfolded, with averages over the pixels of each window that exist"""
    table = {name: (stride, padding) for name, _, _, _, stride, padding, _ in TABLE}

    def layer(x: Tensor, name: str) -> Tensor:
        stride, padding = table[name]
        x = F.conv2d(x, weights[f"{name}.conv.weight"].double(), None, stride, padding)
        mean, var, gain, shift = (
            weights[f"{name}.bn.{term}"].double()[:, None, None]
            for term in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (var + 1e-3).sqrt() * gain + shift).clamp_min(0)

    def pooled(x: Tensor, block: str) -> Tensor:
        if POOLING[block] == "halve":
            return F.max_pool2d(x, 3, 2)
        if POOLING[block] == "max":
            return layer(F.max_pool2d(x, 3, 1, 1), f"{block}.branch_pool")
        window = torch.ones(x.shape[1], 1, 3, 3, dtype=x.dtype)
        total = F.conv2d(x, window, padding=1, groups=x.shape[1])
        count = F.conv2d(torch.ones_like(x[:1, :1]), window[:1], padding=1)
        return layer(total / count, f"{block}.branch_pool")

    x = x.double()
    for name, *_ in STEM:
        x = layer(x, name)
        if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
            x = F.max_pool2d(x, 3, 2)
    for block in sorted(POOLING):
        maps = []
        for chain in BRANCHES.get(block) or BRANCHES[block[:-1]]:
            y = x
            for name in chain.split():
                y = layer(y, f"{block}.{name}")
            maps.append(y)
        x = torch.cat([*maps, pooled(x, block)], dim=1)
    return x.mean(dim=(2, 3))


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return random_inception()


@pytest.fixture(scope="module")
def network(weights: dict[str, Tensor]) -> FIDInception:
    return FIDInception(weights)


def test_the_table_names_every_layer_of_the_public_file() -> None:
    assert layer_names() == [name for name, *_ in TABLE]
    assert len(TABLE) == 94


def test_every_layer_has_the_published_stride_padding_and_output(network: FIDInception) -> None:
    seen: dict[str, tuple] = {}

    def note(layer: torch.nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        assert isinstance(layer, FoldedConv)
        weight = layer.weight
        found = (weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), layer.stride, layer.padding)
        seen[names[layer]] = (*found, output.shape[2])
        assert output.shape[2] == output.shape[3]
        assert inputs[0].shape[1] == weight.shape[1]

    names = {layer: name.replace(":", ".") for name, layer in network.layers.items()}
    hooks = [layer.register_forward_hook(note) for layer in names]
    try:
        features = network(torch.zeros(1, 3, 32, 32))
    finally:
        for hook in hooks:
            hook.remove()
    assert features.shape == (1, 2048)
    assert {name: tuple(row) for name, *row in TABLE} == seen


def test_features_are_the_plain_recomputation(weights: dict[str, Tensor], network: FIDInception) -> None:
    # 107 pixels, so that every map has an edge and an inside; with random weights no branch is silent.
    x = torch.randn(1, 3, 107, 107, generator=torch.Generator().manual_seed(1))
    expected = plain_inception(weights, x)
    # 94 layers in fp32 against fp64
    torch.testing.assert_close(
        network.features(x).double(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
    )


@pytest.mark.parametrize(("old", "new"), [(2, 5), (5, 2), (32, 299), (7, 7)])
def test_resizing_reads_pixels_where_tensorflow_1_does(old: int, new: int) -> None:
    img = torch.rand(1, 1, old, old, generator=torch.Generator().manual_seed(2)) * 255
    result = resize_tf1(img, new)[0, 0]
    for row in range(0, new, max(new // 7, 1)):
        for column in range(0, new, max(new // 7, 1)):
            y, x = row * old / new, column * old / new
            top, left = math.floor(y), math.floor(x)
            bottom, right = min(top + 1, old - 1), min(left + 1, old - 1)
            upper = float(img[0, 0, top, left]) * (1 - x + left) + float(img[0, 0, top, right]) * (x - left)
            lower = float(img[0, 0, bottom, left]) * (1 - x + left) + float(img[0, 0, bottom, right]) * (x - left)
            expected = upper * (1 - y + top) + lower * (y - top)
            assert float(result[row, column]) == pytest.approx(expected, abs=1e-3)  # fp32 of values up to 255


def test_resizing_to_the_same_size_changes_nothing() -> None:
    img = torch.rand(1, 3, 9, 9)
    assert torch.equal(resize_tf1(img, 9), img)


def test_pixels_are_scaled_around_128(network: FIDInception) -> None:
    img = torch.randint(0, 256, (1, 3, 299, 299), generator=torch.Generator().manual_seed(3)).float()
    torch.testing.assert_close(network(img), network.features((img - 128) / 128))


def test_probabilities_leave_the_output_bias_out(weights: dict[str, Tensor], network: FIDInception) -> None:
    features = torch.rand(3, 2048, generator=torch.Generator().manual_seed(4))
    logits = features.double() @ weights["fc.weight"].double().T
    expected = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    torch.testing.assert_close(network.scores(features).softmax(dim=1).double(), expected, rtol=1e-4, atol=1e-8)  # fp32


def test_another_classifier_is_refused(weights: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"^fc\.weight is \[1000, 2048\]; expected \[1008, 2048\], as in the graph of"):
        FIDInception(weights | {"fc.weight": torch.zeros(1000, 2048)})
