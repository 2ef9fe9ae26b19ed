"""Gzip files and pickles that are damaged or meant to do harm: CIFAR-10 and MNIST as somebody else packed them."""

import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.params import Params
from stylegan.data.archive import Source
from stylegan.data.layout import ArchiveError
from stylegan.data.pickles import load_arrays
from stylegan.data.sources import open_source

Make = Callable[..., Params]
IMAGES_FILE = "train-images-idx3-ubyte.gz"
IMAGE = b"\0\0\x08\3" + struct.pack(">3I", 1, 28, 28) + bytes(784)


def opened(make_params: Make, path: Path, *overrides: str) -> Source:
    return open_source(make_params(f"prepare.source={path}", *overrides).prepare, Path("none.jpg"))


def test_what_a_gzip_file_unpacks_to_is_bounded_by_its_own_size(
    make_params: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deflate makes a thousandth of zeros: by the limit for all files, half a megabyte would be seconds of work."""
    monkeypatch.setattr("stylegan.data.packed.MIN_BYTES", 100_000)
    path = tmp_path / IMAGES_FILE
    path.write_bytes(gzip.compress(b"\0\0\x08\3" + struct.pack(">3I", 1000, 28, 28) + bytes(784_000)))
    assert path.stat().st_size < 2000
    with pytest.raises(ArchiveError, match=r"\(unpacks to more than 100,000 bytes\)"):
        opened(make_params, path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: content + gzip.compress(b"") * 20_001, "holds more than 20,000 gzip streams"),
        (lambda content: content + b"more", "Not a gzipped file"),
        (lambda content: content[:-8] + bytes(8), "incorrect data check"),
        (lambda content: content[:-9], "it is cut off"),
        (lambda content: b"", "Not a gzipped file"),
    ],
)
def test_a_gzip_file_with_something_else_behind_it_is_refused(
    damage: Callable[[bytes], bytes], reason: str, make_params: Make, tmp_path: Path
) -> None:
    path = tmp_path / IMAGES_FILE
    path.write_bytes(damage(gzip.compress(IMAGE)))
    with pytest.raises(ArchiveError, match=reason):
        opened(make_params, path)


def test_a_gzip_file_in_several_streams_with_zeros_behind_them_is_read(make_params: Make, tmp_path: Path) -> None:
    """As pigz, bgzip and tapes leave them"""
    (tmp_path / IMAGES_FILE).write_bytes(b"".join(map(gzip.compress, (IMAGE[:300], b"", IMAGE[300:]))) + bytes(99))
    assert len(opened(make_params, tmp_path / IMAGES_FILE).names) == 1


def test_a_gzip_stream_may_begin_with_the_last_byte_of_a_block(
    make_params: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = gzip.compress(IMAGE[:300])
    monkeypatch.setattr("stylegan.data.packed.BLOCK_BYTES", len(first) + 1)
    (tmp_path / IMAGES_FILE).write_bytes(first + gzip.compress(IMAGE[300:]))
    assert len(opened(make_params, tmp_path / IMAGES_FILE).names) == 1


class Pickled:
    """An object that a pickle makes by a call, and gives a state"""

    def __init__(self, function: object, *arguments: object, state: object = None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.call


def array_of(dtype: object, shape: tuple[int, ...] = (2,), data: object = b"A" * 16) -> Pickled:
    return Pickled(np.empty(0).__reduce__()[0], np.ndarray, (0,), b"b", state=(1, shape, dtype, False, data))


def type_of(name: str, *state: object) -> Pickled:
    return Pickled(np.dtype, name, False, True, state=state)


@pytest.mark.parametrize(
    "array",
    [
        array_of(type_of("V8", 3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)),  # bytes as addresses
        Pickled(np.ndarray, (2,), "O", b"A" * 16),  # the same
        array_of(np.dtype("O"), data=[1, 2]),
        array_of(type_of("V8", 3, "|", (np.dtype("u1"), (2**20,)), None, None, 8, 1, 0)),
        array_of(type_of("i8", 3, "<", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 63)),
        array_of(type_of("M8", 4, "<", None, None, None, -1, -1, 0, ({}, (b"D", 1, 1, 1)))),
        array_of(np.dtype("S8")), array_of(np.dtype("f8"), (3,)), array_of(np.dtype("f8"), (-2,)),
        array_of(np.dtype("f8"), (2.0,)), array_of(np.dtype("u1"), (2,), [1, 2]), array_of("u1"), array_of(None),
        Pickled(np.dtype, "f4," * 5000), Pickled(np.dtype, {"names": ["a"], "formats": ["O"]}),
        Pickled(np.empty(0).__reduce__()[0], np.dtype, (0,), b"b"),
    ],
)  # fmt: skip
def test_arrays_of_odd_types_are_refused(array: Pickled) -> None:
    with pytest.raises(ValueError, match=r"^file: not a pickle of plain arrays \(.*\)\. Only such files are read"):
        load_arrays(io.BytesIO(pickle.dumps({"data": array}, protocol=3)), "file")


def test_a_pickle_cannot_change_what_makes_arrays() -> None:
    for name in ("numpy\ndtype", "numpy\nndarray", "numpy.core.multiarray\n_reconstruct"):
        for state in (b"}X\1\0\0\0aNs", b"N}X\1\0\0\0aNs\x86"):  # of attributes, and of slots
            with pytest.raises(ValueError, match="not a pickle of plain arrays"):
                load_arrays(io.BytesIO(b"\x80\2c" + name.encode() + b"\n" + state + b"b."), "file")


PAIRED, NESTED, KEY = b"2\x86", b"\x85", b"Ns."  # DUP and TUPLE2; TUPLE1; None as the value of the key before it
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85C\1btR"
TYPE = b"cnumpy\ndtype\n(X\2\0\0\0u1\x89\x88tR(K\3X\1\0\0\0|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"


@pytest.mark.parametrize(
    "pickled",
    [
        b"})" + NESTED * 150_000 + KEY,  # Python ends when it hashes this
        b"})" + PAIRED * 64 + KEY,  # 2^64 tuples
        b"})" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(64)) + KEY,
        b"})" + b"".join(b"\x85N0q%ch%c\x86" % (i, i) for i in range(40)) + KEY,  # remembered behind something else
        ARRAY + b"(K\1(" + b"J\xff\xff\xff\x0f" * 100 + b"t" + TYPE + b"\x89C\1\0tb.",  # whose product is long
        b"](B\0\0\x10\0"
        + bytes(2**20)
        + b"q\1"  # a MiB that each array copies
        + (ARRAY + b"(K\1J\0\0\x10\0\x85" + TYPE + b"\x89h\1tb") * 80
        + b"e.",
    ],
)
def test_a_small_pickle_cannot_take_long(pickled: bytes) -> None:
    with pytest.raises(ValueError, match=r"\((more tuples than arrays take|it holds an array of 100 dimensions)\)"):
        load_arrays(io.BytesIO(b"\x80\3" + pickled), "file")


def test_a_pickle_that_says_a_text_many_times_is_read() -> None:
    names = ["cat"] * 1000
    for protocol in (3, 4):
        assert load_arrays(io.BytesIO(pickle.dumps([names, np.ones(3), np.zeros(2)], protocol)), "file")[0] == names


@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i4", "f4", ">f8", "?"])
@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_of_numbers_are_read(dtype: str, protocol: int) -> None:
    numbers = np.arange(12).reshape(3, 4).astype(dtype)
    for wanted in (numbers, numbers.T, numbers[:0]):
        found = load_arrays(io.BytesIO(pickle.dumps([wanted], protocol)), "file")[0]
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype.newbyteorder("=") == wanted.dtype.newbyteorder("=")


@pytest.mark.parametrize("labels", [[[]] * 3, [{}] * 3, [()] * 3, [np.ones(1)] * 3])
def test_labels_of_cifar_are_numbers(labels: list[object], make_params: Make, tmp_path: Path) -> None:
    content = pickle.dumps({"data": np.zeros((3, 3072), np.uint8), "labels": labels}, protocol=3)
    path = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("data_batch_1")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    with pytest.raises(ArchiveError, match="data_batch_1: holds labels that are no class numbers"):
        opened(make_params, path, "prepare.labels=file")


@pytest.mark.parametrize("protocol", [3, 4])
def test_weights_of_a_hundred_layers_are_read(protocol: int) -> None:
    layers = {f"layer{n}": {"w": np.full((3, 3), n, np.float32), "b": np.zeros(3, np.float32)} for n in range(50)}
    found = load_arrays(io.BytesIO(pickle.dumps(layers, protocol)), "file")
    assert all((found[name]["w"] == layer["w"]).all() for name, layer in layers.items())
