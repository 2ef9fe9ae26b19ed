"""What each curve of the training shows, in one line."""

from collections.abc import Mapping, Sequence

from pipelines.diagnosis.shared_rules import is_at_cap
from stylegan.config import Config

Ticks = Sequence[Mapping[str, float]]


def has(ticks: Ticks, *names: str) -> bool:
    """Whether the last tick has all these columns"""
    return bool(ticks) and all(name in ticks[-1] for name in names)


def ended_at_cap(ticks: Ticks, config: Config) -> bool:
    """Whether adaptive augmentation ended at its highest probability"""
    return bool(ticks) and is_at_cap(ticks[-1], config)


def readings(ticks: Ticks, config: Config) -> list[tuple[str, str]]:
    """One line for each panel of training.png: (title, what it shows)"""
    lines = [
        ("Losses", _read_losses(ticks, config)),
        ("Scores of D", _read_scores(ticks)),
        ("Augmentation", _read_augmentation(ticks, config)),
        (
            "R1 penalty",
            _if(ticks, "loss/r1_penalty", "Squared gradient of D at real images; it should not rise forever."),
        ),
        (
            "Gradient penalty",
            _if(ticks, "loss/gp_penalty", "How far the gradient of D is from 1 between real and generated images."),
        ),
        (
            "Path length penalty",
            _if(ticks, "loss/pl_penalty", "How unevenly G reacts to steps in w; it should settle."),
        ),
        ("KID while training", _read_monitored_distance(ticks)),
        ("Precision and recall while training", _read_monitored_shares(ticks)),
    ]
    return [(title, line) for title, line in lines if line]


def _if(ticks: Ticks, name: str, line: str) -> str:
    return line if any(name in tick for tick in ticks) else ""


def _read_losses(ticks: Ticks, config: Config) -> str:
    if not has(ticks, "loss/G", "loss/D"):
        return ""
    last = ticks[-1]
    if config.loss.adversarial == "wgan_gp":
        return (
            f"G {last['loss/G']:.2f}, D {last['loss/D']:.2f} at the end. Minus the loss of D estimates the distance "
            "between real and generated images, which should shrink; the loss of G says little alone."
        )
    # At equilibrium D is undecided, D(x) = 1/2: softplus(0) = 0.69 for G and twice that for D (Goodfellow et al. 2014).
    return (
        f"G {last['loss/G']:.2f}, D {last['loss/D']:.2f} at the end. They balance and need not fall; a D that cannot "
        "tell real from generated has 1.39, and one that always can has 0."
    )


def _read_scores(ticks: Ticks) -> str:
    if not has(ticks, "logits/real", "logits/gen"):
        return ""
    first, last = ticks[min(1, len(ticks) - 1)], ticks[-1]
    before, after = (tick["logits/real"] - tick["logits/gen"] for tick in (first, last))
    verb = "widened" if after > before else "narrowed"
    return f"Real minus generated {verb} from {before:.2f} to {after:.2f}; a gap that runs away is overfitting."


def _read_augmentation(ticks: Ticks, config: Config) -> str:
    if not has(ticks, "augment/p"):
        return ""
    p, cap = ticks[-1]["augment/p"], config.augment.p_max
    if config.augment.mode == "none":
        return "Augmentation is off (augment.mode: none)."
    if config.augment.mode == "fixed":
        return f"Fixed at p = {p:.2f}."
    if config.augment.mode == "diffaugment":
        return f"Every image is augmented, without a p (augment.diffaugment: {', '.join(config.augment.diffaugment)})."
    state = "at its cap" if ended_at_cap(ticks, config) else "below its cap"
    name = "r_v" if config.augment.mode == "ada_rv" else "r_t"
    return f"p ended at {p:.2f}, {state} of {cap:g}; it moves so that {name} meets {config.augment.ada_target:g}."


def _read_monitored_distance(ticks: Ticks) -> str:
    found = [(tick["monitor/kid"], tick["kimg"]) for tick in ticks if "monitor/kid" in tick]
    if not found:
        return ""
    best, kimg = min(found)
    return f"{found[-1][0]:.3g} at the last snapshot; the lowest was {best:.3g}, at {kimg:g} kimg."


def _read_monitored_shares(ticks: Ticks) -> str:
    names = ("monitor/precision", "monitor/recall")
    found = [tick for tick in ticks if all(name in tick for name in names)]
    if not found:
        return ""
    precision, recall = (found[-1][name] for name in names)
    return (
        f"Precision {precision:.2g} and recall {recall:.2g} at the last snapshot. Recall that falls while precision "
        "rises is variety being lost."
    )
