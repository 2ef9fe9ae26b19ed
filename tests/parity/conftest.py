"""What the parity tests share: networks in double precision, and the comparison."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from stylegan.networks.discriminator import DiscriminatorBlock
from stylegan.networks.generator import SynthesisBlock

Net = TypeVar("Net", bound=nn.Module)


@pytest.fixture
def as_double() -> Callable[[Net], Net]:
    """as_double(net) -> the network computing in fp64, where finite differences are exact enough to tell."""

    def convert(net: Net) -> Net:
        for module in net.modules():
            if isinstance(module, SynthesisBlock | DiscriminatorBlock):
                module.dtype = torch.float64
        return net.double()

    return convert


@pytest.fixture(scope="session")
def difference() -> Callable[[Tensor, npt.ArrayLike], float]:
    """difference(actual, expected) -> largest absolute difference, relative to the largest expected value"""

    def largest(actual: Tensor, expected: npt.ArrayLike) -> float:
        values, reference = actual.detach().double().numpy(), np.asarray(expected, np.float64)
        assert values.shape == reference.shape
        return float(np.abs(values - reference).max() / np.abs(reference).max())

    return largest
