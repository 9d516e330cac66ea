"""The smallest and the largest value of each gene."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from .compiled import compiled

Array = np.ndarray[Any, Any]


def extremes(X: Any) -> tuple[Array, Array]:
    """(G,) smallest and largest value of each gene over the cells; scipy's own would transpose a CSR matrix for it.

    Parameters
    ----------
    X
        m x G with at least one cell, CSR (values of a cell and gene stored once) or array.

    Examples
    --------
    >>> extremes(sparse.csr_matrix([[0, 2, 1], [0, 0, 1]]))
    (array([0, 0, 1]), array([0, 2, 1]))
    """
    if not sparse.issparse(X):
        return X.min(axis=0), X.max(axis=0)
    X = sparse.csr_matrix(X)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return _extremes(X.indices, X.data, *X.shape)


@compiled
def _extremes(indices, data, n_cells, n_genes):
    low, high = np.zeros(n_genes, dtype=data.dtype), np.zeros(n_genes, dtype=data.dtype)
    stored = np.zeros(n_genes, dtype=np.int64)
    for k in range(len(indices)):
        gene, value = indices[k], data[k]
        if stored[gene] == 0:
            low[gene] = high[gene] = value
        else:
            low[gene], high[gene] = min(low[gene], value), max(high[gene], value)
        stored[gene] += 1
    for gene in range(n_genes):
        if stored[gene] < n_cells:
            low[gene], high[gene] = min(low[gene], data.dtype.type(0)), max(high[gene], data.dtype.type(0))
    return low, high
