"""What the explorer does with a generator, what its server refuses, and how it ends."""

import asyncio
import base64
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from torch import Tensor

from pipelines.cli import main
from pipelines.explore import app
from pipelines.explore.recipe import (
    Download,
    Recipe,
    RecipeError,
    Search,
    Surroundings,
    Walk,
    decode_styles,
    encode_styles,
)
from pipelines.explore.studio import Studio
from pipelines.params import Params
from stylegan.checkpoint import save_generator
from stylegan.drawing.generate import generate_images, mix_styles, render_styles, styles
from stylegan.drawing.style_files import load_styles
from stylegan.images import encode_png
from stylegan.networks import Generator, truncate
from tests.asgi import answered
from tests.command_lines import run_or_exit
from tests.explorer import make_studio, post, serving, wait_until

SHORT = Search(space="w", num_steps=1)


@pytest.fixture(scope="module")
def G(tiny_params: Params) -> Generator:
    torch.manual_seed(0)
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0).eval().requires_grad_(False)
    G.mapping.w_avg.normal_()
    return G


@pytest.fixture(scope="module")
def studio(G: Generator) -> Studio:
    return make_studio(G)


@pytest.fixture(scope="module")
def address(studio: Studio) -> Iterator[str]:
    with serving(studio) as address:
        yield address


def recipe(**values: Any) -> Recipe:
    return Recipe(**{"seed": 0, "psi": 0.7} | values)


