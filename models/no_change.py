"""No change: the floor that every predictor should clear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.identity import derived_seed
from ..bench.contracts.model import Capabilities, Model
from ..bench.contracts.prediction import LazyCells, Prediction
from ..bench.contracts.training import Profiles, TrainingData
from .shift import Shift, predict_shifts

#: Control cells that stand for a condition: enough for any statistic of cells here, few enough to stay cheap.
MOST_CELLS = 500


class NoChange(Model):
    """Predicts that a perturbation does nothing: the control mean, and control cells, of the query's context.

    Where a context has no control cells of its own, only the mean over all controls is predicted.
    """

    capabilities = Capabilities(unseen_targets=True, unseen_contexts=True, unseen_times=True, unseen_doses=True)
    calibrates = True
    reference = "Ahlmann-Eltze, Huber & Anders, Nature Methods 2025"

    def fit(self, data: TrainingData, *, seed: int) -> NoChange:
        """Remember the number of genes; there is nothing to learn."""
        self.n_genes_ = len(data.genes)
        self.load_ = data.load_controls
        return self

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Return the control mean for every condition."""
        self._check_fitted("n_genes_")
        unchanged = predict_shifts(conditions, controls, [Shift(np.zeros(self.n_genes_))] * len(conditions))
        if self.load_ is None:
            return unchanged
        own = [c for c in conditions if controls.row(c.control()) is not None]
        sample = cache(self._sample)
        return replace(unchanged, cells=LazyCells(own, lambda c: sample(c.context)))

    def _sample(self, context: str | None) -> Any:
        """Up to `MOST_CELLS` control cells of a context, drawn without replacement."""
        assert self.load_ is not None
        cells: Any = self.load_(context)
        n = cells.shape[0]
        if n <= MOST_CELLS:
            return cells[:]
        rng = np.random.default_rng(derived_seed("no-change", context))
        return cells[np.sort(rng.choice(n, MOST_CELLS, replace=False))]
