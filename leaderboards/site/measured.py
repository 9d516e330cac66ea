"""The records behind a board: its run cards, its conditions, and the values of its headline metrics on each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...bench.contracts.condition import parse_label
from ...bench.contracts.metric import MetricInfo
from ..aligned import Aligned, align, unit_names
from ..board import Board
from ..counted import of_this_version, rows_of
from ..identification import Identification
from ..order import headline_of
from ..published import Published

Card = Mapping[str, Any]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Question:
    """A test condition of a board; `unit` is its name in `Aligned`."""

    unit: str
    fold: str
    label: str
    context: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """What a board was made from.

    Parameters
    ----------
    cards
        Run cards by model.
    headline
        Metrics whose values by condition are shown.
    questions
        Conditions in the order of their units.
    aligned
        Values of the headline metrics for all models, and of the other metrics for the controls.
    fallback
        Of each model the units that it answered with something simpler under some seed.
    """

    cards: Mapping[str, Sequence[Card]]
    headline: tuple[str, ...]
    questions: tuple[Question, ...]
    aligned: Mapping[str, Aligned]
    fallback: Mapping[str, frozenset[str]]


def measured(published: Published) -> Iterator[tuple[Board, Measured]]:
    """Each board of predictions with its `Measured`; rows are parted once for all boards."""
    parts = _parts(published.rows)
    for board in published.boards:
        cards = cards_of(board, published.cards)
        own = published.rows.take(parts.get((board.dataset, board.split), np.zeros(0, dtype=np.intp)))
        yield board, _measured(board, cards, own, published.metrics)


def cards_of(board: Board | Identification, cards: Iterable[Card]) -> list[Card]:
    """The run cards that a board was made from, in the order of their score ids."""
    predicts = isinstance(board, Board)
    own = [
        c
        for c in cards
        if (c["spec"]["dataset"], c["spec"]["split"]) == (board.dataset, board.split)
        and c["spec"]["data_id"] == board.data_id
        and c["spec"]["split_id"] in board.split_ids
        and c["audit"].get("status") != "fail"
        and (c.get("predicts", True) if predicts else c["model"] in {x.model for x in board.lines})
    ]
    return sorted(own, key=lambda c: c["score_id"])


def _parts(rows: pd.DataFrame) -> dict[tuple[str, str], Array]:
    """Places of the rows of each data set and split."""
    if not len(rows):
        return {}
    dataset, names = pd.factorize(rows["dataset"])
    split, others = pd.factorize(rows["split"])
    code = dataset * len(others) + split
    order = np.argsort(code, kind="stable")
    pieces = np.split(order, np.flatnonzero(np.diff(code[order])) + 1)
    return {(str(names[code[p[0]] // len(others)]), str(others[code[p[0]] % len(others)])): p for p in pieces}


def _measured(board: Board, cards: Sequence[Card], rows: pd.DataFrame, metrics: Mapping[str, MetricInfo]) -> Measured:
    headline = headline_of(board.metrics, metrics)
    controls = {name for c in board.controls.values() for name in (c.positive, c.negative)}
    by_model: dict[str, list[Card]] = {}
    for card in cards:
        by_model.setdefault(card["model"], []).append(card)
    if not len(rows):
        return Measured(by_model, headline, (), {}, {})
    shown = rows["metric"].isin(headline) | (rows["model"].isin(controls) & rows["metric"].isin(board.metrics))
    rows, _ = of_this_version(rows_of(cards, rows[shown]), metrics)
    rows = rows[rows["condition"] != "*"]
    names = [m for m in board.metrics if metrics[m].level == "perturbation"]
    aligned = align(rows, names)
    simpler = rows[rows["fallback"].astype(bool)]
    fallback: dict[str, set[str]] = {}
    for model, unit in zip(simpler["model"], unit_names(simpler) if len(simpler) else (), strict=True):
        fallback.setdefault(model, set()).add(unit)
    return Measured(by_model, headline, _questions(rows), aligned, {m: frozenset(u) for m, u in fallback.items()})


def _questions(rows: pd.DataFrame) -> tuple[Question, ...]:
    own = rows.drop_duplicates(["fold", "condition"])
    context = own["context"] if "context" in own else [None] * len(own)
    found = [
        Question(unit, str(fold), str(label), "" if pd.isna(where) else str(where), parse_label(str(targets)))
        for unit, fold, label, where, targets in zip(
            unit_names(own) if len(own) else (), own["fold"], own["condition"], context, own["perturbation"], strict=True
        )
    ]
    return tuple(sorted(found, key=lambda q: (q.unit, q.fold)))
