"""Publishing journals to MLflow: a real embedded database, and servers that are not there."""

import errno
import json
import logging
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from sqlite3 import dbapi2
from typing import Any

import pytest
import torch
from filelock import FileLock

from pipelines.params import Params, TrackingConfig
from pipelines.tracking import __main__ as tracking
from pipelines.tracking import publisher
from pipelines.tracking.__main__ import publish_everything
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import Publisher, TrackingError, initialise, publishing, tracking_uri
from stylegan.config import ConfigError
from stylegan.images import encode_png

PIXEL = encode_png(torch.zeros(3, 1, 1, dtype=torch.uint8))


def config(uri: str | None = None, experiment: str = "tests") -> TrackingConfig:
    return TrackingConfig(uri=uri, experiment=experiment, system_metrics=False)


@pytest.fixture(autouse=True)
def no_server_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with an empty database; making one takes seconds, copying it none."""
    root = tmp_path_factory.mktemp("fresh")
    initialise(tracking_uri(config(), root), "unused", root)
    return root


@pytest.fixture
def root(fresh: Path, tmp_path: Path) -> Path:
    shutil.copytree(fresh, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def nobody() -> Iterator[str]:
    """Address of a port that refuses connections, with a password in it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refuses, and nobody else can take it
        yield f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}"


def runs(root: Path, experiment: str = "tests") -> list[Any]:
    client, experiment_id = initialise(tracking_uri(config(), root), experiment, root)
    return list(client.search_runs([experiment_id]))


def history(root: Path, name: str) -> list[tuple[int, float]]:
    client, _ = initialise(tracking_uri(config(), root), "tests", root)
    (run,) = runs(root)
    return sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))


def pictures(root: Path) -> list[str]:
    client, _ = initialise(tracking_uri(config(), root), "tests", root)
    (run,) = runs(root)
    names = [file.path for file in client.list_artifacts(run.info.run_id, "images")]
    return sorted(re.sub(r"\+timestamp.*", "", name) for name in names if name.endswith(".png"))


def test_the_address_is_the_parameter_then_the_environment_then_the_embedded_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = Path("/project")
    assert tracking_uri(config(), root) == "sqlite:////project/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment")
    assert tracking_uri(config(), root) == "http://environment"
    assert tracking_uri(config("http://parameter"), root) == "http://parameter"


def test_a_relative_database_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        tracking_uri(config("sqlite:///mine.db"), Path("/project"))
    assert str(error.value) == (
        "tracking.uri is sqlite:///mine.db: a relative path means another database in every folder. "
        "Write sqlite:////project/mine.db, or null for the embedded one."
    )


def test_pictures_of_seeds_become_a_table_once(root: Path) -> None:
    journal = Journal(root / "runs/abc123")
    journal.samples({3: PIXEL, 5: PIXEL})
    for _ in range(2):  # the second finds the table there, as after a kill before the bookmark
        Publisher(journal, config(), root).publish()
        for bookmark in journal.files.glob("published-*.json"):
            bookmark.unlink()
    client, _ = initialise(tracking_uri(config(), root), "tests", root)
    (run,) = runs(root)
    table = json.loads(Path(client.download_artifacts(run.info.run_id, "samples.json")).read_text())
    assert table["columns"] == ["seed", "image"]
    assert [seed for seed, _ in table["data"]] == [3, 5]
    files = [image["filepath"] for _, image in table["data"]]
    assert all(Path(client.download_artifacts(run.info.run_id, file)).exists() for file in files)


