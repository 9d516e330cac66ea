"""The page of the commands: what each says when it is asked for help."""

from __future__ import annotations

import click

from .main import COMMANDS, cli
from .page_text import fenced, plain

#: Columns of the text; a terminal's own width is not asked for.
WIDTH = 110


def commands_page() -> str:
    """Markdown with the help of every command."""
    parts = ["# Commands", "What `pbench COMMAND --help` prints."]
    for name, (_, summary) in COMMANDS.items():
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        context = click.Context(
            command, info_name=f"pbench {name}", terminal_width=WIDTH, help_option_names=["-h", "--help"], color=False
        )
        parts += [f"## {plain(name)}", plain(summary), fenced(command.get_help(context))]
    return "\n\n".join(parts) + "\n"