def test_styles_travel_without_a_loss() -> None:
    ws = torch.randn(1, 6, 8)
    assert torch.equal(decode_styles(encode_styles(ws), 6, 8), ws)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("?", "w is not base64"),
        (encode_styles(torch.zeros(1, 5, 8)), r"w has 160 bytes; this generator takes float32 \[6, 8\], 192 bytes"),
        (encode_styles(torch.full((1, 6, 8), torch.nan)), "w holds values that are not finite"),
    ],
)
def test_styles_of_another_generator_are_refused(text: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        decode_styles(text, 6, 8)


def test_a_recipe_is_mixed_moved_and_truncated_in_this_order(studio: Studio, G: Generator) -> None:
    first, second = styles(G, [3]), styles(G, [4])
    mixed = mix_styles(first, second, [0, 1])[0]
    asked = recipe(seed=3, mix_seed=4, mix_layers=[0, 1], pca=[2.0, 0.0, -1.0], layers=[2])
    axes, units, _ = studio.axes("pca", None, (2,))
    mixed[:, 2] += 2 * units[0] * axes[0] - units[2] * axes[2]
    torch.testing.assert_close(studio.compose(asked), mixed)
    expected = render_styles(G, truncate(mixed, G.mapping.w_avg, 0.7), batch_size=1)[0]
    assert studio.draw(asked)["image"] == encode_png(expected)


def test_given_styles_take_the_place_of_the_seed(studio: Studio, G: Generator) -> None:
    ws = styles(G, [9])
    assert torch.equal(studio.compose(recipe(w=encode_styles(ws))), ws)


def test_the_factors_are_those_of_the_chosen_layers(studio: Studio) -> None:
    every, first = studio.strengths(None, []), studio.strengths(None, [0])
    assert every["pca"] == first["pca"]
    assert every["affine"] != first["affine"]


def test_images_near_one_are_it_at_distance_0_and_seeds_at_1(studio: Studio, G: Generator) -> None:
    near = studio.surround(Surroundings(recipe=recipe(psi=1.0), round=1, distance=0.0))
    assert {found["image"] for found in near} == {studio.draw(recipe(psi=1.0))["image"]}
    far = studio.surround(Surroundings(recipe=recipe(psi=1.0), round=1, distance=1.0))
    assert [found["image"] for found in far] == [
        encode_png(img) for img in generate_images(G, range(8, 16), psi=1, batch_size=8)
    ]


def test_a_walk_passes_through_its_stops(studio: Studio, G: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[Tensor] = []
    monkeypatch.setattr("pipelines.explore.studio.save_video", save_into(frames))
    reports: list[dict[str, object]] = []
    stops = [recipe(seed=1), recipe(seed=2, psi=1.0)]
    studio.walk(Walk(stops=stops, frames=5, loop=False, kind="mp4"), reports.append)
    ends = generate_images(G, [1], psi=0.7, batch_size=1)[0], generate_images(G, [2], psi=1, batch_size=1)[0]
    assert len(frames) == 6
    assert torch.equal(frames[0], ends[0])
    assert torch.equal(frames[-1], ends[1])
    assert reports == [{"frame": 0, "of": 6}, {"file": b"video", "kind": "mp4"}]


def save_into(frames: list[Tensor]) -> Callable[..., None]:
    def save(found: Iterator[Tensor], path: Path, **how: object) -> None:
        frames.extend(found)
        path.write_bytes(b"video")

    return save


def test_a_gif_that_would_fill_the_memory_is_refused(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.explore.studio.MAX_GIF_PIXELS", 100_000)
    asked = Walk(stops=[recipe(), recipe(seed=1)], frames=5, loop=True, kind="gif")
    with pytest.raises(RecipeError, match=r"^a GIF of 10 frames of this size would fill the memory. Record an MP4.$"):
        studio.walk(asked, print)


def test_a_search_reports_steps_and_ends_with_styles_that_draw_its_image(studio: Studio, G: Generator) -> None:
    target = encode_png(generate_images(G, [5], psi=1, batch_size=1)[0])
    reports: list[dict[str, Any]] = []
    studio.search(target, "photo.png", Search(space="w+", num_steps=3), reports.append)
    assert reports[0] == {"target": target, "note": ""}
    assert [report["step"] for report in reports[1:]] == [0, 1, 2, 3]
    w = decode_styles(reports[-1]["w"], G.num_ws, G.w_dim)
    assert reports[-1]["image"] == encode_png(render_styles(G, w, batch_size=1)[0])


def test_a_search_without_lpips_says_how_to_get_it(G: Generator) -> None:
    studio = Studio(G, None, distance="lpips_vgg16", weights=Path("none"))
    with pytest.raises(RecipeError, match=r"^none: LPIPS is not there.*`stylegan assets`.*--distance random\.$"):
        studio.search(encode_png(torch.zeros(3, 16, 16, dtype=torch.uint8)), "a.png", SHORT, lambda _: None)


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_saved_styles_are_read_by_the_other_commands(studio: Studio, G: Generator, tmp_path: Path, kind: Any) -> None:
    path = tmp_path / f"w.{kind}"
    path.write_bytes(studio.save(Download(recipe=recipe(seed=4), kind=kind)))
    ws = load_styles(path, G.num_ws, G.w_dim)
    assert torch.equal(ws, truncate(styles(G, [4]), G.mapping.w_avg, 0.7))


def test_the_page_is_whole_and_its_facts_cannot_leave_their_element(address: str) -> None:
    page = get(address).decode()
    assert page.count("</script>") == 2
    assert "<title>tiny &lt;/script&gt; generator" in page
    assert not [word for word in ('src="http', 'href="http', "@import", "url(") if word in page]


def get(address: str, **headers: str) -> bytes:
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.netloc)
    try:
        connection.request("GET", place.path, headers=headers)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_only_this_machines_own_page_is_answered(address: str) -> None:
    body = {"seed": 0, "psi": 1}
    own = address.rstrip("/")
    assert post(f"{address}draw", body, Origin=own)[0] == 200
    status, content = post(f"{address}draw", body, Origin="http://evil.example")
    assert (status, json.loads(content)) == (403, {"error": "a page of http://evil.example may not use this server."})
    assert b"host 'evil.example' is not this machine" in get(address, Host="evil.example")
    assert b"host '[' is not this machine" in get(address, Host="[")
    assert post(f"{address}draw", body, Origin="null")[0] == 403
    assert b"<!doctype html>" in get(address, Host=f"localhost:{urlsplit(address).port}")


@pytest.mark.parametrize(("host", "status"), [("127.1", 403), ("0.0.0.0", 200)])
def test_other_host_names_are_refused_where_the_socket_is_this_machines_own_however_it_was_asked_for(
    host: str, status: int, tmp_path: Path, G: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Any] = []
    monkeypatch.setattr("uvicorn.Server.run", lambda server, sockets: served.append(server.config.app))
    save_generator(G, tmp_path / "G.safetensors")
    assert main(["explore", str(tmp_path / "G.safetensors"), "--host", host, "--port=0", "--no-browser"]) == 0
    assert asyncio.run(answered(served[0], "GET", "/", {}, {"Host": "evil.example"}))[0] == status


def test_a_body_that_is_too_large_is_refused_before_it_is_read(address: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    connection.putrequest("POST", "/project?space=w&num_steps=1")
    connection.putheader("Content-Length", str(app.MAX_BODY + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (
        413, {"error": "the request has more than 67,108,864 bytes, or does not say how many. Make the file smaller."}
    )  # fmt: skip
    connection.close()


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("draw", {"seed": -1, "psi": 1}, 422, "seed: input should be greater than or equal to 0"),
        ("draw", {"seed": 0, "psi": 1, "colour": 2}, 422, "colour: extra inputs are not permitted"),
        ("draw", {"seed": 0, "psi": 1, "class_index": 3}, 400,
         "class 3 was requested, but this generator is unconditional. Leave the class out."),
        ("draw", {"seed": 0, "psi": 1, "mix_layers": [9]}, 400, "layer 9 does not exist; this generator has 0 to 5"),
        ("draw", {"seed": 0, "psi": 1, "affine": [1], "layers": [9]}, 400,
         "layer 9 does not exist; this generator has 0 to 5."),
        ("project?space=w&num_steps=0", b"x", 422, "num_steps: input should be greater than or equal to 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(address: str, path: str, body: Any, status: int, error: str) -> None:
    found, content = post(f"{address}{path}", body)
    assert (found, json.loads(content)) == (status, {"error": error})


def test_an_image_that_cannot_be_read_is_one_line_of_the_stream(address: str) -> None:
    status, content = post(f"{address}project?space=w&num_steps=1&name=a%1b.pdf", b"%PDF-1.7")
    assert (status, json.loads(content)) == (
        200, {"error": "a\\x1b.pdf: is PDF, which is not read; save it as PNG."}
    )  # fmt: skip


def test_a_mistake_in_the_code_is_one_line_for_the_page_and_a_traceback_for_the_terminal(
    address: str, studio: Studio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(studio, "axes", lambda *_: [][0])
    status, content = post(f"{address}strengths", {"seed": 0, "psi": 1})
    assert (status, json.loads(content)) == (
        500, {"error": "internal error: IndexError. The terminal shows where; please report it."}
    )  # fmt: skip
    assert "IndexError: list index out of range" in capsys.readouterr().err


def test_a_search_ends_when_nobody_listens(address: str, G: Generator) -> None:
    target = encode_png(generate_images(G, [5], psi=1, batch_size=1)[0])
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    connection.request("POST", "/project?space=w&num_steps=5000", target)
    answer = connection.getresponse()
    assert b"target" in answer.readline()
    assert [thread.name for thread in threading.enumerate()].count("explore") == 1
    assert post(f"{address}draw", {"seed": 0, "psi": 1})[0] == 200  # others are let in meanwhile
    answer.close()
    connection.close()
    wait_until(lambda: "explore" not in [thread.name for thread in threading.enumerate()])


def test_who_waits_for_the_generator_goes_before_work_that_comes_back(studio: Studio) -> None:
    order: list[str] = []
    has_begun, may_let_go = threading.Event(), threading.Event()

    def work() -> None:
        with studio.alone():
            has_begun.set()
            may_let_go.wait()
        with studio.alone():
            order.append("next step")

    def draw() -> None:
        with studio.alone():
            order.append("drawn")

    threads = [threading.Thread(target=work), threading.Thread(target=draw)]
    threads[0].start()
    has_begun.wait()
    threads[1].start()
    wait_until(studio.turn.locked)
    may_let_go.set()
    for thread in threads:
        thread.join()
    assert order == ["drawn", "next step"]


def test_mistakes_on_the_command_line_are_one_line(tmp_path: Path, G: Generator) -> None:
    save_generator(G, tmp_path / "G.safetensors")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, message in (
            ([tmp_path / "none.safetensors", "--port=0"], f"{tmp_path}/none.safetensors: no such file."),
            ([tmp_path / "G.safetensors", f"--port={port}"], f"127.0.0.1:{port}: cannot listen there (Address already"),
        ):
            with pytest.raises(SystemExit) as error:
                run_or_exit(main, "explore", *map(str, arguments), "--no-browser")
            assert str(error.value.code).startswith(message)
            assert "\n" not in str(error.value.code)


def test_a_device_that_is_none_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["explore", "G.safetensors", "--device=gpu9"])
    assert error.value.code == 2
    line = "stylegan explore: error: argument --device: 'gpu9' cannot be used on this machine ("
    assert capsys.readouterr().err.startswith(line)


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test_a_port_that_is_none_is_a_wrong_argument(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["explore", "G.safetensors", f"--port={port}"])
    assert error.value.code == 2
    assert capsys.readouterr().err == (
        f"stylegan explore: error: argument --port: '{port}' is not a port; write a number from 0 to 65535\n"
    )


@pytest.mark.slow
def test_signals_end_a_search_and_the_server_without_a_traceback(
    tmp_path: Path, G: Generator, repository: Path
) -> None:
    save_generator(G, tmp_path / "G.safetensors")
    wanted = {signal.SIGINT: 130, signal.SIGTERM: 143}
    processes = {number: start_explorer(tmp_path, repository) for number in wanted}  # they start side by side
    try:
        for number, process in processes.items():
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first.startswith(f"Explorer of {tmp_path}/G.safetensors: http://127.0.0.1:")
            out, error = end_in_a_search(process, number, urlsplit(first.split(": ")[1].split()[0]).netloc)
            assert (process.returncode, out, error) == (wanted[number], "", "")
    finally:
        for process in processes.values():
            with process:
                process.kill()


def start_explorer(folder: Path, repository: Path) -> "subprocess.Popen[str]":
    start = (  # jobs in the background of a shell ignore Ctrl-C, tests among them
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from pipelines.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    options = ["explore", str(folder / "G.safetensors"), "--port=0", "--no-browser", "--distance=random"]
    return subprocess.Popen(
        [sys.executable, "-c", start, *options],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end_in_a_search(process: "subprocess.Popen[str]", number: signal.Signals, host: str) -> tuple[str, str]:
    """What it writes after a signal that comes while somebody waits for a search"""
    target = encode_png(torch.zeros(3, 16, 16, dtype=torch.uint8))
    connection = http.client.HTTPConnection(host)
    connection.request("POST", "/project?space=w&num_steps=5000", target)
    answer = connection.getresponse()
    assert base64.b64decode(json.loads(answer.readline())["target"]) == target
    process.send_signal(number)
    try:
        return process.communicate(timeout=120)
    finally:
        answer.close()
        connection.close()
