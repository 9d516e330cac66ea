"""``pbench leaderboard``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from ..contracts.errors import UsageError
from .options import json_option, load_plugins, plugin_option, results_option
from .rendering import load_boards, render_boards


@click.command(short_help="Render the leaderboard of a results folder.")
@click.option("--dataset", default="*", help="Only this data set (globs allowed).")
@click.option("--split", default="*", help="Only this split (globs allowed).")
@click.option("--models", default="*", help="Only these models (globs and commas allowed).")
@click.option(
    "--write", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file instead of standard output."
)
@click.option(
    "--check",
    "check_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Exit with 1 if this file is not what the records give.",
)
@plugin_option
@results_option
@json_option
def leaderboard(
    dataset: str,
    split: str,
    models: str,
    target: Path | None,
    check_file: Path | None,
    plugins: tuple[str, ...],
    results: Path,
    as_json: bool,
) -> int:
    """Render markdown from the records of a results folder: a pure function of them.

    \b
    Examples:
      pbench leaderboard
      pbench leaderboard --dataset norman-mini --write board.md
      pbench leaderboard --check board.md
      pbench leaderboard --json
    """
    load_plugins(plugins)
    if not (results / "records").is_dir():
        raise UsageError(f"{results} holds no results. Type: pbench run --out {results}")

    def keep(card: Mapping[str, Any]) -> bool:
        spec = card["spec"]
        chosen = any(fnmatchcase(card["model"], m.strip()) for m in models.split(","))
        return (
            chosen
            and fnmatchcase(spec["dataset"], dataset)
            and (fnmatchcase(spec["split"], split) or spec["split"].partition("[")[0] == split)
        )

    if as_json:
        made, _, _ = load_boards(results, keep)
        click.echo(json.dumps(_without_nan([asdict(b) for b in made]), indent=1, sort_keys=True))
        return 0
    text = render_boards(results, keep)
    if check_file is not None:
        same = check_file.is_file() and check_file.read_text() == text
        click.echo(
            f"{check_file} is {'up to date' if same else 'stale; write it with: pbench leaderboard --write ' + str(check_file)}",
            err=True,
        )
        return 0 if same else 1
    if target is not None:
        target.write_text(text)
    else:
        click.echo(text, nl=False)
    return 0


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and value != value else value
