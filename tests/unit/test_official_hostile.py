"""Files made to do harm: each is refused with the reason, at once, and runs nothing."""

import contextlib
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stylegan.official import OfficialFileError, load_official
from stylegan.official.networks import weights_of
from stylegan.official.records import Module
from stylegan.official.stream import STEPS
from tests.official_files import (
    PLAIN,
    discriminator_record,
    easy_dict,
    generator_record,
    ordered_dict,
    persistent,
    small_discriminator,
    small_generator,
    storage,
)
from tests.official_tensorflow import array, generator_network, network
from tests.pickle_writer import Built, Call, Name, New, Opcodes, Persistent, dump

MAX_SEC = 60  # a bomb takes hours; what is refused takes a tenth of a second, longer on a busy machine
Refused = Callable[[bytes, str], None]


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """refused(content, reason) asserts that a file with this content is refused for this reason, and soon"""

    def check(content: bytes, reason: str) -> None:
        path = tmp_path / "hostile.pkl"
        path.write_bytes(content)
        start = time.monotonic()
        with pytest.raises(OfficialFileError) as caught:
            load_official(path)
        assert time.monotonic() - start < MAX_SEC
        message = str(caught.value)
        assert reason in message
        assert message.startswith(f"{path}: not read, ")
        assert message.endswith("Nothing in it was executed. Use the original file from its publisher.")
        assert len(message) < 700

    return check


def with_g_ema(value: Any) -> bytes:
    return dump({"G_ema": value})


@pytest.mark.parametrize(
    "name",
    [
        "os.system", "posix.system", "builtins.eval", "builtins.getattr", "builtins.exec", "builtins.__import__",
        "functools.partial", "torch.load", "torch.FloatStorage", "torch._utils._rebuild_tensor",
        "copyreg._reconstructor", "torch_utils.persistence.import_hook", "collections.Counter",
        "numpy.core.multiarray.fromfile",
        "dnnlib.util.call_func_by_name", "subprocess.Popen", "operator.attrgetter", "webbrowser.open",
    ],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [2, 4])
def test_names_of_code_are_refused(refused: Refused, name: str, protocol: int) -> None:
    module, _, attribute = name.rpartition(".")
    call = Call(Name(module, attribute), ("touch /tmp/executed",))
    refused(dump({"G_ema": call}, protocol), f"it asks for {name}, which no official file needs")


def test_a_hostile_name_anywhere_is_refused(refused: Refused) -> None:
    hostile = Call(Name("os", "system"), ("true",))
    record = generator_record(small_generator(), note=hostile)
    refused(with_g_ema(record), "it asks for os.system")


def test_a_hostile_name_within_a_storage_is_refused(refused: Refused) -> None:
    stream = dump(119547037146038801333356, 2) + dump(Call(Name("os", "system"), ("true",)), 2)
    refused(with_g_ema(Call(Name("torch.storage", "_load_from_bytes"), (stream,))), "it asks for os.system")


def test_names_beyond_those_of_storages_are_refused_within_them(refused: Refused) -> None:
    stream = dump(ordered_dict(), 2)
    refused(with_g_ema(Call(Name("torch.storage", "_load_from_bytes"), (stream,))), "asks for collections.OrderedDict")


def test_chains_of_calls_are_refused(refused: Refused) -> None:
    inner = Call(Name("collections", "OrderedDict"), ())
    refused(with_g_ema(Call(inner, ())), "it calls a dict, which is not a name of the official format")


def test_a_class_is_never_called_nor_a_function_made_an_object(refused: Refused) -> None:
    refused(with_g_ema(Call(Name("numpy", "ndarray"), ((10**9,),))), "it calls numpy.ndarray")
    refused(with_g_ema(Call(Name("dnnlib.util", "EasyDict"), ({},))), "it calls dnnlib.util.EasyDict")
    new = Opcodes(b"ctorch.storage\n_load_from_bytes\n)\x81")
    refused(with_g_ema(new), "it makes an object of torch.storage._load_from_bytes")


def test_state_is_set_on_no_other_record(refused: Refused) -> None:
    refused(with_g_ema(Built(ordered_dict(), {"__class__": 1})), "it sets the state of a dict")


def test_objects_outside_of_the_file_are_refused(refused: Refused) -> None:
    refused(with_g_ema(Persistent("http://example.org")), "it refers to an object outside of the file")


