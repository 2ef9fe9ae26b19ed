"""`python -m pipelines.evaluate --network FILE`: any generator against any images, outside the chain of stages.

Reports go to reports/evaluations/NAME-FINGERPRINT/ and the numbers to MLflow as a run of that fingerprint, which stands
for the network, the images and the section `evaluate`.
"""

import os
import re
import zipfile
from pathlib import Path

from pipelines.artifacts.metrics_json import MetricsReport
from pipelines.artifacts.workspace import ARCHIVE
from pipelines.evaluate.measurement import Subject, measure, open_matching
from pipelines.params import ROOT, Params, fingerprint, flatten
from pipelines.prepare import EARTH, prepare
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import publishing
from pipelines.tracking.recording import record_evaluation
from stylegan.config import parse
from stylegan.config.modes import MODES
from stylegan.config.sections import PrepareConfig
from stylegan.data import ArchiveError, ImageDataset
from stylegan.data.archive import is_picture
from stylegan.data.layout import INDEX
from stylegan.data.zipped import ZipReader
from stylegan.files import sha256_of
from stylegan.generators import load_any_generator
from stylegan.networks import Generator
from stylegan.text import print_lines

ENTRY = re.compile(r"\d{5}/img\d{8}\.(png|npy)")  # of an archive


def evaluate_file(params: Params, network: Path, data: Path | None, out: Path | None) -> MetricsReport:
    """Measure the generator in a file against images, write the reports, record them, and return what they say.

    Raises the errors of both files, and EvaluationError where they do not fit together, each with its remedy.
    """
    G, _ = load_any_generator(network)
    sha256 = sha256_of(network)
    dataset = open_matching(archive_of(data or ARCHIVE, G, params), G)
    name = fingerprint(params.evaluate, sha256, dataset.digest)
    out = out or Path("reports/evaluations") / f"{network.stem}-{name}"
    journal = Journal(ROOT / "runs" / name)
    with publishing(journal, params.tracking):
        subject = Subject(G, params.train.seed, sha256, cur_nimg=None)
        report = measure(params, subject, dataset, Path("assets"), ROOT / "runs" / "features", out)
        journal.params(flatten({"network": network.name, "generator": G.config.model_dump(mode="json")}))
        journal.dataset(dataset.path.name, dataset.digest)
        record_evaluation(journal, report, params.evaluate.model_dump(mode="json"))
        journal.artifact(out / "metrics.json")
        journal.artifact(out / "neighbors.png")
        journal.status("FINISHED")
    print_lines(f"reports: {out}")
    return report


def archive_of(data: Path, G: Generator, params: Params) -> Path:
    """The archive itself if it suits G, or one made from a folder, zip or dataset at the size and in the colours of G

    What else decides it is the section `prepare`, of which nothing is held out that the data do not hold out. Raises
    ArchiveError if more images than prepare.max_bad_share cannot be used.
    """
    data = data.expanduser()
    if not data.exists():
        raise ArchiveError(f"{data}: not found. Give a dataset archive, a folder, a .zip or a dataset file.")
    if is_archive(data) and suits(data, G):
        return data
    values = params.prepare.model_dump(mode="json") | {
        "source": str(data),
        "resolution": G.img_resolution,
        "mode": MODES.get(G.img_channels, "keep"),
        "labels": "none" if G.c_dim == 0 else choose_labels(data, params),
        "holdout_fraction": 0.0,
    }
    config = parse(PrepareConfig, values, f"--data {data}")
    folder = ROOT / "runs" / "archives" / fingerprint(config, str(data.resolve()))
    prepare(config, folder / "archive.zip", folder / "manifest.json", EARTH, workers=os.cpu_count() or 1)
    return folder / "archive.zip"


def is_archive(data: Path) -> bool:
    """Whether a file is laid out as an archive of `prepare` or of the official tools, whose images are all alike"""
    try:
        names = [name.decode(errors="backslashreplace") for _, name in ZipReader(data).entries()]
    except (OSError, zipfile.BadZipFile):
        return False
    images = [name for name in names if is_picture(name)]
    return bool(images) and INDEX in names and all(ENTRY.fullmatch(name) for name in images)


def suits(data: Path, G: Generator) -> bool:
    """Whether the images of an archive have the size and the channels of G"""
    dataset = ImageDataset(data, use_labels=False, xflip=False, split="all", max_images=1)
    return (dataset.resolution, dataset.channels) == (G.img_resolution, G.img_channels)


def choose_labels(data: Path, params: Params) -> str:
    """prepare.labels, or where that is none the labels that an archive holds, or else sub-folders"""
    if params.prepare.labels != "none":
        return params.prepare.labels
    return "file" if is_archive(data) else "folders"
