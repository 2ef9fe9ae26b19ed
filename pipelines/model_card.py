"""The card of a model: what was measured of a generator and how, on which data, and what it cannot do, in Markdown.

`stylegan card` writes it into a folder to share, and MLflow's registry gets it with every model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipelines.artifacts.manifest_json import Overview
from pipelines.artifacts.metrics_json import MetricsReport
from pipelines.artifacts.train_json import TrainRecord
from pipelines.diagnosis import verdict
from pipelines.drawing.markdown import table_lines
from pipelines.params import Params
from stylegan.metrics.evaluation.metric import Metric, by_name, short
from stylegan.text import visible
from stylegan.wording import counted


@dataclass(frozen=True)
class Origin:
    """Where a generator comes from."""

    trained: TrainRecord
    data: Overview | None  # None if no manifest says
    params: Params  # that it was trained with
    digest: str  # sha256 of its file


def card(
    report: MetricsReport, origin: Origin, *, name: str, licence: str, data_licence: str, usage: str,
    samples: str | None,
) -> str:  # fmt: skip
    """The model card in Markdown, with the header that the Hugging Face Hub reads

    usage: how to draw with it; samples: a picture of render.num_seeds seeds that lies next to the card, if any.
    """
    header = {
        "license": licence, "library_name": "stylegan2-ada-workflow", "pipeline_tag": "unconditional-image-generation",
        "tags": ["gan", "stylegan2", "stylegan2-ada", "image-generation"],
    }  # fmt: skip
    judged = verdict.verdicts(report)
    sections = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n\n# {name}",
        f"**{verdict.headline(judged)}** {verdict.summary(judged, report.num_images)}",
        *([] if samples is None else _shown_samples(origin.params, samples)),
        f"## Use\n{usage}",
        f"## Training\n{_table(('', ''), _training(report, origin, data_licence))}",
        f"## Measurement\n{_measurement(report)}",
        f"## Limits\n{_limits(report)}",
    ]
    return "\n\n".join(sections) + "\n"


def _shown_samples(params: Params, file: str) -> list[str]:
    num, psi = params.render.num_seeds, params.render.truncation_psi
    return [
        f"![{num} generated images, one for each seed]({file})",
        f"*Seeds 0 to {num - 1}, none chosen, at psi {psi:g}.*",
    ]


def commands(*, conditional: bool) -> str:
    """How to draw with this project's own command; conditional: whether the generator takes labels"""
    label = " --class 0" if conditional else ""
    return (
        "With stylegan2-ada-workflow, which trained it:\n\n"
        f"```\nstylegan generate generator.safetensors{label} --seeds 0-9 --psi 0.7 --sheet --out samples\n```\n\n"
        "The file holds plain tensors (safetensors) and the configuration of the network; nothing in it is executed."
    )


def in_python(name: str, *, conditional: bool) -> str:
    """How to draw with a registered model; conditional: whether the generator takes labels"""
    label = ', "class": "0"' if conditional else ""
    return (
        "In Python, with MLFLOW_TRACKING_URI set to the server that has the model:\n\n"
        "```\nimport base64, mlflow, pandas\n\n"
        f'model = mlflow.pyfunc.load_model("models:/{name}@best")\n'
        f'images = model.predict(pandas.DataFrame([{{"seed": 7, "psi": 0.7{label}}}]))\n'
        'open("seed7.png", "wb").write(base64.b64decode(images["png"][0]))\n```\n\n'
        "The weights are plain tensors (artifacts/generator.safetensors), and no file is a pickle. MLflow runs the "
        "Python code of the model, in code/: load models only from a registry that you trust."
    )


def _training(report: MetricsReport, origin: Origin, data_licence: str) -> list[tuple[str, str]]:
    trained, data, params = origin.trained, origin.data, origin.params
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
        ("generator sha256", origin.digest),
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
