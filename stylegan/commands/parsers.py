"""The options of each command. Loads without torch, so that --help answers at once."""

import argparse
from pathlib import Path

from stylegan.command_line import add_json, positive
from stylegan.commands.arguments import (
    above_zero,
    add_class,
    add_computing,
    add_generator,
    add_out,
    cells,
    centers,
    finite,
    float_list,
    number_list,
    seed,
)


def add_generate(parser: argparse.ArgumentParser) -> None:
    """generate"""
    _add_drawing(parser, out="folder for the images")
    _add_source(parser, "--seeds", "--w", "0-9,20", "seeds")
    parser.add_argument(
        "--noise-mode", choices=["const", "random", "none"], default="const",
        help="noise of the layers: the maps stored in the generator, new ones for each image, or none (default: const)",
    )  # fmt: skip
    parser.add_argument(
        "--every-class", action="store_true", help="draw every seed in every class of a conditional generator"
    )
    parser.add_argument(
        "--sheet",
        action="store_true",
        help="also write sheet.png with all images; with --every-class, one row per class",
    )
    parser.add_argument(
        "--strip",
        type=float_list,
        metavar="0,0.5,1",
        help="also write strip.png: one row per seed, one column per psi; --strip=-1,1 if the first is negative",
    )
    parser.add_argument("--save-w", type=Path, help="also write the styles to this .npz or .safetensors file")
    _add_sheet(parser, "sheet.png and strip.png")


def add_mix(parser: argparse.ArgumentParser) -> None:
    """mix"""
    _add_drawing(parser, out="folder for images")
    _add_source(parser, "--rows", "--rows-w", "1-3", "seeds of the rows, which give all other layers")
    _add_source(parser, "--cols", "--cols-w", "4,5", "seeds of the columns, which give --layers")
    parser.add_argument(
        "--layers", type=number_list, required=True, metavar="0-3", help="style layers taken from columns"
    )
    _add_sheet(parser, "grid.png")


def add_interpolate(parser: argparse.ArgumentParser) -> None:
    """interpolate"""
    _add_drawing(parser, out="the video, such as walk.mp4 or walk.gif")
    _add_source(parser, "--seeds", "--w", "0-3", "seeds to pass through")
    parser.add_argument("--frames", type=positive, required=True, help="steps from one seed to the next")
    parser.add_argument(
        "--curve", choices=["linear", "spherical", "cubic"], default="linear",
        help="path between seeds: straight lines, great circles, or a smooth cubic curve (default: linear)",
    )  # fmt: skip
    parser.add_argument(
        "--space", choices=["w", "z"], default="w", help="interpolate styles (w) or latents (z) (default: w)"
    )
    parser.add_argument("--open", action="store_true", help="end at the last seed instead of returning to the first")
    parser.add_argument(
        "--grid", type=cells, default=(1, 1), metavar="4x2",
        help="several walks at once, columns x rows, each through an equal share of the seeds (default: 1x1)",
    )  # fmt: skip
    parser.add_argument("--fps", type=positive, default=30, help="frames per second (default: 30)")
    parser.add_argument("--scale", type=positive, help="factor to enlarge images by (default: larger for small images)")


def add_project(parser: argparse.ArgumentParser) -> None:
    """project"""
    add_generator(parser)
    add_out(parser, "folder of the results")
    parser.add_argument("targets", type=Path, nargs="+", metavar="TARGET", help="image files, or folders of them")
    parser.add_argument("--video", action="store_true", help="also write videos of the search, target | projection")
    _add_search(parser)
    add_computing(parser)


def add_detect(parser: argparse.ArgumentParser) -> None:
    """detect"""
    add_generator(parser)
    add_out(parser, "folder of results")
    parser.add_argument(
        "--real", type=Path, required=True, help="dataset archive made by the stage prepare, or folder of images"
    )
    parser.add_argument(
        "--split", choices=["train", "holdout", "all"], default="all", help="part of the archive to use (default: all)"
    )
    parser.add_argument("--num", type=positive, required=True, help="images of each kind")
    parser.add_argument(
        "--psi", type=finite, default=1.0, help="truncation of the generated images: 1 is none (default: 1)"
    )
    _add_search(parser)
    add_computing(parser)


