"""Files of networks that were damaged or made by hand are refused in one line, before anything is built from them."""

import json
import os
import random
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.params import Params
from stylegan.checkpoint import (
    load_checkpoint,
    load_generator,
    load_networks,
    read_class_names,
    save_checkpoint,
    save_generator,
    save_networks,
)
from stylegan.state import TrainState
from stylegan.tensor_files import CheckpointError, open_tensors

READERS = (load_generator, load_networks, read_class_names)


@pytest.fixture(scope="module")
def state(tiny_params: Params) -> TrainState:
    return TrainState.create(tiny_params, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))


@pytest.fixture
def generator(state: TrainState, tmp_path: Path) -> Path:
    save_generator(state.G_ema, tmp_path / "generator.safetensors")
    return tmp_path / "generator.safetensors"


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, str]], object]) -> None:
    """Change tensors and metadata as someone would who makes a file by hand, so without a checksum"""
    tensors, metadata = load_file(path), dict(open_tensors(path).metadata)
    del metadata["sha256"]
    change(tensors, metadata)
    save_file(tensors, path, metadata)


def put(key: str, where: str, value: Any) -> Callable[[dict[str, torch.Tensor], dict[str, str]], object]:
    def change(_: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        values = json.loads(metadata[key])
        values[where] = value
        metadata[key] = json.dumps(values)

    return change


@pytest.mark.parametrize(
    ("key", "where", "value"),
    [
        ("config", "mapping_layers", 10**9),
        ("config", "mapping_layers", 63),
        ("config", "z_dim", 2**20),
        ("config", "w_dim", 2**40),
        ("config", "w_dim", "8"),
        ("config", "channel_max", 2**20),
        ("config", "channel_base", True),
        ("config", "conv_clamp", float("nan")),
        ("config", "conv_clamp", 1e308),
        ("config", "mapping_lr_multiplier", 1e39),
        ("config", "unheard_of", 1),
        ("config", "architecture", ["skip"]),
        ("generator", "img_resolution", 2**30),
        ("generator", "img_resolution", 4096),
        ("generator", "img_resolution", -16),
        ("generator", "img_resolution", [16, 16, 16]),
        ("generator", "img_resolution", "16"),
        ("generator", "img_channels", 2**20),
        ("generator", "img_channels", 0),
        ("generator", "c_dim", 10**12),
        ("generator", "c_dim", 2**20),
        ("generator", "c_dim", None),
        ("generator", "level", 1e300),
        ("generator", "surplus", 0),
    ],
)
def test_a_header_that_its_tensors_do_not_bear_out_is_refused_without_allocating(
    key: str, where: str, value: Any, generator: Path
) -> None:
    rewrite(generator, put(key, where, value))
    tracemalloc.start()
    with pytest.raises(CheckpointError) as caught:
        load_generator(generator)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(f"{generator}: ")
    assert len(message) < 2000
    assert "\n" not in message
    assert peak < 50e6


@pytest.mark.parametrize("text", ["[" * 100_000, "nonsense", "[]", "1", '{"a": NaN}', "{}", '"' + "x" * 10**6 + '"'])
@pytest.mark.parametrize("key", ["config", "generator"])
def test_metadata_that_is_not_the_header_of_a_generator_is_refused(key: str, text: str, generator: Path) -> None:
    rewrite(generator, lambda _, metadata: metadata.update({key: text}))
    with pytest.raises(CheckpointError) as caught:
        load_generator(generator)
    assert str(caught.value).startswith(f"{generator}: ")
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(bad: float, generator: Path) -> None:
    rewrite(generator, lambda tensors, _: tensors["mapping.fc0.bias"].fill_(bad))
    for read in (load_generator, load_networks):
        with pytest.raises(CheckpointError, match=r"mapping\.fc0\.bias holds values that are not finite"):
            read(generator)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.uint8])
def test_weights_of_another_type_are_refused_by_name(dtype: torch.dtype, generator: Path) -> None:
    rewrite(generator, lambda tensors, _: tensors.update({"mapping.w_avg": tensors["mapping.w_avg"].to(dtype)}))
    with pytest.raises(CheckpointError, match=r"mapping\.w_avg is \[8\] of .* on disk but \[8\] in the network"):
        load_generator(generator)


