"""Conditions as numbers for a network: which targets, how strongly, in which context, at what time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...bench.contracts.condition import Condition
from ...bench.contracts.errors import UsageError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ConditionCodes:
    """The targets, contexts and times that a model has seen.

    Parameters
    ----------
    targets, contexts, times
        Sorted; a screen of one context has the context None, one of a single time the time None.
    largest
        Largest absolute dose of each target; ones where it is empty.
    """

    targets: tuple[str, ...]
    contexts: tuple[str | None, ...]
    times: tuple[float | None, ...] = (None,)
    largest: tuple[float, ...] = ()

    @classmethod
    def of(cls, conditions: Iterable[Condition]) -> ConditionCodes:
        """All targets, contexts and times of some conditions, controls included."""
        conditions = list(conditions)
        targets = sorted({t for c in conditions for t in c.targets})
        contexts = sorted({c.context for c in conditions}, key=lambda c: c or "")
        times = sorted({c.time for c in conditions if not c.is_control}, key=lambda t: -1.0 if t is None else t)
        doses: dict[str, float] = {}
        for condition in conditions:
            for target, dose in zip(condition.targets, condition.doses, strict=False):
                doses[target] = max(doses.get(target, 0.0), abs(dose))
        return cls(tuple(targets), tuple(contexts), tuple(times), tuple(doses.get(t) or 1.0 for t in targets))

    @cached_property
    def column(self) -> dict[str, int]:
        """Column of each target."""
        return {t: i for i, t in enumerate(self.targets)}

    @property
    def n_covariates(self) -> int:
        return sum(len(values) for values in (self.contexts, self.times) if len(values) > 1)

    def knows(self, condition: Condition) -> bool:
        """Whether all targets, the context and the time of a condition were seen."""
        known = condition.context in self.contexts and all(t in self.column for t in condition.targets)
        return known and (condition.is_control or condition.time in self.times)

    def multi_hot(self, conditions: Sequence[Condition]) -> Array:
        """(n, k) float32: the dose of each target over its largest one, so that no unit matters to a network.

        1 where the screen has no doses, 0 for targets that are not perturbed.

        Raises
        ------
        UsageError
            If a target was not trained on.
        """
        if unseen := sorted({t for c in conditions for t in c.targets} - self.column.keys()):
            raise UsageError(f"{unseen[0]} was not trained on, and nothing is known of what it does to a cell; leave it out.")
        out = np.zeros((len(conditions), len(self.targets)), dtype=np.float32)
        for row, condition in zip(out, conditions, strict=True):
            for i, target in enumerate(condition.targets):
                column = self.column[target]
                row[column] = condition.doses[i] / (self.largest[column] if self.largest else 1.0) if condition.doses else 1.0
        return out

    def covariates(self, conditions: Sequence[Condition]) -> Array:
        """(n, n_covariates) float32: one-hot contexts, then one-hot times; nothing for what has a single value.

        Controls have no time, and zeros there.
        """
        out = np.zeros((len(conditions), self.n_covariates), dtype=np.float32)
        start = 0
        for values, of in ((self.contexts, lambda c: c.context), (self.times, lambda c: c.time)):
            if len(values) < 2:
                continue
            number = {v: i for i, v in enumerate(values)}
            for row, condition in zip(out, conditions, strict=True):
                if (i := number.get(of(condition))) is not None:
                    row[start + i] = 1.0
            start += len(values)
        return out
