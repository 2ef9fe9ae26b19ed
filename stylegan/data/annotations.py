"""What dataset.json says of images, and the one model of labels that every reader holds them to.

A label is a whole number from 0, or a list of numbers that are finite in float32; all of a dataset are of one kind.
"""

import json
import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from stylegan.text import shorten, visible

MAX_CLASSES = 2**16  # classes, or numbers in a vector; ImageNet-21k has 21,841 classes
MAX_NUMBER = 2**31 - 1
MAX_CLASS_NAME = 1000  # characters
PIECE = 2**16  # entries that are Python objects at a time
SPACE = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder()
EXPECTED = '{"labels": [[file, label], ...]} or {"labels": null}'

Label: TypeAlias = int | list[float] | None
T = TypeVar("T")
Take: TypeAlias = Callable[[list[Any]], object]  # is given the elements of a list, a piece at a time


class AnnotationError(ValueError):
    """What is said of images contradicts the model; the message says what was expected, and names no file."""


def read_annotations(data: bytes, take_labels: Take, take_holdout: Take) -> tuple[Any, bool]:
    """Hand the members `labels` and `holdout` of a dataset.json to their takers, and return `class_names` as it is.

    With them comes whether there is a list `holdout`. Raises AnnotationError for what is no such file.
    """
    takers, seen = {"labels": take_labels, "holdout": take_holdout}, set[str]()
    class_names, has_holdout = None, False
    try:
        for key, value in _members(data.decode(json.detect_encoding(data))):
            if key in seen and (key in takers or key == "class_names"):
                raise AnnotationError(f"{key} is there twice")
            seen.add(key)
            if key == "class_names":
                class_names = list(value) if isinstance(value, Iterator) else value
            elif key in takers and value is not None:
                if not isinstance(value, Iterator | dict):
                    raise TypeError(f"{key} is {type(value).__name__}, not a list")
                has_holdout |= key == "holdout"
                for piece in pieces(value.items() if isinstance(value, dict) else value):
                    takers[key](piece)
    except AnnotationError:
        raise
    except (ValueError, TypeError) as error:
        raise AnnotationError(f"not in the official layout ({error}). Expected {EXPECTED}") from None
    except RecursionError:
        raise AnnotationError(f"nested too deeply. Expected {EXPECTED}") from None
    return class_names, has_holdout


@dataclass(frozen=True)
class Annotations:
    """All that a source says of its images, checked."""

    labels: Sequence[tuple[str, Label]] = ()  # of the files that have one
    class_names: Sequence[str] | None = None
    holdout: Sequence[str] | None = None
    note: str = ""  # on labels that were renumbered

    @classmethod
    def read(cls, data: bytes) -> Self:
        """From the content of a dataset.json. Raises AnnotationError."""
        model, labels, held = LabelModel(), list[tuple[str, Label]](), list[list[str]]()

        def take(pairs: list[Any]) -> None:
            model.check(pairs)
            labels.extend((name, label) for name, label in pairs if label is not None)

        def hold_out(names: list[Any]) -> None:
            held.append(check_holdout(names))

        given, has_holdout = read_annotations(data, take, hold_out)
        class_names = model.check_class_names(given)
        holdout = list(chain.from_iterable(held)) if has_holdout else None
        return cls(labels, class_names, holdout) if class_names or model.shape else cls.numbered(labels, holdout)

    @classmethod
    def of_classes(cls, files: Sequence[str], labels: Any, class_names: Any) -> Self:
        """From a class number for each file, and the names of the classes or None. Raises AnnotationError."""
        if not isinstance(labels, list) or len(labels) != len(files):
            said = f"{len(labels):,} labels" if isinstance(labels, list) else "no list of labels"
            raise AnnotationError(f"{said} for {len(files):,} images")
        model = LabelModel()
        model.check(list(zip(files, labels, strict=True)))
        if model.shape:
            raise AnnotationError("labels are vectors. Expected class numbers")
        names = model.check_class_names(class_names)
        pairs = list(zip(files, labels, strict=True))
        return cls.numbered(pairs, None) if names is None else cls(pairs, names)

    @classmethod
    def numbered(cls, labels: Sequence[tuple[str, Any]], holdout: Sequence[str] | None) -> Self:
        """Class numbers without names: renumbered if there are gaps. Raises AnnotationError for too many classes."""
        numbers = np.array([label for _, label in labels], np.int64)
        dense, names = renumber(numbers)
        if names is None:
            return cls(labels, None, holdout)
        pairs = [(file, number) for (file, _), number in zip(labels, dense.tolist(), strict=True)]
        note = (
            f"class numbers have gaps: the {len(names):,} from {names[0]} to {names[-1]} became 0 to {len(names) - 1}, "
            "named by their old numbers (class_names in dataset.json would keep them)"
        )
        return cls(pairs, names, holdout, note)


