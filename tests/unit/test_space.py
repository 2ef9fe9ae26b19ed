"""The space of a sweep: what is drawn, what a trial gets, and exact words for what cannot be swept."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipelines.params import Params, leaves
from pipelines.sweep import space
from stylegan.checkpoint import load_checkpoint, save_checkpoint
from stylegan.config import ConfigError
from stylegan.state import TrainState

Make = Callable[..., Params]
FIXED = (
    "sweep.searcher=grid", "sweep.scheduler=none", "sweep.num_trials=5", "sweep.seed=0", "sweep.total_kimg=0.064",
    "sweep.asha_grace_kimg=0.016", "sweep.pbt_interval_kimg=0.016", "sweep.workers_per_trial=1",
    "sweep.cpus_per_worker=0.5", "sweep.gpus_per_worker=0.0",
)  # fmt: skip
PSI = "{parameter: evaluate.truncation_psi, draw: grid, values: [0.5, 1.0]}"
TARGET = "{parameter: augment.ada_target, draw: grid, values: [0.4, 0.8]}"


def axis(parameter: str, draw: str, values: str) -> str:
    return f"{{parameter: {parameter}, draw: {draw}, values: {values}}}"


@pytest.fixture
def make(make_params: Make) -> Callable[..., Params]:
    """make([axes], overrides...) -> parameters that sweep them"""
    return lambda axes, *overrides: make_params(f"sweep.space=[{', '.join(axes)}]", *FIXED, *overrides)


def message(params: Params) -> str:
    with pytest.raises(ConfigError) as caught:
        space.check(params)
    return str(caught.value)


def test_a_grid_has_every_combination_and_psi_trains_nothing(make: Make) -> None:
    params = make([TARGET, axis("loss.r1_gamma", "grid", "[1.0, 2.0]"), PSI])
    space.check(params)
    assert space.drawn_before(params.sweep) == [
        {"augment.ada_target": target, "loss.r1_gamma": gamma} for target in (0.4, 0.8) for gamma in (1.0, 2.0)
    ]
    assert space.psis(params) == [0.5, 1.0]


def test_random_draws_are_within_the_ranges_distinct_and_the_same_every_time(make: Make) -> None:
    axes = [
        axis("augment.ada_target", "uniform", "[0.2, 0.9]"), axis("loss.r1_gamma", "loguniform", "[0.01, 100.0]"),
        axis("augment.mode", "choice", "[ada, none]"),
    ]  # fmt: skip
    params = make(axes, "sweep.searcher=random", "sweep.num_trials=40")
    drawn = space.drawn_before(params.sweep)
    assert drawn is not None
    assert drawn == space.drawn_before(params.sweep)
    assert drawn != space.drawn_before(make(axes, "sweep.searcher=random", "sweep.seed=1").sweep)
    assert len({repr(values) for values in drawn}) == 40
    assert all(0.2 <= values["augment.ada_target"] <= 0.9 for values in drawn)
    gammas = sorted(values["loss.r1_gamma"] for values in drawn)
    assert 0.01 <= gammas[0] < 0.1 < 10 < gammas[-1] <= 100
    assert {values["augment.mode"] for values in drawn} == {"ada", "none"}


def test_a_trial_is_the_parameters_with_its_values_on_its_share_of_the_machine(make: Make) -> None:
    params = make([TARGET, PSI], "evaluate.truncation_psi=[0.9, 1.0]")
    trial = space.of_trial(params, {"augment.ada_target": 0.8})
    assert (trial.augment.ada_target, trial.train.total_kimg) == (0.8, 0.064)
    assert trial.evaluate.truncation_psi == (0.5, 1.0)
    assert trial.cluster.resources == {"CPU": 0.5}
    assert (trial.cluster.num_workers, trial.cluster.cpus_per_worker, trial.cluster.use_gpu) == (1, 1, False)
    fraction = make([TARGET], "sweep.gpus_per_worker=0.25", "sweep.cpus_per_worker=2.5")
    share = space.of_trial(fraction, {"augment.ada_target": 0.8}).cluster
    assert (share.resources, share.cpus_per_worker, share.use_gpu) == ({"CPU": 2.5, "GPU": 0.25}, 2, True)


def test_values_that_do_not_fit_together_are_refused_before_anything_is_trained(make: Make) -> None:
    params = make([axis("train.batch_size", "grid", "[4, 6]")])
    with pytest.raises(ConfigError, match=r"^trial train.batch_size 6: .*batch_gpu"):
        space.of_trial(params, {"train.batch_size": 6})


def test_the_name_of_a_sweep_is_what_it_computes_not_how_it_runs(make: Make) -> None:
    params = make([TARGET])
    name = space.name_of(params, "digest")
    assert space.name_of(make([TARGET], "sweep.max_concurrent_trials=7", "sweep.cpus_per_worker=2.0"), "digest") == name
    for other in (make([TARGET, PSI]), make([TARGET], "sweep.seed=1"), make([TARGET], "loss.r1_gamma=3.0")):
        assert space.name_of(other, "digest") != name
    assert space.name_of(params, "other") != name


@pytest.mark.parametrize(
    ("axes", "overrides", "expected"),
    [
        (
            [axis("augment.ada_targt", "grid", "[0.4]")], [],
            "sweep.space: augment.ada_targt is not a parameter; did you mean augment.ada_target?",
        ),
        (
            [axis("prepare.resolution", "grid", "[16]")], [],
            "sweep.space: prepare.resolution is not a parameter of training. Name one of the sections data, generator, "
            "discriminator, augment, loss, train, monitor, or evaluate.truncation_psi.",
        ),
        (
            [axis("train.total_kimg", "grid", "[1.0]")], [],
            "sweep.space: train.total_kimg is sweep.total_kimg in a sweep. Set that, or --kimg.",
        ),
        (
            [TARGET, axis("evaluate.truncation_psi", "uniform", "[0.5, 1.0]")], [],
            "sweep.space: evaluate.truncation_psi has draw uniform; every generator is measured at every psi, so write "
            "grid.",
        ),
        (
            [axis("loss.r1_gamma", "loguniform", "[0.1, 10.0]")], [],
            "sweep.searcher is grid, but loss.r1_gamma is drawn by loguniform. Set sweep.searcher to random or optuna, "
            "or list values with draw grid.",
        ),
        (
            [axis("loss.r1_gamma", "uniform", "[2.0, 1.0]")], ["sweep.searcher=random"],
            "sweep.space: loss.r1_gamma has values [2.0, 1.0]; uniform takes [low, high].",
        ),
        (
            [axis("loss.r1_gamma", "loguniform", "[0.0, 1.0]")], ["sweep.searcher=random"],
            "sweep.space: loss.r1_gamma starts at 0; loguniform needs a low above 0.",
        ),
        (
            [axis("augment.ada_target", "grid", "[0.4, 0.4]")], [],
            "sweep.space: augment.ada_target has a value twice in [0.4, 0.4]. Remove one.",
        ),
        ([TARGET, TARGET], [], "sweep.space: augment.ada_target appears twice. Keep one of them."),
        (
            [TARGET], ["sweep.scheduler=asha", "monitor.num_images=0", "monitor.export=last"],
            "sweep.scheduler is asha, which judges by the KID of snapshots, but monitor.num_images is 0. Set "
            "monitor.num_images to 500, or sweep.scheduler to none.",
        ),
        (
            [TARGET], ["sweep.scheduler=asha", "sweep.asha_grace_kimg=0.064"],
            "sweep.asha_grace_kimg is 0.064, not below sweep.total_kimg = 0.064: nothing would happen.",
        ),
        (
            [axis("generator.z_dim", "grid", "[4, 8]")], ["sweep.scheduler=pbt"],
            "sweep.space: generator.z_dim cannot change during training, which scheduler pbt does. Name parameters of "
            "augment (except mode and p) or loss, train.g_lr or train.d_lr; or set sweep.scheduler to none or asha.",
        ),
        *[
            (
                [axis(name, "grid", values)], ["sweep.scheduler=pbt"],
                f"sweep.space: {name} cannot change during training, which scheduler pbt does. Name parameters of "
                "augment (except mode and p) or loss, train.g_lr or train.d_lr; or set sweep.scheduler to none or "
                "asha.",
            )
            for name, values in (("augment.mode", "[ada, ada_rv]"), ("augment.p", "[0.1, 0.2]"))
        ],
        (
            [TARGET], ["sweep.workers_per_trial=2", "sweep.gpus_per_worker=0.5"],
            "sweep.gpus_per_worker is 0.5 with 2 workers per trial; NCCL needs a whole GPU for each of several "
            "workers. Set sweep.gpus_per_worker to 1, or sweep.workers_per_trial to 1.",
        ),
        (
            [TARGET], ["sweep.scheduler=pbt", "sweep.searcher=optuna"],
            "sweep.scheduler pbt draws new values itself. Set sweep.searcher to grid or random.",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_swept_is_named_with_the_remedy(
    make: Make, axes: list[str], overrides: list[str], expected: str
) -> None:
    assert message(make(axes, *overrides)) == expected


def test_more_trials_than_combinations_are_refused(make: Make) -> None:
    params = make([TARGET], "sweep.searcher=random")
    with pytest.raises(ConfigError) as caught:
        space.drawn_before(params.sweep)
    assert str(caught.value) == ("sweep.num_trials is 5, but sweep.space has only 2 combinations. Lower it.")


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ("{parameter: a, draws: grid, values: [1]}", "sweep.space.0.draws is not a parameter; did you mean draw?"),
        ("{parameter: a, draw: gird, values: [1]}", "sweep.space.0.draw is 'gird': input should be"),
        ("{parameter: a, draw: grid, values: []}", "sweep.space.0.values is []: tuple should have at least 1 item"),
    ],
)
def test_an_axis_is_read_strictly(make_params: Make, axes: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_params(f"sweep.space=[{axes}]")
    assert expected in str(caught.value)


WORDS = {"loss.adversarial": "wgan_gp", "loss.d_regularizer": "gp", "augment.diffaugment": "[cutout]"}
SMALL = ("augment.mode=fixed", "augment.p=0.25", "sweep.scheduler=pbt", "prepare.resolution=32")


def test_whatever_pbt_may_change_a_saved_state_fits_and_leaves_it_alone(make: Make, tmp_path: Path) -> None:
    def create(params: Params) -> TrainState:
        return TrainState.create(params, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))

    base, path, changed = make([TARGET], *SMALL), tmp_path / "state.safetensors", []
    save_checkpoint(create(base), path)
    for name, value in leaves(base.model_dump(mode="json")):
        if not name.startswith(space.CHANGEABLE) or name in space.HELD:
            continue
        other = WORDS.get(name) or (value + 1 if type(value) is int else 0.9 * value + 0.01)
        params = make([axis(name, "grid", f"[{other}]")], *SMALL, f"{name}={other}")
        space.check(params)
        state = create(params)
        load_checkpoint(state, path)
        assert state.p == 0.25
        changed.append(name)
    assert {"train.g_lr", "augment.ada_target", "loss.r1_gamma", *WORDS} <= {*changed}


@pytest.mark.parametrize(("scheduler", "waits_for_turns"), [("none", False), ("pbt", True)])
def test_members_of_a_population_wait_for_their_turn_and_other_trials_as_long_as_any_training(
    make_params: Callable[..., Params], scheduler: str, waits_for_turns: bool
) -> None:
    params = make_params(f"sweep.scheduler={scheduler}", "cluster.wait_hours=3")
    found = space.of_trial(params, {"augment.ada_target": 0.8}).cluster.wait_hours
    assert (found == space.TURN_HOURS) is waits_for_turns
    assert (found == 3) is not waits_for_turns
