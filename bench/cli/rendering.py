"""Records to boards, for the commands that show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...leaderboards.board import Board, boards, refused
from ...leaderboards.identification import Identification, identifications
from ...leaderboards.markdown import render
from ..contracts import registry
from ..contracts.metric import MetricInfo
from ..engine.encodings import read_agreements
from ..engine.store import OK, Store, current
from .options import usable

Keep = Callable[[Mapping[str, Any]], bool]
Shown = Callable[[str], bool]


@dataclass(frozen=True)
class Loaded:
    """Boards of predictions and of latent variables, the metrics, what is refused, and which files are damaged."""

    boards: list[Board]
    codes: list[Identification]
    metrics: dict[str, MetricInfo]
    refused: list[str]
    damaged: list[str]

    def render(self) -> str:
        """All of it as markdown."""
        return render(self.boards, self.metrics, self.refused, self.damaged, self.codes)


def load_boards(results: Path, keep: Keep, shown: Shown = lambda model: True) -> Loaded:
    """Boards of the records in a results folder that satisfy `keep`.

    Models that are not `shown` stand on no board; as controls they still say what the metrics can tell.
    """
    store = Store(results)
    whole, damaged = store.whole_and_damaged()
    cards = current(c for c in whole if keep(c))
    rows = store.rows(c for c in cards if c["status"] == OK)
    metrics = {name: registry.metrics.get(name) for name in usable(registry.metrics)}
    return Loaded(
        boards(cards, rows, metrics, shown),
        identifications(cards, rows, metrics, read_agreements(results), shown),
        metrics,
        refused(c for c in cards if shown(c["model"])),
        [path.name for path in damaged],
    )


def render_boards(results: Path, keep: Keep, shown: Shown = lambda model: True) -> str:
    """Markdown of the records in a results folder that satisfy `keep`."""
    return load_boards(results, keep, shown).render()
