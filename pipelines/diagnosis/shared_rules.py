"""What alarms, verdicts and the report have to agree on, and the remedy that they share."""

from pipelines.artifacts.ticks import TickRow
from pipelines.diagnosis.thresholds import AT_CAP, STRONGER
from stylegan.config import Config
from stylegan.config.augmentation import adapts


def is_at_cap(row: TickRow, config: Config) -> bool:
    """Whether adaptive augmentation is at its highest probability, and can do no more against overfitting"""
    augment = config.augment
    return adapts(augment) and augment.p_max > 0 and (row.augment.p or 0.0) >= AT_CAP * augment.p_max


def regularizer(config: Config) -> tuple[str, float]:
    """The parameter that weighs D's regulariser, and its value"""
    if config.loss.d_regularizer == "gp":
        return "loss.gp_weight", config.loss.gp_weight
    return "loss.r1_gamma", config.loss.r1_gamma


def stronger_regularizer(config: Config) -> str:
    """ "loss.r1_gamma from 0.5 to 2" """
    name, weight = regularizer(config)
    return f"{name} from {weight:g} to {STRONGER * weight:g}" if weight else f"{name} above 0"
