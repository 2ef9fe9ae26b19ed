"""pipelines.diagnosis.alarms: each fires on the log it is about, says what to do, and stays silent on a healthy one."""

import math
import random
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from pipelines.artifacts.ticks import TickRow
from pipelines.diagnosis import training_curves
from pipelines.diagnosis.advice import advice
from pipelines.diagnosis.alarms import GO_ON, RULES, Alarm, Watch, alarms
from pipelines.params import Params
from stylegan.data import ImageDataset
from stylegan.metrics.extractors import RandomExtractor
from stylegan.metrics.left_out import kernel_distance_left_out
from stylegan.monitor import Monitor
from stylegan.networks import Generator
from tests.evaluation_results import evaluation_results
from tests.tick_rows import ticks

Make = Callable[..., Params]
Row = dict[str, float]
Log = list[Row]

# A run of 32 pixels that ended well (KID 0.25): kimg, KID, recall, spread, gap between D's logits, p.
HEALTHY = (
    (20, 1.083, 0.000, 0.388, 1.42, 0.06),
    (40, 0.820, 0.012, 0.565, 1.04, 0.00),
    (60, 1.024, 0.002, 0.656, 0.85, 0.00),
    (80, 0.699, 0.016, 0.818, 0.60, 0.00),
    (100, 0.711, 0.024, 1.006, 0.23, 0.00),
    (120, 0.373, 0.134, 0.849, 0.23, 0.00),
    (140, 0.379, 0.074, 0.896, 0.26, 0.00),
    (160, 0.249, 0.180, 0.888, 0.27, 0.00),
)


@pytest.fixture
def params(make_params: Make) -> Params:
    return make_params(
        "train.total_kimg=160", "augment.mode=ada", "augment.p_max=0.8", "augment.ada_target=0.6", "loss.r1_gamma=0.01",
        "train.g_lr=0.005",
    )  # fmt: skip


def healthy() -> Log:
    """Four ticks without a snapshot before each with one, as the default run has"""
    rows = []
    for kimg, kid, recall, spread, gap, p in HEALTHY:
        for back in (16, 12, 8, 4, 0):
            rows.append(
                {
                    "kimg": kimg - back,
                    "augment/p": p,
                    "augment/r_t": 0.4,
                    "logits/real": gap / 2,
                    "logits/gen": -gap / 2,
                }
            )
        rows[-1] |= {"monitor/kid": kid, "monitor/kid_se": 0.005, "monitor/recall": recall, "monitor/spread": spread}
    return rows


def changed(column: str, values: Sequence[float], *, since: float) -> Log:
    """The healthy log with other values in the rows that have the column, from a position on"""
    rows = healthy()
    concerned = [row for row in rows if column in row and row["kimg"] >= since]
    for row, value in zip(concerned, values, strict=False):
        row[column] = value
    return rows


def capped(p: float, *, since: float) -> Log:
    """The healthy log with p at this value from a position on, and an r_t that still asks for more"""
    rows = healthy()
    for row in rows:
        if row["kimg"] >= since:
            row |= {"augment/p": p, "augment/r_t": 0.65}
    return rows


def only(rows: Log, params: Params) -> Alarm:
    (alarm,) = alarms(ticks(rows), params)
    return alarm


def test_a_healthy_run_and_an_empty_log_raise_no_alarm(params: Params) -> None:
    assert alarms(ticks(healthy()), params) == []
    assert alarms([], params) == []


def test_a_log_without_what_the_monitor_measures_raises_no_alarm(params: Params) -> None:
    rows = [{"kimg": row["kimg"], "augment/p": 0.0} for row in healthy()]
    assert alarms(ticks(rows), params) == []


def test_kid_that_stays_above_its_best(params: Params) -> None:
    rows = changed("monitor/kid", [0.373, 0.6, 0.7], since=120)
    assert only(rows, params).text == (
        "kid-rising: At kimg 160 KID is 0.7; it was 0.373 at kimg 120. G and D have lost their balance: D's "
        "gradients are too large. Raise loss.r1_gamma from 0.01 to 0.04, or halve train.g_lr and train.d_lr. The best "
        "snapshot so far, of kimg 120, is kept"
        f"{GO_ON}"
    )


