"""The command `stylegan`: every command answers --help at once, refuses what it does not know, and has exit codes."""

import json
import os
import shlex
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from pipelines import cli
from pipelines.artifacts.metrics_json import MetricsReport
from pipelines.cluster.__main__ import CHECK
from pipelines.evaluate import __main__ as evaluate
from pipelines.params import Params, load
from pipelines.plan import __main__ as plan
from stylegan.command_line import Command
from stylegan.exit_codes import exit_code
from tests.evaluation_results import evaluation_results

ALL = [*cli.COMMANDS.values(), CHECK]
LIGHT = ["train", "evaluate", "render", "sweep", "ablate", "plan", "doctor", "cluster", "cli"]
HEAVY = ("torch", "ray", "mlflow", "matplotlib")
# Runs lines of arguments one after the other, in a process in which nobody may write, start or connect.
WALK = """
import contextlib, io, json, os, runpy, sys

def forbid(event, args):
    writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event in ("socket.connect", "subprocess.Popen", "os.posix_spawn", "os.mkdir", "os.fork"):
        raise RuntimeError(f"{event} {args}")

sys.addaudithook(forbid)
ends = []
for module, arguments in json.loads(sys.argv[1]):
    out, error = io.StringIO(), io.StringIO()
    sys.argv = [module, *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            runpy.run_module(module, run_name="__main__")
        except SystemExit as end:
            ends.append([end.code, out.getvalue(), error.getvalue()])
print(json.dumps([ends, [name for name in HEAVY if name in sys.modules]]))
""".replace("HEAVY", repr(HEAVY))


def walk(lines: list[tuple[str, list[str]]], repository: Path) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each line of arguments; fails when one imports a heavy library"""
    run = subprocess.run(
        [sys.executable, "-c", WALK, json.dumps(lines)],
        check=True, capture_output=True, text=True, cwd=repository, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    ends, imported = json.loads(run.stdout)
    assert imported == []
    assert len(ends) == len(lines)
    return [tuple(end) for end in ends]


def test_help_of_every_command_has_a_sentence_options_and_an_example_and_starts_nothing(repository: Path) -> None:
    ends = walk([("pipelines.cli", [*command.name.split(), "--help"]) for command in ALL], repository)
    for command, (code, out, error) in zip(ALL, ends, strict=True):
        assert (code, error) == (0, ""), command.name
        assert "options:" in out
        assert f"\nexample:\n  {command.line}\n" in out
        assert command.about in " ".join(out.split())


def test_an_unknown_argument_of_any_command_is_one_line_and_code_2(repository: Path) -> None:
    # Whether a device can be used is a question to torch, even where --device is left out.
    strict = [command for command in ALL if not command.passes_on and "device" not in flags(command)]
    lines = [("pipelines.cli", [*shlex.split(command.line)[1:], "--no-such-option"]) for command in strict]
    for command, (code, out, error) in zip(strict, walk(lines, repository), strict=True):
        assert (code, out) == (2, ""), command.name
        assert error.startswith(f"stylegan {command.name}")  # cluster hands over to cluster check
        assert error.endswith(": error: unrecognized arguments: --no-such-option\n")
        assert error.count("\n") == 1


def flags(command: Command) -> set[str]:
    return {action.dest for action in command.build_parser()._actions}


def test_modules_of_rooms_answer_help_without_torch_too(repository: Path) -> None:
    modules = [*(f"pipelines.{room}" for room in LIGHT), "stylegan"]
    for code, out, error in walk([(module, ["--help"]) for module in modules], repository):
        assert (code, error) == (0, "")
        assert "--help" in out


@pytest.mark.parametrize("module", ["prepare", "assets", "weights_standard", "stop", "tracking", "submit"])
def test_every_other_module_answers_help(module: str, repository: Path, tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", f"pipelines.{module}", "--help"], check=False, capture_output=True, text=True,
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(repository)},
    )  # fmt: skip
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "  stylegan " in shown.stdout or "python -m pipelines" in shown.stdout or "ray submit" in shown.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_list_of_commands_has_a_sentence_for_each_and_imports_none(repository: Path) -> None:
    ((code, out, _),) = walk([("pipelines.cli", ["--help"])], repository)
    assert code == 0
    text = " ".join(out.split())
    for command in cli.COMMANDS.values():
        assert f" {command.name} {command.about}" in text


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.name)
def test_every_command_exists_and_takes_its_example(command: Command) -> None:
    assert callable(command.load())
    command.parse(shlex.split(command.example))


def test_a_mistyped_command_is_one_line_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trian"]) == 2
    assert capsys.readouterr().err == "stylegan: error: 'trian' is not a command; did you mean train?\n"
    assert cli.main(["xyzzy"]) == 2
    assert capsys.readouterr().err == "stylegan: error: 'xyzzy' is not a command; `stylegan --help` lists them.\n"


def test_a_setting_without_a_value_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.COMMANDS["train"].parse(["train.seed"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_a_user_can_mend_is_one_line_and_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("prepare", "train", "evaluate", "render", "sweep"):
        assert cli.main([command]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: params.yaml: ")
        assert error.count("\n") == 1
    assert cli.main(["generate", "none.safetensors", "--seeds", "0", "--out", "x"]) == 1
    assert capsys.readouterr().err.startswith("error: none.safetensors: no such file.")


def test_a_mistake_in_the_code_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    @exit_code
    def main(arguments: object) -> None:
        int("no number")  # a ValueError, but of a library

    assert main([]) == 1
    assert "Traceback" in capsys.readouterr().err


SLEEPER = """
import signal, sys, time
from stylegan.exit_codes import exit_code

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, tests among them

