"""The rows of a ladder, one after the other: trained, measured, and found again when that is done."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ray
import torch
from torch import Tensor

from pipelines.ablate import tables
from pipelines.ablate.ladder_rows import Standing, costs, measured_rows, series
from pipelines.artifacts import ladder_json, metrics_json, ticks
from pipelines.artifacts.artifact import IN_RUNS
from pipelines.artifacts.dataset import open_dataset
from pipelines.artifacts.ladder_json import Quantiles
from pipelines.artifacts.train_json import is_finished
from pipelines.artifacts.workspace import ARCHIVE, EXPORTED
from pipelines.cluster import capacity, connection
from pipelines.cluster.progress import describe_costs
from pipelines.experiments import CURVES, await_predecessor, evaluated, record_measurement, save_views, tell_views
from pipelines.ladders import ladder
from pipelines.ladders.ladder import Ladder, Row
from pipelines.params import TRAINED_SECTIONS, Params, fingerprint, seeds_from
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import publishing
from pipelines.tracking.views import View
from pipelines.train import Place, exclusive, inputs_of, run_experiment
from stylegan.analysis.peaks import feature_peaks, summary
from stylegan.backends import prepare_device
from stylegan.checkpoint import load_generator
from stylegan.config import ConfigError
from stylegan.config.sections import Kernels
from stylegan.data import ImageDataset
from stylegan.drawing.generate import styles
from stylegan.files import sha256_of, write_csv
from stylegan.metrics.evaluation.sampling import draw_labels
from stylegan.networks import Generator
from stylegan.networks.sizes import parameter_counts
from stylegan.text import print_lines
from stylegan.wording import counted


@dataclass(frozen=True)
class Job:
    """What all rows of a ladder share."""

    ladder: Ladder
    root: Path  # of archive, weights and pretrained networks
    state: Path  # runs/
    name: str  # of the ladder with these parameters and images


def ablate(
    params: Params, chosen: Ladder, rows: Sequence[str], root: Path, state: Path, reports: Path
) -> list[Standing]:
    """Run or resume these rows of a ladder, write the reports after each, and return what became of them.

    Raises ConfigError for a row that there is not, and for what no row can do, before anything is trained.
    """
    chosen_rows = [chosen.row(name) for name in rows] or list(chosen.rows)
    capacity.refuse_impossible(params.cluster)
    seeds = seeds_from(params.ablate.seeds, params.train.seed)
    num_runs = len(seeds) * len(chosen_rows)
    dataset = open_split(params, root)
    refuse_what_none_can(params, chosen, chosen_rows, lambda: len(dataset))
    name = fingerprint(
        params, dataset.digest, chosen.model_dump_json(), sections=(*TRAINED_SECTIONS, "evaluate", "ablate")
    )
    job = Job(chosen, root.absolute(), state.absolute(), f"ladder-{chosen.name}-{name}")
    links = announce(params, job, chosen_rows)
    found: list[Standing] = []
    with exclusive(state / "ladders" / job.name), connection.connect(params.cluster):
        for number, (seed, row) in enumerate(itertools.product(seeds, chosen_rows), 1):
            beside = f", seed {seed}" if len(seeds) > 1 else ""
            print_lines(f"row {number} of {num_runs}: {row.name} ({row.label}){beside}")
            seeded = params.model_copy(update={"train": params.train.model_copy(update={"seed": seed})})
            found.append(standing(seeded, row, job, lambda: len(dataset), Place(number, num_runs)))
            took = f"; {describe_costs(found[-1].ticks)}" if found[-1].ticks else ""
            print_lines(f"row {row.name}: {found[-1].problem or 'measured'}{took}")
            tables.write(found, chosen, reports, links)
            save_views(params.tracking, views(job, found))
        record(found, job, params, reports)
    return found


def refuse_what_none_can(
    params: Params, chosen: Ladder, chosen_rows: Sequence[Row], num_images: Callable[[], int]
) -> None:
    """Raises the ConfigError of the first row when no row has valid parameters: it is not the rows' fault."""
    problems = []
    for row in chosen_rows:
        try:
            ladder.of_row(params, chosen, row.name, num_images)
            return
        except ConfigError as error:
            problems.append(error)
    raise problems[0]


def standing(params: Params, row: Row, job: Job, num_images: Callable[[], int], place: Place) -> Standing:
    """Train and measure a row, or find that done; whatever goes wrong is what became of it"""
    try:
        row_params = ladder.of_row(params, job.ladder, row.name, num_images)
        return measured(row_params, row, job, num_images, place)
    except Exception as error:  # a row is an experiment, and the others are worth having without it
        return Standing(row, params.train.seed, problem=reason(error))


