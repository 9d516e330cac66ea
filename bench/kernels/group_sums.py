"""Sums and sums of squares over the cells of groups, of rows as they lie in memory.

Every sum adds up its cells in their order and has one thread to itself, so that it has the same bits for any number of
threads, any cut into blocks of rows, and sparse or dense. Rows are visited group by group: the sums of one group stay in
cache, those of a whole screen would not.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse

from .compiled import compiled
from .threads import default_threads

Array = np.ndarray[Any, Any]

#: Fewer values than this are not worth sharing among threads.
SMALL = 2**18


def add_rows(X: Any, codes: Array, total: Array, squares: Array, *, threads: int | None = None) -> None:
    """Add each row of X to the sums of its group, and the squares of its values to the sums of squares.

    Parameters
    ----------
    X
        n x G, CSR or array.
    codes
        (n,) group of each row in ``range(g)``.
    total, squares
        (g, G) float64, changed in place.
    threads
        At most this many; by default as `default_threads` says.

    Raises
    ------
    ValueError
        If a code is not a group, or the shapes do not fit.

    Examples
    --------
    >>> total, squares = np.zeros((2, 2)), np.zeros((2, 2))
    >>> add_rows(np.array([[1.0, 2.0], [0.0, 5.0], [3.0, 0.0]]), np.array([1, 0, 1]), total, squares)
    >>> total.tolist(), squares.tolist()
    ([[0.0, 5.0], [4.0, 2.0]], [[0.0, 25.0], [10.0, 4.0]])
    """
    codes = np.asarray(codes)
    n_groups, n_genes = total.shape
    if X.shape != (len(codes), n_genes) or squares.shape != total.shape:
        raise ValueError(f"X is {X.shape}, with {len(codes)} codes and sums of {total.shape} and {squares.shape}")
    if len(codes) and not (codes.min() >= 0 and codes.max() < n_groups):
        raise ValueError(f"codes must be from 0 to {n_groups - 1}")
    order = np.argsort(codes, kind="stable")
    groups, starts = np.unique(codes[order], return_index=True)
    if sparse.issparse(X):
        if X.format != "csr":
            raise ValueError(f"a sparse X must be CSR, not {X.format}")
        indptr, indices, data = np.asarray(X.indptr), np.asarray(X.indices), _values(X.data)
        weights = np.diff(indptr)[order]

        def add(groups: Array, bounds: Array) -> None:
            _add_sparse(indptr, indices, data, order, groups, bounds, total, squares)
    else:
        values = _values(X)
        weights = np.full(len(codes), n_genes)

        def add(groups: Array, bounds: Array) -> None:
            _add_dense(values, order, groups, bounds, total, squares)

    before = np.concatenate([[0], np.cumsum(weights, dtype=np.int64)])
    bounds = np.append(starts, len(codes))
    threads = 1 if before[-1] < SMALL else min(threads or default_threads(), len(groups))
    if threads <= 1:
        add(groups, bounds)
        return
    # Four shares for each thread, in the hope that none is left alone with a large group.
    edges = np.searchsorted(before[bounds], np.linspace(0, before[-1], 4 * threads + 1)[1:-1])
    edges = np.unique([0, *edges.tolist(), len(groups)])
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(add, *zip(*((groups[a:b], bounds[a : b + 1]) for a, b in pairwise(edges)), strict=True)))


def _values(values: Any) -> Array:
    """Values without a copy where they are floating point that the loops are compiled for."""
    values = np.asarray(values)
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)


@compiled
def _add_sparse(indptr, indices, data, order, groups, bounds, total, squares):
    # The two sums of a gene side by side, so that one cache line serves both.
    sums = np.empty((total.shape[1], 2))
    for k in range(len(groups)):
        group = groups[k]
        n_values = 0
        for i in order[bounds[k] : bounds[k + 1]]:
            n_values += indptr[i + 1] - indptr[i]
        if n_values < len(sums):
            # Fewer values than there are sums to copy to and fro.
            for i in order[bounds[k] : bounds[k + 1]]:
                for j in range(indptr[i], indptr[i + 1]):
                    value = np.float64(data[j])
                    total[group, indices[j]] += value
                    squares[group, indices[j]] += value * value
            continue
        sums[:, 0] = total[group]
        sums[:, 1] = squares[group]
        for i in order[bounds[k] : bounds[k + 1]]:
            for j in range(indptr[i], indptr[i + 1]):
                value = np.float64(data[j])
                gene = indices[j]
                sums[gene, 0] += value
                sums[gene, 1] += value * value
        total[group] = sums[:, 0]
        squares[group] = sums[:, 1]


@compiled
def _add_dense(X, order, groups, bounds, total, squares):
    for k in range(len(groups)):
        sums, sums_of_squares = total[groups[k]], squares[groups[k]]
        for i in order[bounds[k] : bounds[k + 1]]:
            for gene in range(X.shape[1]):
                value = np.float64(X[i, gene])
                sums[gene] += value
                sums_of_squares[gene] += value * value
