"""One value for each condition: the loop, the gene sets and the reasons that all row-wise metrics share.

A *family* is a function of a block of `Rows` that returns several statistics at once. The metrics of a family over the same
genes and the same reference share one pass: a change is computed once and not once for each metric that looks at it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..bench.contracts.metric import Comparison, Values
from .change import centred, change

Array = np.ndarray[Any, Any]

#: How a summary speaks of a gene set.
GENES = {
    "all": "all G genes",
    "de20": "the 20 genes with the largest absolute Welch t of truth against control, targets left out",
    "de50": "the 50 genes with the largest absolute Welch t of truth against control, targets left out",
}
#: What a caveat says of a gene set, and of a reference.
GENES_CAVEAT = {
    "all": "Most of the genes do not respond, so their sampling noise has a large part in the value.",
    "de20": "The genes are chosen from the truth of each condition, so values of different conditions rest on different genes; "
    "undefined with fewer than 20 candidates.",
    "de50": "The genes are chosen from the truth of each condition, so values of different conditions rest on different genes; "
    "undefined with fewer than 50 candidates.",
}

# One megabyte of float64: the temporaries of a block stay in cache, so memory does not grow with the screen.
BLOCK_ELEMENTS = 2**17


class Rows:
    """A block of conditions over a gene set, and what statistics derive from it, each computed at most once.

    Parameters
    ----------
    comparison
        Where the rows come from.
    index
        Rows of the comparison, each with a prediction and enough genes.
    genes
        ``all`` or ``de<k>``.
    reference_name
        ``ctrl``, ``pert``, ``loo``, or None for families without a reference.

    Attributes
    ----------
    why
        (rows,) reason of a statistic that is NaN, ``zero_variance`` unless the family writes another.
    """

    def __init__(self, comparison: Comparison, index: Array, genes: str, reference_name: str | None = None) -> None:
        self.comparison, self.index, self.genes, self.reference_name = comparison, index, genes, reference_name
        self.why = np.full(len(index), "zero_variance", dtype=object)

    @cached_property
    def columns(self) -> Array | None:
        """(rows, k) genes of each row; None means all of them."""
        if self.genes == "all":
            return None
        return self.comparison.truth.de_order[self.index, : int(self.genes.removeprefix("de"))]

    def take(self, matrix: Array) -> Array:
        """(rows, k) float64 block of an (n, G) matrix."""
        block = matrix[self.index] if self.columns is None else matrix[self.index[:, None], self.columns]
        return block.astype(np.float64, copy=False)

    @cached_property
    def expected(self) -> Array:
        """(rows, k) true mean log1p."""
        return self.take(self.comparison.truth.profiles.mean)

    @cached_property
    def predicted(self) -> Array:
        """(rows, k) predicted mean log1p."""
        return self.take(self.comparison.predicted)

    @cached_property
    def reference(self) -> Array:
        """(rows, k) reference that is subtracted on both sides."""
        assert self.reference_name is not None
        return self.take(self.comparison.reference(self.reference_name))

    @cached_property
    def true(self) -> Array:
        """(rows, k) true change, see `change`."""
        return change(self.expected, self.reference)

    @cached_property
    def guess(self) -> Array:
        """(rows, k) predicted change."""
        return change(self.predicted, self.reference)

    @cached_property
    def true_pattern(self) -> Array:
        """(rows, k) true change less its mean over genes, see `centred`."""
        return centred(self.true, self.reference)

    @cached_property
    def guess_pattern(self) -> Array:
        """(rows, k) predicted change less its mean over genes."""
        return centred(self.guess, self.reference)


Family = Callable[[Rows], dict[str, Array]]


@dataclass(frozen=True)
class Table:
    """All statistics of a family; equal tables are one computation for `Comparison.once`."""

    family: Family
    genes: str
    reference: str | None = None

    def __call__(self, comparison: Comparison) -> tuple[dict[str, Array], Array]:
        """(n,) values by name of the statistic, and (n,) the reason of those that are NaN."""
        n = len(comparison.truth.conditions)
        why = np.full(n, "", dtype=object)
        if self.reference is not None:
            why[np.isnan(comparison.reference(self.reference)).any(axis=1)] = "too_few_conditions"
        why[_short_of_genes(comparison, self.genes)] = "too_few_genes"
        why[~comparison.present] = "absent"
        ready = np.flatnonzero(why == "")
        k = len(comparison.truth.genes) if self.genes == "all" else int(self.genes.removeprefix("de"))
        step = max(1, BLOCK_ELEMENTS // max(1, k))
        values: dict[str, Array] = {}
        for start in range(0, len(ready), step):
            rows = Rows(comparison, ready[start : start + step], self.genes, self.reference)
            for name, value in self.family(rows).items():
                values.setdefault(name, np.full(n, np.nan))[rows.index] = value
            why[rows.index] = rows.why
        return values, why


def per_condition(comparison: Comparison, genes: str, family: Family, statistic: str, *, reference: str | None = None) -> Values:
    """Score each condition by itself over a gene set.

    Parameters
    ----------
    genes
        ``all`` or ``de<k>``.
    family, statistic
        The function that computes the statistics of a family from a block of rows, and the name of one of them. NaN is
        where a vector has no variance or length, unless the family says why in `Rows.why`.
    reference
        ``ctrl``, ``pert`` or ``loo``.

    Returns
    -------
    Values
        Reasons, the first that applies: ``absent``; ``too_few_genes`` where fewer than k differential genes exist;
        ``too_few_conditions`` where the reference itself does not exist (``pert`` without training conditions, ``loo``
        in a screen of one perturbation); what the family says, mostly ``zero_variance``.
    """
    values, why = comparison.once(Table(family, genes, reference))
    value = values.get(statistic, np.full(len(why), np.nan))
    return Values(value, np.where(np.isnan(value), why, "").astype(object))


def _short_of_genes(comparison: Comparison, genes: str) -> Array:
    """(n,) bool: conditions with fewer than k differential genes; -1 in the order is padding."""
    order = comparison.truth.de_order
    if genes == "all":
        return np.zeros(len(order), dtype=bool)
    k = int(genes.removeprefix("de"))
    return (order[:, :k] >= 0).sum(axis=1) < k
