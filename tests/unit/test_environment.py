"""A user's environment: proxies, long temporary folders, folders with spaces."""

import logging
import os
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray._private.utils import validate_socket_filepath

from pipelines.cluster import connection
from pipelines.cluster.environment import (
    SOCKET_BYTES,
    SOCKET_TAIL,
    shorten_temporary_folder,
    spare_local_addresses,
)
from pipelines.params import Params
from stylegan.config import ConfigError

LONG = "/" + "x" * 89
ROOM = SOCKET_BYTES - len(SOCKET_TAIL)


def too_long(name: str) -> str:
    return (
        f"{name} is {LONG}, 90 bytes, of which Ray's sockets can have {ROOM}. Set {name} to a shorter folder that is "
        "writable."
    )


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "all_proxy"])
def test_local_addresses_are_spared_from_a_proxy_beside_what_the_user_spares(name: str) -> None:
    environment = {name: "http://proxy:3128", "NO_PROXY": "example.org, 127.0.0.1"}
    spare_local_addresses(environment)
    assert environment["no_proxy"] == environment["NO_PROXY"] == "example.org,127.0.0.1,localhost,::1"


@pytest.mark.parametrize("extra", [0, 1])
def test_a_folder_is_too_long_exactly_where_ray_refuses_its_sockets(extra: int) -> None:
    environment = {"TMPDIR": "/" + "t" * (ROOM - 1 + extra)}
    try:
        validate_socket_filepath(environment["TMPDIR"] + SOCKET_TAIL)
        refused = False
    except OSError:
        refused = True
    assert refused == bool(extra)
    before = dict(environment)
    shorten_temporary_folder(environment)
    assert (environment != before) == refused


def test_without_a_proxy_the_environment_stays_as_it_is() -> None:
    environment = {"http_proxy": "", "PATH": "/bin"}
    spare_local_addresses(environment)
    assert environment == {"http_proxy": "", "PATH": "/bin"}


def test_a_local_server_is_reached_where_a_proxy_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")  # set, so that monkeypatch restores it
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the proxies of its first use, also for later tests
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        spare_local_addresses(os.environ)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/health", timeout=10) as reply:
            assert reply.status == 200
        thread.join()


def test_rays_sockets_fit_into_the_longest_folder_that_is_kept() -> None:
    longest = "/" + "x" * (ROOM - 1)
    for folder, kept in ((longest, True), (longest + "x", False)):
        environment = {"TMPDIR": folder}
        shorten_temporary_folder(environment)
        assert (environment["TMPDIR"] == folder) == kept


def test_a_temporary_folder_too_long_for_sockets_is_replaced_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {"TMPDIR": LONG}
    shorten_temporary_folder(environment, tmp_path)
    assert environment == {"TMPDIR": str(tmp_path)}
    assert capsys.readouterr().err == f"{too_long('TMPDIR')} For now it is {tmp_path}.\n"


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_without_a_short_folder_the_remedy_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        shorten_temporary_folder({name: LONG}, tmp_path / "absent")
    assert str(caught.value) == too_long(name)


def test_the_usual_temporary_folder_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    environment: dict[str, str] = {}
    shorten_temporary_folder(environment)
    assert environment == {}


def test_a_ray_that_does_not_start_is_one_line_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, make_params: Callable[..., Params]
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("no free port.\nmore")

    monkeypatch.setattr(connection.ray, "init", fail)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    with pytest.raises(ConfigError) as caught, connection.connect(make_params().cluster):
        pass
    assert str(caught.value) == (
        "Ray could not start on this machine: no free port. Its logs are in /tmp/ray/session_latest/logs; "
        "`.venv/bin/python -m pipelines.stop` ends what it left."
    )


def test_a_ray_that_starts_at_the_second_try_says_so_in_one_line_and_without_its_logs(
    monkeypatch: pytest.MonkeyPatch, make_params: Callable[..., Params], caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    tries: list[dict[str, object]] = []
    logger = logging.getLogger("ray")

    def start(*, logging_level: int, **options: object) -> SimpleNamespace:
        logger.setLevel(logging_level)
        tries.append(options)
        if len(tries) == 1:
            logger.error("The last 20 lines of dashboard.log")
            raise Exception("the node timed out during startup")
        (tmp_path / "session").mkdir()
        return SimpleNamespace(address_info={"session_dir": str(tmp_path / "session")})

    monkeypatch.setattr(connection.ray, "init", start)
    monkeypatch.setattr(connection.ownership, "end_own", lambda: None)
    monkeypatch.setattr(logger, "level", logger.level)  # put back after the test
    with connection.connect(make_params().cluster):
        logger.error("a worker is lost")
    assert [options["include_dashboard"] for options in tries] == [False, False]
    assert capsys.readouterr().out == "Ray did not start within 30 s; trying again\n"
    assert caplog.messages == ["a worker is lost"]


@pytest.mark.parametrize(
    ("executable", "runtime_env"),
    [
        ("/home/me/.venv/bin/python", None),
        ("/home/me/My photos/.venv/bin/python", {"py_executable": "'/home/me/My photos/.venv/bin/python'"}),
    ],
)
def test_ray_gets_an_interpreter_that_a_shell_reads_as_one_word(
    executable: str, runtime_env: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    assert connection._runtime_env("local") == runtime_env
