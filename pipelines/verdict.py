"""What the numbers mean, in words: verdicts, the reading of each curve, and what to try next.

Pure rules over measured values. The thresholds are the language of the report, not parameters of a run; the page prints
them beside the verdicts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from stylegan.config import Config

Ticks = Sequence[Mapping[str, float]]
Grade = Literal["good", "ok", "poor"]

GOOD_FLOORS = 3.0  # a distance within so many floors is hard to tell from real images by this measure
GOOD_SHARE = 0.05  # or below this share of the untrained generator's, when the floor is too near zero to divide by
OK_SHARE = 0.25  # a quarter of the untrained generator's distance: recognisably the same kind of picture
GOOD_SHARE_OF_REAL = 0.7  # of what real images score in precision and recall
OK_SHARE_OF_REAL = 0.3
AT_CAP = 0.98  # of augment.p_max
FEW_IMAGES = 5000  # below, KID and FID still move with the number of generated images
R_T_SLACK = 0.1  # around augment.ada_target
BETTER_PSI = 0.9  # a truncation is worth mentioning when KID falls below this share

LOWER_IS_BETTER, HIGHER_IS_BETTER = ("kid", "fid", "frechet"), ("precision", "recall")
_MEANING = {
    "kid": "distance between generated and real images; fair for small sets (lower is better)",
    "fid": "the usual distance between generated and real images (lower is better)",
    "frechet": "Frechet distance in random features, not an FID (lower is better)",
    "precision": "share of generated images that look real (higher is better)",
    "recall": "share of real variety that is generated (higher is better)",
    "ppl": "how abruptly images change along a walk in w; compare between runs (lower is smoother)",
}


@dataclass(frozen=True)
class Verdict:
    """One measured quantity against its floor and the untrained generator."""

    metric: str
    meaning: str
    value: float
    floor: float | None
    untrained: float | None
    grade: Grade | None  # None where nothing bounds it from both sides

    @property
    def kind(self) -> str:
        """First word of the metric's name: kid, fid, precision, recall, ppl"""
        return self.metric.partition("_")[0]


class _Bounded(NamedTuple):
    value: float
    floor: float
    untrained: float


@dataclass(frozen=True)
class Advice:
    """One thing to try, and the measurement that suggests it."""

    action: str
    because: str


def verdicts(results: Mapping[str, Mapping[str, float]]) -> list[Verdict]:
    """Every metric of reports/metrics.json, judged."""
    judged = []
    for metric, value in results["metrics"].items():
        floor, untrained = results["floor"].get(metric), results["untrained"].get(metric)
        kind = metric.partition("_")[0]
        grade = _grade(kind, value, floor, untrained)
        judged.append(Verdict(metric, _MEANING.get(kind, ""), value, floor, untrained, grade))
    return judged


def _grade(kind: str, value: float, floor: float | None, untrained: float | None) -> Grade | None:
    if floor is None or untrained is None:
        return None
    if kind in LOWER_IS_BETTER:
        if value <= max(GOOD_FLOORS * floor, GOOD_SHARE * untrained):
            return "good"
        return "ok" if value <= OK_SHARE * untrained else "poor"
    if kind in HIGHER_IS_BETTER:
        if value >= GOOD_SHARE_OF_REAL * floor:
            return "good"
        return "ok" if value >= OK_SHARE_OF_REAL * floor else "poor"
    return None


def headline(judged: Sequence[Verdict]) -> str:
    """The result in one plain sentence.

    Raises ValueError when KID was not measured.
    """
    kid = _bounded_kid(judged)
    if kid.value >= kid.untrained:
        return f"KID {kid.value:.3g}: no closer to the real images than the untrained network."
    if kid.value <= kid.floor or kid.value <= 0:
        return f"KID {kid.value:.3g}: this measure cannot tell the generated images from real ones."
    times = kid.untrained / kid.value
    shown = f"{times:.0f}" if times >= 10 else f"{times:.1f}"
    return f"KID {kid.value:.3g}: {shown} times closer to the real images than the untrained network."


