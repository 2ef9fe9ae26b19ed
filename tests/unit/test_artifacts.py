"""What stages hand over: typed, with a version, read back equal, and refused in one line where it is something else."""

import ast
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts import (
    ladder_json,
    manifest_json,
    metrics_json,
    segments,
    sweep_json,
    ticks,
    train_json,
    transfer_json,
)
from pipelines.artifacts.artifact import Artifact, ArtifactError
from pipelines.artifacts.ladder_json import LadderRow, Quantiles
from pipelines.artifacts.ladder_json import SeedRun as LadderRun
from pipelines.artifacts.metrics_json import ClassResult, Neighbors, Realism
from pipelines.artifacts.segments import Pointer, Segment
from pipelines.artifacts.sweep_json import SeedRun as TrialRun
from pipelines.artifacts.sweep_json import Stopped, Trial
from pipelines.artifacts.ticks import TickRow
from pipelines.artifacts.train_json import TrainRecord
from pipelines.artifacts.transfer_json import TensorOutcome, Transfer, TransferReport
from pipelines.params import Params
from pipelines.prepare import prepare
from stylegan.metrics.evaluation.metric import Bounds
from tests.evaluation_results import evaluation_results, metrics_of, truncation

INTERVAL = {"kid_x": [0.25, math.inf]}
METRICS = {"kid_x": 0.5, "fid_x": math.inf, "recall_x": 0.0, "pr50k3_full_precision": 0.125}
REPORT = evaluation_results(
    METRICS,
    floor={"kid_x": -0.001},
    untrained={"kid_x": 0.7, "ppl_y": 3.0},
    intervals=INTERVAL,
    sweep=[truncation(0.5, METRICS), truncation(1.0, METRICS, INTERVAL)],
    cur_nimg=None,
    neighbors=Neighbors(k=2, rows=(7, 3), distance=((0.1, 0.2), (0.3, 0.4)), spacing=(0.2, 0.5)),
    realism=Realism(best=(4,), best_scores=(1.5,), worst=(2,), worst_scores=(0.1,)),
    per_class=(ClassResult(label=0, name=None, num_real=5, num_gen=4, distance=None),),
    notes=("Few images.",),
)
TRANSFER = Transfer(
    file="pretrained/x.safetensors",
    sha256="f" * 64,
    report=TransferReport(
        source="x", entries=(TensorOutcome(name="G.b4.const", action="skipped", reason="not here"),), p=None
    ),
)
RECORD = TrainRecord(
    fingerprint="abc",
    archive_sha256="a" * 64,
    resume_from=TRANSFER,
    snapshot="best",
    cur_nimg=1,
    trained_nimg=2,
    seed=0,
)
TICK = TickRow.of({"nimg": 8.0, "kimg": 0.008, "loss/G": 0.5, "ranks/count": 2, "contribution/b4": 100.0})
PEAKS = {4: Quantiles(num_maps=8.0, p1=1.5, p25=2.0, median=2.5, p75=3.0, p99=4.0, p99_9=5.0, max=6.0)}
TRIALS = [
    Trial(drawn={"loss.r1_gamma": 0.5, "augment.mode": "ada", "data.xflip": True}, run="r", status="measured", kimg=4.0,
          kid=None, truncation=REPORT.truncation, runs=(TrialRun(seed=0, run="r", truncation=REPORT.truncation),)),
    Trial(drawn={}, run="", status="failed", kimg=0.0, kid=math.nan, problem="RuntimeError: x"),
]  # fmt: skip
ROWS = [
    LadderRow(
        row="A",
        label="start",
        metrics=metrics_of(METRICS, INTERVAL),
        peaks=PEAKS,
        verdict="better",
        against="B",
        delta=-0.5,
        delta_interval=Bounds(-0.75, -0.25),
        runs=(LadderRun(seed=0, run="r", metrics=metrics_of(METRICS, INTERVAL), kimg=4.0),),
    ),
    LadderRow(row="B", label="next", problem="RuntimeError: x"),
]

Case = tuple[Callable[[Path], object], Callable[[Path], Path], object, str, str]


def written(write: Callable[..., object], *arguments: Any, name: str) -> Callable[[Path], Path]:
    def done(folder: Path) -> Path:
        write(folder, *arguments)
        return folder / name

    return done


