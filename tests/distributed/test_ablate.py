"""A ladder under a real Ray: killed in the middle and run again it has every row once."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipelines.params import Params

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
    # MLflow 3.17 itself uses what SQLAlchemy 2.1 deprecates.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
]

ROWS = ["plain", "skip", "ada", "path"]


def start(folder: Path, repository: Path, *arguments: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(repository), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "DVC_ROOT": str(folder)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "pipelines.ablate", "--ladder", "demo", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_a_ladder_killed_in_the_middle_and_run_again_has_every_row_once(
    tmp_path: Path, repository: Path, tiny_archive: Path, make_params: Callable[..., Params]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "archive.zip").write_bytes(tiny_archive.read_bytes())
    params = make_params("ablate.total_kimg=0.064", "ablate.metrics=[kid, pr]")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    runs, deadline = tmp_path / "runs", time.monotonic() + 600
    process = start(tmp_path, repository)
    while len(list(runs.glob("*/ticks.jsonl"))) < 2:  # the second row has begun
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with start(tmp_path, repository) as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    reports = tmp_path / "reports" / "ablate" / "demo"
    with (reports / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["row"] for row in table] == ROWS
    assert all(math.isfinite(float(row["kid_random"])) for row in table)
    assert len({row["run"] for row in table}) == len(ROWS)
    for row in table:
        ticks = [
            round(json.loads(line)["nimg"]) for line in (runs / row["run"] / "ticks.jsonl").read_text().splitlines()
        ]
        assert ticks == list(range(8, 65, 8))
    said = [line for line in output.splitlines() if line.startswith("row ") and line.endswith("sec/kimg (median)")]
    assert len(said) == len(ROWS)  # what depends on the machine is said, and is in no table
    assert "sec_per_kimg" not in table[0]
    assert "rows (after `make ui`): http" in output
    check_mlflow(tmp_path)


def check_mlflow(folder: Path) -> None:
    """Flat runs, one for each row, and one with the table"""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (experiment,) = (found for found in client.search_experiments() if found.name != "Default")
    rows = client.search_runs([experiment.experiment_id], "tags.ladder_record = 'row'")
    assert {run.data.tags["ladder_row"] for run in rows} == set(ROWS)
    assert {run.info.status for run in rows} == {"FINISHED"}
    assert all("eval/kid_random" in run.data.metrics for run in rows)
    (model,) = client.search_registered_models()
    versions = {int(version.version): version for version in client.search_model_versions(f"name = '{model.name}'")}
    assert {version.run_id for version in versions.values()} == {run.info.run_id for run in rows}
    best, kids = int(model.aliases["best"]), {number: float(one.tags["kid"]) for number, one in versions.items()}
    assert kids[best] == min(kids.values())
    (table,) = client.search_runs([experiment.experiment_id], "tags.ladder_record = 'table'")
    assert table.data.tags["ladder_run"] == rows[0].data.tags["ladder_run"]
    assert {"table.md", "table.csv", "index.html", "metrics.png"} <= {
        file.path for file in client.list_artifacts(table.info.run_id)
    }
