"""What a mean over perturbations is worth: intervals and paired tests. Seeds are averaged inside a perturbation.

Nothing here depends on the order in which perturbations are listed: values are sorted before anything random is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..contracts.errors import UsageError

Array = np.ndarray[Any, Any]
Clusters = Sequence[Sequence[str]]

EXACT = 14


@dataclass(frozen=True)
class PairedTest:
    """A mean difference over `n` perturbations, its 95 % interval and the p value of no difference."""

    difference: float
    low: float
    high: float
    p: float
    n: int


def gain(values: Array, *, direction: str, perfect: float) -> Array:
    """Values turned so that more is better: themselves, their negative, or minus the distance to `perfect`.

    Raises
    ------
    UsageError
        If `direction` is not ``up``, ``down`` or ``target``.
    """
    values = np.asarray(values, dtype=np.float64)
    if direction not in ("up", "down", "target"):
        raise UsageError(f"no direction {direction!r}. Known: up, down, target.")
    return values if direction == "up" else -values if direction == "down" else -np.abs(values - perfect)


def defined(*columns: Array) -> Array:
    """(n,) bool: perturbations on which all columns have a value.

    Raises
    ------
    UsageError
        If the columns differ in length, so that they cannot be aligned by perturbation.
    """
    lengths = [len(c) for c in columns]
    if len(set(lengths)) > 1:
        raise UsageError(f"got {lengths} values; pass one for each perturbation, in one order, NaN where undefined.")
    return np.logical_and.reduce([~np.isnan(np.asarray(c, dtype=np.float64)) for c in columns])


def chosen(clusters: Clusters | None, keep: Array) -> Clusters | None:
    """The clusters of the perturbations that `keep` marks."""
    return None if clusters is None else [c for c, kept in zip(clusters, keep, strict=True) if kept]


def design_effect(values: Array, clusters: Clusters | None) -> float:
    """How many times larger the variance of the mean is because perturbations share targets; at least 1.

    With residuals e = values - mean and S the ordered pairs (p, p included) that share a target, this is
    sum_S e_p e_q / sum_p e_p^2, divided by its expectation (1 - \\|S\\| / n^2) / (1 - 1 / n) for independent values
    (residuals of a sample sum to zero, which hides part of the covariance).

    Parameters
    ----------
    values
        (n,) without NaN.
    clusters
        The targets of each perturbation. A target that all perturbations share is part of the question, not of its
        uncertainty, and does not count.

    Returns
    -------
    1 where no two perturbations share a target, NaN where every two do, for then nothing shows how much a target
    matters. An estimate below 1 is noise and becomes 1.

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
    n = len(values)
    if clusters is None or n < 2:
        return 1.0
    values = np.asarray(values, dtype=np.float64)
    order = sorted(range(n), key=lambda i: (values[i], sorted(clusters[i])))
    members: dict[str, list[int]] = {}
    for row, i in enumerate(order):
        for target in sorted(set(clusters[i])):
            members.setdefault(target, []).append(row)
    shared = [np.array(rows) for _, rows in sorted(members.items()) if 1 < len(rows) < n]
    if not shared:
        return 1.0
    pairs = np.unique(np.concatenate([np.arange(n) * (n + 1), *((r[:, None] * n + r).ravel() for r in shared)]))
    if len(pairs) == n * n:
        return float("nan")
    e = values[order] - np.sort(values).mean()
    spread = (e * e).sum()
    if spread == 0:
        return 1.0
    first, second = np.divmod(pairs, n)
    expected = (1 - len(pairs) / n**2) / (1 - 1 / n)
    return max(1.0, float((e[first] * e[second]).sum() / spread / expected))


def widen(low: float, high: float, *, centre: float, effect: float) -> tuple[float, float]:
    """An interval whose distances from `centre` grow by the root of a design effect."""
    more = float(np.sqrt(effect)) - 1
    return float(low - more * (centre - low)), float(high + more * (high - centre))


