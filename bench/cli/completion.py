"""``pbench completion``, and which names a shell is offered for which option."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem, FishComplete, ShellComplete, ZshComplete

from ..contracts import registry
from .options import json_option

#: Set by the shell's script while it asks for completions.
ASKING = "_PBENCH_COMPLETE"
#: Unlike click's own script this one counts words by white space: bash breaks them at ``@``, which ids of metrics hold, and
#: puts an answer in the place of what follows the last break.
BASH = """\
_pbench_completion() {
    local line="${COMP_LINE:0:COMP_POINT}" word head="" break part kind value
    local -a words
    read -ra words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    word="${words[${#words[@]}-1]}"
    for break in @ : =; do
        part="${word%"${word##*"$break"}"}"
        [[ "$COMP_WORDBREAKS" == *"$break"* && ${#part} -gt ${#head} ]] && head="$part"
    done
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case "$kind" in
            dir) compopt -o dirnames 2> /dev/null ;;
            file) compopt -o default 2> /dev/null ;;
            plain) COMPREPLY+=("${value#"$head"}") ;;
        esac
    done < <(COMP_WORDS="$line" COMP_CWORD=$((${#words[@]} - 1)) _PBENCH_COMPLETE=bash_complete "${words[0]}" 2> /dev/null)
}
complete -o nosort -F _pbench_completion pbench
"""
#: Where a line that loads the script belongs, and the line.
INSTALL = {
    "bash": ("~/.bashrc", 'eval "$(pbench completion bash)"'),
    "zsh": ("~/.zshrc, after compinit", 'eval "$(pbench completion zsh)"'),
    "fish": ("~/.config/fish/config.fish", "pbench completion fish | source"),
}

Names = Callable[[], Iterable[tuple[str, str]]]


@click.command(short_help="Print a script that completes commands, options and names in your shell.")
@click.argument("shell", type=click.Choice(list(INSTALL)))
@json_option
def completion(shell: str, as_json: bool) -> int:
    """Print the script that lets SHELL complete commands, options, and names of models, data sets, splits and metrics.

    Load it in every new shell from ~/.bashrc, ~/.zshrc (after compinit) or ~/.config/fish/config.fish.

    \b
    Examples:
      eval "$(pbench completion bash)"
      eval "$(pbench completion zsh)"
      pbench completion fish | source
    """
    where, line = INSTALL[shell]
    if as_json:
        click.echo(json.dumps({"shell": shell, "script": script(shell), "file": where, "line": line}, indent=1))
    else:
        click.echo(script(shell), nl=False)
    return 0


def script(shell: str) -> str:
    """The script for a shell."""
    if shell == "bash":
        return BASH
    made: dict[str, type[ShellComplete]] = {"zsh": ZshComplete, "fish": FishComplete}
    return made[shell](click.Command("pbench"), {}, "pbench", ASKING).source().lstrip("\n")


def _names(kind: str, *, groups: bool = False) -> Names:
    def found() -> Iterable[tuple[str, str]]:
        entries = registry.REGISTRIES[kind]
        yield from ((name, entries.entry(name).summary) for name in entries if name != "your.h5ad")
        if groups:
            yield "all", f"every one of the {kind}"
            yield from ((group, "a group") for group in sorted(set(entries.groups().values())))

    return found


def _everything() -> Iterable[tuple[str, str]]:
    for kind in registry.REGISTRIES:
        yield from _names(kind)()


def _metrics() -> Iterable[tuple[str, str]]:
    from ...metrics import PROFILES

    yield from ((name, "a profile") for name in PROFILES)
    yield from _names("metrics")()


def _fetched() -> Iterable[tuple[str, str]]:
    yield from _names("datasets")()
    yield "go", "Gene Ontology annotations"


def _kinds() -> Iterable[tuple[str, str]]:
    return [(kind, "") for kind in registry.REGISTRIES]


#: What an option offers in every command; files as well, where the last part is True.
OPTIONS: dict[str, tuple[Names, bool]] = {
    "--models": (_names("models", groups=True), False),
    "--model": (_names("models"), False),
    "--dataset": (_names("datasets", groups=True), True),
    "--truth": (_names("datasets"), True),
    "--split": (_names("splits"), True),
    "--metrics": (_metrics, False),
}
#: The same of arguments, by command and name.
ARGUMENTS: dict[tuple[str, str], tuple[Names, bool]] = {
    ("show", "name"): (_everything, False),
    ("check", "name"): (_everything, True),
    ("audit", "split"): (_names("splits"), True),
    ("fetch", "names"): (_fetched, False),
    ("list", "kind"): (_kinds, False),
}


def asking() -> bool:
    """Whether a shell is asking for completions, rather than somebody for a command."""
    return ASKING in os.environ


def completing(command: click.Command) -> click.Command:
    """The command, whose options offer registered names."""
    for parameter in command.params:
        offered = next((OPTIONS[o] for o in parameter.opts if o in OPTIONS), None)
        offered = offered or ARGUMENTS.get((command.name or "", parameter.name or ""))
        if offered is not None:
            _offer(parameter, *offered)
    return command


def _offer(parameter: Any, names: Names, files: bool) -> None:
    def complete(context: click.Context, incomplete: str) -> list[CompletionItem]:
        # Of a list only the last part is open.
        kept, comma, last = incomplete.rpartition(",")
        used = set(kept.split(","))
        found = [
            CompletionItem(f"{kept}{comma}{name}", help=summary)
            for name, summary in names()
            if name.startswith(last) and name not in used
        ]
        return found or ([CompletionItem(incomplete, type="file")] if files else [])

    parameter.shell_complete = complete
