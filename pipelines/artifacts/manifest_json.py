"""data/manifest.json: everything one may ask about the dataset archive later."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pipelines.artifacts import artifact
from pipelines.artifacts.artifact import Artifact, Values
from pipelines.artifacts.workspace import MANIFEST
from stylegan.config.sections import PrepareConfig
from stylegan.data import archive
from stylegan.data.archive import Plan, Source


class ImageEntry(Values):
    """One image of the archive."""

    name: str
    source: str  # the file it was made from
    sha256: str
    width: int
    height: int
    mode: str
    label: int | tuple[float, ...] | None
    group: str  # whose images are never split
    split: Literal["train", "holdout"]


class BadFileEntry(Values):
    """A file that could not be used."""

    source: str
    reason: str


class LabelVectorEntry(Values):
    """Of every element of the label vectors: in how many images it is not 0, its least, mean and greatest value."""

    num_images: tuple[int, ...]
    min: tuple[float, ...]
    mean: tuple[float, ...]
    max: tuple[float, ...]


class Manifest(Artifact):
    """Settings, counts, every image, every file that is not in the archive."""

    noun: ClassVar = "a manifest"
    command: ClassVar = "dvc repro prepare"

    version: Literal[1] = 1
    archive_sha256: str
    prepare: PrepareConfig
    mode: str
    num_found: int
    num_bad: int
    num_not_drawn: int
    num_images: int
    split: Mapping[str, int]
    num_enlarged: int
    class_names: tuple[str, ...] | None
    class_counts: Mapping[str, int]  # by label
    label_vectors: LabelVectorEntry | None
    bad_kinds: Mapping[str, int]  # files by kind of problem and its remedy
    images: tuple[ImageEntry, ...]  # after all that is said of them together: see overview_of
    bad_files: tuple[BadFileEntry, ...]
    ignored_files: tuple[str, ...]
    passed_over: tuple[BadFileEntry, ...] = ()  # not used, though no image is lost; absent before there was the field


def describe(source: Source, plan: Plan, config: PrepareConfig, archive_sha256: str) -> Manifest:
    """The manifest of an archive that was written by a plan"""
    values = archive.manifest(source, plan, config, archive_sha256)
    return Manifest.model_validate_json(json.dumps(values))


def read(path: Path) -> Manifest:
    """Raises FileNotFoundError, or ArtifactError for another version or a damaged file."""
    return artifact.read(Manifest, path)


class Overview(Values):
    """What a manifest says of the images together."""

    resize_filter: str
    num_found: int
    num_not_drawn: int
    num_images: int
    num_enlarged: int
    split: Mapping[str, int]
    class_counts: Mapping[str, int]  # by name, where classes have names
    bad_kinds: Mapping[str, int]

    @property
    def num_left_out(self) -> int:
        """Images found that are not in the archive"""
        return self.num_found - self.num_images


def overview_of(archive: Path, archive_sha256: str) -> Overview | None:
    """Of the manifest next to an archive; None if there is none, or it is of another archive

    Reads up to the list of images, which may be of millions.
    """
    path = archive.with_name(MANIFEST.name)
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", errors="replace") as file:
        head = "".join(itertools.takewhile(lambda line: not line.startswith(' "images": '), file))
    try:
        values = json.loads(head.rstrip().rstrip(",") + "}")
        if values["archive_sha256"] != archive_sha256:
            return None
        names = values["class_names"]
        counts = {names[int(label)] if names else label: count for label, count in values["class_counts"].items()}
        same = ("num_found", "num_not_drawn", "num_images", "num_enlarged", "split", "bad_kinds")
        found = {name: values[name] for name in same}
        return Overview(resize_filter=values["prepare"]["resize_filter"], class_counts=counts, **found)
    # Another program's: it may lie next to an archive from anywhere.
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return None


def write(path: Path, manifest: Manifest) -> None:
    """Write the manifest, whole."""
    artifact.write(path, manifest)
