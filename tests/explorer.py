"""The explorer's server over a tiny generator, in a thread of the test."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from pipelines.explore.__main__ import build_page, listen
from pipelines.explore.app import build_app
from pipelines.explore.studio import Studio


@contextmanager
def serving(studio: Studio, name: str = "tiny </script> generator") -> Iterator[str]:
    """Its address"""
    app = build_app(studio, build_page(name, studio.facts()), is_private=True)
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


def post(address: str, body: dict[str, Any] | bytes, **headers: str) -> tuple[int, bytes]:
    """Status and content of an answer"""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
    request = urllib.request.Request(address, content, {"Content-Type": kind, **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def wait_until(condition: Any, seconds: float = 30) -> None:
    """Wait for a condition that another thread brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.02)


def make_studio(G: Any, class_names: list[str] | None = None) -> Studio:
    """One that compares images by a network that needs no download"""
    return Studio(G, class_names, distance="random", weights=Path("none"))