@pytest.mark.parametrize(
    "opcode", [b"i", b"o", b"P", b"\x82", b"\x83", b"\x84", b"\x92", b"\x97", b"\x98", b"I", b"L", b"V", b"S", b"\xff"]
)
def test_opcodes_that_official_files_lack_are_refused(refused: Refused, opcode: bytes) -> None:
    refused(with_g_ema(Opcodes(opcode)), f"opcode {opcode[0]:#04x} has no place in an official file")


def test_messages_quote_no_control_characters(refused: Refused) -> None:
    refused(dump({"G_ema": Call(Name("\x1b[2J", "x" * 90), ())}), r"it asks for \x1b[2J." + "x" * 80 + "...")


def bombs() -> Iterator[tuple[str, bytes, str]]:
    """Small files that ask for much"""
    doubling = b"](K\x01K\x01e\x94" + b"".join(b"](h%ch%ce\x94" % (i, i) for i in range(200))
    yield "doubling memo", doubling, "it holds no network"
    yield "nested tuples", b")" + b"\x85" * 200_000, "it holds no network"
    yield "nested tuple as a key", b"N\x85\x940}h\x00h\x00\x86K\x01s", "a tuple as a key"
    yield "marks", b"(" * 100_000, "nests more than 1000 levels deep"
    yield "opcodes", b"N0" * 200_000, "far more pickle opcodes than any official file"
    yield "long integer", b"\x8b\xff\xff\xff\x7f", "an integer of 2147483647 bytes"
    yield "long bytes", b"\x8e" + b"\xff" * 8, "18446744073709551615 more bytes were announced"
    yield "long text", b"X\xff\xff\xff\xff", "4294967295 more bytes were announced"
    yield "far memo", b"Nr\xff\xff\xff\xff", "it holds no network"
    yield "absent memo", b"j\xff\xff\xff\xff", "the pickle stream is damaged (KeyError)"
    yield "colliding keys", b"}" + b"\x8a\x09" + b"\xff" * 8 + b"\x01Ns", "a int as a key"
    yield "empty stack", b"R", "the pickle stream is damaged (IndexError)"
    yield "no end", b"", "the pickle stream ends before its STOP"
    sets = b"](" + b"K\x01" * 60_000 + b"e\x940" + b"c__builtin__\nset\nh\x00\x85R0" * 1000
    yield "repeated sets", sets, "far more pickle opcodes than any official file"
    text = b"X" + struct.pack("<I", 10**6) + b"x" * 10**6 + b"\x94"
    encode = b"0c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    yield "repeated bytes", text + encode * 1000, "repeat far more text than the file holds"
    yield "itself in itself", b"]\x94h\x00a", "it holds no network"


@pytest.mark.parametrize(("body", "reason"), [pytest.param(b, r, id=n) for n, b, r in bombs()])
def test_bombs_are_refused(refused: Refused, body: bytes, reason: str) -> None:
    refused(b"\x80\x04" + body + (b"" if "STOP" in reason else b"."), reason)


def test_names_without_end_are_refused(refused: Refused) -> None:
    refused(b"\x80\x02c" + b"x" * 10**6, "a name has more than 256 bytes")


@pytest.mark.parametrize("protocol", [0, 1, 6, 255])
def test_other_protocols_are_refused(refused: Refused, protocol: int) -> None:
    refused(b"\x80" + bytes([protocol]) + b"N.", f"pickle protocol {protocol}; official files have 2 to 5")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 zip", b"import os", b"{}"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.pkl"
    path.write_bytes(content)
    with pytest.raises(OfficialFileError, match=r"it is a zip file|does not begin like a pickle"):
        load_official(path)
    with pytest.raises(OfficialFileError, match="it is not a regular file"):
        load_official(tmp_path)


def view(offset: Any, size: Any, stride: Any, **numbers: Any) -> bytes:
    """A file whose constant input is this view of 16 numbers"""
    record = generator_record(small_generator())
    layout = (storage(np.zeros(16, "f4"), PLAIN, **numbers), offset, size, stride, False, {})
    constant = Call(Name("torch._utils", "_rebuild_tensor_v2"), layout)
    record.arguments[0]["state"]["_modules"]["synthesis"].arguments[0]["state"]["_modules"]["b4"].arguments[0]["state"][
        "_parameters"
    ]["const"] = Call(Name("torch._utils", "_rebuild_parameter"), (constant, False, {}))
    return with_g_ema(record)


