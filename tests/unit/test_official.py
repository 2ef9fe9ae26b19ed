"""Official files of every layout: what is in them is what comes out."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stylegan.official import OfficialFileError, OfficialNetworks, load_official
from tests.official_files import (
    PLAIN,
    SOURCE,
    Style,
    discriminator_record,
    easy_dict,
    generator_record,
    official,
    persistent,
    pipe_record,
    small_discriminator,
    small_generator,
    storage,
    tensor_record,
)
from tests.official_tensorflow import tensorflow_file
from tests.pickle_writer import Built, Call, Name, New, dump

Read = Callable[[bytes], OfficialNetworks]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """read(content) -> what load_official makes of a file with this content"""

    def write_and_read(content: bytes) -> OfficialNetworks:
        path = tmp_path / "network.pkl"
        path.write_bytes(content)
        return load_official(path)

    return write_and_read


def equal(left: nn.Module | None, right: nn.Module) -> bool:
    assert left is not None
    names = left.state_dict().keys()
    return names == right.state_dict().keys() and all(
        torch.equal(left.state_dict()[name], right.state_dict()[name]) for name in names
    )


def logits(D: nn.Module | None, c_dim: int = 0) -> Tensor:
    assert D is not None
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    made: Tensor = D(images, torch.eye(4, c_dim))
    return made


@pytest.mark.parametrize(
    "style",
    [
        PLAIN,
        Style(protocol=2),
        Style(protocol=3),
        Style(protocol=5),
        Style(parameter="_rebuild_parameter_with_state"),
        Style(numpy="numpy._core.multiarray"),
        Style(location="cuda:1"),
        Style(dtype="f8"),
        Style(num_fp16_res=4),
        Style(is_flat=True),
        Style(frozen=2),
        Style(with_attributes=False),
    ],
    ids=str,
)
def test_every_spelling_gives_the_same_networks(read: Read, style: Style) -> None:
    G, D = small_generator(c_dim=3), small_discriminator(c_dim=3)
    found = read(official(G, D, style))
    assert equal(found.G, G)
    assert equal(found.G_ema, G)
    assert equal(found.D, D)
    assert found.training_set == {"class_name": "training.dataset.ImageFolderDataset", "resolution": 16}
    assert found.augment_p == 0.25
    assert found.augment_pipe is not None
    assert found.augment_pipe.multipliers.lumaflip == 1
    assert found.augment_pipe.multipliers.hue == 0


def test_half_precision_weights_are_read_into_fp32(read: Read) -> None:
    found = read(official(G := small_generator(), small_discriminator(), Style(dtype="f2")))
    assert found.G is not None
    weight = found.G.synthesis.b8.conv0.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, G.synthesis.b8.conv0.weight.half().float())


@pytest.mark.parametrize(
    ("g", "d", "both"),
    [
        (
            {"architecture": "resnet", "mapping_layers": 0, "z_dim": 5},
            {"architecture": "skip", "mapping_layers": 0},
            {},
        ),
        ({"architecture": "orig", "use_noise": False}, {"architecture": "orig", "mbstd_group_size": 2}, {}),
        ({"mapping_layers": 5, "w_dim": 9}, {"mapping_layers": 4, "mbstd_num_channels": 2}, {"c_dim": 4}),
        ({"conv_clamp": None}, {"conv_clamp": None, "mbstd_num_channels": 0}, {"channels": 1, "resolution": 64}),
        ({"channel_max": 3}, {"channel_max": 8}, {"channels": 4, "resolution": 8}),
    ],
)
def test_every_architecture_is_recognised(
    read: Read, g: dict[str, Any], d: dict[str, Any], both: dict[str, Any]
) -> None:
    G, D = small_generator(**g, **both), small_discriminator(**d, **both)
    found = read(official(G, D))
    assert found.G is not None
    assert found.D is not None
    assert found.G.config == G.config
    assert found.D.config == D.config
    assert equal(found.G, G)
    assert equal(found.D, D)


def test_defaults_are_those_of_the_code_that_wrote_the_file(read: Read) -> None:
    G, D = small_generator(), small_discriminator()
    flat = read(official(G, D, Style(is_flat=True, with_attributes=False)))
    nested = read(official(small_generator(conv_clamp=None), D, Style(with_attributes=False)))
    assert flat.G is not None
    assert flat.D is not None
    assert nested.G is not None
    assert (flat.G.config.conv_clamp, flat.G.config.w_avg_beta, flat.D.config.conv_clamp) == (256, 0.998, 256)
    assert (nested.G.config.conv_clamp, nested.G.config.w_avg_beta) == (None, 0.995)


def test_a_group_without_limit_is_the_whole_batch(read: Read) -> None:
    D = small_discriminator()
    kwargs = {"epilogue_kwargs": {"mbstd_group_size": None}, "channel_base": 64, "channel_max": 6}
    content = discriminator_record(D).arguments[0]
    content["state"]["_init_kwargs"].items.update(kwargs)
    found = read(dump({"G_ema": generator_record(small_generator()), "D": _record("Discriminator", content)}))
    assert torch.equal(logits(found.D), logits(D))  # 4 images, groups of 4


def _record(class_name: str, meta: dict[str, Any]) -> Call:
    return persistent(class_name, meta["state"])


def test_stripped_files_hold_the_averaged_generator_alone(read: Read) -> None:
    found = read(dump({"G_ema": generator_record(G := small_generator())}))
    assert equal(found.G_ema, G)
    assert (found.G, found.D, found.augment_pipe, found.augment_p, found.training_set) == (None, None, None, None, {})


def foreign(state: dict[str, Any]) -> Built:
    """A module of torch's own, as nn.Module is pickled"""
    return Built(New(Name("torch.nn.modules.conv", "Conv2d"), {}), state)


