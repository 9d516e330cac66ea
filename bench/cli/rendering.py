"""Records to boards, for the commands that show and publish them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...leaderboards.board import Board, boards, refused
from ...leaderboards.history import read_history
from ...leaderboards.identification import Identification, identifications
from ...leaderboards.markdown import render
from ...leaderboards.words import read_entries, words_of
from ..contracts import registry
from ..contracts.errors import UsageError
from ..contracts.metric import MetricInfo
from ..engine.bundle import find_bundles, read_bundle
from ..engine.encodings import read_agreements
from ..engine.store import OK, Store, current
from .options import usable
from .progress import Silent

if TYPE_CHECKING:
    from ...leaderboards.published import Joined, Published, Source

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


#: Below a root: the bundles, the plain words, and the frozen numbers of releases.
RECORDS, WORDS, HISTORY = "records", "published.toml", "history.json"


def read_published(root: Path, results: Path | None, reporter: Silent) -> Published:
    """Everything that is published from a root of bundles, or from a folder of results where there is one.

    Parameters
    ----------
    root
        Holds ``records/``, and perhaps plain words and a history, which count for results too.

    Raises
    ------
    UsageError
        If there are no records.
    DataError
        If a bundle is not whole: a board with less in it than was handed in would not say so.
    """
    from ...leaderboards.published import Published, no_shifts

    entries = read_entries(root / WORDS)
    history = read_history(root / HISTORY)
    sources: Sequence[Source] = ()
    damaged: Sequence[str] = ()
    if results is None:
        joined, sources = _bundles(root, reporter)
        cards, rows, shifts, agreements = joined.cards, joined.rows, joined.shifts, joined.agreements
    else:
        if not (results / "records").is_dir():
            raise UsageError(f"{results} holds no results. Type: pbench run --out {results}")
        store = Store(results)
        reporter.phase(f"reading {results}")
        whole, bad = store.whole_and_damaged()
        cards, shifts, agreements = current(whole), no_shifts(), read_agreements(results)
        rows, damaged = store.rows(c for c in cards if c["status"] == OK), [path.name for path in bad]
    metrics = {name: registry.metrics.get(name) for name in usable(registry.metrics)}
    made: list[Board] = []
    codes: list[Identification] = []
    listed = {(e.dataset, e.split): e for e in entries}
    asked = {(c["spec"]["dataset"], c["spec"]["split"]) for c in cards}
    # The order of published.toml, then the others by name.
    places = [p for p in listed if p in asked] + sorted(asked - set(listed))
    parts = dict(list(rows.groupby(["dataset", "split"], sort=False))) if len(rows) else {}
    reporter.planned(len(places), 0)
    for place in places:
        title, started = " / ".join(place), time.monotonic()
        reporter.started(title)
        own = [c for c in cards if (c["spec"]["dataset"], c["spec"]["split"]) == place]
        part = parts.get(place, rows[:0])
        made += boards(own, part, metrics)
        codes += identifications(own, part, metrics, agreements)
        reporter.finished(title, OK, "", time.monotonic() - started)
    words = {(b.dataset, b.split): words_of(b, listed.get((b.dataset, b.split)), metrics) for b in (*codes, *made)}
    return Published(made, codes, metrics, cards, rows, shifts, words, history, refused(cards), damaged, sources)


def _bundles(root: Path, reporter: Silent) -> tuple[Joined, list[Source]]:
    from ...leaderboards.published import Source, join

    folders = find_bundles(root / RECORDS)
    if not folders:
        raise UsageError(
            f"{root / RECORDS} holds no bundles of records. Type: pbench submit {root / RECORDS}/DATASET/SPLIT/NAME --results RESULTS"
        )
    found = {}
    for folder in folders:
        reporter.phase(f"reading {folder.relative_to(root)}")
        found[folder.relative_to(root).as_posix()] = read_bundle(folder)
    sources = [Source(b.meta["dataset"], b.meta["split"], name, b.meta["id"]) for name, b in sorted(found.items())]
    return join(found), sources
