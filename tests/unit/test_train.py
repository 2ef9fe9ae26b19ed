"""stylegan.train: phases of a step, ticks, and what stops training."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipelines.params import Params
from stylegan.augment import diffaugment
from stylegan.config.sections import MultipliersConfig
from stylegan.data import ArchiveError, ImageDataset
from stylegan.loss import between, gradient_penalty, path_length_penalty, r1_penalty
from stylegan.networks import Generator
from stylegan.state import TrainState, seed_at
from stylegan.step import PHASES, NonFiniteError, Trainer
from stylegan.train import train

Make = Callable[..., Params]
REAL = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
# Only what a test asks for: every step all losses, no randomness beyond latents.
PLAIN = (
    "augment.mode=none", "loss.style_mixing_prob=0.0", "loss.g_reg_interval=1", "loss.d_reg_interval=1",
)  # fmt: skip


def always(transform: str) -> list[str]:
    """Overrides that apply one transform to every image, and no other."""
    multipliers = [f"augment.multipliers.{name}={int(name == transform)}" for name in MultipliersConfig.model_fields]
    return [*multipliers, "augment.mode=fixed", "augment.p=1.0", "augment.p_max=1.0"]


def create(params: Params, c_dim: int = 0) -> TrainState:
    return TrainState.create(params, img_resolution=16, img_channels=3, c_dim=c_dim, device=torch.device("cpu"))


def trainer(params: Params) -> Trainer:
    return Trainer(create(params), draw_c=lambda n: torch.zeros(n, 0))


def step(trainer: Trainer) -> dict[str, float]:
    trainer.step(REAL, torch.zeros(4, 0))
    return trainer.stats.pop_means()


def dataset_of(archive: Path, use_labels: bool = False) -> ImageDataset:
    return ImageDataset(archive, use_labels=use_labels, xflip=False, split="train", max_images=None)


def weights(state: TrainState) -> list[torch.Tensor]:
    return [tensor.clone() for net in (state.G, state.D, state.G_ema) for tensor in net.state_dict().values()]


def test_regularisation_is_lazy_and_begins_at_once(make_params: Make) -> None:
    lazy = trainer(make_params("augment.mode=none", "loss.g_reg_interval=2", "loss.d_reg_interval=3"))
    seen = [{name.removeprefix("grad_norm/") for name in step(lazy) if name.startswith("grad_norm/")} for _ in range(5)]
    main = {"Gmain", "Dmain"}
    assert seen == [main | {"Greg", "Dreg"}, main, main | {"Greg"}, main | {"Dreg"}, main | {"Greg"}]


def test_an_interval_of_1_makes_one_adam_step_on_the_sum_of_the_losses(make_params: Make) -> None:
    """Computed here by hand; an adam_eps that is no small number keeps signs of small gradients from deciding."""
    params = make_params(
        *PLAIN, "generator.use_noise=false", "loss.pl_weight=2", "loss.r1_gamma=1.0", "train.adam_eps=0.1",
        "train.adam_betas=[0.5, 0.9]",
    )  # fmt: skip
    net, hand = trainer(params), create(params)
    stats = step(net)
    assert {name for name in stats if "grad_norm" in name} == {"grad_norm/Gmain", "grad_norm/Dmain"}
    assert {"loss/pl_penalty", "loss/r1_penalty"} <= stats.keys()

    G, D = hand.G, hand.D
    draws = [seed_at(0, 0, phase, 0) for phase in range(len(PHASES))]
    torch.manual_seed(draws[0])
    G.requires_grad_(True)
    first = torch.nn.functional.softplus(-D(G(torch.randn(4, 8)))).mean()
    torch.manual_seed(draws[1])
    ws = G.mapping(torch.randn(2, 8))
    torch.rand([])  # whether styles are mixed
    penalty, _ = path_length_penalty(G.synthesis(ws), ws, torch.zeros([]), params.loss.pl_decay)
    adam = torch.optim.Adam(G.parameters(), lr=0.0025, betas=(0.5, 0.9), eps=0.1)
    (first + 2 * penalty.mean()).backward()
    adam.step()

    D.requires_grad_(True)
    real = REAL.clone().requires_grad_()
    torch.manual_seed(draws[2])
    gen_logits, real_logits = D(G(torch.randn(4, 8)).detach()), D(real)
    loss = torch.nn.functional.softplus(gen_logits).mean() + torch.nn.functional.softplus(-real_logits).mean()
    adam = torch.optim.Adam(D.parameters(), lr=0.0025, betas=(0.5, 0.9), eps=0.1)
    (loss + 0.5 * r1_penalty(real_logits, real).mean()).backward()
    adam.step()

    for name in ("G", "D"):
        fresh = dict(getattr(create(params), name).named_parameters())
        expected = dict(getattr(hand, name).named_parameters())
        for key, got in getattr(net.state, name).named_parameters():
            moved = expected[key].detach() - fresh[key]
            torch.testing.assert_close(got - fresh[key], moved, rtol=1e-3, atol=1e-6)  # fp32, a difference of weights
    assert {moments["step"].item() for o in (net.state.opt_g, net.state.opt_d) for moments in o.state.values()} == {1}


def test_a_phase_that_is_not_lazy_fails_by_the_name_of_its_step(make_params: Make) -> None:
    net = trainer(make_params("augment.mode=none", "loss.d_reg_interval=1", "loss.r1_gamma=1.0e+38"))
    net.step(REAL, torch.zeros(4, 0))
    with pytest.raises(NonFiniteError, match="phase Dmain"):
        net.check_finite()


def test_weight_0_turns_a_regularisation_off(make_params: Make) -> None:
    stats = step(trainer(make_params(*PLAIN, "loss.pl_weight=0.0", "loss.r1_gamma=0.0")))
    assert not {"grad_norm/Greg", "grad_norm/Dreg"} & set(stats)


def test_generator_phases_change_g_alone_and_discriminator_phases_d_alone(make_params: Make) -> None:
    net = trainer(make_params(*PLAIN))
    for phase, changes in (
        (net.update_g, "G"),
        (net.regularize_g, "G"),
        (lambda: net.update_d(REAL, torch.zeros(4, 0)), "D"),
        (lambda: net.regularize_d(REAL, torch.zeros(4, 0)), "D"),
    ):
        before = {name: [p.clone() for p in getattr(net.state, name).parameters()] for name in ("G", "D")}
        phase()
        changed = {
            name
            for name, params in before.items()
            if not all(map(torch.equal, params, getattr(net.state, name).parameters()))
        }
        assert changed == {changes}
        assert not any(p.requires_grad for name in ("G", "D") for p in getattr(net.state, name).parameters())


@pytest.mark.parametrize(("interval", "gamma"), [(1, 2.0), (4, 2.0), (1, 6.0)])
def test_r1_is_weighted_by_half_of_gamma_and_the_interval(interval: int, gamma: float, make_params: Make) -> None:
    params = make_params("augment.mode=none", f"loss.d_reg_interval={interval}", f"loss.r1_gamma={gamma}")
    net = trainer(params)
    img = REAL.clone().requires_grad_()
    net.state.D.requires_grad_(True)
    loss = r1_penalty(net.state.D(img, torch.zeros(4, 0)), img).mean() * (gamma / 2 * interval)
    grads = torch.autograd.grad(loss, list(net.state.D.parameters()), allow_unused=True)
    norm = torch.stack([grad.norm() for grad in grads if grad is not None]).norm()
    net.regularize_d(REAL, torch.zeros(4, 0))
    assert net.stats.pop_means()["grad_norm/Dreg"] == pytest.approx(norm.item(), rel=1e-5)  # fp32


def test_r1_measures_the_gradient_at_the_image_before_augmentation(make_params: Make) -> None:
    params = make_params(*PLAIN, *always("contrast"))
    net = trainer(params)
    net.regularize_d(REAL, torch.zeros(4, 0))
    measured = net.stats.pop_means()["loss/r1_penalty"]

    img = REAL.clone().requires_grad_()
    state = create(params)
    torch.manual_seed(seed_at(params.train.seed, 0, PHASES.index("Dreg"), 0))
    augmented = net.augment(img, 1.0)
    expected = r1_penalty(state.D(augmented, torch.zeros(4, 0)), img).mean()
    assert measured == pytest.approx(expected.item(), rel=1e-5)  # fp32
    after = augmented.detach().requires_grad_()
    assert measured != pytest.approx(r1_penalty(state.D(after, torch.zeros(4, 0)), after).mean().item(), rel=0.01)


GP = ("loss.d_regularizer=gp", "loss.r1_gamma=0.0")


@pytest.mark.parametrize(("weights", "runs"), [(["loss.gp_weight=0.0", "loss.r1_gamma=5.0"], False), ([], True)])
def test_the_regulariser_that_is_not_chosen_has_no_weight(weights: list[str], runs: bool, make_params: Make) -> None:
    stats = step(trainer(make_params(*PLAIN, *GP, *weights, "loss.d_reg_interval=2")))
    assert ("grad_norm/Dreg" in stats) == ("loss/gp_penalty" in stats) == runs
    assert "loss/r1_penalty" not in stats


@pytest.mark.parametrize(("interval", "weight"), [(1, 10.0), (4, 10.0), (1, 3.0)])
def test_gradient_penalty_is_that_between_real_and_generated_images_before_augmentation(
    interval: int, weight: float, make_params: Make
) -> None:
    overrides = (f"loss.d_reg_interval={interval}", f"loss.gp_weight={weight}")
    net = trainer(make_params(*PLAIN, *GP, *always("contrast"), *overrides))
    state = net.state
    torch.manual_seed(seed_at(net.config.train.seed, 0, PHASES.index("Dreg"), 0))
    gen_img = state.G.synthesis(state.G.mapping(torch.randn(4, 8), torch.zeros(4, 0)))
    img = between(REAL, gen_img).requires_grad_()
    state.D.requires_grad_(True)
    penalty = gradient_penalty(state.D(net.augment(img, 1.0), torch.zeros(4, 0)), img).mean()
    grads = torch.autograd.grad(penalty * weight * interval, list(state.D.parameters()), allow_unused=True)
    norm = torch.stack([grad.norm() for grad in grads if grad is not None]).norm()

    net.regularize_d(REAL, torch.zeros(4, 0))
    stats = net.stats.pop_means()
    assert stats["loss/gp_penalty"] == pytest.approx(penalty.item(), rel=1e-5)  # fp32
    assert stats["grad_norm/Dreg"] == pytest.approx(norm.item(), rel=1e-5)
    assert not net.state.sums.any()  # images that are neither real nor generated do not steer p


def test_wgan_gp_makes_scores_the_losses(make_params: Make) -> None:
    net = trainer(make_params(*PLAIN, "loss.adversarial=wgan_gp", "loss.drift_weight=0.0"))
    net.update_d(REAL, torch.zeros(4, 0))
    stats = net.stats.pop_means()
    assert stats["loss/D"] == pytest.approx(stats["logits/gen"] - stats["logits/real"], rel=1e-5)  # fp32
    drifting = trainer(make_params(*PLAIN, "loss.adversarial=wgan_gp", "loss.drift_weight=1000.0"))
    drifting.update_d(REAL, torch.zeros(4, 0))
    assert drifting.stats.pop_means()["loss/D"] > stats["loss/D"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss.adversarial=wgan_gp", "loss.d_regularizer=gp", "augment.mode=none"],
        ["loss.adversarial=wgan_gp", "loss.d_regularizer=gp", "augment.mode=ada_rv"],
        ["augment.mode=ada_rv", "augment.p=0.5", "augment.ada_interval=2"],
        ["augment.mode=diffaugment"],
        ["augment.mode=fixed", "augment.p=0.5", "loss.d_regularizer=gp"],
    ],
)
def test_every_loss_and_augmentation_trains(overrides: list[str], tiny_archive: Path, make_params: Make) -> None:
    for tick in train(create(make_params("loss.d_reg_interval=2", *overrides)), dataset_of(tiny_archive)):
        assert all(torch.tensor(value).isfinite() for value in tick.stats.values())
        has_r_v = "augment.mode=ada_rv" in overrides
        assert ("augment/r_v" in tick.stats) == ("logits/holdout" in tick.stats) == has_r_v


def test_held_out_images_are_scored_as_real_ones_and_nothing_learns_from_them(make_params: Make) -> None:
    both = [trainer(make_params(*PLAIN, "augment.mode=ada_rv", "augment.ada_interval=9")) for _ in range(2)]
    for net, held_out in zip(both, (REAL, -REAL), strict=True):
        net.step(REAL, torch.zeros(4, 0), (held_out, torch.zeros(4, 0)))
    first, second = both
    assert all(map(torch.equal, weights(first.state), weights(second.state)))
    assert first.state.sums[:, 1].tolist() == [8, 4, 4]  # real ones in two phases
    assert first.state.sums[1, 0] != second.state.sums[1, 0]
    fresh = trainer(make_params(*PLAIN, "augment.mode=ada_rv"))
    fresh.validate_d(REAL, torch.zeros(4, 0))
    assert fresh.stats.pop_means()["logits/holdout"] == pytest.approx(
        fresh.discriminate(REAL, torch.zeros(4, 0)).mean().item(), rel=1e-5  # fp32
    )  # fmt: skip


def test_r_v_of_a_tick_is_that_of_its_mean_scores(tiny_archive: Path, make_params: Make) -> None:
    for tick in train(create(make_params("augment.mode=ada_rv")), dataset_of(tiny_archive)):
        real, holdout, gen = (tick.stats[f"logits/{name}"] for name in ("real", "holdout", "gen"))
        assert tick.stats["augment/r_v"] == (real - holdout) / (real - gen)


def test_discriminator_sees_every_image_after_diffaugment(make_params: Make) -> None:
    net = trainer(make_params(*PLAIN, "augment.mode=diffaugment", "augment.diffaugment=[translation, cutout]"))
    net.regularize_d(REAL, torch.zeros(4, 0))
    measured = net.stats.pop_means()["loss/r1_penalty"]
    img, state = REAL.clone().requires_grad_(), create(make_params(*PLAIN))
    torch.manual_seed(seed_at(net.config.train.seed, 0, PHASES.index("Dreg"), 0))
    augmented = diffaugment(img, ["translation", "cutout"])
    expected = r1_penalty(state.D(augmented, torch.zeros(4, 0)), img).mean()
    assert measured == pytest.approx(expected.item(), rel=1e-5)  # fp32


@pytest.mark.parametrize("phase", ["update_g", "update_d"])
def test_discriminator_sees_augmented_images_only(phase: str, make_params: Make) -> None:
    net = trainer(make_params(*PLAIN, *always("cutout")))
    seen: list[torch.Tensor] = []
    net.state.D.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    net.update_g() if phase == "update_g" else net.update_d(REAL, torch.zeros(4, 0))
    assert len(seen) == (1 if phase == "update_g" else 2)
    assert all((img == 0).all(dim=1).flatten(1).any(dim=1).all() for img in seen)  # a hole in every image


def test_signs_and_r_t_count_real_images_of_both_discriminator_phases(make_params: Make) -> None:
    net = trainer(make_params(*PLAIN))
    net.update_d(REAL, torch.zeros(4, 0))
    net.regularize_d(REAL, torch.zeros(4, 0))
    assert net.state.sums[1] == 8
    assert net.stats.pop_means()["augment/r_t"] == pytest.approx(net.state.sums[0].item() / 8)


def test_mean_style_follows_every_pass_through_the_mapping_but_the_mixing_partners(make_params: Make) -> None:
    net = trainer(make_params(*PLAIN, "generator.w_avg_beta=0.5", "loss.style_mixing_prob=1.0"))
    torch.manual_seed(seed_at(net.config.train.seed, 0, PHASES.index("Dmain"), 0))
    z = torch.randn(4, 8)
    expected = net.state.G.mapping(z, torch.zeros(4, 0))[:, 0].mean(dim=0) * 0.5
    net.update_d(REAL, torch.zeros(4, 0))
    torch.testing.assert_close(net.state.G.mapping.w_avg, expected)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_styles_are_mixed_with_their_probability(probability: float, make_params: Make) -> None:
    net = trainer(make_params(*PLAIN, f"loss.style_mixing_prob={probability}"))
    cuts = set()
    for _ in range(40):
        ws = net.generate(2)[2]
        same = (ws == ws[:, :1]).all(dim=2).all(dim=0)
        cuts.add(int(same.sum()))
    # One cut for the micro-batch, from after the first layer to before the last.
    assert cuts == ({6} if probability == 0 else {1, 2, 3, 4, 5})


def test_styles_are_cut_where_a_growing_generator_has_layers(make_params: Make) -> None:
    architectures = ("generator.architecture=orig", "discriminator.architecture=orig", "train.grow_from=4")
    net = trainer(make_params(*PLAIN, *architectures, "loss.style_mixing_prob=1.0", "train.total_kimg=4000"))
    cuts = {int((ws == ws[:, :1]).all(dim=2).all(dim=0).sum()) for ws in (net.generate(2)[2] for _ in range(20))}
    assert cuts == {1}  # two layers at 4 pixels


def test_path_length_sees_a_fraction_of_the_micro_batch_and_moves_its_mean(make_params: Make) -> None:
    net = trainer(make_params(*PLAIN, "loss.pl_batch_shrink=4"))
    sizes: list[int] = []
    net.state.G.synthesis.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    net.regularize_g()
    assert sizes == [1]
    assert net.state.pl_mean > 0
    assert not net.state.pl_mean.requires_grad


def test_labels_of_generated_images_are_drawn_from_the_data(tiny_archive: Path, make_params: Make) -> None:
    params = make_params("prepare.labels=folders", "data.use_labels=true", "augment.mode=none", "train.total_kimg=0.02")
    dataset, state = dataset_of(tiny_archive, use_labels=True), create(params, c_dim=2)
    drawn: list[torch.Tensor] = []
    state.G.mapping.register_forward_pre_hook(lambda _, inputs: drawn.append(inputs[1]))
    list(train(state, dataset))
    classes = torch.cat(drawn)
    assert (classes.sum(dim=1) == 1).all()
    assert (classes.sum(dim=0) > 0).all()


def test_ticks_come_every_tick_kimg_and_at_the_end(tiny_archive: Path, make_params: Make) -> None:
    params = make_params("train.total_kimg=0.028", "train.tick_kimg=0.008", "train.snapshot_ticks=2")
    ticks = list(train(create(params), dataset_of(tiny_archive)))
    assert [(tick.cur_nimg, tick.is_snapshot, tick.is_last) for tick in ticks] == [
        (8, False, False),
        (16, True, False),
        (24, False, False),
        (28, True, True),
    ]


def test_a_tick_below_a_step_is_a_step_and_snapshots_keep_their_distance(tiny_archive: Path, make_params: Make) -> None:
    params = make_params("train.total_kimg=0.028", "train.tick_kimg=0.001", "train.snapshot_ticks=10")
    ticks = list(train(create(params), dataset_of(tiny_archive)))
    assert [tick.cur_nimg for tick in ticks] == [4, 8, 12, 16, 20, 24, 28]
    # Every 10 images, so with the first step that reaches them.
    assert [tick.cur_nimg for tick in ticks if tick.is_snapshot] == [12, 20, 28]


def test_tick_reports_means_of_what_happened_since_the_last(tiny_archive: Path, make_params: Make) -> None:
    params = make_params("train.total_kimg=0.016", "loss.g_reg_interval=4", "loss.d_reg_interval=4")
    first, second = train(create(params), dataset_of(tiny_archive))
    always = {
        "loss/G", "loss/D", "logits/real", "logits/gen", "augment/r_t", "augment/p", "grad_norm/Gmain",
        "grad_norm/Dmain",
    }  # fmt: skip
    assert set(first.stats) == always | {"loss/pl_penalty", "loss/r1_penalty", "grad_norm/Greg", "grad_norm/Dreg"}
    assert set(second.stats) == always


@pytest.mark.parametrize("mode", ["ada", "ada_rv"])
@pytest.mark.parametrize("end", ["last tick", "forgotten", "error"])
def test_no_thread_outlives_training(end: str, mode: str, tiny_archive: Path, make_params: Make) -> None:
    state = create(make_params(f"augment.mode={mode}"))
    ticks = train(state, dataset_of(tiny_archive))
    next(ticks)
    assert any(thread.name.startswith("images") for thread in threading.enumerate())
    if end == "last tick":
        list(ticks)
    elif end == "error":
        poison(state.G)
        with pytest.raises(NonFiniteError):
            next(ticks)
    else:
        del ticks
    assert not any(thread.name.startswith("images") for thread in threading.enumerate())


def test_a_damaged_picture_stops_training_by_its_name(tiny_archive: Path, tmp_path: Path, make_params: Make) -> None:
    content = tiny_archive.read_bytes()
    at = content.index(b"00000/img00000007.png") + 100  # of the picture, behind its header
    (tmp_path / "a.zip").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(ArchiveError, match=r"a\.zip: 00000/img00000007\.png: cannot be decoded \(Bad CRC-32"):
        list(train(create(make_params("train.total_kimg=0.04")), dataset_of(tmp_path / "a.zip")))


def test_finished_state_trains_no_further(tiny_archive: Path, make_params: Make) -> None:
    state = create(make_params())
    state.cur_nimg = 32
    assert list(train(state, dataset_of(tiny_archive))) == []


def test_a_step_does_not_depend_on_random_numbers_drawn_outside(tiny_archive: Path, make_params: Make) -> None:
    """A caller may draw pictures between ticks: randomness is a function of the position."""
    states = []
    for disturb in (False, True):
        state = create(make_params("augment.p=0.5"))
        for _ in train(state, dataset_of(tiny_archive)):
            if disturb:
                torch.randn(17)
        states.append(weights(state))
    assert all(map(torch.equal, *states))


def poison(G: Generator) -> None:
    next(G.synthesis.parameters()).fill_(torch.nan)


@pytest.mark.parametrize(
    ("overrides", "phase", "poisoned"),
    [
        ((), "Gmain", "G"),
        (("loss.pl_weight=1.0e+38",), "Greg", ""),
        ((), "Dmain", "data"),
        (("loss.r1_gamma=1.0e+38",), "Dreg", ""),
    ],
)
def test_training_stops_at_the_first_gradients_that_are_not_finite(
    overrides: tuple[str, ...], phase: str, poisoned: str, make_params: Make
) -> None:
    net = trainer(make_params("augment.mode=none", "loss.g_reg_interval=2", "loss.d_reg_interval=2", *overrides))
    if "reg" not in phase:
        for _ in range(2):
            step(net)
        net.check_finite()
    if poisoned == "G":
        poison(net.state.G)
    net.step(REAL * torch.inf if poisoned == "data" else REAL, torch.zeros(4, 0))
    step(net)  # later phases fail too; the first is named
    with pytest.raises(NonFiniteError) as caught:
        net.check_finite()
    kimg = "0.000" if "reg" in phase else "0.008"
    assert str(caught.value) == f"the gradients of phase {phase} are not finite at kimg {kimg}."


def test_no_tick_is_yielded_from_a_spoilt_state(tiny_archive: Path, make_params: Make) -> None:
    state = create(make_params("augment.mode=none"))
    ticks = train(state, dataset_of(tiny_archive))
    assert next(ticks).cur_nimg == 8
    poison(state.G)
    with pytest.raises(NonFiniteError, match=r"phase Gmain are not finite at kimg 0\.008"):
        next(ticks)


FROZEN = ("train.freeze_d=3", "train.freeze_g=4", "train.freeze_mapping=true")


def learning(state: TrainState) -> dict[str, torch.nn.Parameter]:
    """Parameters that an optimiser holds, by name"""
    held = {p for o in (state.opt_g, state.opt_d) for p in o.param_groups[0]["params"]}
    nets = {"G": state.G, "D": state.D}
    return {f"{net}.{name}": p for net, m in nets.items() for name, p in m.named_parameters() if p in held}


def test_frozen_parameters_do_not_change_and_all_others_do(make_params: Make) -> None:
    net = trainer(make_params(*PLAIN, *FROZEN, "loss.g_reg_interval=2"))
    parameters = {f"{n}.{name}": p for n in "GD" for name, p in getattr(net.state, n).named_parameters()}
    before = {name: p.clone() for name, p in parameters.items()}
    stats = [step(net) for _ in range(2)]
    net.check_finite()
    assert {name for name, p in parameters.items() if not torch.equal(p, before[name])} == learning(net.state).keys()
    assert len(learning(net.state)) < len(parameters)
    # Path length needs a gradient along styles that nothing learns from.
    assert stats[0]["loss/pl_penalty"] > 0
    assert stats[0]["grad_norm/Greg"] > 0


def test_frozen_parameters_get_no_gradient_and_no_moments(make_params: Make) -> None:
    net = trainer(make_params(*PLAIN, *FROZEN))
    step(net)
    expected = set(learning(net.state).values())
    held = {p for o in (net.state.opt_g, net.state.opt_d) for p in o.state}
    assert held == expected
    assert {p for n in "GD" for p in getattr(net.state, n).parameters() if p.grad is not None} <= expected


def test_no_work_is_spent_on_frozen_layers_below_those_that_learn(make_params: Make) -> None:
    net = trainer(make_params(*PLAIN, *FROZEN))
    seen: list[bool] = []
    net.state.D.b16.conv0.register_forward_hook(lambda *args: seen.append(args[2].requires_grad))
    net.state.G.synthesis.b8.conv0.register_forward_hook(lambda *args: seen.append(args[2].requires_grad))
    net.update_d(REAL, torch.zeros(4, 0))
    assert seen == [False, False, False]  # G, D at generated and at real images
    seen.clear()
    net.update_g()
    assert seen == [False, True]  # G, and D, through which the gradient of the image goes


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_trains_and_keeps_weights_in_full(precision: str, make_params: Make) -> None:
    clamps = ("generator.conv_clamp=256", "discriminator.conv_clamp=256")
    net = trainer(make_params(*PLAIN, *clamps, f"train.precision={precision}"))
    stats = step(net)
    net.check_finite()
    assert all(p.dtype == torch.float32 for n in "GD" for p in getattr(net.state, n).parameters())
    reference = step(trainer(make_params(*PLAIN, *clamps)))
    # A first step from equal weights: 8 bits of mantissa in bf16.
    assert stats["loss/D"] == pytest.approx(reference["loss/D"], rel=0.02)
    assert stats["loss/D"] != reference["loss/D"]