def other_discriminator(extra: dict[str, Any]) -> Call:
    state = {"_init_kwargs": {"c_dim": 0}, "_parameters": {}, "_buffers": {}, "_modules": extra}
    return persistent("ProjectedDiscriminator", state)


@pytest.mark.parametrize(
    ("D", "line"),
    [
        (other_discriminator({}), "D: ProjectedDiscriminator is not the published Discriminator, left out (D.img_res"),
        (
            other_discriminator({"conv": foreign({"_parameters": {"weight": tensor_record(torch.ones(3), PLAIN)}})}),
            "D: ProjectedDiscriminator is not the published Discriminator, left out (",
        ),
        (foreign({"training": False}), "D: Conv2d is a class of torch, left out"),
    ],
    ids=["class", "class with modules of torch", "module of torch"],
)
def test_a_discriminator_of_an_unknown_class_is_left_out_and_the_generators_are_read(
    read: Read, D: Any, line: str
) -> None:
    G = small_generator()
    found = read(official(G, small_discriminator(), D=D))
    assert found.D is None
    assert equal(found.G, G)
    assert equal(found.G_ema, G)
    assert any(each.startswith(line) for each in found.report.splitlines())


def test_a_discriminator_of_another_name_that_fits_is_read(read: Read) -> None:
    D = small_discriminator()
    record = discriminator_record(D)
    record.arguments[0]["class_name"] = "MyDiscriminator"
    assert equal(read(official(small_generator(), D, D=record)).D, D)


def test_unknown_keys_are_ignored_and_reported(read: Read) -> None:
    report = read(official(small_generator(), small_discriminator(), fid50k=3.5, notes=["by hand"])).report
    assert "\nignored: fid50k, notes" in report


def test_arguments_that_are_not_read_are_reported(read: Read) -> None:
    report = read(dump({"G_ema": generator_record(small_generator(), attention=True)})).report
    assert "arguments left out: attention" in report


def test_none_for_a_network_is_no_network(read: Read) -> None:
    found = read(official(small_generator(), small_discriminator(), D=None, augment_pipe=None))
    assert found.D is None
    assert found.augment_pipe is None


def test_the_report_says_what_the_file_is(read: Read) -> None:
    report = read(official(small_generator(), small_discriminator(), Style(frozen=1, num_fp16_res=2))).report
    assert "pickle protocol 4" in report
    assert "layout: StyleGAN2-ADA, PyTorch" in report
    assert "G: Generator, skip, z_dim 6, w_dim 5, 3 x 16 x 16, c_dim 0" in report
    assert "7 tensors were frozen (Freeze-D)" in report
    assert "num_fp16_res 2 left out" in report
    (line,) = [line for line in report.splitlines() if line.startswith("module_src of ")]
    assert line.startswith("module_src of Generator (format 6), Discriminator (format 6), Generator (format 6)")
    digest = hashlib.sha256(SOURCE.encode()).hexdigest()
    assert line.endswith(f": not executed, {len(SOURCE)} bytes, sha256 {digest}")


def test_buffers_that_are_not_kept_are_left_out(read: Read) -> None:
    G = small_generator()
    record = generator_record(G)
    state = record.arguments[0]["state"]
    state["_buffers"] |= {"cache": tensor_record(torch.zeros(3), PLAIN)}
    state["_non_persistent_buffers_set"] = {"cache"}
    assert equal(read(dump({"G_ema": record})).G_ema, G)


