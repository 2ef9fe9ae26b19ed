"""The commands that draw and look, in the order of `--help`. Imports nothing that they need."""

from stylegan.command_line import Command

G = "models/generator.safetensors"


def _command(name: str, family: str, about: str, example: str, run: str = "") -> Command:
    options = f"stylegan.commands.parsers.add_{run or name}"
    return Command(name, about, example, f"stylegan.commands.{family}", run or name, options)


COMMANDS = (
    _command(
        "generate", "pictures", "Draw one image for each seed.", f"{G} --seeds 0-9 --psi 0.7 --out images",
    ),
    _command(
        "mix", "pictures", "Combine the coarse traits of some seeds with the styles of others.",
        f"{G} --rows 1-3 --cols 4,5 --layers 0-3 --out mixtures",
    ),
    _command(
        "interpolate", "pictures", "Draw a video that walks from seed to seed.",
        f"{G} --seeds 0-3 --frames 60 --out walk.mp4",
    ),
    _command(
        "project", "projection", "Find the styles whose images come closest to given images.",
        f"{G} photo.png --out projections",
    ),
    _command(
        "detect", "projection", "Tell generated images from real ones by projecting both.",
        f"{G} --real data/archive.zip --num 20 --out detection",
    ),
    _command(
        "contributions", "analysis",
        "Show how much each resolution contributes to the images, next to the frequency bands of real ones.",
        f"{G} --archive data/archive.zip",
    ),
    _command(
        "import", "files_in", "Convert an official network file (.pkl) to safetensors without executing it.",
        "network.pkl pretrained/network.safetensors", run="import_official",
    ),
    _command(
        "export", "files_out", "Write a generator in a format for other runtimes.", f"{G} --format onnx --out G.onnx",
    ),
)  # fmt: skip
