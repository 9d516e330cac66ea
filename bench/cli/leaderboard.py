"""``pbench leaderboard``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from ...leaderboards.board import Board
from ...leaderboards.figure import critical_difference, file_name
from ..contracts.errors import UsageError, suggestion
from ..engine.store import Store
from .options import json_option, load_plugins, plugin_option, results_option
from .rendering import load_boards


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
@click.option(
    "--figures",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also draw the order of the models on each board as an SVG file in this folder.",
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
    figures: Path | None,
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
      pbench leaderboard --figures figures
      pbench leaderboard --json

    --json prints a list of boards, those of latent variables with "kind" identification; with --check, an object of "boards" and
    "up_to_date".
    """
    load_plugins(plugins)
    if not (results / "records").is_dir():
        raise UsageError(f"{results} holds no results. Type: pbench run --out {results}")

    def keep(card: Mapping[str, Any]) -> bool:
        spec = card["spec"]
        return (fnmatchcase(spec["dataset"], dataset) or spec["dataset"] == dataset) and (
            fnmatchcase(spec["split"], split) or spec["split"].partition("[")[0] == split
        )

    def shown(model: str) -> bool:
        return any(fnmatchcase(model, m.strip()) for m in models.split(","))

    made = load_boards(results, keep, shown)
    if not (made.boards or made.codes or made.refused) and (dataset, split, models) != ("*", "*", "*"):
        raise UsageError(_nothing(results, dataset, split, models))
    text = made.render()
    same = None
    if check_file is not None:
        same = check_file.is_file() and check_file.read_bytes() == text.encode()
        click.echo(
            f"{check_file} is {'up to date' if same else 'stale; write it with: pbench leaderboard --write ' + str(check_file)}",
            err=True,
        )
    if target is not None:
        target.write_text(text)
    if figures is not None:
        _draw(made.boards, figures)
    if as_json:
        found: Any = [asdict(b) for b in (*made.boards, *made.codes)]
        found = found if same is None else {"boards": found, "up_to_date": same}
        click.echo(json.dumps(_finite(found), indent=1, sort_keys=True))
    elif same is None and target is None:
        click.echo(text, nl=False)
    return 1 if same is False else 0


def _nothing(results: Path, dataset: str, split: str, models: str) -> str:
    """Why filters leave no board, and what there is."""
    cards = Store(results).cards()
    there = {
        "dataset": (dataset, {str(c["spec"]["dataset"]) for c in cards}),
        "split": (split, {str(c["spec"]["split"]) for c in cards}),
        "models": (models, {str(c["model"]) for c in cards}),
    }
    asked = " ".join(f"--{option} '{text}'" for option, (text, _) in there.items() if text != "*")
    held = " ".join(f"--{option}: {suggestion(text, names)}" for option, (text, names) in there.items() if text != "*" and names)
    return f"{results} has no board for {asked}. {held or 'It holds no whole record.'}"


def _draw(boards: list[Board], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for board in boards:
        if (drawing := critical_difference(board)) is not None:
            path = folder / file_name(board)
            path.write_text(drawing)
            click.echo(f"wrote {path}", err=True)


def _finite(value: Any) -> Any:
    """Undefined and infinite numbers as null, since JSON has neither."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