def bootstrap_interval(
    values: Array, *, level: float = 0.95, n_boot: int = 2000, seed: int = 0, clusters: Clusters | None = None
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over perturbations.

    Parameters
    ----------
    values
        (n,) one value for each perturbation, without NaN.
    clusters
        The targets of each perturbation. Doubles that share a gene are dependent, and the interval of independent
        values is then widened by the root of the `design_effect`.

    Returns
    -------
    Lower and upper end; both NaN below two values, or where every two perturbations share a target.

    References
    ----------
    Efron, Ann. Stat. 7 (1979).
    """
    effect = design_effect(values, clusters)
    values = np.sort(np.asarray(values, dtype=np.float64))
    if len(values) < 2:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).integers(0, len(values), size=(n_boot, len(values)))
    tail = (1 - level) / 2
    low, high = np.quantile(values[draws].mean(axis=1), [tail, 1 - tail])
    return widen(low, high, centre=float(values.mean()), effect=effect)


def paired_test(a: Array, b: Array, *, n_perm: int = 10_000, seed: int = 0, clusters: Clusters | None = None) -> PairedTest:
    """Sign-flip test of whether two models differ on the same perturbations.

    The null hypothesis is that the differences a - b are symmetric about 0. All 2^n sign patterns are tried up to n = 14;
    beyond, p = (1 + k) / (1 + n_perm) with k random patterns at least as extreme as the data.

    Parameters
    ----------
    a, b
        (n,) values aligned by perturbation; pairs with a NaN are dropped.
    clusters
        The targets of each perturbation. The observed difference is divided by the root of the `design_effect`
        before it is compared, since flipping signs one by one takes doubles that share a gene for independent.

    Returns
    -------
    `PairedTest`; p is NaN below two pairs, or where every two perturbations share a target.

    References
    ----------
    Fisher, The Design of Experiments (1935). Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010): p is never 0.
    """
    keep = defined(a, b)
    d = (np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))[keep]
    mine = chosen(clusters, keep)
    if not len(d):
        return PairedTest(difference=np.nan, low=np.nan, high=np.nan, p=np.nan, n=0)
    low, high = bootstrap_interval(d, seed=seed, clusters=mine)
    p = sign_flip_p(d[:, None], np.array([design_effect(d, mine)]), n_perm=n_perm, seed=seed)[0]
    return PairedTest(float(np.sort(d).mean()), low, high, float(p), len(d))


def sign_flip_p(d: Array, effects: Array, *, n_perm: int, seed: int) -> Array:
    """(q,) p values for (n, q) differences; a NaN adds nothing to its column's sum, which is the same as leaving it out."""
    known = ~np.isnan(d)
    d = np.sort(np.where(known, d, 0.0), axis=0)
    observed = np.abs(d.sum(axis=0)) / np.sqrt(effects)
    # Magnitudes in one order: p is the same for (a, b) and (b, a), and for perturbations in any order.
    size = np.sort(np.abs(d), axis=0)
    total = size.sum(axis=0)
    n = len(d)
    exact = n <= EXACT
    if exact:
        bits = np.arange(2**n)[:, None] >> np.arange(n) & 1
    else:
        packed = np.frombuffer(np.random.default_rng(seed).bytes(n_perm * (-(-n // 8))), dtype=np.uint8)
        bits = packed.reshape(n_perm, -1)
    extreme = np.zeros(d.shape[1])
    step = max(1, 2**22 // n)
    for start in range(0, len(bits), step):
        part = bits[start : start + step]
        flipped = part if exact else np.unpackbits(part, axis=1, count=n)
        sums = np.abs(total - 2 * (flipped.astype(np.float64) @ size))
        extreme += (sums >= observed - 1e-9 * total).sum(axis=0)
    p = extreme / len(bits) if exact else (1 + extreme) / (1 + len(bits))
    return np.where((known.sum(axis=0) < 2) | np.isnan(effects), np.nan, p)


def holm(p: Array) -> Array:
    """P values adjusted so that the chance of any false discovery among them stays below the level.

    The i-th smallest of m is multiplied by m - i + 1; then running maximum, at most 1. NaN stays NaN and is not counted.

    References
    ----------
    Holm, Scand. J. Stat. 6 (1979).
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return adjusted
