"""What alarms, verdicts and the report have to agree on, and the remedies that they share."""

from pipelines.artifacts.ticks import TickRow
from pipelines.diagnosis.thresholds import AT_CAP, LEAK_FREE_P, R_T_SLACK, STRONGER
from stylegan.config import Config
from stylegan.config.augmentation import adapts


def overfitting_measure(config: Config) -> str | None:
    """The statistic that shows whether D memorises the training images: r_v or r_t; None where neither does"""
    if config.augment.mode == "ada_rv":
        return "r_v"
    # The scores of WGAN-GP have no zero between real and generated images, so their signs say nothing.
    return "r_t" if config.loss.adversarial == "non_saturating" else None


def overfitting(row: TickRow, config: Config) -> float | None:
    """How far D memorises the training images; None where nothing tells"""
    name = overfitting_measure(config)
    return None if name is None else row.augment.r_v if name == "r_v" else row.augment.r_t


def is_overfitting(row: TickRow, config: Config) -> bool | None:
    """Whether D memorises the training images; None where nothing tells"""
    value = overfitting(row, config)
    return None if value is None else value > config.augment.ada_target + R_T_SLACK


def reaches_cap(row: TickRow, config: Config) -> bool:
    """Whether adaptive augmentation is at its highest probability"""
    augment = config.augment
    return adapts(augment) and augment.p_max > 0 and (row.augment.p or 0.0) >= AT_CAP * augment.p_max


def is_at_cap(row: TickRow, config: Config) -> bool:
    """Whether the cap keeps augmentation from doing more against overfitting

    p follows r_t or r_v: where that is below its target, p is about to fall, and the cap is not what holds it.
    """
    value = overfitting(row, config)
    return reaches_cap(row, config) and (value is None or value > config.augment.ada_target)


def regularizer(config: Config) -> tuple[str, float]:
    """The setting that weighs D's regulariser, and its value"""
    if config.loss.d_regularizer == "gp":
        return "loss.gp_weight", config.loss.gp_weight
    return "loss.r1_gamma", config.loss.r1_gamma


def stronger_regularizer(config: Config) -> str:
    """ "loss.r1_gamma from 0.5 to 2" """
    name, weight = regularizer(config)
    return f"{name} from {weight:g} to {STRONGER * weight:g}" if weight else f"{name} above 0"


def less_overfitting(config: Config, *, at_cap: bool) -> str:
    """What to do against a D that memorises the training images"""
    augment, regularize = config.augment, f"raise {stronger_regularizer(config)}."
    if not adapts(augment):
        # msg augments nothing, and ada follows signs that wgan_gp does not have.
        can_adapt = config.discriminator.architecture != "msg" and config.loss.adversarial == "non_saturating"
        return (
            f"Set augment.mode (now {augment.mode}) to ada." if can_adapt else f"Add training images, or {regularize}"
        )
    if augment.p_max == 0 or (at_cap and augment.p_max < LEAK_FREE_P):
        return f"Raise augment.p_max from {augment.p_max:g} to {LEAK_FREE_P:g}, add training images, or {regularize}"
    leaks = f" Leave augment.p_max at {augment.p_max:g}: above {LEAK_FREE_P:g} augmentations leak." if at_cap else ""
    return f"Add training images, or {regularize}{leaks}"
