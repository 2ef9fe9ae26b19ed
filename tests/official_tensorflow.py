"""Makes files of the TensorFlow era from this project's networks: the inverse of what the reader has to do."""

from typing import Any

import numpy as np
from torch import Tensor

from stylegan.networks import Discriminator, Generator
from tests.official_files import SOURCE
from tests.pickle_writer import Built, Call, Name, New, dump

LAYERS = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB"}


def array(values: np.ndarray) -> Built:
    """A numpy.ndarray as protocols below 5 write it"""
    dtype = Built(Call(Name("numpy", "dtype"), ("f4", False, True)), (3, "<", None, None, None, -1, -1, 0))
    empty = Call(Name("numpy.core.multiarray", "_reconstruct"), (Name("numpy", "ndarray"), (0,), b"b"))
    values = np.array(values, np.float32, order="C")
    return Built(empty, (1, values.shape, dtype, False, values.tobytes()))


def dense(weight: Tensor) -> np.ndarray:
    return weight.numpy().T


def kernel(weight: Tensor, *, is_up: bool = False) -> np.ndarray:
    """O I H W -> H W I O, turned by half a turn for up-sampling convolutions"""
    hwio = weight.numpy().transpose(2, 3, 1, 0)
    return np.rot90(hwio, 2, axes=(0, 1)) if is_up else hwio


def network(
    name: str, options: dict[str, Any], variables: dict[str, np.ndarray], version: int, **components: Any
) -> Built:
    state = {
        "version": version, "name": name, "static_kwargs": options, "components": components,
        "build_module_src": SOURCE, "build_func_name": name,
        "variables": [(name, array(values)) for name, values in variables.items()],
    }  # fmt: skip
    return Built(New(Name("dnnlib.tflib.network", "Network"), {}), state)


def generator_network(G: Generator, version: int = 4, **changes: Any) -> Built:
    config, weights = G.config, G.state_dict()
    options = {
        "num_channels": G.img_channels, "resolution": G.img_resolution, "label_size": G.c_dim,
        "latent_size": config.z_dim, "dlatent_size": config.w_dim, "mapping_layers": config.mapping_layers,
        "mapping_fmaps": config.w_dim, "architecture": config.architecture, "fmap_base": config.channel_base // 2,
        "fmap_max": config.channel_max, "conv_clamp": config.conv_clamp, "randomize_noise": True,
    }  # fmt: skip
    mapping: dict[str, np.ndarray] = {}
    for index in range(config.mapping_layers):
        mapping[f"Dense{index}/weight"] = dense(weights[f"mapping.fc{index}.weight"])
        mapping[f"Dense{index}/bias"] = weights[f"mapping.fc{index}.bias"].numpy()
    if G.c_dim:
        mapping["LabelEmbed/weight"] = dense(weights["mapping.embed.weight"])
        mapping["LabelEmbed/bias"] = weights["mapping.embed.bias"].numpy()
    synthesis = {"4x4/Const/const": weights["synthesis.b4.const"].numpy()[None]}
    for res in G.synthesis.block_resolutions:
        for layer in ("conv0", "conv1", "torgb"):
            prefix = f"synthesis.b{res}.{layer}."
            if f"{prefix}weight" in weights:
                synthesis |= _layer(weights, prefix, res, layer)
        if f"synthesis.b{res}.skip.weight" in weights:
            synthesis[f"{res}x{res}/Skip/weight"] = kernel(weights[f"synthesis.b{res}.skip.weight"], is_up=True)
    return network(
        "G", options | changes, {"lod": np.zeros(()), "dlatent_avg": weights["mapping.w_avg"].numpy()},
        version, mapping=network("G_mapping", {}, mapping, 4), synthesis=network("G_synthesis", {}, synthesis, 4),
    )  # fmt: skip


def _layer(weights: dict[str, Tensor], prefix: str, res: int, layer: str) -> dict[str, np.ndarray]:
    name = f"{res}x{res}/{'Conv' if res == 4 and layer == 'conv1' else LAYERS[layer]}"
    made = {
        f"{name}/weight": kernel(weights[f"{prefix}weight"], is_up=layer == "conv0"),
        f"{name}/bias": weights[f"{prefix}bias"].numpy(),
        f"{name}/mod_weight": dense(weights[f"{prefix}affine.weight"]),
        f"{name}/mod_bias": weights[f"{prefix}affine.bias"].numpy() - 1,
    }
    if f"{prefix}noise_const" in weights:
        index = 2 * (res.bit_length() - 1) - (5 if layer == "conv0" else 4)  # noise0 at 4 x 4
        made[f"noise{index}"] = weights[f"{prefix}noise_const"].numpy()[None, None]
        made[f"{name}/noise_strength"] = weights[f"{prefix}noise_strength"].numpy()
    return made


def discriminator_network(D: Discriminator) -> Built:
    config, weights = D.config, D.state_dict()
    options = {
        "num_channels": D.img_channels, "resolution": D.img_resolution, "label_size": D.c_dim,
        "architecture": config.architecture, "fmap_base": config.channel_base // 2, "fmap_max": config.channel_max,
        "mapping_layers": config.mapping_layers, "mbstd_group_size": config.mbstd_group_size,
        "mbstd_num_features": config.mbstd_num_channels, "conv_clamp": config.conv_clamp,
    }  # fmt: skip
    names = {"fromrgb": "FromRGB", "conv0": "Conv0", "conv1": "Conv1_down", "skip": "Skip", "conv": "Conv"}
    variables: dict[str, np.ndarray] = {}
    for name, value in weights.items():
        parts = name.split(".")
        if parts[0] == "mapping":
            layer = "LabelEmbed" if parts[1] == "embed" else f"Mapping{parts[1][2:]}"
            variables[f"{layer}/{parts[2]}"] = value.numpy().T
        elif parts[1] in ("fc", "out"):
            variables[f"{'4x4/Dense0' if parts[1] == 'fc' else 'Output'}/{parts[2]}"] = value.numpy().T
        elif parts[-1] != "resample_filter":
            res = parts[0][1:]
            values = kernel(value) if parts[2] == "weight" else value.numpy()
            variables[f"{res}x{res}/{names[parts[1]]}/{parts[2]}"] = values
    return network("D", options, variables, 4)


def tensorflow_file(G: Generator, D: Discriminator, **changes: Any) -> bytes:
    """(G, D, Gs)"""
    Gs = generator_network(G, **changes)
    return dump((generator_network(G, **changes), discriminator_network(D), Gs))
