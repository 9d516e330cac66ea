"""``pbench``: the group, its lazily imported commands, and what a mistake looks like."""

from __future__ import annotations

import contextlib
import errno
import importlib
import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

from ..contracts.errors import DataError, PbenchError, suggestion
from .interrupt import Interrupted, interruptible
from .terminal import steady

#: command: (module:object, one line of help); imported only when the command is used, so that help is instant.
COMMANDS = {
    "run": ("run:run", "Run models on data sets and splits, then show the leaderboard."),
    "score": ("score:score", "Score predictions in a file of yours, without any model code."),
    "leaderboard": ("leaderboard:leaderboard", "Render the leaderboard of a results folder."),
    "submit": ("submit:submit", "Write results of one data set and split as a bundle that others can check."),
    "verify": ("verify:verify", "Check bundles: files, cards, and their values against the predictions."),
    "list": ("listing:list_", "List models, data sets, splits and metrics."),
    "show": ("show:show", "Show everything about one model, data set, split or metric."),
    "fetch": ("fetch:fetch", "Bring a data set into the data folder and verify it."),
    "audit": ("audit:audit", "Check a split for leaks of test information into training."),
    "new": ("new:new", "Write a package with a model, data set, metric or split of yours to start from."),
    "check": ("check:check", "Check a model, data set, metric or split of yours against its contract."),
    "publish": ("publish:publish", "Write boards, index and site from the published records."),
    "compare": ("compare:compare", "Say which published numbers moved between two sets of records."),
    "doctor": ("doctor:doctor", "Report versions, folders, plugins and damaged results; --repair puts these aside."),
    "completion": ("completion:completion", "Print a script that completes commands, options and names in your shell."),
}


class Lazy(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(f"..{module}", __name__), attribute)
        from .completion import asking, completing
        from .options import no_empty_paths

        return completing(command) if asking() else no_empty_paths(command)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            ctx.fail(f"there is no command '{name}'. {suggestion(name, COMMANDS)}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        commands = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 fine; 1 finished, but some jobs failed or a check found something; 2 usage; 3 data missing or "
    "wrong; 4 an optional package is missing; 130 interrupted (143 by kill, 129 with the terminal; finished jobs are kept).",
)
@click.version_option(package_name="pbench")
def cli() -> None:
    """Find out which single-cell perturbation predictor to believe.

    \b
    Examples:
      pbench run                                          every model on the embedded simulated screen
      pbench run --models additive,'ridge*' --dataset norman-mini --split doubles
      pbench run --dataset my.h5ad --scale counts --control-label NT --perturbation-key gene
      pbench list models
      pbench check ./my_model.py
    """


def main() -> None:
    """Entry point: errors of ours become one message and an exit code, never a traceback."""
    from .completion import asking

    if asking():
        # A shell in the middle of a line has no use for what went wrong.
        with contextlib.suppress(Exception):
            cli.main(prog_name="pbench", standalone_mode=False)
        sys.exit(1)
    steady()
    try:
        with interruptible():
            code: Any = cli.main(prog_name="pbench", standalone_mode=False)
    except click.exceptions.Abort as error:
        code = interrupted(error.__cause__ or error.__context__)
    except click.ClickException as error:
        _show(error)
        code = error.exit_code
    except PbenchError as error:
        click.echo(f"Error: {error}", err=True)
        code = error.exit_code
    except KeyboardInterrupt as error:
        code = interrupted(error)
    except BrokenPipeError:
        sys.stderr.close()
        code = 1
    except OSError as error:
        if isinstance(error.__context__, Interrupted):
            # The terminal is gone with which nothing can be said.
            sys.exit(error.__context__.exit_code)
        # Of a file or folder of the user: no permission, no space, a file where a folder should be.
        where = " and ".join(str(f) for f in (error.filename, error.filename2) if f is not None)
        click.echo(f"Error: {where + ': ' if where else ''}{error.strerror or error}. {_way_out(error)}", err=True)
        code = DataError.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def _show(error: click.ClickException) -> None:
    """As click shows it, with the message on one line."""
    context = getattr(error, "ctx", None)
    if context is not None and not isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n", err=True)
        click.echo(f"Error: {' '.join(error.format_message().split())}", err=True)
    else:
        error.show()


def _way_out(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "Give yourself the right to it (chmod), or name another file or folder."
    if error.errno == errno.ENOSPC:
        return "Free some space, or name a folder elsewhere."
    return "Name another file or folder."


def interrupted(error: BaseException | None) -> int:
    with contextlib.suppress(OSError):
        # The terminal may be gone.
        click.echo("Interrupted. Finished jobs are kept; type the same command again to do the rest.", err=True)
    return error.exit_code if isinstance(error, Interrupted) else 130
