"""Train mean: one change for every query, which captures all that perturbations have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.errors import UsageError, suggestion
from ..bench.contracts.model import Capabilities, Model
from ..bench.contracts.prediction import Prediction
from ..bench.contracts.training import Profiles, TrainingData
from .shift import Shift, predict_shifts

WEIGHTS = ("cell", "perturbation")


class TrainMean(Model):
    """Predicts the same change for every query: the mean change of the training perturbations.

    With w the weights of the training conditions, x̄ their profiles and c̄ the control means of their contexts, the
    prediction for a query in context s is c̄(s) + Σ w (x̄ − c̄) / Σ w. In a screen of one context this is the weighted
    mean of the training profiles. Without perturbed training cells it is the control mean, flagged as a fallback.

    Parameters
    ----------
    weight
        ``perturbation``: each training condition counts the same. ``cell``: each training cell counts the same.
    """

    capabilities = Capabilities(unseen_targets=True, unseen_contexts=True, unseen_times=True, unseen_doses=True)
    calibrates = True
    reference = "Ahlmann-Eltze, Huber & Anders, Nature Methods 2025 (by perturbation); Systema, Nat Biotechnol 2025 (by cell)"

    def __init__(self, *, weight: str = "perturbation") -> None:
        self.weight = weight

    def fit(self, data: TrainingData, *, seed: int) -> TrainMean:
        """Average the training changes.

        Raises
        ------
        UsageError
            If `weight` is neither ``perturbation`` nor ``cell``.
        """
        if self.weight not in WEIGHTS:
            raise UsageError(f"weight={self.weight!r} is unknown. {suggestion(str(self.weight), WEIGHTS)}")
        self.trained_ = len(data.perturbed) > 0
        if self.weight == "cell" and self.trained_:
            self.shift_ = np.average(data.shifts, axis=0, weights=data.perturbed.n_cells)
        else:
            self.shift_ = data.mean_shift
        return self

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Add the mean change to the control mean of each condition's context."""
        self._check_fitted("shift_")
        return predict_shifts(conditions, controls, [Shift(self.shift_, fallback=not self.trained_)] * len(conditions))


class TrainMeanCells(TrainMean):
    """Predicts the same change for every query: the mean change of all perturbed training cells.

    Parameters
    ----------
    weight
        As in `TrainMean`.
    """

    def __init__(self, *, weight: str = "cell") -> None:
        super().__init__(weight=weight)