@pytest.mark.parametrize("names", ["circle", ["circle"], [1, 2], None, {"a": 1}, ["x" * 10**5] * 2])
def test_class_names_that_are_no_list_of_as_many_names_as_classes_are_refused(
    names: Any, tiny_params: Params, tmp_path: Path
) -> None:
    labelled = TrainState.create(tiny_params, img_resolution=16, img_channels=3, c_dim=2, device=torch.device("cpu"))
    path = tmp_path / "generator.safetensors"
    save_generator(labelled.G_ema, path, ["circle", "square"])
    rewrite(path, lambda _, metadata: metadata.update(class_names=json.dumps(names)))
    if names is None:
        assert read_class_names(path) is None
    else:
        with pytest.raises(CheckpointError, match=r"class"):
            read_class_names(path)


@pytest.mark.parametrize(
    ("where", "value"), [("cur_nimg", -1), ("cur_nimg", 1.5), ("p", 1.5), ("p", None), ("surplus", 1)]
)
def test_a_position_that_no_training_can_have_is_refused(
    where: str, value: Any, state: TrainState, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    save_checkpoint(state, path)
    rewrite(path, put("state", where, value))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(state, path)
    assert str(caught.value).startswith(f"{path}: state.")


def test_any_changed_bit_is_found(state: TrainState, tmp_path: Path) -> None:
    """In header, tensors, or the checksum itself; 400 bits of each kind of file."""
    rng = random.Random(0)
    save_checkpoint(state, tmp_path / "state")
    save_generator(state.G_ema, tmp_path / "generator")
    save_networks(tmp_path / "networks", G=state.G, D=state.D, G_ema=state.G_ema, augment_p=0.1, source="x")
    for name, read in (("state", load_networks), ("generator", load_generator), ("networks", load_networks)):
        content = (tmp_path / name).read_bytes()
        size = 8 + int.from_bytes(content[:8], "little")
        for number in range(400):
            bit = rng.randrange(8 * (size if number % 2 else len(content)))
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            (tmp_path / "damaged").write_bytes(damaged)
            with pytest.raises(CheckpointError) as caught:
                read(tmp_path / "damaged")
            assert str(caught.value).startswith(f"{tmp_path / 'damaged'}: ")


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\xff" * 100, b"\xff\xff\xff\x7f\0\0\0\0{}", b"PK\3\4" * 100])
@pytest.mark.parametrize("read", READERS)
def test_a_file_of_another_kind_is_refused(content: bytes, read: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a safetensors file, or damaged"):
        read(path)


def test_a_pipe_or_a_folder_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(CheckpointError, match="not a regular file"):
            load_generator(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("pl_mean", float("nan"), "holds values that are not finite"),
        ("signs", float("inf"), "holds values that are not finite"),
        ("opt_g.mapping.fc0.bias.exp_avg", float("nan"), "holds values that are not finite"),
        ("opt_d.b4.out.bias.exp_avg_sq", -1.0, "holds -1, expected 0 or more"),
        ("opt_g.mapping.fc0.bias.step", 0.0, "holds 0, expected 1 or more"),
    ],
)
def test_numbers_that_no_state_has_are_refused_by_name(
    name: str, value: float, reason: str, state: TrainState, tmp_path: Path
) -> None:
    for optimizer, net in ((state.opt_g, state.G), (state.opt_d, state.D)):
        for param in net.parameters():
            moments = {key: torch.ones_like(param) for key in ("exp_avg", "exp_avg_sq")}
            optimizer.state[param] = {"step": torch.ones([])} | moments
    path = tmp_path / "state.safetensors"
    save_checkpoint(state, path)
    rewrite(path, lambda tensors, _: tensors[name].fill_(value))
    with pytest.raises(CheckpointError, match=f"{re.escape(str(path))}: {re.escape(name)} {reason}"):
        load_checkpoint(state, path)
