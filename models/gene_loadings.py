"""Gene loadings: where each gene lies among the others, judged by the training pseudobulks."""

from __future__ import annotations

import numpy as np

from ..bench.contracts.resource import FeatureTable
from ..bench.contracts.training import TrainingData
from .principal_components import principal_components


def gene_loadings(data: TrainingData, n_components: int, *, whiten: bool = False) -> FeatureTable:
    """Principal component scores of the genes on the training pseudobulks.

    The matrix has a row for each gene and a column for each training condition and each control; columns are centred.
    It holds expression, not change.

    Parameters
    ----------
    data
        Training data.
    n_components
        Number of components; fewer where the rank is lower.
    whiten
        Scale each component to unit variance over the genes. Otherwise the first one, which is roughly how highly a
        gene is expressed, outweighs all others in a distance.

    References
    ----------
    Ahlmann-Eltze, Huber & Anders, Nature Methods 2025 (the embedding "training data").
    """
    expression = np.concatenate([data.perturbed.mean, data.controls.mean]).astype(np.float64).T
    scores, _ = principal_components(expression - expression.mean(axis=0), n_components)
    if whiten:
        scores = scores / scores.std(axis=0)
    return FeatureTable(tuple(str(g) for g in data.genes), scores, "training pseudobulks", same_screen=True)
