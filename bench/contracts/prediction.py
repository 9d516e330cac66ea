"""What a model returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .condition import Condition

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Prediction:
    """Predicted expression of some conditions.

    Parameters
    ----------
    conditions
        The n conditions that are predicted. A condition left out is absent, never zero; say why in `absent`.
    mean
        (n, G) mean over cells of log1p expression, genes in the order of the training data.
    scale
        ``log1p_1e4`` (or the screen's ``raw``) for means on the scale of the profiles; ``delta`` for changes
        against the control mean of the condition's context; ``counts`` for expected counts per 10,000.
        The engine converts once.
    fallback
        (n,) bool: True where the model could not use what it has learned for this condition and answered with
        something simpler. Counted on the leaderboard.
    variance
        (n, G) predicted variance over cells of log1p expression, where the model has one.
    cells
        For each condition the predicted cells (m, G), CSR or dense, only where the model generates cells; on `scale`
        (counts are normalised to 10,000 a cell). `LazyCells` makes them one condition at a time.
    absent
        Reason for each asked condition that is not predicted.
    genes
        (G,) names of the columns where they are not in the order of the training data; the engine reorders by name.
    """

    conditions: tuple[Condition, ...]
    mean: Array
    scale: str = "log1p_1e4"
    fallback: Array | None = None
    variance: Array | None = None
    cells: Mapping[Condition, Any] | None = None
    absent: Mapping[Condition, str] = field(default_factory=dict)
    genes: Array | None = None


class LazyCells(Mapping[Condition, Any]):
    """Cells of some conditions that are made when they are looked up, so that never more than one lies in memory.

    Parameters
    ----------
    conditions
        The conditions that have cells.
    make
        Returns the (m, G) cells of one of them; the same ones whenever it is called.
    """

    def __init__(self, conditions: Iterable[Condition], make: Callable[[Condition], Any]) -> None:
        self._conditions = tuple(dict.fromkeys(conditions))
        self._known = frozenset(self._conditions)
        self._make = make

    def __getitem__(self, condition: Condition) -> Any:
        if condition not in self._known:
            raise KeyError(condition)
        return self._make(condition)

    def __contains__(self, condition: object) -> bool:
        return condition in self._known

    def __iter__(self) -> Iterator[Condition]:
        return iter(self._conditions)

    def __len__(self) -> int:
        return len(self._conditions)