@pytest.mark.parametrize(
    ("values", "rises"),
    [
        ([0.373, 0.7, 0.25], False),  # one alone is chance
        ([0.373, 0.373, 1.2], False),
        ([0.373, 0.56, 0.55], False),  # 1.5 times
        ([0.004, 0.03, 0.03], False),  # within 3.5 standard errors of the difference, which has 0.007
        ([-0.002, 0.02, 0.02], False),
        ([-0.002, 0.03, 0.03], True),
    ],
)
def test_chance_and_small_differences_are_no_rise_of_kid(values: list[float], rises: bool, params: Params) -> None:
    assert bool(alarms(ticks(changed("monitor/kid", values, since=120)), params)) == rises


def measurements(shift: float, count: int = 300) -> list[tuple[float, float]]:
    """KID and its standard error of an unchanged generator, each time with other images; shift 0: a perfect one"""
    draw = torch.Generator().manual_seed(0)
    found = []
    for _ in range(count):
        real, gen = (torch.randn(40, 8, generator=draw) for _ in range(2))
        left_out = kernel_distance_left_out(real, gen + shift)
        found.append((left_out.value, left_out.standard_error))
    return found


def fires(kids: Sequence[tuple[float, float]], params: Params) -> bool:
    columns = ({"monitor/kid": kid, "monitor/kid_se": error} for kid, error in kids)
    found = alarms(ticks({"kimg": float(number)} | row for number, row in enumerate(columns)), params)
    return "kid-rising" in {alarm.name for alarm in found}


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_an_unchanged_generator_rarely_has_a_rising_kid_and_one_that_gets_worse_always(
    shift: float, params: Params
) -> None:
    """With the slack of before, 2% of the first KID, it rose in 96% of runs of a perfect generator."""
    pool, draw = measurements(shift), random.Random(0)
    runs = [draw.choices(pool, k=30) for _ in range(150)]
    assert sum(fires(run, params) for run in runs) < 0.05 * len(runs)
    worse = 8 * max(error for _, error in pool) + 2 * max(shift, 0) ** 2
    assert all(fires([*run, *((kid + worse, error) for kid, error in run[:2])], params) for run in runs[:20])


def test_images_that_are_no_numbers_have_a_finite_kid_so_no_alarm_waits_for_another(
    make_params: Make, tiny_archive: Path
) -> None:
    """Pixels are bytes before they are measured; a training whose gradients are not finite ends with an error."""
    params = make_params()
    G = Generator(params.generator, img_resolution=16, img_channels=3, c_dim=0).eval().requires_grad_(False)
    for weight in G.parameters():
        weight.fill_(math.nan)
    dataset = ImageDataset(tiny_archive, use_labels=False, xflip=False, split="train", max_images=None)
    found = Monitor.create(params, dataset, RandomExtractor(input_size=16)).measure(G)
    assert all(math.isfinite(value) for value in found.values())
    assert not any("finite" in rule.__name__ or "number" in rule.__name__ for rule in RULES)


def test_nothing_is_said_of_a_kid_without_a_standard_error(params: Params) -> None:
    rows = changed("monitor/kid", [0.373, 0.9, 0.9], since=120)
    for row in rows:
        row.pop("monitor/kid_se", None)
    assert alarms(ticks(rows), params) == []


@pytest.mark.parametrize(
    ("mode", "advice"),
    [
        ("ada", "Add training images, or raise loss.r1_gamma from 0.01 to 0.04."),
        ("none", "Set augment.mode (now none) to ada."),
    ],
)
def test_a_rising_kid_of_a_d_that_is_sure_of_the_training_set_is_overfitting(
    mode: str, advice: str, params: Params
) -> None:
    rows = changed("monitor/kid", [0.373, 0.6, 0.7], since=120)
    rows[-1]["augment/r_t"] = 0.71
    overfit = params.model_copy(update={"augment": params.augment.model_copy(update={"mode": mode})})
    alarm = only(rows, overfit)
    assert (alarm.cause, alarm.remedy) == ("D memorises the training images.", advice)