@pytest.mark.parametrize(
    ("layout", "reason"),
    [
        ((0, (6, 4, 4), (16, 4, 1)), "a tensor reaches beyond its storage of 16 numbers"),
        ((1, (1, 4, 4), (16, 4, 1)), "a tensor reaches beyond its storage"),
        ((0, (2, 2), (10**18, 1)), "a tensor reaches beyond its storage"),
        ((2**200, (1,), (1,)), "a tensor reaches beyond its storage"),
        ((0, (10**9, 10**9), (0, 0)), "a tensor reaches beyond its storage"),
        ((-1, (4,), (1,)), "expected non-negative integers"),
        ((0, (-4,), (1,)), "expected non-negative integers"),
        ((3, (2,), (-1,)), "expected non-negative integers"),
        ((0, (4,), (1, 1)), "a tensor has 1 dimensions and 2 strides"),
        ((0, (1,) * 100, (1,) * 100), "a tensor has 100 dimensions and 100 strides"),
        ((0, (True,), (1,)), "expected non-negative integers"),
        ((0.5, (4,), (1,)), "expected non-negative integers"),
        ((0, [4], (1,)), "a tensor without storage, size or stride"),
        ((0, (1, 4, 4), (16, 4, 1)), "const is [1, 4, 4], but its arguments say [6, 4, 4]"),
    ],
)
def test_views_beyond_their_storage_are_refused(refused: Refused, layout: tuple[Any, ...], reason: str) -> None:
    refused(view(*layout), reason)


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({"content": b"\0" * 60}, "a storage of 16 numbers, 64 bytes, has 60 bytes"),
        ({"numel": 10**12}, "a storage of 1000000000000 numbers"),
        ({"numel": -1}, "a storage without its key or size"),
    ],
)
def test_storages_of_another_size_are_refused(refused: Refused, numbers: dict[str, Any], reason: str) -> None:
    refused(view(0, (4,), (1,), **numbers), reason)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros(96, "i8"), "G_ema.synthesis.b4.const: it is of type int64, not floating point"),
        (np.full(96, np.nan, "f4"), "G_ema.synthesis.b4.const: it holds infinite numbers or NaN"),
        (np.full(96, 1e300, "f8"), "G_ema.synthesis.b4.const: it holds infinite numbers or NaN"),
    ],
)
def test_what_is_no_finite_number_is_refused(refused: Refused, values: np.ndarray, reason: str) -> None:
    record = generator_record(small_generator())
    layout = (storage(values, PLAIN), 0, (6, 4, 4), (16, 4, 1), False, {})
    block = record.arguments[0]["state"]["_modules"]["synthesis"].arguments[0]["state"]["_modules"]["b4"]
    block.arguments[0]["state"]["_parameters"]["const"] = Call(Name("torch._utils", "_rebuild_tensor_v2"), layout)
    refused(with_g_ema(record), reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"img_resolution": 2**40}, "G_ema.img_resolution is 1099511627776, expected a whole number 8 to 4096"),
        ({"img_resolution": 48}, "img_resolution is 48, which is not a power of two"),
        ({"img_resolution": 1024, "synthesis_kwargs": {"channel_base": 2**29}}, "the whole file has room for"),
        ({"synthesis_kwargs": {"channel_base": 2**29, "channel_max": 2**20}}, "the whole file has room for"),
        ({"w_dim": 2**20}, "the whole file has room for"),
        ({"z_dim": 2**20}, "the whole file has room for"),
        ({"c_dim": 2**20}, "the whole file has room for"),
        ({"img_channels": 2**20}, "the whole file has room for"),
        ({"z_dim": "six"}, "G_ema.z_dim is six, expected a whole number"),
        ({"z_dim": [[]]}, "G_ema.z_dim is a list, expected a whole number"),
        ({"z_dim": 7}, "mapping.fc0.weight is [5, 6], but its arguments say [5, 7]"),
        ({"c_dim": 1}, "mapping.embed.weight is missing"),
        (
            {"mapping_kwargs": {"num_layers": 10**9}},
            "num_layers is 1000000000, expected a whole number 0 to 64",
        ),
        ({"mapping_kwargs": {"num_layers": 0}}, "a mapping of no layers makes 6 numbers of z and c, not 5"),
        ({"synthesis_kwargs": {"channel_base": 8}}, "channel_base 8 leaves no channel at 16 pixels"),
        (
            {"synthesis_kwargs": {"architecture": "transformer"}},
            "is transformer; known: orig, skip, resnet",
        ),
        ({"synthesis_kwargs": {"conv_clamp": float("nan")}}, "conv_clamp is nan, expected a number"),
        ({"synthesis_kwargs": {"activation": "relu"}}, "activation is relu; known: lrelu"),
    ],
)
def test_arguments_that_the_weights_do_not_bear_out_are_refused(
    refused: Refused, changes: dict[str, Any], reason: str
) -> None:
    refused(with_g_ema(generator_record(small_generator(), **changes)), reason)


