"""Regression of the change on features of the targets: ridge, nearest neighbours and random forest on two feature sets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.model import Capabilities, Model
from ..bench.contracts.prediction import Prediction
from ..bench.contracts.training import Profiles, TrainingData
from .principal_components import principal_components
from .shift import Shift, predict_shifts
from .target_embedding import TargetEmbedding, on_loadings, on_ontology

Array = np.ndarray[Any, Any]
#: Principal components of the response that a forest is grown on; exact for up to 51 training perturbations.
FOREST_RESPONSES = 50
SLOW_IMPORTS = ("sklearn.ensemble", "sklearn.linear_model", "sklearn.neighbors")


class FeatureRegression(Model, ABC):
    """Base of the regressions: features of a condition's targets in, the change out.

    Features are a vector for each target, reduced to the leading principal components of the training targets,
    centred, scaled to unit root mean square length, and summed for combinations. Training conditions with the same
    targets (other contexts, doses, times) look the same to a regressor and enter as one row, their mean change.
    Conditions with a target without features are left out of the fit, or absent where they are asked. Where fewer than
    two distinct target sets or no features are left, the train mean answers, flagged as a fallback.

    Parameters
    ----------
    n_components
        Upper bound on the number of features.
    """

    reference = "Csendes et al., BMC Genomics 2025 (regression on gene features)"

    def __init__(self, *, n_components: int = 10) -> None:
        self.n_components = n_components

    @abstractmethod
    def _embed(self, data: TrainingData) -> TargetEmbedding:
        """The features of targets."""

    @abstractmethod
    def _regress(self, X: Array, Y: Array, seed: int) -> Any:
        """An object whose ``predict`` maps (n, k) features to (n, G) changes, fitted to `X` and `Y`."""

    def fit(self, data: TrainingData, *, seed: int) -> FeatureRegression:
        """Fit the regressor on the training conditions whose targets all have features."""
        self.embedding_ = self._embed(data)
        rows: dict[tuple[str, ...], list[int]] = {}
        for i, condition in enumerate(data.perturbed.conditions):
            if self.embedding_.refusal(condition) is None:
                rows.setdefault(condition.targets, []).append(i)
        self.mean_shift_ = data.mean_shift
        self.regressor_ = None
        if len(rows) > 1 and self.embedding_.width:
            Y = np.array([data.shifts[own].mean(axis=0) for own in rows.values()])
            self.regressor_ = self._regress(self.embedding_([Condition(targets) for targets in rows]), Y, seed)
        return self

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Regress the change of each condition whose targets all have features."""
        self._check_fitted("mean_shift_")
        reasons = {c: self.embedding_.refusal(c) for c in conditions}
        answered = [c for c in conditions if reasons[c] is None]
        shifts: dict[Condition, Shift] = {}
        if self.regressor_ is None:
            shifts = {c: Shift(self.mean_shift_, fallback=True) for c in answered}
        elif answered:
            values = self.regressor_.predict(self.embedding_(answered))
            shifts = {c: Shift(value) for c, value in zip(answered, values, strict=True)}
        return predict_shifts(conditions, controls, [reasons[c] or shifts[c] for c in conditions])


class _OnLoadings(FeatureRegression):
    """Features from the training data alone: whitened `gene_loadings` of the targets."""

    capabilities = Capabilities(unseen_targets=True, unseen_contexts=True, packages=("scikit-learn",), imports=SLOW_IMPORTS)

    def _embed(self, data: TrainingData) -> TargetEmbedding:
        return on_loadings(data, self.n_components)


class _OnOntology(FeatureRegression):
    """Features from the resource ``go``."""

    capabilities = Capabilities(
        unseen_targets=True,
        unseen_contexts=True,
        resources=("go",),
        prior_knowledge=("Gene Ontology",),
        packages=("scikit-learn",),
        imports=SLOW_IMPORTS,
    )

    def _embed(self, data: TrainingData) -> TargetEmbedding:
        return on_ontology(data, self.n_components)


class _Ridge(FeatureRegression):
    ridge: float

    def _regress(self, X: Array, Y: Array, seed: int) -> Any:
        from sklearn.linear_model import Ridge

        return Ridge(alpha=self.ridge, solver="cholesky").fit(X, Y)


