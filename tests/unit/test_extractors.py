"""Extractors: what they make of images, and what they say about weights that do not fit."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from stylegan.files import sha256_of
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.extractors import EfficientNetExtractor, RandomExtractor, load_extractor
from stylegan.metrics.extractors.efficientnet import BATCH_NORM_EPS, STAGES, EfficientNetLite0, FoldedConv, same_padding
from stylegan.metrics.extractors.lpips import Lpips, load_lpips
from stylegan.metrics.extractors.pixels import resize, to_rgb

WIDTHS = (16, 24, 40, 80, 112, 192, 320)  # channels after each stage: Tan and Le 2019, Table 1
KERNELS = (3, 3, 5, 3, 5, 5, 3)


def random_efficientnet() -> dict[str, Tensor]:
    """Random weights of EfficientNet-Lite0's shapes, named as in the public file."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}

    def conv(name: str, norm: str, out_channels: int, in_channels: int, kernel: int) -> None:
        fan_in = in_channels * kernel**2
        weights[f"{name}.weight"] = torch.randn(out_channels, in_channels, kernel, kernel, generator=generator)
        weights[f"{name}.weight"] *= (2 / fan_in) ** 0.5
        weights[f"{norm}.weight"] = torch.rand(out_channels, generator=generator) + 0.5
        weights[f"{norm}.bias"] = torch.randn(out_channels, generator=generator) / 4
        weights[f"{norm}.running_mean"] = torch.randn(out_channels, generator=generator) / 4
        weights[f"{norm}.running_var"] = torch.rand(out_channels, generator=generator) + 0.5

    conv("_conv_stem", "_bn0", 32, 3, 3)
    block, channels = 0, 32
    for (num_blocks, _, expansion), width, kernel in zip(STAGES, WIDTHS, KERNELS, strict=True):
        for _ in range(num_blocks):
            prefix, hidden = f"_blocks.{block}.", channels * expansion
            if expansion > 1:
                conv(prefix + "_expand_conv", prefix + "_bn0", hidden, channels, 1)
            conv(prefix + "_depthwise_conv", prefix + "_bn1", hidden, 1, kernel)
            conv(prefix + "_project_conv", prefix + "_bn2", width, hidden, 1)
            block, channels = block + 1, width
    conv("_conv_head", "_bn1", 1280, 320, 1)
    weights["_fc.weight"], weights["_fc.bias"] = torch.randn(1000, 1280, generator=generator), torch.zeros(1000)
    return weights


