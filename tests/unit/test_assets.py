"""pipelines.assets, stylegan.data.pickles and stylegan.files: fetched files are checked, converted, never executed."""

import io
import pickle
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipelines.assets import (
    REQUIREMENTS,
    WANTED,
    Asset,
    AssetError,
    convert,
    convert_lpips_vgg16,
    convert_state_dict,
    copy_file,
    environment_for_target,
    fetch,
)
from stylegan.data.pickles import load_arrays
from stylegan.files import replacing, sha256_of


def write_asset(folder: Path, data: bytes) -> Asset:
    source = folder / "package" / "picture.jpg"
    source.parent.mkdir(parents=True)
    source.write_bytes(data)
    return Asset(
        target="earth/picture.jpg",
        package="pictures 1.0",
        source="package/picture.jpg",
        sha256=sha256_of(source),
        convert=copy_file,
        licence="none",
    )


def test_an_asset_is_checked_copied_and_described(tmp_path: Path) -> None:
    asset = write_asset(tmp_path / "fetched", b"pixels")
    facts = convert(asset, tmp_path / "fetched", tmp_path / "assets")
    assert (tmp_path / "assets" / "earth" / "picture.jpg").read_bytes() == b"pixels"
    assert facts == {
        "sha256": asset.sha256,
        "package": "pictures 1.0",
        "source": "package/picture.jpg",
        "source_sha256": asset.sha256,
        "licence": "none",
    }


def test_another_file_than_the_pinned_one_is_refused_with_both_hashes(tmp_path: Path) -> None:
    asset = replace(write_asset(tmp_path, b"changed"), sha256="0" * 64)
    with pytest.raises(AssetError) as error:
        convert(asset, tmp_path, tmp_path / "assets")
    assert str(error.value) == (
        f"package/picture.jpg: sha256 is {sha256_of(tmp_path / asset.source)}, expected {'0' * 64}. "
        "This is not the file of pictures 1.0; run `pip cache purge` and fetch again, "
        "and distrust the mirror if it stays so."
    )
    assert not (tmp_path / "assets").exists()


def test_a_file_that_the_package_lacks_is_named(tmp_path: Path) -> None:
    asset = replace(write_asset(tmp_path, b""), source="package/other.jpg")
    with pytest.raises(AssetError) as error:
        convert(asset, tmp_path, tmp_path)
    assert str(error.value) == (
        "package/other.jpg: not in pictures 1.0. Pin the version that has it in requirements-assets.txt."
    )


def test_pip_that_cannot_fetch_is_reported_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A package that no index has, asked of no index: pip fails without a network.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"no-such-package==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(AssetError) as error:
        fetch(requirements, tmp_path / "target")
    assert str(error.value) == (
        f"{requirements}: pip could not fetch these packages (exit status 1, its reason is above). "
        "Without a network, point pip to a mirror or a folder of wheels with PIP_INDEX_URL or PIP_FIND_LINKS; "
        "if it found other hashes, the mirror serves changed files."
    )


def test_pip_hears_of_no_other_place_to_install_to() -> None:
    told = {
        "PIP_USER": "1",
        "PIP_PREFIX": "/a",
        "PIP_TARGET": "/b",
        "PIP_ROOT": "/c",
        "PIP_INDEX_URL": "https://mirror",
    }
    assert environment_for_target(told) == {"PIP_USER": "0", "PIP_INDEX_URL": "https://mirror"}


def test_every_wanted_package_is_pinned_with_its_hash(repository: Path) -> None:
    lines = (repository / REQUIREMENTS).read_text().splitlines()
    pinned = {line.split(" --hash=sha256:")[0] for line in lines if " --hash=sha256:" in line}
    assert pinned == {asset.package.replace(" ", "==") for asset in WANTED}


def test_a_state_dict_keeps_its_names_but_not_its_counters(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2))
    torch.save(model.state_dict(), tmp_path / "model.pth")
    convert_state_dict(tmp_path / "model.pth", tmp_path / "model.safetensors")
    loaded = load_file(tmp_path / "model.safetensors")
    assert loaded.keys() == model.state_dict().keys() - {"1.num_batches_tracked"}
    assert all(torch.equal(loaded[name], model.state_dict()[name]) for name in loaded)


def lpips_arrays() -> dict[str, object]:
    random = np.random.default_rng(0)
    convs = {
        f"Conv_{i}": {"kernel": random.normal(size=(3, 3, 2, 4)).astype("f4"), "bias": np.full(4, i, "f4")}
        for i in range(3)
    }
    heads = {f"NetLinLayer_{i}": {"Conv_0": {"kernel": np.full((1, 1, 4, 1), i, "f4")}} for i in range(2)}
    return {"VGG16_0": convs, **heads}


def test_lpips_kernels_become_those_of_torch(tmp_path: Path) -> None:
    arrays = lpips_arrays()
    (tmp_path / "vgg.ckpt").write_bytes(pickle.dumps(arrays))
    convert_lpips_vgg16(tmp_path / "vgg.ckpt", tmp_path / "vgg.safetensors")
    loaded = load_file(tmp_path / "vgg.safetensors")
    convs = {f"conv{i}.{part}" for i in range(3) for part in ("weight", "bias")}
    assert loaded.keys() == convs | {"lin0.weight", "lin1.weight"}
    kernel = arrays["VGG16_0"]["Conv_1"]["kernel"]
    assert loaded["conv1.weight"].shape == (4, 2, 3, 3)
    assert loaded["conv1.weight"][3, 1, 0, 2] == kernel[0, 2, 1, 3]
    assert loaded["lin1.weight"].tolist() == [1, 1, 1, 1]


def test_conversion_gives_the_same_bytes_every_time(tmp_path: Path) -> None:
    (tmp_path / "vgg.ckpt").write_bytes(pickle.dumps(lpips_arrays()))
    for name in ("a", "b"):
        convert_lpips_vgg16(tmp_path / "vgg.ckpt", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


class RunsCode:
    def __reduce__(self) -> tuple[object, ...]:
        return subprocess.check_call, (["false"],)


def test_a_pickle_that_asks_to_run_code_is_refused_unexecuted() -> None:
    with pytest.raises(
        ValueError, match=r"^w\.ckpt: not a pickle of plain arrays \(it asks for subprocess\.check_call"
    ):
        load_arrays(io.BytesIO(pickle.dumps({"weight": RunsCode()})), "w.ckpt")


@pytest.mark.parametrize("data", [b"", b"text", pickle.dumps(np.zeros(100))[:50]])
def test_what_is_no_pickle_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^w\.ckpt: not a pickle of plain arrays \(.*use the original file"):
        load_arrays(io.BytesIO(data), "w.ckpt")


def test_a_file_half_written_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")

    def write_half() -> None:
        with replacing(tmp_path / "file") as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]
