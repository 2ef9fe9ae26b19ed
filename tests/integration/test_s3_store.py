"""Files, checkpoints and DVC's cache on a real S3 server, and what a user reads when it refuses or is not there."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.train import Checkpoint

from pipelines.cluster import files, store
from pipelines.cluster.store import StoreError
from pipelines.train.kept import REGISTER, spare_checkpoints
from tests.s3 import serve

pytestmark = pytest.mark.slow

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
STORAGE = "s3://lab/runs"
# The commands of docs/storage.md, in one process because most of their time is its start.
DVC = """
import sys
from dvc.cli import main
for line in sys.stdin:
    assert main(line.split()) == 0, line
"""


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with serve() as environment:
        yield environment


@pytest.fixture(autouse=True)
def user(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "archive.zip").write_bytes(CONTENT)
    return tmp_path / "archive.zip"


@pytest.fixture
def url(archive: Path) -> str:
    """The archive, on the store"""
    return files.put(archive, SHA256, STORAGE)


def test_the_archive_goes_to_the_store_once_and_from_there_to_a_node(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = files.put(archive, SHA256, f"{STORAGE}/once")
    assert url == f"s3://lab/runs/once/files/{SHA256}/archive.zip"
    assert capsys.readouterr().out == f"storage: archive.zip (1.0 MB) -> {url}\n"
    assert files.put(archive, SHA256, f"{STORAGE}/once") == url
    assert capsys.readouterr().out == ""
    assert files.cached(url, SHA256, tmp_path / "cache").read_bytes() == CONTENT


def test_a_download_goes_on_where_it_stopped(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache" / SHA256
    folder.mkdir(parents=True)
    (folder / ".archive.zip.partial").write_bytes(CONTENT[:1_000_000])
    begun: list[bool] = []
    download = files._download
    monkeypatch.setattr(files, "_download", lambda *arguments: begun.append(download(*arguments)) or begun[-1])
    assert files.cached(url, SHA256, tmp_path / "cache").read_bytes() == CONTENT
    assert begun == [True]


def test_the_address_may_stand_in_the_url(url: str, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    address = s3["AWS_ENDPOINT_URL"].removeprefix("http://")
    assert store.read(f"{url}?endpoint_override={address}&scheme=http&region=us-east-1") == CONTENT


def test_a_wrong_key_is_refused_with_what_to_set(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreError) as caught:
        store.read(url)
    assert str(caught.value) == (
        f"{url}: the store refuses the credentials. On the machine that starts training, set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY (gs://: GOOGLE_APPLICATION_CREDENTIALS) of a user who may list, read, write and delete."
    )


def test_a_bucket_that_is_not_there_is_named(archive: Path) -> None:
    with pytest.raises(StoreError, match=r"^s3://other/x/files/.*: bucket not found\. Create it, "):
        files.put(archive, SHA256, "s3://other/x")


def test_a_server_that_does_not_answer_is_told_from_one_that_refuses(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StoreError, match=r"the store cannot be reached\. Check that it is running "):
        store.read(url)


def test_a_store_that_answers_each_request_with_503_once_costs_nothing(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(is_busy=True) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        url = files.put(archive, SHA256, f"{STORAGE}/busy")
        assert files.cached(url, SHA256, tmp_path / "cache").read_bytes() == CONTENT
        store.write_bytes(b"tick", f"{STORAGE}/busy/ticks/1")
        assert store.list_names(f"{STORAGE}/busy/ticks") == {"1"}


def test_a_folder_is_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes(CONTENT)
    kept, gone = (f"{STORAGE}/{name}/note" for name in ("kept", "gone"))
    for url in (kept, gone):
        store.upload(tmp_path / "note", url)
    store.remove(f"{STORAGE}/gone")
    store.remove(f"{STORAGE}/absent")
    assert (store.read(kept), store.read(gone)) == (CONTENT, None)


def test_a_register_cut_short_is_set_aside_on_the_store_too(tmp_path: Path) -> None:
    folder = f"{STORAGE}/fingerprint/checkpoints"
    (tmp_path / "file").write_text("{}")
    for name in ("nimg_000000008/tick.json", "nimg_000000016/tick.json", REGISTER):
        store.upload(tmp_path / "file", store.join(folder, name))
    assert spare_checkpoints(folder, None) == []  # Ray reads a register that is whole
    (tmp_path / "file").write_text('{"checkpoint_results": [{"chec')
    store.upload(tmp_path / "file", store.join(folder, REGISTER))
    found = spare_checkpoints(folder, None)
    assert [Path(spare.path).name for spare in found] == ["nimg_000000016", "nimg_000000008"]
    assert store.read(store.join(folder, REGISTER)) is None
    with found[0].as_directory() as local:
        assert (Path(local) / "tick.json").read_text() == "{}"
    store.copy_out(Checkpoint(found[1].path, found[1].filesystem), "tick.json", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "{}"


def test_dvc_pushes_to_the_same_store_and_pulls_from_it(tmp_path: Path) -> None:
    commands = """
        init --quiet --no-scm
        remote add --default store s3://lab/dvc
        add --quiet archive.zip
        push --quiet
    """
    (tmp_path / "archive.zip").write_bytes(CONTENT)
    dvc(commands, tmp_path)
    for path in sorted((tmp_path / ".dvc" / "cache").rglob("*")):
        if path.is_file():
            path.unlink()
    (tmp_path / "archive.zip").unlink()
    dvc("pull --quiet", tmp_path)
    assert (tmp_path / "archive.zip").read_bytes() == CONTENT


def dvc(commands: str, folder: Path) -> None:
    environment = os.environ | {"DVC_NO_ANALYTICS": "true", "DVC_SITE_CACHE_DIR": str(folder / ".site")}
    lines = "".join(f"{line.strip()}\n" for line in commands.strip().splitlines())
    subprocess.run([sys.executable, "-c", DVC], input=lines, text=True, cwd=folder, env=environment, check=True)