def test_strengths_of_the_pipe_that_are_not_the_published_ones_are_reported(read: Read) -> None:
    pipe = pipe_record(noise_std=0.5)
    report = read(official(small_generator(), small_discriminator(), augment_pipe=pipe)).report
    assert "ignored strengths: noise_std 0.5 (here 0.1)" in report


def test_channels_last_weights_keep_their_places(read: Read) -> None:
    G = small_generator()
    G.synthesis.b8.conv1.weight.data = G.synthesis.b8.conv1.weight.data.contiguous(memory_format=torch.channels_last)
    assert equal(read(_strided(G)).G_ema, G)


def _strided(G: nn.Module) -> bytes:
    """Weights of b8.conv1 as H W rows of I within O, in the storage and in the strides"""
    record = generator_record(G)
    layer = record.arguments[0]["state"]["_modules"]["synthesis"].arguments[0]["state"]["_modules"]["b8"]
    parameters = layer.arguments[0]["state"]["_modules"]["conv1"].arguments[0]["state"]["_parameters"]
    weight = G.synthesis.b8.conv1.weight.detach()
    values = np.ascontiguousarray(weight.numpy().transpose(0, 2, 3, 1))
    layout = (storage(values, PLAIN), 0, tuple(weight.shape), weight.stride(), False, {})
    parameters["weight"] = Call(
        Name("torch._utils", "_rebuild_parameter"), (Call(Name("torch._utils", "_rebuild_tensor_v2"), layout), True, {})
    )
    return dump({"G_ema": record})


def test_loading_leaves_the_random_numbers_as_they_were(read: Read) -> None:
    content = official(small_generator(), small_discriminator())
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    read(content)
    assert torch.equal(torch.rand(3), expected)


def test_loaded_networks_can_be_trained(read: Read) -> None:
    found = read(official(small_generator(), small_discriminator()))
    assert all(parameter.requires_grad for net in (found.G, found.D) if net for parameter in net.parameters())


@pytest.mark.parametrize("c_dim", [0, 4])
@pytest.mark.parametrize(("g", "d"), [("skip", "resnet"), ("resnet", "skip"), ("orig", "orig")])
def test_tensorflow_files_are_converted(read: Read, c_dim: int, g: str, d: str) -> None:
    G = small_generator(architecture=g, c_dim=c_dim)
    D = small_discriminator(architecture=d, c_dim=c_dim, mapping_lr_multiplier=0.1, mapping_layers=0)
    found = read(tensorflow_file(G, D))
    assert found.G is not None
    assert found.G.config == G.config
    for name, tensor in G.state_dict().items():
        assert torch.allclose(found.G.state_dict()[name], tensor, atol=1e-6), name  # bias + 1 - 1 rounds
    assert equal(found.D, D)
    assert found.G_ema is not None
    assert found.training_set == {}
    assert "layout: TensorFlow" in found.report


def test_unconditional_networks_need_no_labels(read: Read) -> None:
    found = read(official(small_generator(), small_discriminator()))
    assert found.G is not None
    assert found.D is not None
    z = torch.randn(4, 6)
    assert torch.equal(found.G.mapping(z, None), found.G.mapping(z, torch.zeros(4, 0)))
    assert torch.equal(found.D(torch.ones(4, 3, 16, 16), None), found.D(torch.ones(4, 3, 16, 16), torch.zeros(4, 0)))


def test_conditional_networks_say_that_they_need_labels() -> None:
    with pytest.raises(ValueError, match=r"this network is conditional and needs labels c \[N, 4\]"):
        small_generator(c_dim=4).mapping(torch.randn(2, 6), None)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.pkl: no such file"):
        load_official(tmp_path / "gone.pkl")


def test_stylegan3_generators_are_refused_by_name(read: Read) -> None:
    synthesis = persistent("SynthesisNetwork", {"_modules": {"input": persistent("SynthesisInput", {})}})
    kwargs = {"z_dim": 6, "w_dim": 5, "c_dim": 0, "img_resolution": 16, "img_channels": 3}
    G = persistent("Generator", {"_modules": {"synthesis": synthesis}, "_init_kwargs": easy_dict(kwargs)})
    with pytest.raises(OfficialFileError, match="G_ema is an alias-free StyleGAN3 generator"):
        read(dump({"G_ema": G}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 3}, "G is of version 3 of the TensorFlow format; StyleGAN2 has 4 or later"),
        ({"fmap_decay": 2}, "fmap_decay and fmap_min other than 1 are not supported"),
        ({"mapping_nonlinearity": "relu"}, "G.mapping_nonlinearity is relu; known: lrelu"),
    ],
)
def test_earlier_tensorflow_networks_are_refused(read: Read, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OfficialFileError, match=message):
        read(tensorflow_file(small_generator(), small_discriminator(mapping_layers=0), **changes))
