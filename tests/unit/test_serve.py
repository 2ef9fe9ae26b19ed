"""`stylegan serve`: the bytes of `stylegan generate`, errors of one line, batches of what waits, and a clean end."""

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.params import Params
from pipelines.serve import app as serving
from pipelines.serve.__main__ import main
from pipelines.serve.app import create_app, load_service
from pipelines.serve.batching import Batcher, BusyError
from stylegan.__main__ import main as stylegan
from stylegan.checkpoint import save_generator
from stylegan.drawing.requested import Request, RequestError, check_request
from stylegan.networks import Generator
from tests.asgi import answered

Ask = Callable[..., tuple[int, bytes]]


@pytest.fixture(scope="module")
def generator(tiny_params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with two classes."""
    torch.manual_seed(0)
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=2).eval()
    G.mapping.w_avg.normal_()
    path = tmp_path_factory.mktemp("model") / "generator.safetensors"
    save_generator(G, path, ["dark", "light"])
    return path


@pytest.fixture
def ask(generator: Path) -> Ask:
    """ask("/image", seed=7) -> (status, body) of the application, without a socket."""
    app = create_app(load_service(generator, batch_size=1, device=torch.device("cpu")), is_private=True)
    return lambda path, method="GET", **query: asyncio.run(answered(app, method, path, query))


def drawn(generator: Path, out: Path, seed: int, psi: str, label: str) -> bytes:
    """The file that `stylegan generate` writes"""
    assert stylegan(["generate", str(generator), f"--seeds={seed}", f"--psi={psi}", f"--class={label}",
                     "--out", str(out)]) == 0  # fmt: skip
    return (out / f"seed{seed:04d}.png").read_bytes()


def test_an_image_has_the_bytes_of_the_file_that_generate_writes(ask: Ask, generator: Path, tmp_path: Path) -> None:
    for seed, psi, label in ((7, "1", "light"), (8, "0.7", "0"), (9, "-1", "dark")):
        assert ask("/image", seed=seed, psi=psi, class_=label) == (200, drawn(generator, tmp_path, seed, psi, label))
    status, body = ask("/images", seed=[7, 8, 7], class_="light")
    assert status == 200
    answer = json.loads(body)
    assert answer["seeds"] == [7, 8, 7]
    found = [base64.b64decode(text) for text in answer["png"]]
    assert found == [drawn(generator, tmp_path, seed, "1", "light") for seed in (7, 8, 7)]


def test_a_server_says_what_it_serves_and_that_it_is_well(ask: Ask) -> None:
    assert json.loads(ask("/health")[1]) == {"status": "ok", "waiting": 0}
    facts = json.loads(ask("/model")[1])
    assert (facts["pixels"], facts["channels"], facts["classes"]) == ("16", 3, ["dark", "light"])
    assert len(facts["generator_sha256"]) == 64


@pytest.mark.parametrize(
    ("path", "query", "says"),
    [
        ("/image", {}, "seed: Field required. Ask for GET /image?seed=7"),
        ("/image", {"seed": "many"}, "seed: Input should be a valid integer"),
        ("/image", {"seed": -1, "class_": "0"}, "seed -1: expected a whole number from 0 to 4294967295"),
        ("/image", {"seed": 2**32, "class_": "0"}, "seed 4294967296: expected a whole number"),
        ("/image", {"seed": "9" * 5000}, "seed: Unable to parse input string as an integer, exceeded maximum size"),
        ("/image", {"seed": 1, "psi": "nan"}, "psi nan: expected a number from -10 to 10"),
        ("/image", {"seed": 1, "psi": "1e300"}, "psi 1e+300: expected a number from -10 to 10"),
        ("/image", {"seed": 1, "pis": 0.7}, "pis: Extra inputs are not permitted"),
        ("/image", {"seed": 1}, "this generator is conditional. Choose a class: dark, light."),
        ("/image", {"seed": 1, "class_": "lihgt"}, "class 'lihgt' does not exist; did you mean light?"),
        ("/image", {"seed": 1, "class_": "7"}, "class 7 does not exist; this generator knows 0 to 1."),
        ("/image", {"seed": 1, "class_": "x\n\x1b[31m"}, r"class 'x\n\x1b[31m' does not exist"),
        ("/images", {"seed": list(range(65))}, "seed: List should have at most 64 items"),
    ],
)
def test_what_cannot_be_drawn_is_answered_with_one_line_and_400(
    path: str, query: dict[str, object], says: str, ask: Ask
) -> None:
    status, body = ask(path, **query)
    assert status == 400
    (line,) = json.loads(body).values()
    assert line.startswith(says)
    assert line.isprintable()
    assert len(line) < 1100


def test_other_addresses_and_methods_name_those_there_are(ask: Ask) -> None:
    for status, path, method in ((404, "/", "GET"), (404, "/docs", "GET"), (405, "/image", "POST")):
        found, body = ask(path, method=method)
        assert found == status
        assert "Ask for GET /image?seed=7" in json.loads(body)["error"]


def test_a_class_is_asked_of_no_unconditional_generator(tiny_params: Params) -> None:
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0)
    with pytest.raises(RequestError, match="this generator is unconditional"):
        check_request(G, None, seed=0, class_name="0")


def gathered(batch_size: int, most_waiting: int = 100) -> tuple[Batcher, list[list[int]], threading.Event]:
    """A batcher whose batches are kept, and which draws nothing before the event is set"""
    batches: list[list[int]] = []
    may_draw = threading.Event()

    def draw(requests: Sequence[Request]) -> list[bytes]:
        may_draw.wait(60)
        batches.append([each.seed for each in requests])
        if any(each.psi < 0 for each in requests):
            raise ValueError("no such image")
        return [bytes([each.seed]) for each in requests]

    return Batcher(draw, batch_size=batch_size, most_waiting=most_waiting), batches, may_draw


def asked(*seeds: int, psi: float = 1.0) -> list[Request]:
    return [Request(seed, psi, None) for seed in seeds]


def test_what_waits_together_is_drawn_together_in_its_order() -> None:
    batcher, batches, may_draw = gathered(batch_size=4)

    async def run() -> list[list[bytes]]:
        tasks = [asyncio.create_task(batcher.images(asked(0)))]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(batcher.images(asked(*seeds))) for seeds in ((1, 2), (3,), (4, 5, 6))]
        await asyncio.sleep(0.05)
        may_draw.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(run()) == [[b"\x00"], [b"\x01", b"\x02"], [b"\x03"], [b"\x04", b"\x05", b"\x06"]]
    assert batches == [[0], [1, 2, 3, 4], [5, 6]]


def test_images_that_nobody_waits_for_any_more_are_not_drawn_and_too_many_are_refused() -> None:
    batcher, batches, may_draw = gathered(batch_size=1, most_waiting=2)

    async def run() -> list[Any]:
        tasks = [asyncio.create_task(batcher.images(asked(0)))]
        await asyncio.sleep(0.05)
        tasks += [asyncio.create_task(batcher.images(asked(seed))) for seed in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match=r"The queue is full \(2 images\)"):
            await batcher.images(asked(3))
        tasks[1].cancel()
        may_draw.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, cancelled, last = asyncio.run(run())
    assert (first, last) == ([b"\x00"], [b"\x02"])
    assert isinstance(cancelled, asyncio.CancelledError)
    assert batches == [[0], [2]]


def test_images_that_nobody_waits_for_any_more_take_no_room_from_others() -> None:
    batcher, batches, may_draw = gathered(batch_size=1, most_waiting=2)

    async def run() -> list[list[bytes]]:
        first = asyncio.create_task(batcher.images(asked(0)))
        await asyncio.sleep(0.05)
        abandoned = asyncio.create_task(batcher.images(asked(1, 2)))
        await asyncio.sleep(0)
        assert batcher.num_waiting == 2
        abandoned.cancel()
        await asyncio.gather(abandoned, return_exceptions=True)
        assert batcher.num_waiting == 0
        last = asyncio.create_task(batcher.images(asked(3, 4)))
        await asyncio.sleep(0)
        may_draw.set()
        return await asyncio.gather(first, last)

    assert asyncio.run(run()) == [[b"\x00"], [b"\x03", b"\x04"]]
    assert batches == [[0], [3], [4]]


def test_a_batch_that_fails_fails_alone() -> None:
    batcher, _, may_draw = gathered(batch_size=1)
    may_draw.set()

    async def run() -> list[Any]:
        tasks = [batcher.images(asked(seed, psi=psi)) for seed, psi in ((0, 1.0), (1, -1.0), (2, 1.0))]
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, failed, last = asyncio.run(run())
    assert (first, last) == ([b"\x00"], [b"\x02"])
    assert str(failed) == "no such image"


def test_a_queue_that_is_full_says_when_to_come_again(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> list[bytes]:
        raise BusyError("The queue is full (1024 images). Try again in a moment.")

    monkeypatch.setattr(serving.Service, "images", full)
    assert ask("/image", seed=1) == (503, b'{"error":"The queue is full (1024 images). Try again in a moment."}')


def test_a_device_that_is_full_is_503_and_a_line(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> list[bytes]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(serving.Service, "images", full)
    status, body = ask("/image", seed=1)
    assert status == 503
    assert "too little memory. Ask for fewer images, or serve with a smaller --batch-size" in json.loads(body)["error"]


def test_images_of_a_closed_connection_are_given_up(generator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LOOK_SEC", 0.01)
    service = load_service(generator, batch_size=1, device=torch.device("cpu"))
    service.batcher, batches, may_draw = gathered(batch_size=1)

    async def run() -> list[tuple[int, bytes]]:
        app, query = create_app(service, is_private=True), {"seed": 0, "class_": "dark"}
        tasks = [asyncio.create_task(answered(app, "GET", "/image", query))]
        await asyncio.sleep(0.1)
        gone = await answered(app, "GET", "/image", query | {"seed": 1}, is_gone=True)
        may_draw.set()
        return [gone, *await asyncio.gather(*tasks)]

    assert [status for status, _ in asyncio.run(run())] == [serving.CLOSED, 200]
    assert batches == [[0]]


@pytest.fixture
def server(generator: Path, repository: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves, and its address."""
    command = [sys.executable, "-m", "pipelines.serve", str(generator), "--port", "0", "--batch-size", "4"]
    with subprocess.Popen(
        command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"NO_PROXY": "127.0.0.1"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        yield process, line.partition(": http://")[2].partition("/")[0]
        process.kill()


@pytest.mark.slow
def test_a_server_answers_many_at_once_and_ends_on_sigterm_with_143(server: tuple[subprocess.Popen[str], str]) -> None:
    process, address = server

    def fetch(seed: int) -> None:
        with urllib.request.urlopen(f"http://{address}/image?seed={seed}&class=light", timeout=60) as answer:
            found[seed] = answer.read()

    found: dict[int, bytes] = {}
    threads = [threading.Thread(target=fetch, args=[seed]) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found.values())) == 16
    assert all(png.startswith(b"\x89PNG") for png in found.values())
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out, error) == (143, "", "")


