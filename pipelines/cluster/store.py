"""The store of a cluster: a shared folder or an object store that every node reaches, named by a URL.

    <cluster.storage_path>/<fingerprint>/           a run: Ray's checkpoints, and in ticks/ a copy of the tick log
    <cluster.storage_path>/files/<sha256>/<name>    what workers read (pipelines.cluster.files)

pyarrow opens the URLs, as it does for Ray Train: both understand the same ones (s3://, gs://, file://, a plain path),
with the same credentials, and nothing more has to be installed. fsspec opens what pyarrow does not know.
"""

import errno
import json
import os
import posixpath
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
from pyarrow import ArrowInvalid
from pyarrow.fs import FileSelector, FileSystem, FileType, FSSpecHandler, LocalFileSystem, PyFileSystem, copy_files

from stylegan.files import flush, flush_folder, replacing

if TYPE_CHECKING:
    from ray.train import Checkpoint  # takes seconds to import


# How variables begin that open a store or a tracking server; not MLFLOW_AUTH_, which are the server's own.
CREDENTIALS = ("AWS_", "GOOGLE_", "MLFLOW_TRACKING_", "MLFLOW_S3_", "MLFLOW_HTTP_")

# What the libraries say -> what to do about it.
_REMEDIES = (
    (
        r"NO_SUCH_BUCKET|Bucket .* not found|bucket does not exist",
        "bucket not found. Create it, or correct the name in cluster.storage_path.",
    ),
    (
        r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE_DOES_NOT_MATCH|TOKEN|UNRECOGNIZED_CLIENT|"
        r"Forbidden|HTTP status 40[13]|PermissionDenied|Unauthenticated",
        "the store refuses the credentials. On the machine that starts training, set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY (gs://: GOOGLE_APPLICATION_CREDENTIALS) of a user who may list, read, write and delete.",
    ),
    (
        r"NETWORK_CONNECTION|curlCode|resolve host|onnection|timed out",
        "the store cannot be reached. Check that it is running and that AWS_ENDPOINT_URL, or endpoint_override in "
        "cluster.storage_path, is its address; training resumes from the last checkpoint when you start it again.",
    ),
)


class StoreError(RuntimeError):
    """The store, or a file in it, cannot be used; the message says what to do."""


def filesystem(url: str) -> tuple[FileSystem, str]:
    """What opens a URL, and the path there

    Raises StoreError for a URL that nothing here opens.
    """
    try:
        opened: tuple[FileSystem, str] = FileSystem.from_uri(url)
        return opened
    except ArrowInvalid as error:
        if "Unrecognized filesystem type" not in str(error):
            raise StoreError(f"{shown(url)}: {error}. Correct cluster.storage_path.") from None
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise StoreError(
            f"{shown(url)}: {error}. Set cluster.storage_path to a folder, s3://, gs://, or another URL that fsspec "
            "knows."
        ) from None
    return PyFileSystem(FSSpecHandler(fs)), path


def for_ray(url: str) -> tuple[str, FileSystem | None]:
    """storage_path and storage_filesystem as Ray Train takes them: it opens by itself what pyarrow knows"""
    with explained(url):
        fs, path = filesystem(url)
    return (path, fs) if isinstance(fs, PyFileSystem) else (url, None)


def join(url: str, *parts: str) -> str:
    """URL of something below another; a query such as ?endpoint_override=host:port stays behind the path

    A plain path becomes absolute, for workers have another working directory.
    """
    if "://" not in url:
        return Path(url).expanduser().absolute().joinpath(*parts).as_posix()
    base, mark, query = url.partition("?")
    return "/".join([base.rstrip("/"), *parts]) + mark + query


def shown(url: str) -> str:
    """The URL without a password that may stand in it"""
    return re.sub(r"(?<=//)[^/@?]*(?=@)|(?<=secret_key=)[^&]*", "***", url)


def read(url: str) -> bytes | None:
    """Content of a small file; None if there is none. Raises StoreError."""
    with explained(url):
        fs, path = filesystem(url)
        if fs.get_file_info(path).type != FileType.File:
            return None
        with fs.open_input_file(path) as file:
            content: bytes = file.read()
            return content


def upload(path: Path, url: str) -> None:
    """Write a file to a URL, over what is there. Raises StoreError."""
    with explained(url):
        write(path, *filesystem(url))


def write_bytes(content: bytes, url: str) -> None:
    """Write a small file to a URL, over what is there. Raises StoreError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "content"
        path.write_bytes(content)
        upload(path, url)


def list_names(url: str) -> set[str]:
    """Names of what is in a folder; empty where there is none. Raises StoreError."""
    with explained(url):
        fs, path = filesystem(url)
        found = fs.get_file_info(FileSelector(path, allow_not_found=True))
        return {posixpath.basename(entry.path) for entry in found}


def remove(url: str) -> None:
    """Delete a folder with all that is in it; it need not be there. Raises StoreError."""
    with explained(url):
        fs, path = filesystem(url)
        if fs.get_file_info(path).type == FileType.Directory:
            fs.delete_dir(path)


def copy_out(checkpoint: "Checkpoint", name: str, path: Path) -> None:
    """Write one file of a checkpoint to a local path, without the others; they may be far away and large."""
    source = posixpath.join(checkpoint.path, name)
    with explained(source), replacing(path) as temporary:
        copy_files(
            source, str(temporary), source_filesystem=checkpoint.filesystem, destination_filesystem=LocalFileSystem()
        )


def write(path: Path, fs: FileSystem, target: str) -> None:
    """Upload a file. Object stores show it when it is whole; in a folder it is written beside, flushed and renamed."""
    if isinstance(fs, LocalFileSystem):
        with replacing(Path(target)) as temporary:
            shutil.copyfile(path, temporary)
            flush(temporary)
        flush(Path(target).parent)
    else:
        fs.create_dir(posixpath.dirname(target), recursive=True)
        copy_files(str(path), target, source_filesystem=LocalFileSystem(), destination_filesystem=fs, use_threads=False)


def persist(checkpoint: "Checkpoint", name: str) -> "Checkpoint":
    """As Ray Train keeps what a worker reports, and on the disk before it is registered"""
    import ray.train

    kept = ray.train.get_context().get_storage().persist_current_checkpoint(checkpoint, name)
    if isinstance(kept.filesystem, LocalFileSystem):
        flush_folder(Path(kept.path))
    return kept


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn what a filesystem raises into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{shown(url)}: {_remedy(url, error)}") from error


def _remedy(url: str, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"no space left on {socket.gethostname()}. Set cluster.cache_path to a larger disk."
    for pattern, remedy in _REMEDIES:
        if re.search(pattern, str(error)):
            return remedy
    if isinstance(error, FileNotFoundError):
        return (
            f"{socket.gethostname()} does not see it. If cluster.storage_path is a folder, mount it on every node; "
            "start training again, which uploads the file if it is missing."
        )
    return str(error)


def credentials() -> dict[str, str]:
    """Variables of this process that open a store or a tracking server, for processes elsewhere

    Not those that `ray job submit` was given: they reach the workers anyway, and Ray refuses them twice.
    """
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    given = (job.get("runtime_env") or {}).get("env_vars") or {}
    return {name: value for name, value in os.environ.items() if name.startswith(CREDENTIALS) and name not in given}
