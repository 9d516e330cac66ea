"""One model on one board as data for its page: its values by condition, and what it predicted for the most changed genes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ..board import Board
from .addresses import address
from .measured import Measured
from .script import numbers

Array = np.ndarray[Any, Any]


def with_values(board: Board, behind: Measured) -> frozenset[str]:
    """Models of a board that were scored on some condition, by a metric of the first table."""
    shown = {x.model for x in (*board.lines, *board.gamers) if x.status == "ok"}
    there = {m for name in behind.headline if name in behind.aligned for m in behind.aligned[name].values}
    return frozenset(shown & there)


def model_data(board: Board, behind: Measured, shifts: Shifts, models: frozenset[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each of some models of a board and everything on its page, in the order of their names."""
    units = np.array([q.unit for q in behind.questions], dtype=object)
    index = {q.unit: i for i, q in enumerate(behind.questions)}
    slots = {m: np.array([index[u] for u in a.units], dtype=np.intp) for m, a in behind.aligned.items() if m in behind.headline}
    place = {(q.fold, q.label): i for i, q in enumerate(behind.questions)}
    found = shifts.of(board.dataset, board.split, place)
    for model in sorted(models):
        values = {}
        for metric, slot in slots.items():
            column = np.full(len(units), np.nan)
            if model in behind.aligned[metric].values:
                column[slot] = behind.aligned[metric].values[model]
            values[metric] = numbers(column)
        absent: dict[str, str] = {}
        for card in behind.cards.get(model, ()):
            for label, reason in card.get("absent", {}).items():
                if (at := place.get((card["spec"]["fold"], label))) is not None:
                    absent.setdefault(str(at), reason)
        simpler = behind.fallback.get(model, frozenset())
        yield (
            model,
            {
                "board": address(board),
                "model": model,
                "conditions": list(range(len(units))),
                "metrics": [m for m in behind.headline if m in values],
                "values": values,
                "absent": absent,
                "fallback": [i for i, q in enumerate(behind.questions) if q.unit in simpler],
                **found.get(model, {"genes": [], "shifts": {}}),
            },
        )


class Shifts:
    """The shifts of all boards, parted once by data set and split.

    Parameters
    ----------
    frame
        Columns dataset, split, model, fold, condition, gene, truth, predicted; categories or plain names.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame
        self._parts: dict[tuple[str, str], Array] = {}
        if len(frame):
            dataset, names = pd.factorize(frame["dataset"])
            split, others = pd.factorize(frame["split"])
            code = dataset.astype(np.int32) * len(others) + split
            order = np.argsort(code, kind="stable")
            for piece in np.split(order, np.flatnonzero(np.diff(code[order])) + 1):
                first = int(code[piece[0]])
                self._parts[str(names[first // len(others)]), str(others[first % len(others)])] = piece

    def of(self, dataset: str, split: str, place: dict[tuple[str, str], int]) -> dict[str, dict[str, Any]]:
        """By model its genes and its shifts by condition; conditions that the board does not ask are left out.

        Parameters
        ----------
        place
            Where a fold and condition stand among the conditions of the board.
        """
        if (piece := self._parts.get((dataset, split))) is None:
            return {}
        rows = self._frame.take(piece)
        fold, folds = pd.factorize(rows["fold"])
        condition, conditions = pd.factorize(rows["condition"])
        pair = fold.astype(np.int64) * len(conditions) + condition
        at = np.full(len(folds) * len(conditions), -1)
        for number in np.unique(pair).tolist():
            key = str(folds[number // len(conditions)]), str(conditions[number % len(conditions)])
            at[number] = place.get(key, -1)
        model, models = pd.factorize(rows["model"], sort=True)
        gene, genes = pd.factorize(rows["gene"], sort=True)
        truth, predicted = (rows[c].to_numpy(dtype=np.float64) for c in ("truth", "predicted"))
        where = at[pair]
        # The largest true changes first; names decide where two are equal.
        order = np.lexsort((gene, -np.abs(truth), where, model))
        order = order[where[order] >= 0]
        names = np.array([str(g) for g in genes], dtype=object)
        parts = np.split(order, np.flatnonzero(np.diff(model[order])) + 1) if len(order) else []
        return {str(models[model[p[0]]]): _of_model(names, gene[p], where[p], truth[p], predicted[p]) for p in parts}


def _of_model(names: Array, gene: Array, where: Array, truth: Array, predicted: Array) -> dict[str, Any]:
    own, code = np.unique(gene, return_inverse=True)
    g, t, p = code.tolist(), numbers(truth), numbers(predicted)
    ends = [0, *(np.flatnonzero(np.diff(where)) + 1).tolist(), len(where)]
    return {
        "genes": names[own].tolist(),
        "shifts": {str(where[a]): {"g": g[a:b], "t": t[a:b], "p": p[a:b]} for a, b in pairwise(ends)},
    }
