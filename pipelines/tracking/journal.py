"""The on-disk journal of a run: what was measured, in order, before any tracking server hears of it.

Appending costs a line in a file, so training never waits for a server and a kill at any time loses nothing. Knows
nothing of the server; `tracking.publish` sends the records. The name of the run folder is the fingerprint.
"""

import hashlib
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.artifacts import json_lines
from pipelines.artifacts.artifact import ArtifactError
from pipelines.artifacts.json_lines import Record
from pipelines.params import Scalar
from pipelines.tracking.records import check_record
from stylegan.files import replacing, sha256_of, write_bytes
from stylegan.text import visible

# What MLflow accepts; checked here because a refused name would otherwise surface hours later, at the server.
_METRIC_NAME = re.compile(r"[\w./ :-]+", re.ASCII)

CARD = "README.md"
TITLE, NOTE = "mlflow.runName", "mlflow.note.content"  # tags that MLflow shows as a run's name and description


class Journal:
    """Append-only records in `<folder>/tracking.jsonl`; the files they mention in `<folder>/tracking/`.

    A later process may reopen the journal at any time: what it repeats (a tick replayed after a resume, the same
    report rendered again) is not recorded twice. One process writes at a time, any number read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fingerprint = folder.name
        self.path = folder / "tracking.jsonl"
        self.files = folder / "tracking"
        self.files.mkdir(parents=True, exist_ok=True)
        self._last_step: dict[str, int] = {}  # of every series
        self._facts: Record = {}  # of everything else: the newest value
        json_lines.drop_torn_line(self.path)  # its writer repeats it after the resume
        for record, _ in self.read(0):
            self._remember(record)

    def params(self, values: Mapping[str, Scalar]) -> None:
        """Record values that never change within a run: of each, the first stays (servers refuse another)."""
        new = {name: value for name, value in _printable(values).items() if f"params:{name}" not in self._facts}
        if new:
            self._append({"kind": "params", "values": new})

    def tags(self, values: Mapping[str, Scalar]) -> None:
        """Record values that may change, such as a commit or an evaluation setting."""
        self._append_news({"kind": "tags", "values": _printable(values)})

    def title(self, text: str, *, if_none: bool = False) -> None:
        """Record the name that the server shows people; if_none keeps one that was given before."""
        if not if_none or f"tags:{TITLE}" not in self._facts:
            self.tags({TITLE: text})

    def dataset(self, name: str, digest: str) -> None:
        """Record which data the run learns from."""
        self._append_news({"kind": "dataset", "name": visible(name), "digest": digest})

    def status(self, status: str) -> None:
        """Record RUNNING, FINISHED, FAILED or KILLED."""
        self._append_news({"kind": "status", "status": status})

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record one point of each series; steps up to the last recorded are dropped (a resume replays them).

        Raises ValueError for a name that no server would take.
        """
        _check_names(values)
        new = {name: float(value) for name, value in values.items() if self._is_ahead(name, step)}
        if new:
            self._append({"kind": "metrics", "step": step, "values": new})

    def summary(self, step: int, values: Mapping[str, float]) -> None:
        """Record results that a later measurement at the same step replaces.

        Raises ValueError for a name that no server would take.
        """
        _check_names(values)
        self._append_news({"kind": "summary", "step": step, "values": {k: float(v) for k, v in values.items()}})

    def image(self, key: str, step: int, png: bytes) -> None:
        """Record one image of a series; steps up to the last recorded are dropped.

        Raises ValueError for a key that no server would take.
        """
        _check_names([key])
        if self._is_ahead(f"image:{key}", step):
            file = self.files / f"{key.replace('/', '-')}-{step}.png"
            with replacing(file) as temporary:
                temporary.write_bytes(png)
            self._append({"kind": "image", "key": key, "step": step, "file": file.name})

    def samples(self, pngs: Mapping[int, bytes]) -> None:
        """Record an image of each seed, which runs are compared by; equal images are dropped."""
        digest = hashlib.sha256(b"".join(pngs.values())).hexdigest()[:12]
        record = {"kind": "samples", "seeds": [*pngs], "digest": digest}
        if self._is_news(record):
            for seed, png in pngs.items():
                with replacing(self.files / digest / f"{seed}.png") as temporary:
                    temporary.write_bytes(png)
            self._append(record)

    def artifact(self, path: Path) -> None:
        """Record a copy of a file (the next experiment may overwrite the original); equal content is dropped.

        Raises FileNotFoundError if there is no such file.
        """
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no file to record for run {self.fingerprint}. Run the stage that writes it."
            )
        digest = sha256_of(path)[:12]
        record = {"kind": "artifact", "name": path.name, "digest": digest}
        if self._is_news(record):
            self._keep(path, digest)
            self._append(record)

    def model(self, generator: Path, card: str, *, name: str, about: str, kid: float | None, measured_by: str) -> None:
        """Record a copy of a generator that the registry is to hold, with its card; an equal measurement is dropped.

        name: in the registry; about: a sentence; measured_by: by what its kid was.
        """
        digest, words = sha256_of(generator)[:12], card.encode()
        record = {
            "kind": "model", "generator": digest, "card": hashlib.sha256(words).hexdigest()[:12], "name": name,
            "about": about, "kid": kid, "measured_by": measured_by,
        }  # fmt: skip
        if self._is_news(record):
            self._keep(generator, digest)
            write_bytes(self.files / str(record["card"]) / CARD, words)
            self._append(record)

    def _keep(self, path: Path, digest: str) -> None:
        kept = self.files / digest / path.name
        if not kept.exists():
            with replacing(kept) as temporary:
                shutil.copyfile(path, temporary)

    def began_ms(self) -> int | None:
        """Time of the first record, milliseconds since 1970; None while there is none"""
        return next((int(record["time_ms"]) for record, _ in self.read(0)), None)

    def read(self, offset: int) -> Iterator[tuple[Record, int]]:
        """Every whole record after a byte offset, with the offset that follows it. Raises ArtifactError for others."""
        try:
            for record, end in json_lines.read(self.path, offset):
                try:
                    check_record(record)
                except ValueError as error:
                    raise self._damaged(
                        f"{self.path}: the line before byte {end} is not a valid record ({error})"
                    ) from None
                yield record, end
        except json_lines.DamagedLineError as error:
            raise self._damaged(str(error)) from None

    def _damaged(self, problem: str) -> ArtifactError:
        return ArtifactError(
            f"{problem}. Delete {self.path} and {self.files}, and run the same command again: the ticks are "
            "recorded again from the tick log, and nothing is sent to the tracking server twice."
        )

    def _is_ahead(self, series: str, step: int) -> bool:
        return series not in self._last_step or step > self._last_step[series]

    def _is_news(self, record: Mapping[str, Any]) -> bool:
        return any(key not in self._facts or self._facts[key] != value for key, value in _facts(record).items())

    def _append_news(self, record: Mapping[str, Any]) -> None:
        if self._is_news(record):
            self._append(record)

    def _append(self, record: Mapping[str, Any]) -> None:
        json_lines.append(self.path, {"time_ms": time.time_ns() // 1_000_000, **record})
        self._remember(record)  # not before it is written: a full disk may have room the next time

    def _remember(self, record: Mapping[str, Any]) -> None:
        self._facts |= _facts(record)
        if record["kind"] in ("metrics", "image"):
            for series in record["values"] if record["kind"] == "metrics" else [f"image:{record['key']}"]:
                self._last_step[series] = max(record["step"], self._last_step.get(series, record["step"]))


def _facts(record: Mapping[str, Any]) -> Record:
    """What a record claims, by name: equal facts are no news."""
    match record["kind"]:
        case "params" | "tags" as kind:
            return {f"{kind}:{name}": value for name, value in record["values"].items()}
        case "summary":
            return {f"summary:{name}@{record['step']}": value for name, value in record["values"].items()}
        case "artifact":
            return {f"artifact:{record['name']}": record["digest"]}
        case "samples":
            return {"samples": record["digest"]}
        case "model":
            return {"model": (record["generator"], record["kid"], record["measured_by"])}
        case "dataset":
            return {"dataset": (record["name"], record["digest"])}
        case "status":
            return {"status": record["status"]}
        case _:
            return {}


def _printable(values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Texts come from files too, and are shown by a server's page and by terminals"""
    return {name: visible(value) if isinstance(value, str) else value for name, value in values.items()}


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if not _METRIC_NAME.fullmatch(name):
            raise ValueError(
                f"metric {name!r}: tracking servers take letters, digits, spaces and _ - . : / only. Rename it."
            )
