"""The render stage as DVC starts it: a process in the work tree, which leaves a page and an MLflow run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from pipelines.artifacts import metrics_json
from pipelines.params import Params
from pipelines.tracking.publisher import initialise
from stylegan.checkpoint import save_generator
from stylegan.networks import Generator
from tests.evaluation_results import evaluation_results, write_train_record

pytestmark = [
    pytest.mark.slow,
]

NUMBERS = {"kid_x": 0.1, "recall_x": 0.5}


def run_stage(root: Path, repository: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment |= {"DVC_ROOT": str(root), "PYTHONPATH": str(repository)}
    command = [sys.executable, "-m", "pipelines.render"]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_the_stage_leaves_a_page_and_a_run(
    tmp_path: Path, repository: Path, tiny_archive: Path, tiny_params: Params
) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny_params.model_dump(mode="json")))
    failed = run_stage(tmp_path, repository)
    expected = "error: reports/metrics.json: file not found. Run `dvc repro evaluate`, which writes it.\n"
    assert (failed.returncode, failed.stderr.replace(f"{tmp_path}/", "")) == (1, expected)

    torch.manual_seed(0)
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0)
    save_generator(G, tmp_path / "models/generator.safetensors")
    write_train_record(tmp_path, fingerprint="abc123")
    (tmp_path / "data").mkdir()
    shutil.copyfile(tiny_archive, tmp_path / "data/archive.zip")
    results = evaluation_results(NUMBERS, floor=NUMBERS, untrained=NUMBERS)
    (tmp_path / "reports").mkdir()
    metrics_json.write(tmp_path / "reports/metrics.json", results)
    (tmp_path / "reports/ticks.csv").write_text("nimg,kimg,sec,loss/G,loss/D\n1000,1,2,1,1\n")
    done = run_stage(tmp_path, repository)
    assert (done.returncode, done.stdout) == (0, f"report: {tmp_path}/reports/index.html\n"), done.stderr

    client, experiment_id = initialise(f"sqlite:///{tmp_path}/mlflow.db", tiny_params.tracking.experiment, tmp_path)
    (run,) = client.search_runs([experiment_id], "tags.fingerprint = 'abc123'")
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"index.html", "metrics.json", "samples.png"}
