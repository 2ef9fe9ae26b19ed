"""stylegan.checkpoint: files written whole, read strictly, and refused with both sides named."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from pipelines.params import Params
from stylegan import checkpoint
from stylegan.checkpoint import (
    load_checkpoint,
    load_generator,
    load_networks,
    read_class_names,
    save_checkpoint,
    save_generator,
    save_networks,
)
from stylegan.state import TrainState
from stylegan.step import Trainer
from stylegan.tensor_files import CheckpointError

Make = Callable[..., Params]


def create(params: Params, resolution: int = 16) -> TrainState:
    return TrainState.create(params, img_resolution=resolution, img_channels=3, c_dim=0, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def trained(tiny_params: Params) -> TrainState:
    """A state in which nothing is at its start value."""
    state = create(tiny_params)
    torch.manual_seed(2)
    for _ in range(3):
        Trainer(state, lambda n: torch.zeros(n, 0)).step(torch.rand(4, 3, 16, 16), torch.zeros(4, 0))
    state.p = 0.1 + 0.2  # no short decimal
    return state


@pytest.fixture
def path(trained: TrainState, tmp_path: Path) -> Path:
    save_checkpoint(trained, tmp_path / "state.safetensors")
    return tmp_path / "state.safetensors"


def everything(state: TrainState) -> dict[str, torch.Tensor]:
    return dict(checkpoint._tensors(state, {"opt_g": state.opt_g.state, "opt_d": state.opt_d.state}))


def test_whole_state_survives_the_file_bit_for_bit(trained: TrainState, path: Path, tiny_params: Params) -> None:
    loaded = create(tiny_params)
    load_checkpoint(loaded, path)
    assert (loaded.cur_nimg, loaded.p) == (trained.cur_nimg, trained.p) == (12, 0.1 + 0.2)
    before, after = everything(trained), everything(loaded)
    assert before.keys() == after.keys()
    assert {name.split(".")[0] for name in before} == {"G", "D", "G_ema", "opt_g", "opt_d", "signs", "pl_mean"}
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_loaded_state_goes_on_as_the_saved_one(path: Path, tiny_params: Params) -> None:
    steps = []
    for _ in range(2):
        state = create(tiny_params)
        load_checkpoint(state, path)
        Trainer(state, lambda n: torch.zeros(n, 0)).step(torch.ones(4, 3, 16, 16), torch.zeros(4, 0))
        steps.append(everything(state))
    assert all(torch.equal(steps[0][name], steps[1][name]) for name in steps[0])


def test_fresh_state_without_moments_can_be_saved(tiny_params: Params, tmp_path: Path, trained: TrainState) -> None:
    save_checkpoint(create(tiny_params), tmp_path / "fresh")
    other = create(tiny_params)
    load_checkpoint(other, tmp_path / "fresh")
    assert not other.opt_g.state
    assert (other.cur_nimg, other.p) == (0, 0)


def test_equal_states_give_equal_files(trained: TrainState, path: Path, tmp_path: Path) -> None:
    for _ in range(5):  # an order that changes at random does not change every time
        save_checkpoint(trained, tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_tensor_of_another_shape_is_named_with_the_parameter_that_changed(path: Path, make_params: Make) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(create(make_params("generator.w_dim=4")), path)
    assert str(caught.value) == (
        f"{path}: G.mapping.fc0.bias is [8] on disk but [4] in this model; generator.w_dim=8 when saved, now 4"
    )


def test_missing_tensor_is_named_with_the_parameter_that_changed(path: Path, make_params: Make) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(create(make_params("generator.mapping_layers=3")), path)
    assert str(caught.value) == (
        f"{path}: G.mapping.fc2.bias is not there on disk but [8] in this model; "
        "generator.mapping_layers=2 when saved, now 3"
    )


def test_tensor_too_many_is_named(path: Path, make_params: Make) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(create(make_params("generator.mapping_layers=1")), path)
    assert str(caught.value) == (
        f"{path}: G.mapping.fc1.bias is [8] on disk but not there in this model; "
        "generator.mapping_layers=2 when saved, now 1"
    )


def test_equal_parameters_point_to_data_or_code(path: Path, tiny_params: Params) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(create(tiny_params, resolution=8), path)
    assert str(caught.value).endswith("its settings are the same, so the dataset or the version of the code differs")


def test_refused_file_leaves_the_state_as_it_was(path: Path, make_params: Make) -> None:
    # G agrees with the file; only D does not.
    state = create(make_params("discriminator.channel_max=3", "train.seed=1"))
    before = {name: tensor.clone() for name, tensor in everything(state).items()}
    with pytest.raises(CheckpointError, match=r"D\.b16\."):
        load_checkpoint(state, path)
    after = everything(state)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (state.cur_nimg, state.p) == (0, 0)


@pytest.mark.parametrize("content", [b"", b"not weights", b"\xff" * 64])
def test_other_file_is_refused(content: bytes, tiny_params: Params, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(content)
    for load in (lambda: load_checkpoint(create(tiny_params), path), lambda: load_generator(path)):
        with pytest.raises(CheckpointError) as caught:
            load()
        assert str(caught.value).startswith(f"{path}: not a safetensors file, or damaged (")
        assert str(caught.value).endswith("). Use an earlier one.")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_truncated_file_is_refused(share: float, path: Path, tiny_params: Params) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match="not a safetensors file, or damaged"):
        load_checkpoint(create(tiny_params), path)


def test_missing_file_is_named(tiny_params: Params, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_generator(tmp_path / "none")
    assert str(caught.value) == (
        f"{tmp_path / 'none'}: no such file. `dvc repro train` makes models/generator.safetensors."
    )
    with pytest.raises(FileNotFoundError):
        load_checkpoint(create(tiny_params), tmp_path / "none")


def test_training_does_not_go_on_from_a_generator(trained: TrainState, tiny_params: Params, tmp_path: Path) -> None:
    save_generator(trained.G_ema, tmp_path / "G")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(create(tiny_params), tmp_path / "G")
    assert str(caught.value) == (
        f"{tmp_path / 'G'}: holds ['config', 'generator', 'version'] of version 1, expected 'state' of version 1. "
        "A training checkpoint contains a generator, but training cannot resume from a generator file."
    )


def test_the_generator_of_a_training_checkpoint_is_its_average(path: Path, trained: TrainState) -> None:
    found = load_generator(path).state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in trained.G_ema.state_dict().items())


def test_file_of_another_version_is_refused(path: Path, trained: TrainState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "VERSION", 2)
    with pytest.raises(CheckpointError, match="of version 1, expected 'state' of version 2"):
        load_checkpoint(trained, path)


def test_failure_while_writing_leaves_the_old_file(trained: TrainState, path: Path) -> None:
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(trained, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_generator_file_holds_all_that_is_needed_to_generate(trained: TrainState, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "generator.safetensors"
    save_generator(trained.G_ema, path)
    G = load_generator(path)
    assert not G.training
    assert not any(param.requires_grad for param in G.parameters())
    assert (G.config, G.img_resolution, G.img_channels, G.c_dim) == (trained.config.generator, 16, 3, 0)
    z, c = torch.randn(2, 8), torch.zeros(2, 0)
    assert torch.equal(G(z, c, noise_mode="const"), trained.G_ema(z, c, noise_mode="const"))
    with safe_open(path, framework="pt") as file:
        assert set(file.metadata()) == {"version", "generator", "config", "sha256"}


def test_networks_survive_the_file_and_their_average_draws(trained: TrainState, tmp_path: Path) -> None:
    path = tmp_path / "networks.safetensors"
    save_networks(path, G=trained.G, D=trained.D, G_ema=trained.G_ema, augment_p=0.3, source="official x.pkl")
    loaded = load_networks(path)
    assert (loaded.augment_p, loaded.source) == (0.3, "official x.pkl")
    for name in ("G", "D", "G_ema"):
        got, want = getattr(loaded, name), getattr(trained, name).state_dict()
        assert got.keys() == want.keys()
        assert all(torch.equal(got[key], want[key]) for key in want)
    z, c = torch.randn(2, 8), torch.zeros(2, 0)
    assert torch.equal(load_generator(path)(z, c, noise_mode="const"), trained.G_ema(z, c, noise_mode="const"))


def test_networks_of_a_checkpoint_and_of_a_generator_file(trained: TrainState, path: Path, tmp_path: Path) -> None:
    whole = load_networks(path)
    assert (whole.augment_p, whole.source) == (0.1 + 0.2, "training checkpoint state.safetensors at 0.012 kimg")
    assert [len(getattr(whole, name)) for name in ("G", "D", "G_ema")] == [
        len(getattr(trained, name).state_dict()) for name in ("G", "D", "G_ema")
    ]
    save_generator(trained.G_ema, tmp_path / "G.safetensors")
    averaged = load_networks(tmp_path / "G.safetensors")
    assert (averaged.G, averaged.D, averaged.augment_p) == ({}, {}, None)
    assert averaged.source == "generator file G.safetensors"
    assert averaged.G_ema.keys() == trained.G_ema.state_dict().keys()


def test_networks_without_an_average_draw_nothing(trained: TrainState, tmp_path: Path) -> None:
    path = tmp_path / "D.safetensors"
    save_networks(path, G=None, D=trained.D, G_ema=None, augment_p=None, source="x")
    assert (load_networks(path).G, load_networks(path).G_ema) == ({}, {})
    with pytest.raises(CheckpointError) as caught:
        load_generator(path)
    assert str(caught.value) == f"{path}: holds no G_ema, the network that draws images. Import another file."


def test_state_with_frozen_layers_survives_and_goes_on_bit_for_bit(make_params: Make, tmp_path: Path) -> None:
    params = make_params("train.freeze_d=3", "train.freeze_g=2", "train.freeze_mapping=true")
    steps = []
    for stops in (False, True):
        state = create(params)
        for _ in range(2):
            Trainer(state, lambda n: torch.zeros(n, 0)).step(torch.ones(4, 3, 16, 16), torch.zeros(4, 0))
            if stops:
                save_checkpoint(state, tmp_path / "state")
                state = create(params)
                load_checkpoint(state, tmp_path / "state")
        steps.append(everything(state))
    assert "opt_d.b16.conv0.weight.step" not in steps[0]
    assert steps[0].keys() == steps[1].keys()
    assert all(torch.equal(steps[0][name], steps[1][name]) for name in steps[0])


def test_generator_file_holds_the_names_of_its_classes_if_there_are_any(trained: TrainState, tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    save_generator(trained.G_ema, path)
    assert read_class_names(path) is None
    save_generator(trained.G_ema, path, ["circle", "square"])
    assert read_class_names(path) == ["circle", "square"]
    assert load_generator(path).img_resolution == 16
