"""`stylegan card`: the trained generator as a folder that can be shared: weights, configuration, samples, model card.

The card says what was measured and how, on which data, and what the generator cannot do. The folder has the layout of
a model on the Hugging Face Hub.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open

from pipelines import model_card
from pipelines.artifacts import manifest_json, metrics_json, train_json
from pipelines.artifacts.workspace import ARCHIVE, EXPORTED, METRICS
from pipelines.command_table import COMMANDS
from pipelines.model_card import Origin
from pipelines.params import load
from stylegan.exit_codes import exit_code
from stylegan.files import replacing, sha256_of, write_json
from stylegan.text import print_lines

SAMPLES = Path("reports/samples.png")
CARD = "README.md"
HEADER = "---\nlicense: "  # how every card begins


class CardError(RuntimeError):
    """The card would not be about one generator; the message says what to do."""


def write_folder(root: Path, out: Path, *, name: str, licence: str, data_licence: str) -> None:
    """Write weights, config.json, samples.png and the card into the folder `out`.

    Raises CardError if the measurement is of another generator or the folder has a README.md of something else, and
    FileNotFoundError for what no stage wrote yet.
    """
    if (out / CARD).exists() and not (out / CARD).read_text(encoding="utf-8", errors="replace").startswith(HEADER):
        raise CardError(f"{out / CARD}: this is no model card and would be lost. Name another folder with --out.")
    generator, digest = root / EXPORTED, sha256_of(root / EXPORTED)
    report = metrics_json.read(root / METRICS)
    if report.generator_sha256 != digest:
        raise CardError(
            f"{root / METRICS}: measured of a generator with sha256 {report.generator_sha256[:12]}, but {EXPORTED} has "
            f"{digest[:12]}. Run `dvc repro`, then write the card."
        )
    if not (root / SAMPLES).is_file():
        raise FileNotFoundError(f"{root / SAMPLES}: file not found. Run `dvc repro render`, which writes it.")
    params = load(root / "params.yaml")
    out.mkdir(parents=True, exist_ok=True)
    for source in (generator, root / SAMPLES):
        with replacing(out / source.name) as temporary:
            shutil.copyfile(source, temporary)
    with safe_open(generator, framework="numpy") as file:
        header = file.metadata()
    write_json(out / "config.json", json.loads(header["config"]))
    classes = json.loads(header["generator"])["c_dim"] > 0
    data = manifest_json.overview_of(root / ARCHIVE, report.archive_sha256)
    text = model_card.card(
        report, Origin(train_json.read(root), data, params, digest), name=name, licence=licence,
        data_licence=data_licence, usage=model_card.commands(conditional=classes), samples=SAMPLES.name,
    )  # fmt: skip
    with replacing(out / CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")


@exit_code
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the folder and say where it is."""
    options = COMMANDS["card"].parse(arguments)
    write_folder(Path.cwd(), options.out, name=options.name, licence=options.licence, data_licence=options.data_licence)
    print_lines(
        f"model card: {options.out / CARD}. Read it and add what only you know.",
        f"To publish it: pip install huggingface_hub && hf upload USER/{options.name} {options.out}",
    )


if __name__ == "__main__":
    sys.exit(main())
