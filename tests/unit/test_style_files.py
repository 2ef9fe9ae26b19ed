"""Styles in files: what comes back, and what is refused."""

import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stylegan.drawing.style_files import StyleFileError, load_styles, save_styles


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_styles_come_back_as_they_were(tmp_path: Path, suffix: str) -> None:
    ws = torch.randn(3, 1, 8).expand(3, 6, 8)
    save_styles(ws, tmp_path / f"new/w{suffix}")
    assert torch.equal(load_styles(tmp_path / f"new/w{suffix}", 6, 8), ws)


def test_one_w_fills_all_layers_and_float64_becomes_float32(tmp_path: Path) -> None:
    w = np.random.default_rng(0).standard_normal((2, 8))
    np.savez(tmp_path / "w.npz", w=w)
    ws = load_styles(tmp_path / "w.npz", 6, 8)
    assert torch.equal(ws, torch.from_numpy(w).float()[:, None].expand(2, 6, 8))


class Bomb:
    def __reduce__(self) -> Any:
        return (Path("exploded").touch, ())


def test_a_pickle_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("object.npz", w=np.array([Bomb()], dtype=object))
    (tmp_path / "plain.npz").write_bytes(pickle.dumps(Bomb()))
    for name in ("object.npz", "plain.npz"):
        with pytest.raises(StyleFileError, match=rf"^{name}: not a \.npz file of plain tensors \("):
            load_styles(Path(name), 6, 8)
    assert not Path("exploded").exists()


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    save_styles(torch.zeros(1, 6, 8), path)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:-40], np.array(1.0).tobytes()):
        path.write_bytes(content)
        with pytest.raises(StyleFileError, match=rf"^{re.escape(str(path))}: not a {suffix} file of plain tensors \("):
            load_styles(path, 6, 8)


def test_a_single_array_is_not_an_archive_of_arrays(tmp_path: Path) -> None:
    with (tmp_path / "w.npz").open("wb") as file:
        np.save(file, np.zeros((1, 8)))
    with pytest.raises(StyleFileError, match=r"w\.npz: not a \.npz file of plain tensors \("):
        load_styles(tmp_path / "w.npz", 6, 8)


@pytest.mark.parametrize("shape", [(1, 5, 8), (1, 6, 7), (8,), (0, 6, 8), (1, 1, 6, 8)])
def test_styles_of_another_generator_are_refused_with_both_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "w.safetensors"
    save_styles(torch.zeros(shape), path)
    message = (
        f"{path}: w is torch.float32 {list(shape)}, but this generator takes floats [N, 6, 8] or [N, 8]. "
        "The file belongs to another generator."
    )
    with pytest.raises(StyleFileError, match=f"^{re.escape(message)}$"):
        load_styles(path, 6, 8)


def test_whole_numbers_are_no_styles(tmp_path: Path) -> None:
    save_styles(torch.zeros(1, 6, 8, dtype=torch.int64), tmp_path / "w.npz")
    with pytest.raises(StyleFileError, match=r"w is torch\.int64 \[1, 6, 8\], but this generator takes floats"):
        load_styles(tmp_path / "w.npz", 6, 8)


def test_styles_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    save_styles(torch.full((1, 6, 8), float("nan")), tmp_path / "w.npz")
    with pytest.raises(
        StyleFileError, match=r"w\.npz: w holds values that are not finite in float32\. Write the file again\.$"
    ):
        load_styles(tmp_path / "w.npz", 6, 8)


def test_a_file_without_w_says_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", z=np.zeros(3))
    message = "w.npz: holds no tensor named w. Only w can be read from a file."
    with pytest.raises(StyleFileError, match=f"{re.escape(message)}$"):
        load_styles(tmp_path / "w.npz", 6, 8)


def test_a_missing_file_names_the_command_that_writes_one(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    message = f"{path}: no such file. `generate --save-w {path}` writes one."
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message)}$"):
        load_styles(path, 6, 8)


def test_another_suffix_is_refused_before_anything_is_read_or_written(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    message = f"{path}: styles live in files that end in .npz or .safetensors. Rename it."
    for use in (lambda: save_styles(torch.zeros(1, 6, 8), path), lambda: load_styles(path, 6, 8)):
        with pytest.raises(StyleFileError, match=f"^{re.escape(message)}$"):
            use()
    assert not path.exists()


def write_npz(path: Path, header: bytes, content: bytes = b"") -> Path:
    head = header.ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + content)
    return path


@pytest.mark.parametrize("shape", [(10**15,), (2**62, 2**62), (10**9, 6, 8)])
def test_a_shape_that_the_file_does_not_hold_takes_no_memory(tmp_path: Path, shape: tuple[int, ...]) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    with pytest.raises(StyleFileError, match=r"w\.npz: not a \.npz file of plain tensors \("):
        load_styles(write_npz(tmp_path / "w.npz", header), 6, 8)


def test_an_encrypted_entry_and_a_fifo_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    save_styles(torch.zeros(1, 6, 8), path)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(StyleFileError, match="encrypted"):
        load_styles(path, 6, 8)
    os.mkfifo(tmp_path / "fifo.npz")
    with pytest.raises(OSError, match=r"fifo\.npz: not a regular file\. Remove it"):
        load_styles(tmp_path / "fifo.npz", 6, 8)
