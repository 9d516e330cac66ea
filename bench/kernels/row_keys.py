"""A number for each cell that depends on its values and not on where it stands."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from scipy import sparse

from .compiled import compiled

Array = np.ndarray[Any, Any]


def row_keys(X: Any, gene_keys: Array) -> Array:
    """(m,) uint64 key of each row: equal for equal rows, otherwise as good as random.

    The sum (modulo 2^64) over the values that are not zero of a hash of the gene's key and the value as float32. So the key
    of a cell changes neither with the order of cells or genes nor with the form of the matrix.

    Parameters
    ----------
    X
        m x G, CSR or array.
    gene_keys
        (G,) uint64, different for each gene.
    """
    gene_keys = np.asarray(gene_keys, dtype=np.uint64)
    if sparse.issparse(X):
        X = sparse.csr_matrix(X)
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        return _sparse_keys(X.indptr, X.indices, X.data.astype(np.float32, copy=False).view(np.uint32), gene_keys)
    return _dense_keys(np.ascontiguousarray(X, dtype=np.float32).view(np.uint32), gene_keys)


def first_occurrences_first(keys: Array) -> tuple[Array, int]:
    """Rows in an order that their keys alone decide, all different rows before any second copy; and the number of different rows.

    >>> first_occurrences_first(np.array([7, 3, 7, 5], dtype=np.uint64))
    (array([1, 3, 0, 2]), 3)
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    new = np.ones(len(keys), dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    start = np.flatnonzero(new)
    copy = np.arange(len(keys)) - np.repeat(start, np.diff(start, append=len(keys)))
    return order[np.argsort(copy, kind="stable")], len(start)


@njit(inline="always")
def _hashed(bits, gene_key):
    # The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
    z = gene_key + np.uint64(bits) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def _sparse_keys(indptr, indices, bits, gene_keys):
    keys = np.zeros(len(indptr) - 1, dtype=np.uint64)
    for i in range(len(keys)):
        for k in range(indptr[i], indptr[i + 1]):
            if bits[k] & np.uint32(0x7FFFFFFF):
                keys[i] += _hashed(bits[k], gene_keys[indices[k]])
    return keys


@compiled
def _dense_keys(bits, gene_keys):
    keys = np.zeros(len(bits), dtype=np.uint64)
    for i in range(len(keys)):
        for gene in range(len(gene_keys)):
            if bits[i, gene] & np.uint32(0x7FFFFFFF):
                keys[i] += _hashed(bits[i, gene], gene_keys[gene])
    return keys
