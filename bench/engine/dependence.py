"""Perturbations that share a target are dependent: how much less their mean is worth than that of independent values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from .strata import Contexts, strata, weights

T = TypeVar("T")
Array = np.ndarray[Any, Any]
Clusters = Sequence[Sequence[str]]


def chosen(labels: Sequence[T] | None, keep: Array) -> list[T] | None:
    """The clusters or contexts of the perturbations that `keep` marks."""
    return None if labels is None else [c for c, kept in zip(labels, keep, strict=True) if kept]


def design_effect(values: Array, clusters: Clusters | None, contexts: Contexts | None = None) -> float:
    """How many times larger the variance of the mean is because perturbations share targets; at least 1.

    With w the weights of the mean (1/n in a single context), e = values - mean of the context and S the ordered pairs
    (p, p included) that share a target, this is sum_S w_p e_p w_q e_q / sum_p (w_p e_p)^2, divided by its expectation for
    independent values, which is below 1 since residuals of a sample sum to zero, which hides part of the covariance. In a
    single context that is (1 - \\|S\\| / n^2) / (1 - 1 / n).

    Parameters
    ----------
    values
        (n,) without NaN.
    clusters
        The targets of each perturbation. A target that all perturbations share is part of the question, not of its
        uncertainty, and does not count. One perturbation in several contexts shares its targets with itself.
    contexts
        The context of each perturbation, where there are several.

    Returns
    -------
    1 where no two perturbations share a target, NaN where every two (of one context) do, for then nothing shows how much
    a target matters. An estimate below 1 is noise and becomes 1.

    Notes
    -----
    Owen's pigeonhole bootstrap, which weights a double by the product of its genes' counts, triples the variance that
    belongs to the double alone: in simulations of 130 independent doubles of 100 genes its intervals were 1.6 times too wide
    (coverage 0.998), and for 45 doubles of 10 genes with strong effects they were too narrow (0.82). Intervals with this
    factor covered about 0.95 and 0.92. With few genes any such estimate is rough.

    References
    ----------
    Kish, Survey Sampling (1965). Fafchamps and Gubert, J. Dev. Econ. 83 (2007) and Aronow, Samii and Assenova, Polit.
    Anal. 23 (2015): the dyadic variance. Owen, Ann. Appl. Stat. 1 (2007) and Owen and Eckles, ibid. 6 (2012): the pigeonhole.
    """
    if clusters is None or len(values) < 2:
        return 1.0
    values = np.asarray(values, dtype=np.float64)
    return float(sample(clusters, contexts, len(values)).design_effects(values[:, None])[0])


@dataclass(frozen=True)
class Sample:
    """What of an interval does not depend on the values.

    Parameters
    ----------
    weight, stratum
        (n,) as `strata.weights` and `strata.strata` give them.
    sharing
        (n, n) sparse matrix of ones where two perturbations, or one and itself, share a target; None where no two do.
    expected
        Expectation of the ratio in `design_effect` for independent values; 0 where every two perturbations share a target.
    """

    weight: Array
    stratum: Array
    sharing: Any
    expected: float

    def design_effects(self, values: Array) -> Array:
        """(q,) `design_effect` of (n, q) values without NaN."""
        q = values.shape[1]
        if self.sharing is None:
            return np.ones(q)
        if self.expected <= 0:
            return np.full(q, np.nan)
        e = self._residuals(values)
        spread = (e * e).sum(axis=0)
        ratio = np.divide((e * (self.sharing @ e)).sum(axis=0), spread, out=np.ones(q), where=spread > 0)
        return np.maximum(1.0, np.where(spread > 0, ratio / self.expected, 1.0))

    def widths(self, values: Array, *, level: float) -> Array:
        """(q,) how much wider than the percentile bootstrap's an interval of the mean of (n, q) values is, without NaN.

        The product of the root of the design effect, of what resampling takes from the variance of small strata, and of a
        quantile of t over that of the normal distribution. With e the weighed residuals and Q_h the sum of their squares in
        stratum h of n_h, the bootstrap's variance is the sum of Q_h and an unbiased one that of V_h = Q_h n_h / (n_h - 1).
        Degrees of freedom are Welch's, (sum V_h)^2 / sum(V_h^2 / (f_h + 2)) - 2 with f_h = n_h - 1, held between the
        smallest f_h and their sum. Satterthwaite's, with f_h and without the 2, has a third of the right ones in strata of two.

        References
        ----------
        Satterthwaite, Biometrics Bull. 2 (1946). Welch, Biometrika 34 (1947). Hesterberg, Am. Stat. 69 (2015): percentile
        intervals of small samples are too narrow by the same two factors.
        """
        from scipy.special import ndtri, stdtrit

        e, size = self._residuals(values), np.bincount(self.stratum)
        within = np.stack([(e[self.stratum == h] ** 2).sum(axis=0) for h in range(len(size))])
        free = np.maximum(size - 1, 1)[:, None]
        unbiased = within * size[:, None] / free
        total, spread = unbiased.sum(axis=0), within.sum(axis=0)
        known = spread > 0
        squares = (unbiased**2 / (free + 2)).sum(axis=0)
        freedom = np.divide(total**2, squares, out=np.full(len(total), 3.0), where=known & (squares > 0)) - 2
        freedom = np.clip(freedom, free.min(), free.sum())
        tail = (1 + level) / 2
        small = np.sqrt(np.divide(total, spread, out=np.ones(len(total)), where=known)) * stdtrit(freedom, tail) / ndtri(tail)
        return np.sqrt(self.design_effects(values)) * small

    def _residuals(self, values: Array) -> Array:
        """(n, q) weights times the distance from the weighted mean of the stratum."""
        w, e = self.weight[:, None], np.empty_like(values)
        for number in range(self.stratum.max() + 1):
            rows = self.stratum == number
            e[rows] = w[rows] * (values[rows] - (w[rows] * values[rows]).sum(axis=0) / w[rows].sum())
        return e


def sample(clusters: Clusters | None, contexts: Contexts | None, n: int) -> Sample:
    """The `Sample` of n perturbations with these targets and contexts."""
    return _sample(None if clusters is None else tuple(map(tuple, clusters)), None if contexts is None else tuple(contexts), n)


@lru_cache(maxsize=32)
def _sample(clusters: Clusters | None, contexts: Contexts | None, n: int) -> Sample:
    from scipy.sparse import csr_array

    w, stratum = weights(contexts, n), strata(contexts, n)
    members: dict[str, list[int]] = {}
    for row, targets in enumerate(clusters or ()):
        for target in sorted(set(targets)):
            members.setdefault(target, []).append(row)
    shared = [np.array(rows) for rows in members.values() if 1 < len(rows) < n]
    if not shared:
        return Sample(w, stratum, None, 1.0)
    pairs = np.unique(np.concatenate([np.arange(n) * (n + 1), *((r[:, None] * n + r).ravel() for r in shared)]))
    first, second = np.divmod(pairs, n)
    size = np.bincount(stratum)
    near = stratum[first] == stratum[second]
    hidden = (w[first] * w[second] / size[stratum[first]])[near & (first != second)].sum()
    everything = np.count_nonzero(near) == (size**2).sum()
    expected = 0.0 if everything else 1 - hidden / (w**2 * (1 - 1 / size[stratum])).sum()
    return Sample(w, stratum, csr_array((np.ones(len(pairs)), (first, second)), shape=(n, n)), float(expected))


def widen(low: Any, high: Any, *, centre: Any, width: Any) -> tuple[Any, Any]:
    """Intervals whose distances from `centre` grow by the factor `width`."""
    more = np.asarray(width) - 1
    return low - more * (centre - low), high + more * (high - centre)
