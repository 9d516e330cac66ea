"""Training singles: what each target does alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.training import TrainingData

Array = np.ndarray[Any, Any]


class Singles:
    """Changes of the training conditions that have one target, looked up by target, dose, time and context.

    Parameters
    ----------
    data
        Training data; conditions with several targets are not used.
    """

    def __init__(self, data: TrainingData) -> None:
        self._exact: dict[Condition, Array] = {}
        elsewhere: dict[Condition, list[Array]] = {}
        for condition, shift in zip(data.perturbed.conditions, data.shifts, strict=True):
            if len(condition.targets) == 1:
                self._exact[condition] = shift
                elsewhere.setdefault(replace(condition, context=None), []).append(shift)
        self._mean = {condition: np.mean(shifts, axis=0) for condition, shifts in elsewhere.items()}

    def shift(self, single: Condition) -> Array | None:
        """(G,) change of a single at its dose and time; None where no context of the training data has it.

        The query's own context answers where it has the single; otherwise the mean over the contexts that have it.
        """
        own = self._exact.get(single)
        return own if own is not None else self._mean.get(replace(single, context=None))
