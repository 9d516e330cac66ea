"""How perturbations are weighed and drawn where a data set has several contexts.

The headline number is the mean over perturbations within a context, then over contexts, so that a context with many
perturbations does not speak for the others. Contexts are therefore drawn apart in every bootstrap.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Contexts = Sequence[str]

#: Columns of one matrix product. It is fixed, so that a column's last bits do not depend on how many others there are.
BLOCK = 16


def weights(contexts: Contexts | None, n: int) -> Array:
    """(n,) weights of perturbations that sum to 1: 1 / (number of contexts * number of perturbations in its context)."""
    if contexts is None:
        return np.full(n, 1 / max(n, 1))
    _, code, count = np.unique(np.asarray(contexts, dtype=str), return_inverse=True, return_counts=True)
    return 1 / (len(count) * count[code]) if n else np.zeros(0)


def strata(contexts: Contexts | None, n: int) -> Array:
    """(n,) the stratum from which each perturbation is drawn, numbered from 0.

    A stratum is a context. Contexts with a single perturbation, which alone would look as if it had no uncertainty, are
    taken together; where there is only one of them, it joins the smallest other context.

    References
    ----------
    Cochran, Sampling Techniques, 3rd ed. (1977), section 5A.12: collapsed strata.
    """
    if contexts is None or not n:
        return np.zeros(n, dtype=np.intp)
    _, code, count = np.unique(np.asarray(contexts, dtype=str), return_inverse=True, return_counts=True)
    target = np.arange(len(count))
    alone = np.flatnonzero(count == 1)
    if len(alone):
        target[alone] = alone[0]
    if len(alone) == 1 and len(count) > 1:
        others = np.delete(target, alone[0])
        target[alone[0]] = others[np.argmin(count[others])]
    return np.unique(target[code], return_inverse=True)[1]


def context_mean(values: Array, contexts: Contexts | None, *, of: Any = np.mean) -> float:
    """Mean over contexts of the mean (or of what `of` computes) within each; NaNs are left out, and contexts without a value.

    Values are sorted before they are added up, so that their order does not matter.

    >>> context_mean(np.array([1.0, 3.0, 10.0]), ["a", "a", "b"])
    6.0
    """
    values = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(values)
    if not known.any():
        return float("nan")
    if contexts is None:
        return float(of(np.sort(values[known])))
    named = np.asarray(contexts, dtype=str)[known]
    return float(np.mean([of(np.sort(values[known][named == c])) for c in np.unique(named)]))


def resampled_means(values: Array, weight: Array, stratum: Array, *, n_boot: int, seed: int) -> Array:
    """(n_boot, q) weighted means of columns, over rows drawn with replacement within strata, the same ones for all columns.

    Within a stratum a drawn mean is sum(w v) / sum(w) over what was drawn; strata count as much as their weight.

    Parameters
    ----------
    values
        (n, q).
    weight
        (n, q) weights, 0 where a value is undefined; a draw that misses every defined value of a stratum is NaN.
    stratum
        (n,) numbers from 0.
    """
    weight = np.broadcast_to(weight, values.shape)
    values = np.where(weight > 0, values, 0.0)
    total = np.zeros((n_boot, values.shape[1]))
    whole = weight.sum(axis=0)
    for number in range(int(stratum.max(initial=0)) + 1):
        rows = stratum == number
        v, w = values[rows], weight[rows]
        counts = draws(len(v), n_boot, seed, number)
        even = (w == w[:1]).all(axis=0) & (w[0] > 0)
        mean = np.empty_like(total)
        mean[:, even] = _product(counts, v[:, even]) / len(v)
        if not even.all():
            drawn = _product(counts, w[:, ~even])
            over = _product(counts, (w * v)[:, ~even])
            mean[:, ~even] = np.divide(over, drawn, out=np.full_like(over, np.nan), where=drawn > 0)
        share = w.sum(axis=0) / np.where(whole > 0, whole, 1)
        total += np.where(share > 0, share * mean, 0.0)
    total[:, whole == 0] = np.nan
    # No mean lies outside its values; rounding would let that of equal values.
    inside = np.where(weight > 0, values, np.nan)
    with np.errstate(invalid="ignore"):
        return np.clip(total, np.fmin.reduce(inside, axis=0), np.fmax.reduce(inside, axis=0))


def draws(n: int, n_boot: int, seed: int, stratum: int = 0) -> Array:
    """(n_boot, n) float64: how often each of n is drawn in n draws with replacement."""
    return _counts(n, n_boot, seed, stratum).astype(np.float64)


@lru_cache(maxsize=16)
def _counts(n: int, n_boot: int, seed: int, stratum: int) -> Array:
    rng = np.random.default_rng([seed, stratum] if stratum else seed)
    picked = rng.integers(0, n, size=(n_boot, n)) + n * np.arange(n_boot)[:, None]
    return np.bincount(picked.ravel(), minlength=n_boot * n).reshape(n_boot, n).astype(np.uint16)


def _product(counts: Array, columns: Array) -> Array:
    """`counts` @ `columns`, block by block; the last block is filled up with zeros."""
    out = np.empty((len(counts), columns.shape[1]))
    for start in range(0, columns.shape[1], BLOCK):
        part = columns[:, start : start + BLOCK]
        full = np.zeros((len(columns), BLOCK))
        full[:, : part.shape[1]] = part
        out[:, start : start + BLOCK] = (counts @ full)[:, : part.shape[1]]
    return out
