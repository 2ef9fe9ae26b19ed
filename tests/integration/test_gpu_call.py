"""`python -m benchmarks.gpu`: rehearsed on the processor, and what a section that goes wrong does to others."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from PIL import Image

from benchmarks import performance_gpu
from benchmarks.gpu import supervisor
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.job import Options
from benchmarks.gpu.supervisor import Printer, Section, nested, supervise

# What the machine with the card lacks.
ABSENT = ("ray", "mlflow", "dvc", "yaml", "rich", "pytest", "scipy", "matplotlib", "hypothesis", "pipelines")
HIDING = f"""
import sys
from importlib.machinery import PathFinder
class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {ABSENT} else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""
# Stands for the official code: it needs what nursing/ provides, reports twice as documented, and never ends by itself.
PEER = """
import json, sys, time
from pathlib import Path
import torch
import torch.nn.functional as F

assert {"--gpus=1", "--cfg=paper256", "--aug=fixed", "--p=0.6", "--metrics=none"} <= set(sys.argv), sys.argv
torch.optim.Adam([torch.zeros(1, requires_grad=True)], betas=[0, 0.99])
img, grid = torch.randn(1, 1, 4, 4, requires_grad=True), torch.rand(1, 3, 3, 2) * 2 - 1
y = F.grid_sample(img, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
(grad,) = torch.autograd.grad(y.square().sum(), img, create_graph=True)
grad.square().sum().backward()
assert img.grad.any()
out = Path(next(a for a in sys.argv if a.startswith("--outdir=")).partition("=")[2]) / "00000-tiles"
out.mkdir(parents=True)
def report(kimg, sec):
    row = {"Progress/kimg": kimg, "Timing/sec_per_kimg": sec, "Timing/Gmain": 80.5, "Timing/Greg": 90.25,
           "Timing/Dmain": 100.0, "Timing/Dreg": 110.0, "Resources/peak_gpu_mem_gb": 30.0}
    with (out / "stats.jsonl").open("a") as file:
        file.write(json.dumps({name: {"num": 1, "mean": value, "std": 0} for name, value in row.items()}) + "\\n")
report(0.064, 99.0)
report(4.096, 12.5)
time.sleep(1000)
"""


def slow(test: Callable[..., None]) -> Callable[..., None]:
    """Whichever comes first waits for the whole call, which has 600 seconds"""
    return pytest.mark.slow(pytest.mark.timeout(700)(test))


@pytest.fixture(scope="module")
def rehearsal(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, dict[str, Any]]:
    """What the call prints, its folder, and gpu.json"""
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "hiding").mkdir()
    (folder / "hiding/sitecustomize.py").write_text(HIDING)
    (folder / "peer").mkdir()
    (folder / "peer/train.py").write_text(PEER)
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--tiny", "--seconds", "600"]
    done = subprocess.run(
        [*command, "--peer", str(folder / "peer"), "--out", str(folder / "out")],
        cwd=repository, env=os.environ | {"PYTHONPATH": str(folder / "hiding")}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout, folder / "out", json.loads((folder / "out/gpu.json").read_text())


@slow
def test_every_section_ends_where_only_torch_and_its_like_are_installed(
    rehearsal: tuple[str, Path, dict[str, Any]],
) -> None:
    _, _, report = rehearsal
    ends = {name: section["status"] for name, section in report["sections"].items()}
    loader = ends.pop("loader")
    assert ends == dict.fromkeys(("correctness", "steps", "kernels", "peer", "training"), "done"), report
    assert loader in ("done", "skipped")


@slow
def test_what_comes_back_fits_into_what_a_lent_machine_returns(rehearsal: tuple[str, Path, dict[str, Any]]) -> None:
    text, folder, _ = rehearsal
    assert len(text) < 12_000
    assert len([path for path in folder.rglob("*") if path.is_file()]) <= 8
    assert "lines not shown" not in text


@slow
def test_the_json_has_what_the_page_reads(rehearsal: tuple[str, Path, dict[str, Any]]) -> None:
    _, _, report = rehearsal
    assert set(report) == {"version", "seconds", "tiny", "machine", "sections"}
    assert report["version"] == 1
    assert {"card", "torch", "python", "triton", "commit"} <= set(report["machine"])
    results = {name: section["results"] for name, section in report["sections"].items()}
    for choices in results["steps"]["16/4"].values():
        for cell in choices.values():
            assert list(cell["phases"]) == ["Gmain", "Greg", "Dmain", "Dreg"]
            assert all(row["ms"] > 0 and row["convolutions_ms"] > 0 for row in cell["phases"].values())
            assert cell["sec_per_kimg"] > cell["convolutions_sec_per_kimg"] > 0
    assert results["kernels"]["copy_gb_per_sec"] > 0
    assert all("error" not in cell for row in results["kernels"]["float16"].values() for cell in row.values())
    assert all(row["difference"] <= row["limit"] for row in results["correctness"]["parity"].values())
    for kinds in results["correctness"]["bits"].values():  # on a processor everything is the same twice
        assert {value for parts in kinds.values() for value in parts.values()} == {0.0}
    assert "not installed" in results["correctness"]["tests"]
    official = results["peer"]["256/64"]
    assert (official["sec_per_kimg"], official["phases"]["Greg"], official["peak_gb"]) == (12.5, 90.25, 30.0)
    assert results["training"]["training"]["last"]["kid"] is not None
    lines = list(performance_gpu.gpu_section(report, json.loads(BEFORE.read_text())))
    assert "Not measured." not in lines
    assert sum(line.startswith("| 16/4, ") for line in lines) == sum(map(len, results["steps"]["16/4"].values()))


BEFORE = Path(__file__).parents[2] / "benchmarks/results/h100_d268daf.json"


@slow
def test_the_training_leaves_samples_beside_real_images_and_its_ticks(
    rehearsal: tuple[str, Path, dict[str, Any]],
) -> None:
    _, folder, _ = rehearsal
    with Image.open(folder / "training_samples.png") as sheet:
        assert sheet.size == (2 * 8 * 16, 8 * 16)
    header, *rows = (folder / "training_ticks.csv").read_text().splitlines()
    assert header.startswith("kimg,sec,sec_per_kimg,p,kid")
    assert len(rows) > 1


SECTIONS = {
    "good": "def run(job):\n    job.say('good is here')\n    job.record(1, 'a', 'b')",
    "raises": "def run(job):\n    job.record(2, 'before')\n    raise RuntimeError('CUDA out of memory')",
    "dies": "import os\ndef run(job):\n    os.kill(os.getpid(), 9)",
    "hangs": """
        import subprocess, sys, time
        from pathlib import Path
        def run(job):
            job.record(3, 'before')
            child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])
            Path(job.options.out, 'pid').write_text(str(child.pid))
            time.sleep(1000)
    """,
    "floods": "def run(job):\n    for i in range(10**5):\n        job.say('x' * 1000)",
    "refuses": """
        from benchmarks.gpu.job import CannotRunError
        def run(job):
            raise CannotRunError('nothing to do')
    """,
    "late": "def run(job):\n    job.say('late is here')",
}
Call = Callable[..., tuple[str, dict[str, Any]]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """call(names..., hang_sec=) -> what is printed, and gpu.json's sections, of a call of these SECTIONS"""

    def run(*names: str, hang_sec: float = 60, seconds: float = 1000) -> tuple[str, dict[str, Any]]:
        for name in names:
            (tmp_path / f"section_{name}.py").write_text(dedent(SECTIONS[name]))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]))
        sections = [
            Section(name, f"section_{name}", (hang_sec if name == "hangs" else 60) / seconds, 1000) for name in names
        ]
        supervise(sections, Options("cpu", tiny=False, out=str(tmp_path)), seconds, {"machine": {"card": "none"}})
        return capsys.readouterr().out, json.loads((tmp_path / "gpu.json").read_text())["sections"]

    return run