def test_overfitting_is_read_from_r_v_where_that_steers_p_and_never_from_signs_of_wgan_gp(params: Params) -> None:
    rows = changed("monitor/kid", [0.373, 0.6, 0.7], since=120)
    rows[-1] |= {"augment/r_t": 0.9, "augment/r_v": 0.5}
    by_r_v = params.model_copy(update={"augment": params.augment.model_copy(update={"mode": "ada_rv"})})
    loss = params.loss.model_copy(update={"adversarial": "wgan_gp", "d_regularizer": "gp", "gp_weight": 10.0})
    balance = "G and D have lost their balance: D's gradients are too large."
    assert (only(rows, params).cause, only(rows, by_r_v).cause) == ("D memorises the training images.", balance)
    alarm = only(rows, params.model_copy(update={"loss": loss}))
    remedy = "Raise loss.gp_weight from 10 to 40, or halve train.g_lr and train.d_lr."
    assert (alarm.cause, alarm.remedy) == (balance, remedy)
    rows[-1]["augment/r_v"] = 0.71
    assert only(rows, by_r_v).cause == "D memorises the training images."


def test_scores_of_wgan_gp_may_run_apart(params: Params) -> None:
    rows = changed("logits/real", [8.0] * 3, since=128)
    loss = params.loss.model_copy(update={"adversarial": "wgan_gp"})
    assert alarms(ticks(rows), params.model_copy(update={"loss": loss})) == []


def test_recall_that_is_lost(params: Params) -> None:
    rows = changed("monitor/recall", [0.134, 0.0, 0.0], since=120)
    assert only(rows, params).text == (
        "recall-lost: At kimg 160 recall is 0; it was 0.13. G draws a few kinds of images, or none like the real ones. "
        "Raise loss.r1_gamma from 0.01 to 0.04, or halve train.g_lr."
    )  # the snapshot of the lowest KID is this very one


def test_an_alarm_never_sends_to_the_snapshots_that_it_is_about(params: Params) -> None:
    rows = changed("monitor/recall", [0.134, 0.0, 0.0], since=120)
    for kids, best in (([0.1, 0.2, 0.3], 120), ([0.3, 0.1, 0.2], None), ([0.3, 0.2, 0.1], None)):
        for row, kid in zip([row for row in rows if row["kimg"] >= 120 and "monitor/kid" in row], kids, strict=True):
            row["monitor/kid"] = kid
        (lost,) = (alarm for alarm in alarms(ticks(rows), params) if alarm.name == "recall-lost")
        assert (lost.best_kimg, GO_ON in lost.text) == (best, best is not None)
    alike = changed("monitor/spread", [0.05], since=40)
    assert only(alike, params).best_kimg is None  # kimg 40 has the lowest KID so far


def test_recall_that_never_comes_is_an_alarm_after_half_of_the_run(params: Params) -> None:
    rows = changed("monitor/recall", [0.0] * 8, since=0)
    alarm = only(rows, params)
    assert (alarm.kimg, alarm.seen, alarm.best_kimg) == (100, "At kimg 100 recall is still 0.", None)
    assert alarms(ticks(row for row in rows if row["kimg"] < 100), params) == []
    short = params.model_copy(update={"train": params.train.model_copy(update={"total_kimg": 40.0})})
    assert alarms(ticks(row for row in rows if row["kimg"] <= 40), short) == []  # nobody can expect any


def test_images_that_are_all_alike(params: Params) -> None:
    rows = changed("monitor/spread", [0.05], since=60)
    assert only(rows, params).text == (
        "images-alike: At kimg 60 the spread of generated images is 0.05 of the real images'; it was 0.56. The modes "
        "of G have collapsed: images of all latents look alike. Halve train.g_lr (now 0.005), or raise loss.r1_gamma "
        "from 0.01 to 0.04. The best snapshot so far, of kimg 40, is kept"
        f"{GO_ON}"
    )
    still = only(changed("monitor/spread", [0.02] * 8, since=0), params)
    assert (still.kimg, still.seen) == (80, "At kimg 80 the spread of generated images is 0.02 of the real images'.")


def test_logits_that_run_apart(params: Params) -> None:
    rows = changed("logits/real", [8.0] * 3, since=128)
    assert only(rows, params).text == (
        "logits-apart: At kimg 136 D scores real images 8.13 above generated ones. D has won: it is sure of every "
        "image and G learns nothing more. Raise loss.r1_gamma from 0.01 to 0.04, or halve train.d_lr. The best "
        "snapshot so far, of kimg 120, is kept"
        f"{GO_ON}"
    )
    assert alarms(ticks(changed("logits/real", [8.0, 8.0, 0.1], since=128)), params) == []


