"""Architecture msg: images of all resolutions between generator and discriminator (Karnewar and Wang 2019)."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipelines.params import Params
from pipelines.plan.advice import parameter_counts
from pipelines.plan.cost.memory import memory
from stylegan.checkpoint import load_generator, save_generator
from stylegan.config import ConfigError
from stylegan.networks.growing import shrink
from stylegan.state import TrainState
from stylegan.step import Trainer

Make = Callable[..., Params]
MSG = (
    "generator.architecture=msg", "discriminator.architecture=msg", "augment.mode=none", "loss.g_reg_interval=2",
    "loss.d_reg_interval=2",
)  # fmt: skip
REAL = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def create(params: Params) -> TrainState:
    return TrainState.create(params, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))


def test_generator_draws_an_image_of_each_resolution_of_which_none_contains_another(make_params: Make) -> None:
    G = create(make_params(*MSG)).G
    ws = torch.randn(2, 6, 8)
    images = G.synthesis.layers(ws, noise_mode="const")
    assert [tuple(img.shape) for img in images] == [(2, 3, side, side) for side in (4, 8, 16)]
    assert torch.equal(images[-1], G.synthesis(ws, noise_mode="const"))
    G.synthesis.b4.torgb.bias.data += 1
    changed = G.synthesis.layers(ws, noise_mode="const")
    assert not torch.equal(changed[0], images[0])
    assert torch.equal(changed[1], images[1])
    assert torch.equal(changed[2], images[2])


def test_discriminator_makes_the_smaller_images_of_a_real_one_by_means_of_squares(make_params: Make) -> None:
    D = create(make_params(*MSG)).D
    img = REAL.clone().requires_grad_()
    torch.testing.assert_close(D(img), D([shrink(img, 2), shrink(img, 1), img]))
    (grad,) = torch.autograd.grad(D(img).sum(), img)
    assert (grad != 0).all()


def test_every_scale_of_the_discriminator_sends_gradients_to_its_block_of_the_generator(make_params: Make) -> None:
    state = create(make_params(*MSG))
    images = state.G.synthesis.shown(torch.randn(4, 6, 8))
    assert isinstance(images, list)
    for index, res in enumerate((4, 8, 16)):
        alone = [img.detach() for img in images]
        alone[index] = images[index].detach().requires_grad_()
        (grad,) = torch.autograd.grad(state.D(alone).sum(), alone[index])
        assert grad.abs().sum() > 0
        state.G.requires_grad_(True)
        ws = torch.randn(4, 6, 8)
        torgb = state.G.synthesis.get_parameter(f"b{res}.torgb.weight")
        (grad,) = torch.autograd.grad(state.D(state.G.synthesis.shown(ws)).sum(), torgb)
        assert grad.abs().sum() > 0


@pytest.mark.parametrize("style_block", ["demodulation", "adain"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_some_steps_move_every_weight_and_the_export_draws(
    precision: str, style_block: str, make_params: Make, tmp_path: Path
) -> None:
    state = create(make_params(*MSG, f"generator.style_block={style_block}", f"train.precision={precision}"))
    before = {f"{n}.{name}": p.clone() for n in "GD" for name, p in getattr(state, n).named_parameters()}
    trainer = Trainer(state, draw_c=lambda n: torch.zeros(n, 0))
    for _ in range(3):
        trainer.step(REAL, torch.zeros(4, 0))
    trainer.check_finite()
    after = {f"{n}.{name}": p for n in "GD" for name, p in getattr(state, n).named_parameters()}
    assert {name for name, p in after.items() if torch.equal(p, before[name])} == set()
    save_generator(state.G_ema, tmp_path / "G")
    img = load_generator(tmp_path / "G")(torch.randn(2, 8))
    assert img.shape == (2, 3, 16, 16)
    assert img.isfinite().all()


def test_memory_and_counts_are_those_of_the_pair(make_params: Make) -> None:
    params = make_params(*MSG)
    state = create(params)
    counts = tuple(sum(p.numel() for p in net.parameters()) for net in (state.G, state.D))
    need = memory(params, 3, 4)
    assert (need.g_params, need.d_params) == parameter_counts(params) == counts


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "discriminator.architecture=orig",
            "generator.architecture is msg and discriminator.architecture orig, but msg is a pair. "
            "Set both to msg, or neither.",
        ),
        (
            "augment.mode=ada",
            "augment.mode is ada, but the msg discriminator sees each image at every resolution, and augmenting all "
            "of them identically is not supported. Set augment.mode to none, or choose another architecture for "
            "both networks.",
        ),
    ],
)
def test_half_a_pair_and_augmentation_are_refused(override: str, expected: str, make_params: Make) -> None:
    with pytest.raises(ConfigError) as caught:
        make_params(*MSG, override)
    assert expected in str(caught.value)
