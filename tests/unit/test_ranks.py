"""Sharing measurements over ranks, seen from a process alone; tests/distributed has several."""

import pytest
import torch

from stylegan.metrics.arrays import MetricError
from stylegan.metrics.evaluation.ranks import gather_rows, in_turn, own_batches


def test_a_process_alone_sees_every_image_once() -> None:
    assert [list(rows) for rows in own_batches(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("dst", [0, None])
def test_rows_come_together_in_the_order_of_images(dst: int | None) -> None:
    pieces = [torch.tensor([[float(row)] for row in rows]) for rows in own_batches(7, 3)]
    found = gather_rows(pieces, dst)
    assert found is not None
    assert found.flatten().tolist() == list(range(7))


def test_results_have_the_order_of_their_tasks() -> None:
    assert in_turn({"b": lambda: 2, "a": lambda: 1}) == [2, 1]


def test_a_task_that_cannot_be_done_is_named_after_the_others_were_tried() -> None:
    tried: list[str] = []

    def fail() -> None:
        raise MetricError("no images")

    with pytest.raises(MetricError) as caught:
        in_turn({"psi 0.5": fail, "floor": lambda: tried.append("floor")})
    assert str(caught.value) == "psi 0.5: no images"
    assert tried == ["floor"]


def test_other_errors_are_not_held_back() -> None:
    with pytest.raises(ZeroDivisionError):
        in_turn({"psi 1": lambda: 1 // 0})
