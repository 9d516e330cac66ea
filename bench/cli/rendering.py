"""Records to boards, for the commands that show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...leaderboards.board import Board, boards, refused
from ...leaderboards.markdown import render
from ..contracts import registry
from ..contracts.metric import MetricInfo
from ..engine.store import OK, Store, current
from .options import usable

Keep = Callable[[Mapping[str, Any]], bool]
Shown = Callable[[str], bool]


def load_boards(
    results: Path, keep: Keep, shown: Shown = lambda model: True
) -> tuple[list[Board], dict[str, MetricInfo], list[str], list[str]]:
    """Boards of the records in a results folder that satisfy `keep`, the metrics, what is refused, and which files are damaged.

    Models that are not `shown` stand on no board; as controls they still say what the metrics can tell.
    """
    store = Store(results)
    whole, damaged = store.whole_and_damaged()
    cards = current(c for c in whole if keep(c))
    rows = store.rows(c for c in cards if c["status"] == OK)
    metrics = {name: registry.metrics.get(name) for name in usable(registry.metrics)}
    kept_off = refused(c for c in cards if shown(c["model"]))
    return boards(cards, rows, metrics, shown), metrics, kept_off, [path.name for path in damaged]


def render_boards(results: Path, keep: Keep, shown: Shown = lambda model: True) -> str:
    """Markdown of the records in a results folder that satisfy `keep`."""
    return render(*load_boards(results, keep, shown))
