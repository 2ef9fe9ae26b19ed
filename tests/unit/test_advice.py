"""pipelines.diagnosis.advice: what is suggested, and that it has looked before it says something."""

from collections.abc import Callable

import pytest

from pipelines.artifacts.metrics_json import MetricsReport
from pipelines.artifacts.ticks import TickRow
from pipelines.diagnosis import advice as rules
from pipelines.diagnosis import verdict
from pipelines.diagnosis.advice import Advice
from pipelines.params import Params
from tests.evaluation_results import metrics_of, results, truncation
from tests.tick_rows import ticks

Make = Callable[..., Params]
CALM = ticks([{"kimg": 3.0, "augment/p": 0.3, "augment/r_t": 0.45}])
SURE = ticks([{"kimg": 3.0, "augment/p": 0.3, "augment/r_t": 0.8}])
LIKE_REAL = results(kid=0.001, precision=0.8, recall=0.8)


def advise(params: Params, report: MetricsReport, log: list[TickRow] = CALM, count: int = 5000) -> list[Advice]:
    report = report.model_copy(update={"num_images": count})
    return rules.advice(verdict.verdicts(report), report, log, params)


def ada(make_params: Make, *overrides: str) -> Params:
    return make_params("augment.mode=ada", "augment.ada_target=0.6", "augment.p_max=0.8", *overrides)


def actions(found: list[Advice]) -> str:
    return " | ".join(item.action for item in found)


def test_nothing_is_advised_when_nothing_is_wrong(make_params: Make) -> None:
    assert advise(ada(make_params), LIKE_REAL) == []


@pytest.mark.parametrize(
    ("log", "what_d_does"),
    [
        (CALM, ", and D is not overfitting (r_t 0.45, target 0.6)"),
        (SURE, ". D overfits at present (r_t 0.80, target 0.6), but augment.p can still rise to 0.8"),
        (ticks([{"kimg": 3.0}]), ""),
        ([], ""),
    ],
)
def test_a_distance_above_the_baseline_asks_for_longer_training_and_says_of_d_what_was_measured(
    make_params: Make, log: list[TickRow], what_d_does: str
) -> None:
    (item,) = advise(ada(make_params, "train.total_kimg=60"), results(kid=0.05, precision=0.8, recall=0.8), log)
    assert item == Advice(
        "Train longer: train.total_kimg from 60 to 120. The run continues from its end.",
        f"KID 0.05 is above the real-image baseline of 0.001{what_d_does}.",
    )


def course(exponent: float) -> list[TickRow]:
    """Twenty snapshots whose KID is a power of kimg, but for noise"""
    noise = (1.02, 0.98, 1.01, 0.99)
    return ticks(
        [{"kimg": 10.0 * n, "monitor/kid": n**exponent * noise[n % 4], "monitor/kid_se": 0.01} for n in range(1, 21)]
    )


def test_longer_training_is_advised_with_what_it_gains_and_not_to_a_run_that_stands_still(make_params: Make) -> None:
    far = results(kid=0.05, precision=0.8, recall=0.8)
    (item,) = advise(ada(make_params), far, course(-0.5))
    assert item.action.startswith("Train longer")
    assert item.because.endswith("Judging by the later half of the run, KID falls by 29% when its length doubles.")
    (item,) = advise(ada(make_params), far, course(0.0))
    assert item.action.startswith("Give both networks more capacity")
    assert "KID stood still in the later half of the run" in item.because


@pytest.mark.parametrize(("exponent", "moved"), [(0.1, "rose"), (0.0, "stood still"), (-0.09, "hardly fell")])
def test_a_run_that_gains_nothing_is_told_what_its_kid_did(make_params: Make, exponent: float, moved: str) -> None:
    (item,) = advise(ada(make_params), results(kid=0.05, precision=0.8, recall=0.8), course(exponent))
    assert item.because.endswith(f"KID {moved} in the later half of the run.")


def test_more_capacity_is_not_advised_to_a_d_that_overfits(make_params: Make) -> None:
    *log, last = course(0.0)
    log.append(last.model_copy(update={"augment": SURE[0].augment}))
    (item,) = advise(ada(make_params), results(kid=0.05, precision=0.8, recall=0.8), log)
    assert item.action.startswith("Train longer")
    assert item.because.endswith("but augment.p can still rise to 0.8.")


def test_low_precision_asks_for_capacity_where_a_run_stands_still_at_a_good_distance(make_params: Make) -> None:
    (item,) = advise(ada(make_params), results(kid=0.001, recall=0.8, precision=0.1), course(0.0))
    assert item.action.startswith("For cleaner images")


def test_longer_training_is_not_advised_to_a_d_that_memorises_and_cannot_be_augmented_more(make_params: Make) -> None:
    params = make_params("augment.mode=none", "augment.ada_target=0.6")
    (item,) = advise(params, results(kid=0.05, precision=0.8, recall=0.8), SURE)
    assert item.action == "Set augment.mode (now none) to ada."


def test_longer_training_is_not_advised_after_a_collapse_that_the_run_did_not_get_over(make_params: Make) -> None:
    kids = [0.3, 0.1, 0.8, 0.9]
    rows = [{"kimg": 20.0 * n, "monitor/kid": kid, "monitor/kid_se": 0.01} for n, kid in enumerate(kids, start=1)]
    poor = results(kid=0.3, precision=0.8, recall=0.8)
    (item,) = advise(ada(make_params), poor, ticks(rows))
    assert item == Advice(
        "Raise loss.r1_gamma from 0.01 to 0.04, or halve train.g_lr and train.d_lr.",
        "At kimg 80 KID is 0.9; it was 0.1 at kimg 40. G and D have lost their balance: D's gradients are too large.",
    )
    better = ticks([*rows, {"kimg": 100.0, "monitor/kid": 0.05, "monitor/kid_se": 0.01}])
    assert actions(advise(ada(make_params), poor, better)).startswith("Train longer")


