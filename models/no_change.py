"""No change: the floor that every predictor should clear."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.model import Capabilities, Model
from ..bench.contracts.prediction import Prediction
from ..bench.contracts.training import Profiles, TrainingData
from .shift import Shift, predict_shifts


class NoChange(Model):
    """Predicts that a perturbation does nothing: the control mean of the query's context."""

    capabilities = Capabilities(unseen_targets=True, unseen_contexts=True, unseen_times=True, unseen_doses=True)
    reference = "Ahlmann-Eltze, Huber & Anders, Nature Methods 2025"

    def fit(self, data: TrainingData, *, seed: int) -> NoChange:
        """Remember the number of genes; there is nothing to learn."""
        self.n_genes_ = len(data.genes)
        return self

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Return the control mean for every condition."""
        self._check_fitted("n_genes_")
        return predict_shifts(conditions, controls, [Shift(np.zeros(self.n_genes_))] * len(conditions))
