"""stylegan.state: a fresh state, the moving average of the generator, the position of p and of the seeds."""

from collections.abc import Callable

import pytest
import torch

from pipelines.params import Params
from stylegan.config import ConfigError
from stylegan.state import TrainState, creation_seed, seed_at

Make = Callable[..., Params]


def create(params: Params) -> TrainState:
    return TrainState.create(params, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))


def test_seed_is_a_function_of_run_position_phase_and_micro_batch() -> None:
    assert seed_at(1, 2, 3, 4) == seed_at(1, 2, 3, 4)
    seeds = {
        seed_at(seed, nimg, phase, micro_batch)
        for seed in range(4) for nimg in range(0, 64, 4) for phase in range(4) for micro_batch in range(4)
    }  # fmt: skip
    assert len(seeds) == 1024
    assert all(0 <= seed < 2**63 for seed in seeds)  # what torch.manual_seed takes


def test_fresh_states_of_one_seed_are_equal_and_of_two_seeds_differ(make_params: Make) -> None:
    first, again, other = (create(make_params(f"train.seed={seed}")) for seed in (0, 0, 1))
    for name in ("G", "D"):
        equal = [
            torch.equal(a, b)
            for a, b in zip(getattr(first, name).parameters(), getattr(again, name).parameters(), strict=True)
        ]
        assert all(equal)
    assert not torch.equal(*(next(state.G.parameters()) for state in (first, other)))


def test_first_weights_are_not_drawn_from_the_stream_of_the_first_step(make_params: Make) -> None:
    """NumPy pads short entropies with zeros, so a creation seed made of fewer numbers would be that of step 0."""
    creation = {creation_seed(seed) for seed in range(20)}
    steps = {seed_at(seed, nimg, 0, number) for seed in range(20) for number in range(3) for nimg in (0, 1, 4, 2**32)}
    assert len(creation) == 20
    assert not creation & steps
    const = create(make_params()).G.synthesis.b4.const.flatten()  # the first weights to be drawn
    torch.manual_seed(seed_at(0, 0, 0, 0))
    assert not torch.equal(const, torch.randn(const.shape))


def test_fresh_state(make_params: Make) -> None:
    state = create(make_params())
    assert all(torch.equal(a, b) for a, b in zip(state.G.parameters(), state.G_ema.parameters(), strict=True))
    assert not state.G_ema.training
    assert not any(p.requires_grad for net in (state.G, state.D, state.G_ema) for p in net.parameters())
    assert (state.cur_nimg, state.batch_idx, state.pl_mean.item()) == (0, 0, 0)
    assert state.sums.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("mode", "p"), [("none", 0.0), ("diffaugment", 0.0), ("fixed", 0.3), ("ada", 0.3), ("ada_rv", 0.3)]
)
def test_p_starts_at_its_parameter_unless_augmentation_is_off(mode: str, p: float, make_params: Make) -> None:
    assert create(make_params(f"augment.mode={mode}", "augment.p=0.3")).p == p


def test_lazy_regularisation_rescales_adam_to_the_same_horizon(make_params: Make) -> None:
    state = create(
        make_params(
            "train.g_lr=0.0025", "train.d_lr=0.002", "train.adam_betas=[0.5, 0.99]", "train.adam_eps=1.0e-7",
            "loss.g_reg_interval=4", "loss.d_reg_interval=16",
        )
    )  # fmt: skip
    for optimizer, ratio, lr in ((state.opt_g, 4 / 5, 0.0025), (state.opt_d, 16 / 17, 0.002)):
        (group,) = optimizer.param_groups
        assert group["lr"] == pytest.approx(lr * ratio, rel=1e-12)
        assert group["betas"] == pytest.approx((0.5**ratio, 0.99**ratio), rel=1e-12)
        assert group["eps"] == 1e-7
    # The published values.
    assert state.opt_g.param_groups[0]["lr"] == pytest.approx(0.002)
    assert state.opt_g.param_groups[0]["betas"][1] == pytest.approx(0.991992, abs=1e-6)


def test_regularisation_that_is_not_lazy_rescales_nothing(make_params: Make) -> None:
    state = create(
        make_params("loss.g_reg_interval=1", "loss.d_reg_interval=1", "train.g_lr=0.002", "train.d_lr=0.003")
    )
    for optimizer, lr in ((state.opt_g, 0.002), (state.opt_d, 0.003)):
        (group,) = optimizer.param_groups
        assert (group["lr"], group["betas"]) == (lr, (0.0, 0.99))


