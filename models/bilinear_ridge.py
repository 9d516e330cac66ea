"""Bilinear ridge: the strongest simple predictor of unseen perturbations in the literature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.model import Capabilities, Model
from ..bench.contracts.prediction import Prediction
from ..bench.contracts.resource import FeatureTable
from ..bench.contracts.training import Profiles, TrainingData
from .gene_loadings import gene_loadings
from .shift import Shift, predict_shifts
from .target_embedding import NOT_MEASURED, TargetEmbedding

Array = np.ndarray[Any, Any]


class BilinearRidge(Model):
    r"""Predicts the change by a linear map from where the perturbed genes lie among the genes.

    The changes Y (G x n, one column a training condition, and a column of zeros for the control) are modelled as

    .. math:: Y \approx L W P^\top + b, \quad
        W = (L^\top L + \lambda I)^{-1} L^\top (Y - b) P (P^\top P + \lambda I)^{-1}

    with b the row means of Y, L the principal component scores of the genes on the training pseudobulks
    (`gene_loadings`), and P the rows of L that belong to the perturbed genes (zero for the control), summed for
    combinations. Every training context brings one control column; contexts, doses and times share one map. A target
    must be a measured gene; other training conditions are left out of the fit, other queries are absent. Where no
    training condition is left, the train mean answers, flagged as a fallback. Rotating or reflecting the components
    changes nothing.

    Parameters
    ----------
    n_components
        Columns of L.
    ridge
        Penalty λ on both sides.
    singles_only
        Fit on conditions of one target only, as the paper does. By default combinations are used too: they are
        training data, and the model is asked for combinations.
    """

    capabilities = Capabilities(unseen_targets=True, unseen_contexts=True)
    reference = "Ahlmann-Eltze, Huber & Anders, Nature Methods 2025, run_linear_pretrained_model.R"

    def __init__(self, *, n_components: int = 10, ridge: float = 0.1, singles_only: bool = False) -> None:
        self.n_components = n_components
        self.ridge = ridge
        self.singles_only = singles_only

    def _embed(self, data: TrainingData, loadings: FeatureTable) -> TargetEmbedding:
        return TargetEmbedding.unchanged(loadings, NOT_MEASURED)

    def fit(self, data: TrainingData, *, seed: int) -> BilinearRidge:
        """Solve for W."""
        loadings = gene_loadings(data, self.n_components)
        self.embedding_ = self._embed(data, loadings)
        conditions = data.perturbed.conditions
        rows = [i for i, c in enumerate(conditions) if self._fits(c)]
        self.trained_ = len(rows) > 0
        if not self.trained_:
            self.center_, self.response_ = data.mean_shift, np.zeros((len(data.genes), self.embedding_.width))
            return self
        n_controls = len({conditions[i].context for i in rows})
        Y = np.concatenate([data.shifts[rows], np.zeros((n_controls, len(data.genes)))])
        P = np.concatenate([self.embedding_([conditions[i] for i in rows]), np.zeros((n_controls, self.embedding_.width))])
        L = loadings.values
        self.center_ = Y.mean(axis=0)
        left = np.linalg.solve(self._penalised(L), L.T @ ((Y - self.center_).T @ P))
        # W applied to the genes at once, (G, k): a query then costs one product.
        self.response_ = L @ np.linalg.solve(self._penalised(P), left.T).T
        return self

    def _fits(self, condition: Condition) -> bool:
        return self.embedding_.refusal(condition) is None and not (self.singles_only and len(condition.targets) > 1)

    def _penalised(self, matrix: Array) -> Array:
        return matrix.T @ matrix + self.ridge * np.eye(matrix.shape[1])

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Map the embedding of each condition's targets to a change."""
        self._check_fitted("response_")
        return predict_shifts(conditions, controls, [self._shift(c) for c in conditions])

    def _shift(self, condition: Condition) -> Shift | str:
        if reason := self.embedding_.refusal(condition):
            return reason
        return Shift(self.center_ + self.response_ @ self.embedding_([condition])[0], fallback=not self.trained_)
