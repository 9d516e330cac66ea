"""The metric contract: a pure function of a `Comparison`, and the frozen facts about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .errors import UsageError, suggestion
from .truth import Truth

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Values:
    """A value for each condition; NaN is undefined and `reasons` says why (an empty string elsewhere).

    Reason codes: ``zero_variance`` (a vector without variance or of length zero), ``too_few_genes``,
    ``too_few_conditions``, ``absent`` and what a model or the split gave as a reason.
    """

    value: Array
    reason: Array

    @classmethod
    def of(cls, value: Array, reason: str = "zero_variance") -> Values:
        """Values whose NaNs all have the same reason."""
        value = np.asarray(value, dtype=np.float64)
        return cls(value, np.where(np.isnan(value), reason, "").astype(object))


@dataclass(frozen=True)
class Comparison:
    """Truth and one model's predicted means, aligned by condition and gene.

    Parameters
    ----------
    truth
        The statistics of the test cells.
    predicted
        (n, G) predicted mean log1p in the order of ``truth.conditions``; a row of NaN where the model is absent.
    """

    truth: Truth
    predicted: Array

    @cached_property
    def expected(self) -> Array:
        """(n, G) float64 true mean log1p."""
        return self.truth.profiles.mean.astype(np.float64)

    @cached_property
    def present(self) -> Array:
        """(n,) bool: conditions that the model predicted."""
        return np.asarray(~np.isnan(self.predicted).any(axis=1))

    def reference(self, name: str) -> Array:
        """(n, G) reference profile ``ctrl``, ``pert`` or ``loo``; the same on both sides."""
        try:
            return self.truth.references[name]
        except KeyError:
            raise UsageError(f"no reference '{name}'. {suggestion(name, self.truth.references)}") from None

    def deltas(self, reference: str) -> tuple[Array, Array]:
        """True and predicted change against the named reference, each (n, G)."""
        r = self.reference(reference)
        return self.expected - r, self.predicted - r

    def take(self, matrix: Array, genes: str) -> Array:
        """Columns of an (n, G) matrix: all genes for ``all``, (n, k) truth DE genes of each row for ``de<k>``."""
        if genes == "all":
            return matrix
        k = int(genes.removeprefix("de"))
        return np.take_along_axis(matrix, self.truth.de_order[:, :k], axis=1)


@dataclass(frozen=True)
class MetricInfo:
    """A metric and the facts that a reader needs to use its number.

    Parameters
    ----------
    id
        ``family[.variant][@genes][~reference][#representation]``, such as ``pearson_delta@de20~pert``.
    version
        Raised whenever the definition changes; old results keep the old version.
    direction
        ``up`` (higher is better), ``down``, or ``target`` (closest to `perfect` is best).
    lower, upper, perfect
        Range and the value of a perfect prediction.
    function
        Pure function of a `Comparison`; returns `Values` over its conditions.
    summary
        One sentence with the formula.
    reference
        Paper or implementation.
    level
        ``perturbation`` or ``dataset``.
    needs
        Subset of ``means``, ``cells``, ``variance``, ``latents``.
    headline
        Shown in the leaderboard's first table.
    """

    id: str
    version: int
    direction: str
    lower: float
    upper: float
    perfect: float
    function: Callable[[Comparison], Values]
    summary: str
    reference: str = ""
    level: str = "perturbation"
    needs: tuple[str, ...] = ("means",)
    headline: bool = False

    @property
    def versioned_id(self) -> str:
        return f"{self.id} v{self.version}"

    def __call__(self, comparison: Comparison) -> Values:
        return self.function(comparison)
