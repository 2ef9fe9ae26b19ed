"""The command `stylegan`: every stage, service and tool of this project. `stylegan COMMAND --help` shows an example.

A command is imported when its arguments are known to be right, so that --help and completion answer at once.
"""

import argparse
import difflib
import sys
from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem

from pipelines import command_table
from stylegan.command_line import Command
from stylegan.commands import table
from stylegan.exit_codes import INTERRUPTED, MISUSED, exit_code
from stylegan.text import print_lines

SECTIONS = {
    "Stages of the pipeline, in order": command_table.STAGES,
    "Trainings to compare": command_table.EXPERIMENTS,
    "Images from a generator": table.COMMANDS,
    "Services": command_table.SERVICES,
}
COMMANDS = {command.name: command for commands in SECTIONS.values() for command in commands}


def run(command: Command, arguments: Sequence[str]) -> int:
    """Check the arguments, then import the command and hand them over; returns the exit code."""
    command.parse(arguments)
    if command in table.COMMANDS:
        from stylegan.__main__ import main

        return main([command.name, *arguments])
    code: int = command.load()(arguments)
    return code


class Forwarded(click.Command):
    """A command whose arguments belong to a parser of its own."""

    def __init__(self, command: Command) -> None:
        super().__init__(command.name, short_help=command.about, add_help_option=False)
        self.command = command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep all of them."""
        ctx.args = list(args)
        return ctx.args

    def invoke(self, ctx: click.Context) -> int:
        """Hand them over."""
        return run(self.command, ctx.args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The command's options after a dash, else files"""
        if not incomplete.startswith("-"):
            return [CompletionItem(incomplete, type="file")]
        actions = self.command.build_parser()._actions  # argparse offers no other list
        return [
            CompletionItem(option, help=None if action.help is argparse.SUPPRESS else action.help)
            for action in actions
            for option in action.option_strings
            if option.startswith(incomplete)
        ]


class Gathered(click.Group):
    """Commands in sections; a command that does not exist is reported with the nearest name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of --help"""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """By its name"""
        return Forwarded(COMMANDS[name]) if name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command. Raises UsageError that suggests another name."""
        name = args[0]
        if name not in COMMANDS and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else "`stylegan --help` lists them."
            raise click.UsageError(f"{name!r} is not a command; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A list for each section"""
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(command.name, command.about) for command in commands])


GROUP = Gathered(
    "stylegan",
    help="Train, evaluate and use StyleGAN2-ADA generators. `stylegan COMMAND --help` shows options and an example.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


@exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; an unknown command is one line."""
    try:
        result: int = GROUP.main(arguments, prog_name="stylegan", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return MISUSED
    except click.UsageError as error:
        print_lines(f"stylegan: error: {error.format_message()}", to_stderr=True)
        return MISUSED
    except click.Abort:
        return INTERRUPTED
    return result


if __name__ == "__main__":
    sys.exit(main())
