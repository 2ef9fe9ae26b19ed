"""A look at a source before anything is prepared: what its images are like, by their headers, and which labels it has.

Of many images only some are read, so that it takes seconds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from stylegan.config.sections import PrepareConfig
from stylegan.data.annotations import Label
from stylegan.data.archive import UNREADABLE, Source, ordered_map, unreadable
from stylegan.data.decoders import open_header
from stylegan.data.layout import ArchiveError
from stylegan.data.problems import BadFile
from stylegan.data.sources import open_source
from stylegan.data.transforms import Check, check_header, check_image

MOST_READ = 2000  # images; a second or two from a disk at hand
MOST_DECODED = 8  # images with transparency, to see whether any pixel is transparent
WORKERS = 8  # waiting for a slow disk takes no processor


@dataclass(frozen=True)
class Labels:
    """What a source can give as labels."""

    kind: str  # of prepare.labels: "folders" | "file"
    values: Sequence[Label]  # next to the names of the source
    class_names: Sequence[str] | None

    @cached_property
    def counts(self) -> dict[str, int]:
        """Images of each class by its name, the most frequent first; empty for vectors"""
        numbers = Counter(label for label in self.values if isinstance(label, int))
        names = self.class_names or [str(number) for number in range(max(numbers, default=-1) + 1)]
        return {names[number]: count for number, count in numbers.most_common()}

    @property
    def num_unlabelled(self) -> int:
        """Images without a label"""
        return sum(label is None for label in self.values)


@dataclass(frozen=True)
class Survey:
    """What was seen."""

    source: Source
    read: Sequence[int]  # numbers of the images whose headers were read
    checks: Sequence[Check]  # beside read
    labels: Labels | None

    @property
    def is_sample(self) -> bool:
        """Whether only some images were read"""
        return len(self.read) < len(self.source.names)

    @cached_property
    def good(self) -> list[Check]:
        """Of the images read, those that can be used once they have the right shape"""
        return [check for check in self.checks if not check.problem]

    @cached_property
    def bad(self) -> list[BadFile]:
        """Of the images read, those that cannot be used whatever the settings"""
        pairs = zip(self.read, self.checks, strict=True)
        return [BadFile(self.source.names[index], check.problem) for index, check in pairs if check.problem]

    @cached_property
    def modes(self) -> Counter[str]:
        """Images of each mode, with transparency as A"""
        return Counter(check.mode for check in self.good)

    @cached_property
    def shows_transparency(self) -> bool:
        """Whether some pixel is transparent in a few of the images that could have transparency"""
        pairs = zip(self.read, self.checks, strict=True)
        able = [index for index, check in pairs if not check.problem and check.mode.upper().endswith("A")]
        return any(_has_transparent_pixel(self.source, index) for index in able[:MOST_DECODED])


def survey(config: PrepareConfig, earth: Path) -> Survey:
    """Look at what config.source names. Raises ArchiveError if it cannot be opened."""
    # Whatever the settings, an image that can be brought to any shape and mode is a good one.
    lenient = config.model_copy(update={"transform": "center-crop", "labels": "none"})
    source = open_source(lenient, earth)
    numbers = np.unique(np.linspace(0, len(source.names) - 1, min(MOST_READ, len(source.names))).astype(int)).tolist()
    mode = "keep" if source.names[0].lower().endswith(".npy") else "RGB"
    lenient = lenient.model_copy(update={"mode": mode})
    checks = ordered_map(lambda index: _look(source, index, lenient), numbers, WORKERS)
    return Survey(source, numbers, list(checks), _find_labels(lenient, earth))


def _look(source: Source, index: int, config: PrepareConfig) -> Check:
    try:
        if source.open is None:
            return check_image(source.read(index), config)
        with source.open(index) as file:
            return check_header(file, config)
    except UNREADABLE as error:
        return unreadable(error)


def _find_labels(config: PrepareConfig, earth: Path) -> Labels | None:
    """Labels of the source's own dataset.json or label files, or else of its sub-folders"""
    for kind in ("file", "folders"):
        try:
            source = open_source(config.model_copy(update={"labels": kind}), earth)
        except ArchiveError:
            continue
        if source.labels is not None:
            return Labels(kind, source.labels, source.class_names)
    return None


def _has_transparent_pixel(source: Source, index: int) -> bool:
    assert source.open is not None, "raw pixels of sources have no transparency"
    try:
        with source.open(index) as file, open_header(file) as image:
            return sum(image.convert("RGBA").getchannel("A").histogram()[:255]) > 0
    except Exception:  # a damaged image has no say; it is left out when images are prepared
        return False
