"""A run next to the main chain (trial of a sweep, row of a ladder): in runs/<fingerprint>/, found again when finished.

The exported generator lies in models/ of the run's folder, its measurements in evaluations/<hash of how and of what>/.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines import evaluate
from pipelines.artifacts import metrics_json, train_json
from pipelines.artifacts.artifact import IN_RUNS
from pipelines.artifacts.metrics_json import MetricsReport
from pipelines.artifacts.workspace import ARCHIVE, EXPORTED
from pipelines.code_digest import code_digest
from pipelines.drawing.sheets import labelled_sheet, png_of
from pipelines.params import Params, TrackingConfig, fingerprint
from pipelines.tracking import publisher
from pipelines.tracking.journal import Journal
from pipelines.tracking.recording import record_evaluation, record_model
from pipelines.tracking.views import View, save, when
from stylegan.checkpoint import load_generator
from stylegan.drawing.generate import generate_images, labels_in_turn
from stylegan.files import sha256_of
from stylegan.metrics.extractors import load_extractor
from stylegan.text import print_lines

SAMPLE_SEEDS = range(8)  # of the images by which MLflow compares runs
CURVES = ("monitor/kid", "monitor/precision", "monitor/recall", "augment/p", "augment/r_t")  # that MLflow shows first
PREDECESSOR_SEC = 120.0  # that the processes of a killed trial or row may outlive it


class BusyError(RuntimeError):
    """Another process trains the run; the message says what to do."""


def await_predecessor(folder: Path) -> None:
    """Wait until the same run of a killed process is gone; it outlives it by some seconds. Raises BusyError."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "driver.lock", timeout=PREDECESSOR_SEC):
            pass
    except Timeout:
        owner = folder / "pid"
        pid = owner.read_text() if owner.exists() else "unknown"
        raise BusyError(
            f"{folder}: process {pid} has been training this run for {PREDECESSOR_SEC:g} s. Wait until it ends and "
            f"run the same command again, or end it with `kill {pid}`."
        ) from None


def evaluated(params: Params, folder: Path, root: Path, state: Path) -> Path:
    """Folder with the reports (schema in artifacts/metrics_json.py) on the run's generator, which is measured once by
    the code of today

    root: of the archive and the weights; statistics of real images are kept below `state`, which is runs/.
    """
    generator = folder / EXPORTED
    digest, trained = sha256_of(generator), train_json.read(folder, IN_RUNS)
    extractor = load_extractor(params.evaluate.extractor, params.evaluate.extractor_input_size, root / "assets")
    # Measurements of another version, or by other code, stay where they are.
    measured_by = [extractor.sha256, f"metrics.json {metrics_json.VERSION}", code_digest(evaluate.MEASURING_CODE)]
    where = folder / "evaluations" / fingerprint(params, digest, *measured_by, sections=["evaluate"])
    if not (where / "metrics.json").exists():
        G = load_generator(generator)
        dataset = evaluate.open_matching(root / ARCHIVE, G)
        subject = evaluate.Subject(G, trained.seed, digest, trained.cur_nimg)
        where.mkdir(parents=True, exist_ok=True)
        evaluate.measure(params, subject, dataset, root / "assets", state / "features", where)
    return where


def record_measurement(params: Params, folder: Path, report: MetricsReport, root: Path) -> None:
    """Record a measurement with its run, and images of the same seeds as every other run's"""
    with publisher.publishing(journal := Journal(folder), params.tracking):
        record_evaluation(journal, report, params.evaluate.model_dump(mode="json"))
        journal.samples(samples(params, folder, root))
        record_model(journal, folder, root, params, report)


def samples(params: Params, folder: Path, root: Path) -> dict[int, bytes]:
    """A PNG of each seed by the run's generator at psi 1, enlarged for the eye"""
    G = load_generator(folder / EXPORTED)
    dataset = evaluate.open_matching(root / ARCHIVE, G)
    c = labels_in_turn(dataset, len(SAMPLE_SEEDS))
    img = generate_images(G, SAMPLE_SEEDS, psi=1.0, c=c, batch_size=len(SAMPLE_SEEDS))
    pages = [labelled_sheet(one[None], 1, params.render.video_scale) for one in img]
    return {seed: png_of(page) for seed, page in zip(SAMPLE_SEEDS, pages, strict=True)}


def save_views(config: TrackingConfig, views: Sequence[View]) -> Mapping[str, str]:
    """Save views of MLflow  ->  name: address; if the server cannot be reached, say so and return none"""
    try:
        return save(config, views)
    except publisher.TrackingError as error:
        print_lines(f"MLflow: {error}. Runs are kept and sent later.")
        return {}


def tell_views(config: TrackingConfig, views: Sequence[View]) -> Mapping[str, str]:
    """`save_views`, and print the addresses."""
    links = save_views(config, views)
    print_lines(*(f"{name}{when(address)}: {address}" for name, address in links.items()))
    return links