def test_a_section_that_fails_or_dies_takes_no_other_with_it_and_keeps_what_it_recorded(call: Call) -> None:
    text, found = call("good", "raises", "dies", "refuses", "late")
    assert {name: section["status"] for name, section in found.items()} == {
        "good": "done", "raises": "failed", "dies": "failed", "refuses": "skipped", "late": "done",
    }  # fmt: skip
    assert found["raises"]["reason"] == "RuntimeError: CUDA out of memory"
    assert found["dies"]["reason"] == "killed by signal 9"
    assert found["refuses"]["reason"] == "nothing to do"
    assert (found["good"]["results"], found["raises"]["results"]) == ({"a": {"b": 1}}, {"before": 2})
    assert "good is here\n" in text
    assert "late is here\n" in text
    assert "== raises: failed after" in text


def test_a_section_that_hangs_is_killed_with_its_children_at_its_limit(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LEAST_SEC", 0)
    _, found = call("hangs", "late", hang_sec=8)
    assert found["hangs"]["status"] == "timeout"
    assert found["hangs"]["results"] == {"before": 3}
    assert found["late"]["status"] == "done"
    state = Path("/proc", (tmp_path / "pid").read_text(), "stat")
    for _ in range(600):  # whoever adopts it may take a moment to bury it
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("the child of the section is alive")


def test_no_section_prints_more_than_its_share_and_the_last_line_always_comes(call: Call) -> None:
    text, _ = call("floods", "late")
    assert len(text) < 3000
    assert " lines not shown" in text
    assert "late is here\n" in text
    assert text.splitlines()[-1].endswith("floods done, late done")


def test_the_whole_call_prints_less_than_its_total(capsys: pytest.CaptureFixture[str]) -> None:
    printer = Printer(1000)
    for _ in range(100):
        printer.begin(500)
        for _ in range(20):
            printer("x" * 300)
    printer("the end", reserve=0)
    text = capsys.readouterr().out
    assert len(text) <= 1000
    assert text.endswith("the end\n")
    assert max(map(len, text.splitlines())) == supervisor.LINE


def test_a_section_without_time_left_is_not_started(call: Call) -> None:
    _, found = call("late", seconds=4)
    assert found["late"]["status"] == "skipped"
    assert found["late"]["reason"] == "less than 5 s left"


def test_records_are_nested_by_their_paths_and_a_cut_line_is_left_out() -> None:
    lines = ['{"path": ["a", "b"], "value": 1}', '{"path": ["a", "c"], "value": [2]}', '{"path": ["a"']
    assert nested(lines) == {"a": {"b": 1, "c": [2]}}


def test_unknown_sections_and_a_missing_card_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--sections", "stepps"])
    assert caught.value.code == (
        "--sections: stepps is not a section. Choose from correctness, steps, kernels, peer, loader, training."
    )
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == ("--device cuda: torch sees no CUDA GPU. Add --device cpu --tiny to rehearse the call.")
