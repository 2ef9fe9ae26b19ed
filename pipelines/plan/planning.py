"""A plan: every value with its reason, and what it needs. Computed here, shown by __main__."""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.params import Params, leaves, load, override
from pipelines.plan.advice import CHANNELS
from pipelines.plan.cost.speed import Speed, speed_of
from pipelines.plan.origins import Choice, Choices, as_they_are, file_choices, rung_choices, source_of, transfer_choices
from pipelines.plan.pace import pace_choices
from pipelines.plan.resolve import checked, resolve

if TYPE_CHECKING:
    from pipelines.plan.source import Look


@dataclass(frozen=True)
class Plan:
    """What a command line comes to"""

    base: Params  # before
    choices: Choices  # every value and its reason
    params: Params
    speed: Speed
    look: "Look | None"  # at the images, where a source is given

    @property
    def img_channels(self) -> int:
        return CHANNELS[self.params.prepare.mode]

    @property
    def changed(self) -> Choices:
        """The values that are not those of the base"""
        before = dict(leaves(self.base.model_dump(mode="json")))
        return {path: choice for path, choice in self.choices.items() if choice.value != before[path]}


def make_plan(options: argparse.Namespace) -> Plan:
    """Resolve the options: preset, then file, source, networks, row, and over all the command line's assignments.

    Raises ConfigError, FileNotFoundError.
    """
    base = load(options.base)
    ordered = {path: Choice(value, "command line") for path, value in leaves(override({}, options.overrides))}
    choices, look = chosen(options, base, ordered)
    params = checked(choices | ordered)
    speed = speed_of(options, params, CHANNELS[params.prepare.mode])
    if options.preset is not None:
        train = params.train
        paced = pace_choices(train.total_kimg, train.batch_size, speed.sec_per_kimg, speed.snapshot_sec)
        ordered = paced | {path: choices[path] for path in paced if choices[path].origin.startswith("--from")} | ordered
    choices |= ordered
    return Plan(base, choices, checked(choices), speed, look)


def chosen(options: argparse.Namespace, base: Params, ordered: Choices) -> "tuple[Choices, Look | None]":
    """Every value without the assignments of the command line, which are laid over them later; and the images"""
    values = {} if options.values is None else file_choices(options.values, base)
    choices = as_they_are(base)
    if options.preset is not None:
        precision = (values | ordered).get("train.precision", Choice(None, "left to the plan")).value
        choices = resolve(options.preset, options.resolution, options.gpus, base, precision)
    choices |= values
    look = None if options.source is None else look_at_source(options.source, choices, asked=values | ordered)
    choices |= look.choices if look else {}
    if options.resume_from is not None:
        choices |= transfer_choices(options.resume_from)
    if options.rung is not None:
        choices |= rung_choices(options.rung, below=checked(choices | ordered))
    return choices, look


def look_at_source(path: str, choices: Choices, asked: Choices) -> "Look":
    """As pipelines.plan.source.look_at, which imports torch: that there is nothing to look at is reported before."""
    path = source_of(path)
    from pipelines.plan.source import look_at

    return look_at(path, choices, asked)
