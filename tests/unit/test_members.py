"""What a scheduler learns of a trial whose node was called back: the KID of its snapshots, and no other number."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.train import Checkpoint, Result

from pipelines.artifacts import ticks
from pipelines.artifacts.segments import read_segment
from pipelines.artifacts.ticks import TickRow
from pipelines.params import Params
from pipelines.sweep import job as jobs
from pipelines.sweep import population
from pipelines.sweep.job import Job, Rungs
from pipelines.tracking.journal import Journal

KID, WORST = "monitor/kid", 1e300  # as the state is registered that a run saves when its node is called back
ROW = {"nimg": 32.0, "kimg": 0.032, KID: 0.25}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Reports that reach Tune"""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "ray.tune.integration.ray_train.TuneReportCallback.after_report",
        lambda callback, context, metrics, checkpoint: found.extend(metrics),
    )
    monkeypatch.setattr("ray.tune.integration.ray_train.TuneReportCallback.__init__", lambda callback: None)
    return found


def test_tune_hears_of_snapshots_only(told: list[dict[str, Any]], tmp_path: Path) -> None:
    rungs = Rungs("run", 64)
    for name, row in (
        ("nimg_000000032", ROW),
        ("leaving_000000032", ROW | {KID: WORST}),
        ("nimg_000000064", ROW | {"nimg": 64.0, "kimg": 0.064}),  # the end, whose number is that of the trial
    ):
        rungs.after_report(None, [row], Checkpoint(str(tmp_path / name)))
    rungs.after_report(None, [ROW], None)
    assert [(report["nimg"], report["kid"]) for report in told] == [(32, 0.25)]


def test_a_segment_that_is_called_back_at_its_end_has_the_kid_of_its_last_snapshot(
    monkeypatch: pytest.MonkeyPatch, make_params: Callable[..., Params], tiny_archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "archive.zip").write_bytes(tiny_archive.read_bytes())
    began_with: list[str] = []

    def fit(params: Params, dataset: Any, pretrained: Any, assets: Path, journal: Journal, **more: Any) -> Result:
        began_with.extend(each.path for each in more["start_from"])
        nimg = round(params.train.total_kimg * 1000)
        row = ROW | {"nimg": float(nimg), "kimg": nimg / 1000}
        ticks.append(journal.folder, TickRow.of(row))
        return Result(row | {KID: WORST}, Checkpoint(str(journal.folder / f"leaving_{nimg:09d}")), None, "")

    monkeypatch.setattr(population, "fit", fit)
    params = make_params("sweep.scheduler=pbt")
    job = jobs.Job(params, tmp_path, tmp_path / "runs", "sweep")
    row, url = segment(params, None, job)
    assert row.monitor.kid == 0.25
    assert read_segment(next(tmp_path.glob("runs/*/segments/*"))).row.monitor.kid == 0.25
    segment(params, url, job, 64)
    segment(params, url.replace("leaving", "nimg"), job, 64)  # as if it had not been called back
    assert began_with == [url]  # the second is the same segment, and done


def segment(params: Params, begin: str | None, job: Job, end_nimg: int = 32) -> tuple[TickRow, str]:
    journal = Journal(job.state / "member")
    return population._segment(params, {"augment.ada_target": 0.4}, end_nimg, begin, journal, job)
