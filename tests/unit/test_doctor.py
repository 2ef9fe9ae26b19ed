"""`stylegan doctor`: each check finds its real cause and says how to mend it, and finds nothing on a sound machine."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pipelines.doctor import __main__ as doctor
from pipelines.doctor import machine, services, surroundings
from pipelines.doctor.findings import Finding, describe, run_checks, summarise
from pipelines.params import Params
from pipelines.train import slow_precision

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
Make = Callable[..., Params]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *map(str.upper, PROXIES), "RAY_ADDRESS", "RAY_TMPDIR", "MLFLOW_TRACKING_URI", "PIP_USER"):
        monkeypatch.delenv(name, raising=False)


def states(findings: Iterable[Finding]) -> dict[str, str]:
    return {found.check: found.state for found in findings}


def only(findings: Iterable[Finding]) -> Finding:
    (found,) = findings
    assert (found.state == "ok") == (found.remedy == ""), "what is not ok says how to mend it"
    return found


def test_a_python_that_is_too_old_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(machine.check_python()).state == "ok"
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    assert only(machine.check_python()).state == "problem"


def test_pip_that_would_install_elsewhere_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_USER", "1")
    assert states(machine.check_python()) == {"Python": "ok", "pip": "warning"}


def test_another_version_than_the_pinned_one_is_named(tmp_path: Path) -> None:
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("# pinned\npydantic==0.0.1\nnot-installed-here==1.0\n")
    found = only(machine.check_packages(constraints))
    assert (found.state, found.text.endswith(" (pinned 0.0.1)")) == ("warning", True)
    constraints.write_text(f"torch=={torch.__version__.partition('+')[0]}\n")
    assert only(machine.check_packages(constraints)).state == "ok"


def test_the_processor_runs_a_convolution() -> None:
    assert machine.try_device(torch.device("cpu")).state == "ok"


def test_a_device_that_fails_or_computes_something_else_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    original = torch.nn.functional.conv2d

    def no_image(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("CUDA error: no kernel image is available\nand pages more")

    def wrong(x: torch.Tensor, weight: torch.Tensor, padding: int) -> torch.Tensor:
        return original(x, weight, padding=padding) * (1.1 if x.dtype == torch.float32 else 1)

    for conv2d, text in ((no_image, "no kernel image is available"), (wrong, "something else than the processor")):
        monkeypatch.setattr(torch.nn.functional, "conv2d", conv2d)
        found = machine.try_device(torch.device("cpu"))
        assert found.state == "problem"
        assert text in found.text
        assert "\n" not in found.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_asked_for_and_not_there_is_a_problem(make_params: Make) -> None:
    found = list(machine.check_devices(make_params("cluster.use_gpu=true")))
    assert "problem" in {each.state for each in found}
    assert any("cluster.use_gpu is true" in each.text for each in found)
    assert {each.state for each in machine.check_devices(make_params("cluster.use_gpu=false"))} <= {"ok", "warning"}


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """two_gpus(problem) -> a machine of two, on the second of which one kernel has this problem"""

    def make(problem: str | None) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(
            machine.choice, "try_all", lambda device: {"upfirdn2d": None, "warp": problem if device.index else None}
        )

    return make


def test_kernels_that_a_gpu_runs_are_named(two_gpus: Callable[[str | None], None], make_params: Make) -> None:
    two_gpus(None)
    found = list(machine.check_kernels(make_params("train.kernels=auto")))
    assert [(each.state, each.text) for each in found] == [
        ("ok", f"cuda:{index} runs upfirdn2d, warp as torch does") for index in range(2)
    ]
    assert not list(machine.check_kernels(make_params("train.kernels=stock")))


@pytest.mark.parametrize("lacking", ["compiler", "headers", "nothing"])
def test_a_kernel_that_a_gpu_does_not_run_is_a_warning_that_names_what_is_lacking(
    lacking: str, two_gpus: Callable[[str | None], None], make_params: Make, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    two_gpus("RuntimeError: Failed to find C compiler")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None if lacking == "compiler" else f"/usr/bin/{name}")
    monkeypatch.setattr(machine.sysconfig, "get_config_var", lambda name: str(tmp_path))
    if lacking != "headers":
        (tmp_path / "Python.h").touch()
    fine, found = machine.check_kernels(make_params("train.kernels=auto"))
    assert (fine.state, found.state) == ("ok", "warning")
    assert found.text == "cuda:1 uses torch's operations instead of warp: RuntimeError: Failed to find C compiler"
    assert ("apt install gcc python3-dev" in found.remedy) == (lacking != "nothing")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_machine_without_gpus_has_no_kernels_to_try(make_params: Make) -> None:
    assert not list(machine.check_kernels(make_params("train.kernels=auto")))


def test_triton_asks_for_a_c_compiler_before_it_starts_a_kernel(tmp_path: Path) -> None:
    """What the remedy is for: Triton builds its launcher with one, whatever the card."""
    pytest.importorskip("triton")
    code = "from triton.backends.nvidia import driver\ndriver.libcuda_dirs = lambda: ['/none']\ndriver.CudaUtils()"
    environment = {"PATH": str(tmp_path), "TRITON_CACHE_DIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "Failed to find C compiler" in done.stderr


def test_a_precision_without_instructions_is_a_warning(make_params: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    params = make_params("train.precision=bf16")
    for ratio, state in ((8.0, "warning"), (0.5, "ok")):
        monkeypatch.setattr(slow_precision, "time_relative_to_float32", lambda dtype, ratio=ratio: ratio)
        assert only(machine.check_precision(params)).state == state


@pytest.mark.parametrize(("free_gb", "state"), [(100, "ok"), (3, "warning"), (0.5, "problem")])
def test_a_disk_that_is_full_is_reported(
    free_gb: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=free_gb * 2**30, used=50, total=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert only(machine.check_disk(tmp_path)).state == state


def test_a_disk_on_which_ray_would_store_nothing_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**40, used=96, total=100))
    assert [found.state for found in machine.check_disk(tmp_path)] == ["ok", "warning"]


def test_the_shared_memory_of_docker_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=64 * 2**20))
    assert only(machine.check_shared_memory(tmp_path)).remedy == "In Docker, add --shm-size=2g."


def test_a_temporary_folder_that_ray_cannot_use_is_said_as_a_start_of_ray_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("t" * 90)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    found = only(surroundings.check_sockets())
    assert (found.state, found.remedy) == ("warning", "export TMPDIR=/tmp")
    assert found.text.startswith(f"TMPDIR is {long}, ")
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    assert only(surroundings.check_sockets()).state == "problem"
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert list(surroundings.check_sockets()) == []


@pytest.mark.parametrize(("variable", "check", "state"), [("HOME", "HOME", "warning"), ("TMPDIR", "TMPDIR", "problem")])
def test_folders_that_nobody_may_write_to_are_named(
    variable: str, check: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/proc")  # not even root makes files there
    found = {each.check: each for each in surroundings.check_folders(tmp_path)}[check]
    assert found.state == state
    assert found.text.startswith("/proc: cannot be written to")


def test_a_project_that_is_read_only_is_a_problem() -> None:
    assert states(surroundings.check_folders(Path("/proc")))["project"] == "problem"


def test_a_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(surroundings.check_proxies()).text == "no proxy is set"
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    found = only(surroundings.check_proxies())
    assert (found.state, found.text) == ("ok", "http_proxy set; not used for this machine")


def test_a_download_without_git_is_told_the_setting_that_mends_it(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    assert only(surroundings.check_repository(tmp_path)).remedy == "dvc config --local core.no_scm true"
    (tmp_path / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    assert only(surroundings.check_repository(tmp_path)).state == "ok"
    (tmp_path / ".dvc" / "config.local").unlink()
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert only(surroundings.check_repository(tmp_path)).state == "ok"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which something listens"""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    """A port on which nothing listens"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_port_that_is_taken_is_a_warning(taken: int, free: int) -> None:
    assert only(services.check_port(taken)).remedy == f"stylegan ui --port {taken + 1}"
    assert only(services.check_port(free)).state == "ok"


class Health(BaseHTTPRequestHandler):
    """A server that is well, and one that is not"""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 500)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing"""