@exit_code
def main(arguments):
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("closed", flush=True)

sys.exit(main([]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_closes_what_is_open_and_becomes_the_shells_code(
    number: signal.Signals, code: int, repository: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER], cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, error = process.communicate(timeout=120)
    assert (process.returncode, out, error) == (code, "closed\n", "")


def completions(*words: str) -> list[str]:
    *before, last = words
    found = BashComplete(cli.GROUP, {}, "stylegan", "_STYLEGAN_COMPLETE").get_completions(before, last)
    return [item.value for item in found if item.type == "plain"]


def test_the_shell_completes_commands_and_their_options() -> None:
    assert completions("re") == ["render"]
    assert set(completions("s")) == {"sweep", "serve", "status", "stop", "submit"}
    assert completions("generate", "models/generator.safetensors", "--se") == ["--seeds"]
    assert completions("generate", "mod") == []  # the shell's own files


def test_a_plan_is_read_by_programs(
    repository: Path, tmp_path: Path, base: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new.yaml"
    arguments = ["--preset", "auto", "--gpus", "2", "--base", str(repository / "params.yaml"), "--out", str(out)]
    assert plan.main([*arguments, "--json"]) == 0
    shown = capsys.readouterr()
    answer = json.loads(shown.out)
    assert answer["written"] == str(out)
    assert answer["values"]["cluster.num_workers"] == {
        "value": 2, "was": base.cluster.num_workers, "because": answer["values"]["cluster.num_workers"]["because"]
    }  # fmt: skip
    assert f"Wrote {out}" in shown.err
    assert plan.main([*arguments, "--json", "--hours", "1", "--reference", "a100", "prepare.resolution=256"]) == 0
    estimate = json.loads(capsys.readouterr().out)["estimate"]
    assert [row["gpus"] for row in estimate][:2] == [1, 2]
    assert all(row["hours"] > 0 for row in estimate)


def test_an_evaluation_is_read_by_programs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    content = evaluation_results({"kid_x": 0.5}, floor={}, untrained={})

    def measured(options: Namespace) -> MetricsReport:
        print(f"reports of {options.network}")
        return content

    monkeypatch.setattr(evaluate, "measured", measured)
    assert evaluate.main(["--network", "G.pkl", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == json.loads(json.dumps(content.folded()))
    assert shown.err == "reports of G.pkl\n"


def test_options_of_the_network_alone_are_refused_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        evaluate.main(["--data", "photos"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("stylegan evaluate: error: --data and --out go with --network")


@pytest.fixture
def base(repository: Path) -> Params:
    return load(repository / "params.yaml")


def test_the_page_of_commands_has_each_with_its_sentence_and_example(repository: Path) -> None:
    page = (repository / "docs" / "commands.md").read_text()
    for section, commands in cli.SECTIONS.items():
        assert f"\n## {section}\n" in page
        for command in commands:
            assert f"\n**{command.name}**: {command.about}\n\n    {command.line}\n" in page
