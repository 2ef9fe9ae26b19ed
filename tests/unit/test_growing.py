"""stylegan.networks.growing and the networks that grow: levels, fading, what reaches the whole state and its files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipelines.params import Params
from pipelines.plan.advice import parameter_counts
from pipelines.plan.cost.memory import memory
from stylegan.checkpoint import load_checkpoint, load_generator, save_checkpoint, save_generator
from stylegan.config import ConfigError
from stylegan.config.pyramid import Resolution
from stylegan.data import ImageDataset
from stylegan.metrics.evaluation.evaluator import untrained_like
from stylegan.networks import Discriminator, Generator
from stylegan.networks.growing import at_level, enlarge, level_at, shrink
from stylegan.state import TrainState
from stylegan.step import Trainer
from stylegan.train import Tick, train

Make = Callable[..., Params]
# From 4 pixels to 16 in 32 images: 8 of each level and 8 of each transition, in steps of 4.
GROWING = (
    "generator.architecture=orig", "discriminator.architecture=orig", "train.grow_from=4",
    "train.grow_stable_kimg=0.008", "train.grow_fade_kimg=0.008", "train.total_kimg=0.04", "loss.g_reg_interval=2",
    "loss.d_reg_interval=2",
)  # fmt: skip


@pytest.mark.parametrize(
    ("cur_nimg", "level"),
    [(0, 1), (8, 1), (9, 1.25), (11, 1.75), (12, 2), (20, 2), (22, 2.5), (24, 3), (32, 3), (10**9, 3)],
)
def test_each_level_is_stable_before_the_next_fades_in(cur_nimg: int, level: float, make_params: Make) -> None:
    params = make_params(*GROWING, "train.grow_from=8", "train.grow_fade_kimg=0.004", "prepare.resolution=32")
    assert level_at(cur_nimg, params.train, 32) == level


@pytest.mark.parametrize(("img_resolution", "level"), [(16, 1), ((24, 40), 1), (64, 1)])
def test_levels_are_named_as_blocks_whatever_the_shape(
    img_resolution: Resolution, level: float, make_params: Make
) -> None:
    assert level_at(0, make_params(*GROWING, "train.grow_from=8").train, img_resolution) == level


def test_networks_that_do_not_grow_have_no_level(make_params: Make) -> None:
    assert level_at(0, make_params().train, 16) is None


def generator(make_params: Make, *overrides: str) -> Generator:
    torch.manual_seed(0)
    config = make_params(*GROWING, *overrides).generator
    return Generator(config, img_resolution=16, img_channels=3, c_dim=0, level=0.0).eval().requires_grad_(False)


def discriminator(make_params: Make, *overrides: str) -> Discriminator:
    torch.manual_seed(0)
    config = make_params(*GROWING, *overrides).discriminator
    D = Discriminator(config, img_resolution=16, img_channels=3, c_dim=0, level=0.0)
    return D.eval().requires_grad_(False)


def drawn(G: Generator, level: float) -> torch.Tensor:
    G.synthesis.level = level
    return G(torch.randn(2, 8, generator=torch.Generator().manual_seed(3)), noise_mode="const")


@pytest.mark.parametrize("style_block", ["demodulation", "adain"])
@pytest.mark.parametrize("level", [0, 1])
def test_generator_fades_from_the_enlarged_image_to_the_next(level: int, style_block: str, make_params: Make) -> None:
    G = generator(make_params, f"generator.style_block={style_block}")
    before, half, after = (drawn(G, level + alpha) for alpha in (0.0, 0.5, 1.0))
    assert before.shape == after.shape == (2, 3, 16, 16)
    for img, reached in ((before, level), (after, level + 1)):  # as many pixels as the level has, each enlarged
        missing = 2 - reached
        torch.testing.assert_close(img, enlarge(shrink(img, missing), missing))  # means of equal numbers round
    assert not torch.allclose(after, enlarge(shrink(after, 2 - level), 2 - level))
    torch.testing.assert_close(half, (before + after) / 2)
    nearly = [drawn(G, level + alpha) for alpha in (1e-6, 1 - 1e-6)]
    torch.testing.assert_close(nearly, [before, after], rtol=1e-4, atol=1e-4)  # no jump at either end


@pytest.mark.parametrize("level", [0, 1])
def test_discriminator_fades_from_the_halved_image_to_the_whole(level: int, make_params: Make) -> None:
    D, img = discriminator(make_params), torch.randn(4, 3, 16, 16)
    logits = {}
    for alpha in (0.0, 1e-6, 0.5, 1 - 1e-6, 1.0):
        D.level = level + alpha
        logits[alpha] = D(img)
    torch.testing.assert_close(logits[1e-6], logits[0.0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits[1 - 1e-6], logits[1.0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits[0.0], logits[1.0], rtol=1e-2)
    D.level = float(level)
    coarse = enlarge(shrink(img, 2 - level), 2 - level)
    torch.testing.assert_close(D(coarse), logits[0.0], rtol=1e-4, atol=1e-5)  # it sees no finer detail


def test_real_images_are_reduced_as_generated_ones_are_drawn() -> None:
    img = torch.randn(2, 3, 16, 16)
    coarse, fine = (at_level(img, level, 2) for level in (0.0, 1.0))
    torch.testing.assert_close(coarse[:, :, ::4, ::4], img.reshape(2, 3, 4, 4, 4, 4).mean(dim=(3, 5)))
    torch.testing.assert_close(at_level(img, 0.25, 2), 0.75 * coarse + 0.25 * fine)
    assert torch.equal(at_level(img, 2.0, 2), img)


def test_a_network_that_does_not_grow_has_the_tensors_it_always_had(make_params: Make) -> None:
    params = make_params("generator.architecture=orig", "discriminator.architecture=orig")
    plain = TrainState.create(params, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))
    torgb = {name for name in plain.G.state_dict() if "torgb" in name}
    assert torgb == {f"synthesis.b16.torgb.{name}" for name in ("affine.weight", "affine.bias", "weight", "bias")}
    assert {name for name in plain.D.state_dict() if "fromrgb" in name and "filter" not in name} == {
        "b16.fromrgb.weight", "b16.fromrgb.bias",
    }  # fmt: skip


class Run:
    """New objects for everything: the data set, the state, the loop."""

    def __init__(self, params: Params, archive: Path) -> None:
        self.dataset = ImageDataset(archive, use_labels=False, xflip=False, split="train", max_images=None)
        self.state = TrainState.create(params, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))
        self.loop = train(self.state, self.dataset)

    def train(self, num_ticks: int) -> list[Tick]:
        return [next(self.loop) for _ in range(num_ticks)]


@pytest.mark.parametrize("style_block", ["demodulation", "adain"])
def test_a_run_resumed_before_or_within_a_transition_equals_the_uninterrupted_one(
    style_block: str, make_params: Make, tiny_archive: Path, tmp_path: Path
) -> None:
    """Ticks of 8 images: the first ends within a transition, the second and the fourth at its end."""
    params = make_params(
        *GROWING, f"generator.style_block={style_block}", "train.grow_stable_kimg=0.004", "train.grow_fade_kimg=0.012"
    )
    straight = Run(params, tiny_archive)
    ticks, levels, saved = [], [], {}
    for index in range(5):
        ticks += straight.train(1)
        levels.append(straight.state.D.level)
        saved[index] = tmp_path / f"{index}.safetensors"
        save_checkpoint(straight.state, saved[index])
    assert levels == pytest.approx([1 / 3, 1, 1 + 1 / 3, 2, 2])
    assert all(torch.isfinite(torch.tensor([*tick.stats.values()])).all() for tick in ticks)
    for index in (0, 1):
        resumed = Run(params, tiny_archive)
        load_checkpoint(resumed.state, saved[index])
        assert resumed.state.D.level == resumed.state.G.level == resumed.state.G_ema.level == levels[index]
        assert resumed.train(4 - index) == ticks[index + 1 :]
        save_checkpoint(resumed.state, tmp_path / "resumed.safetensors")
        assert (tmp_path / "resumed.safetensors").read_bytes() == saved[4].read_bytes()


def test_discriminator_is_shown_reduced_real_images_and_enlarged_generated_ones(make_params: Make) -> None:
    state = TrainState.create(
        make_params(*GROWING, "augment.mode=none"), img_resolution=16, img_channels=3, c_dim=0,
        device=torch.device("cpu"),
    )  # fmt: skip
    state.move_to(12)  # halfway between 4 and 8 pixels
    seen: list[torch.Tensor] = []
    state.D.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    real = torch.rand(4, 3, 16, 16) * 2 - 1
    Trainer(state, draw_c=lambda n: torch.zeros(n, 0)).step(real, torch.zeros(4, 0))
    reduced = at_level(real, 0.5, 2)
    assert [torch.equal(img, reduced) for img in seen] == [False, False, True]  # for G, for D, real ones for D
    for img in seen:
        torch.testing.assert_close(img, enlarge(shrink(img, 1), 1))


def test_what_is_not_reached_has_neither_gradient_nor_moments(make_params: Make, tiny_archive: Path) -> None:
    run = Run(make_params(*GROWING), tiny_archive)
    fresh = {name: p.clone() for name, p in run.state.G.named_parameters()}
    run.train(1)  # two steps at 4 pixels
    moved = {name.split(".")[1] for name, p in run.state.G.named_parameters() if not torch.equal(p, fresh[name])}
    assert moved == {"b4", "fc0", "fc1"}
    names = {p: name for name, p in run.state.D.named_parameters()}
    assert {names[p].split(".")[0] for p in run.state.opt_d.state} == {"b4"}
    run.train(4)
    assert {names[p] for p in run.state.opt_d.state} == set(names.values())
    assert all(not torch.equal(p, fresh[name]) for name, p in run.state.G.named_parameters())


@pytest.mark.parametrize(("num_ticks", "level"), [(1, 0.5), (2, 1), (5, 2)])
def test_a_file_draws_at_the_level_that_was_reached(
    num_ticks: int, level: float, make_params: Make, tiny_archive: Path, tmp_path: Path
) -> None:
    run = Run(make_params(*GROWING, "train.grow_stable_kimg=0.004"), tiny_archive)
    run.train(num_ticks)
    assert run.state.G_ema.level == level
    save_generator(run.state.G_ema, tmp_path / "generator")
    save_checkpoint(run.state, tmp_path / "state")
    z = torch.randn(2, 8)
    expected = run.state.G_ema(z, noise_mode="const")
    for name in ("generator", "state"):
        loaded = load_generator(tmp_path / name)
        assert torch.equal(loaded(z, noise_mode="const"), expected)
        assert loaded.level == run.state.G_ema.level


def test_the_untrained_generator_of_a_run_that_grows_can_be_made_again(make_params: Make) -> None:
    state = TrainState.create(
        make_params(*GROWING), img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu")
    )
    again = untrained_like(state.G_ema, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), state.G.parameters(), strict=True))


def test_any_shape_of_labelled_images_grows_in_reduced_precision(make_params: Make) -> None:
    params = make_params(*GROWING, "train.precision=bf16", "augment.mode=fixed", "augment.p=0.5")
    state = TrainState.create(params, img_resolution=(24, 40), img_channels=1, c_dim=2, device=torch.device("cpu"))
    trainer = Trainer(state, draw_c=lambda n: torch.rand(n, 2))
    for cur_nimg in (0, 12, 28, 32):  # stable, fading, fading, whole
        state.move_to(cur_nimg)
        trainer.step(torch.rand(4, 1, 24, 40) * 2 - 1, torch.rand(4, 2))
    trainer.check_finite()
    assert state.G_ema(torch.randn(2, 8), torch.rand(2, 2)).isfinite().all()


def test_memory_and_counts_are_those_of_networks_that_grow(make_params: Make) -> None:
    params = make_params(*GROWING)
    state = TrainState.create(params, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))
    counts = tuple(sum(p.numel() for p in net.parameters()) for net in (state.G, state.D))
    need = memory(params, 3, 4)
    assert (need.g_params, need.d_params) == parameter_counts(params) == counts


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "train.grow_from=16",
            "train.grow_from is 16, but at 16 pixels networks can grow from 4, 8. Set it to one of these, or to null.",
        ),
        (
            "discriminator.architecture=resnet",
            "train.grow_from is 4, but discriminator.architecture is resnet, which cannot grow. "
            "Set discriminator.architecture to orig, or train.grow_from to null.",
        ),
        (
            "generator.architecture=skip",
            "train.grow_from is 4, but generator.architecture is skip, which cannot grow. "
            "Set generator.architecture to orig, or train.grow_from to null.",
        ),
        (
            "train.freeze_g=1",
            "train.grow_from is 4, but train.freeze_d 0 and train.freeze_g 1 freeze layers of networks that are whole. "
            "Set both to 0, or train.grow_from to null.",
        ),
        (
            "train.grow_fade_kimg=1.0",
            "train.total_kimg is 0.04, but networks that grow from 4 are whole after 2.016 kimg. "
            "Raise it, or lower train.grow_stable_kimg and train.grow_fade_kimg.",
        ),
    ],
)
def test_what_cannot_grow_is_refused(override: str, expected: str, make_params: Make) -> None:
    with pytest.raises(ConfigError) as caught:
        make_params(*GROWING, override)
    assert expected in str(caught.value)