def test_augmentation_at_its_cap_asks_for_more_of_it_or_data_and_not_for_longer_training(make_params: Make) -> None:
    (item,) = advise(ada(make_params, "augment.p_max=0.3"), results(kid=0.05, precision=0.8, recall=0.8), SURE)
    assert item == Advice(
        "Raise augment.p_max from 0.3 to 0.8, add training images, or raise loss.r1_gamma from 0.01 to 0.04.",
        "Augmentation reached its cap (augment.p_max = 0.3), and r_t is 0.80, above its target of 0.6: it would have "
        "to be stronger.",
    )


@pytest.mark.parametrize("mode", ["none", "fixed", "diffaugment"])
def test_overfitting_without_adaptive_augmentation_asks_for_it(make_params: Make, mode: str) -> None:
    settings = (f"augment.mode={mode}", "augment.ada_target=0.6")
    expected = Advice(
        f"Set augment.mode (now {mode}) to ada.",
        "r_t is 0.80, above its target of 0.6: D memorises the training images.",
    )
    assert advise(make_params(*settings), LIKE_REAL, SURE) == [expected]
    assert advise(make_params(*settings, "loss.adversarial=wgan_gp"), LIKE_REAL, SURE) == []
    assert advise(make_params(*settings), LIKE_REAL, CALM) == []


def test_msg_cannot_be_told_to_augment(make_params: Make) -> None:
    both = [f"{net}.architecture=msg" for net in ("generator", "discriminator")]
    (item,) = advise(make_params("augment.mode=none", "augment.ada_target=0.6", *both), LIKE_REAL, SURE)
    assert item.action == "Add training images, or raise loss.r1_gamma from 0.01 to 0.04."


@pytest.mark.parametrize(("xflip", "mirrors"), [("true", False), ("false", True)])
def test_low_recall_asks_for_variety(make_params: Make, xflip: str, mirrors: bool) -> None:
    (item,) = advise(ada(make_params, f"data.xflip={xflip}"), results(kid=0.001, recall=0.1, precision=0.8))
    assert item.because == "Recall is 0.10 where real images reach 0.80: few kinds of them are drawn."
    assert ("data.xflip: true" in item.action) is mirrors


def test_low_recall_of_images_that_look_wrong_asks_for_no_variety(make_params: Make) -> None:
    """Images that are far from all real ones reach none of them."""
    (item,) = advise(ada(make_params), results(kid=0.001, recall=0.1, precision=0.1))
    assert item.action.startswith("For cleaner images")


def test_too_few_snapshots_to_say_what_longer_training_gains_is_said(make_params: Make) -> None:
    (item,) = advise(ada(make_params), results(kid=0.05, precision=0.8, recall=0.8), course(-0.5)[:8])
    assert item.because.endswith(". Too few snapshots to say how much that gains.")


def test_low_precision_asks_for_capacity(make_params: Make) -> None:
    (item,) = advise(ada(make_params), results(kid=0.001, recall=0.8, precision=0.1))
    assert item == Advice(
        "For cleaner images, give the generator more capacity (generator.channel_base).",
        "Precision is 0.10 where real images reach 0.80: many images look wrong.",
    )


def test_the_recommended_psi_is_advised_unless_it_is_used_or_there_was_no_choice(make_params: Make) -> None:
    sweep = [
        truncation(0.7, {"kid_x": 0.001, "precision_x": 0.8, "recall_x": 0.8}),
        truncation(1.0, {"kid_x": 0.001, "precision_x": 0.7, "recall_x": 0.8}),
    ]
    numbers = results(kid=0.001, precision=0.8, recall=0.8, sweep=sweep)
    (item,) = advise(ada(make_params, "render.truncation_psi=0.85"), numbers)
    assert item.action == "Show images at psi = 0.7: set render.truncation_psi (now 0.85)."
    assert item.because == numbers.recommended.sentence
    assert item.because.startswith("psi 0.7 is the best trade: its KID 0.001")
    assert advise(ada(make_params, "render.truncation_psi=0.7"), numbers) == []
    assert advise(ada(make_params, "render.truncation_psi=0.85"), LIKE_REAL) == []


def with_copies(memorized: float) -> MetricsReport:
    found = results(kid=0.05, precision=0.8, recall=0.8)
    more = {"metrics": metrics_of({"memorized_x": memorized}), "floor": metrics_of({"memorized_x": 0.02})}
    return found.model_copy(update={group: (*getattr(found, group), *each) for group, each in more.items()})


def test_copies_of_training_images_ask_for_more_of_them_and_not_for_longer_training(make_params: Make) -> None:
    (item,) = advise(ada(make_params), with_copies(0.3))
    assert item == Advice(
        "Look at the nearest training images below; then add training images, lower augment.ada_target, or stop "
        "earlier (train.total_kimg).",
        "30.0% of the generated images look like copies of a training image, and of real images 2.0%: training images "
        "are being repeated.",
    )
    assert "Train longer" in actions(advise(ada(make_params), with_copies(0.02)))


def test_few_images_ask_for_more_before_comparing(make_params: Make) -> None:
    (item,) = advise(ada(make_params), LIKE_REAL, count=1000)
    assert item.action == "Before comparing two good runs, raise evaluate.num_images (now 1000)."


def test_the_most_useful_advice_comes_first(make_params: Make) -> None:
    found = actions(advise(ada(make_params), results(kid=0.3, recall=0.1, precision=0.4), count=100))
    places = [found.find(text) for text in ("Train longer", "more variety", "cleaner", "num_images")]
    assert -1 < places[0] < places[1] < places[2] < places[3]
