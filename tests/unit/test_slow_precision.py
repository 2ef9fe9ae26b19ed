"""A precision that the processor at hand has no arithmetic for is said before training."""

from collections.abc import Callable

import pytest
import torch

from pipelines.params import Params
from pipelines.train import slow_precision
from pipelines.train.slow_precision import describe_slow_precision, time_relative_to_float32

Make = Callable[..., Params]


@pytest.fixture
def ratio(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """ratio(8.0) -> a processor on which half precisions take eight times as long"""
    return lambda value: monkeypatch.setattr(slow_precision, "time_relative_to_float32", lambda dtype: value)


def test_a_slow_precision_is_said_with_the_remedy(ratio: Callable[[float], None], make_params: Make) -> None:
    ratio(7.94)
    assert describe_slow_precision(make_params("train.precision=bf16")) == (
        "train.precision is bf16, in which this processor takes 7.9 times as long as in fp32 for a convolution. "
        "Training continues. To make it faster, stop it and set train.precision to fp32, a new run."
    )


def test_a_fast_precision_is_not_worth_a_line(ratio: Callable[[float], None], make_params: Make) -> None:
    ratio(0.6)
    assert describe_slow_precision(make_params("train.precision=bf16")) is None


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.precision=fp32"],
        ["train.precision=bf16", "cluster.use_gpu=true"],
        ["train.precision=bf16", "cluster.address=auto"],  # other processors than this one
    ],
)
def test_where_this_processor_decides_nothing_it_is_not_measured(
    overrides: list[str], make_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_precision, "time_relative_to_float32", None)
    assert describe_slow_precision(make_params(*overrides)) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_convolution_is_measured_in_both(dtype: torch.dtype) -> None:
    assert 0 < time_relative_to_float32(dtype) < float("inf")