def with_constant_weights(state: TrainState) -> TrainState:
    """G is 1 everywhere and its average 0."""
    for param in state.G.parameters():
        param.fill_(1)
    for param in state.G_ema.parameters():
        param.zero_()
    return state


def averages(state: TrainState) -> list[float]:
    return [value for param in state.G_ema.parameters() for value in (param.min().item(), param.max().item())]


def test_half_of_the_average_is_renewed_in_ema_kimg(make_params: Make) -> None:
    state = with_constant_weights(create(make_params("train.ema_kimg=0.04", "train.ema_rampup=null")))
    for _ in range(10):  # steps of 4 images
        state.advance()
    assert averages(state) == pytest.approx([0.5] * len(averages(state)), abs=1e-6)
    for _ in range(10):
        state.advance()
    assert averages(state) == pytest.approx([0.75] * len(averages(state)), abs=1e-6)


def test_ramp_up_keeps_the_half_life_below_a_fraction_of_the_images_seen(make_params: Make) -> None:
    state = with_constant_weights(create(make_params("train.ema_kimg=1000.0", "train.ema_rampup=0.05")))
    state.cur_nimg = 800  # half-life 40
    for _ in range(3):
        state.cur_nimg = 800
        state.advance()
    assert averages(state) == pytest.approx([1 - 0.5 ** (12 / 40)] * len(averages(state)), abs=1e-6)


def test_average_begins_as_the_generator_after_the_first_step(make_params: Make) -> None:
    state = with_constant_weights(create(make_params("train.ema_rampup=0.05")))
    state.advance()
    assert set(averages(state)) == {1.0}


def test_buffers_of_the_average_are_copied(make_params: Make) -> None:
    state = create(make_params("train.ema_rampup=null"))
    state.G.mapping.w_avg.fill_(3)
    state.advance()
    assert torch.equal(state.G_ema.mapping.w_avg, torch.full((8,), 3.0))


def test_position_moves_by_a_batch(make_params: Make) -> None:
    state = create(make_params("train.batch_size=8", "train.batch_gpu=2"))
    state.advance()
    assert (state.cur_nimg, state.batch_idx) == (8, 1)


def with_signs(state: TrainState, total: float, count: float) -> TrainState:
    state.sums.copy_(torch.tensor([total, count]))
    return state


ADA = ("augment.mode=ada", "augment.p=0.5", "augment.ada_interval=2", "augment.ada_kimg=0.08", "augment.ada_target=0.6")


@pytest.mark.parametrize(("total", "p"), [(42, 0.6), (30, 0.4), (36, 0.5)])
def test_p_moves_every_ada_interval_towards_the_target(total: float, p: float, make_params: Make) -> None:
    state = with_signs(create(make_params(*ADA)), total, 60)
    state.advance()
    assert state.p == 0.5
    assert state.sums.tolist() == [total, 60]
    state.advance()  # 2 batches of 4 images out of 80
    assert state.p == pytest.approx(p)
    assert state.sums.tolist() == [0, 0]


def test_p_moves_one_unit_in_ada_kimg_of_images(make_params: Make) -> None:
    state = create(make_params(*ADA, "augment.p=0.0", "augment.p_max=1.0"))
    while state.cur_nimg < 80:
        with_signs(state, 64, 64).advance()
    assert state.p == pytest.approx(1)


def test_p_stays_between_zero_and_p_max(make_params: Make) -> None:
    state = create(make_params(*ADA, "augment.p_max=0.55"))
    for total, p in ((64, 0.55), (-64, 0.0)):
        for _ in range(20):
            with_signs(state, total, 64).advance()
        assert state.p == p


RV = (*ADA, "augment.mode=ada_rv", "augment.ada_target=0.5")


@pytest.mark.parametrize(
    ("holdout", "p"), [(1.75, 0.4), (0.25, 0.6), (1.0, 0.5)]
)  # fmt: skip
def test_p_rises_when_held_out_logits_fall_towards_generated_ones(holdout: float, p: float, make_params: Make) -> None:
    state = create(make_params(*RV))
    for _ in range(2):
        assert state.p == 0.5
        for source, logit in (("train", 2.0), ("holdout", holdout), ("gen", 0.0)):
            state.observe(source, torch.tensor([[logit - 1], [logit + 1]]))
        state.advance()
    assert state.p == pytest.approx(p)
    assert not state.sums.any()


