"""Ray Serve under load: a replica that is killed costs no image, and comes back."""

import asyncio
import time
from pathlib import Path

import pytest
import torch

from pipelines.params import Params
from stylegan.checkpoint import save_generator
from stylegan.drawing.requested import check_request, draw
from stylegan.networks import Generator

pytest.importorskip("grpc_reflection", reason=".venv/bin/python infra/install.py --extra serve")

from benchmarks import serve as benchmark  # what it imports needs the extra

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

REPLICAS, CLIENTS, SECONDS, BACK_SEC = 2, 8, 20.0, 120.0


def test_every_image_comes_with_its_bytes_though_a_replica_is_killed(tmp_path: Path, tiny_params: Params) -> None:
    torch.manual_seed(0)
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0).eval().requires_grad_(False)
    save_generator(G, tmp_path / "generator.safetensors")
    expected = draw(G, [check_request(G, None, seed=seed) for seed in range(benchmark.SEEDS)])
    with benchmark.replicas(tmp_path / "generator.safetensors", 1, REPLICAS) as address:
        before = benchmark.replica_pids()
        assert len(before) == REPLICAS
        found, killed = asyncio.run(benchmark.run(address, expected, CLIENTS, SECONDS, kill=True))
        assert killed.startswith(f"replica {before[0]} ")
        assert (found.lost, found.wrong) == (0, 0)
        assert len(found.seconds) > 10 * CLIENTS
        deadline = time.monotonic() + BACK_SEC
        while len(set(benchmark.replica_pids()) - {before[0]}) < REPLICAS:
            assert time.monotonic() < deadline
            time.sleep(1)
