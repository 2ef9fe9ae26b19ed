"""Files that workers read on any node: each node fetches its own copy once, to its own disk.

    <cluster.storage_path>/files/<sha256>/<name>    archive and networks, put there once by the process that trains
    <cluster.cache_path>/<sha256>/<name>            a node's copy, fetched by the first of its workers

Without a store every worker opens the path of the process that trains.
"""

import json
import os
import posixpath
import uuid
from dataclasses import dataclass
from pathlib import Path

import ray
from filelock import FileLock
from pyarrow.fs import FileType, LocalFileSystem

from pipelines.cluster import nodes
from pipelines.cluster.store import StoreError, explained, filesystem, join, shown, write
from pipelines.params import ClusterConfig
from stylegan.files import flush, sha256_of, write_json
from stylegan.text import print_lines

PIECE_BYTES = 16 * 2**20  # of a download: what a kill can cost


@dataclass(frozen=True)
class Shared:
    """A file of the process that trains, as a worker on any node gets it."""

    path: Path
    sha256: str
    url: str | None  # None: there is no store, and every worker sees `path`
    cache: str | None  # cluster.cache_path

    def here(self) -> Path:
        """Where this node has it: the same path where the same file is there, else the node's own copy

        Raises StoreError.
        """
        if self.url is None:
            return self.path
        cache = cache_folder(self.cache)
        return self.path if is_same(self.path, self.sha256, cache) else cached(self.url, self.sha256, cache)


def share(path: Path, sha256: str, cluster: ClusterConfig) -> Shared:
    """Make a file available to every node: put it into the store, if there is one and it is not there yet.

    Raises StoreError.
    """
    url = None if cluster.storage_path is None else put(path, sha256, cluster.storage_path)
    return Shared(path, sha256, url, cluster.cache_path)


def put(path: Path, sha256: str, storage: str) -> str:
    """Upload a file unless the store has it  ->  its URL

    Raises StoreError.
    """
    url = join(storage, "files", sha256, path.name)
    with explained(url):
        fs, target = filesystem(url)
        there, size = fs.get_file_info(target), path.stat().st_size
        if there.type != FileType.File or there.size != size:
            print_lines(f"storage: {path.name} ({size / 1e6:.1f} MB) -> {shown(url)}")
            write(path, fs, target)
    return url


def cached(url: str, sha256: str, cache: Path) -> Path:
    """This node's copy of a file in the store: fetched once, by whichever process asks first, whatever is killed.

    Raises StoreError.
    """
    folder = cache / sha256
    path = folder / posixpath.basename(url.partition("?")[0])
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if not path.exists():
            _fetch(url, sha256, path)
    return path


def _fetch(url: str, sha256: str, path: Path) -> None:
    """Continue what a killed process began; if that turns out to be something else, begin anew, once."""
    partial = path.with_name(f".{path.name}.partial")
    with explained(url):
        begun = _download(url, partial)
        found = sha256_of(partial)
        if begun and found != sha256:
            partial.unlink()
            _download(url, partial)
            found = sha256_of(partial)
    if found != sha256:
        partial.unlink()
        raise StoreError(
            f"{shown(url)}: its sha256 is {found[:12]}, not {sha256[:12]}: it is damaged. Delete it and start "
            "training again, which uploads a new copy."
        )
    flush(partial)
    os.replace(partial, path)


def _download(url: str, partial: Path) -> bool:
    """Append what is missing from `partial`  ->  whether it had a beginning"""
    fs, source = filesystem(url)
    with fs.open_input_file(source) as remote, partial.open("ab") as local:
        if local.tell() > remote.size():
            local.truncate(0)
        begun = local.seek(0, os.SEEK_END)
        remote.seek(begun)
        while piece := remote.read(PIECE_BYTES):
            local.write(piece)
            local.flush()
    return begun > 0


def is_same(path: Path, sha256: str, cache: Path) -> bool:
    """Whether a local file has this content; read once a node, unless its size or its time changes."""
    try:
        status = path.stat()
    except OSError:
        return False
    note = cache / sha256 / "same.json"
    signature = [str(path), status.st_size, status.st_mtime_ns, status.st_ino]
    note.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(note.parent / "lock"):
        if note.exists() and _read_note(note) == signature:
            return True
        same = sha256_of(path) == sha256
        if same:
            write_json(note, signature)
    return same


def _read_note(path: Path) -> object:
    """Content of a note; None for a damaged one, after which the file is read again"""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None


def cache_folder(cache_path: str | None) -> Path:
    """cluster.cache_path on this node, or else the user's cache folder"""
    if cache_path is not None:
        return Path(cache_path).expanduser().absolute()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "stylegan2-ada"


def refuse_unshared(url: str) -> None:
    """Ask every other node that can train whether it sees a local folder as this process does.

    Ray Train would not notice: files would lie on the node of rank 0. Raises StoreError.
    """
    fs, folder = filesystem(url)
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in nodes.alive() if node["Resources"].get("CPU") and node["NodeID"] != here]
    if not isinstance(fs, LocalFileSystem) or not others:
        return
    probe = Path(folder) / f".seen-{uuid.uuid4().hex}"
    probe.parent.mkdir(parents=True, exist_ok=True)
    probe.touch()
    try:
        answers = nodes.ask(others, os.path.exists, str(probe))
    finally:
        probe.unlink()
    # One that does not answer is refused elsewhere, or left out by Ray.
    if blind := [node["NodeManagerAddress"] for node, sees in zip(others, answers, strict=True) if sees is False]:
        raise StoreError(
            f"{folder}: {', '.join(blind)} does not see what this machine writes there, so a run could not continue "
            "if its first worker moves. Set cluster.storage_path to a folder that is mounted on every node, or to "
            "s3://..."
        )
