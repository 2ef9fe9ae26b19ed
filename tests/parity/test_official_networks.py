"""Official files, read by `load_official`, against numbers that the official implementation computed from them in fp32.

Gradients are compared in fp32 and fp64: an input of a leaky ReLU that is a rounding error away from 0 gets one slope or
the other, and a single one of them moves a norm by up to 4e-3, so fp32 agrees only where operations keep their order.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stylegan.loss import generator_loss, path_length_penalty, r1_penalty
from stylegan.networks import truncate
from stylegan.official import load_official
from tests.kernels import Kernels

DATA = Path(__file__).parent / "data"
TOLERANCE = 1e-4  # what fp32 on another machine may differ by; about 1e-6 was measured on this one
SECOND_ORDER = 1e-3  # for norms of gradients of gradients

Difference = Callable[..., float]
both_precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])


@pytest.fixture
def computing_in(as_double: Callable[[Any], Any]) -> Callable[[Any, torch.dtype], Any]:
    """computing_in(net, dtype) -> the network in that precision"""
    return lambda net, dtype: as_double(net) if dtype == torch.float64 else net


@pytest.fixture(params=["uncond_r32", "cond4_r16", "resnetG_skipD_r16", "origG_origD_r16"])
def case(request: pytest.FixtureRequest) -> SimpleNamespace:
    return read(request.param)


def read(name: str) -> SimpleNamespace:
    """G and D of an official file, and the expected values by name"""
    loaded = load_official(DATA / f"{name}.pkl")
    with np.load(DATA / f"{name}.npz") as file:
        return SimpleNamespace(G=loaded.G, D=loaded.D, G_ema=loaded.G_ema, augment_p=loaded.augment_p, **dict(file))


def test_styles(case: SimpleNamespace, difference: Difference) -> None:
    ws = case.G.mapping(torch.tensor(case.z), torch.tensor(case.c))
    assert difference(ws, case.ws) < TOLERANCE
    assert difference(truncate(ws, case.G.mapping.w_avg, psi=0.6, cutoff=4), case.ws_psi) < TOLERANCE


def test_images(case: SimpleNamespace, difference: Difference) -> None:
    z, c, synthesis = torch.tensor(case.z), torch.tensor(case.c), case.G.synthesis
    ws = case.G.mapping(z, c)
    assert difference(synthesis(ws, noise_mode="const"), case.img_const) < TOLERANCE
    assert difference(synthesis(ws, noise_mode="none"), case.img_none) < TOLERANCE
    assert difference(case.G(z, c, psi=0.6, cutoff=4, noise_mode="const"), case.img_psi) < TOLERANCE


def test_the_averaged_generator_draws_the_same_where_the_file_says_so(
    case: SimpleNamespace, difference: Difference
) -> None:
    img = case.G_ema(torch.tensor(case.z), torch.tensor(case.c), noise_mode="const")
    assert difference(img, case.img_const) < TOLERANCE  # these files hold equal weights in G and G_ema
    assert case.augment_p == pytest.approx(0.37)


def test_logits(case: SimpleNamespace, difference: Difference) -> None:
    c = torch.tensor(case.c)
    assert difference(case.D(torch.tensor(case.real), c), case.logits_real) < TOLERANCE
    assert difference(case.D(torch.tensor(case.img_const), c), case.logits_fake) < TOLERANCE


@both_precisions
def test_r1_and_its_gradient(
    case: SimpleNamespace, dtype: torch.dtype, computing_in: Any, difference: Difference
) -> None:
    D = computing_in(case.D, dtype)
    real = torch.tensor(case.real, dtype=dtype, requires_grad=True)
    penalty = r1_penalty(D(real, torch.tensor(case.c, dtype=dtype)), real)
    assert difference(penalty, case.r1_penalty) < TOLERANCE
    (penalty.mean() * (3.0 / 2)).backward()  # gamma = 3
    assert difference(grad_norms(D, case.r1_param_grad_names), case.r1_param_grad_norms) < SECOND_ORDER


@both_precisions
def test_path_length_and_its_gradient(
    case: SimpleNamespace, dtype: torch.dtype, computing_in: Any, difference: Difference
) -> None:
    G = computing_in(case.G, dtype)
    ws = G.mapping(torch.tensor(case.z, dtype=dtype), torch.tensor(case.c, dtype=dtype))
    mean, noise = torch.tensor(case.pl_mean_before, dtype=dtype), torch.tensor(case.pl_noise, dtype=dtype)
    penalty, mean = path_length_penalty(G.synthesis(ws, noise_mode="const"), ws, mean, 0.01, noise)
    assert difference(mean, case.pl_mean_after) < TOLERANCE
    assert difference(penalty, case.pl_penalty) < TOLERANCE
    (penalty.mean() * 2).backward()  # weight 2
    assert difference(grad_norms(G, case.pl_param_grad_names), case.pl_param_grad_norms) < SECOND_ORDER


@both_precisions
def test_generator_loss_and_its_gradient(
    case: SimpleNamespace, dtype: torch.dtype, computing_in: Any, difference: Difference
) -> None:
    G, D = computing_in(case.G, dtype), computing_in(case.D, dtype)
    c = torch.tensor(case.c, dtype=dtype)
    loss = generator_loss(D(G(torch.tensor(case.z, dtype=dtype), c, noise_mode="const"), c)).mean()
    assert difference(loss, case.gmain_loss) < TOLERANCE
    loss.backward()
    assert difference(grad_norms(G, case.gmain_grad_names), case.gmain_grad_norms) < TOLERANCE


# Not the path length of origG_origD_r16: one input of a leaky ReLU of its b8.conv1 is 0 in stock torch and 4e-8 with
# kernels, which moves one image's penalty by 2e-4.
@pytest.mark.usefixtures("interpreted_kernels")
@pytest.mark.parametrize(
    ("check", "name"),
    [(test_r1_and_its_gradient, "origG_origD_r16"), (test_path_length_and_its_gradient, "cond4_r16")],
)
def test_kernels_agree_with_the_official_implementation(
    check: Callable[..., None], name: str, computing_in: Any, difference: Difference, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = importlib.import_module("stylegan.ops.kernels.launch")
    monkeypatch.setattr(launch, "TILE", 2**14)  # a whole image: programs are what takes time
    with Kernels() as ran:
        check(read(name), torch.float32, computing_in, difference)
    assert {"upfirdn2d", "scale_bias_act", "prepare_weight"} <= set(ran.names)


def grad_norms(net: nn.Module, names: np.ndarray) -> Tensor:
    """Norms in the order of the names; parameters that the official run had no gradient for must have none here"""
    norms = {n: torch.zeros([]) if p.grad is None else p.grad.norm() for n, p in net.named_parameters()}
    assert all(norm == 0 for name, norm in norms.items() if name not in names)
    return torch.stack([norms[name].double() for name in names])
