"""Intervals for the mean expression of a gene, as wide as the errors on other perturbations say."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..bench.contracts.identity import derived_seed
from ..bench.contracts.metric import Comparison, Values

Array = np.ndarray[Any, Any]

#: Least predicted variance where one is divided by: about that of a gene which one cell in 10,000 expresses.
FLOOR = 1e-4

#: Nominal coverage, in tenths.
NOMINAL = 9


def unscored(comparison: Comparison, *, constant: bool = False) -> Array:
    """(n,) why a condition has no value so far: ``absent``, ``no_variance``, or ``zero_variance`` in every gene.

    With `constant` no variance is asked for.
    """
    reason = np.full(len(comparison.truth.conditions), "", dtype=object)
    if not constant:
        variance = spread(comparison)
        reason[~(variance > 0).any(axis=1)] = "zero_variance"
        reason[np.isnan(variance).any(axis=1)] = "no_variance"
    reason[~comparison.present] = "absent"
    return reason


def spread(comparison: Comparison) -> Array:
    """(n, G) predicted variance; metrics are only called where there is one."""
    return np.asarray(comparison.variance, dtype=np.float64)


def conformal(comparison: Comparison, *, constant: bool) -> tuple[Values, Values]:
    """Widths and coverages of 90 % split-conformal intervals for the mean of each gene.

    The scored conditions fall into two halves by hash. From the errors of one half, divided by the predicted sd (at least
    the root of `FLOOR`) or by 1 with `constant`, pooled over its K conditions and all genes, the quantile at
    0.9 (K + 1) / K scales the intervals of the other half: the pooled rule for grouped data of Dunn, Wasserman and Ramdas
    (2022), for conditions are exchangeable and genes are not. It needs K of at least 9.
    """
    reason = unscored(comparison, constant=constant)
    n = len(reason)
    keys = [c.key for c in comparison.truth.conditions]
    half = np.empty(n, dtype=np.int64)
    half[sorted(range(n), key=lambda i: (derived_seed("conformal", keys[i]), keys[i]))] = np.arange(n) % 2
    width, coverage = np.full((2, n), np.nan)
    ready = reason == ""
    for rows, others in ((np.flatnonzero(ready & (half == h)), np.flatnonzero(ready & (half != h))) for h in (0, 1)):
        size = _quantile(_scaled_errors(comparison, others, constant))
        if np.isnan(size):
            reason[rows] = "too_few_conditions"
            continue
        width[rows] = 2 * size * _scale(comparison, rows, constant).mean(axis=1)
        if size > 0:
            coverage[rows] = np.mean(_scaled_errors(comparison, rows, constant) <= size, axis=1)
    return Values(width, reason), Values(coverage, np.where((reason == "") & np.isnan(coverage), "zero_variance", reason))


def _scale(comparison: Comparison, rows: Array, constant: bool) -> Array:
    if constant:
        return np.ones((len(rows), 1))
    return np.sqrt(np.maximum(spread(comparison)[rows], FLOOR))


def _scaled_errors(comparison: Comparison, rows: Array, constant: bool) -> Array:
    return np.abs(comparison.expected[rows] - comparison.predicted[rows]) / _scale(comparison, rows, constant)


def _quantile(scores: Array) -> float:
    """The 0.9 (K + 1) / K quantile of (K, G) scores; NaN where that is more than all."""
    k, n = len(scores), scores.size
    # In integers, so that 0.9 * 10 / 9 is one.
    rank = -(-NOMINAL * (k + 1) * n // (10 * k)) if k else 1
    return float(np.partition(scores.ravel(), rank - 1)[rank - 1]) if 0 < rank <= n else float("nan")