def at(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a file as one of its folder."""
    return lambda folder, *arguments: function(folder / name, *arguments)


CASES: dict[str, Case] = {
    "metrics.json": (
        at("m.json", metrics_json.read), written(at("m.json", metrics_json.write), REPORT, name="m.json"), REPORT,
        "a measurement", "Run `dvc repro --force evaluate`, which writes it again.",
    ),
    "train.json": (
        train_json.read, written(train_json.write, RECORD, name="models/train.json"), RECORD,
        "a training record", "Run `dvc repro --force train`, which writes it again.",
    ),
    "transfer.json": (
        transfer_json.read, written(transfer_json.write, TRANSFER, name="transfer.json"), TRANSFER,
        "the report of a transfer", "Run `dvc repro --force train`, which writes it again.",
    ),
    "sweep": (
        lambda folder: list(sweep_json.read(folder).trials), written(sweep_json.write, TRIALS, name="results.json"),
        TRIALS, "the results of a sweep", "Run `make sweep`, which writes it again.",
    ),
    "stopped": (
        at("s.json", sweep_json.read_stopped),
        written(at("s.json", sweep_json.write_stopped), Stopped(nimg=3, kid=0.5), name="s.json"),
        Stopped(nimg=3, kid=0.5), "the mark of a stopped trial",
        "Delete it and run the same command again, which writes it.",
    ),
    "ladder": (
        lambda folder: list(ladder_json.read(folder).rows),
        written(ladder_json.write, "x", ROWS, "A", name="results.json"),
        ROWS, "the results of a ladder", "Run `make ablate`, which writes it again.",
    ),
    "peaks": (
        at("p.json", ladder_json.read_peaks),
        written(at("p.json", ladder_json.write_peaks), PEAKS, name="p.json"), PEAKS,
        "a measurement of peaks", "Delete it and run the same command again, which writes it.",
    ),
    "segment": (
        segments.read_segment,
        written(segments.write_segment, Segment(row=TICK, checkpoint="u", began_with=None), name="done.json"),
        Segment(row=TICK, checkpoint="u", began_with=None), "a finished segment",
        "Delete it and run the same command again, which writes it.",
    ),
    "pointer": (
        segments.read_pointer, written(segments.write_pointer, Pointer(nimg=8, url="u"), name="pointer.json"),
        Pointer(nimg=8, url="u"), "a pointer to a training state", "Run `make sweep`, which writes it again.",
    ),
}  # fmt: skip


VERSIONS = dict.fromkeys(CASES, 1) | {"metrics.json": 3, "sweep": 2, "ladder": 2}


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_is_read_back_equal(name: str, tmp_path: Path) -> None:
    read, write, expected, _, _ = CASES[name]
    path = write(tmp_path)
    first = path.read_bytes()
    assert repr(read(tmp_path)) == repr(expected)  # repr: NaN differs from itself
    assert json.loads(first)["version"] == VERSIONS[name]
    write(tmp_path)
    assert path.read_bytes() == first


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("version", [None, 0, 9, "1"])
def test_another_version_is_named_in_one_line_with_the_remedy(version: object, name: str, tmp_path: Path) -> None:
    read, write, _, _, remedy = CASES[name]
    path = write(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": version}))
    with pytest.raises(ArtifactError) as caught:
        read(tmp_path)
    assert str(caught.value) == f"{path}: version {version or 'unknown'}, expected {VERSIONS[name]}. {remedy}"


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("damage", ["half", "list", "empty", "surplus", "missing", "text"])
def test_a_damaged_file_is_named_in_one_line_with_the_remedy(damage: str, name: str, tmp_path: Path) -> None:
    read, write, _, noun, remedy = CASES[name]
    path = write(tmp_path)
    whole = path.read_text()
    values = json.loads(whole)
    last = [*values][-1]
    path.write_text(
        {
            "half": whole[: len(whole) // 2],
            "list": "[]",
            "empty": "",
            "surplus": json.dumps(values | {"surplus": 1}),
            "missing": json.dumps({key: value for key, value in values.items() if key != last}),
            "text": json.dumps(values | {last: {"x": "y"}}),
        }[damage]
    )
    with pytest.raises(ArtifactError) as caught:
        read(tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{path}: not {noun}: ")
    assert text.endswith(remedy)
    assert "\n" not in text


@pytest.mark.parametrize(
    ("group", "change", "problem"),
    [
        ("metrics", {"kid_y": 0.5}, "kid_y is missing in measures or has an interval and no number"),
        ("intervals", {"ppl_y": [0, 1]}, "ppl_y is missing in measures or has an interval and no number"),
        ("metrics", {"kid_x": "0.5"}, "metrics.0.value: Input should be a valid number"),
    ],
)
def test_a_number_without_a_meaning_is_refused(
    group: str, change: dict[str, object], problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "metrics.json"
    metrics_json.write(path, REPORT)
    values = json.loads(path.read_text())
    values[group] |= change
    path.write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match="not a measurement") as caught:
        metrics_json.read(path)
    assert f": {problem}. Run" in str(caught.value)


def test_numbers_of_metrics_json_lie_under_their_names_for_dvc(tmp_path: Path) -> None:
    metrics_json.write(tmp_path / "metrics.json", REPORT)
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["metrics"] == METRICS
    assert content["intervals"] == INTERVAL
    assert content["untrained"] == {"kid_x": 0.7, "ppl_y": 3.0}
    assert content["truncation"][1] == {"psi": 1.0, "metrics": METRICS, "intervals": INTERVAL}
    assert content["measures"][0] == {
        "name": "kid_x", "kind": "kid", "extractor": "x", "unit": "distance", "lower_is_better": True,
        "redrawn": "real and generated images",
    }  # fmt: skip


def test_the_manifest_is_read_back_equal(tiny_params: Params, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    from PIL import Image

    for index in range(3):
        Image.new("RGB", (16, 16), (index, 0, 0)).save(tmp_path / "in" / f"{index}.png")
    config = tiny_params.prepare.model_copy(update={"source": str(tmp_path / "in"), "labels": "none"})
    path = tmp_path / "manifest.json"
    prepare(config, tmp_path / "a.zip", path, tmp_path / "none.jpg", workers=1)
    found = manifest_json.read(path)
    assert (found.num_images, len(found.images), found.prepare) == (3, 3, config)
    first = path.read_bytes()
    manifest_json.write(path, found)
    assert path.read_bytes() == first
    path.write_text("{}")
    with pytest.raises(ArtifactError, match=r"version unknown, expected 1\. Run `dvc repro --force prepare`"):
        manifest_json.read(path)


def test_every_artifact_has_a_case() -> None:
    nouns = {noun for *_, noun, _ in CASES.values()} | {"a manifest"}
    assert nouns == {model.noun for model in Artifact.__subclasses__()}


# The tick log, whose columns name themselves.


def test_a_tick_is_read_back_equal_with_nan_and_infinity(tmp_path: Path) -> None:
    columns = {
        "nimg": 8.0, "kimg": 0.008, "sec": 1.0, "loss/G": math.nan, "logits/real": 1.0, "augment/p": 0.5,
        "grad_norm/Gmain": math.inf, "monitor/kid": 0.25, "contribution/b4": 60.0, "contribution/b16": 40.0,
        "ranks/count": 2, "ranks/slowest": 1, "system/n1/gpu_0": 3.0,
    }  # fmt: skip
    row = TickRow.of(columns)
    assert repr(row.columns) == repr(columns)
    assert row.contributions == {4: 60.0, 16: 40.0}
    ticks.append(tmp_path, row)
    assert repr(ticks.read(tmp_path)) == repr([row])
    ticks.write_csv([row], tmp_path / "ticks.csv")
    (found,) = ticks.read_csv(tmp_path / "ticks.csv")  # which has its columns in the order of the alphabet
    costs = {"sec", "ranks/count", "ranks/slowest", "system/n1/gpu_0"}  # and nothing that another day would change
    assert repr(sorted(found.columns.items())) == repr(sorted((k, v) for k, v in columns.items() if k not in costs))
    ticks.write_one(tmp_path / "tick.json", row)
    assert repr(ticks.read_one(tmp_path / "tick.json")) == repr(row)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"nimg": 8.0}', "kimg: Field required"),
        ('{"nimg": 8.0, "kimg": 0.008, "loss/H": 1}', "loss/H: Extra inputs are not permitted"),
        ('{"nimg": 8.0, "kimg": 0.008, "speed": 1}', "speed: Extra inputs are not permitted"),
        ('{"nimg": 8.0, "kimg": "x"}', "kimg: Input should be a valid number"),
    ],
)
def test_a_line_that_is_no_tick_is_named(line: str, problem: str, tmp_path: Path) -> None:
    ticks.append(tmp_path, TICK)
    size = (tmp_path / ticks.LOG).stat().st_size
    with (tmp_path / ticks.LOG).open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ArtifactError) as caught:
        ticks.read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / ticks.LOG}: the line after byte {size} is not a tick: {problem}. Delete {tmp_path} to train the "
        "run again."
    )


@pytest.mark.parametrize("row", ["8,x", "8", "8,0.008,7", "8,0.008\n9,"])
def test_a_table_that_is_no_log_is_named(row: str, tmp_path: Path) -> None:
    path = tmp_path / "ticks.csv"
    path.write_text(f"nimg,kimg\n{row}\n")
    with pytest.raises(ArtifactError, match=r"ticks\.csv: line \d is not a tick: .*`dvc repro --force train`, which"):
        ticks.read_csv(path)


def test_every_statistic_of_the_training_has_a_column(repository: Path) -> None:
    """A new statistic without a field would be refused only when a training logs it."""
    named = set()
    for path in (repository / "stylegan").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add" and node.args:
                first = node.args[0]
                named |= {first.value} if isinstance(first, ast.Constant) and "/" in str(first.value) else set()
    assert {"loss/G", "logits/holdout", "augment/r_t"} <= named
    row = TickRow.of({"nimg": 8.0, "kimg": 0.008} | dict.fromkeys(named, 1.0))
    assert named <= row.columns.keys()


def test_dvc_compares_one_short_number_of_each_kind(tmp_path: Path) -> None:
    metrics_json.write_headline(tmp_path / "headline.json", REPORT)
    assert json.loads((tmp_path / "headline.json").read_text()) == {
        "kid": 0.5, "fid": math.inf, "recall": 0.0, "precision": 0.125, "kid_of_real": -0.001, "psi": 1.0,
    }  # fmt: skip


def test_images_that_were_not_measured_are_not_drawn(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    metrics_json.write(path, REPORT)
    for row in (-1, REPORT.num_images, 10**12):
        content = json.loads(path.read_text())
        content["realism"]["best"] = [row]
        (tmp_path / "spoilt.json").write_text(json.dumps(content))
        with pytest.raises(ArtifactError, match="realism"):
            metrics_json.read(tmp_path / "spoilt.json")
