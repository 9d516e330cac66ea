"""Permutation test of whether a group of points differs from a control group, by energy distance.

With D the distances among the pooled points, a relabelling that gives the smaller group the set s needs only the sum of D
within s: the sums between the groups and within the other one follow from the row sums of D, which no relabelling changes.
So a permutation costs k (k - 1) / 2 distances for a group of k points and not the square of all points, and D is never
in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .compiled import compiled
from .distance_sums import BLOCK, Points, in_threads, sum_of_distances

Array = np.ndarray[Any, Any]

_ROWS = 128  # rows of a square of distances at a time; what is below the diagonal of such a strip is wasted
_DRAWS = 2**18  # random numbers at a time
_ROUNDING = 1e-6  # of the mean distance: relabellings that equal the truth up to float32 rounding count as ties


def energy_test(
    y: Array,
    codes: Array,
    n_groups: int,
    control: int,
    n_permutations: int,
    seed: int | Sequence[int],
    *,
    threads: int | None = None,
) -> tuple[Array, Array]:
    """Energy distance of each group to control and its p value under relabelling of the two groups' points.

    Parameters
    ----------
    y
        (n, d) points.
    codes
        (n,) group of each point, from 0 to `n_groups` - 1; points with the code -1 are left out.
    control
        The group that all are compared with.
    n_permutations
        Random relabellings B of each group.
    seed
        One for each group, such as a hash of its name, so that a new group changes nobody else's p value; or one for all,
        to which the number of the group is added.
    threads
        See `in_threads`; the values do not depend on it.

    Returns
    -------
    statistic
        (n_groups,) float64, as of `energy_distances`.
    p
        (n_groups,) float64, (1 + number of relabellings with a distance at least as large) / (1 + B) (Phipson and Smyth
        2010): never 0, not adjusted for the number of groups. NaN at the control and where a group has fewer than two
        points.
    """
    points = Points.with_control_last(y, codes, n_groups, control)
    seeds = [seed + g for g in range(n_groups)] if isinstance(seed, int | np.integer) else list(seed)
    if len(seeds) != n_groups:
        raise ValueError(f"{len(seeds)} seeds were given for {n_groups} groups.")
    names = [g for g in range(n_groups) if g != control]
    first, last = (int(b) for b in points.bounds[-2:])
    blocks = [(start, min(start + BLOCK, last)) for start in range(first, last, BLOCK)]
    edges = points.bounds[-2:]
    parts = in_threads([lambda s=s, e=e: points.row_sums(s, e, edges)[:, 0] for s, e in blocks], threads)
    among_control = np.concatenate(parts) if parts else np.zeros(0)
    done = in_threads(
        [lambda g=g, s=seeds[name]: _test(points, g, among_control, n_permutations, s) for g, name in enumerate(names)], threads
    )
    statistic, p = np.full(n_groups, np.nan), np.full(n_groups, np.nan)
    if last - first > 1:
        statistic[control] = 0.0
    for name, values in zip(names, done, strict=True):
        statistic[name], p[name] = values
    return statistic, p


def _test(points: Points, g: int, among_control: Array, n_permutations: int, seed: int) -> tuple[float, float]:
    begin, end, first, last = (int(points.bounds[b]) for b in (g, g + 1, -2, -1))
    n, m = end - begin, last - first
    if min(n, m) < 2:
        return float("nan"), float("nan")
    own, control = points.bounds[g : g + 2], points.bounds[-2:]

    def sums_of(start: int, stop: int, edges: Array) -> Array:
        return np.concatenate([points.row_sums(s, min(s + BLOCK, stop), edges)[:, 0] for s in range(start, stop, BLOCK)])

    rows = np.concatenate([np.arange(begin, end), np.arange(first, last)])
    of_group = sums_of(begin, end, own) + sums_of(begin, end, control)
    sums = np.concatenate([of_group, sums_of(first, last, own) + among_control])
    if m < n:
        rows, sums = np.roll(rows, m), np.roll(sums, m)
    k, total = min(n, m), sums.sum()
    observed = _energy(_relabelled(points.x, points.norms, rows, sums, np.zeros((1, k))), k, len(rows), total)[0]
    limit = observed - _ROUNDING * total / (len(rows) * (len(rows) - 1))
    rng = np.random.default_rng(seed)
    step = max(1, _DRAWS // k)
    larger = 0
    for start in range(0, n_permutations, step):
        draws = rng.random((min(step, n_permutations - start), k))
        values = _energy(_relabelled(points.x, points.norms, rows, sums, draws), k, len(rows), total)
        larger += int((values >= limit).sum())
    return float(observed), (larger + 1) / (n_permutations + 1)


def _energy(sums: Array, k: int, n: int, total: float) -> Array:
    """Energy distances from (B, 2) sums of the chosen k of n points: among themselves, to all; `total` over all n x n."""
    rest = n - k
    within = 2 * sums[:, 0]
    between = sums[:, 1] - within
    other = total - 2 * between - within
    return 2 * between / (k * rest) - within / (k * (k - 1)) - other / (rest * (rest - 1))


@compiled
def _relabelled(x, norms, rows, sums, draws):
    """For each row of uniform `draws` (B, k), a random set of k of the `rows`: distances within it, and its row sums.

    Returns
    -------
    Array
        (B, 2) float64: the sum over pairs in the set, each once, and the sum of `sums` over the set.
    """
    n, (count, k), d = len(rows), draws.shape, x.shape[1]
    order = np.arange(n)
    chosen = np.empty((k, d), dtype=np.float32)
    size = np.empty(k, dtype=np.float32)
    buffer = np.empty(min(_ROWS, k) * k, dtype=np.float32)
    out = np.zeros((count, 2))
    for b in range(count):
        # The first k steps of a Fisher-Yates shuffle; any order to start from gives a uniform set.
        for i in range(k):
            j = min(i + int(draws[b, i] * (n - i)), n - 1)
            order[i], order[j] = order[j], order[i]
            row = rows[order[i]]
            chosen[i] = x[row]
            size[i] = norms[row]
            out[b, 1] += sums[order[i]]
        for low in range(0, k, _ROWS):
            high = min(low + _ROWS, k)
            inner = buffer[: (high - low) * (k - low)].reshape(high - low, k - low)
            np.dot(chosen[low:high], chosen[low:].T, inner)
            for i in range(low, high - (high == k)):
                out[b, 0] += sum_of_distances(inner[i - low, i + 1 - low :], size[i], size[i + 1 :], chosen, i, i + 1)
    return out
