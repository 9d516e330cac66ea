"""Nearest: what the most similar thing that was tried did."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.model import Capabilities, Model
from ..bench.contracts.prediction import Prediction
from ..bench.contracts.training import Profiles, TrainingData
from .gene_loadings import gene_loadings
from .shift import Shift, predict_shifts
from .target_embedding import NOT_MEASURED, TargetEmbedding

Array = np.ndarray[Any, Any]
#: Digits within which similarities and distances count as tied.
DIGITS = 9


class Nearest(Model):
    """Predicts the change of the most similar training condition.

    Nearest means, in this order: the largest Jaccard index of the target sets; the same context; the smallest distance
    between the logarithms of the doses of shared targets; the smallest distance in time. Ties are averaged. A query
    beyond the last time or dose gets the last one (carry-forward).

    Where no training condition shares a target, the cosine between the summed `gene_loadings` of the targets replaces
    the Jaccard index and the query is flagged as a fallback; this needs all its targets to be measured genes,
    otherwise the query is absent.

    Parameters
    ----------
    n_components
        Components of the gene loadings, each scaled to unit variance over the genes.
    """

    capabilities = Capabilities(unseen_targets=True, unseen_contexts=True, unseen_times=True, unseen_doses=True)
    reference = "1-nearest neighbour over conditions; carry-forward in dose and time"

    def __init__(self, *, n_components: int = 10) -> None:
        self.n_components = n_components

    def fit(self, data: TrainingData, *, seed: int) -> Nearest:
        """Index the training conditions by target and embed those whose targets are measured genes."""
        self.conditions_ = data.perturbed.conditions
        self.shifts_ = data.shifts
        self.rows_of_: dict[str, list[int]] = {}
        for i, condition in enumerate(self.conditions_):
            for target in condition.targets:
                self.rows_of_.setdefault(target, []).append(i)
        self.embedding_ = TargetEmbedding.unchanged(gene_loadings(data, self.n_components, whiten=True), NOT_MEASURED)
        self.embedded_rows_ = [i for i, c in enumerate(self.conditions_) if self.embedding_.refusal(c) is None]
        self.embedded_ = _unit(self.embedding_([self.conditions_[i] for i in self.embedded_rows_]))
        return self

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Copy the change of the nearest training condition to each condition's context."""
        self._check_fitted("shifts_")
        return predict_shifts(conditions, controls, [self._shift(c) for c in conditions])

    def _shift(self, condition: Condition) -> Shift | str:
        sharing = sorted({i for t in condition.targets for i in self.rows_of_.get(t, ())})
        if sharing:
            return Shift(self._mean_of_nearest(condition, ((i, _jaccard(condition, self.conditions_[i])) for i in sharing)))
        if reason := self.embedding_.refusal(condition):
            return reason
        if not self.embedded_rows_:
            return "capability: no training condition whose targets are measured genes"
        cosine = self.embedded_ @ _unit(self.embedding_([condition]))[0]
        return Shift(self._mean_of_nearest(condition, zip(self.embedded_rows_, cosine, strict=True)), fallback=True)

    def _mean_of_nearest(self, query: Condition, similarity: Iterable[tuple[int, float]]) -> Array:
        keys = {i: (-round(float(s), DIGITS), *_distance(query, self.conditions_[i])) for i, s in similarity}
        best = min(keys.values())
        return self.shifts_[[i for i, key in keys.items() if key == best]].mean(axis=0)


def _unit(rows: Array) -> Array:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def _jaccard(a: Condition, b: Condition) -> float:
    shared = len(set(a.targets) & set(b.targets))
    return shared / (len(a.targets) + len(b.targets) - shared)


def _distance(a: Condition, b: Condition) -> tuple[bool, float, float]:
    """Other context, distance of log doses over shared targets, distance in time."""
    doses_a, doses_b = (dict(zip(c.targets, c.doses, strict=False)) for c in (a, b))
    dose = sum(_log_distance(d, doses_b[t]) for t, d in doses_a.items() if t in doses_b)
    if a.time is None or b.time is None:
        time = 0.0 if a.time == b.time else math.inf
    else:
        time = abs(a.time - b.time)
    return a.context != b.context, round(dose, DIGITS), round(time, DIGITS)


def _log_distance(a: float, b: float) -> float:
    """Distance of logarithms; a dose of zero or a sign is at no finite distance from another."""
    if a == b:
        return 0.0
    return abs(math.log(a / b)) if a > 0 and b > 0 else math.inf
