"""One value for each condition: the loop, the gene sets and the reasons that all row-wise metrics share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..bench.contracts.metric import Comparison, Values

Array = np.ndarray[Any, Any]

#: How a summary speaks of a gene set.
GENES = {
    "all": "all G genes",
    "de20": "the 20 genes with the largest absolute Welch t of truth against control, targets left out",
    "de50": "the 50 genes with the largest absolute Welch t of truth against control, targets left out",
}

# One megabyte of float64: the temporaries of a block stay in cache, so memory does not grow with the screen.
BLOCK_ELEMENTS = 2**17


def per_condition(comparison: Comparison, genes: str, statistic: Callable[..., Array], *, reference: str | None = None) -> Values:
    """Score each condition by itself over a gene set.

    Parameters
    ----------
    genes
        ``all`` or ``de<k>``.
    statistic
        Gets float64 blocks (rows, k) of true and predicted mean log1p, and of the reference where one is named;
        returns (rows,) values, NaN where a vector has no variance or length.
    reference
        ``ctrl``, ``pert`` or ``loo``.

    Returns
    -------
    Values
        Reasons, the first that applies: ``absent``; ``too_few_genes`` where fewer than k differential genes exist;
        ``too_few_conditions`` where the reference itself does not exist (``pert`` without training conditions, ``loo``
        in a screen of one perturbation); ``zero_variance``.
    """
    matrices = [comparison.take(m, genes) for m in (comparison.expected, comparison.predicted)]
    reason = np.full(len(comparison.truth.conditions), "", dtype=object)
    if reference is not None:
        matrices.append(comparison.take(comparison.reference(reference), genes))
        reason[np.isnan(matrices[-1]).any(axis=1)] = "too_few_conditions"
    reason[_short_of_genes(comparison, genes)] = "too_few_genes"
    reason[~comparison.present] = "absent"
    value = np.full(len(reason), np.nan)
    ready = np.flatnonzero(reason == "")
    step = max(1, BLOCK_ELEMENTS // max(1, matrices[0].shape[1]))
    for start in range(0, len(ready), step):
        rows = ready[start : start + step]
        value[rows] = statistic(*(m[rows].astype(np.float64, copy=False) for m in matrices))
    reason[ready] = np.where(np.isnan(value[ready]), "zero_variance", "")
    return Values(value, reason)


def _short_of_genes(comparison: Comparison, genes: str) -> Array:
    """(n,) bool: conditions with fewer than k differential genes; -1 in the order is padding."""
    order = comparison.truth.de_order
    if genes == "all":
        return np.zeros(len(order), dtype=bool)
    k = int(genes.removeprefix("de"))
    return (order[:, :k] >= 0).sum(axis=1) < k
