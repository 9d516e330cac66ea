"""Shifted controls: all that can be said of a perturbation without knowing its targets, as cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.prediction import LazyCells, Prediction
from ..bench.contracts.training import Profiles, TrainingData
from .no_change import NoChange
from .shift import Shift, predict_shifts

Array = np.ndarray[Any, Any]


class ShiftedControls(NoChange):
    """Adds to control cells the mean change of the training perturbations with as many targets as the query.

    Doubles are stronger than singles, so the number of targets says something without the targets. The mean is the control
    mean plus that change; the cells are control cells of the context, each plus that change and not below zero, so they have
    the spread and the dependence of genes of unperturbed cells. Without a training condition of as many targets the mean over
    all of them is taken, flagged as a fallback.
    """

    reference = "control cells plus the mean shift, as in the baselines of State (Arc Institute 2025) and of scGen"

    def fit(self, data: TrainingData, *, seed: int) -> ShiftedControls:
        """Average the training changes by number of targets."""
        super().fit(data, seed=seed)
        number = np.array([len(c.targets) for c in data.perturbed.conditions])
        self.shifts_ = {int(n): data.shifts[number == n].mean(axis=0) for n in np.unique(number)}
        self.mean_shift_ = data.mean_shift
        return self

    def _shift(self, condition: Condition) -> Array:
        return self.shifts_.get(len(condition.targets), self.mean_shift_)

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Move the control mean and control cells of each condition's context."""
        unchanged = super().predict(conditions, controls)
        known = [Shift(self._shift(c), fallback=len(c.targets) not in self.shifts_) for c in conditions]
        moved = predict_shifts(conditions, controls, known)
        own = unchanged.cells
        if own is None:
            return moved
        return replace(moved, cells=LazyCells(own, lambda c: np.maximum(own[c].toarray() + self._shift(c), 0).astype(np.float32)))
