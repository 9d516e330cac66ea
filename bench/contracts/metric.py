"""The metric contract: a pure function of a `Comparison`, and the frozen facts about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from .errors import UsageError, suggestion
from .latents import LatentComparison
from .truth import Truth

Array = np.ndarray[Any, Any]
T = TypeVar("T")

#: What a metric can need of a prediction or of the truth, and the reason it is undefined where that is not there.
NEEDS = {
    "means": "absent",
    "variance": "no_variance",
    "cells": "no_cells",
    "truth_cells": "no_truth_cells",
    "de": "no_truth_cells",
    "latents": "no_latents",
    "log1p": "wrong_scale",
}


@dataclass(frozen=True)
class Values:
    """A value for each condition, (n,) float64; NaN is undefined and `reason` says why (an empty string elsewhere).

    Reason codes: ``zero_variance`` (a vector without variance or of length zero), ``too_few_genes``, ``too_few_cells``,
    ``too_few_conditions``, ``no_deg`` (nothing is differentially expressed in the truth), ``none_called``, ``single_class``,
    ``no_cells`` and ``no_variance`` (the model gives none), ``no_truth_cells``, ``no_controls``, ``wrong_scale``, ``not_a_double``,
    ``no_singles``, ``absent`` and what a model or the split gave as a reason. Of latent variables: ``no_latents`` (none are known, or the
    model gives no codes), ``no_responsive_block`` and ``no_invariant_block`` (the truth has none), ``no_continuous``, ``one_latent``,
    ``no_claim``, ``no_targets`` and ``no_graph`` (the model says none), ``no_edges`` (the truth has none), ``not_paired``, ``no_times``,
    ``nothing_to_decode``, ``nothing_to_forecast``.
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
    """Truth and one model's prediction, aligned by condition and gene.

    Parameters
    ----------
    truth
        The statistics of the test cells.
    predicted
        (n, G) predicted mean log1p in the order of ``truth.conditions``; a row of NaN where the model is absent.
    variance
        (n, G) predicted variance over cells, a row of NaN where the model gives none; None where it never does. Of a
        model that predicts cells it is their sample variance, unless the model says another.
    cells
        Predicted cells (m, G), CSR or dense, on the scale of the profiles, by row of `predicted`.
    latents
        True latent variables of held-out cells beside the model's codes; None where there are none.
    """

    truth: Truth
    predicted: Array
    variance: Array | None = None
    cells: Mapping[int, Any] = field(default_factory=dict)
    latents: LatentComparison | None = None
    _memory: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, function: Callable[[Comparison], T]) -> T:
        """``function(self)``, computed on the first call: what several metrics need is computed once for all of them."""
        if function not in self._memory:
            self._memory[function] = function(self)
        return self._memory[function]

    def lacks(self, need: str) -> bool:
        """Whether nothing of what a metric needs (a key of `NEEDS`) is there."""
        if need == "variance":
            return self.variance is None
        if need == "cells":
            return not self.cells
        if need in ("truth_cells", "de"):
            return self.truth.cells is None
        if need == "log1p":
            return self.truth.scale == "raw"
        return need == "latents" and self.latents is None

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
        ``perturbation``, a value for each condition; ``latent``, one for each true latent variable; or ``dataset``, a single one.
    needs
        Subset of `NEEDS`: ``means``; ``variance`` over cells and ``cells`` that the model predicts; ``truth_cells``,
        cells of the truth; ``de``, its tests for differential expression; ``log1p``, expression that is no ``raw`` scale;
        ``latents``, true latent variables and the model's codes of held-out cells.
    reads
        What it takes into account where it is there, of the same names, without being undefined where it is not.
    headline
        Shown in the leaderboard's first table.
    caveats
        How the number can mislead, in a sentence or three.
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
    caveats: str = ""
    reads: tuple[str, ...] = ()

    @property
    def versioned_id(self) -> str:
        """The id and the version, such as ``l2@all v1``."""
        return f"{self.id} v{self.version}"

    @cached_property
    def parts(self) -> dict[str, str]:
        """What the id says: ``family``, ``variant``, ``genes``, ``reference`` and ``representation``; empty where it says nothing.

        >>> MetricInfo("mse@de20", 1, "down", 0, 1, 0, print, "").parts["genes"]
        'de20'
        """
        found = re.fullmatch(r"([^.@~#]+)(?:\.([^@~#]+))?(?:@([^~#]+))?(?:~([^#]+))?(?:#(.+))?", self.id)
        names = ("family", "variant", "genes", "reference", "representation")
        return (
            dict(zip(names, found.groups(default=""), strict=True)) if found else dict.fromkeys(names, "") | {"family": self.id}
        )

    def __call__(self, comparison: Comparison) -> Values:
        """Values of a comparison; undefined throughout where what the metric needs is not there at all."""
        if missing := [NEEDS[need] for need in self.needs if comparison.lacks(need)]:
            n = self.size(comparison)
            return Values(np.full(n, np.nan), np.full(n, missing[0], dtype=object))
        return self.function(comparison)

    def size(self, comparison: Comparison) -> int:
        """How many values it has for a comparison."""
        if self.level == "latent":
            return comparison.latents.truth.d if comparison.latents else 0
        return 1 if self.level == "dataset" else len(comparison.truth.conditions)

    @property
    def of_latents(self) -> bool:
        """Whether it scores latent variables rather than predictions."""
        return "latents" in self.needs
