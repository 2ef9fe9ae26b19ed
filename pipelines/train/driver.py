"""A training, from where the command was given: Ray's workers are started, followed and recorded, the result exported.

The run's state lives in runs/<fingerprint>/, outside DVC's outputs: killed at any moment, the same command resumes it.
A larger train.total_kimg makes a run longer, and a changed parameter that decides weights makes another run.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from ray.train import Checkpoint, Result, UserCallback
from ray.train.torch import TorchTrainer

from pipelines.artifacts import run_json, ticks, train_json, transfer_json
from pipelines.artifacts.run_json import RunRecord
from pipelines.artifacts.train_json import TrainRecord
from pipelines.artifacts.workspace import EXPORTED, TICKS
from pipelines.cluster import capacity, connection, files, signals, store, workers
from pipelines.cluster.attempts import Attempts
from pipelines.cluster.nodes import here
from pipelines.cluster.progress import describe_costs
from pipelines.cluster.rendezvous import GroupConfig
from pipelines.params import Params, trained_values
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import publishing
from pipelines.tracking.recording import record_export, record_training
from pipelines.train import follow, growth, measurements, pulse, recent, shorter, ticklog
from pipelines.train.divergence import after_divergence
from pipelines.train.identity import Inputs, inputs_of, monitor_extractor, yardstick_of
from pipelines.train.integrity import Damaged
from pipelines.train.kept import next_start_nimg, set_aside, spare_checkpoints, whole
from pipelines.train.slow_precision import describe_slow_precision
from pipelines.train.snapshots import chosen, export
from pipelines.train.start import rehearse
from pipelines.train.worker import train_worker
from stylegan.config import describe_unused_labels
from stylegan.data import ImageDataset
from stylegan.files import sha256_of
from stylegan.metrics.evaluation.names import KID
from stylegan.metrics.extractors import EFFICIENTNET_FILE
from stylegan.text import print_lines

SAVE_SEC = 20.0  # that a run which is interrupted has to save its state


class TrainError(RuntimeError):
    """Training cannot start or continue; the message says what to do."""


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


def run(params: Params, root: Path, state: Path) -> Path:
    """Train on the archive under `root` with the run's state under `state`, and return the run's folder.

    What the stage promises goes below `root`. A run that is there continues if train.total_kimg is larger than its
    length; if it is smaller, see shorter.py.
    Raises TrainError, ArchiveError, Stopped for a signal, LastingError for what ends a worker and would again, and what
    ends workers more often than cluster.max_failures.
    """
    capacity.refuse_impossible(params.cluster)
    found = inputs_of(params, root, state)
    folder, start_from = shorter.place(params, found)
    return _run(params, found, folder, root, start_from=start_from)


def run_experiment(
    params: Params, root: Path, state: Path, callbacks: Sequence[UserCallback] = (),
    place: follow.Place | None = None, tell: Callable[[int], None] | None = None,
) -> Path:  # fmt: skip
    """As `run`, of one length from 0, so that it can be compared; the results go into the run's folder."""
    capacity.refuse_impossible(params.cluster)
    found = inputs_of(params, root, state)
    return _run(params, found, found.fixed_folder, found.fixed_folder, callbacks, place=place, tell=tell)


