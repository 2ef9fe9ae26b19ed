"""What alarms, verdicts and the report have to agree on, and the remedy that they share."""

from pipelines.artifacts.ticks import TickRow
from pipelines.diagnosis.thresholds import AT_CAP, STRONGER
from stylegan.config import Config


def is_at_cap(row: TickRow, config: Config) -> bool:
    """Whether adaptive augmentation is at its highest probability, and can do no more against overfitting"""
    augment = config.augment
    return augment.adapts and augment.p_max > 0 and (row.augment.p or 0.0) >= AT_CAP * augment.p_max


def stronger_regularizer(config: Config) -> str:
    """ "loss.r1_gamma from 0.5 to 2" """
    loss = config.loss
    weight = loss.gp_weight if loss.d_regularizer == "gp" else loss.r1_gamma
    return f"{loss.d_reg_name} from {weight:g} to {STRONGER * weight:g}" if weight else f"{loss.d_reg_name} above 0"
