"""stylegan.distributed: what a process alone sees; tests/distributed asks two of them."""

import torch

from stylegan.distributed import all_reduce_mean_, all_reduce_sum_, broadcast_, rank, world_size


def test_a_process_alone_is_rank_0_of_1() -> None:
    assert (rank(), world_size()) == (0, 1)


def test_reductions_alone_change_nothing() -> None:
    tensor = torch.tensor([1.0, 2.0])
    assert all_reduce_sum_(tensor) is tensor
    assert all_reduce_mean_(tensor) is tensor
    broadcast_([tensor])
    assert tensor.tolist() == [1, 2]