def test_everything_in_a_journal_reaches_one_run(root: Path, tmp_path: Path) -> None:
    journal = Journal(root / "runs/abc123")
    journal.params({"lr": 0.5, "none": None})
    journal.tags({"git_edited": False})
    journal.dataset("earth", "f" * 64)
    journal.status("RUNNING")
    journal.metrics(1000, {"loss/G": 0.5})
    journal.summary(1000, {"eval/kid": 0.25})
    journal.image("samples/ema", 1000, PIXEL)
    (tmp_path / "page.html").write_text("page")
    journal.artifact(tmp_path / "page.html")
    journal.status("FINISHED")
    assert Publisher(journal, config(), root).publish() == 9
    (run,) = runs(root)
    assert (run.info.run_name, run.info.status, run.info.start_time) == ("abc123", "FINISHED", journal.began_ms())
    assert run.data.tags.items() >= {"fingerprint": "abc123", "git_edited": "False"}.items()
    assert run.data.params == {"lr": "0.5", "none": "None"}
    assert run.data.metrics == {"loss/G": 0.5, "eval/kid": 0.25}
    recorded = {record["time_ms"] for record, _ in journal.read(0)}
    client, _ = initialise(tracking_uri(config(), root), "tests", root)
    assert client.get_metric_history(run.info.run_id, "loss/G")[0].timestamp in recorded
    assert [(data.dataset.name, data.dataset.digest) for data in run.inputs.dataset_inputs] == [("earth", "f" * 36)]
    assert pictures(root) == ["images/samples~ema+step+1000"]
    (page,) = (root / "mlruns").glob("*/artifacts/page.html")
    assert page.read_text() == "page"


