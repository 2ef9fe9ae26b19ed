"""The way of a published network: imported, trained further on other classes, drawn from, projected to."""

import json
from collections.abc import Callable
from pathlib import Path

import torch

from pipelines.params import Params
from pipelines.train.start import pretrained_file, start
from stylegan.__main__ import main
from stylegan.checkpoint import save_generator
from stylegan.data import ImageDataset
from stylegan.official import load_official
from stylegan.train import train


def test_an_imported_network_trains_and_draws(
    repository: Path, tiny_archive: Path, make_params: Callable[..., Params], tmp_path: Path
) -> None:
    official = repository / "tests/parity/data/cond4_r16.pkl"
    assert main(["import", str(official), str(tmp_path / "pretrained/a.safetensors")]) == 0
    found = load_official(official)
    assert found.G is not None
    assert found.D is not None
    sections = {"generator": found.G.config, "discriminator": found.D.config}
    architecture = [
        f"{section}.{name}={json.dumps(value)}" for section, config in sections.items() for name, value in config
    ]
    params = make_params(
        *architecture, "prepare.labels=folders", "data.use_labels=true", "train.total_kimg=0.004",
        "train.resume_from=pretrained/a.safetensors", "train.label_transfer=tile",
    )  # fmt: skip
    dataset = ImageDataset(tiny_archive, use_labels=True, xflip=False, split="train", max_images=None)

    state, report = start(params, dataset, pretrained_file(params, tmp_path), torch.device("cpu"))
    assert report is not None
    others = {entry.name: entry.action for entry in report.entries if entry.action != "loaded"}
    assert others == {f"{net}.mapping.embed.weight": "adapted" for net in ("G", "D", "G_ema")}
    (tick,) = train(state, dataset)
    assert tick.is_last
    assert not torch.equal(state.G.synthesis.b16.conv1.weight, found.G.synthesis.b16.conv1.weight)

    trained = str(tmp_path / "models/generator.safetensors")
    save_generator(state.G_ema, Path(trained), dataset.class_names)
    common = ["--class", "square", "--out", str(tmp_path)]
    assert main(["generate", trained, "--seeds", "0", *common]) == 0
    searching = ["--distance", "random", "--steps", "1"]
    assert main(["project", trained, str(tmp_path / "seed0000.png"), *searching, *common]) == 0
    projected = str(tmp_path / "seed0000/projected_w.npz")
    assert main(["generate", trained, "--w", projected, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "w0000.png").exists()
