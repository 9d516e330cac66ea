"""Distances between the distributions of single genes in two samples of cells: Wasserstein-1 and Kolmogorov-Smirnov.

Most values of a gene are zero. Only the others are sorted, and the zeros enter the two distribution functions as one step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import compiled
from .distance_sums import in_threads

Array = np.ndarray[Any, Any]

_GENES = 512  # genes a task


def marginals(x: Any, y: Any, *, threads: int | None = None) -> tuple[Array, Array]:
    r"""Distances between the empirical distributions F of `x` and H of `y`, gene by gene.

    Parameters
    ----------
    x, y
        (n, G) and (m, G) cells, CSR or dense; they need not be equally many. Where one is float32 both are compared as
        such, since a value that was rounded on one side only would not tie.
    threads
        See `in_threads`; the values do not depend on it.

    Returns
    -------
    w1
        (G,) float64 :math:`\int |F(t) - H(t)|\,dt`, in the units of the values.
    ks
        (G,) float64 :math:`\sup_t |F(t) - H(t)|`.

    Raises
    ------
    ValueError
        Where a sample has no cells, they have not the same genes, or a value is not finite.

    Notes
    -----
    The values of ``scipy.stats.wasserstein_distance`` and of the statistic of ``scipy.stats.ks_2samp``.
    """
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"{x.shape[1]} and {y.shape[1]} genes.")
    if not x.shape[0] or not y.shape[0]:
        raise ValueError("a sample has no cells.")
    dtype = np.float32 if np.float32 in (x.dtype, y.dtype) else np.float64
    columns = (*_columns(x, dtype), *_columns(y, dtype))
    n_genes = x.shape[1]

    def task(start: int) -> tuple[Array, Array]:
        return _distances(*columns, x.shape[0], y.shape[0], start, min(start + _GENES, n_genes))

    parts = in_threads([lambda s=s: task(s) for s in range(0, n_genes, _GENES)], threads)
    if not parts:
        return np.zeros(0), np.zeros(0)
    return np.concatenate([w for w, _ in parts]), np.concatenate([k for _, k in parts])


def _columns(cells: Any, dtype: Any) -> tuple[Array, Array]:
    """Where each gene's stored values begin, (G + 1,), and these values."""
    from scipy.sparse import csc_matrix

    by_gene = csc_matrix(cells, dtype=dtype)
    by_gene.sum_duplicates()
    if not np.isfinite(by_gene.data).all():
        raise ValueError("a value is not finite.")
    return by_gene.indptr.astype(np.int64), by_gene.data


@compiled
def _distances(x_starts, x_values, y_starts, y_values, n, m, start, stop):
    w1, ks = np.zeros(stop - start), np.zeros(stop - start)
    for g in range(start, stop):
        x = np.sort(x_values[x_starts[g] : x_starts[g + 1]])
        y = np.sort(y_values[y_starts[g] : y_starts[g + 1]])
        x_zeros, y_zeros = n - len(x), m - len(y)
        i = j = below_x = below_y = 0
        zeros_taken = x_zeros + y_zeros == 0
        previous = 0.0
        area = largest = 0.0
        first = True
        while i < len(x) or j < len(y) or not zeros_taken:
            # The next point at which one of the distribution functions steps.
            value = np.inf
            if i < len(x):
                value = min(value, np.float64(x[i]))
            if j < len(y):
                value = min(value, np.float64(y[j]))
            if not zeros_taken:
                value = min(value, 0.0)
            gap = abs(below_x / n - below_y / m)
            if not first:
                area += gap * (value - previous)
            while i < len(x) and x[i] == value:
                i += 1
                below_x += 1
            while j < len(y) and y[j] == value:
                j += 1
                below_y += 1
            if value == 0.0 and not zeros_taken:
                below_x += x_zeros
                below_y += y_zeros
                zeros_taken = True
            largest = max(largest, abs(below_x / n - below_y / m))
            previous = value
            first = False
        w1[g - start], ks[g - start] = area, largest
    return w1, ks