def add_contributions(parser: argparse.ArgumentParser) -> None:
    """contributions"""
    add_generator(parser)
    help_ = "real images to compare with, such as data/archive.zip; without --class their labels are drawn"
    parser.add_argument("--archive", type=Path, help=help_)
    parser.add_argument(
        "--images", type=positive, default=1024, help="number of images, of seeds 0, 1, ... (default: 1024)"
    )
    add_class(parser)
    add_computing(parser)
    add_json(parser)


def add_import_official(parser: argparse.ArgumentParser) -> None:
    """import"""
    parser.add_argument(
        "source", type=Path, metavar="network.pkl", help="official file with G, D and G_ema, or G_ema alone"
    )
    parser.add_argument("target", type=Path, metavar="networks.safetensors", help="the file to write")


def add_export(parser: argparse.ArgumentParser) -> None:
    """export"""
    add_generator(parser)
    add_out(parser, "the file to write")
    parser.add_argument(
        "--format", choices=["safetensors", "onnx", "torch"], required=True,
        help="weights; ONNX; or a program of torch.export, usually called .pt2",
    )  # fmt: skip


def _add_drawing(parser: argparse.ArgumentParser, *, out: str) -> None:
    """What `open_drawing` reads"""
    add_generator(parser)
    add_out(parser, out)
    label = parser.add_mutually_exclusive_group()
    add_class(label)
    label.add_argument("--label", type=float_list, metavar="0,0.5,0.5", help="label vector, comma-separated")
    parser.add_argument(
        "--psi", type=finite, default=1.0, help="truncation: 1 is none, 0 the average image (default: 1)"
    )
    parser.add_argument("--cutoff", type=positive, help="truncate only the first N style layers (default: all)")
    parser.add_argument(
        "--truncate-towards", type=centers, default="mean", metavar="mean|class|clusters:K",
        help="mean style, mean style of the class, or the nearest of K cluster centres (default: mean)",
    )  # fmt: skip
    parser.add_argument(
        "--center-samples",
        type=positive,
        default=10000,
        help="number of latents that a centre is the mean of (default: 10000)",
    )
    parser.add_argument("--center-seed", type=seed, default=0, help="seed of those latents (default: 0)")
    add_computing(parser)


def _add_sheet(parser: argparse.ArgumentParser, files: str) -> None:
    help_ = f"factor to enlarge the images of {files} by (default: larger for small images)"
    parser.add_argument("--scale", type=positive, help=help_)
    parser.add_argument(
        "--captions",
        action=argparse.BooleanOptionalAction,
        default=True,
        help=f"write names below the images of {files} (default: yes)",
    )


def _add_source(parser: argparse.ArgumentParser, seeds: str, file: str, metavar: str, help_: str) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(seeds, type=number_list, metavar=metavar, help=help_)
    source.add_argument(file, type=Path, metavar="FILE", help=f"read styles from a file instead of {seeds}")


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--space", choices=["w", "w+"], default="w", help="one w for all layers (w), or one per layer (w+) (default: w)"
    )
    parser.add_argument(
        "--noise",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="optimise the noise maps too (default: yes)",
    )
    parser.add_argument("--steps", type=positive, default=1000, help="number of optimisation steps (default: 1000)")
    parser.add_argument(
        "--learning-rate", type=above_zero, default=0.1, help="highest learning rate of the schedule (default: 0.1)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of all random numbers (default: 0)")
    add_class(parser)
    parser.add_argument(
        "--weights", type=Path, default=Path("assets"), help="folder that holds lpips_vgg16 (default: assets)"
    )
    parser.add_argument(
        "--distance", choices=["lpips_vgg16", "random"], default="lpips_vgg16",
        help="network that compares images; random needs no download but is not LPIPS (default: lpips_vgg16)",
    )  # fmt: skip
