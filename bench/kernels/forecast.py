"""Continuous ranked probability scores of predicted distributions of each gene, against the cells that were seen.

Zeros, most of a screen, are one block for each gene: the cost is that of the stored values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compiled import compiled

Array = np.ndarray[Any, Any]


def gaussian_scores(cells: Any, mean: Array, sd: Array, bounds: Array) -> tuple[Array, Array]:
    r"""CRPS of normal predictions, and the share of cells within central intervals.

    :math:`\mathrm{CRPS}(N(\mu, \sigma^2), y) = \sigma[z(2\Phi(z) - 1) + 2\varphi(z) - 1/\sqrt\pi]` with
    :math:`z = (y - \mu)/\sigma` (Gneiting and Raftery 2007), and its limit :math:`|y - \mu|` where the sd is zero.

    Parameters
    ----------
    cells
        (m, G) CSR.
    mean, sd
        (G,) of the prediction.
    bounds
        (k,) increasing half-widths of intervals, in units of the sd.

    Returns
    -------
    tuple of Array
        (G,) CRPS averaged over cells, and (k, G) share of cells within each interval, ends included.
    """
    n_cells = cells.shape[0]
    total, inside, stored = _stored_scores(cells.data, cells.indices, mean, sd, bounds)
    _zero_scores(n_cells - stored, mean, sd, bounds, total, inside)
    return total / n_cells, np.cumsum(inside, axis=0) / n_cells


@compiled
def _crps_and_place(y: Any, mu: Any, sd: Any, bounds: Array) -> tuple[float, int]:
    """CRPS of one value, and the first interval that holds it (k where none does)."""
    off = abs(y - mu)
    if sd > 0.0:
        z = off / sd
        # 2 Phi(z) - 1 is erf(z / sqrt 2).
        density = math.exp(-0.5 * z * z) * 0.7978845608028654
        score = sd * (z * math.erf(z * 0.7071067811865476) + density - 0.5641895835477563)
    else:
        z = 0.0 if off == 0.0 else math.inf
        score = off
    place = 0
    while place < len(bounds) and z > bounds[place]:
        place += 1
    return score, place


@compiled
def _stored_scores(data: Array, genes: Array, mean: Array, sd: Array, bounds: Array) -> tuple[Array, Array, Array]:
    n_genes = len(mean)
    total, inside, stored = np.zeros(n_genes), np.zeros((len(bounds), n_genes), np.int64), np.zeros(n_genes, np.int64)
    for k in range(len(data)):
        g = genes[k]
        score, place = _crps_and_place(data[k], mean[g], sd[g], bounds)
        total[g] += score
        stored[g] += 1
        if place < len(bounds):
            inside[place, g] += 1
    return total, inside, stored


@compiled
def _zero_scores(zeros: Array, mean: Array, sd: Array, bounds: Array, total: Array, inside: Array) -> None:
    for g in range(len(mean)):
        score, place = _crps_and_place(0.0, mean[g], sd[g], bounds)
        total[g] += zeros[g] * score
        if place < len(bounds):
            inside[place, g] += zeros[g]


def sample_scores(cells: Any, predicted: Any) -> Array:
    r"""(G,) CRPS of the forecast that weighs each predicted cell alike, averaged over seen cells.

    :math:`\frac{1}{nm}\sum_{ij}|x_i - y_j| - \frac{1}{2m^2}\sum_{ik}|x_i - x_k|` for m predicted :math:`x` and n seen
    :math:`y`, never negative. With m(m - 1) for m^2 (the fair score of Ferro 2014) two far cells that are chosen well would
    score 0: that estimator is for members that are drawn, not chosen. Both sums are integrals over the merged sorted values.

    Parameters
    ----------
    cells, predicted
        (n, G) and (m, G), m at least 2; CSR or dense.
    """
    return _sweep(*_by_gene(cells), *_by_gene(predicted), cells.shape[0], predicted.shape[0])


def _by_gene(cells: Any) -> tuple[Array, Array, bool]:
    """Stored values gene by gene, where those of each gene begin, and whether they are sorted."""
    if isinstance(cells, np.ndarray):
        # numpy sorts long rows several times faster than numba; for the few values of a sparse gene it is the call that costs.
        n, n_genes = cells.shape
        return np.sort(np.ascontiguousarray(cells.T), axis=1).ravel(), np.arange(n_genes + 1) * n, True
    columns = cells.tocsc()
    return columns.data, columns.indptr.astype(np.int64), False


@compiled
def _sweep(seen, seen_ptr, seen_sorted, guessed, guessed_ptr, guessed_sorted, n, m):
    n_genes = len(seen_ptr) - 1
    out = np.empty(n_genes)
    for g in range(n_genes):
        y, x = seen[seen_ptr[g] : seen_ptr[g + 1]], guessed[guessed_ptr[g] : guessed_ptr[g + 1]]
        y, x = y if seen_sorted else np.sort(y), x if guessed_sorted else np.sort(x)
        i = j = below_y = below_x = 0
        if (len(y) and math.isnan(y[-1])) or (len(x) and math.isnan(x[-1])):  # sorting puts NaN last
            out[g] = math.nan
            continue
        zero_left = len(y) < n or len(x) < m
        between = within = last = 0.0
        while i < len(y) or j < len(x) or zero_left:
            value = math.inf
            if i < len(y):
                value = min(value, np.float64(y[i]))
            if j < len(x):
                value = min(value, np.float64(x[j]))
            if zero_left:
                value = min(value, 0.0)
            if below_y + below_x:  # before the first value there is nothing to integrate
                width = value - last
                between += width * (below_y * (m - below_x) + below_x * (n - below_y))
                within += width * below_x * (m - below_x)
            if zero_left and value == 0.0:
                below_y += n - len(y)
                below_x += m - len(x)
                zero_left = False
            while i < len(y) and y[i] == value:
                below_y += 1
                i += 1
            while j < len(x) and x[j] == value:
                below_x += 1
                j += 1
            last = value
        out[g] = between / (n * m) - within / (float(m) * m)
    return out