def plain_efficientnet(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The same graph in fp64, unfolded, with TensorFlow's padding written as zeros around the image."""

    def layer(x: Tensor, conv: str, norm: str, stride: int, relu6: bool) -> Tensor:
        kernel = weights[f"{conv}.weight"].double()
        k, (h, w) = kernel.shape[-1], x.shape[2:]
        out_h, out_w = -(-h // stride), -(-w // stride)
        pad_h, pad_w = max((out_h - 1) * stride + k - h, 0), max((out_w - 1) * stride + k - w, 0)
        canvas = torch.zeros(*x.shape[:2], h + pad_h, w + pad_w, dtype=torch.float64)
        canvas[:, :, pad_h // 2 : pad_h // 2 + h, pad_w // 2 : pad_w // 2 + w] = x
        x = F.conv2d(canvas, kernel, stride=stride, groups=x.shape[1] // kernel.shape[1])
        mean, var, gain, shift = (
            weights[f"{norm}.{t}"].double()[:, None, None] for t in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / (var + 1e-3).sqrt() * gain + shift
        return x.clamp(0, 6) if relu6 else x

    x = layer(x.double(), "_conv_stem", "_bn0", 2, True)
    block = 0
    for num_blocks, stride, expansion in ((1, 1, 1), (2, 2, 6), (2, 2, 6), (3, 2, 6), (3, 1, 6), (4, 2, 6), (1, 1, 6)):
        for i in range(num_blocks):
            prefix, shortcut = f"_blocks.{block}.", x
            if expansion > 1:
                x = layer(x, prefix + "_expand_conv", prefix + "_bn0", 1, True)
            x = layer(x, prefix + "_depthwise_conv", prefix + "_bn1", 1 if i else stride, True)
            x = layer(x, prefix + "_project_conv", prefix + "_bn2", 1, False)
            x, block = (x + shortcut if i else x), block + 1
    return layer(x, "_conv_head", "_bn1", 1, True).mean(dim=(2, 3))


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return random_efficientnet()


def uint8_images(count: int = 2, channels: int = 3, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [(8, 3, 1, (1, 1)), (8, 3, 2, (0, 1)), (7, 3, 2, (1, 1)), (8, 5, 2, (1, 2)), (1, 3, 2, (1, 1)), (4, 1, 2, (0, 0))],
)
def test_same_padding_puts_the_odd_pixel_after(size: int, kernel: int, stride: int, expected: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride) == expected


@pytest.mark.parametrize("size", [7, 8])
def test_strided_convolution_sees_what_tensorflow_sees(size: int) -> None:
    norm = {"weight": torch.ones(1), "bias": torch.zeros(1), "running_mean": torch.zeros(1)}
    norm["running_var"] = torch.ones(1) - BATCH_NORM_EPS
    conv = FoldedConv(torch.ones(1, 1, 3, 3), norm, stride=2, depthwise=False, relu6=False)
    img = torch.arange(float(size * size)).reshape(1, 1, size, size)
    first = 0 if size == 8 else -1  # an even size is padded after only, so windows start at 0; an odd one at -1
    for row in range(4):
        for column in range(4):
            top, left = 2 * row + first, 2 * column + first
            window = img[0, 0, max(top, 0) : top + 3, max(left, 0) : left + 3]
            assert float(conv(img)[0, 0, row, column]) == pytest.approx(float(window.sum()), rel=1e-6)  # fp32


@pytest.mark.parametrize("size", [32, 45])
def test_network_is_the_plain_recomputation(weights: dict[str, Tensor], size: int) -> None:
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(2))
    features = EfficientNetLite0(weights)(x)
    expected = plain_efficientnet(weights, x)
    assert features.shape == (2, 1280)
    # 50 layers in fp32 against fp64
    torch.testing.assert_close(features.double(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_classifier_turns_features_into_a_thousand_logits(weights: dict[str, Tensor]) -> None:
    logits = EfficientNetLite0(weights).classify(torch.ones(2, 1280))
    torch.testing.assert_close(logits, torch.ones(2, 1280) @ weights["_fc.weight"].T, rtol=1e-4, atol=1e-4)  # fp32


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["efficientnet_lite0", "random"])
def test_every_number_of_channels_has_features(
    weights: dict[str, Tensor], tmp_path: Path, name: str, channels: int
) -> None:
    save_file(weights, tmp_path / "efficientnet_lite0.safetensors")
    extractor = load_extractor(name, 16, tmp_path)
    features = extractor(uint8_images(3, channels))
    assert features.shape == (3, extractor.num_features)
    assert features.dtype == torch.float32
    assert not features.requires_grad


@pytest.mark.parametrize("name", ["efficientnet_lite0", "random"])
def test_features_do_not_depend_on_the_batch(weights: dict[str, Tensor], tmp_path: Path, name: str) -> None:
    save_file(weights, tmp_path / "efficientnet_lite0.safetensors")
    extractor = load_extractor(name, 32, tmp_path)
    img = uint8_images(5)
    alone = torch.cat([extractor(one[None]) for one in img])
    scale = float(alone.abs().max())
    # fp32: convolution kernels may sum in another order for another batch
    torch.testing.assert_close(extractor(img), alone, rtol=1e-4, atol=1e-5 * scale)


def test_pixels_reach_the_network_as_it_was_trained(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(weights, tmp_path / "efficientnet_lite0.safetensors")
    extractor = EfficientNetExtractor(tmp_path / "efficientnet_lite0.safetensors", 8)
    img = uint8_images()
    torch.testing.assert_close(extractor(img), EfficientNetLite0(weights)((img.float() - 127) / 128))


def test_extractors_say_what_they_are(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "efficientnet_lite0.safetensors"
    save_file(weights, path)
    network = load_extractor("efficientnet_lite0", 24, tmp_path)
    assert (network.name, network.input_size, network.num_features) == ("efflite0", 24, 1280)
    assert network.sha256 == sha256_of(path)
    random = load_extractor("random", 24, tmp_path)
    assert (random.name, random.input_size, random.num_features) == ("random", 24, 64)
    assert random.sha256 == RandomExtractor(8).sha256  # of the weights, which do not depend on the input


def test_grey_is_repeated() -> None:
    img = uint8_images(channels=1)
    assert torch.equal(to_rgb(img), img.float().repeat(1, 3, 1, 1))


@pytest.mark.parametrize("channels", [2, 4])
def test_what_transparent_pixels_hide_does_not_count(channels: int) -> None:
    img = uint8_images(channels=channels)
    img[:, -1] = 0
    assert torch.equal(to_rgb(img), torch.full((2, 3, 8, 8), 255.0))
    img[:, -1] = 255
    assert torch.equal(to_rgb(img), img[:, :-1].float().expand(2, 3, 8, 8))


def test_resizing_keeps_a_flat_colour_and_its_size() -> None:
    flat = torch.full((1, 3, 7, 7), 100.0)
    for size in (3, 7, 20):
        torch.testing.assert_close(resize(flat, size), torch.full((1, 3, size, size), 100.0))


def test_shrinking_averages_instead_of_skipping_pixels() -> None:
    stripes = (torch.arange(16) % 4 == 0) * 200.0
    small = resize(stripes.expand(1, 3, 16, 16), 4)
    assert float((small - 50).abs().max()) < 30  # skipping would give 0 everywhere
    assert float(small.min()) > 20


@pytest.mark.parametrize(
    ("img", "what"),
    [
        (torch.zeros(1, 3, 8, 8), "torch.float32 [1, 3, 8, 8]"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "torch.uint8 [3, 8, 8]"),
    ],
)
def test_other_tensors_are_refused(img: Tensor, what: str) -> None:
    with pytest.raises(MetricError) as caught:
        RandomExtractor(8)(img)
    assert str(caught.value) == (
        f"an extractor got {what}; expected uint8 [N, C, H, W]. Convert generated images with stylegan.images.to_uint8."
    )


def test_unknown_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MetricError) as caught:
        load_extractor("resnet", 8, tmp_path)
    assert str(caught.value) == (
        "evaluate.extractor is 'resnet'; expected inception, vgg16, efficientnet_lite0, a .pt or .onnx file, or "
        "random, which needs no download."
    )
    with pytest.raises(MetricError) as caught:
        load_lpips("alex", tmp_path)
    assert str(caught.value) == (
        "evaluate.ppl_network is 'alex'; expected vgg16, lpips_vgg16, or random, which needs no download."
    )


@pytest.mark.parametrize(
    ("file", "what", "key"),
    [
        ("efficientnet_lite0.safetensors", "EfficientNet-Lite0", "extractor"),
        ("lpips_vgg16.safetensors", "LPIPS on VGG16", "ppl_network"),
    ],
)
def test_unfit_weight_files_are_refused_with_the_remedy(tmp_path: Path, file: str, what: str, key: str) -> None:
    def load() -> object:
        if key == "extractor":
            return load_extractor("efficientnet_lite0", 8, tmp_path)
        return load_lpips("lpips_vgg16", tmp_path)

    path = tmp_path / file
    with pytest.raises(FileNotFoundError) as absent:
        load()
    assert str(absent.value) == (
        f"{path}: no weights of {what} there. Run `python -m pipelines.assets`, or set evaluate.{key} to random, "
        "which needs no download."
    )

    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(MetricError) as damaged:
        load()
    assert str(damaged.value).startswith(f"{path}: not a safetensors file (")
    assert str(damaged.value).endswith("). Delete it and run `python -m pipelines.assets`.")

    save_file({"other": torch.zeros(1)}, path)
    first = "_conv_stem.weight" if key == "extractor" else "conv0.weight"
    with pytest.raises(MetricError) as other:
        load()
    if key == "extractor":
        first = "_bn0.weight"
    assert str(other.value) == (
        f"{path}: no tensor '{first}', so these are not the weights of {what}. "
        "Delete the file and run `python -m pipelines.assets`."
    )


def test_lpips_of_an_image_and_itself_is_zero_and_grows_with_noise(tmp_path: Path) -> None:
    lpips = load_lpips("random", tmp_path)
    img = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(3)) * 2 - 1
    noise = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    assert torch.equal(lpips(img, img), torch.zeros(3))
    assert bool((lpips(img, img + 0.01 * noise) < lpips(img, img + 0.3 * noise)).all())


@pytest.mark.parametrize(("size0", "size1"), [((1, 3, 8, 8), (1, 3, 8, 8)), ((1, 3, 16, 16), (2, 3, 16, 16))])
def test_lpips_refuses_images_that_do_not_fit(size0: tuple[int, ...], size1: tuple[int, ...], tmp_path: Path) -> None:
    lpips: Lpips = load_lpips("random", tmp_path)
    with pytest.raises(MetricError) as caught:
        lpips(torch.zeros(size0), torch.zeros(size1))
    assert str(caught.value) == (
        f"LPIPS got images {list(size0)} and {list(size1)}; expected two of [N, 3, H, W] with H and W at least 16, "
        "because VGG16 halves them four times."
    )


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (
            "_conv_stem.weight",
            torch.full((32, 3, 3, 3), torch.nan),
            "_conv_stem.weight holds values that are not finite",
        ),
        ("_conv_stem.weight", torch.zeros(32, 4, 3, 3), "expected input"),
        ("_blocks.3._project_conv.weight", torch.zeros(7), "so these are not the weights of EfficientNet-Lite0"),
        ("_conv_head.weight", torch.zeros(1281, 320, 1, 1), "so these are not the weights of EfficientNet-Lite0"),
        ("_fc.weight", torch.zeros(1000, 1281), "_fc.weight is [1000, 1281], expected [K, 1280]"),
    ],
)
def test_weights_that_make_no_features_are_refused_before_any_image(
    name: str, value: Tensor, reason: str, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    save_file(weights | {name: value}, tmp_path / "efficientnet_lite0.safetensors")
    with pytest.raises(MetricError) as caught:
        load_extractor("efficientnet_lite0", 32, tmp_path)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
