"""stylegan.transfer: every tensor is accounted for, and a changed number of labels changes no function unasked."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from pipelines.params import Params
from stylegan.checkpoint import Networks, load_networks, save_checkpoint, save_generator, save_networks
from stylegan.state import TrainState
from stylegan.step import Trainer
from stylegan.tensor_files import CheckpointError
from stylegan.transfer import Policy, Report, transfer

Make = Callable[..., Params]


def create(params: Params, c_dim: int = 0, resolution: int = 16, channels: int = 3) -> TrainState:
    return TrainState.create(
        params, img_resolution=resolution, img_channels=channels, c_dim=c_dim, device=torch.device("cpu")
    )


def trained(params: Params, c_dim: int = 0) -> TrainState:
    """A state whose weights, averages and p are none of a fresh one"""
    state = create(params, c_dim)
    torch.manual_seed(2)
    for net in (state.G, state.D, state.G_ema):
        for tensor in net.state_dict().values():
            tensor += 0.3 * torch.randn_like(tensor)
    state.p, state.cur_nimg = 0.25, 4000
    return state


def networks(state: TrainState) -> Networks:
    values = {
        name: {k: v.clone() for k, v in getattr(state, name).state_dict().items()} for name in ("G", "D", "G_ema")
    }
    return Networks(Path("elsewhere"), **values, augment_p=state.p, source="elsewhere")


def actions(report: Report, action: str) -> dict[str, str]:
    return {entry.name: entry.reason for entry in report.entries if entry.action == action}


def test_equal_networks_are_loaded_whole_and_nothing_else_is(make_params: Make, tmp_path: Path) -> None:
    before, after = trained(make_params()), create(make_params("train.seed=1"))
    save_checkpoint(before, tmp_path / "state.safetensors")
    report = transfer(after, load_networks(tmp_path / "state.safetensors"), "reinit")
    for name in ("G", "D", "G_ema"):
        got, want = getattr(after, name).state_dict(), getattr(before, name).state_dict()
        assert all(torch.equal(got[key], want[key]) for key in want)
    assert {entry.action for entry in report.entries} == {"loaded"}
    assert (after.cur_nimg, len(after.opt_g.state), len(after.opt_d.state)) == (0, 0, 0)
    assert (after.p, report.p) == (0.25, 0.25)
    assert list(report.lines()) == [
        "starting from training checkpoint state.safetensors at 4 kimg, with p = 0.25",
        f"G: {len(before.G.state_dict())} loaded, 0 adapted, 0 initialised, 0 skipped",
        f"D: {len(before.D.state_dict())} loaded, 0 adapted, 0 initialised, 0 skipped",
        f"G_ema: {len(before.G.state_dict())} loaded, 0 adapted, 0 initialised, 0 skipped",
    ]


@pytest.mark.parametrize(
    ("overrides", "p"),
    [
        (["augment.mode=ada", "augment.p_max=0.8"], 0.25),
        (["augment.mode=ada", "augment.p_max=0.2"], 0.2),
        (["augment.mode=fixed", "augment.p=0.1"], 0.1),
        (["augment.mode=none"], 0.0),
        (["augment.mode=ada_rv"], 0.25),
        (["augment.mode=diffaugment"], 0.0),
    ],
)
def test_p_comes_from_the_file_only_where_it_adapts(overrides: list[str], p: float, make_params: Make) -> None:
    state = create(make_params(*overrides))
    transfer(state, networks(trained(make_params())), "reinit")
    assert state.p == p


def test_a_generator_file_gives_both_generators_and_leaves_d_fresh(make_params: Make, tmp_path: Path) -> None:
    before, after, fresh = trained(make_params()), create(make_params()), create(make_params())
    save_generator(before.G_ema, tmp_path / "G.safetensors")
    report = transfer(after, load_networks(tmp_path / "G.safetensors"), "reinit")
    assert report.source == "generator file G.safetensors; G is its G_ema"
    assert report.p is None
    want = before.G_ema.state_dict()
    assert all(
        torch.equal(tensor, want[name]) for net in (after.G, after.G_ema) for name, tensor in net.state_dict().items()
    )
    assert all(torch.equal(a, b) for a, b in zip(after.D.parameters(), fresh.D.parameters(), strict=True))
    assert set(actions(report, "initialised").values()) == {"not in the file"}
    # A network that is wholly fresh is one line.
    assert list(report.lines())[2] == f"D: 0 loaded, 0 adapted, {len(fresh.D.state_dict())} initialised, 0 skipped"


def test_an_imported_file_without_an_average_lends_its_generator(make_params: Make, tmp_path: Path) -> None:
    before, after = trained(make_params()), create(make_params())
    path = tmp_path / "x.safetensors"
    save_networks(path, G=before.G, D=before.D, G_ema=None, augment_p=None, source="x.pkl")
    report = transfer(after, load_networks(path), "reinit")
    assert report.source == "x.pkl; G_ema is its G"
    assert torch.equal(after.G_ema.synthesis.b4.const, before.G.synthesis.b4.const)


def test_another_resolution_keeps_the_blocks_in_common(make_params: Make) -> None:
    before = trained(make_params())
    after = create(make_params("prepare.resolution=32"), resolution=32)
    report = transfer(after, networks(before), "reinit")
    assert torch.equal(after.G.synthesis.b16.conv1.weight, before.G.synthesis.b16.conv1.weight)
    assert torch.equal(after.D.b8.conv1.weight, before.D.b8.conv1.weight)
    new = actions(report, "initialised")
    blocks = {name[: name.index("b32") + 3] for name in new}
    assert blocks == {"G.synthesis.b32", "G_ema.synthesis.b32", "D.b32"}
    assert set(new.values()) == {"not in the file"}
    # Only the highest resolution of a resnet D sees the image.
    assert {name[:13] for name in actions(report, "skipped")} == {"D.b16.fromrgb"}


def test_other_image_channels_are_reported_with_both_shapes(make_params: Make) -> None:
    report = transfer(create(make_params(), channels=1), networks(trained(make_params())), "reinit")
    new = actions(report, "initialised")
    assert set(new) == {"D.b16.fromrgb.weight"} | {
        f"{net}.synthesis.b{res}.torgb.{kind}"
        for net in ("G", "G_ema") for res in (4, 8, 16) for kind in ("weight", "bias")
    }  # fmt: skip
    assert new["D.b16.fromrgb.weight"] == "[4, 3, 1, 1] in the file, [4, 1, 1, 1] here"
    assert "  D.b16.fromrgb.weight initialised: [4, 3, 1, 1] in the file, [4, 1, 1, 1] here" in report.lines()


def test_what_the_network_lacks_is_skipped(make_params: Make) -> None:
    report = transfer(create(make_params("generator.mapping_layers=1")), networks(trained(make_params())), "reinit")
    assert actions(report, "skipped") == {
        f"{net}.mapping.fc1.{kind}": "not in this network" for net in ("G", "G_ema") for kind in ("weight", "bias")
    }


def test_every_tensor_of_both_sides_is_reported_once(make_params: Make) -> None:
    before, after = trained(make_params(), c_dim=2), create(make_params("generator.mapping_layers=3"))
    names = [entry.name for entry in transfer(after, networks(before), "average").entries]
    assert len(names) == len(set(names))
    assert set(names) == {
        f"{net}.{name}"
        for net in ("G", "D", "G_ema")
        for side in (before, after)
        for name in getattr(side, net).state_dict()
    }


def test_other_style_blocks_are_refused_with_the_remedy(make_params: Make) -> None:
    adain, usual = (trained(make_params(f"generator.style_block={block}")) for block in ("adain", "demodulation"))
    for before, after, name in ((adain, usual, "adain"), (usual, adain, "demodulation")):
        with pytest.raises(CheckpointError) as caught:
            transfer(after, networks(before), "reinit")
        assert str(caught.value) == (
            f"elsewhere: its style blocks are {name}, in which weights of the same names mean other things. Set "
            f"generator.style_block to {name}, or train.resume_from to null."
        )


def test_networks_of_which_nothing_fits_are_refused(make_params: Make) -> None:
    state = create(make_params("generator.channel_max=3", "generator.w_dim=4"))
    with pytest.raises(CheckpointError) as caught:
        transfer(state, networks(trained(make_params("generator.mapping_layers=1"))), "reinit")
    assert str(caught.value) == (
        "elsewhere: no weight of its generator fits, so nothing would be transferred. Give the sections generator and "
        "prepare.resolution the values that it was trained with, or set train.resume_from to null."
    )


def logits(state: TrainState, c: torch.Tensor) -> torch.Tensor:
    """[N, 4, 1] of the same four images with each label"""
    img = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.stack([state.D(img, row.expand(4, -1)) for row in c])


def styles(state: TrainState, c: torch.Tensor) -> torch.Tensor:
    """[2, N, w_dim] of both generators"""
    z = torch.randn(len(c), 8, generator=torch.Generator().manual_seed(0))
    return torch.stack([net.mapping(z, c)[:, 0] for net in (state.G, state.G_ema)])


def moved(make: Make, old: int, new: int, policy: Policy, *overrides: str) -> tuple[TrainState, TrainState, Report]:
    before, after = trained(make(*overrides), old), create(make(*overrides, "train.seed=1"), new)
    return before, after, transfer(after, networks(before), policy)


def classes(c_dim: int, indices: list[int]) -> torch.Tensor:
    return torch.eye(c_dim)[indices]


def test_tiled_classes_are_the_old_ones_in_turn(make_params: Make) -> None:
    before, after, report = moved(make_params, 2, 5, "tile")
    assert set(actions(report, "adapted").values()) == {"tile: 2 labels in the file, 5 here"}
    assert set(actions(report, "adapted")) == {f"{net}.mapping.embed.weight" for net in ("G", "D", "G_ema")}
    for output in (styles, logits):
        torch.testing.assert_close(
            output(after, classes(5, [0, 1, 2, 3, 4])), output(before, classes(2, [0, 1, 0, 1, 0]))
        )


def test_fewer_classes_are_the_first_of_the_old_ones_when_tiled(make_params: Make) -> None:
    before, after, _ = moved(make_params, 5, 3, "tile")
    for output in (styles, logits):
        torch.testing.assert_close(output(after, classes(3, [0, 1, 2])), output(before, classes(5, [0, 1, 2])))


def test_averaged_classes_begin_equal_at_the_mean_of_the_embeddings(make_params: Make) -> None:
    before, after, _ = moved(make_params, 2, 3, "average")
    mean = torch.full((1, 2), 0.5)  # the embedding is linear, so half of each label is its mean
    for output in (styles, logits):
        for index in range(3):
            torch.testing.assert_close(output(after, classes(3, [index])), output(before, mean))


def test_reinitialised_classes_are_fresh_and_the_rest_is_kept(make_params: Make) -> None:
    before, after, report = moved(make_params, 2, 3, "reinit")
    fresh = create(make_params("train.seed=1"), 3)
    assert torch.equal(after.G.mapping.embed.weight, fresh.G.mapping.embed.weight)
    assert torch.equal(after.G.mapping.fc0.weight, before.G.mapping.fc0.weight)
    assert actions(report, "initialised") == {
        f"{net}.mapping.embed.weight": f"[{width}, 2] in the file, [{width}, 3] here"
        for net, width in (("G", 8), ("G_ema", 8), ("D", 4))
    }


@pytest.mark.parametrize("policy", ["average", "tile"])
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_new_labels_change_no_image_and_no_logit_at_first(policy: Policy, layers: int, make_params: Make) -> None:
    before, after, report = moved(make_params, 0, 3, policy, f"discriminator.mapping_layers={layers}")
    for output in (styles, logits):
        torch.testing.assert_close(output(after, classes(3, [0, 1, 2])), output(before, torch.zeros(3, 0)))
    assert {"G.mapping.fc0.weight", "D.b4.out.weight", "D.b4.out.bias"} < set(actions(report, "adapted"))
    assert actions(report, "adapted")["G.mapping.fc0.weight"] == f"{policy}: no labels in the file, 3 here"


@pytest.mark.parametrize("policy", ["average", "tile"])
def test_new_labels_begin_to_matter_with_the_first_steps(policy: Policy, make_params: Make) -> None:
    _, after, _ = moved(make_params, 0, 2, policy, "augment.mode=none")
    trainer = Trainer(after, lambda n: classes(2, [0, 1] * (n // 2)))
    for _ in range(2):
        trainer.step(torch.rand(4, 3, 16, 16) * 2 - 1, classes(2, [0, 1, 0, 1]))
    for output in (styles, logits):
        first, second = (output(after, classes(2, [index])) for index in range(2))
        assert not torch.allclose(first, second)
    assert not torch.allclose(after.D.b4.out.weight[0], after.D.b4.out.weight[1])


def test_new_labels_that_are_reinitialised_keep_what_latents_do(make_params: Make) -> None:
    before, after, report = moved(make_params, 0, 3, "reinit")
    fresh = create(make_params("train.seed=1"), 3)
    weight = after.G.mapping.fc0.weight
    torch.testing.assert_close(weight[:, :8] * after.G.mapping.fc0.weight_gain,
                               before.G.mapping.fc0.weight * before.G.mapping.fc0.weight_gain)  # fmt: skip
    assert torch.equal(weight[:, 8:], fresh.G.mapping.fc0.weight[:, 8:])
    assert actions(report, "initialised")["D.b4.out.weight"] == "[1, 4] in the file, [4, 4] here"


def test_dropped_labels_leave_the_first_class_when_tiled(make_params: Make) -> None:
    before, after, _ = moved(make_params, 3, 0, "tile")
    for output in (styles, logits):
        torch.testing.assert_close(output(after, torch.zeros(4, 0)), output(before, classes(3, [0] * 4)))


def test_dropped_labels_leave_the_average_logit_when_averaged(make_params: Make) -> None:
    before, after, report = moved(make_params, 3, 0, "average")
    mean = logits(before, classes(3, [0, 1, 2])).mean(dim=0)
    torch.testing.assert_close(logits(after, torch.zeros(1, 0))[0], mean)
    assert actions(report, "adapted")["G.mapping.fc0.bias"] == "average: 3 labels in the file, none here"
    assert actions(report, "skipped")["G.mapping.embed.weight"] == "not in this network"


def test_dropped_labels_leave_the_average_of_what_the_first_layer_adds(make_params: Make) -> None:
    before, after, _ = moved(make_params, 3, 0, "average", "generator.mapping_layers=1")
    slopes = (styles(before, classes(3, [index] * 4)) for index in range(3))
    inputs = [torch.where(y < 0, y / 0.2, y) for y in slopes]  # before the leaky ReLU
    mean = torch.stack(inputs).mean(dim=0)
    torch.testing.assert_close(styles(after, torch.zeros(4, 0)), torch.where(mean < 0, mean * 0.2, mean))


def test_dropped_labels_that_are_reinitialised_keep_what_latents_do(make_params: Make) -> None:
    before, after, report = moved(make_params, 3, 0, "reinit")
    torch.testing.assert_close(after.G.mapping.fc0.weight * after.G.mapping.fc0.weight_gain,
                               before.G.mapping.fc0.weight[:, :8] * before.G.mapping.fc0.weight_gain)  # fmt: skip
    assert torch.equal(after.G.mapping.fc0.bias, before.G.mapping.fc0.bias)
    assert actions(report, "initialised")["D.b4.out.weight"] == "[4, 4] in the file, [1, 4] here"


@pytest.mark.parametrize(("old", "new"), [(0, 2), (2, 0), (2, 3)])
def test_labels_and_sizes_that_change_together_are_reported_as_shapes(old: int, new: int, make_params: Make) -> None:
    before = trained(make_params(), old)
    after = create(make_params("generator.z_dim=4", "generator.w_dim=4", "discriminator.channel_max=3"), new)
    report = transfer(after, networks(before), "average")
    new_sizes = actions(report, "initialised")
    assert "G.mapping.fc0.weight" in new_sizes
    assert "D.b4.out.weight" in new_sizes


@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize("policy", ["reinit", "average", "tile"])
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mapping.embed.weight", ()), ("mapping.embed.weight", (4,)), ("mapping.embed.weight", (0, 2)),
        ("mapping.embed.weight", (2, 3, 4)), ("mapping.embed.bias", None), ("mapping.fc0.weight", ()),
        ("mapping.fc0.bias", ()), ("b4.out.weight", ()), ("b4.out.bias", (7, 7)),
    ],
)  # fmt: skip
def test_tensors_of_odd_shapes_that_see_labels_are_no_traceback(
    name: str, shape: tuple[int, ...] | None, policy: Policy, c_dim: int, make_params: Make
) -> None:
    found = networks(trained(make_params(), c_dim=2))
    for tensors in (found.G, found.D, found.G_ema):
        tensors.pop(name, None)
        if shape is not None:
            tensors[name] = torch.zeros(shape)
    with suppress(CheckpointError):  # some fit nowhere and are skipped, others are refused
        transfer(create(make_params(), c_dim), found, policy)
