"""Images of any shape, number of channels and kind of label go the whole way from files to numbers and pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.evaluate.on_cluster import make_evaluator
from pipelines.params import Params
from pipelines.prepare import prepare
from pipelines.render.pictures import Found, draw_pictures
from stylegan.checkpoint import load_checkpoint, load_generator, save_checkpoint, save_generator
from stylegan.config.pyramid import spelt
from stylegan.data import ImageDataset
from stylegan.drawing.generate import generate_images
from stylegan.files import write_json
from stylegan.images import save_image
from stylegan.metrics.evaluation.evaluator import Sweep
from stylegan.state import TrainState
from stylegan.train import train
from tests.evaluation_results import evaluation_results
from tests.measuring import measured_here

Make = Callable[..., Params]
COLOURLESS = [f"augment.multipliers.{name}=0" for name in ("brightness", "contrast", "lumaflip", "hue", "saturation")]
NUM_IMAGES = 12
CASES = [
    # channels, [height, width], labels
    (1, (16, 16), [[0.0], [1.0], [0.5]]),  # continuous, of length 1
    (2, (16, 16), []),
    (3, (16, 24), [[1, 0, 1], [0, 1, 1], [0, 0, 0]]),  # multi-hot
    (4, (40, 24), [0, 2, 1]),  # classes
    (5, (20, 20), [0, 0, 0]),  # one class alone
]


def write_source(folder: Path, channels: int, size: tuple[int, int], labels: list[object]) -> None:
    """Smooth noise as PNG, or as .npy where PNG cannot hold it, and labels in turn"""
    folder.mkdir()
    names = []
    for number in range(NUM_IMAGES):
        coarse = np.random.default_rng(number).integers(0, 256, (4, 4, channels), np.uint8)
        pixels = coarse.repeat(-(-size[0] // 4), axis=0).repeat(-(-size[1] // 4), axis=1)[: size[0], : size[1]]
        names.append(f"{number:02d}.{'png' if channels <= 4 else 'npy'}")
        if channels <= 4:
            Image.fromarray(pixels.squeeze()).save(folder / names[-1])
        else:
            np.save(folder / names[-1], pixels)
    pairs = [[name, labels[number % len(labels)]] for number, name in enumerate(names)] if labels else None
    write_json(folder / "dataset.json", {"labels": pairs})


@pytest.mark.parametrize(("channels", "size", "labels"), CASES)
def test_the_whole_way(
    channels: int, size: tuple[int, int], labels: list[object], make_params: Make, tmp_path: Path
) -> None:
    write_source(tmp_path / "set", channels, size, labels)
    params = make_params(
        f"prepare.source={tmp_path / 'set'}", f"prepare.resolution={list(size)}", "prepare.mode=keep",
        f"prepare.labels={'file' if labels else 'none'}", f"data.use_labels={'true' if labels else 'false'}",
        "augment.mode=fixed", "augment.p=0.5", *(COLOURLESS if channels in (2, 5) else []), "render.video_scale=1",
        "render.num_seeds=6", "train.total_kimg=0.008", "loss.g_reg_interval=1",
    )  # fmt: skip
    prepare(params.prepare, tmp_path / "a.zip", tmp_path / "a.json", earth=tmp_path / "none.jpg", workers=1)
    dataset = ImageDataset(
        tmp_path / "a.zip", use_labels=params.data.use_labels, xflip=True, split="train", max_images=None
    )
    assert dataset.img_shape == (channels, *size)
    c_dim = len(labels[0]) if labels and isinstance(labels[0], list) else len(set(map(str, labels)))
    assert dataset.c_dim == c_dim

    state = create(params, dataset)
    (tick,) = list(train(state, dataset))
    assert tick.is_last
    save_checkpoint(state, tmp_path / "state.safetensors")
    load_checkpoint(create(params, dataset), tmp_path / "state.safetensors")

    save_generator(state.G_ema, tmp_path / "G.safetensors")
    G = load_generator(tmp_path / "G.safetensors")
    assert spelt(G.img_resolution) == spelt(dataset.resolution) == spelt(size)
    c = torch.rand(1, c_dim)  # any vector is a label
    images = generate_images(G, [1, 2], psi=0.7, cutoff=2, c=c, batch_size=2)
    assert images.shape == (2, channels, *size)
    save_image(images[0], tmp_path / "image.png")
    assert (tmp_path / "image.npy").exists() == (channels > 4)

    evaluator = make_evaluator(params.evaluate, dataset, tmp_path)
    measured, _floor = measured_here(evaluator, [Sweep("generator", G, (1.0,))], dataset)
    assert all(np.isfinite(value) for value in measured.numbers.values())
    found = Found(evaluation_results({"kid_x": 0.1}, floor={}, untrained={"kid_x": 1.0}), 0.5, None, None)
    pictures = draw_pictures(params, G, dataset, tmp_path, found)
    assert pictures.samples.startswith(b"\x89PNG")
    with Image.open(tmp_path / "samples.png") as sheet:
        assert (sheet.size, sheet.mode) == ((4 * size[1], 2 * size[0] + 2 * 21), "RGB")


def create(params: Params, dataset: ImageDataset) -> TrainState:
    return TrainState.create(
        params, img_resolution=dataset.resolution, img_channels=dataset.channels, c_dim=dataset.c_dim,
        device=torch.device("cpu"),
    )  # fmt: skip


def test_the_manifest_says_how_often_each_label_occurs(
    make_params: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_source(tmp_path / "set", 3, (16, 16), [[1, 0], [1, 1], [0, 0.5]])
    config = make_params(f"prepare.source={tmp_path / 'set'}", "prepare.labels=file").prepare
    prepare(config, tmp_path / "a.zip", tmp_path / "a.json", earth=tmp_path / "none.jpg", workers=1)
    facts = json.loads((tmp_path / "a.json").read_text())
    assert facts["label_vectors"]["num_images"] == [8, 8]
    assert facts["label_vectors"]["max"] == [1, 1]
    assert "labels: vectors of 2 numbers, which are not 0 in 8, 8 images\n" in capsys.readouterr().out
