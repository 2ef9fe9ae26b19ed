"""A training that shall be shorter than its run is by now: a run of its own, from a snapshot of that one if it can.

The run itself never goes back: its snapshots beyond the end, and what was exported of them, stay what they are.
"""

from pathlib import Path

from ray.train import Checkpoint

from pipelines.artifacts import ticks
from pipelines.cluster import store, workers
from pipelines.params import Params
from pipelines.train import kept, measurements
from pipelines.train.identity import Inputs
from pipelines.train.kept import Kept
from pipelines.train.recent import end_nimg, newest_nimg
from stylegan.text import print_lines


def place(params: Params, found: Inputs) -> tuple[Path, list[Checkpoint]]:
    """Folder of the run, and the snapshots that it begins with, newest first: none unless it is shorter than it was.

    Raises StoreError.
    """
    state, end = workers.run_state(params.cluster, found.folder), end_nimg(params.train)
    trained = _trained(state, found.folder)
    if trained <= end:
        return found.folder, []
    folder = found.fixed_folder
    usable = _usable(found, [snapshot for snapshot in kept.registered(state) if snapshot.nimg <= end], params)
    if kept.newest_nimg(workers.run_state(params.cluster, folder)):
        begins = "which resumes"
    elif usable:
        begins = f"which begins with the snapshot of kimg {usable[0].nimg / 1000:g}"
        measurements.copy(found.folder, folder, usable[0].nimg)
    else:
        begins = "which begins at 0, for no snapshot that it needs is kept"
    print_lines(
        f"train.total_kimg is {params.train.total_kimg:g}, but run {found.folder.name} has come to kimg "
        f"{trained / 1000:g} and stays so; this is run {folder.name}, {begins}"
    )
    return folder, [snapshot.checkpoint for snapshot in usable]


def _trained(state: str, folder: Path) -> int:
    """Position that a run has come to, whatever is kept of it: its log goes on from there, and never back"""
    next_start = kept.next_start_nimg(store.join(state, "checkpoints")) or 0
    logged = max((round(row.nimg) for row in ticks.read(folder)), default=0)
    return max(kept.newest_nimg(state), next_start, newest_nimg(state), logged)


def _usable(found: Inputs, snapshots: list[Kept], params: Params) -> list[Kept]:
    """The newest, and if the best is to be exported also the best until then; none if that is not kept"""
    if not snapshots:
        return []
    newest = snapshots[-1]
    if params.monitor.export == "last":
        return [newest]
    measured = [(row.monitor.kid, row.nimg) for row in ticks.read(found.folder) if row.nimg <= newest.nimg]
    rows = [(kid, nimg) for kid, nimg in measured if kid is not None]
    if not rows or measurements.yardstick_of_log(found.folder) != found.yardstick:
        return []
    _, lowest = min(reversed(rows), key=lambda row: row[0])  # the last of equals, as Ray keeps it
    best = next((snapshot for snapshot in snapshots if snapshot.nimg == round(lowest)), None)
    if best is None:
        return []
    return [newest] if best is newest else [newest, best]
