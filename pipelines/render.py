"""Stage `render`: generator, archive, numbers and training log -> the pictures in reports/ and reports/index.html."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from pipelines.artifacts.dataset import open_dataset
from pipelines.artifacts.ticks import read_csv
from pipelines.artifacts.workspace import ARCHIVE, EXPORTED, METRICS, TICKS, TRAINED
from pipelines.charts import frontier_chart, layer_chart, training_curves
from pipelines.diagnosis.alarms import alarms
from pipelines.drawing.sheets import labelled_sheet, png_of
from pipelines.params import ROOT, Params, load
from pipelines.report import Facts, Pictures, build_page, target
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import publishing
from pipelines.tracking.recording import record_report, source_tags
from stylegan.analysis import band_energies
from stylegan.backends import configure_backends
from stylegan.checkpoint import load_generator
from stylegan.data import ImageDataset
from stylegan.files import replacing
from stylegan.generate import generate_images, interpolate, style_mixing, truncation_strip
from stylegan.images import to_float
from stylegan.networks import Generator
from stylegan.video import save_mp4


class RenderError(RuntimeError):
    """The stage cannot run on what it found; the message says what to do."""


def render(params: Params, root: Path) -> Path:
    """Draw everything under root/reports and return the path of the page.

    Raises RenderError and the errors of the files it reads, each with its remedy.
    """
    configure_backends(allow_tf32=False)
    reports = root / "reports"
    results = read_json(root / METRICS, "evaluate")
    trained = read_json(root / TRAINED, "train")
    ticks = read_csv(root / TICKS)
    G = load_generator(root / EXPORTED)
    dataset = open_dataset(root / ARCHIVE, use_labels=G.c_dim > 0)
    pictures = draw_pictures(params, G, dataset, reports, neighbor_picture(results, reports))
    commit = source_tags(root).get("mlflow.source.git.commit")
    facts = Facts(
        results=results,
        ticks=ticks,
        alarms=alarms(ticks, params),
        bands=compare_bands(params, G, dataset),
        config=params,
        num_images=len(dataset),
        img_shape=dataset.img_shape,
        fingerprint=trained["fingerprint"],
        commit=None if commit is None else str(commit),
    )
    write(reports / "training.png", training_curves(ticks, target(params), dark=False))
    write(reports / "layers.png", layer_chart(ticks, facts.bands, dark=False))
    psi = results["recommended"]["psi"]
    write(reports / "frontier.png", frontier_chart(results["truncation"], results["floor"], psi, dark=False))
    page = reports / "index.html"
    write(page, build_page(facts, pictures).encode())
    return page


def neighbor_picture(results: dict[str, Any], reports: Path) -> bytes | None:
    """The sheet that evaluate drew; None where it looked for no neighbours.

    Raises RenderError when it is lost.
    """
    path = reports / "neighbors.png"
    if results["neighbors"] is None:
        return None
    if not path.exists():
        raise RenderError(f"{path}: not there. Run `dvc repro evaluate`, which writes it.")
    return path.read_bytes()


def draw_pictures(
    params: Params, G: Generator, dataset: ImageDataset, reports: Path, neighbors: bytes | None
) -> Pictures:
    """Everything that shows pictures, written to reports/ and returned as bytes.

    A conditional generator gets the labels of the real images shown, so both sheets hold the same classes.
    """
    config = params.render
    reals, c = choose_reals(dataset, config.num_seeds, params.evaluate.seed)
    sheets = {
        "reals": labelled_sheet(reals, sheet_columns(len(reals)), config.video_scale),
        "samples": samples_sheet(params, G, c),
        "truncation": truncation_sheet(params, G, c),
        "mixing": mixing_sheet(params, G, c),
    }
    pngs = {name: write(reports / f"{name}.png", png_of(sheet)) for name, sheet in sheets.items()}
    frames = interpolate(
        G, config.interpolation_seeds, config.interpolation_frames, psi=config.truncation_psi,
        c=labels_for(c, len(config.interpolation_seeds)), batch_size=params.evaluate.batch_size,
    )  # fmt: skip
    save_mp4(frames, reports / "interpolation.mp4", fps=config.video_fps, scale=config.video_scale)
    return Pictures(**pngs, film=(reports / "interpolation.mp4").read_bytes(), neighbors=neighbors)


def compare_bands(params: Params, G: Generator, dataset: ImageDataset) -> dict[str, dict[int, float]]:
    """Band energies of as many generated images, untruncated and with the labels of the real ones, as of real images"""
    config, batch_size = params.render, params.evaluate.batch_size
    reals, c = choose_reals(dataset, config.num_seeds, params.evaluate.seed)
    gen = generate_images(
        G, range(config.num_seeds), psi=1.0, c=labels_for(c, config.num_seeds), batch_size=batch_size
    )  # fmt: skip
    resolutions = G.synthesis.block_resolutions
    return {
        name: band_energies(map(to_float, torch.split(img, batch_size)), resolutions)
        for name, img in (("generated", gen), ("real", reals))
    }


def choose_reals(dataset: ImageDataset, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random training images, without repetition, and their labels  ->  uint8 [N, C, H, W], [N, c_dim]; N <= count"""
    return dataset.batch(np.random.default_rng(seed).permutation(len(dataset))[:count])


