"""Stage `render`: generator, archive, numbers and training log -> the images in reports/ and reports/index.html."""

from pathlib import Path

import torch

from pipelines.artifacts import manifest_json, metrics_json, train_json
from pipelines.artifacts.dataset import open_dataset
from pipelines.artifacts.ticks import read_csv
from pipelines.artifacts.workspace import ARCHIVE, EXPORTED, METRICS, TICKS
from pipelines.diagnosis.alarms import alarms
from pipelines.params import Params
from pipelines.render.charts import MonitorCounts, frontier_chart, layer_chart, training_curves
from pipelines.render.latent_pictures import band_names, walk_rows
from pipelines.render.pictures import Found, compare_bands, draw_pictures, write
from pipelines.render.report_page import Facts, build_page, target
from stylegan.backends import configure_backends
from stylegan.checkpoint import load_generator


class RenderError(RuntimeError):
    """The stage cannot run on what it found; the message says what to do."""


def render(params: Params, root: Path) -> Path:
    """Draw everything under root/reports and return the path of the page.

    Raises RenderError and the errors of the files it reads, each with its remedy.
    """
    configure_backends(allow_tf32=False)
    torch.set_num_threads(params.cluster.cpus_per_worker)  # as in workers: a sum over other threads has other bits
    reports = root / "reports"
    results = metrics_json.read(root / METRICS)
    trained = train_json.read(root)
    ticks = read_csv(root / TICKS)
    G = load_generator(root / EXPORTED)
    dataset = open_dataset(root / ARCHIVE, use_labels=G.c_dim > 0)
    found = Found(
        results,
        ticks[-1].augment.p or 0.0,
        evaluated_picture(reports / "neighbors.png") if results.neighbors else None,
        evaluated_picture(reports / "realism.png") if results.realism else None,
    )
    pictures = draw_pictures(params, G, dataset, reports, found)
    facts = Facts(
        results=results,
        ticks=ticks,
        alarms=alarms(ticks, params),
        bands=compare_bands(params, G, dataset),
        config=params,
        num_images=len(dataset),
        data=manifest_json.overview_of(root / ARCHIVE, results.archive_sha256),
        bands_of_styles=band_names(G.num_ws),
        num_keys=len(walk_rows(params.render.interpolation_images, results)),
        img_shape=dataset.img_shape,
        fingerprint=trained.fingerprint,
    )
    counts = MonitorCounts.of(params, len(dataset))
    write(reports / "training.png", training_curves(ticks, target(params), counts, dark=False))
    write(reports / "layers.png", layer_chart(ticks, facts.bands, dark=False))
    chart = frontier_chart(results, dark=False)
    write(reports / "frontier.png", chart)
    page = reports / "index.html"
    write(page, build_page(facts, pictures).encode())
    return page


def evaluated_picture(path: Path) -> bytes:
    """A sheet that evaluate drew. Raises RenderError if it is lost."""
    if not path.exists():
        raise RenderError(f"{path}: file not found. Run `dvc repro evaluate`, which writes it.")
    return path.read_bytes()