def check_holdout(names: list[Any]) -> list[str]:
    """Raises AnnotationError unless all are text."""
    if not all(isinstance(name, str) for name in names):
        raise AnnotationError('holdout is not a list of files. Expected ["a.png", "b.png"] or null')
    return names


def pieces(values: Iterable[T]) -> Iterator[list[T]]:
    """Lists of up to PIECE elements"""
    iterator = iter(values)
    while piece := list(islice(iterator, PIECE)):
        yield piece


class LabelModel:
    """Checks labels, piece by piece, and knows what all of them have in common."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] | None = None  # () for numbers of classes, [c_dim] for vectors
        self.largest = -1  # of numbers

    def check(self, pairs: Sequence[Any]) -> tuple[list[str], NDArray[Any]]:
        """(file, label) pairs -> files that have a label, and int64 [n] or float32 [n, c_dim]

        Raises AnnotationError.
        """
        if not all(isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
            raise AnnotationError(f"not in the official layout. Expected {EXPECTED}")
        pairs = [pair for pair in pairs if pair[1] is not None]
        names, labels = [name for name, _ in pairs], [label for _, label in pairs]
        if not labels:
            return [], np.empty((0, *(self.shape or ())), np.int64)
        kinds = {f"vector of {len(label)}" if isinstance(label, list) else type(label).__name__ for label in labels}
        known = set() if self.shape is None else {f"vector of {self.shape[0]}" if self.shape else "int"}
        if len(kinds | known) > 1 or not (kinds == {"int"} or isinstance(labels[0], list)):
            raise AnnotationError(
                f"labels are of kind {shorten(', '.join(sorted(kinds | known)), 200)}. "
                "Expected a class number (int) for every file, or a vector of one length for every file"
            )
        values = _as_numbers(names, labels) if kinds == {"int"} else _as_vectors(names, labels)
        self.shape = values.shape[1:]
        if not self.shape:
            self.largest = max(self.largest, int(values.max()))
        return names, values

    def check_class_names(self, names: Any) -> list[str] | None:
        """The names of the classes, printable, or None. Raises AnnotationError unless there is one for every class."""
        if names is None:
            return None
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise AnnotationError('class_names is not a list of text. Expected ["cat", "dog"] or null')
        shown = [visible(name) for name in names]
        if len(shown) > MAX_CLASSES or any(len(name) > MAX_CLASS_NAME for name in shown):
            raise AnnotationError(
                f"class_names has {len(shown):,} names of up to {max(map(len, shown)):,} characters. Expected at most "
                f"{MAX_CLASSES:,} names of {MAX_CLASS_NAME:,}"
            )
        wanted = self.shape[0] if self.shape else self.largest + 1
        if len(names) < wanted or (self.shape and len(names) > wanted):
            each = "number of the label vectors" if self.shape else f"class from 0 to {self.largest:,}"
            raise AnnotationError(f"class_names has {len(names):,} names. Expected one for each {each}, or null")
        return shown


def renumber(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str] | None]:
    """Class numbers without gaps, and, where they had some, their old numbers as names of the classes

    Raises AnnotationError for more classes than MAX_CLASSES.
    """
    used, dense = np.unique(numbers, return_inverse=True)
    if len(used) > MAX_CLASSES:
        raise AnnotationError(
            f"labels name {len(used):,} classes. Expected at most {MAX_CLASSES:,}: put several classes into one"
        )
    is_dense = not len(used) or used[-1] == len(used) - 1
    return (numbers, None) if is_dense else (dense.astype(np.int64), [str(number) for number in used])


def match_names(files: Sequence[str]) -> Callable[[str], str]:
    """A function from a name to that of `files` which means the same, or to itself where none does"""
    known, spelt = set(files), dict[str, str]()
    ambiguous = set[str]()
    for file in files:
        if spelt.setdefault(name_key(file), file) != file:
            ambiguous.add(name_key(file))
    return lambda name: name if name in known or name_key(name) in ambiguous else spelt.get(name_key(name), name)


def name_key(name: str) -> str:
    r"""One spelling of the paths that mean the same file: with / for \, without ./ and //, in composed characters"""
    parts = name.replace("\\", "/").split("/")
    return unicodedata.normalize("NFC", "/".join(part for part in parts if part not in ("", ".")))


