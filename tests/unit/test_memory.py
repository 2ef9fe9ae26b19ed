"""The count of bytes that training needs, against tensors that exist."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from pipelines.params import Params
from pipelines.plan.cost.memory import FLOAT, Memory, kept_bytes, memory
from stylegan import loss
from stylegan.networks import Discriminator
from stylegan.ops import kernels
from stylegan.state import TrainState

Make = Callable[..., Params]


def test_kept_bytes_of_a_product_are_its_factors_and_each_storage_counts_once() -> None:
    x, weight = torch.ones(10, requires_grad=True), torch.ones(10, requires_grad=True)
    assert kept_bytes(lambda: x * weight, set()) == 2 * 10 * FLOAT
    assert kept_bytes(lambda: x * weight, {weight.untyped_storage()._cdata}) == 10 * FLOAT
    assert kept_bytes(lambda: x * x[:5].repeat(2), {x.untyped_storage()._cdata}) == 10 * FLOAT


def test_what_a_backward_pass_released_is_not_kept_beside_what_the_next_one_needs() -> None:
    x = torch.ones(10, requires_grad=True)

    def twice() -> None:
        for _ in range(2):
            (x * x.detach().clone()).sum().backward()

    assert kept_bytes(twice, {x.untyped_storage()._cdata}) == 10 * FLOAT


def test_state_is_every_tensor_of_a_training_after_a_step(tiny_params: Params) -> None:
    need = memory(tiny_params, 3, 4)
    device = torch.device("cpu")
    state = TrainState.create(tiny_params, img_resolution=16, img_channels=3, c_dim=0, device=device)
    G, D = (sum(param.numel() for param in net.parameters()) for net in (state.G, state.D))
    assert (need.g_params, need.d_params) == (G, D)
    weights_gradients_moments_ema = 4 * (G + D) + G
    assert need.state == FLOAT * (weights_gradients_moments_ema + max(G, D))


def test_meta_tensors_are_counted_as_real_ones(make_params: Make) -> None:
    params = make_params("augment.mode=none", "loss.pl_weight=0")
    D = Discriminator(params.discriminator, img_resolution=16, img_channels=3, c_dim=0)
    weights = {param.untyped_storage()._cdata for param in D.parameters()}

    def r1() -> torch.Tensor:
        img = torch.rand(4, 3, 16, 16, requires_grad=True)
        return loss.r1_penalty(D(img, torch.zeros(4, 0)), img)

    assert memory(params, 3, 4).phases["Dreg"] == kept_bytes(r1, weights)


def test_activations_grow_with_images_and_the_state_does_not(tiny_params: Params) -> None:
    few, many = (memory(tiny_params, 3, count) for count in (4, 16))
    assert many.state == few.state
    assert 3 < many.activations / few.activations < 4.5
    assert many.total == many.state + many.activations


def test_the_same_plan_needs_the_same_memory_and_random_numbers_stay_where_they_were(tiny_params: Params) -> None:
    before = torch.get_rng_state()
    assert memory(tiny_params, 3, 4) == memory(tiny_params, 3, 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_phases_that_are_off_need_nothing(make_params: Make) -> None:
    assert set(memory(make_params(), 3, 4).phases) == {"Gmain", "Dmain", "Greg", "Dreg"}
    off = make_params("loss.pl_weight=0", "loss.r1_gamma=0.0")
    assert set(memory(off, 3, 4).phases) == {"Gmain", "Dmain"}
    other = ("loss.adversarial=wgan_gp", "loss.d_regularizer=gp", "loss.pl_weight=0", "augment.mode=none")
    assert set(memory(make_params(*other, "loss.gp_weight=0.0"), 3, 4).phases) == {"Gmain", "Dmain"}
    assert set(memory(make_params(*other, "loss.r1_gamma=0.0"), 3, 4).phases) == {"Gmain", "Dmain", "Dreg"}


def test_augmentation_without_a_p_needs_memory_too(make_params: Make) -> None:
    none, color = (
        memory(make_params(f"augment.mode={mode}", "augment.diffaugment=[color]"), 3, 4).phases["Dreg"]
        for mode in ("none", "diffaugment")
    )
    assert color > none


@pytest.mark.parametrize(
    ("overrides", "used"),
    [
        (["cluster.use_gpu=false", "train.kernels=auto"], "stock"),
        (["cluster.use_gpu=true", "train.kernels=auto"], "auto"),
        (["cluster.use_gpu=true", "train.kernels=stock"], "stock"),
    ],
)
def test_the_operations_that_are_counted_are_those_of_the_device_that_is_planned_for(
    overrides: list[str], used: str, make_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[str] = []
    within: list[str] = []

    @contextmanager
    def using(mode: str) -> Iterator[None]:
        modes.append(mode)
        yield
        modes.pop()

    def counting(step: Callable[[], object], weights: set[int]) -> int:
        within.append(modes[-1])
        return kept_bytes(step, weights)

    monkeypatch.setattr(kernels, "using", using)
    monkeypatch.setattr("pipelines.plan.cost.memory.kept_bytes", counting)
    memory(make_params(*overrides), 3, 4)
    assert within == [used] * 4
    assert modes == []


@pytest.mark.parametrize(("phases", "largest"), [({"a": 1, "b": 3}, "b"), ({"a": 4, "b": 3}, "a")])
def test_the_largest_phase_decides(phases: dict[str, int], largest: str) -> None:
    need = Memory(1, 2, phases)
    assert (need.largest_phase, need.activations) == (largest, max(phases.values()))