def test_a_discriminator_larger_than_the_file_is_refused(refused: Refused) -> None:
    record = discriminator_record(small_discriminator())
    record.arguments[0]["state"]["_init_kwargs"].items["channel_max"] = 2**20
    record.arguments[0]["state"]["_init_kwargs"].items["channel_base"] = 2**26
    refused(dump({"G_ema": generator_record(small_generator()), "D": record}), "the whole file has room for")


def test_tensors_that_the_architecture_lacks_are_refused(refused: Refused) -> None:
    record = generator_record(small_generator())
    record.arguments[0]["state"]["_buffers"] |= {"attention": array(np.zeros(3))}  # no tensor: ignored
    record.arguments[0]["state"]["_modules"]["extra"] = generator_record(small_generator())
    refused(with_g_ema(record), "which the published architecture does not have")


def test_a_generator_with_modules_of_torch_is_refused(refused: Refused) -> None:
    """They would change its pictures, and nothing here computes them"""
    record = generator_record(small_generator())
    extra = Built(New(Name("torch.nn.modules.conv", "Conv2d"), {}), {"training": False})
    record.arguments[0]["state"]["_modules"]["extra"] = extra
    refused(with_g_ema(record), "G_ema holds a Conv2d of torch at extra, which the published architecture does not")
    refused(dump({"G_ema": extra}), "it holds no network under the name G_ema")


def test_modules_of_torch_take_no_arguments_and_no_other_state(refused: Refused) -> None:
    name = Name("torch.nn.modules.container", "Sequential")
    refused(with_g_ema(Call(name, ())), "it calls torch.nn.modules.container.Sequential")
    refused(with_g_ema(Built(New(name, {}), (None, {"__class__": 1}))), "it sets the state of a Foreign")
    refused(with_g_ema(Call(Name("torch.nn.functional", "relu"), ())), "it asks for torch.nn.functional.relu")


def test_a_published_discriminator_that_does_not_fit_is_refused(refused: Refused) -> None:
    record = discriminator_record(small_discriminator())
    del record.arguments[0]["state"]["_modules"]["b4"]
    refused(dump({"G_ema": generator_record(small_generator()), "D": record}), "is missing")


def test_a_module_within_itself_is_refused(refused: Refused) -> None:
    """{'_modules': {'x': itself}}, through the memo"""
    meta = b"}\x94(X\x04\0\0\0typeX\x05\0\0\0classX\x07\0\0\0versionK\x06X\x0a\0\0\0module_srcX\0\0\0\0"
    meta += b"X\x0a\0\0\0class_nameX\x09\0\0\0GeneratorX\x05\0\0\0state}\x94u"
    start = b"}X\x05\0\0\0G_emactorch_utils.persistence\n_reconstruct_persistent_obj\n" + meta + b"\x85R\x94"
    modules = b"h\x01X\x08\0\0\0_modules}X\x01\0\0\0xh\x02sX\x01\0\0\0yh\x02ss0"
    kwargs = b"h\x01(" + b"".join(
        b"X" + struct.pack("<I", len(name)) + name + b"K" + bytes([value])
        for name, value in ((b"z_dim", 6), (b"w_dim", 5), (b"img_resolution", 16), (b"img_channels", 3))
    )
    refused(b"\x80\x04" + start + modules + kwargs + b"u0s.", "has more modules, or nests them deeper")


