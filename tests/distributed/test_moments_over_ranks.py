"""Mean and covariance of features that several processes saw are those of all features together."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from stylegan.metrics.fid import FeatureMoments

pytestmark = pytest.mark.distributed


def features_of(rank: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(10 + 7 * rank, 5, generator=generator, dtype=torch.float64) + rank


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    moments = FeatureMoments(5)
    moments.append(features_of(rank))
    moments.all_reduce_()
    torch.save((moments.count, *moments.mean_and_cov()), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_moments_are_added_up_over_ranks(tmp_path: Path) -> None:
    spawn(worker, args=(str(tmp_path),), nprocs=2)
    together = torch.cat([features_of(0), features_of(1)])
    for rank in range(2):
        count, mean, cov = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert count == 27
        torch.testing.assert_close(mean, together.mean(dim=0), rtol=1e-12, atol=0)  # fp64 sums in another order
        torch.testing.assert_close(cov, torch.cov(together.T, correction=0), rtol=1e-10, atol=1e-12)
