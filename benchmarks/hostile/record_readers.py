"""Readers of settings, logs and records."""

import contextlib
import io
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.hostile.model_readers import contents
from benchmarks.hostile.reader import Reader
from pipelines import params as params_module
from pipelines.artifacts import (
    json_lines,
    ladder_json,
    manifest_json,
    metrics_json,
    run_json,
    segments,
    sweep_json,
    ticks,
    train_json,
    transfer_json,
)
from pipelines.artifacts.metrics_json import ClassResult, MetricsReport, Neighbors, Realism
from pipelines.artifacts.ticks import TickRow
from pipelines.diagnosis.advice import advice
from pipelines.diagnosis.alarms import alarms
from pipelines.diagnosis.frontier import recommend
from pipelines.diagnosis.frontier import table as frontier_table
from pipelines.diagnosis.stragglers import slow_rank
from pipelines.diagnosis.training_curves import readings
from pipelines.diagnosis.verdict import headline, verdicts
from pipelines.ladders import ladder
from pipelines.params import Params, fingerprint, flatten, load
from pipelines.prepare import prepare
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import Publisher
from pipelines.train import kept, measurements, ticklog
from stylegan.metrics.evaluation.cache import StatisticsCache
from stylegan.metrics.evaluation.comparison import Statistics, summarise
from stylegan.metrics.extractors.loading import RandomExtractor
from tests.conftest import REPOSITORY, TINY
from tests.evaluation_results import evaluation_results, truncation, write_train_record

METRICS = {"kid_x": 0.5, "frechet_x": 12.0, "precision_x": 0.6, "recall_x": 0.4}
INTERVALS = {"kid_x": [0.4, 0.6]}
ROWS = tuple(
    {
        "nimg": 8.0 * i, "kimg": 0.008 * i, "sec": 1.0, "sec_per_kimg": 100.0, "loss/G": 0.5, "loss/D": 0.5 / i,
        "logits/real": 0.2, "logits/gen": -0.2, "augment/p": 0.1 * i, "augment/r_t": 0.5, "grad_norm/Gmain": 1.5,
        "monitor/kid": 0.2 / i, "monitor/recall": 0.5, "monitor/precision": 0.5, "monitor/spread": 0.1,
        "contribution/b8": 40.0, "contribution/b16": 60.0, "ranks/count": 2, "ranks/slowest": 1, "system/cpu": 0.5,
        "ranks/busy_sec_per_kimg_max": 2.0, "ranks/busy_sec_per_kimg_median": 1.0,
    }
    for i in range(1, 6)
)  # fmt: skip


class Server:
    """Takes whatever a publisher sends, as a tracking server does"""

    def __getattr__(self, name: str) -> Callable[..., list[Any]]:
        return lambda *_, **__: []


def settings_readers(params: Params) -> list[Reader]:
    def use_params(found: Params) -> None:
        fingerprint(found, "digest")
        json.dumps(flatten(found.model_dump(mode="json")))
        with tempfile.TemporaryDirectory(dir=".") as name:
            path = Path(name) / "params.yaml"
            path.write_text(yaml.safe_dump(found.model_dump(mode="json")))
            assert load(path) == found, "settings that do not survive being written"

    def read_ladder(folder: Path) -> ladder.Ladder:
        before, ladder.LADDERS = ladder.LADDERS, folder
        try:
            return ladder.load("style")
        finally:
            ladder.LADDERS = before

    def use_ladder(found: ladder.Ladder) -> None:
        for rung in found.rows:
            found.compared_with(rung)
            try:
                ladder.of_row(params, found, rung.name, lambda: 24)
            except params_module.ConfigError:  # names its row, when that is reached
                continue

    ladders = REPOSITORY / "pipelines/ladders"
    names = sorted(ladders.glob("*.yaml"))
    first = next(path for path in names if path.stem != "demo")
    return [
        Reader("params.yaml", "settings", {"params.yaml": (REPOSITORY / "params.yaml").read_bytes()},
               lambda folder: load(folder / "params.yaml"), use_params, tells_all=True),
        Reader("ladder", "settings", {"style.yaml": first.read_bytes()}, read_ladder, use_ladder, tells_all=True),
    ]  # fmt: skip