def labels_for(c: Tensor, count: int) -> Tensor:
    """Repeat labels [N, c_dim] until there are `count`"""
    return c[torch.arange(count) % len(c)]


def sheet_columns(count: int) -> int:
    """Columns that make a sheet of square images a little wider than high: 10 for 60"""
    return math.ceil(math.sqrt(count * 5 / 3))


def samples_sheet(params: Params, G: Generator, c: Tensor) -> Image:
    """One generated image for each seed from 0"""
    config = params.render
    images = generate_images(
        G, range(config.num_seeds), psi=config.truncation_psi, c=labels_for(c, config.num_seeds),
        batch_size=params.evaluate.batch_size,
    )  # fmt: skip
    return labelled_sheet(images, sheet_columns(len(images)), config.video_scale)


def truncation_sheet(params: Params, G: Generator, c: Tensor) -> Image:
    """Seeds (rows) over psi (columns)"""
    config = params.render
    seeds, psis = range(config.strip_num_seeds), config.psi_strip
    strip = truncation_strip(G, seeds, psis, c=labels_for(c, len(seeds)), batch_size=params.evaluate.batch_size)
    names = [f"{psi:g}" for psi in psis]
    return labelled_sheet(strip, len(psis), config.video_scale, column_labels=names, row_labels=[str(s) for s in seeds])


def mixing_sheet(params: Params, G: Generator, c: Tensor) -> Image:
    """Every row with the layers of every column, their own pictures to the left and above"""
    config = params.render
    rows, cols, mixed = style_mixing(
        G, config.mixing_rows, config.mixing_cols, config.mixing_layers, psi=config.truncation_psi, c=c[:1],
        batch_size=params.evaluate.batch_size,
    )  # fmt: skip
    corner = torch.full_like(rows[:1], 255)
    header = torch.cat([corner, cols])
    body = torch.cat([rows[:, None], mixed.reshape(len(rows), len(cols), *rows.shape[1:])], dim=1)
    table = torch.cat([header, body.flatten(0, 1)])
    return labelled_sheet(
        table, len(cols) + 1, config.video_scale,
        column_labels=["", *map(str, config.mixing_cols)], row_labels=["", *map(str, config.mixing_rows)],
    )  # fmt: skip


def write(path: Path, content: bytes) -> bytes:
    """Write a file whole, and pass its content on."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return content


def read_json(path: Path, stage: str) -> dict[str, Any]:
    """Content of a JSON file. Raises RenderError that names the stage which writes it."""
    if not path.exists():
        raise RenderError(f"{path}: not there. Run `dvc repro {stage}`, which writes it.")
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def main() -> None:
    """Render what params.yaml says, with `section.key=value` arguments over it, and record it for MLflow."""
    params = load(overrides=sys.argv[1:])
    root = Path.cwd()
    page = render(params, root)
    journal = Journal(ROOT / "runs" / read_json(root / TRAINED, "train")["fingerprint"])
    with publishing(journal, params.tracking):
        record_report(journal, root / "reports")
    print(f"report: {page}")


if __name__ == "__main__":
    try:
        main()
    except (FileNotFoundError, RenderError, ValueError) as error:  # every error of ours is one of these
        sys.exit(f"render: {error}")