def measured(params: Params, row: Row, job: Job, num_images: Callable[[], int], place: Place) -> Standing:
    """Train and measure a row, or find that done."""
    folder = inputs_of(params, job.root, job.state).fixed_folder
    await_predecessor(folder)
    journal = Journal(folder)
    journal.tags({"ladder": job.ladder.name, "ladder_record": "row", "ladder_row": row.name, "ladder_run": job.name})
    journal.title(f"{job.ladder.name}/{row.name}")
    if not is_finished(folder):
        run_experiment(params, job.root, job.state, place=place)
    dataset = open_split(params, job.root)
    where = evaluated(params, folder, job.root, job.state)
    report = metrics_json.read(where / "metrics.json", IN_RUNS)
    record_measurement(params, folder, report, job.root)
    return Standing(
        row,
        params.train.seed,
        run=folder.name,
        report=report,
        ticks=ticks.read(folder),
        counts=parameter_counts(params, resolution=dataset.resolution, channels=dataset.channels, c_dim=dataset.c_dim),
        num_images=min(params.data.max_images or num_images(), num_images()),
        mode=params.augment.mode,
        peaks=peaks(params, folder, dataset) if job.ladder.peaks else {},
    )


def open_split(params: Params, root: Path) -> ImageDataset:
    """The images that results are compared with, with the labels that the networks take"""
    return open_dataset(root / ARCHIVE, use_labels=params.data.use_labels)


def peaks(params: Params, folder: Path, dataset: ImageDataset) -> Mapping[int, Quantiles]:
    """Quantiles of feature map peaks of the run's generator, by resolution; measured once"""
    generator, count = folder / EXPORTED, params.ablate.peaks_num_images
    seed, use_gpu = params.evaluate.seed, params.cluster.use_gpu
    path = folder / "peaks" / f"{fingerprint(params, sha256_of(generator), str(count), str(seed), sections=())}.json"
    if not path.exists():
        # A process of its own gives a GPU back whole, which the next row trains on.
        measure = ray.remote(num_cpus=1, num_gpus=int(use_gpu), max_calls=1)(_peaks)
        G, c = load_generator(generator), draw_labels(dataset, count, seed)
        device = torch.device("cuda" if use_gpu else "cpu")
        found = ray.get(measure.remote(G, c, params.evaluate.batch_size, device, params.train.kernels))
        ladder_json.write_peaks(path, {res: Quantiles(**values) for res, values in found.items()})
    return ladder_json.read_peaks(path)


def _peaks(
    G: Generator, c: Tensor, batch_size: int, device: torch.device, kernels: Kernels
) -> dict[int, dict[str, float]]:
    prepare_device(device, kernels, allow_tf32=False)  # training has said what it returns
    G = G.to(device)
    found = feature_peaks(G, styles(G, range(len(c)), c), batch_size=batch_size)
    return {res: summary(values) for res, values in found.items()}


def record(found: Sequence[Standing], job: Job, params: Params, reports: Path) -> None:
    """Record the table as a run of its own, and with it the files that show it and one of what the rows took."""
    journal = Journal(job.state / job.name)
    took = [cells for each in found if (cells := costs(each))]
    if took:
        write_csv(journal.folder / "costs.csv", took)
        journal.artifact(journal.folder / "costs.csv")
    with publishing(journal, params.tracking):
        journal.tags({"ladder": job.ladder.name, "ladder_record": "table", "ladder_run": job.name})
        journal.summary(0, series(found, job.ladder))
        journal.title(f"{job.ladder.name}: table")
        for path in sorted(reports.iterdir()):
            journal.artifact(path)
        journal.status("FAILED" if any(each.problem for each in found) else "FINISHED")


def reason(error: BaseException) -> str:
    """What a failure says, on one line"""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)}"[:400]


def announce(params: Params, job: Job, chosen_rows: Sequence[Row]) -> Mapping[str, str]:
    """Say what begins and where to watch it  ->  addresses by name"""
    num_seeds = len(seeds_from(params.ablate.seeds, params.train.seed))
    repeated = f", each with {num_seeds} seeds" if num_seeds > 1 else ""
    print_lines(
        f"{job.name}: {counted(len(chosen_rows), 'row')} of {params.ablate.total_kimg:g} kimg{repeated}, one after the "
        "other"
    )
    return tell_views(params.tracking, views(job, []))


def views(job: Job, found: Sequence[Standing]) -> list[View]:
    """How MLflow shows the rows: results in the order of the table, then training; and images of the same seeds"""
    rows = f"tags.ladder_run = '{job.name}' and tags.ladder_record = 'row'"
    measured = tables.shown_metrics(measured_rows(found, job.ladder))
    results = [f"eval/{metric.name}" for metric in measured]
    return [
        View("rows", rows, key=job.name, results=results, curves=CURVES),
        View("images", rows, key=f"{job.name}-images", mode="ARTIFACT"),
    ]
