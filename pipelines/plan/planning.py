"""A plan: every value with its reason, and what it needs. Computed here, shown by __main__."""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.params import Params, leaves, load, override
from pipelines.plan.advice import CHANNELS
from pipelines.plan.cost.speed import Speed, speed_of
from pipelines.plan.narrow import choose_length, choose_resolution
from pipelines.plan.origins import Choice, Choices, as_they_are, file_choices, row_choices, source_of, transfer_choices
from pipelines.plan.pace import pace_choices
from pipelines.plan.resolve import checked, resolve

if TYPE_CHECKING:
    from pipelines.plan.source import Look
    from stylegan.data.survey import Survey


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
    if is_narrow(options):
        length = {"train.total_kimg": choose_length(speed.sec_per_kimg)}
        ordered = without_file_values(length, choices) | ordered
        params = checked(choices | ordered)
    if options.preset is not None:
        train = params.train
        paced = pace_choices(train.total_kimg, train.batch_size, speed.sec_per_kimg, speed.snapshot_sec)
        ordered = without_file_values(paced, choices) | ordered
    choices |= ordered
    return Plan(base, choices, checked(choices), speed, look)


def is_narrow(options: argparse.Namespace) -> bool:
    """Whether the networks are made for a processor"""
    return bool(options.preset == "auto" and options.gpus == 0)


def without_file_values(found: Choices, choices: Choices) -> Choices:
    """What was found, but a file's values where it has them"""
    return found | {path: choices[path] for path in found if choices[path].origin.startswith("--from")}


def chosen(options: argparse.Namespace, base: Params, ordered: Choices) -> "tuple[Choices, Look | None]":
    """Every value without the assignments of the command line, which are laid over them later; and the images"""
    values = {} if options.values is None else file_choices(options.values, base)
    choices, asked = as_they_are(base), values | ordered
    source = None if options.source is None else source_of(options.source)
    found = None if source is None else survey_images(source, choices)
    if options.preset is not None:
        choices = preset_values(options, base, asked, found)
    choices |= values
    look = None if source is None or found is None else look_at_images(source, found, choices, asked)
    choices |= look.choices if look else {}
    if options.resume_from is not None:
        choices |= transfer_choices(options.resume_from)
    if options.row is not None:
        choices |= row_choices(options.row, below=checked(choices | ordered))
    return choices, look


def preset_values(options: argparse.Namespace, base: Params, asked: Choices, found: "Survey | None") -> Choices:
    """The preset at the resolution asked for; on a processor, without one, at that which suits the images"""
    precision = asked.get("train.precision", Choice(None, "left to the plan")).value
    suits = options.resolution is None and "prepare.resolution" not in asked and is_narrow(options)
    if found is None or not suits:
        return resolve(options.preset, options.resolution, options.gpus, base, precision)
    resolution = choose_resolution(found)
    choices = resolve(options.preset, resolution.value, options.gpus, base, precision)
    return choices | {"prepare.resolution": resolution}


def survey_images(path: str, choices: Choices) -> "Survey":
    """As pipelines.plan.source.survey_source, which imports torch: a path to nothing is reported before."""
    from pipelines.plan.source import survey_source

    return survey_source(path, choices)


def look_at_images(path: str, found: "Survey", choices: Choices, asked: Choices) -> "Look":
    """As pipelines.plan.source.look_at"""
    from pipelines.plan.source import look_at

    return look_at(path, found, choices, asked)