@pytest.fixture
def app_of(generator: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """app_of(host) -> the application that the command serves there"""
    served: list[Any] = []
    monkeypatch.setattr("uvicorn.Server.run", lambda server, sockets: served.append(server.config.app))

    def start(host: str) -> Any:
        assert main([str(generator), "--host", host, "--port", "0"]) == 0
        return served[-1]

    return start


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1"])
def test_another_host_name_is_refused_where_the_socket_is_this_machines_own(
    host: str, app_of: Callable[[str], Any]
) -> None:
    app = app_of(host)
    status, body = asyncio.run(answered(app, "GET", "/model", {}, {"Host": "evil.example"}))
    expected = "host 'evil.example' is not this machine. Use the address that the terminal shows; a proxy must pass it"
    assert (status, json.loads(body)) == (403, {"error": f"{expected} as Host."})
    for name in ("127.0.0.1:8000", "localhost", "[::1]:8000"):
        assert asyncio.run(answered(app, "GET", "/model", {}, {"Host": name}))[0] == 200


def test_a_server_that_others_reach_has_any_name(app_of: Callable[[str], Any]) -> None:
    assert asyncio.run(answered(app_of("0.0.0.0"), "GET", "/model", {}, {"Host": "images.example"}))[0] == 200


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 200), ("none", 200)])
def test_pages_of_other_sites_have_nothing_drawn(site: str, status: int, app_of: Callable[[str], Any]) -> None:
    for host in ("127.0.0.1", "0.0.0.0"):
        query, headers = {"seed": 1, "class_": "dark"}, {"Host": "127.0.0.1", "Sec-Fetch-Site": site}
        found, body = asyncio.run(answered(app_of(host), "GET", "/image", query, headers))
        assert found == status
        assert status == 200 or json.loads(body) == {
            "error": "a page of another site may not use this server. Open the address yourself."
        }


def test_a_port_that_is_taken_is_one_line(generator: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main([str(generator), "--port", str(port)]) == 1
    expected = (
        f"error: 127.0.0.1:{port}: cannot listen there (Address already in use). Choose another with --host or "
        "--port; port 0 takes a free one.\n"
    )
    assert capsys.readouterr().err == expected


def test_a_file_that_is_no_generator_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.safetensors"), "--port", "0"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}/none.safetensors: no such file")
    assert error.count("\n") == 1
