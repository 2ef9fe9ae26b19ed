"""Every architecture that the configuration offers takes a whole step: both losses, path length and R1, with labels."""

from collections.abc import Callable
from itertools import product

import pytest
import torch

from pipelines.params import Params
from stylegan.config.pyramid import Resolution, sides
from stylegan.state import TrainState
from stylegan.step import PHASES, Trainer

Make = Callable[..., Params]
ALL_PHASES = ("loss.g_reg_interval=2", "loss.d_reg_interval=2", "augment.mode=fixed", "augment.p=0.5")
COLOURLESS = [f"augment.multipliers.{name}=0" for name in ("brightness", "contrast", "lumaflip", "hue", "saturation")]


def step(params: Params, *, resolution: Resolution = 16, channels: int = 3, c_dim: int = 2) -> dict[str, float]:
    """Statistics of one step that ran every phase and moved every weight it had a gradient for."""
    state = TrainState.create(
        params, img_resolution=resolution, img_channels=channels, c_dim=c_dim, device=torch.device("cpu")
    )
    before = {name: p.clone() for net in ("G", "D") for name, p in getattr(state, net).named_parameters(prefix=net)}
    trainer = Trainer(state, draw_c=lambda n: torch.rand(n, c_dim))
    trainer.step(torch.rand(4, channels, *sides(resolution)) * 2 - 1, torch.rand(4, c_dim))
    trainer.check_finite()
    after = {name: p for net in ("G", "D") for name, p in getattr(state, net).named_parameters(prefix=net)}
    still = {name for name, p in after.items() if torch.equal(p, before[name])}
    assert not still, still
    return trainer.stats.pop_means()


@pytest.mark.parametrize(("G", "D"), list(product(["orig", "skip", "resnet"], repeat=2)))
def test_every_pair_of_architectures_trains(G: str, D: str, make_params: Make) -> None:
    stats = step(make_params(*ALL_PHASES, f"generator.architecture={G}", f"discriminator.architecture={D}"))
    assert {f"grad_norm/{phase}" for phase in PHASES} <= stats.keys()


@pytest.mark.parametrize("architecture", ["orig", "skip", "resnet"])
def test_style_blocks_of_stylegan_train_in_every_architecture(architecture: str, make_params: Make) -> None:
    step(make_params(*ALL_PHASES, "generator.style_block=adain", f"generator.architecture={architecture}"))


@pytest.mark.parametrize(("resolution", "channels"), [((24, 40), 3), (16, 1)])
def test_images_of_all_resolutions_train_in_any_shape(resolution: Resolution, channels: int, make_params: Make) -> None:
    pair = ("generator.architecture=msg", "discriminator.architecture=msg")
    step(make_params(*ALL_PHASES, *pair, "augment.mode=none"), resolution=resolution, channels=channels)


@pytest.mark.parametrize("depth", [1, 3, 8])
def test_every_depth_of_the_mapping_networks_trains(depth: int, make_params: Make) -> None:
    step(make_params(*ALL_PHASES, f"generator.mapping_layers={depth}", f"discriminator.mapping_layers={depth}"))


def test_no_mapping_at_all_trains(make_params: Make) -> None:
    step(make_params(*ALL_PHASES, "generator.mapping_layers=0", "discriminator.mapping_layers=0"), c_dim=0)


@pytest.mark.parametrize(("group", "num_channels"), [(1, 1), (2, 2), (4, 4), (4, 0), (32, 2)])
def test_every_grouping_of_the_minibatch_deviation_trains(group: int, num_channels: int, make_params: Make) -> None:
    overrides = [f"discriminator.mbstd_group_size={group}", f"discriminator.mbstd_num_channels={num_channels}"]
    step(make_params(*ALL_PHASES, *overrides))


@pytest.mark.parametrize("c_dim", [0, 1, 5])
def test_any_length_of_labels_trains(c_dim: int, make_params: Make) -> None:
    step(make_params(*ALL_PHASES), c_dim=c_dim)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_any_number_of_channels_trains(channels: int, make_params: Make) -> None:
    step(make_params(*ALL_PHASES, *(COLOURLESS if channels in (2, 5) else [])), channels=channels)


@pytest.mark.parametrize(
    ("resolution", "precision"),
    [((16, 24), "fp32"), ((40, 24), "fp32"), (20, "fp32"), ((8, 32), "fp32"), ((40, 24), "bf16")],
)
def test_any_shape_trains(resolution: Resolution, precision: str, make_params: Make) -> None:
    step(make_params(*ALL_PHASES, f"train.precision={precision}"), resolution=resolution)
