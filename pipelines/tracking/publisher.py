"""MLflow: only this file and those of the model registry import it.

Sends journals to a server (embedded sqlite unless told otherwise), one run per fingerprint. Whatever cannot be sent now
stays in the journal, and `python -m pipelines.tracking publish` sends it later.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from PIL import Image

from pipelines.artifacts.json_lines import Record
from pipelines.artifacts.workspace import GENERATOR
from pipelines.cluster.background import repeating
from pipelines.cluster.environment import spare_local_addresses
from pipelines.params import ROOT, TrackingConfig
from pipelines.tracking.journal import CARD, Journal
from stylegan.config import ConfigError
from stylegan.exit_codes import explain
from stylegan.files import write_json

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


logger = logging.getLogger(__name__)

PUBLISH_SEC = 5.0  # between two looks at the journal
# Kinds of records that a slow line may not carry; the others continue.
FILES = ("image", "samples", "artifact", "model")
REPLACED_BY = {"artifact": "name", "model": "generator"}  # the next record that has the same of these
PAUSE_SEC, LONGEST_PAUSE_SEC = 60.0, 3600.0  # before a file that could not be sent is tried again
TIMEOUT, SLOWEST = "MLFLOW_HTTP_REQUEST_TIMEOUT", 50_000  # bytes per second of the slowest line that is waited for
# MLflow retries for minutes without a word; the journal is our retry. Numbers a user sets himself are respected.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    TIMEOUT: "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # sixteen processes for agents that nobody here uses
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # it would draw into the lines of training
    "GIT_PYTHON_REFRESH": "quiet",
}
_VALUE_CHARS = 5000  # of a param or tag; the server's limit is 6000
SAMPLES = "samples.json"  # images by seed


# What sqlite says of the file of a local record, and what to do.
DATABASE = {
    "disk is full": "Free space on its disk; what is kept is sent by the next `stylegan publish`",
    "readonly database": "Make file and folder writable; what is kept is sent by the next `stylegan publish`",
    "unable to open database file": "Make its folder writable; what is kept is sent by the next `stylegan publish`",
}


class TrackingError(RuntimeError):
    """A record could not be published now; the journal keeps it."""


def tracking_uri(tracking: TrackingConfig, root: Path = ROOT) -> str:
    """The server: tracking.uri, else MLFLOW_TRACKING_URI, else the embedded database.

    Raises ConfigError for a relative sqlite path, which would name another file in every folder.
    """
    uri = tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root}/mlflow.db"
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        raise ConfigError(
            f"tracking.uri is {uri}: a relative path means another database in every folder. "
            f"Write sqlite:///{root / uri.removeprefix('sqlite:///')}, or null for the embedded one."
        )
    return uri


class Publisher:
    """Sends one journal to one server, in order, from where the last publisher stopped."""

    def __init__(self, journal: Journal, tracking: TrackingConfig, root: Path = ROOT) -> None:
        self.journal = journal
        self.experiment = tracking.experiment
        self.uri = tracking_uri(tracking, root)
        self.root = root
        # The address may hold a password, so only its hash is written down.
        name = hashlib.sha256(f"{self.uri} {self.experiment}".encode()).hexdigest()[:12]
        self.bookmark = journal.files / f"published-{name}.json"
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._foreign_steps: dict[str, int] | None = None
        self._images: set[str] = set()
        self._pause_sec, self._next_try = PAUSE_SEC, 0.0

    def publish(self, *, at_once: bool = False) -> int:
        """Send what is new and return the number of records sent; 0 too when another process is sending.

        at_once: also try the files again that could not be sent shortly before.
        Raises TrackingError if the server cannot be reached, or takes a file no more than before; what was sent is
        bookmarked, the rest stays.
        """
        try:
            with _reaching(self.uri):
                return self._send_in_turn(at_once)
        except TrackingError:
            self._client = None  # look for the run again: the server may have been replaced
            raise

    def _send_in_turn(self, at_once: bool) -> int:
        try:
            with FileLock(self.journal.files / "publish.lock", timeout=0):
                return self._send_all(at_once)
        except Timeout:
            return 0

    def _send_all(self, at_once: bool) -> int:
        client = self._attach()
        start, missed = self._bookmarked()
        sent = 0
        for record, end in self.journal.read(start):
            if self._send_or_excuse(client, record) is None:
                sent += 1
            else:  # what comes after it does not wait
                missed.append(start)
                self._next_try = time.monotonic() + self._pause_sec
            start = end
            self._set_bookmark(start, missed)
        if missed and (at_once or time.monotonic() >= self._next_try):
            sent += self._try_again(client, start, missed)
        return sent

    def _try_again(self, client: "MlflowClient", end: int, missed: list[int]) -> int:
        """Send files that could not be sent before; returns their number. Raises the error of one that still cannot."""
        count, errors = len(missed), []
        for start in list(missed):
            record, after = next(self.journal.read(start), (None, start))  # None: a journal that was begun again
            error = None
            if record is not None and not self._is_replaced(record, after):
                error = self._send_or_excuse(client, record)
            if error is None:
                missed.remove(start)
                self._set_bookmark(end, missed)
            else:
                errors.append(error)
        self._pause_sec = min(2 * self._pause_sec, LONGEST_PAUSE_SEC) if errors else PAUSE_SEC
        self._next_try = time.monotonic() + self._pause_sec
        if errors:
            raise errors[0]
        return count

    def _is_replaced(self, record: Record, after: int) -> bool:
        """Whether the journal goes on with a newer record of the same, which may have been sent"""
        key = REPLACED_BY.get(record["kind"])
        return key is not None and any(
            later["kind"] == record["kind"] and later[key] == record[key] for later, _ in self.journal.read(after)
        )

    def _send_or_excuse(self, client: "MlflowClient", record: Record) -> Exception | None:
        """Send a record; the error of a file that cannot be sent now is returned, any other is raised."""
        try:
            self._send(client, record)
        except Exception as error:
            if record["kind"] not in FILES:
                raise
            return error
        return None

    def _set_bookmark(self, offset: int, missed: list[int]) -> None:
        """missed: offsets of records whose files have not been sent"""
        write_json(self.bookmark, {"run_id": self._run_id, "offset": offset, "missed": missed})

    def _attach(self) -> "MlflowClient":
        """Find the run of this fingerprint on the server, or make it."""
        if self._client is not None:
            return self._client
        client, experiment_id = initialise(self.uri, self.experiment, self.root)
        found = client.search_runs([experiment_id], f"tags.fingerprint = '{self.journal.fingerprint}'", max_results=1)
        run = found[0] if found else self._create_run(client, experiment_id)
        self._run_id = run.info.run_id
        if self._bookmarked() == (0, []):
            # A journal begun again (its folder was deleted) meets the run it had: do not repeat its steps.
            self._foreign_steps = _last_steps(client, run)
        self._images = {Path(file.path).name for file in client.list_artifacts(self._run_id, "images")}
        self._client = client
        return client

    def _create_run(self, client: "MlflowClient", experiment_id: str) -> "Run":
        name = self.journal.fingerprint
        return client.create_run(experiment_id, self.journal.began_ms(), {"fingerprint": name}, run_name=name)

    def _bookmarked(self) -> tuple[int, list[int]]:
        """Bytes already sent to this very run, and records among them that were not; (0, []) if the server lost it."""
        if not self.bookmark.exists():
            return 0, []
        try:
            bookmark = json.loads(self.bookmark.read_bytes())
            here = bookmark["run_id"] == self._run_id
            return (int(bookmark["offset"]), [int(at) for at in bookmark.get("missed", [])]) if here else (0, [])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            logger.warning("%s: damaged (%s); asking the server what it has.", self.bookmark, error)
            return 0, []

    def _send(self, client: "MlflowClient", record: Record) -> None:
        from mlflow.exceptions import MlflowException

        try:
            getattr(self, f"_send_{record['kind']}")(client, record)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            # The server will never take it; holding back everything behind it would help nobody.
            logger.warning("%s: record refused and left out: %s", self.journal.path, _first_line(error))

    def _send_params(self, client: "MlflowClient", record: Record) -> None:
        from mlflow.entities import Param

        params = [Param(key, str(value)[:_VALUE_CHARS]) for key, value in record["values"].items()]
        client.log_batch(self._run_id, params=params)

    def _send_tags(self, client: "MlflowClient", record: Record) -> None:
        from mlflow.entities import RunTag

        client.log_batch(self._run_id, tags=[RunTag(k, str(v)[:_VALUE_CHARS]) for k, v in record["values"].items()])

    def _send_metrics(self, client: "MlflowClient", record: Record) -> None:
        steps = self._foreign_steps or {}
        new = {name: value for name, value in record["values"].items() if record["step"] > steps.get(name, -(2**63))}
        self._send_summary(client, record | {"values": new})

    def _send_summary(self, client: "MlflowClient", record: Record) -> None:
        from mlflow.entities import Metric

        # Key, time, step and value are those of the journal, so a point sent twice (killed before the bookmark) is one.
        points = [Metric(name, value, record["time_ms"], record["step"]) for name, value in record["values"].items()]
        client.log_batch(self._run_id, metrics=points)

    def _send_image(self, client: "MlflowClient", record: Record) -> None:
        key, step, file = record["key"], record["step"], self.journal.files / record["file"]
        if any(name.startswith(f"{key.replace('/', '~')}+step+{step}+") for name in self._images):
            return
        with Image.open(file, formats=["PNG"]) as picture:
            client.log_image(self._run_id, picture, key=key, step=step, timestamp=record["time_ms"], synchronous=True)

    def _send_samples(self, client: "MlflowClient", record: Record) -> None:
        """As a table of two columns: the page that compares runs shows seeds in rows and runs in columns."""
        from mlflow import Image as TableImage

        if any(file.path == SAMPLES for file in client.list_artifacts(self._run_id)):  # log_table would append
            return
        files = [str(self.journal.files / record["digest"] / f"{seed}.png") for seed in record["seeds"]]
        table = {"seed": record["seeds"], "image": [TableImage(file) for file in files]}
        client.log_table(self._run_id, table, SAMPLES)

    def _send_artifact(self, client: "MlflowClient", record: Record) -> None:
        file = self.journal.files / record["digest"] / record["name"]
        with _waiting_for(file.stat().st_size):
            client.log_artifact(self._run_id, str(file))

    def _send_model(self, client: "MlflowClient", record: Record) -> None:
        from pipelines.tracking import registry

        generator = self.journal.files / record["generator"] / GENERATOR
        card = self.journal.files / record["card"] / CARD
        with _waiting_for(generator.stat().st_size):
            registry.add_version(client, self._run_id, record, generator, card)
        registry.move_best(client, record["name"])

    def _send_dataset(self, client: "MlflowClient", record: Record) -> None:
        from mlflow.entities import Dataset, DatasetInput

        source = json.dumps({"uri": "data/archive.zip", "sha256": record["digest"]})
        digest = record["digest"][:36]  # the server's limit
        dataset = Dataset(name=record["name"], digest=digest, source_type="local", source=source)
        client.log_inputs(self._run_id, datasets=[DatasetInput(dataset)])

    def _send_status(self, client: "MlflowClient", record: Record) -> None:
        if record["status"] == "RUNNING":
            client.update_run(self._run_id, status="RUNNING")
        else:
            client.set_terminated(self._run_id, record["status"], end_time=record["time_ms"])


def initialise(uri: str, experiment: str, root: Path = ROOT) -> tuple["MlflowClient", str]:
    """Make database and experiment if need be, and return the client and the experiment's id.

    Processes that do this together on a fresh sqlite file break it, so they take turns.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    spare_local_addresses(os.environ)
    # Imported here: it takes seconds, and whoever only keeps a journal does not need it.
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # pages, of what is said here in one line
    (root / "mlruns").mkdir(exist_ok=True)
    with FileLock(root / "mlruns/.lock"):
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            # The default is relative to the working folder, which on a Ray worker is a session's scratch.
            location = (root / "mlruns").as_uri() if uri.startswith("sqlite:") else None
            return client, client.create_experiment(experiment, artifact_location=location)
    if found.lifecycle_stage == "deleted":
        raise ConfigError(
            f"tracking.experiment {experiment!r} is in the trash of {shown(uri)}. Restore it with "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}`, or choose another name."
        )
    return client, found.experiment_id


def find_experiment(tracking: TrackingConfig, root: Path = ROOT) -> str:
    """Id of the experiment, which is made if need be. Raises TrackingError if the server cannot be reached."""
    uri = tracking_uri(tracking, root)
    with _reaching(uri):
        return initialise(uri, tracking.experiment, root)[1]


def fetch_generator(model: str, tracking: TrackingConfig, folder: Path, root: Path = ROOT) -> Path:
    """Bring the generator of a registered model, such as models:/NAME@best, into a folder.

    Raises TrackingError if it cannot be had.
    """
    from pipelines.tracking import registry

    uri = tracking_uri(tracking, root)
    with _reaching(uri):
        return registry.fetch_generator(initialise(uri, tracking.experiment, root)[0], model, folder)


def name_version(model: str, tracking: TrackingConfig, root: Path = ROOT) -> str:
    """models:/NAME/VERSION for a registered model, whose alias may move. Raises TrackingError if there is none."""
    from pipelines.tracking import registry

    uri = tracking_uri(tracking, root)
    with _reaching(uri):
        found = registry.find_version(initialise(uri, tracking.experiment, root)[0], model)
        return f"models:/{found.name}/{found.version}"


def set_experiment_tags(tracking: TrackingConfig, tags: Mapping[str, str], root: Path = ROOT) -> None:
    """Tag the experiment, which is made if need be. Raises TrackingError if the server cannot be reached."""
    uri = tracking_uri(tracking, root)
    with _reaching(uri):
        client, experiment_id = initialise(uri, tracking.experiment, root)
        for name, value in tags.items():
            client.set_experiment_tag(experiment_id, name, value)


@contextlib.contextmanager
def publishing(journal: Journal, tracking: TrackingConfig, root: Path = ROOT) -> Iterator[None]:
    """Publish in the background while the block runs, and once more at its end.

    An unreachable server costs one warning; everything stays in the journal.
    """
    publisher = Publisher(journal, tracking, root)
    has_warned = False

    def publish_or_warn(at_once: bool = False) -> None:
        nonlocal has_warned
        try:
            publisher.publish(at_once=at_once)
        except TrackingError as error:
            if not has_warned:
                has_warned = True
                logger.warning(
                    "%s. Kept in %s; `python -m pipelines.tracking publish` sends it later.", error, journal.path
                )

    try:
        with repeating("tracking", PUBLISH_SEC, publish_or_warn, at_once=True):
            yield
    finally:
        publish_or_warn(at_once=True)


@contextlib.contextmanager
def _waiting_for(size: int) -> Iterator[None]:
    """Give the server time to take so many bytes, unless the user has set a time."""
    usual = os.environ.get(TIMEOUT, "")
    if usual != _ENVIRONMENT[TIMEOUT]:
        yield
        return
    os.environ[TIMEOUT] = str(int(usual) + size // SLOWEST)
    try:
        yield
    finally:
        os.environ[TIMEOUT] = usual


@contextlib.contextmanager
def _reaching(uri: str) -> Iterator[None]:
    """Turn whatever goes wrong with a server (errors of requests, sqlalchemy, MLflow) into one line."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and isinstance(error.filename, str):  # a file of the run, not the server
            raise TrackingError(explain(error).rstrip(".")) from error
        said = next((f"{problem}. {remedy}" for problem, remedy in DATABASE.items() if problem in str(error)), None)
        raise TrackingError(f"{shown(uri)}: {said or _first_line(error)}") from error


def shown(text: str) -> str:
    """Text without the user and password that an address in it may hold"""
    return re.sub(r"//[^/@\s]*@", "//", text)


def _last_steps(client: "MlflowClient", run: "Run") -> dict[str, int]:
    return {
        name: max(point.step for point in client.get_metric_history(run.info.run_id, name)) for name in run.data.metrics
    }


def _first_line(error: BaseException) -> str:
    return shown(next((line for line in str(error).splitlines() if line.strip()), type(error).__name__))
