"""Styles in files: a tensor `w` in .npz (as the official projector writes it) or .safetensors. Never a pickle.

A projection stores the noise maps that it found beside w, by the names of the buffers that they replace.

N images, L = num_ws.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor

from stylegan.files import check_regular, replacing
from stylegan.text import OneLineError

SUFFIXES = (".npz", ".safetensors")
MAX_BYTES = 2**29  # of w, unpacked; ten thousand styles of a generator for 1024 pixels have 0.7 times as many


class StyleFileError(OneLineError):
    """A file does not hold styles for this generator; the message says what it holds and what was expected."""


def save_styles(ws: Tensor, path: Path, noise: Mapping[str, Tensor] | None = None) -> None:
    """Write ws [N, L, w_dim] under the name `w`, and noise maps. Raises StyleFileError for a suffix not in SUFFIXES."""
    _check_suffix(path)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in {"w": ws, **(noise or {})}.items()}
    buffer = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(buffer, **{name: tensor.numpy() for name, tensor in tensors.items()})  # type: ignore[arg-type]
    else:
        buffer.write(save(tensors))
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def load_styles(path: Path, num_ws: int, w_dim: int) -> Tensor:
    """Styles of a file for a generator of this size  ->  [N, L, w_dim] float32; a stored [N, w_dim] fills all layers

    Raises FileNotFoundError, and StyleFileError when `w` is missing, has another shape or type, or is not finite.
    """
    _check_suffix(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file. `generate --save-w {path}` writes one.")
    w = _read(path)
    w = w[:, None].expand(-1, num_ws, -1) if w.ndim == 2 else w
    if w.ndim != 3 or w.shape[1:] != (num_ws, w_dim) or len(w) == 0 or not w.is_floating_point():
        raise StyleFileError(
            f"{path}: w is {w.dtype} {list(w.shape)}, but this generator takes floats [N, {num_ws}, {w_dim}] or "
            f"[N, {w_dim}]. The file belongs to another generator."
        )
    w = w.float()
    if not w.isfinite().all():
        raise StyleFileError(f"{path}: w holds values that are not finite in float32. Write the file again.")
    return w


def _read(path: Path) -> Tensor:
    check_regular(path)
    try:
        return load_file(path)["w"] if path.suffix == ".safetensors" else torch.from_numpy(_read_npz(path))
    except KeyError:
        raise StyleFileError(f"{path}: holds no tensor named w. Only w can be read from a file.") from None
    except Exception as error:  # zipfile and NumPy raise more than a dozen kinds for files that are damaged
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise StyleFileError(f"{path}: not a {path.suffix} file of plain tensors ({reason})") from None


def _read_npz(path: Path) -> NDArray[Any]:
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("w.npy")
        if entry.file_size > MAX_BYTES:
            raise ValueError(f"w has {entry.file_size:,} bytes, expected at most {MAX_BYTES:,}")
        with archive.open(entry) as file:
            return npy.read_array(file, allow_pickle=False)


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise StyleFileError(f"{path}: styles live in files that end in {' or '.join(SUFFIXES)}. Rename it.")