def yardstick(judged: Sequence[Verdict], num_images: int) -> str:
    """What the headline is measured against."""
    kid = _bounded_kid(judged)
    return (
        f"The untrained network scores {kid.untrained:.3g}. Real images against other real images score "
        f"{kid.floor:.2g}, the floor. Measured with {num_images} images."
    )


def readings(ticks: Ticks, config: Config) -> list[tuple[str, str]]:
    """One line for each panel of training.png: (title, what it shows)."""
    lines = [
        ("Losses", _read_losses(ticks)),
        ("Scores of D", _read_scores(ticks)),
        ("Augmentation", _read_augmentation(ticks, config)),
        (
            "R1 penalty",
            _if(ticks, "loss/r1_penalty", "Squared gradient of D at real images; it should not rise forever."),
        ),
        (
            "Path length penalty",
            _if(ticks, "loss/pl_penalty", "How unevenly G reacts to steps in w; it should settle."),
        ),
        ("Speed", _read_speed(ticks)),
    ]
    return [(title, line) for title, line in lines if line]


def _if(ticks: Ticks, name: str, line: str) -> str:
    return line if any(name in tick for tick in ticks) else ""


def _read_losses(ticks: Ticks) -> str:
    if not _has(ticks, "loss/G", "loss/D"):
        return ""
    last = ticks[-1]
    # At equilibrium D is undecided, D(x) = 1/2: softplus(0) = 0.69 for G and twice that for D (Goodfellow et al. 2014).
    return (
        f"G {last['loss/G']:.2f}, D {last['loss/D']:.2f} at the end. They balance and need not fall; a D that cannot "
        "tell real from generated has 1.39, and one that always can has 0."
    )


def _read_scores(ticks: Ticks) -> str:
    if not _has(ticks, "logits/real", "logits/gen"):
        return ""
    first, last = ticks[min(1, len(ticks) - 1)], ticks[-1]
    before, after = (tick["logits/real"] - tick["logits/gen"] for tick in (first, last))
    verb = "widened" if after > before else "narrowed"
    return f"Real minus generated {verb} from {before:.2f} to {after:.2f}; a gap that runs away is overfitting."


def _read_augmentation(ticks: Ticks, config: Config) -> str:
    if not _has(ticks, "augment/p"):
        return ""
    p, cap = ticks[-1]["augment/p"], config.augment.p_max
    if config.augment.mode == "none":
        return "Augmentation is off (augment.mode: none)."
    if config.augment.mode == "fixed":
        return f"Fixed at p = {p:.2f}."
    state = "at its cap" if p >= AT_CAP * cap else "below its cap"
    return f"p ended at {p:.2f}, {state} of {cap:g}; it moves so that r_t meets {config.augment.ada_target:g}."


def _read_speed(ticks: Ticks) -> str:
    if not _has(ticks, "sec_per_kimg"):
        return ""
    speeds = sorted(tick["sec_per_kimg"] for tick in ticks if "sec_per_kimg" in tick)
    return f"{speeds[len(speeds) // 2]:.2f} s per 1000 images (median)."


def advice(judged: Sequence[Verdict], truncation: Sequence[Mapping[str, float]], ticks: Ticks, config: Config,
           num_images: int) -> list[Advice]:  # fmt: skip
    """What to try next, most useful first; every item names the measurement it rests on."""
    found = [
        _overfitting(ticks, config),
        _distance(judged, ticks, config),
        _variety(judged, config),
        _fidelity(judged, config),
        _best_psi(truncation, config),
        _more_measurement(judged, num_images),
    ]
    return [item for item in found if item]


def _at_cap(ticks: Ticks, config: Config) -> bool:
    return config.augment.mode == "ada" and _has(ticks, "augment/p") and (
        ticks[-1]["augment/p"] >= AT_CAP * config.augment.p_max
    )  # fmt: skip


