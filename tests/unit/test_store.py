"""pipelines.cluster.store: URLs, and errors that say what to do; test_s3_store.py has a real server."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyarrow.fs import LocalFileSystem, PyFileSystem
from ray.train import Checkpoint

from pipelines.cluster import store
from pipelines.cluster.store import StoreError, for_ray, join, read, shown, upload


@pytest.mark.parametrize(
    ("url", "below"),
    [
        ("s3://lab/runs", "s3://lab/runs/a/b"),
        ("s3://lab/runs/", "s3://lab/runs/a/b"),
        ("s3://lab?endpoint_override=host:8333&scheme=http", "s3://lab/a/b?endpoint_override=host:8333&scheme=http"),
        ("file:///mnt/runs", "file:///mnt/runs/a/b"),
        ("/mnt/what?/runs", "/mnt/what?/runs/a/b"),
        ("runs", f"{os.getcwd()}/runs/a/b"),
        ("~/runs", f"{Path.home()}/runs/a/b"),
    ],
)
def test_what_is_below_a_url_keeps_its_query_and_a_folder_becomes_absolute(url: str, below: str) -> None:
    assert join(url, "a", "b") == below


def test_a_password_is_never_shown() -> None:
    assert shown("s3://key:secret@lab/x") == "s3://***@lab/x"
    assert shown("s3://lab/x?secret_key=secret&scheme=http") == "s3://lab/x?secret_key=***&scheme=http"
    assert shown("s3://lab/x?at=@") == "s3://lab/x?at=@"


@pytest.mark.parametrize("scheme", ["", "file://", "memory://"])
def test_a_file_is_read_as_it_was_written_whoever_opens_the_url(scheme: str, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"content")
    url = f"{scheme}{tmp_path}/far/below/there"
    assert read(url) is None
    upload(tmp_path / "here", url)
    assert read(url) == b"content"
    if scheme != "memory://":
        assert [path.name for path in (tmp_path / "far" / "below").iterdir()] == ["there"]


def test_ray_opens_what_pyarrow_knows_and_gets_fsspec_for_the_rest(tmp_path: Path) -> None:
    assert for_ray(str(tmp_path)) == (str(tmp_path), None)
    path, fs = for_ray("memory://runs")
    assert path == "/runs"
    assert isinstance(fs, PyFileSystem)


def test_one_file_of_a_checkpoint_is_copied_without_the_others(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "small").write_bytes(b"small")
    checkpoint = Checkpoint(str(tmp_path / "checkpoint"), LocalFileSystem())
    store.copy_out(checkpoint, "small", tmp_path / "out" / "small")
    assert (tmp_path / "out" / "small").read_bytes() == b"small"
    with pytest.raises(StoreError, match=r"checkpoint/absent: .* does not see it\. If cluster\.storage_path is a fold"):
        store.copy_out(checkpoint, "absent", tmp_path / "out" / "absent")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["small"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "nonsense://lab/x",
            r"nonsense://lab/x: Protocol not known: nonsense\. Set cluster\.storage_path to a folder, ",
        ),
        ("s3:///x", r"s3:///x: Missing bucket name in S3 URI\. Correct cluster\.storage_path\."),
    ],
)
def test_a_url_that_nothing_opens_is_refused(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=f"^{message}"):
        read(url)


def test_a_full_disk_is_named_with_the_parameter_that_moves_the_copies() -> None:
    with pytest.raises(StoreError, match=r"no space left on .*\. Set cluster\.cache_path to a larger disk\."):  # noqa: SIM117
        with store.explained("s3://lab/x"):
            raise OSError(28, "No space left on device")


def test_credentials_go_to_workers_but_not_those_that_a_submitted_job_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(store.CREDENTIALS)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "g")
    assert store.credentials() == {"AWS_ACCESS_KEY_ID": "a", "GOOGLE_APPLICATION_CREDENTIALS": "g"}
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t")
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "of the server")
    assert store.credentials().keys() - {"AWS_ACCESS_KEY_ID"} == {
        "GOOGLE_APPLICATION_CREDENTIALS", "MLFLOW_TRACKING_TOKEN",
    }  # fmt: skip
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    monkeypatch.setenv(
        "RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": {"env_vars": {"AWS_ACCESS_KEY_ID": "a"}}})
    )
    assert store.credentials() == {"GOOGLE_APPLICATION_CREDENTIALS": "g"}


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was flushed to the disk, in order"""
    found: list[str] = []
    monkeypatch.setattr("os.fsync", lambda handle: found.append(os.readlink(f"/proc/self/fd/{handle}")))
    return found


def test_a_copy_into_a_shared_folder_is_on_the_disk_before_it_has_its_name(tmp_path: Path, flushed: list[str]) -> None:
    (tmp_path / "here").write_bytes(b"content")
    upload(tmp_path / "here", str(tmp_path / "store" / "there"))
    assert flushed == [f"{tmp_path}/store/.there.{os.getpid()}.tmp", f"{tmp_path}/store"]


def test_what_a_worker_reports_is_on_the_disk_before_ray_registers_it(
    tmp_path: Path, flushed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "checkpoints" / "nimg_000000008"
    kept.mkdir(parents=True)
    for name in ("state", "tick"):
        (kept / name).write_text(name)
    storage = SimpleNamespace(persist_current_checkpoint=lambda checkpoint, name: Checkpoint.from_directory(kept))
    monkeypatch.setattr("ray.train.get_context", lambda: SimpleNamespace(get_storage=lambda: storage))
    assert store.persist(Checkpoint.from_directory(tmp_path), "nimg_000000008").path == str(kept)
    assert flushed == [f"{kept}/state", f"{kept}/tick", str(kept), str(kept.parent)]