@pytest.mark.parametrize(("path", "state"), [("", "ok"), ("/broken", "warning")])
def test_a_tracking_server_is_asked_for_its_health(path: str, state: str, make_params: Make) -> None:
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        params = make_params(f"tracking.uri=http://127.0.0.1:{server.server_port}{path}")
        found = only(services.check_tracking(params))
        server.shutdown()
        thread.join()
    assert found.state == state


def test_a_tracking_server_that_is_not_there_is_a_warning(free: int, make_params: Make) -> None:
    found = only(services.check_tracking(make_params(f"tracking.uri=http://127.0.0.1:{free}")))
    assert (found.state, "does not answer" in found.text) == ("warning", True)


def test_a_database_is_opened(tmp_path: Path, make_params: Make) -> None:
    params = make_params(f"tracking.uri=sqlite:///{tmp_path}/mlflow.db")
    assert only(services.check_tracking(params)).state == "ok"  # MLflow makes it
    (tmp_path / "mlflow.db").write_bytes(b"this is not a database" * 100)
    assert only(services.check_tracking(params)).state == "warning"
    assert only(services.check_tracking(make_params("tracking.uri=sqlite:////proc/none/mlflow.db"))).state == "warning"


def test_weights_that_settings_name_have_to_be_there(
    tmp_path: Path, make_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("STYLEGAN_WEIGHTS", raising=False)
    default = services.check_weights(make_params("evaluate.extractor=random", "evaluate.ppl_network=random"), tmp_path)
    assert {found.state for found in default} == {"ok"}
    published = make_params("evaluate.extractor=inception", "evaluate.extractor_input_size=299")
    found = [each for each in services.check_weights(published, tmp_path) if each.state != "ok"]
    assert (only(found).state, only(found).remedy) == ("problem", "make weights-standard")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "vgg16.pt").write_text("half of a download")
    assert any("This is not the public file" in each.text for each in services.check_weights(published, tmp_path))


