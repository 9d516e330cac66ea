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


def load_boards(results: Path, keep: Keep) -> tuple[list[Board], dict[str, MetricInfo], list[str]]:
    """Boards of the records in a results folder that satisfy `keep`, the metrics, and what is refused."""
    store = Store(results)
    cards = current(c for c in store.cards() if keep(c))
    rows = store.rows(c for c in cards if c["status"] == OK)
    metrics = {name: registry.metrics.get(name) for name in usable(registry.metrics)}
    return boards(cards, rows, metrics), metrics, refused(cards)


def render_boards(results: Path, keep: Keep) -> str:
    """Markdown of the records in a results folder that satisfy `keep`."""
    return render(*load_boards(results, keep))