def test_p_at_its_cap(params: Params, make_params: Make) -> None:
    rows = capped(0.8, since=12)
    assert only(rows, params).text == (
        "p-at-cap: At kimg 12 augment.p reached its cap augment.p_max = 0.8. D still recognises the training images. "
        "Add training images, or raise loss.r1_gamma from 0.01 to 0.04. Leave augment.p_max at 0.8: above 0.8 "
        "augmentations leak."
    )
    assert alarms(ticks(capped(0.78, since=12)), params) == []
    assert alarms(ticks(changed("augment/p", [0.8], since=12)), params) == [], "r_t is below its target: p will fall"
    for other in (["augment.mode=fixed"], ["augment.p=0.0", "augment.p_max=0.0"]):
        assert alarms(ticks(rows), make_params("train.total_kimg=160", *other)) == []


@pytest.mark.parametrize("p_max", [0.1, 0.3, 0.79])
def test_a_low_cap_is_not_told_that_augmentations_leak(p_max: float, make_params: Make) -> None:
    alarm = only(capped(p_max, since=12), make_params("augment.mode=ada", f"augment.p_max={p_max}"))
    assert alarm.remedy == (
        f"Raise augment.p_max from {p_max:g} to 0.8, add training images, or raise loss.r1_gamma from 0.01 to 0.04."
    )


@pytest.mark.parametrize("p", [0.0, 0.5, 0.78, 0.783, 0.785, 0.79, 0.8])
def test_alarm_report_and_advice_agree_on_where_the_cap_is(p: float, params: Params) -> None:
    rows = capped(p, since=156)
    sentence = dict(training_curves.readings(ticks(rows), params))["Augmentation"]
    advised = advice([], evaluation_results({"kid_x": 0.1}, floor={}, untrained={}), ticks(rows), params)
    found = [
        bool(alarms(ticks(rows), params)),
        "at its cap" in sentence,
        any("reached its cap" in a.because for a in advised),
    ]
    assert found == [p >= 0.784] * 3


def test_an_alarm_stays_what_it_was_however_the_run_goes_on(params: Params) -> None:
    rows = changed("monitor/kid", [0.3, 0.9, 0.9, 0.9, 0.2, 0.1], since=60)
    rows[30] |= {"augment/p": 0.9, "augment/r_t": 0.65}
    found = alarms(ticks(rows), params)
    assert [(alarm.name, alarm.kimg) for alarm in found] == [("kid-rising", 100), ("p-at-cap", 124)]
    for length in range(len(rows)):
        seen = [alarm for alarm in found if alarm.kimg <= rows[length]["kimg"]]
        assert alarms(ticks(rows[: length + 1]), params) == seen


def test_the_best_of_equal_snapshots_is_the_last_as_ray_keeps_it(params: Params) -> None:
    kids = {4.0: 0.1, 12.0: 0.1, 16.0: 0.2}
    rows: Log = [
        {"kimg": kimg} | ({"monitor/kid": kids[kimg]} if kimg in kids else {}) for kimg in (4.0, 8.0, 12.0, 16.0)
    ]
    assert only([*rows, {"kimg": 20.0, "augment/p": 0.8}], params).best_kimg == 12


def test_each_alarm_is_raised_once_however_long_it_lasts(params: Params) -> None:
    watch = Watch(params)
    rows = ticks([{"kimg": float(kimg), "augment/p": 0.8} for kimg in range(5)])
    assert [len(watch.see(row)) for row in rows] == [1, 0, 0, 0, 0]


def test_a_row_that_is_no_snapshot_is_kept_no_longer_than_until_the_next(params: Params) -> None:
    watch, kept = Watch(params), list[weakref.ref[TickRow]]()
    for values in capped(0.8, since=40):
        (row,) = ticks([values])
        watch.see(row)
        assert all(earlier() is None for earlier in kept)
        if row.monitor.kid is None:  # of snapshots the best and the last two are kept
            kept = [weakref.ref(row)]
        del row