def test_a_file_of_the_run_that_cannot_be_written_is_not_blamed_on_the_server(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(root / "runs/abc")
    journal.metrics(1, {"a": 1.0})

    def write(path: Path, value: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(publisher, "write_json", write)
    with pytest.raises(TrackingError) as caught:
        Publisher(journal, config(), root).publish()
    assert str(caught.value).startswith(f"{root}/runs/abc/tracking/published-")
    assert str(caught.value).endswith(".json: No space left on device. Free space on its disk, then give the same "
                                      "command again")  # fmt: skip


def test_a_later_process_goes_on_where_the_last_one_stopped(root: Path) -> None:
    journal = Journal(root / "runs/abc")
    for step in (1, 2, 3):
        journal.metrics(step, {"a": float(step)})
        assert Publisher(journal, config(), root).publish() == 1
    assert Publisher(journal, config(), root).publish() == 0
    assert history(root, "a") == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_kill_between_sending_and_bookmarking_repeats_nothing(root: Path) -> None:
    journal = Journal(root / "runs/abc")
    journal.metrics(1, {"a": 1.0})
    journal.image("samples", 1, PIXEL)
    publisher = Publisher(journal, config(), root)
    publisher.publish()
    publisher.bookmark.unlink()
    assert Publisher(journal, config(), root).publish() == 2
    assert history(root, "a") == [(1, 1.0)]
    assert pictures(root) == ["images/samples+step+1"]


def test_the_same_point_sent_again_is_one_point(root: Path) -> None:
    journal = Journal(root / "runs/abc")
    journal.summary(1, {"a": 1.0})
    publisher = Publisher(journal, config(), root)
    publisher.publish()
    publisher.bookmark.unlink()
    publisher.publish()
    assert history(root, "a") == [(1, 1.0)]


def test_a_journal_begun_again_joins_its_run_and_repeats_no_step(root: Path) -> None:
    for last in (2, 3):
        shutil.rmtree(root / "runs", ignore_errors=True)
        journal = Journal(root / "runs/abc")
        for step in range(1, last + 1):
            journal.metrics(step, {"a": float(step)})
        Publisher(journal, config(), root).publish()
    assert history(root, "a") == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_server_that_lost_the_run_gets_all_of_it_again(root: Path, fresh: Path) -> None:
    journal = Journal(root / "runs/abc")
    journal.metrics(1, {"a": 1.0})
    Publisher(journal, config(), root).publish()
    shutil.copyfile(fresh / "mlflow.db", root / "mlflow.db")
    journal.metrics(2, {"a": 2.0})
    assert Publisher(journal, config(), root).publish() == 2
    assert history(root, "a") == [(1, 1.0), (2, 2.0)]


def test_each_server_gets_the_whole_journal(root: Path) -> None:
    journal = Journal(root / "runs/abc")
    journal.metrics(1, {"a": 1.0})
    for experiment in ("tests", "elsewhere"):
        assert Publisher(journal, config(experiment=experiment), root).publish() == 1
        assert len(runs(root, experiment)) == 1


def test_a_record_the_server_refuses_is_left_out_with_a_warning(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(root / "runs/abc")
    journal.params({"lr": 1})
    Publisher(journal, config(), root).publish()
    shutil.rmtree(journal.folder)
    journal = Journal(root / "runs/abc")
    journal.params({"lr": 2})
    journal.metrics(1, {"a": 1.0})
    assert Publisher(journal, config(), root).publish() == 2
    assert history(root, "a") == [(1, 1.0)]
    (record,) = (record for record in caplog.records if record.name == publisher.__name__)
    assert record.getMessage().startswith(f"{journal.path}: record refused and left out: ")


def test_a_file_that_cannot_be_sent_holds_nothing_back_and_is_sent_later(root: Path, tmp_path: Path) -> None:
    (tmp_path / "generator.bin").write_bytes(b"weights")
    journal = Journal(root / "runs/abc")
    journal.tags({"a": 1})
    sender = Publisher(journal, config(), root)
    sender.publish()
    client, _ = initialise(tracking_uri(config(), root), "tests", root)
    folder = Path(runs(root)[0].info.artifact_uri.removeprefix("file://"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file where the folder of artifacts should be")
    journal.artifact(tmp_path / "generator.bin")
    journal.metrics(1, {"a": 1.0})
    journal.status("FINISHED")
    assert sender.publish() == 2
    assert history(root, "a") == [(1, 1.0)]
    with pytest.raises(TrackingError):
        Publisher(journal, config(), root).publish(at_once=True)
    folder.unlink()
    assert sender.publish() == 0, "the next try waits"
    assert Publisher(journal, config(), root).publish(at_once=True) == 1
    assert [file.path for file in client.list_artifacts(runs(root)[0].info.run_id)] == ["generator.bin"]
    assert Publisher(journal, config(), root).publish(at_once=True) == 0


def test_a_large_file_has_more_time_unless_the_user_set_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(publisher.TIMEOUT, "10")
    with publisher._waiting_for(120_000_000):
        assert int(os.environ[publisher.TIMEOUT]) > 2000
    assert os.environ[publisher.TIMEOUT] == "10"
    monkeypatch.setenv(publisher.TIMEOUT, "77")
    with publisher._waiting_for(120_000_000):
        assert os.environ[publisher.TIMEOUT] == "77"


def test_two_publishers_do_not_send_at_once(root: Path) -> None:
    journal = Journal(root / "runs/abc")
    journal.metrics(1, {"a": 1.0})
    with FileLock(journal.files / "publish.lock"):
        assert Publisher(journal, config(), root).publish() == 0
    assert Publisher(journal, config(), root).publish() == 1


def test_an_experiment_in_the_trash_is_named_with_the_way_back(root: Path) -> None:
    client, experiment_id = initialise(tracking_uri(config(), root), "tests", root)
    client.delete_experiment(experiment_id)
    with pytest.raises(ConfigError) as error:
        initialise(tracking_uri(config(), root), "tests", root)
    assert str(error.value) == (
        f"tracking.experiment 'tests' is in the trash of sqlite:///{root}/mlflow.db. Restore it with "
        f"`mlflow experiments restore --experiment-id {experiment_id}`, or choose another name."
    )


def test_an_unreachable_server_keeps_the_journal_and_its_password(root: Path, nobody: str) -> None:
    journal = Journal(root / "runs/abc")
    journal.metrics(1, {"a": 1.0})
    with pytest.raises(TrackingError) as error:
        Publisher(journal, config(nobody), root).publish()
    assert "secret" not in str(error.value)
    assert str(error.value).startswith(nobody.replace("user:secret@", ""))
    assert Publisher(journal, config(), root).publish() == 1


def test_a_database_on_a_full_disk_is_said_in_one_line_with_the_remedy(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal, connect = Journal(root / "runs/abc"), dbapi2.connect
    for step in range(100):
        journal.metrics(step, {f"metric {number}": float(step) for number in range(9)})

    def limited(*arguments: Any, **options: Any) -> dbapi2.Connection:
        """With room for four pages more, after which sqlite says what it says of a full disk"""
        database = connect(*arguments, **options)
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages + 4}")
        return database

    monkeypatch.setattr(dbapi2, "connect", limited)
    with pytest.raises(TrackingError) as caught:
        Publisher(journal, config(), root).publish()
    remedy = "Free space on its disk; what is kept is sent by the next `stylegan publish`"
    assert str(caught.value) == f"sqlite:///{root}/mlflow.db: disk is full. {remedy}"
    assert "Traceback" not in caplog.text


def test_a_lock_that_cannot_be_made_is_a_warning_and_no_end_of_training(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(root / "runs/abc")
    journal.metrics(1, {"a": 1.0})
    (journal.files / "publish.lock").mkdir()
    with publishing(journal, config(), root):
        pass
    assert caplog.text.count("Kept in ") == 1
    (journal.files / "publish.lock").rmdir()
    assert Publisher(journal, config(), root).publish() == 1


def test_training_goes_on_without_a_server_after_one_warning(
    root: Path, nobody: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "PUBLISH_SEC", 0.01)
    journal = Journal(root / "runs/abc")
    with publishing(journal, config(nobody), root):
        for step in range(3):
            journal.metrics(step, {"a": 1.0})
    warnings = [record for record in caplog.records if record.name == publisher.__name__]
    assert [record.levelno for record in warnings] == [logging.WARNING]
    assert (
        warnings[0]
        .getMessage()
        .endswith(f"Kept in {journal.path}; `python -m pipelines.tracking publish` sends it later.")
    )
    assert Publisher(journal, config(), root).publish() == 3


def test_what_is_recorded_last_is_sent_at_the_end_even_of_a_failure(root: Path) -> None:
    journal = Journal(root / "runs/abc")
    journal.metrics(1, {"a": 1.0})

    def fail_after_the_first_look() -> None:
        with publishing(journal, config(), root):
            bookmark = Publisher(journal, config(), root).bookmark
            while not bookmark.exists():
                time.sleep(0.01)
            journal.metrics(2, {"a": 2.0})  # the next look is seconds away
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_the_first_look()
    assert history(root, "a") == [(1, 1.0), (2, 2.0)]


def test_publishing_everything_sends_every_run(
    root: Path, make_params: Callable[..., Params], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("abc", "def"):
        Journal(root / "runs" / name).metrics(1, {"a": 1.0})
    params = make_params("tracking.experiment=tests")
    assert publish_everything(params, root) == 0
    assert len(runs(root)) == 2
    where = f"sqlite:///{root}/mlflow.db"
    assert capsys.readouterr().out == f"run abc: 1 new record sent to {where}\nrun def: 1 new record sent to {where}\n"
    assert publish_everything(params, root) == 0
    nothing = f"complete in {where}, nothing to send"
    assert capsys.readouterr().out == f"run abc: {nothing}\nrun def: {nothing}\n"


def test_publishing_everything_counts_what_could_not_be_sent(
    root: Path, nobody: str, make_params: Callable[..., Params], capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal(root / "runs/abc")
    journal.metrics(1, {"a": 1.0})
    assert publish_everything(make_params(f"tracking.uri={nobody}"), root) == 1
    assert capsys.readouterr().err.startswith(f"run abc: not sent, kept in {journal.path}: http://127.0.0.1:")


def test_the_command_line_reports_an_unreachable_server_in_one_line(
    nobody: str, root: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", nobody)
    monkeypatch.setattr(publisher, "ROOT", root)
    shutil.copyfile(repository / "params.yaml", root / "params.yaml")
    assert tracking.main(["ui", "--no-browser"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: http://127.0.0.1:")
    assert error.count("\n") == 1