def test_modules_shared_by_many_are_refused() -> None:
    """Nine modules, a hundred million ways to the last one: depth alone does not bound them"""
    module = Module("Generator", 6, "", {})
    for _ in range(8):
        module = Module("Generator", 6, "", {"_modules": {str(name): module for name in range(10)}})
    with pytest.raises(OfficialFileError, match="G has more modules, or nests them deeper"):
        weights_of(module, "G")


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_cut_files_are_refused(refused: Refused, share: float) -> None:
    whole = with_g_ema(generator_record(small_generator()))
    refused(whole[: int(len(whole) * share)], "byte")


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        (None, "it holds no network under the name G_ema"),
        ({"G": 1}, "it holds no network under the name G_ema"),
        ({"G_ema": easy_dict({"a": 1})}, "it holds no network under the name G_ema"),
        (persistent("Generator", {}), "it holds no network under the name G_ema"),
        ({"G_ema": persistent("Generator", {})}, "G_ema.z_dim is None"),
    ],
)
def test_pickles_of_something_else_are_refused(refused: Refused, root: Any, reason: str) -> None:
    refused(dump(root), reason)


def test_the_pipe_and_networks_have_their_types(refused: Refused) -> None:
    good = generator_record(small_generator())
    refused(dump({"G_ema": good, "D": "a text"}), "D is a text instead of a network")
    pipe = persistent("AugmentPipe", {"_init_kwargs": {"xflip": -1}})
    refused(dump({"G_ema": good, "augment_pipe": pipe}), "augment_pipe.xflip is -1, expected a number")


def test_tensorflow_variables_are_checked(refused: Refused) -> None:
    def root(**variables: np.ndarray) -> bytes:
        G = generator_network(small_generator())
        D = network("D", {"resolution": 8, "num_channels": 3}, variables, 4)
        return dump((G, D, G))

    refused(root(), "D would need")
    refused(root(Gain=np.zeros(1)), "D has a variable Gain, which StyleGAN2 does not have")
    refused(root(**{"8x8/Conv0/weight": np.zeros((3, 3))}), "D/8x8/Conv0/weight has 2 axes, which is not expected")


def test_arrays_have_as_many_bytes_as_their_shape(refused: Refused) -> None:
    honest = array(np.zeros(4))
    shape, dtype, fortran, data = honest.state[1:]
    refused(with_g_ema(Built(honest.instance, (1, (10**12,), dtype, fortran, data))), "an array of another size")
    refused(
        with_g_ema(Built(honest.instance, (1, (-1,), dtype, fortran, data))), "expected a list of non-negative integers"
    )
    objects = Call(Name("numpy", "dtype"), ("O8", False, True))
    refused(with_g_ema(Built(honest.instance, (1, shape, objects, fortran, data))), "something else than numbers")


def test_big_endian_numbers_are_refused(refused: Refused) -> None:
    record = with_g_ema(generator_record(small_generator()))
    refused(record.replace(b"little_endianr\x01\0\0\0\x88", b"little_endianr\x01\0\0\0\x89"), "big-endian")


def test_a_large_file_of_nothing_is_refused_soon(tmp_path: Path) -> None:
    path = tmp_path / "sparse.pkl"
    with path.open("wb") as file:
        file.truncate(5 * 2**30)
    with pytest.raises(OfficialFileError, match=r"it has 5368709120 bytes, official files at most 2147483648"):
        load_official(path)


def test_half_precision_overflow_is_no_warning(tmp_path: Path) -> None:
    """torch is not asked to convert: NumPy does it quietly, and the result is looked at"""
    path = tmp_path / "half.pkl"
    path.write_bytes(with_g_ema(generator_record(small_generator())))
    assert load_official(path).G_ema is not None
    assert torch.is_grad_enabled()


@settings(max_examples=300)
@given(st.lists(st.one_of(st.sampled_from([bytes([code]) for code in STEPS]), st.binary(max_size=4)), max_size=60))
def test_any_row_of_opcodes_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    path = tmp_path_factory.getbasetemp() / "opcodes.pkl"
    path.write_bytes(b"\x80\x04" + b"".join(parts) + b".")
    with contextlib.suppress(OfficialFileError):
        load_official(path)


@pytest.mark.parametrize("shared", ["_parameters", "_buffers", "_modules"])
def test_names_in_a_dict_that_many_modules_share_count_for_each(shared: str) -> None:
    """A thousand modules with the same dict of a thousand names: a million names from a file of some thousand"""
    names = {str(name): None for name in range(1000)}
    leaves = {str(name): Module("Layer", 6, "", {shared: names}) for name in range(1000)}
    with pytest.raises(OfficialFileError, match=r"G has more (tensors|modules)"):
        weights_of(Module("Generator", 6, "", {"_modules": leaves}), "G")