def test_sums_of_logits_do_not_depend_on_the_order(make_params: Make) -> None:
    logits = torch.randn(3, 20, 1) * torch.logspace(-8, 4, 20)[:, None]  # more digits than a float64 has
    sums = []
    for order in (range(20), reversed(range(20))):
        state = create(make_params(*RV))
        for number in order:
            for source, values in zip(("train", "holdout", "gen"), logits, strict=True):
                state.observe(source, values[number : number + 1])
        sums.append(state.sums)
    assert torch.equal(*sums)
    assert sums[0][:, 1].tolist() == [20, 20, 20]


def test_fixed_p_is_fixed(make_params: Make) -> None:
    state = with_signs(create(make_params(*ADA, "augment.mode=fixed")), 64, 64)
    state.advance()
    state.advance()
    assert state.p == 0.5


def frozen(state: TrainState) -> set[str]:
    """Layers that no optimiser holds"""
    learning = {p for o in (state.opt_g, state.opt_d) for p in o.param_groups[0]["params"]}
    nets = {"G": state.G, "D": state.D}
    names = [(f"{net}.{name}", p) for net, module in nets.items() for name, p in module.named_parameters()]
    return {".".join(name.split(".")[: 4 if name.startswith("G.s") else 3]) for name, p in names if p not in learning}


def test_nothing_is_frozen_unless_asked_for(make_params: Make) -> None:
    assert frozen(create(make_params())) == set()


@pytest.mark.parametrize(
    ("architecture", "order"),
    [
        ("resnet", "b16.fromrgb b16.conv0 b16.conv1 b16.skip b8.conv0 b8.conv1 b8.skip b4.conv b4.fc"),
        ("orig", "b16.fromrgb b16.conv0 b16.conv1 b8.conv0 b8.conv1 b4.conv b4.fc"),
        ("skip", "b16.fromrgb b16.conv0 b16.conv1 b8.fromrgb b8.conv0 b8.conv1 b4.fromrgb b4.conv b4.fc"),
    ],
)
def test_discriminator_freezes_from_the_highest_resolution(architecture: str, order: str, make_params: Make) -> None:
    layers = order.split()
    for count in range(len(layers) + 1):
        params = make_params(f"discriminator.architecture={architecture}", f"train.freeze_d={count}")
        assert frozen(create(params)) == {f"D.{layer}" for layer in layers[:count]}


@pytest.mark.parametrize(
    ("architecture", "order"),
    [
        ("skip", "b4.const b4.conv1 b4.torgb b8.conv0 b8.conv1 b8.torgb b16.conv0 b16.conv1"),
        ("orig", "b4.const b4.conv1 b8.conv0 b8.conv1 b16.conv0 b16.conv1"),
        ("resnet", "b4.const b4.conv1 b8.conv0 b8.conv1 b8.skip b16.conv0 b16.conv1 b16.torgb"),
    ],
)
def test_generator_freezes_from_the_lowest_resolution(architecture: str, order: str, make_params: Make) -> None:
    layers = order.split()
    for count in range(len(layers) + 1):
        params = make_params(f"generator.architecture={architecture}", f"train.freeze_g={count}")
        assert frozen(create(params)) == {f"G.synthesis.{layer}" for layer in layers[:count]}


def test_mapping_freezes_apart_from_layers(make_params: Make) -> None:
    assert frozen(create(make_params("train.freeze_mapping=true"))) == {
        "G.mapping.fc0", "G.mapping.fc1"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "train.freeze_d=10",
            "train.freeze_d is 10, but found 10 layers and one at least has to learn: b16.fromrgb, b16.conv0, "
            "b16.conv1, b16.skip, b8.conv0, b8.conv1, b8.skip, b4.conv, b4.fc, b4.out. Set it to at most 9.",
        ),
        (
            "train.freeze_g=99",
            "train.freeze_g is 99, but found 9 layers and one at least has to learn: b4.const, b4.conv1, b4.torgb, "
            "b8.conv0, b8.conv1, b8.torgb, b16.conv0, b16.conv1, b16.torgb. Set it to at most 8.",
        ),
    ],
)
def test_a_network_that_cannot_learn_is_refused(override: str, expected: str, make_params: Make) -> None:
    with pytest.raises(ConfigError) as caught:
        create(make_params(override))
    assert str(caught.value) == expected
