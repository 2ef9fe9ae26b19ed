"""Makes official-layout files of every kind from this project's networks (layout: the fields that real files have)."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from stylegan.config.sections import DiscriminatorConfig, GeneratorConfig
from stylegan.networks import Discriminator, Generator
from tests.pickle_writer import Built, Call, Name, New, Persistent, dump

STORAGE_TYPES = {"f4": "FloatStorage", "f2": "HalfStorage", "f8": "DoubleStorage", "i8": "LongStorage"}
SOURCE = "raise SystemExit('the source in a network file was executed')\n"
MULTIPLIERS = ("xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac", "brightness", "contrast", "lumaflip")


Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Style:
    """How a version of torch and NumPy, and a training code, spell the same content"""

    protocol: int = 4
    numpy: str = "numpy.core.multiarray"
    parameter: str = "_rebuild_parameter"
    dtype: str = "f4"
    location: str = "cpu"
    is_flat: bool = False  # StyleGAN3's training code
    frozen: int = 0  # resolutions of D, from 16 down, whose weights are buffers
    num_fp16_res: int = 0
    with_attributes: bool = True


PLAIN = Style()


def small_generator(*, c_dim: int = 0, channels: int = 3, resolution: int = 16, **changes: Any) -> Generator:
    config = GeneratorConfig(
        style_block="demodulation",
        **{
            "architecture": "skip", "z_dim": 6, "w_dim": 5, "mapping_layers": 2, "mapping_lr_multiplier": 0.01,
            "channel_base": 64, "channel_max": 6, "conv_clamp": 256.0, "w_avg_beta": 0.995, "use_noise": True,
        }
        | changes
    )  # fmt: skip
    G = Generator(config, img_resolution=resolution, img_channels=channels, c_dim=c_dim)
    return randomized(G)


def small_discriminator(*, c_dim: int = 0, channels: int = 3, resolution: int = 16, **changes: Any) -> Discriminator:
    config = DiscriminatorConfig(
        **{
            "architecture": "resnet", "mapping_layers": 2, "mapping_lr_multiplier": 0.01, "channel_base": 64,
            "channel_max": 6, "conv_clamp": 256.0, "mbstd_group_size": 4, "mbstd_num_channels": 1,
        }
        | changes
    )  # fmt: skip
    return randomized(Discriminator(config, img_resolution=resolution, img_channels=channels, c_dim=c_dim))


def randomized(net: Net) -> Net:
    """Every bias and noise strength other than 0, so that a mistake in one is seen"""
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if not name.endswith("resample_filter"):
                tensor.add_(torch.randn(tensor.shape) * 0.3)
    return net.eval()


def storage(values: np.ndarray, style: Style, *, numel: int | None = None, content: bytes | None = None) -> Call:
    """A torch.save stream of the format before zips, as storages are pickled"""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    numel = values.size if numel is None else numel
    kind = Name("torch", STORAGE_TYPES[values.dtype.str[1:]])
    root = Persistent(("storage", kind, "94811040219984", style.location, numel, None))
    pickles = [119547037146038801333356, 1001, system, root, ["94811040219984"]]
    stream = b"".join(dump(value, 2) for value in pickles) + struct.pack("<q", numel)
    return Call(
        Name("torch.storage", "_load_from_bytes"), (stream + (values.tobytes() if content is None else content),)
    )


def tensor_record(tensor: Tensor, style: Style) -> Call:
    values = tensor.detach().numpy().astype(style.dtype)
    strides = tuple(step // values.itemsize for step in values.strides)
    layout = (storage(values, style), 0, values.shape, strides, False, ordered_dict())
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), layout)


def ordered_dict() -> Call:
    return Call(Name("collections", "OrderedDict"), ())


def parameter_record(tensor: Tensor, style: Style) -> Call:
    state = ({},) if style.parameter.endswith("state") else ()
    return Call(Name("torch._utils", style.parameter), (tensor_record(tensor, style), False, ordered_dict(), *state))


def scalar(value: float, style: Style) -> Call:
    dtype = Built(Call(Name("numpy", "dtype"), ("f8", False, True)), (3, "<", None, None, None, -1, -1, 0))
    return Call(Name(style.numpy, "scalar"), (dtype, struct.pack("<d", value)))


def persistent(class_name: str, state: dict[str, Any]) -> Call:
    meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": class_name, "state": state}
    return Call(Name("torch_utils.persistence", "_reconstruct_persistent_obj"), (meta,))


def module(net: nn.Module, style: Style, attributes: Callable[[str], dict[str, Any]], path: str = "") -> Call:
    """A module and all below it; attributes(path) are its plain ones"""
    is_frozen = any(path.startswith(f"b{2**level}.") for level in range(4, 4 - style.frozen, -1))
    held = dict(net.named_parameters(recurse=False))
    buffers = {name: tensor_record(value, style) for name, value in net.named_buffers(recurse=False)}
    if is_frozen:
        buffers |= {name: tensor_record(value, style) for name, value in held.items()}
        held = {}
    state = {
        "training": False,
        "_parameters": {name: parameter_record(value, style) for name, value in held.items()},
        "_buffers": buffers,
        "_non_persistent_buffers_set": set(),
        "_forward_hooks": ordered_dict(),
        "_modules": {n: module(child, style, attributes, f"{path}{n}.") for n, child in net.named_children()},
        "_init_args": (),
        "weight_gain": scalar(0.1, style),
    }
    return persistent(type(net).__name__, state | attributes(path))


def generator_record(G: Generator, style: Style = PLAIN, **extra: Any) -> Call:
    config = G.config
    synthesis = {
        "channel_base": config.channel_base, "channel_max": config.channel_max, "num_fp16_res": style.num_fp16_res,
        "architecture": config.architecture,
    }  # fmt: skip
    if not style.is_flat:
        synthesis["conv_clamp"] = config.conv_clamp
    kwargs: dict[str, Any] = {
        "z_dim": config.z_dim, "c_dim": G.c_dim, "w_dim": config.w_dim, "img_resolution": G.img_resolution,
        "img_channels": G.img_channels, "mapping_kwargs": easy_dict({"num_layers": config.mapping_layers}),
    }  # fmt: skip
    kwargs |= synthesis if style.is_flat else {"synthesis_kwargs": easy_dict(synthesis)}

    def attributes(path: str) -> dict[str, Any]:
        if path == "":
            return {"_init_kwargs": easy_dict(kwargs | extra)}
        if path == "mapping." and style.with_attributes:
            return {"w_avg_beta": config.w_avg_beta}
        return {"use_noise": config.use_noise} if path.endswith("conv1.") else {}

    return module(G, style, attributes)


def discriminator_record(D: Discriminator, style: Style = PLAIN) -> Call:
    config = D.config
    kwargs: dict[str, Any] = {
        "c_dim": D.c_dim, "img_resolution": D.img_resolution, "img_channels": D.img_channels,
        "architecture": config.architecture, "channel_base": config.channel_base, "channel_max": config.channel_max,
        "num_fp16_res": style.num_fp16_res, "mapping_kwargs": {"num_layers": config.mapping_layers},
        "epilogue_kwargs": {
            "mbstd_group_size": config.mbstd_group_size, "mbstd_num_channels": config.mbstd_num_channels,
        },
    }  # fmt: skip
    if not style.is_flat:
        kwargs["conv_clamp"] = config.conv_clamp
    return module(D, style, lambda path: {"_init_kwargs": easy_dict(kwargs)} if path == "" else {})


def easy_dict(items: dict[str, Any]) -> New:
    return New(Name("dnnlib.util", "EasyDict"), items)


def pipe_record(style: Style = PLAIN, p: float = 0.25, **changes: Any) -> Call:
    state = {
        "_parameters": {}, "_buffers": {"p": tensor_record(torch.tensor(p), style)}, "_modules": {},
        "_init_kwargs": {name: 1 for name in MULTIPLIERS} | changes,
    }  # fmt: skip
    return persistent("AugmentPipe", state)


def official(G: Generator, D: Discriminator, style: Style = PLAIN, /, **more: Any) -> bytes:
    """A whole file with equal G and G_ema"""
    root = {
        "training_set_kwargs": easy_dict({"class_name": "training.dataset.ImageFolderDataset", "resolution": 16}),
        "G": generator_record(G, style),
        "D": discriminator_record(D, style),
        "G_ema": generator_record(G, style),
        "augment_pipe": pipe_record(style),
    }
    return dump(root | more, style.protocol)
