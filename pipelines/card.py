"""`stylegan card`: the trained generator as a folder that can be shared: weights, configuration, samples, model card.

The card says what was measured and how, on which data, and what the generator cannot do. The folder has the layout of
a model on the Hugging Face Hub.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from safetensors import safe_open

from pipelines.artifacts import manifest_json, metrics_json, train_json
from pipelines.artifacts.metrics_json import MetricsReport
from pipelines.artifacts.workspace import ARCHIVE, EXPORTED, METRICS
from pipelines.command_table import COMMANDS
from pipelines.diagnosis import verdict
from pipelines.drawing.markdown import table_lines
from pipelines.params import Params, load
from stylegan.exit_codes import exit_code
from stylegan.files import replacing, sha256_of, write_json
from stylegan.metrics.evaluation.metric import Metric, by_name, short
from stylegan.text import print_lines, visible
from stylegan.wording import counted

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
    text = card(root, report, params, digest, name=name, licence=licence, data_licence=data_licence, classes=classes)
    with replacing(out / CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")


def card(
    root: Path, report: MetricsReport, params: Params, digest: str, *,
    name: str, licence: str, data_licence: str, classes: bool,
) -> str:  # fmt: skip
    """The model card in Markdown, with the header that the Hugging Face Hub reads; classes: whether it takes labels"""
    header = {
        "license": licence, "library_name": "stylegan2-ada-workflow", "pipeline_tag": "unconditional-image-generation",
        "tags": ["gan", "stylegan2", "stylegan2-ada", "image-generation"],
    }  # fmt: skip
    judged = verdict.verdicts(report)
    sections = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n\n# {name}",
        f"**{verdict.headline(judged)}** {verdict.summary(judged, report.num_images)}",
        f"![{params.render.num_seeds} generated images, one for each seed](samples.png)",
        f"*Seeds 0 to {params.render.num_seeds - 1}, none chosen, at psi {params.render.truncation_psi:g}.*",
        f"## Use\n{_usage(conditional=classes)}",
        f"## Training\n{_table(('', ''), _training(root, report, params, digest, data_licence))}",
        f"## Measurement\n{_measurement(report)}",
        f"## Limits\n{_limits(report)}",
    ]
    return "\n\n".join(sections) + "\n"


def _usage(*, conditional: bool) -> str:
    label = " --class 0" if conditional else ""
    return (
        "With stylegan2-ada-workflow, which trained it:\n\n"
        f"```\nstylegan generate generator.safetensors{label} --seeds 0-9 --psi 0.7 --sheet --out samples\n```\n\n"
        "The file holds plain tensors (safetensors) and the configuration of the network; nothing in it is executed."
    )


def _training(
    root: Path, report: MetricsReport, params: Params, digest: str, data_licence: str
) -> list[tuple[str, str]]:
    trained, data = train_json.read(root), manifest_json.overview_of(root / ARCHIVE, report.archive_sha256)
    images = (
        "not known" if data is None else f"{data.split.get('train', 0):,} of {counted(data.num_found, 'image')} found"
    )
    kimg = f"{trained.trained_nimg / 1000:g} kimg; this is the snapshot at {trained.cur_nimg / 1000:g}"
    return [
        # Not where they lie on the machine that trained.
        ("training images", f"{_name_of(params)}: {images}, archive sha256 {report.archive_sha256[:12]}"),
        ("licence of the images", data_licence),
        ("length", f"{kimg}, seed {trained.seed}"),
        ("augmentation", f"{params.augment.mode}, at most p = {params.augment.p_max:g}"),
        ("started from", "scratch" if trained.resume_from is None else trained.resume_from.file),
        ("run", trained.fingerprint),
        ("generator sha256", digest),
    ]


def _name_of(params: Params) -> str:
    """Of the source of the images, as code: a name may hold Markdown"""
    name = visible(Path(params.prepare.source).name).replace("`", "'")
    return f"`{name}`"


def _measurement(report: MetricsReport) -> str:
    real, like = by_name(report.floor), by_name(report.like_floor)
    rows = [
        (each.name, _shown(each), *(short(found[each.name].value, 3) if each.name in found else ""
                                    for found in (like, real)))
        for each in report.metrics
    ]  # fmt: skip
    generated, compared = counted(report.num_images, "generated image"), counted(report.num_real, "training image")
    about = (
        f"{generated} at psi 1 against {compared}; "
        f"features of {report.extractor.name} at {report.extractor.input_size} pixels (sha256 "
        f"{report.extractor.sha256[:12]}). Parentheses hold {report.confidence:.0%} intervals. The last column is what "
        f"{counted(report.floor_num_images, 'real image')} score against {counted(report.floor_num_real, 'other')} "
        "(copies: each image against all others), and the one before it what as many generated images score against "
        "the same. "
        "Compare only numbers of the same name, extractor and counts."
    )
    heads = ("metric", "this generator", "with fewer images", "real images")
    return f"{_table(heads, rows)}\n\n{about}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(table_lines(heads, [(False, row) for row in rows]))


def _shown(metric: Metric) -> str:
    bounds = metric.interval
    within = "" if bounds is None else f" ({short(bounds.low, 3)} to {short(bounds.high, 3)})"
    return f"{short(metric.value, 3)}{within}"


def _limits(report: MetricsReport) -> str:
    found = [
        "It draws only what its training images show, with their biases, and nothing outside them.",
        f"Recommended truncation: psi {report.recommended.psi:g}. {report.recommended.sentence}",
    ]
    copies = next((each.value for each in report.metrics if each.kind == "memorized"), None)
    if copies is not None:
        found.append(f"{copies:.1%} of its images look like copies of a training image. Look before you publish one.")
    return "\n".join(f"- {line}" for line in (*found, *report.notes))


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
