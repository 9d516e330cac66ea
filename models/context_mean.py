"""Context mean: the train mean of each cell line, cell type or donor."""

from __future__ import annotations

from collections.abc import Sequence

from ..bench.contracts.condition import Condition
from ..bench.contracts.model import Capabilities, Model
from ..bench.contracts.prediction import Prediction
from ..bench.contracts.training import Profiles, TrainingData
from .shift import Shift, predict_shifts


class ContextMean(Model):
    """Predicts the mean change of the training perturbations in the query's own context.

    In a context without perturbed training cells the mean over all training conditions answers, flagged as a
    fallback. In a screen of one context this is the train mean.
    """

    capabilities = Capabilities(unseen_targets=True, unseen_contexts=True, unseen_times=True, unseen_doses=True)
    reference = "Adduri et al., STATE, bioRxiv 2025 (context mean baseline)"

    def fit(self, data: TrainingData, *, seed: int) -> ContextMean:
        """Average the training changes of each context."""
        rows: dict[str | None, list[int]] = {}
        for i, condition in enumerate(data.perturbed.conditions):
            rows.setdefault(condition.context, []).append(i)
        self.shifts_ = {context: Shift(data.shifts[own].mean(axis=0)) for context, own in rows.items()}
        self.overall_ = Shift(data.mean_shift, fallback=True)
        return self

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Add the mean change of each condition's context to its control mean."""
        self._check_fitted("shifts_")
        return predict_shifts(conditions, controls, [self.shifts_.get(c.context, self.overall_) for c in conditions])