def log_readers(params: Params) -> list[Reader]:
    def write_ticks(folder: Path) -> None:
        for row in ROWS:
            ticks.append(folder, TickRow.of(row))
        ticks.write_csv([TickRow.of(row) for row in ROWS], folder / "ticks.csv")
        json_lines.append(folder / ticklog.FAILURES, {"rank": 0, "time": 1.5, "error": "rank 0 failed"})
        (folder / ticklog.NODES).write_text(json.dumps(["a", "b"]))
        measurements.forget(folder, "0123abcd")

    def look(rows: list[TickRow]) -> None:
        alarms(rows, params)
        readings(rows, params)
        slow_rank(rows, ["a", "b"])
        for row in rows:
            assert all(resolution > 0 for resolution in row.contributions), "a block of no pixels"

    def read_log(folder: Path) -> list[TickRow]:
        ticklog.read_failures(folder)
        ticklog.read_nodes(folder)
        measurements.yardstick_of_log(folder)
        return ticks.read(folder)

    def use_log(rows: list[TickRow]) -> None:
        look(rows)
        with tempfile.TemporaryDirectory(dir=".") as name:
            ticks.write_csv(rows, Path(name) / "ticks.csv")
            ticks.read_csv(Path(name) / "ticks.csv")

    files = contents(write_ticks)
    table = {"ticks.csv": files.pop("ticks.csv")}
    return [
        Reader("log of ticks", "logs", files, read_log, use_log),
        Reader("table of ticks", "logs", table, lambda folder: ticks.read_csv(folder / "ticks.csv"), look),
        journal_reader(params),
    ]


def journal_reader(params: Params) -> Reader:
    def write_journal(folder: Path) -> None:
        journal = Journal(folder)
        journal.params({"train.seed": 0, "train.total_kimg": 1.5})
        journal.tags({"commit": "abc"})
        journal.dataset("archive", "a" * 64)
        journal.status("RUNNING")
        for number in (8, 16, 24):
            journal.metrics(number, {"loss/G": 0.5, "monitor/kid": 0.1})
        journal.summary(24, {"kid_x": 0.2})
        journal.status("FINISHED")

    with tempfile.TemporaryDirectory() as name:
        write_journal(Path(name))
        content = (Path(name) / "tracking.jsonl").read_bytes()
    content = re.sub(rb'"time_ms": \d+', b'"time_ms": 1700000000000', content)  # the same files on every day
    content = b"".join(
        json_lines.line_of({key: value for key, value in json.loads(line).items() if key != json_lines.CHECKSUM})
        for line in content.splitlines()
    )

    def use(journal: Journal) -> None:
        publisher = Publisher(journal, params.tracking, journal.folder)
        journal.began_ms()
        for record, _ in journal.read(0):
            publisher._send(Server(), record)  # type: ignore[arg-type]
        journal.metrics(1000, {"loss/G": 0.1})
        journal.tags({"commit": "abd"})

    return Reader("journal", "logs", {"tracking.jsonl": content}, Journal, use)


def artifact_reader(name: str, write: Callable[[Path], object], read: Callable[[Path], Any], use: Any = None) -> Reader:
    """One of the records; what was read must be there again when it is written and read"""

    def use_record(found: Any) -> None:
        repr(found)
        if use is not None:
            use(found)

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        files = {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}
    return Reader(name, "records", files, read, use_record)


def use_report(params: Params) -> Callable[[MetricsReport], None]:
    def use(report: MetricsReport) -> None:
        metrics_json.table(report)
        judged = verdicts(report)
        headline(judged)
        advice(judged, report, [TickRow.of(row) for row in ROWS], params)
        recommend(report.by_rising_psi)
        frontier_table(report.by_rising_psi, report.recommended.psi)
        report.folded()

    return use


def full_report() -> MetricsReport:
    """With every part that a report can have"""
    sweep = [truncation(psi, METRICS, INTERVALS) for psi in (0.5, 0.7, 1.0)]
    neighbors = Neighbors(k=2, rows=(0, 1), distance=((1.0, 2.0), (1.5, 2.5)), spacing=(1.0, 1.0))
    realism = Realism(best=(1,), best_scores=(1.5,), worst=(0,), worst_scores=(0.1,))
    classes = (ClassResult(label=0, name="circle", num_real=5, num_gen=5, distance=1.0),)
    return evaluation_results(
        METRICS, floor=METRICS, untrained=METRICS, intervals=INTERVALS, sweep=sweep, neighbors=neighbors,
        per_class=classes, notes=("a note",), realism=realism,
    )  # fmt: skip


def write_manifest(folder: Path) -> None:
    from benchmarks.hostile.image_readers import images
    from benchmarks.hostile.reader import write

    write({f"images/{name}": content for name, content in images(2).items()}, folder / "source")
    tiny = [*TINY, f"prepare.source={folder}/source/images", "prepare.labels=folders", "prepare.holdout_fraction=0"]
    config = load(REPOSITORY / "params.yaml", tiny).prepare
    with contextlib.redirect_stdout(io.StringIO()):
        prepare(config, folder / "archive.zip", folder / "manifest.json", folder / "none.jpg", workers=1)
    manifest = (folder / "manifest.json").read_text().replace(str(folder), "folder")
    for path in (folder / "archive.zip", *(folder / "source").rglob("*.png")):
        path.unlink()
    (folder / "manifest.json").write_text(manifest)


