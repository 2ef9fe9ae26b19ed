"""The options of each command. Loads without torch and without Ray, so that --help answers at once."""

import argparse
import typing
from collections.abc import Sequence
from pathlib import Path

from stylegan.command_line import add_json, positive, usable_device
from stylegan.config.sections import Kernels

STOP_GRACE_SEC = 30.0  # Ray needs about 4 to end its workers


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Settings over those of params.yaml"""
    parser.add_argument(
        "overrides",
        nargs="*",
        type=assignment,
        metavar="section.key=value",
        help="use this setting instead of the one in params.yaml",
    )


def assignment(text: str) -> str:
    """A text with `=`. Raises argparse.ArgumentTypeError otherwise."""
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} has no value; write section.key=value, such as train.seed=1")
    return text


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """evaluate"""
    parser.add_argument(
        "--network",
        type=Path,
        metavar="FILE",
        help="generator file to evaluate, .safetensors or an official .pkl (default: the trained one)",
    )
    parser.add_argument(
        "--data", type=Path, metavar="DATA", help="dataset archive, folder or dataset file (default: data/archive.zip)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder for the reports (default: reports/evaluations/NAME)"
    )
    add_json(parser)
    add_overrides(parser)


def add_sweep(parser: argparse.ArgumentParser) -> None:
    """sweep"""
    parser.add_argument("--kimg", type=float, help="length of each trial in kimg (default: sweep.total_kimg)")
    parser.add_argument("--gpus", type=int, help="number of GPUs to use, one trial on each")
    add_seeds(parser, "sweep", "trial")
    add_overrides(parser)


def add_ablate(parser: argparse.ArgumentParser) -> None:
    """ablate"""
    ladders = sorted(file.stem for file in (Path(__file__).parent / "ladders").glob("*.yaml"))
    parser.add_argument("--ladder", required=True, metavar="NAME", help=f"ladder to train: {', '.join(ladders)}")
    parser.add_argument("--rows", default="", metavar="A,B", help="train only these rows of the ladder (default: all)")
    parser.add_argument("--kimg", type=float, help="length of each row in kimg (default: ablate.total_kimg)")
    parser.add_argument("--gpus", type=int, help="number of workers per row, one GPU each")
    add_seeds(parser, "ablate", "row")
    add_overrides(parser)


def add_seeds(parser: argparse.ArgumentParser, section: str, what: str) -> None:
    """The trainings of each trial or row"""
    parser.add_argument(
        "--seeds", metavar="N|A,B", help=f"number of trainings per {what}, or their seeds (default: {section}.seeds)"
    )


def seeds_override(seeds: str | None, section: str) -> list[str]:
    """The override that --seeds stands for"""
    if seeds is None:
        return []
    return [f"{section}.seeds={f'[{seeds}]' if ',' in seeds else seeds}"]


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """doctor"""
    parser.add_argument("--quick", action="store_true", help="skip the start of Ray, which takes longest")
    add_json(parser)


def add_peek(parser: argparse.ArgumentParser) -> None:
    """peek"""
    parser.add_argument("--run", metavar="NAME", help="folder below runs/ (default: the run that logged last)")
    parser.add_argument("--best", action="store_true", help="the snapshot with the lowest KID instead of the newest")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the reports (default: runs/NAME/peek/POSITION)"
    )
    parser.add_argument("--networks", type=Path, metavar="FILE",
                        help="only copy the networks of the snapshot to FILE, for train.resume_from")  # fmt: skip
    add_overrides(parser)


def add_status(parser: argparse.ArgumentParser) -> None:
    """status"""
    parser.add_argument("--address", help="host:port, or auto (default: cluster.address, or else RAY_ADDRESS)")
    add_json(parser)


def add_stop(parser: argparse.ArgumentParser) -> None:
    """stop"""
    parser.add_argument("--list", action="store_true", help="list the processes without ending them")
    parser.add_argument(
        "--grace",
        type=float,
        default=STOP_GRACE_SEC,
        metavar="SEC",
        help="seconds until SIGKILL (default: %(default)g)",
    )


def add_ui(parser: argparse.ArgumentParser) -> None:
    """ui"""
    parser.add_argument("--port", type=int, default=5000, help="port of the local MLflow server (default: 5000)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """cluster, whose commands have options of their own"""
    add_choice(parser, ("status", "check", "stop"))


def add_choice(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """One of some commands, and what it is given"""
    parser.add_argument("command", choices=names, help="command to run; add --help for its options")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="arguments of that command")


def add_submit(parser: argparse.ArgumentParser) -> None:
    """submit"""
    parser.add_argument("arguments", nargs="*", help="arguments of `dvc repro`, such as a stage or --force")


def add_serve(parser: argparse.ArgumentParser) -> None:
    """serve"""
    parser.add_argument(
        "model", metavar="MODEL",
        help="generator file, such as models/generator.safetensors, or a registered model, such as models:/NAME@best",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=port, default=8000, help="port, or 0 for any that is free (default: 8000)")
    parser.add_argument(
        "--batch-size", type=positive, default=1,
        help="images drawn at once, if so many are waiting. 1 gives the bytes of `stylegan generate` with one seed; "
        "more are faster, and may change the last bit of a pixel (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--device", type=usable_device, default="cpu", help="device to draw on: cpu, cuda, cuda:1 or mps (default: cpu)"
    )
    parser.add_argument(
        "--kernels", choices=typing.get_args(Kernels), default="auto",
        help="on a GPU: auto uses this project's kernels if they run, stock only torch's operations (default: auto)",
    )  # fmt: skip


def add_card(parser: argparse.ArgumentParser) -> None:
    """card"""
    parser.add_argument(
        "--out", type=Path, default=Path("model"), metavar="DIR", help="folder to write (default: model)"
    )
    parser.add_argument("--name", default="stylegan2-ada", help="name of the model (default: stylegan2-ada)")
    parser.add_argument(
        "--licence", default="other", metavar="ID", help="SPDX identifier of the weights' licence (default: other)"
    )
    parser.add_argument(
        "--data-licence",
        default="not stated",
        metavar="TEXT",
        help="licence of the training images (default: not stated)",
    )


def add_explore(parser: argparse.ArgumentParser) -> None:
    """explore"""
    parser.add_argument(
        "generator", type=Path, help="generator file, such as models/generator.safetensors, or an official .pkl"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=port, default=7860, help="port to listen on; 0 takes a free one (default: 7860)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument(
        "--device", type=usable_device, default="cpu",
        help="device to compute on: cpu, cuda, cuda:1 or mps (default: cpu)",
    )  # fmt: skip
    parser.add_argument(
        "--weights", type=Path, default=Path("assets"), help="folder that holds lpips_vgg16 (default: assets)"
    )
    parser.add_argument(
        "--distance", choices=["lpips_vgg16", "random"], default="lpips_vgg16",
        help="network that compares images of a projection; random needs no download but is not LPIPS "
             "(default: lpips_vgg16)",
    )  # fmt: skip


def port(text: str) -> int:
    """A whole number from 0 to 65535. Raises argparse.ArgumentTypeError otherwise."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; write a number from 0 to 65535")
    return int(text)