def _overfitting(ticks: Ticks, config: Config) -> Advice | None:
    if _at_cap(ticks, config):
        return Advice(
            "Add training images, or double loss.r1_gamma.",
            f"Augmentation reached its cap (augment.p_max = {config.augment.p_max:g}) and D still tells the training "
            "images apart: it is learning them by heart.",
        )
    if config.augment.mode == "none" and _has(ticks, "augment/r_t"):
        r_t = ticks[-1]["augment/r_t"]
        if r_t > config.augment.ada_target + R_T_SLACK:
            return Advice(
                "Set augment.mode to ada.", f"D is sure of {r_t:.0%} more training images than it doubts (r_t)."
            )
    return None


def _distance(judged: Sequence[Verdict], ticks: Ticks, config: Config) -> Advice | None:
    kid = _find(judged, "kid")
    if kid is None or kid.floor is None or kid.grade == "good" or _at_cap(ticks, config):
        return None
    return Advice(
        f"Train longer: train.total_kimg from {config.train.total_kimg:g} to {2 * config.train.total_kimg:g}.",
        f"KID {kid.value:.3g} is still far above the floor of {kid.floor:.2g}, and D is not overfitting.",
    )


def _variety(judged: Sequence[Verdict], config: Config) -> Advice | None:
    recall = _find(judged, "recall")
    if recall is None or recall.grade in ("good", None):
        return None
    mirror = "" if config.data.xflip else " Where left and right do not matter, data.xflip: true doubles the images."
    return Advice(
        "For more variety, show images at psi = 1 and train on more, and more varied, images." + mirror,
        f"Recall is {recall.value:.2f} where real images reach {recall.floor:.2f}: kinds of pictures are missing.",
    )


def _fidelity(judged: Sequence[Verdict], config: Config) -> Advice | None:
    precision = _find(judged, "precision")
    if precision is None or precision.grade in ("good", None):
        return None
    return Advice(
        f"For cleaner pictures, lower render.truncation_psi (now {config.render.truncation_psi:g}); for a better "
        "generator, give it more capacity (generator.channel_base).",
        f"Precision is {precision.value:.2f} where real images reach {precision.floor:.2f}: many pictures look wrong.",
    )


def _best_psi(truncation: Sequence[Mapping[str, float]], config: Config) -> Advice | None:
    names = [name for name in truncation[0] if name.startswith("kid")] if truncation else []
    full = [row for row in truncation if row["psi"] == 1]
    if not names or not full:
        return None
    best = min(truncation, key=lambda row: row[names[0]])
    if best["psi"] == config.render.truncation_psi or best[names[0]] >= BETTER_PSI * full[0][names[0]]:
        return None
    return Advice(
        f"Show images at psi = {best['psi']:g}: set render.truncation_psi.",
        f"{names[0]} is lowest there: {best[names[0]]:.3g} against {full[0][names[0]]:.3g} at psi = 1.",
    )


def _more_measurement(judged: Sequence[Verdict], num_images: int) -> Advice | None:
    if num_images >= FEW_IMAGES:
        return None
    return Advice(
        f"Before comparing two good runs, raise evaluate.num_images (now {num_images}).",
        f"With fewer than {FEW_IMAGES} images FID is biased upwards; compare only numbers of the same count.",
    )


def _bounded_kid(judged: Sequence[Verdict]) -> "_Bounded":
    kid = _find(judged, "kid")
    if kid is None or kid.floor is None or kid.untrained is None:
        raise ValueError("reports/metrics.json lacks kid_* with floor and untrained. Run `dvc repro evaluate` again.")
    return _Bounded(kid.value, kid.floor, kid.untrained)


def _find(judged: Sequence[Verdict], kind: str) -> Verdict | None:
    return next((verdict for verdict in judged if verdict.kind == kind), None)


def _has(ticks: Ticks, *names: str) -> bool:
    return bool(ticks) and all(name in ticks[-1] for name in names)
