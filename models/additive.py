"""Additive: the effect of a combination is the sum of the effects of its parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.model import Capabilities, Model
from ..bench.contracts.prediction import Prediction
from ..bench.contracts.training import Profiles, TrainingData
from .shift import Shift, predict_shifts
from .singles import Singles


class Additive(Model):
    """Predicts a combination as control plus the sum of the changes that its targets made alone.

    x̂(a+b) = c̄ + (x̄(a) − c̄) + (x̄(b) − c̄) on mean log1p. A single of the training data is returned as it was seen.
    In a context where a single was not seen, the mean of its changes over the contexts where it was stands in (this is
    the model, not a fallback). A target whose single was not seen at the query's dose and time makes the query absent:
    "no effect" would be a guess.
    """

    capabilities = Capabilities(unseen_contexts=True)
    reference = "Ahlmann-Eltze, Huber & Anders, Nature Methods 2025, run_additive_model.py"

    def fit(self, data: TrainingData, *, seed: int) -> Additive:
        """Collect the training singles."""
        self.n_genes_ = len(data.genes)
        self.singles_ = Singles(data)
        return self

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Add up the changes of each condition's singles."""
        self._check_fitted("singles_")
        return predict_shifts(conditions, controls, [self._shift(c) for c in conditions])

    def _shift(self, condition: Condition) -> Shift | str:
        total = np.zeros(self.n_genes_)
        for target in condition.targets:
            single = condition.single(target)
            shift = self.singles_.shift(single)
            if shift is None:
                dose = f" at dose {single.doses[0]:g}" if single.doses else ""
                time = f" at time {single.time:g}" if single.time is not None else ""
                return f"capability: no training single for {target}{dose}{time}"
            total += shift
        return Shift(total)