def _as_numbers(names: list[str], labels: list[Any]) -> NDArray[np.int64]:
    if min(labels) >= 0 and max(labels) <= MAX_NUMBER:
        return np.array(labels, np.int64)
    name, label = next(pair for pair in zip(names, labels, strict=True) if not 0 <= pair[1] <= MAX_NUMBER)
    given = label if label.bit_length() < 64 else f"a number of {label.bit_length():,} bits"
    said = "; for a file without a label write null" if label == -1 else ""
    raise AnnotationError(f"{name}: its label is {given}. Expected a class number from 0 to {MAX_NUMBER}{said}")


def _as_vectors(names: list[str], labels: list[Any]) -> NDArray[np.float32]:
    if not 0 < len(labels[0]) <= MAX_CLASSES:
        raise AnnotationError(f"labels have {len(labels[0]):,} numbers each. Expected 1 to {MAX_CLASSES:,}")
    if set(map(type, chain.from_iterable(labels))) <= {int, float}:
        try:
            with np.errstate(over="ignore"):
                values = np.array(labels, np.float64).astype(np.float32)
            if np.isfinite(values).all():
                return values
        except OverflowError:  # of an integer beyond every float
            pass
    wrong = next(index for index, label in enumerate(labels) if not all(map(_is_finite, label)))
    raise AnnotationError(
        f"{names[wrong]}: its label is {shorten(str(labels[wrong]), 200)}. "
        "Expected numbers that are finite in float32, such as [0, 1, 0.5]"
    )


def _is_finite(value: object) -> bool:
    largest = float(np.finfo(np.float32).max)
    return type(value) in (int, float) and -largest <= value <= largest  # type: ignore[operator]


def _members(text: str) -> Iterator[tuple[str, Any]]:
    """Members of a JSON object; the value of a list is an iterator, valid until the next member. Raises ValueError."""
    at = _after(text, "{", 0)
    at, is_last = (at, False) if text[at : at + 1] != "}" else (at + 1, True)
    while not is_last:
        key, at = DECODER.raw_decode(text, at)
        at = _after(text, ":", at)
        if text[at : at + 1] == "[":
            elements = _Elements(text, at)
            values = iter(elements)
            yield str(key), values
            deque(values, maxlen=0)  # what nobody asked for
            at = elements.at
        else:
            value, at = DECODER.raw_decode(text, at)
            yield str(key), value
        at, is_last = _separated(text, at, "}")
    if _blank(text, at) != len(text):
        raise json.JSONDecodeError("Extra data", text, at)


class _Elements:
    """Elements of the list that begins at a place of a text; then `at` is the place after it."""

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at = text, _after(text, "[", at)

    def __iter__(self) -> Iterator[Any]:
        is_last = self.text[self.at : self.at + 1] == "]"
        if is_last:
            self.at += 1
        while not is_last:
            value, self.at = DECODER.raw_decode(self.text, self.at)
            self.at, is_last = _separated(self.text, self.at, "]")
            yield value


def _separated(text: str, at: int, close: str) -> tuple[int, bool]:
    """The place behind a comma or the closing bracket, and which of both it was"""
    at = _blank(text, at)
    if text[at : at + 1] == close:
        return at + 1, True
    return _after(text, ",", at), False


def _after(text: str, mark: str, at: int) -> int:
    at = _blank(text, at)
    if text[at : at + 1] != mark:
        raise json.JSONDecodeError(f"Expecting '{mark}'", text, at)
    return _blank(text, at + 1)


def _blank(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    return match.end() if match else at
