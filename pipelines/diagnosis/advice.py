"""What to try next, each with the measurement that suggests it: pure rules over numbers, ticks and settings."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.artifacts.metrics_json import MetricsReport
from pipelines.artifacts.ticks import TickRow
from pipelines.diagnosis.alarms import Alarm, alarms, lower
from pipelines.diagnosis.shared_rules import is_overfitting, less_overfitting, overfitting, overfitting_measure
from pipelines.diagnosis.thresholds import FEW_IMAGES
from pipelines.diagnosis.training_curves import Ticks, ended_at_cap, kid_trend, measured_kids
from pipelines.diagnosis.verdict import Verdict, find_verdict
from stylegan.config import Config
from stylegan.config.augmentation import adapts
from stylegan.metrics.evaluation.metric import DISTANCES, short

MORE_CAPACITY = (
    "Give both networks more capacity (generator.channel_base, discriminator.channel_base), or add training images; a "
    "longer run alone would gain little."
)


@dataclass(frozen=True)
class Advice:
    """One thing to try, and the measurement that suggests it."""

    action: str
    because: str


def advice(judged: Sequence[Verdict], report: MetricsReport, ticks: Ticks, config: Config) -> list[Advice]:
    """What to try next, most useful first; every item names the measurement it rests on."""
    copies = _memorized(judged, ticks, config)
    collapse = _collapse(ticks, config)
    distance = None if collapse or copies else _distance(judged, ticks, config)
    found = [
        _overfitting(ticks, config),
        collapse,
        copies,
        distance,
        _variety(judged, config),
        None if distance and distance.action == MORE_CAPACITY else _fidelity(judged),  # the remedy is the same
        _recommended_psi(report, config),
        _more_measurement(report.num_images),
    ]
    return list({item.action: item for item in reversed(found) if item}.values())[::-1]


def _overfitting(ticks: Ticks, config: Config) -> Advice | None:
    """Where D memorises the training images, and p cannot rise any more"""
    if not ticks:
        return None
    at_cap, name, value = ended_at_cap(ticks, config), overfitting_measure(config), overfitting(ticks[-1], config)
    seen = "" if value is None else f"{name} is {value:.2f}, above its target of {config.augment.ada_target:g}"
    if at_cap:
        reached = f"Augmentation reached its cap (augment.p_max = {config.augment.p_max:g})"
        more = f", and {seen}" if seen else ""
        return Advice(less_overfitting(config, at_cap=True), f"{reached}{more}: it would have to be stronger.")
    if not is_overfitting(ticks[-1], config) or _can_rise(config):
        return None
    return Advice(less_overfitting(config, at_cap=False), f"{seen}: D memorises the training images.")


def _can_rise(config: Config) -> bool:
    return adapts(config.augment) and config.augment.p_max > 0


def _collapse(ticks: Ticks, config: Config) -> Advice | None:
    """What the last alarm says, unless the training got over it"""
    unresolved = [alarm for alarm in alarms(ticks, config) if alarm.name != "p-at-cap" and not _is_over(alarm, ticks)]
    return Advice(unresolved[-1].remedy, f"{unresolved[-1].seen} {unresolved[-1].cause}") if unresolved else None


def _is_over(alarm: Alarm, ticks: Sequence[TickRow]) -> bool:
    """Whether the best snapshot came after an alarm"""
    best = None
    for snapshot in measured_kids(ticks):
        best = lower(snapshot, best)
    return best is not None and best[1].kimg > alarm.kimg


def _memorized(judged: Sequence[Verdict], ticks: Ticks, config: Config) -> Advice | None:
    found = find_verdict(judged, "memorized")
    if found is None or found.grade != "poor":
        return None
    target = ", lower augment.ada_target" if adapts(config.augment) and not ended_at_cap(ticks, config) else ""
    return Advice(
        f"Look at the nearest training images below; then add training images{target}, or stop earlier "
        "(train.total_kimg).",
        f"{found.value:.1%} of the generated images look like copies of a training image, and of real images "
        f"{found.floor or 0:.1%}: training images are being repeated.",
    )


def _distance(judged: Sequence[Verdict], ticks: Ticks, config: Config) -> Advice | None:
    found = find_verdict(judged, *DISTANCES)
    if found is None or found.floor is None or found.grade in ("good", None) or ended_at_cap(ticks, config):
        return None
    last = ticks[-1] if ticks else None
    overfits = None if last is None else is_overfitting(last, config)
    if overfits and not _can_rise(config):
        return None  # what to do about that comes first
    calm = ""
    if last is not None and overfits is not None:
        name, value = overfitting_measure(config), overfitting(last, config)
        measured = f"{name} {value:.2f}, target {config.augment.ada_target:g}"
        rising = f"D overfits at present ({measured}), but augment.p can still rise to {config.augment.p_max:g}"
        calm = f". {rising}" if overfits else f", and D is not overfitting ({measured})"
    above = (
        f"{found.metric.label} {short(found.compared, 3)} is above the real-image baseline of {short(found.floor, 2)}"
    )
    trend = kid_trend(ticks)
    if trend is not None and trend.stands_still and not overfits:  # more capacity would overfit more
        moved = "rose" if trend.rises else "hardly fell" if trend.falls else "stood still"
        return Advice(MORE_CAPACITY, f"{above}, and KID {moved} in the later half of the run{calm}.")
    gain = "" if trend is not None or not measured_kids(ticks) else " Too few snapshots to say how much that gains."
    if trend is not None and trend.falls and not trend.stands_still:
        less = f"{1 - trend.of_twice_the_length:.0%}"
        gain = f" Judging by the later half of the run, KID falls by {less} when its length doubles."
    return Advice(
        f"Train longer: train.total_kimg from {config.train.total_kimg:g} to {2 * config.train.total_kimg:g}. The run "
        "continues from its end.",
        f"{above}{calm}.{gain}",
    )


def _variety(judged: Sequence[Verdict], config: Config) -> Advice | None:
    recall, precision = find_verdict(judged, "recall"), find_verdict(judged, "precision")
    if recall is None or recall.grade in ("good", None):
        return None
    if precision is not None and precision.grade == "poor":
        return None  # images that are far from all real ones reach none of them, whatever they were trained on
    mirror = "" if config.data.xflip else " Where left and right do not matter, data.xflip: true doubles the images."
    return Advice(
        "For more variety, train on more, and more varied, images." + mirror,
        f"Recall is {recall.compared:.2f} where real images reach {recall.floor:.2f}: few kinds of them are drawn.",
    )


def _fidelity(judged: Sequence[Verdict]) -> Advice | None:
    precision = find_verdict(judged, "precision")
    if precision is None or precision.grade in ("good", None):
        return None
    return Advice(
        "For cleaner images, give the generator more capacity (generator.channel_base).",
        f"Precision is {precision.compared:.2f} where real images reach {precision.floor:.2f}: many images look wrong.",
    )


def _recommended_psi(report: MetricsReport, config: Config) -> Advice | None:
    psi = report.recommended.psi
    if len(report.truncation) < 2 or psi == config.render.truncation_psi:
        return None
    return Advice(
        f"Show images at psi = {psi:g}: set render.truncation_psi (now {config.render.truncation_psi:g}).",
        report.recommended.sentence,
    )


def _more_measurement(num_images: int) -> Advice | None:
    if num_images >= FEW_IMAGES:
        return None
    return Advice(
        f"Before comparing two good runs, raise evaluate.num_images (now {num_images}).",
        f"With fewer than {FEW_IMAGES} images KID is noisy and FID biased upwards; compare only numbers of the same "
        "count.",
    )
