"""Sign-flip tests between all pairs of many models, for which millions of sign patterns are needed.

Holm over all pairs needs p values far below 1 / (number of pairs), so that the patterns grow with the number of pairs, and the
plain test (`inference.sign_flip_p`) with the square of it: 100 models are 4,950 pairs and 990,000 patterns. Three facts make it
cheap and leave each p value valid. The sum of flipped differences is the difference of two sums, so that patterns are applied to
models and not to pairs. A pair whose tail is bounded far below what the patterns can show needs none. And a pair that many
patterns already exceed needs no more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: Patterns at least as extreme as the data after which a pair is not looked at again: p is then known to a tenth of itself.
ENOUGH = 100
#: Between two looks the number of patterns grows by this factor.
GROWTH = 4
#: Patterns that are applied at a time.
CHUNK = 4096
#: Numbers that are compared at a time, so that they stay in a cache.
AT_A_TIME = 2**17


def sign_flip_pairs(
    table: Array, pairs: Array, effects: Array, *, first_look: int, n_perm: int, seed: int, keys: tuple[Array, ...] = ()
) -> Array:
    """(q,) two-sided p values of the sign-flip tests between columns of a table.

    Patterns are shared by all pairs. After `first_look` patterns, and whenever their number has grown by `GROWTH`, the pairs
    with `ENOUGH` exceedances keep p = (1 + k) / (1 + patterns so far); the last ones have seen `n_perm`. Such a p is valid:
    p <= a is only possible at a look whose count alone says so, and that count alone has that probability. Where
    2 exp(-z^2 / 2), with z^2 the square of the observed sum over the sum of squares, is below 1 / (1 + `n_perm`), no pattern is
    expected to exceed, and p is 1 / (1 + `n_perm`), which the true one is below.

    Parameters
    ----------
    table
        (n, k) values without NaN. Rows are sorted by their values first, so that neither their order nor that of the columns matters.
    pairs
        (q, 2) columns.
    effects
        (q,) design effects, by whose root the observed sum is divided; NaN gives NaN.
    keys
        (n,) more that tells rows apart.

    References
    ----------
    Besag and Clifford, Biometrika 78 (1991): sequential Monte Carlo p values. Hoeffding, JASA 58 (1963): the bound.
    """
    size = np.abs(table).sum(axis=0)
    table = table - np.median(table, axis=1, keepdims=True)
    table = np.ascontiguousarray(table[np.lexsort((*table.T[::-1], *np.sort(table, axis=1).T[::-1], *keys))].T)
    first, second = np.asarray(pairs).T
    n = table.shape[1]
    observed, squares, total = np.empty((3, len(first)))
    for start in range(0, len(first), 256):
        own = slice(start, start + 256)
        d = table[first[own]] - table[second[own]]
        observed[own], squares[own], total[own] = np.abs(d.sum(axis=1)), (d * d).sum(axis=1), np.abs(d).sum(axis=1)
    observed = observed / np.sqrt(effects)
    # Sums that differ by nothing but rounding are equal, and what is equal counts as extreme.
    threshold = observed - 1e-9 * total - 1e-14 * (size[first] + size[second])
    bounded = np.maximum(threshold, 0) ** 2 > 2 * np.log(2 * (1 + n_perm)) * squares
    extreme = np.zeros(len(first), dtype=np.int64)
    drawn = np.full(len(first), n_perm)
    active = np.flatnonzero(~bounded & ~np.isnan(observed))
    packed = np.frombuffer(np.random.default_rng(seed).bytes(n_perm * (-(-n // 8))), dtype=np.uint8).reshape(n_perm, -1)
    look, done = first_look, 0
    while done < n_perm and len(active):
        part = packed[done : min(done + CHUNK, look, n_perm)]
        signs = 1.0 - 2.0 * np.unpackbits(part, axis=1, count=n)
        used, place = np.unique(np.concatenate([first[active], second[active]]), return_inverse=True)
        sums = table[used] @ signs.T
        a, b = place[: len(active)], place[len(active) :]
        extreme[active] += _exceeding(sums, a, b, threshold[active])
        done += len(part)
        if done == look:
            stop = active[extreme[active] >= ENOUGH]
            drawn[stop] = done
            active, look = active[extreme[active] < ENOUGH], look * GROWTH
    p = np.where(bounded, 1.0, 1.0 + extreme) / (1.0 + np.where(bounded, n_perm, drawn))
    return np.where(np.isnan(effects), np.nan, p)


def _exceeding(sums: Array, a: Array, b: Array, threshold: Array) -> Array:
    """(q,) how many of the columns of (k, m) `sums` have a difference of rows `a` and `b` at least as large as the threshold."""
    found = np.empty(len(a), dtype=np.int64)
    step = max(1, AT_A_TIME // sums.shape[1])
    for start in range(0, len(a), step):
        own = slice(start, start + step)
        gap = sums[a[own]]
        gap -= sums[b[own]]
        np.abs(gap, out=gap)
        found[own] = np.count_nonzero(gap >= threshold[own, None], axis=1)
    return found
