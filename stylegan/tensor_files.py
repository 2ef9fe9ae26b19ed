"""Named tensors in safetensors files: written whole, with a checksum; inspected before anything is allocated."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from stylegan.files import replacing
from stylegan.text import OneLineError

MAX_HEADER = 64 * 2**20  # bytes; a network of 1024 pixels has 0.1 MB of names
CHECKSUM = "sha256"  # in the metadata: of the rest of the header, sorted, and of all tensors
SIZE = 8  # bytes before the header, which say how long it is
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}


class CheckpointError(OneLineError):
    """A file is not a checkpoint, or not one of this model; the message begins with its path and names both sides."""


@dataclass(frozen=True)
class Kind:
    """Of a tensor, known from the header alone"""

    dtype: torch.dtype | None  # None for one that no network of this project has
    shape: tuple[int, ...]

    def __str__(self) -> str:
        shape = str(list(self.shape))
        return shape if self.dtype == torch.float32 else f"{shape} of {self.dtype or 'an unknown type'}"


@dataclass(frozen=True)
class TensorFile:
    """A file whose header was read."""

    path: Path
    metadata: dict[str, str]
    kinds: dict[str, Kind]  # of each tensor by its name

    def read(self, prefix: str = "") -> dict[str, Tensor]:
        """The tensors whose names begin with the prefix, without it. Raises CheckpointError for a damaged file."""
        self._check_sum()
        try:
            with safe_open(self.path, framework="pt") as file:
                wanted = [name for name in self.kinds if name.startswith(prefix)]
                return {name[len(prefix) :]: file.get_tensor(name) for name in wanted}
        except (SafetensorError, OSError) as error:
            raise _damaged(self.path, error) from None

    def _check_sum(self) -> None:
        """Files of other origin have no checksum."""
        if CHECKSUM not in self.metadata:
            return
        with self.path.open("rb") as file:
            size = int.from_bytes(file.read(SIZE), "little")
            digest = hashlib.sha256(_covered(json.loads(file.read(size))))
            while piece := file.read(2**20):
                digest.update(piece)
        if digest.hexdigest() != self.metadata[CHECKSUM]:
            raise _damaged(self.path, "its checksum is of other content: some bytes changed after it was written")


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a file with its checksum, so that a reader sees the old file or the new one; equal values, equal bytes."""
    content = save(tensors, metadata=metadata)
    size = int.from_bytes(content[:SIZE], "little")
    header, data = json.loads(content[SIZE : SIZE + size]), memoryview(content)[SIZE + size :]
    digest = hashlib.sha256(_covered(header))
    digest.update(data)
    header["__metadata__"][CHECKSUM] = digest.hexdigest()
    text = _sorted(header)
    text += b" " * (-len(text) % SIZE)  # tensors begin at a multiple of 8
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(SIZE, "little") + text)
        file.write(data)


def open_tensors(path: Path) -> TensorFile:
    """Read the header. Raises CheckpointError for what is not such a file, FileNotFoundError."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file. `dvc repro train` makes models/generator.safetensors.")
    if not path.is_file():
        raise CheckpointError(f"{path}: not a regular file; expected a file that ends in .safetensors.")
    with path.open("rb") as file:
        size = int.from_bytes(file.read(SIZE), "little")
    if size > MAX_HEADER:
        raise _damaged(path, f"its header would be {size} bytes long, more than {MAX_HEADER}")
    try:
        with safe_open(path, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
            kinds = {name: Kind(DTYPES.get(s.get_dtype()), tuple(s.get_shape())) for name, s in slices.items()}
            return TensorFile(path, opened.metadata() or {}, kinds)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, reason: object) -> CheckpointError:
    return CheckpointError(f"{path}: not a safetensors file, or damaged ({reason}). Use an earlier one.")


def _covered(header: Mapping[str, Any]) -> bytes:
    """What the checksum covers of a header: everything but itself"""
    metadata = {key: value for key, value in header["__metadata__"].items() if key != CHECKSUM}
    return _sorted({**header, "__metadata__": metadata})


def _sorted(header: Mapping[str, Any]) -> bytes:
    """safetensors orders its metadata at random; sorted, equal states give equal files, which DVC compares."""
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
