"""Records to text, for the commands that show a leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...leaderboards.board import boards, current, refused
from ...leaderboards.markdown import render
from ..contracts import registry
from ..engine.store import OK, Store
from .options import usable


def render_boards(results: Path, keep: Callable[[Mapping[str, Any]], bool]) -> str:
    """Markdown of the records in a results folder that satisfy `keep`."""
    store = Store(results)
    cards = current(c for c in store.cards() if keep(c))
    rows = store.rows(c for c in cards if c["status"] == OK)
    metrics = {name: registry.metrics.get(name) for name in usable(registry.metrics)}
    return render(boards(cards, rows, metrics), metrics, refused(cards))
