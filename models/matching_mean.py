"""Matching mean: the average, not the sum, of what the targets do alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.model import Capabilities, Model
from ..bench.contracts.prediction import Prediction
from ..bench.contracts.training import Profiles, TrainingData
from .shift import Shift, predict_shifts
from .singles import Singles


class MatchingMean(Model):
    """Predicts the average of the changes that the targets made alone.

    x̂(a+b) = c̄ + ½ [(x̄(a) − c̄) + (x̄(b) − c̄)]. The train mean (each training condition counted once) replaces a target
    whose single was not seen at the query's dose and time, and the query is flagged as a fallback. With no target seen
    this is the train mean; for a seen single it is that single's training profile. Singles of other contexts answer
    as in `Additive`.
    """

    capabilities = Capabilities(unseen_targets=True, unseen_contexts=True, unseen_times=True, unseen_doses=True)
    reference = "Systema, Nature Biotechnology 2025 (matching mean)"

    def fit(self, data: TrainingData, *, seed: int) -> MatchingMean:
        """Collect the training singles and the mean training change."""
        self.singles_ = Singles(data)
        self.mean_shift_ = data.mean_shift
        return self

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Average the changes of each condition's singles."""
        self._check_fitted("singles_")
        return predict_shifts(conditions, controls, [self._shift(c) for c in conditions])

    def _shift(self, condition: Condition) -> Shift:
        found = [self.singles_.shift(condition.single(t)) for t in condition.targets]
        parts = [self.mean_shift_ if shift is None else shift for shift in found]
        return Shift(np.mean(parts, axis=0), fallback=any(shift is None for shift in found))