def _run(
    params: Params, found: Inputs, folder: Path, out: Path, callbacks: Sequence[UserCallback] = (),
    start_from: Sequence[Checkpoint] = (), place: follow.Place | None = None,
    tell: Callable[[int], None] | None = None,
) -> Path:  # fmt: skip
    dataset = found.dataset
    transferred = rehearse(params, dataset, found.pretrained)
    for line in (describe_unused_labels(params), describe_slow_precision(params)):
        if line:
            print_lines(line)
    with exclusive(folder), publishing(journal := Journal(folder), params.tracking):
        record_training(journal, params, dataset.digest)
        run_json.write(folder, RunRecord(archive_sha256=dataset.digest, sections=trained_values(params)))
        if transferred is not None:
            journal.artifact(transfer_json.write(folder, transferred))
        try:
            result = fit(
                params, dataset, found.pretrained, found.assets, journal, callbacks, start_from, place=place, tell=tell
            )
            snapshot, row = chosen(result, params.monitor)
            export(snapshot, out, dataset.class_names)
        except BaseException as error:
            journal.status("KILLED" if isinstance(error, signals.Stopped) else "FAILED")
            raise
        measurements.fill(folder, result.best_checkpoints or ())
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
        print_lines(describe_costs(rows))
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
    callbacks: Sequence[UserCallback] = (), start_from: Sequence[Checkpoint] = (), place: follow.Place | None = None,
    tell: Callable[[int], None] | None = None,
) -> Result:  # fmt: skip
    """Train on Ray's workers until the end of the run, showing and recording its ticks.

    start_from: another run's checkpoint, if any, with which a run that has none begins; place: among the rows of an
    ablation; tell: is told the number of images, every second or so.
    Raises TrainError, StoreError, and Stopped for a signal, after the state was saved if SAVE_SEC is enough for it.
    """
    folder, on_store = journal.folder, params.cluster.storage_path is not None
    state = workers.run_state(params.cluster, folder)
    yardstick = yardstick_of(params, monitor_extractor(params, dataset, assets))
    if on_store:
        ticklog.restore(folder, state)
    measurements.forget(folder, yardstick)
    checkpoints = store.join(state, "checkpoints")
    job = {
        "params": params,
        "files": shared_files(params, dataset, pretrained, assets),
        "folder": folder,
        "state": state,
        "start_from": list(start_from),
        "yardstick": yardstick,
        "driver_node": here() if params.tracking.system_metrics else None,
    }
    lowest = KID if params.monitor.num_images else None
    log = ticklog.TickLog(folder, state if on_store else None)
    attempts = Attempts(params.cluster.max_failures, _describe_going_on, lambda: reached(state))
    print_lines("waiting for Ray")
    with (
        connection.connect(params.cluster), pulse.board() as board,
        follow.following(folder, journal, params, board, place, tell),
    ):  # fmt: skip
        files.refuse_unshared(state)
        growing = growth.Growth(params.cluster, board)

        def attempt(spare_checkpoints: Sequence[Checkpoint]) -> Result:
            capacity.await_room(params.cluster, is_over=attempts.asked_to_end.is_set)
            with capacity.telling(params.cluster), growing.watching():
                return TorchTrainer(
                    train_worker,
                    train_loop_config=job | {"board": board, "spare_checkpoints": list(spare_checkpoints)},
                    torch_config=GroupConfig(timeout_s=params.cluster.collective_timeout_sec),
                    scaling_config=workers.scaling(params.cluster),
                    run_config=workers.run_config(params.cluster, folder / "checkpoints", [log, *callbacks], lowest),
                ).fit()

        def begin() -> Result:
            while True:
                spares = whole(spare_checkpoints(checkpoints, yardstick))
                result = past_damage(attempt, spares, state)
                if not isinstance(result.return_value, int) or attempts.asked_to_end.is_set():
                    return result
                print_lines(f"there is room for more workers: {_describe_going_on(result.return_value)}")

        def ask_to_end() -> None:
            attempts.asked_to_end.set()
            _ask_to_end(board)

        result, stopped = signals.interruptible(lambda: attempts.until_done(begin), ask_to_end, SAVE_SEC)
    if stopped is not None:
        is_saved = result is not None and isinstance(result.return_value, int)
        stopped.reached = describe_stop(state, is_saved=is_saved)
        raise stopped
    assert result is not None
    if result.return_value is not None:
        raise TrainError(after_divergence(result.return_value, params, folder.name, result.checkpoint))
    with suppress(store.StoreError):  # the last snapshot is newer
        recent.remove(state)
    return result


def past_damage(
    attempt: Callable[[Sequence[Checkpoint]], Result], spare_checkpoints: Sequence[Checkpoint], state: str
) -> Result:
    """Train; if workers find the checkpoint damaged that they should resume from, train again from the one before it.

    That is no failure to count: the same file would spend cluster.max_failures.
    Raises TrainError for one that is damaged again after it was written anew, and for one that the run begins with.
    """
    told: set[str] = set()
    while True:
        result = attempt(spare_checkpoints)
        damaged = result.return_value
        if not isinstance(damaged, Damaged):
            return result
        if damaged.is_origin:
            raise TrainError(
                f"{damaged.problem} This run continues that state and is not trained from 0 instead. Restore the file "
                "from a copy, or delete the run that it belongs to and give the same command again."
            )
        if damaged.name in told:
            raise TrainError(
                f"{damaged.problem} It was written again after it was found damaged, and is damaged once more. Check "
                f"the disk that holds {store.shown(state)} before you train on."
            )
        told.add(damaged.name)
        if damaged.name.startswith(recent.PREFIX):
            recent.remove(state, damaged.name)
            print_lines(f"damaged checkpoint {damaged.name} is not used: {damaged.problem} The one before it is.")
        else:
            spare_checkpoints = set_aside(store.join(state, "checkpoints"), damaged)


def reached(state: str) -> int:
    """Images after which training would resume; 0 while the store does not say"""
    try:
        between = recent.newest_nimg(state)
        return max(next_start_nimg(store.join(state, "checkpoints")) or 0, between)
    except store.StoreError:
        return 0


def _describe_going_on(nimg: int) -> str:
    return f"Training goes on from kimg {nimg / 1000:g}." if nimg else "Training begins again at 0."


def _ask_to_end(board: Any) -> None:
    print_lines("saving the state, then stopping; press Ctrl-C again to stop at once")
    board.ask_to_end.remote()


def describe_stop(state: str, *, is_saved: bool) -> str:
    """What a run that was interrupted has reached, in half a sentence; state: its folder or URL"""
    nimg = reached(state)
    if nimg == 0:
        return "no checkpoint has been written yet"
    return f"saved at kimg {nimg / 1000:g}" if is_saved else f"the next start resumes from kimg {nimg / 1000:g}"
