"""What a run is made from, and the name that its hash gives it: parameters, archive, networks and the code."""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import stylegan
from pipelines.artifacts.dataset import open_dataset
from pipelines.artifacts.workspace import ARCHIVE
from pipelines.params import TRAINED_SECTIONS, Params, fingerprint
from pipelines.train.start import pretrained_file
from stylegan.config import ConfigError, colour_problems, count_problems
from stylegan.config.sections import DataConfig
from stylegan.data import ArchiveError, ImageDataset
from stylegan.files import sha256_of
from stylegan.metrics.extractors import Extractor, load_extractor
from stylegan.monitor import choose_reals

# The code that decides the weights; a change of it is a new run, as a changed parameter is.
CODE = (
    "augment", "backends.py", "config/pyramid.py", "data/arrays.py", "data/dataset.py", "data/decoded.py",
    "data/index.py", "data/labels.py", "data/loader.py", "data/zipped.py", "distributed.py", "images.py", "loss.py",
    "networks", "ops", "state.py", "step.py", "train.py", "transfer.py",
)  # fmt: skip


@dataclass(frozen=True)
class Inputs:
    """What a run is made from, and the folder of its state."""

    dataset: ImageDataset
    pretrained: Path | None
    assets: Path
    folder: Path


def inputs_of(params: Params, root: Path, state: Path) -> Inputs:
    """Find what lies below `root`; the run's folder is below `state`. Raises as `run`."""
    dataset = open_training_set(root / ARCHIVE, params)
    pretrained, assets = pretrained_file(params, root), (root / "assets").absolute()
    extractor = monitor_extractor(params, dataset, assets)
    return Inputs(dataset, pretrained, assets, state / name_of(params, dataset.digest, pretrained, extractor))


def open_training_set(archive: Path, params: Params) -> ImageDataset:
    """The train split as the parameters ask for it

    Raises ConfigError when its channels or its split are not what the augmentations need, or it has too few images for
    what will be measured.
    """
    data = params.data
    dataset = open_dataset(archive, use_labels=data.use_labels, xflip=data.xflip, max_images=data.max_images)
    problems = [*colour_problems(params, dataset.channels), *count_problems(params, *count_images(dataset, data))]
    if params.augment.mode == "ada_rv" and not has_holdout(dataset):
        problems.append(
            f"augment.mode is ada_rv, which compares training images with held-out ones, but {archive} holds none out. "
            "Prepare it with a higher prepare.holdout_fraction, or set augment.mode to ada."
        )
    if problems:
        raise ConfigError("\n".join(problems))
    return dataset


def count_images(dataset: ImageDataset, config: DataConfig) -> tuple[int, int]:
    """How many images the archive has to train on, of which the dataset may be a subset, and how many it holds out"""
    whole = dataset if config.max_images is None else open_dataset(dataset.path, use_labels=False)
    return whole.num_images, whole.num_in_archive - whole.num_images


def has_holdout(dataset: ImageDataset) -> bool:
    """Whether the archive holds images out"""
    try:
        dataset.holdout()
    except ArchiveError:
        return False
    return True


def monitor_extractor(params: Params, dataset: ImageDataset, assets: Path) -> Extractor | None:
    """The network that sees what is measured while training; None where nothing is measured

    Raises MetricError when there are too few images to measure with, FileNotFoundError where there are no weights.
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


def code_digest() -> str:
    """sha256 over what the sources in CODE do: comments, docstrings and layout may change"""
    root = Path(stylegan.__file__).parent
    digest = hashlib.sha256()
    for entry in CODE:
        path = root / entry
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.relative_to(root).as_posix().encode())
            for part in syntax_of(ast.parse(file.read_bytes())):
                digest.update(part.encode())
    return digest.hexdigest()


def syntax_of(node: ast.AST) -> Iterator[str]:
    """Kinds and values of a syntax tree in order, without docstrings

    Not ast.dump, whose text differs between versions of Python: fields that hold nothing are left out.
    """
    yield f"({type(node).__name__}"
    for name, value in ast.iter_fields(node):
        values = value if isinstance(value, list) else [value]
        if name == "body" and values and _is_docstring(node, values[0]):
            values = values[1:]
        for item in values:
            if isinstance(item, ast.AST):
                yield from syntax_of(item)
            elif item is not None:
                yield f" {name}={item!r}"
    yield ")"


def _is_docstring(node: ast.AST, first: object) -> bool:
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    value = first.value if documented and isinstance(first, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def name_of(params: Params, archive_sha256: str, pretrained: Path | None, extractor: Extractor | None) -> str:
    """Name of a run: hash of everything that decides its weights, and which of them are exported"""
    start_from = [] if pretrained is None else [sha256_of(pretrained)]
    chosen_by = [] if extractor is None else [extractor.sha256]
    return fingerprint(params, archive_sha256, code_digest(), *start_from, *chosen_by, sections=TRAINED_SECTIONS)