class _Knn(FeatureRegression):
    n_neighbors: int

    def _regress(self, X: Array, Y: Array, seed: int) -> Any:
        from sklearn.neighbors import KNeighborsRegressor

        return KNeighborsRegressor(n_neighbors=min(self.n_neighbors, len(X)), algorithm="brute").fit(X, Y)


class _Forest(FeatureRegression):
    n_trees: int

    def _regress(self, X: Array, Y: Array, seed: int) -> Any:
        from sklearn.ensemble import RandomForestRegressor

        return _OnComponents(RandomForestRegressor(n_estimators=self.n_trees, random_state=seed)).fit(X, Y)


class _OnComponents:
    """A regressor of the leading principal components of the response, which keep the distances that a tree splits by."""

    def __init__(self, regressor: Any) -> None:
        self._regressor = regressor

    def fit(self, X: Array, Y: Array) -> _OnComponents:
        self._center = Y.mean(axis=0)
        scores, self._axes = principal_components(Y - self._center, FOREST_RESPONSES)
        if scores.shape[1]:
            self._regressor.fit(X, scores)
        return self

    def predict(self, X: Array) -> Array:
        if not self._axes.shape[1]:
            return np.tile(self._center, (len(X), 1))
        return self._center + self._regressor.predict(X).reshape(len(X), -1) @ self._axes.T


class RidgePca(_Ridge, _OnLoadings):
    """Predicts the change by ridge regression on gene loadings of the targets.

    Parameters
    ----------
    n_components
        Components of the gene loadings.
    ridge
        Penalty on the squared coefficients; the intercept is free.
    """

    def __init__(self, *, n_components: int = 10, ridge: float = 1.0) -> None:
        super().__init__(n_components=n_components)
        self.ridge = ridge


class RidgeGo(_Ridge, _OnOntology):
    """Predicts the change by ridge regression on Gene Ontology features of the targets.

    Parameters
    ----------
    n_components
        Upper bound on the principal components of the features.
    ridge
        Penalty on the squared coefficients; the intercept is free.
    """

    def __init__(self, *, n_components: int = 50, ridge: float = 1.0) -> None:
        super().__init__(n_components=n_components)
        self.ridge = ridge


class KnnPca(_Knn, _OnLoadings):
    """Predicts the mean change of the training perturbations whose targets have the nearest gene loadings.

    Parameters
    ----------
    n_components
        Components of the gene loadings.
    n_neighbors
        Number of target sets averaged; all of them where there are fewer.
    """

    def __init__(self, *, n_components: int = 10, n_neighbors: int = 5) -> None:
        super().__init__(n_components=n_components)
        self.n_neighbors = n_neighbors


class KnnGo(_Knn, _OnOntology):
    """Predicts the mean change of the training perturbations whose targets have the nearest Gene Ontology features.

    Parameters
    ----------
    n_components
        Upper bound on the principal components of the features.
    n_neighbors
        Number of target sets averaged; all of them where there are fewer.
    """

    def __init__(self, *, n_components: int = 50, n_neighbors: int = 5) -> None:
        super().__init__(n_components=n_components)
        self.n_neighbors = n_neighbors


class ForestPca(_Forest, _OnLoadings):
    """Predicts the change by a random forest on gene loadings of the targets.

    The forest is grown on the leading 50 principal components of the training changes.

    Parameters
    ----------
    n_components
        Components of the gene loadings.
    n_trees
        Trees in the forest.
    """

    capabilities = Capabilities(
        unseen_targets=True, unseen_contexts=True, stochastic=True, packages=("scikit-learn",), imports=SLOW_IMPORTS
    )

    def __init__(self, *, n_components: int = 10, n_trees: int = 100) -> None:
        super().__init__(n_components=n_components)
        self.n_trees = n_trees


class ForestGo(_Forest, _OnOntology):
    """Predicts the change by a random forest on Gene Ontology features of the targets.

    The forest is grown on the leading 50 principal components of the training changes.

    Parameters
    ----------
    n_components
        Upper bound on the principal components of the features.
    n_trees
        Trees in the forest.
    """

    capabilities = Capabilities(
        unseen_targets=True,
        unseen_contexts=True,
        stochastic=True,
        resources=("go",),
        prior_knowledge=("Gene Ontology",),
        packages=("scikit-learn",),
        imports=SLOW_IMPORTS,
    )

    def __init__(self, *, n_components: int = 50, n_trees: int = 100) -> None:
        super().__init__(n_components=n_components)
        self.n_trees = n_trees