def test_assets_that_are_missing_are_named(tmp_path: Path) -> None:
    assert only(services.check_assets(tmp_path)).state == "warning"
    for asset in services.WANTED:
        (tmp_path / "assets" / asset.target).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "assets" / asset.target).touch()
    assert only(services.check_assets(tmp_path)).state == "ok"


def test_ray_that_does_not_start_is_a_problem_with_its_last_line(
    tmp_path: Path, make_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ray.py").write_text("raise OSError('AF_UNIX path length cannot exceed 107 bytes')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = only(services.check_ray(make_params("cluster.address=null")))
    assert found.state == "problem"
    assert found.text == "does not start: OSError: AF_UNIX path length cannot exceed 107 bytes"


def test_ray_that_hangs_is_ended_and_a_problem(
    tmp_path: Path, make_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ray.py").write_text(f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
                                     "time.sleep(600)\n")  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = only(services.check_ray(make_params("cluster.address=null"), limit_sec=3))
    assert (found.state, found.text) == ("problem", "did not start within 3 s")
    if (tmp_path / "pid").exists():  # else it was ended before it came so far
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_cluster_that_is_not_there_is_a_problem(free: int, taken: int, make_params: Make) -> None:
    assert only(services.check_ray(make_params(f"cluster.address=127.0.0.1:{free}"))).state == "problem"
    assert only(services.check_ray(make_params(f"cluster.address=127.0.0.1:{taken}"))).state == "ok"


def fail() -> Iterator[Finding]:
    yield Finding("first", "ok", "this far")
    raise ZeroDivisionError("of its own")


def test_a_check_that_fails_itself_ends_no_other() -> None:
    found = list(run_checks([("broken", fail), ("next", partial(services.check_assets, Path("/proc")))]))
    assert [each.check for each in found] == ["first", "broken", "assets"]
    assert found[1].text == "the check itself failed: ZeroDivisionError: of its own"


def test_a_line_shows_state_text_and_remedy() -> None:
    lines = describe(Finding("port", "warning", "5000 is taken", "stylegan ui --port 5001")).splitlines()
    assert lines == ["warning  port       5000 is taken", f"{'':19} -> stylegan ui --port 5001"]
    assert summarise([]) == "Everything works."


def test_a_problem_is_exit_code_1_and_json_holds_every_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.params.ROOT", tmp_path)
    assert doctor.main(["--quick", "--json"]) == 1
    found = {each["check"]: each for each in json.loads(capsys.readouterr().out)}
    assert found["settings"]["state"] == "problem"
    assert found["Python"]["state"] == "ok"
    assert all(each["remedy"] for each in found.values() if each["state"] != "ok")


def test_quick_starts_no_ray_and_a_sound_machine_is_exit_code_0(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(services, "check_ray", lambda params: pytest.fail("it started Ray"))
    monkeypatch.setattr("pipelines.params.ROOT", repository)
    code = doctor.main(["--quick"])
    shown = capsys.readouterr().out
    assert code == (1 if "\nproblem " in f"\n{shown}" else 0)
    assert "device" in shown
    assert shown.splitlines()[-1].startswith(("Everything works.", "0 problem(s)")) == (code == 0)
