"""A training, from where the command was given: Ray's workers are started, followed and recorded, the result exported.

The run's state lives in runs/<fingerprint>/, outside DVC's outputs: killed at any moment, the same command resumes it,
and a changed parameter is another run.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from ray.train import Checkpoint, Result, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer

from pipelines.artifacts import ticks, train_json, transfer_json
from pipelines.artifacts.train_json import TrainRecord
from pipelines.artifacts.workspace import EXPORTED, TICKS
from pipelines.cluster import connection, errors, files, store, workers
from pipelines.cluster.nodes import here
from pipelines.params import Params
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import publishing
from pipelines.tracking.recording import record_export, record_training
from pipelines.train import follow, ticklog
from pipelines.train.identity import inputs_of
from pipelines.train.slow_precision import describe_slow_precision
from pipelines.train.snapshots import chosen, export, spare_checkpoints
from pipelines.train.start import rehearse
from pipelines.train.worker import train_worker
from stylegan.data import ImageDataset
from stylegan.files import sha256_of
from stylegan.metrics.evaluation.names import KID
from stylegan.metrics.extractors import EFFICIENTNET_FILE


class TrainError(RuntimeError):
    """Training cannot start or go on; the message says what to do."""


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the run: an orphaned trainer must not be joined by a second one. Raises TrainError that names it."""
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / "pid"
    try:
        with FileLock(folder / "driver.lock", timeout=0):
            owner.write_text(str(os.getpid()))
            yield
    except Timeout:
        pid = owner.read_text() if owner.exists() else "unknown"
        raise TrainError(
            f"{folder}: process {pid} is training this run. Wait until it ends and run the same command again, or end "
            f"it with `kill {pid}`; the run then resumes from its last checkpoint."
        ) from None


def run(
    params: Params, root: Path, state: Path, out: Path | None = None, callbacks: Sequence[UserCallback] = ()
) -> Path:
    """Train on the archive under `root` with the run's state under `state`, and return the run's folder.

    What the stage promises goes below `out`, without it below `root`.
    Raises TrainError, ArchiveError, and whatever ends Ray's workers more often than cluster.max_failures.
    """
    found, out = inputs_of(params, root, state), out or root
    dataset, folder = found.dataset, found.folder
    transferred = rehearse(params, dataset, found.pretrained)
    if line := describe_slow_precision(params):
        print(line, flush=True)
    with exclusive(folder), publishing(journal := Journal(folder), params.tracking):
        record_training(journal, params, dataset.digest)
        if transferred is not None:
            journal.artifact(transfer_json.write(folder, transferred))
        try:
            result = fit(params, dataset, found.pretrained, found.assets, journal, callbacks)
            snapshot, row = chosen(result, params.monitor)
            export(snapshot, out)
        except BaseException:
            journal.status("FAILED")
            raise
        rows = ticks.read(folder)
        trained = TrainRecord(
            fingerprint=folder.name,
            archive_sha256=dataset.digest,
            resume_from=transferred,
            snapshot=params.monitor.export,
            cur_nimg=round(row.nimg),
            trained_nimg=round(rows[-1].nimg),
            seed=params.train.seed,
        )
        train_json.write(out, trained)
        ticks.write_csv(rows, out / TICKS)
        record_export(journal, trained)
        journal.artifact(out / EXPORTED)
        journal.status("FINISHED")
    return folder


def shared_files(
    params: Params, dataset: ImageDataset, pretrained: Path | None, assets: Path
) -> dict[str, files.Shared]:
    """What workers read by path. Raises StoreError."""
    shared = {"archive": files.share(dataset.path.resolve(), dataset.digest, params.cluster)}
    if pretrained is not None:
        shared["pretrained"] = files.share(pretrained, sha256_of(pretrained), params.cluster)
    if params.monitor.num_images and params.monitor.extractor == "efficientnet_lite0":
        weights = assets / EFFICIENTNET_FILE
        shared["weights"] = files.share(weights, sha256_of(weights), params.cluster)
    return shared


def fit(
    params: Params, dataset: ImageDataset, pretrained: Path | None, assets: Path, journal: Journal,
    callbacks: Sequence[UserCallback] = (), start_from: Sequence[Checkpoint] = (),
) -> Result:  # fmt: skip
    """Train on Ray's workers until the end of the run, showing and recording its ticks.

    start_from: another run's checkpoint, if any, with which a run that has none begins.
    Raises TrainError, StoreError.
    """
    folder, on_store = journal.folder, params.cluster.storage_path is not None
    state = workers.run_state(params.cluster, folder)
    if on_store:
        ticklog.restore(folder, state)
    job = {
        "params": params,
        "files": shared_files(params, dataset, pretrained, assets),
        "folder": folder,
        "spare_checkpoints": spare_checkpoints(store.join(state, "checkpoints")) or list(start_from),
        "driver_node": here() if params.tracking.system_metrics else None,
    }
    lowest = KID if params.monitor.num_images else None
    log = ticklog.TickLog(folder, state if on_store else None)
    with connection.connect(params.cluster), follow.following(folder, journal, params), errors.told():
        files.refuse_unshared(state)
        result = TorchTrainer(
            train_worker,
            train_loop_config=job,
            torch_config=TorchConfig(timeout_s=params.cluster.collective_timeout_sec),
            scaling_config=workers.scaling(params.cluster),
            run_config=workers.run_config(params.cluster, folder / "checkpoints", [log, *callbacks], lowest),
        ).fit()
    if result.return_value is not None:
        raise TrainError(result.return_value)
    return result
