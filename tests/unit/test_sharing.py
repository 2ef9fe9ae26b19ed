"""pipelines.cluster.files: a node fetches a file once, whoever asks, whatever is killed, and never a wrong one."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cluster import files
from pipelines.cluster.files import Shared, cache_folder, cached, is_same, share
from pipelines.cluster.store import StoreError
from pipelines.params import ClusterConfig, Params

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
# A worker that notes when it begins a download, which then takes a moment.
WORKER = """
import sys, time
from pathlib import Path
from pipelines.cluster import files
url, sha256, cache, notes = sys.argv[1:]
download = files._download
def slow(*arguments):
    with open(notes, "a") as file:
        file.write("fetched\\n")
    time.sleep(0.5)
    return download(*arguments)
files._download = slow
print(files.cached(url, sha256, Path(cache)))
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "store" / "archive.zip"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def partial(cache: Path) -> Path:
    """What a killed download leaves; its folder is there"""
    (cache / SHA256).mkdir(parents=True)
    return cache / SHA256 / ".archive.zip.partial"


def test_two_processes_of_a_node_fetch_a_file_once(archive: Path, cache: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    command = [sys.executable, "-c", WORKER, str(archive), SHA256, str(cache), str(notes)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = {worker.communicate(timeout=120)[0].strip() for worker in workers}
    assert found == {str(cache / SHA256 / "archive.zip")}
    assert notes.read_text() == "fetched\n"
    assert (cache / SHA256 / "archive.zip").read_bytes() == CONTENT


def test_a_file_that_is_there_is_not_fetched_again(archive: Path, cache: Path) -> None:
    first = cached(str(archive), SHA256, cache)
    archive.unlink()
    assert cached(str(archive), SHA256, cache) == first


def test_a_download_goes_on_where_a_kill_stopped_it(
    archive: Path, cache: Path, partial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PIECE_BYTES", 2**18)
    partial.write_bytes(CONTENT[:300_000])
    archive.write_bytes(b"x" * 300_000 + CONTENT[300_000:])  # that its beginning is not read again shows in this
    assert cached(str(archive), SHA256, cache).read_bytes() == CONTENT
    assert not partial.exists()


@pytest.mark.parametrize("left", [b"of another file", CONTENT + b"too long", b"y" * len(CONTENT)])
def test_a_beginning_that_does_not_belong_to_the_file_is_dropped(
    left: bytes, archive: Path, cache: Path, partial: Path
) -> None:
    partial.write_bytes(left)
    assert cached(str(archive), SHA256, cache).read_bytes() == CONTENT


def test_a_damaged_file_is_refused_and_not_kept(archive: Path, cache: Path) -> None:
    archive.write_bytes(CONTENT[:-1] + b"x")
    found = hashlib.sha256(CONTENT[:-1] + b"x").hexdigest()[:12]
    with pytest.raises(StoreError) as caught:
        cached(str(archive), SHA256, cache)
    assert str(caught.value) == (
        f"{archive}: its sha256 is {found}, not {SHA256[:12]}: it is damaged. Delete it and start training again, "
        "which uploads a new copy."
    )
    assert [path.name for path in (cache / SHA256).iterdir()] == ["lock"]
    archive.write_bytes(CONTENT)
    assert cached(str(archive), SHA256, cache).read_bytes() == CONTENT


def config(params: Params, **changes: object) -> ClusterConfig:
    return params.cluster.model_copy(update=changes)


def test_without_a_store_workers_open_the_file_itself(archive: Path, tiny_params: Params) -> None:
    assert share(archive, "not looked at", tiny_params.cluster).here() == archive


def test_the_store_gets_a_file_once_and_again_when_only_half_of_it_is_there(
    archive: Path, tiny_params: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = config(tiny_params, storage_path=f"file://{tmp_path}/runs")
    stored = tmp_path / "runs" / "files" / SHA256 / "archive.zip"
    said = f"storage: archive.zip (1.0 MB) -> file://{stored}\n"
    for expected in (said, "", said):
        shared = share(archive, SHA256, cluster)
        assert (shared.url, capsys.readouterr().out) == (f"file://{stored}", expected)
        assert stored.read_bytes() == CONTENT
        if expected == "":
            stored.write_bytes(CONTENT[:1000])


def test_a_node_that_has_the_same_file_at_the_same_path_uses_it_and_another_fetches_it(
    archive: Path, cache: Path, tiny_params: Params, tmp_path: Path
) -> None:
    cluster = config(tiny_params, storage_path=f"file://{tmp_path}/runs", cache_path=str(cache))
    shared = share(archive, SHA256, cluster)
    assert shared.here() == archive
    assert not (cache / SHA256 / "archive.zip").exists()
    archive.write_bytes(b"of another run")  # as on a node where something else lies there
    assert shared.here() == cache / SHA256 / "archive.zip"
    archive.unlink()
    assert shared.here().read_bytes() == CONTENT


def test_a_file_is_read_once_to_know_that_it_is_the_same(
    archive: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_same(archive, SHA256, cache)
    monkeypatch.setattr(files, "sha256_of", lambda path: pytest.fail("read again"))
    assert is_same(archive, SHA256, cache)
    monkeypatch.setattr(files, "sha256_of", lambda path: "another")
    os.utime(archive, ns=(0, 0))
    assert not is_same(archive, SHA256, cache)


def test_the_cache_is_where_the_parameter_says_or_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder(str(tmp_path)) == tmp_path
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / "stylegan2-ada"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder(None) == Path.home() / ".cache" / "stylegan2-ada"


def test_a_worker_that_does_not_see_the_shared_folder_says_so(archive: Path, cache: Path, tmp_path: Path) -> None:
    shared = Shared(tmp_path / "absent", SHA256, f"file://{tmp_path}/unmounted/archive.zip", str(cache))
    with pytest.raises(StoreError, match=r"does not see it\. If cluster\.storage_path is a folder, mount it on every"):
        shared.here()
