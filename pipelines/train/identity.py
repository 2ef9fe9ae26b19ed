"""What a run is made from, and the names that its hashes give it: parameters, archive, networks and the code."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.artifacts.workspace import ARCHIVE
from pipelines.code_digest import code_digest
from pipelines.params import TRAINED_SECTIONS, Params, decides_weights, fingerprint, leaves, short_hash, trained_values
from pipelines.train.start import open_training_set, pretrained_file
from stylegan.data import ImageDataset
from stylegan.files import sha256_of
from stylegan.metrics.extractors import Extractor, load_extractor
from stylegan.monitor import choose_reals

# The code that decides the weights; a change of it is a new run, as a changed parameter is. Training starts and resumes
# from what checkpoint.py reads.
CODE = (
    "pipelines/artifacts/dataset.py", "pipelines/train/start.py", "stylegan/augment", "stylegan/backends.py",
    "stylegan/checkpoint.py", "stylegan/config/augmentation.py", "stylegan/config/modes.py",
    "stylegan/config/pyramid.py", "stylegan/data/annotations.py", "stylegan/data/arrays.py",
    "stylegan/data/dataset.py", "stylegan/data/decoded.py", "stylegan/data/decoders.py", "stylegan/data/heif.py",
    "stylegan/data/index.py", "stylegan/data/labels.py", "stylegan/data/layout.py", "stylegan/data/limits.py",
    "stylegan/data/loader.py", "stylegan/data/problems.py", "stylegan/data/zipped.py",
    "stylegan/distributed.py", "stylegan/headers.py", "stylegan/images.py",
    "stylegan/loss.py", "stylegan/networks/adain.py", "stylegan/networks/discriminator.py",
    "stylegan/networks/generator.py", "stylegan/networks/growing.py", "stylegan/networks/layers.py", "stylegan/ops",
    "stylegan/state.py", "stylegan/step.py", "stylegan/tensor_files.py", "stylegan/train.py", "stylegan/transfer.py",
)  # fmt: skip
# The code that decides which snapshot is the best: after a change of it, snapshots that are kept are measured again.
MONITOR_CODE = (
    "stylegan/metrics/arrays.py", "stylegan/metrics/evaluation/metric.py", "stylegan/metrics/evaluation/names.py",
    "stylegan/metrics/evaluation/ranks.py", "stylegan/metrics/evaluation/sampling.py",
    "stylegan/metrics/extractors/efficientnet.py", "stylegan/metrics/extractors/inception.py",
    "stylegan/metrics/extractors/loading.py", "stylegan/metrics/extractors/model_files.py",
    "stylegan/metrics/extractors/pixels.py", "stylegan/metrics/extractors/scripts.py",
    "stylegan/metrics/extractors/standard.py", "stylegan/metrics/extractors/trial.py",
    "stylegan/metrics/extractors/weights.py", "stylegan/metrics/kid.py", "stylegan/metrics/left_out.py",
    "stylegan/metrics/neighbors.py", "stylegan/metrics/precision_recall.py",
    "stylegan/monitor.py",
)  # fmt: skip


@dataclass(frozen=True)
class Inputs:
    """What a run is made from, and the folders of its state."""

    dataset: ImageDataset
    pretrained: Path | None
    assets: Path
    folder: Path  # of the run that grows with train.total_kimg
    fixed_folder: Path  # of the run of this length and with this monitor, by which experiments compare
    yardstick: str | None  # by which snapshots are measured; None if they are not


def inputs_of(params: Params, root: Path, state: Path) -> Inputs:
    """Find what lies below `root`; the run's folders are below `state`. Raises as `run`."""
    dataset = open_training_set(root / ARCHIVE, params)
    pretrained, assets = pretrained_file(params, root), (root / "assets").absolute()
    extractor = monitor_extractor(params, dataset, assets)
    folder = state / name_of(params, dataset.digest, pretrained)
    fixed_folder = state / fixed_name_of(params, dataset.digest, pretrained, extractor)
    return Inputs(dataset, pretrained, assets, folder, fixed_folder, yardstick_of(params, extractor))


def monitor_extractor(params: Params, dataset: ImageDataset, assets: Path) -> Extractor | None:
    """The network that sees what is measured while training; None if nothing is measured

    Raises MetricError if there are too few images to measure with, FileNotFoundError where there are no weights.
    """
    config = params.monitor
    if config.num_images == 0:
        return None
    choose_reals(dataset, config, params.train.seed)
    try:
        return load_extractor(config.extractor, config.extractor_input_size, assets)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"monitor.extractor is {config.extractor}: {error} The same holds for monitor.extractor, and with "
            "monitor.num_images 0 and monitor.export last nothing is measured while training."
        ) from None


def name_of(params: Params, archive_sha256: str, pretrained: Path | None) -> str:
    """Name of a run that grows: hash of everything that decides its weights at every position"""
    values = {path: value for path, value in leaves(trained_values(params)) if decides_weights(path)}
    return short_hash(values, archive_sha256, code_digest(CODE), *_start_from(pretrained))


def fixed_name_of(
    params: Params, archive_sha256: str, pretrained: Path | None, extractor: Extractor | None, *more: str
) -> str:
    """Name of a run of one length: also of where it ends, and of which of its snapshots is exported"""
    chosen_by = [] if extractor is None else [extractor.sha256]
    digests = [archive_sha256, code_digest(CODE), *_start_from(pretrained), *chosen_by, *more]
    return fingerprint(params, *digests, sections=TRAINED_SECTIONS)


def yardstick_of(params: Params, extractor: Extractor | None) -> str | None:
    """What the numbers of snapshots have to share to be compared; None if nothing is measured"""
    if extractor is None:
        return None
    config = params.monitor.model_dump(mode="json", exclude={"export"})
    return short_hash(config, extractor.sha256, code_digest(MONITOR_CODE))


def _start_from(pretrained: Path | None) -> list[str]:
    return [] if pretrained is None else [sha256_of(pretrained)]
