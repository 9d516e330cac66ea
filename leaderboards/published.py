"""Everything that is published, read once: boards in markdown, the index and the site are pure functions of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ..bench.contracts.metric import MetricInfo
from ..bench.engine.store import OK, current
from .board import Board
from .identification import Identification

Card = Mapping[str, Any]
#: What the scatter of true against predicted changes is drawn from.
SHIFTS = ("dataset", "split", "model", "fold", "condition", "gene", "truth", "predicted")


@dataclass(frozen=True)
class Words:
    """Plain words above a board.

    Parameters
    ----------
    title
        What the board is about, in a line.
    may, may_not
        What a reader may and may not conclude; the latter with a line for each thing.
    command
        The one command that makes the results again; empty where no record says what that was.
    """

    title: str
    may: str
    may_not: str
    command: str


@dataclass(frozen=True)
class Source:
    """A bundle of records behind a board: its folder below the root, and the sha256 of what it holds."""

    dataset: str
    split: str
    folder: str
    id: str


@dataclass(frozen=True)
class Published:
    """All boards with the records behind them.

    Parameters
    ----------
    boards, codes
        Boards of predictions and of latent variables.
    metrics
        Facts about the metrics, in the order of the columns.
    cards, rows
        Current run cards, and their tidy rows.
    shifts
        True and predicted change of genes by model, fold and condition: the columns `SHIFTS`.
    words
        By data set and split, for boards of both kinds.
    history
        Frozen headline means: ``{"version", "numbers": [[dataset, split, model, metric, mean], ...]}``, oldest first.
    refused, damaged
        Results whose audit failed, and records that cannot be read.
    sources
        The bundles, in the order of their folders; none where a folder of results is shown.
    """

    boards: Sequence[Board]
    codes: Sequence[Identification]
    metrics: Mapping[str, MetricInfo]
    cards: Sequence[Card]
    rows: pd.DataFrame
    shifts: pd.DataFrame
    words: Mapping[tuple[str, str], Words]
    history: Sequence[Mapping[str, Any]]
    refused: Sequence[str] = ()
    damaged: Sequence[str] = ()
    sources: Sequence[Source] = ()


class Records(Protocol):
    """What a bundle of records holds."""

    @property
    def meta(self) -> Mapping[str, Any]: ...
    @property
    def cards(self) -> Sequence[Card]: ...
    @property
    def rows(self) -> pd.DataFrame: ...
    @property
    def shifts(self) -> pd.DataFrame | None: ...
    @property
    def agreements(self) -> Sequence[Mapping[str, Any]]: ...


@dataclass(frozen=True)
class Joined:
    """Records of several bundles as if they were of one store: to a question that was answered twice, the newest answer."""

    cards: list[Card]
    rows: pd.DataFrame
    shifts: pd.DataFrame
    agreements: list[Mapping[str, Any]]


def no_shifts() -> pd.DataFrame:
    """The table of shifts where there are none."""
    return pd.DataFrame({name: pd.Series(dtype="float32" if name in SHIFTS[-2:] else object) for name in SHIFTS})


def join(bundles: Mapping[str, Records]) -> Joined:
    """Join bundles by name, whatever the order in which they come."""
    names = sorted(bundles)
    origin: dict[str, tuple[str, Card]] = {}
    for name in names:
        for card in bundles[name].cards:
            # One record can be in two bundles, with metrics of its own in each.
            origin[f"{card['score_id']} {name}"] = (name, card)
    kept = current({**card, "score_id": tag} for tag, (_, card) in origin.items())
    taken: dict[str, list[tuple[Card, set[str] | None]]] = {name: [] for name in names}
    cards: list[Card] = []
    newest: dict[tuple[str, str, str, str], tuple[float, str]] = {}
    for card in kept:
        own = {k: v for k, v in card.items() if k != "parts"}
        cards.append({**own, "score_id": origin[card["score_id"]][1]["score_id"]})
        for tag, metrics in card.get("parts", [(card["score_id"], card.get("metrics"))]):
            if card["status"] == OK:
                name, part = origin[tag]
                taken[name].append((part, None if metrics is None else set(metrics)))
        spec = card["spec"]
        place = (spec["dataset"], spec["split"], card["model"], spec["fold"])
        newest[place] = max(newest.get(place, (-np.inf, "")), (card["started"], origin[card["score_id"]][0]))
    rows = [part for name in names if len(part := _rows(bundles[name].rows, taken[name]))]
    shifts = [part for name in names if len(part := _shifts(bundles[name], name, newest))]
    agreements = {tuple(a["jobs"]): a for name in names for a in bundles[name].agreements}
    return Joined(
        cards,
        pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(),
        pd.concat(shifts, ignore_index=True) if shifts else no_shifts(),
        [agreements[jobs] for jobs in sorted(agreements)],
    )


def _rows(rows: pd.DataFrame, taken: Sequence[tuple[Card, set[str] | None]]) -> pd.DataFrame:
    """Rows of some cards of a bundle, of each the metrics that are read from it."""
    if not len(rows) or not taken:
        return rows[:0]
    where = rows.groupby(["model", "fold", "seed"], sort=False).indices
    metric = rows["metric"].to_numpy(dtype=object)
    keep = np.zeros(len(rows), dtype=bool)
    for card, metrics in taken:
        own = where.get((card["model"], card["spec"]["fold"], card["spec"]["seed"]), np.array([], dtype=np.intp))
        keep[own] |= True if metrics is None else np.isin(metric[own].astype(str), sorted(metrics))
    return rows[keep]


def _shifts(bundle: Records, name: str, newest: Mapping[tuple[str, str, str, str], tuple[float, str]]) -> pd.DataFrame:
    """Shifts of the models and folds of which this bundle has the newest answer."""
    if bundle.shifts is None or not len(bundle.shifts):
        return no_shifts()
    dataset, split = bundle.meta["dataset"], bundle.meta["split"]
    own = [
        newest.get((dataset, split, m, f), (0, ""))[1] == name
        for m, f in bundle.shifts[["model", "fold"]].itertuples(index=False)
    ]
    return bundle.shifts[np.array(own)].assign(dataset=dataset, split=split)[list(SHIFTS)]
