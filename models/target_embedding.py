"""Embeddings of targets, summed for combinations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.errors import UsageError
from ..bench.contracts.resource import FeatureTable
from ..bench.contracts.training import TrainingData
from .gene_loadings import gene_loadings
from .principal_components import principal_components

Array = np.ndarray[Any, Any]
NOT_MEASURED = "capability: target {} is not a measured gene"


@dataclass(frozen=True)
class TargetEmbedding:
    """A linear map from the vectors of a table to k dimensions; a combination is the sum over its targets.

    Parameters
    ----------
    table
        A vector of length d for each target.
    origin, axes
        (d,) and (d, k): a target with vector v is embedded as (v − origin) · axes.
    lacking
        Reason for a target without a vector, with ``{}`` for its name.
    """

    table: FeatureTable
    origin: Array
    axes: Array
    lacking: str

    @classmethod
    def unchanged(cls, table: FeatureTable, lacking: str) -> TargetEmbedding:
        """The vectors of the table as they are."""
        width = table.values.shape[1]
        return cls(table, np.zeros(width), np.eye(width), lacking)

    @classmethod
    def reduced(cls, table: FeatureTable, conditions: Iterable[Condition], n_components: int, lacking: str) -> TargetEmbedding:
        """The leading principal components of the vectors of the training targets.

        Vectors are centred at the mean over the distinct training targets and divided by their root mean square
        length, so that neither an offset nor the unit of the table changes a prediction. There are at most
        `n_components` components and one fewer than training targets; none where all their vectors are the same.
        """
        targets = sorted({t for c in conditions for t in c.targets if t in table})
        width = table.values.shape[1]
        if not targets:
            return cls(table, np.zeros(width), np.empty((width, 0)), lacking)
        vectors = np.array([table.sum([t]) for t in targets])
        origin = vectors.mean(axis=0)
        _, axes = principal_components(vectors - origin, n_components)
        length = np.sqrt(((vectors - origin) ** 2).sum(axis=1).mean())
        return cls(table, origin, axes / (length or 1.0), lacking)

    @property
    def width(self) -> int:
        return self.axes.shape[1]

    def refusal(self, condition: Condition) -> str | None:
        """Why a condition has no embedding; None where it has one."""
        missing = self.table.missing(condition.targets)
        return self.lacking.format(missing[0]) if missing else None

    def __call__(self, conditions: Sequence[Condition]) -> Array:
        """(n, k) embedding of conditions that all have one."""
        out = np.empty((len(conditions), self.width))
        for i, condition in enumerate(conditions):
            out[i] = (self.table.sum(condition.targets) - len(condition.targets) * self.origin) @ self.axes
        return out


def on_loadings(data: TrainingData, n_components: int) -> TargetEmbedding:
    """From the training data alone: whitened `gene_loadings` of the targets."""
    loadings = gene_loadings(data, n_components, whiten=True)
    return TargetEmbedding.reduced(loadings, data.perturbed.conditions, n_components, NOT_MEASURED)


def on_ontology(data: TrainingData, n_components: int) -> TargetEmbedding:
    """From the resource ``go``."""
    return TargetEmbedding.reduced(resource(data, "go"), data.perturbed.conditions, n_components, no_vector("go"))


def resource(data: TrainingData, name: str) -> FeatureTable:
    """A feature table among the resources.

    Raises
    ------
    UsageError
        If it was not provided.
    """
    if name not in data.resources:
        raise UsageError(f"the model needs the resource '{name}', a table with a vector for each target; add it to the run.")
    return data.resources[name]


def no_vector(name: str) -> str:
    """Reason for a target that the resource `name` does not know."""
    return f"resource: '{name}' has no vector for {{}}"