def record_readers(params: Params) -> list[Reader]:
    quantiles = ladder_json.Quantiles(num_maps=4, p1=1, p25=2, median=3, p75=4, p99=5, p99_9=6, max=7)
    report = transfer_json.TransferReport(
        source="a file", p=0.1, entries=(transfer_json.TensorOutcome(name="G.x", action="loaded", reason=""),)
    )
    report_of_run = full_report()
    run = ladder_json.SeedRun(seed=0, run="abc", metrics=report_of_run.metrics, snapshot_kimg=1.0, kimg=1.0)
    row = ladder_json.LadderRow(row="a", label="A", runs=(run,), metrics=report_of_run.metrics, peaks={16: quantiles})
    sweep = report_of_run.truncation
    trial = sweep_json.Trial(
        drawn={"train.g_lr": 0.1}, run="abc", status="measured", kimg=1.0, kid=0.1, truncation=sweep,
        runs=(sweep_json.SeedRun(seed=0, run="abc", truncation=sweep),),
    )  # fmt: skip
    segment = segments.Segment(row=TickRow.of(ROWS[0]), checkpoint="/a", began_with=None)
    return [
        artifact_reader("train.json", write_train_record, lambda f: train_json.read(f)),
        artifact_reader("metrics.json", lambda f: metrics_json.write(f / "m.json", full_report()),
                        lambda f: metrics_json.read(f / "m.json"), use_report(params)),
        artifact_reader("run.json", lambda f: run_json.write(f, run_json.RunRecord(
            archive_sha256="a", sections=params_module.trained_values(params))), run_json.read),
        artifact_reader("manifest.json", write_manifest, lambda f: manifest_json.read(f / "manifest.json")),
        artifact_reader("transfer.json", lambda f: transfer_json.write(
            f, transfer_json.Transfer(file="a", sha256="b", report=report)), transfer_json.read),
        artifact_reader("results of a sweep", lambda f: sweep_json.write(f, [trial]), sweep_json.read,
                        lambda found: sweep_json.best_of(found.trials)),
        artifact_reader("results of a ladder", lambda f: ladder_json.write(f, "x", [row], "a"), ladder_json.read),
        artifact_reader("peaks", lambda f: ladder_json.write_peaks(f / "p.json", {16: quantiles}),
                        lambda f: ladder_json.read_peaks(f / "p.json")),
        artifact_reader("segment of a trial", lambda f: segments.write_segment(f, segment), segments.read_segment),
        artifact_reader("pointer of a trial", lambda f: segments.write_pointer(f, segments.Pointer(nimg=1, url="/a")),
                        segments.read_pointer),
        artifact_reader("mark of a stopped trial", lambda f: sweep_json.write_stopped(
            f / "s.json", sweep_json.Stopped(nimg=1, kid=0.1)), lambda f: sweep_json.read_stopped(f / "s.json")),
        register_reader(),
        statistics_reader(),
    ]  # fmt: skip


def register_reader() -> Reader:
    """Ray's register of checkpoints, and the checkpoints that it lists"""

    def write(folder: Path) -> None:
        listed = []
        for number in (1, 2):
            name = f"checkpoints/nimg_{8 * number:09d}"
            (folder / name).mkdir(parents=True)
            (folder / name / "tick.json").write_text(json.dumps(ROWS[number - 1]))
            (folder / name / "monitor.json").write_text('"0123abcd"')
            listed.append({"checkpoint_dir_name": Path(name).name, "metrics": ROWS[number - 1]})
        content = {
            "checkpoint_results": listed, "checkpoint_report_indices": [0, 1], "latest_checkpoint_result": listed[-1],
            "current_report_index": 2, "pending_training_results": [], "pending_validation_specs": [],
        }  # fmt: skip
        (folder / "checkpoints" / kept.REGISTER).write_text(json.dumps(content))

    def read(folder: Path) -> list[kept.Kept]:
        kept.next_start_nimg(str(folder / "checkpoints"))
        kept.newest_nimg(str(folder))
        found = kept.registered(str(folder))
        kept.spare_checkpoints(str(folder / "checkpoints"), "0123abcd")
        return found

    return artifact_reader("register of checkpoints", write, read, lambda found: [each.nimg for each in found])


def statistics_reader() -> Reader:
    """Features of real images that evaluation keeps"""
    extractor = RandomExtractor(16)

    def cache(folder: Path) -> StatisticsCache:
        return StatisticsCache(folder, "a" * 64, extractor)

    def use(found: Statistics | None) -> None:
        assert found is None or found.features is None or found.features.isfinite().all(), "not finite"

    return artifact_reader(
        "statistics of real images",
        lambda folder: cache(folder).save("train", summarise(torch.rand(6, 64))),
        lambda folder: cache(folder).load("train", features=True, thumbnails=False),
        use,
    )


def all_record_readers() -> list[Reader]:
    params = load(REPOSITORY / "params.yaml", TINY)
    return [*settings_readers(params), *log_readers(params), *record_readers(params)]
