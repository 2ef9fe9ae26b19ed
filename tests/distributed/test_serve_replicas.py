"""Ray Serve under load: a replica that is killed costs no image, and comes back."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.params import Params
from stylegan.checkpoint import save_generator
from stylegan.networks import Generator

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_every_image_comes_with_its_bytes_though_a_replica_is_killed(
    tmp_path: Path, tiny_params: Params, repository: Path
) -> None:
    pytest.importorskip("grpc_reflection", reason=".venv/bin/python infra/install.py --extra serve")
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0).eval()
    save_generator(G, tmp_path / "generator.safetensors")
    command = [sys.executable, "-m", "benchmarks.serve", str(tmp_path / "generator.safetensors")]
    command += ["--replicas", "2", "--kill", "--clients", "8", "--seconds", "15"]
    done = subprocess.run(command, check=False, cwd=repository, stdout=subprocess.PIPE, text=True)
    (line,) = [line for line in done.stdout.splitlines() if " images a second, " in line]
    assert re.search(r"; \d+ asked for again, 0 lost, 0 with other bytes\. 1 of 2 replicas killed; a new one had", line)
    assert done.returncode == 0
