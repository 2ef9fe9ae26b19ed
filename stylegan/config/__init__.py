"""The configuration: its sections, and the checks that their values fit together. Loads without torch."""

from stylegan.config.checks import COLOUR_CHANNELS, Config, colour_problems, worker_problems
from stylegan.config.image_counts import count_problems, describe_unused_labels
from stylegan.config.strict import ConfigError, Section, parse

__all__ = [
    "COLOUR_CHANNELS", "Config", "ConfigError", "Section", "colour_problems", "count_problems",
    "describe_unused_labels", "parse", "worker_problems",
]  # fmt: skip
