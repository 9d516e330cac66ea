"""Energy distance and maximum mean discrepancy between samples of points, unbiased, by groups.

Both are ``2 A(X, Y) - A(X, X) - A(Y, Y)`` (the discrepancy with the opposite sign), A the mean of the distance or of the
kernel over pairs of different points: a pair of a point with itself is left out, so that two samples of one distribution
have the value 0 on average whatever their sizes (Szekely and Rizzo 2013; Gretton et al. 2012, lemma 6). Statistics with n^2
in place of n (n - 1) are larger by about the mean distance within a group over its size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .distance_sums import DISTANCE, RBF, Points, in_threads

Array = np.ndarray[Any, Any]


def energy_distances(y: Array, codes: Array, n_groups: int, control: int, *, power: int = 1, threads: int | None = None) -> Array:
    r"""Energy distance of each group of points to a control group.

    .. math:: 2\,E|X-Y|^\beta - E|X-X'|^\beta - E|Y-Y'|^\beta

    with unbiased terms within groups (sums over pairs of different points, divided by n (n - 1)).

    Parameters
    ----------
    y
        (n, d) points.
    codes
        (n,) group of each point, from 0 to `n_groups` - 1; points with the code -1 are left out.
    control
        The group that all are compared with.
    power
        1, or 2: then the value is ``2 (|difference of means|^2 - v_x / n_x - v_y / n_y)``, v the sum over coordinates of
        the unbiased variances, so it sees nothing but means.
    threads
        See `in_threads`; the values do not depend on it.

    Returns
    -------
    Array
        (n_groups,) float64; NaN where a group or the control has fewer than two points; at `control` itself 0.

    Notes
    -----
    As scPertEval's ``energy_distance``. pertpy and cell-eval divide by n^2; scPerturb has power 2.
    """
    if power == 2:
        return _squared_energy(*_moments(y, codes, n_groups), control)
    _check_power(power)
    return _to_control(y, codes, n_groups, control, DISTANCE, 0.0, threads)


def energy_matrix(y: Array, codes: Array, n_groups: int, *, power: int = 1, threads: int | None = None) -> Array:
    """(n_groups, n_groups) energy distances between all groups; see `energy_distances`. Symmetric, 0 on the diagonal."""
    if power == 2:
        moments = _moments(y, codes, n_groups)
        out = np.stack([_squared_energy(*moments, g) for g in range(n_groups)]) if n_groups else np.empty((0, 0))
        return (out + out.T) / 2
    _check_power(power)
    points = Points.of(y, codes, n_groups)
    tasks, owner = [], []
    for g in range(n_groups):
        mine = points.sums(g, g, n_groups)
        tasks += mine
        owner += [g] * len(mine)
    total = np.zeros((n_groups, n_groups))
    for g, part in zip(owner, in_threads(tasks, threads), strict=True):
        total[g, g:] += part
    sizes = points.sizes.astype(np.float64)
    within = _within(np.diag(total), sizes)
    with np.errstate(divide="ignore", invalid="ignore"):
        upper = np.triu(2 * total / np.outer(sizes, sizes) - within - within[:, None], k=1)
    out = upper + upper.T
    np.fill_diagonal(out, np.where(np.isnan(within), np.nan, 0.0))
    return out


def mmd_to_control(y: Array, codes: Array, n_groups: int, control: int, bandwidth: float, *, threads: int | None = None) -> Array:
    r"""Unbiased squared maximum mean discrepancy of each group to a control group, kernel exp(-|x - y|^2 / (2 bandwidth^2)).

    Parameters
    ----------
    y, codes, n_groups, control, threads
        As in `energy_distances`.
    bandwidth
        Length in the units of `y`, such as the median distance (`median_distance`) of points that no prediction can move.

    Returns
    -------
    Array
        (n_groups,) float64; NaN where a group or the control has fewer than two points; at `control` itself 0.

    Notes
    -----
    The kernel and the estimator of scPertEval's ``unbiased_mmd_median``, which takes the bandwidth from truth and
    prediction together. scikit-learn and pertpy call ``1 / (2 bandwidth^2)`` gamma.
    """
    return 0.0 - _to_control(y, codes, n_groups, control, RBF, _rate(bandwidth), threads)


def energy_distance(x: Array, y: Array, *, power: int = 1, threads: int | None = None) -> float:
    """Energy distance of two samples (n, d) and (m, d); see `energy_distances`. NaN with fewer than two points in either."""
    return float(energy_distances(*_pair(x, y), 1, power=power, threads=threads)[0])


def mmd(x: Array, y: Array, bandwidth: float, *, threads: int | None = None) -> float:
    """Unbiased squared maximum mean discrepancy of two samples (n, d) and (m, d); see `mmd_to_control`."""
    return float(mmd_to_control(*_pair(x, y), 1, bandwidth, threads=threads)[0])


def forecast_energy(x: Array, y: Array, *, power: int = 1, threads: int | None = None) -> float:
    """Energy distance of points y (n, d) to the forecast that puts the same weight on each of the points x (m, d).

    As `energy_distance`, but pairs of a point of x with itself count: ``E|x - x'|`` is divided by m^2. Whoever chooses the
    points of a forecast, and how many, can make their unbiased mean distance as large as he likes and any unbiased statistic
    as small; the distance of a forecast as it is has no value below that of the truth's distribution but for the sampling of
    y (Gneiting and Raftery 2007: the energy score). NaN with fewer than two points in either.
    """
    m = len(x)
    if min(m, len(y)) < 2:
        return float("nan")
    if power == 2:
        within = 2.0 * float(np.var(np.asarray(x, dtype=np.float64), axis=0, ddof=1).sum())
    else:
        within = _mean_within(x, DISTANCE, 0.0, threads)
    return energy_distance(x, y, power=power, threads=threads) + within / m


def forecast_mmd(x: Array, y: Array, bandwidth: float, *, threads: int | None = None) -> float:
    """Squared maximum mean discrepancy of points y to the forecast that weighs each of the points x alike; see `forecast_energy`."""
    if min(len(x), len(y)) < 2:
        return float("nan")
    return mmd(x, y, bandwidth, threads=threads) + (1.0 - _mean_within(x, RBF, _rate(bandwidth), threads)) / len(x)


def _mean_within(x: Array, kernel: int, rate: float, threads: int | None) -> float:
    """Mean of a kernel over pairs of different points."""
    points = Points.of(x, np.zeros(len(x), dtype=np.int64), 1)
    total = sum(float(part[0]) for part in in_threads(points.sums(0, 0, 1, kernel=kernel, rate=rate), threads))
    return 2 * total / (len(x) * (len(x) - 1))


def median_distance(y: Array, max_points: int = 2000) -> float:
    """Median Euclidean distance over pairs of points, the usual bandwidth of a kernel.

    Parameters
    ----------
    y
        (n, d) points.
    max_points
        Of more points than that, as many are taken at equal steps after sorting by coordinates: no random number, and
        the order of the points does not matter.

    Returns
    -------
    float
        NaN with fewer than two points.
    """
    from scipy.spatial.distance import pdist

    y = np.asarray(y, dtype=np.float64)
    if len(y) < 2:
        return float("nan")
    return float(np.median(pdist(y[spread(y, max_points)])))


def spread(y: Array, count: int) -> Array:
    """Rows of at most `count` points at equal steps after sorting by the first coordinate, ties by the next ones.

    Copies of points do not change the points that are taken: k copies of each give the same ones. So a sample cannot be
    made to look larger than it is, and neither the order of the points nor a random number matters.

    Parameters
    ----------
    y
        (n, d) points.

    Returns
    -------
    Array
        (min(n, count),) row indices, in sorted order.

    Examples
    --------
    >>> spread(np.array([[3.0], [1.0], [0.0], [2.0]]), 2).tolist()
    [1, 0]
    """
    y = np.asarray(y)
    order = np.argsort(y[:, 0], kind="stable") if y.shape[1] else np.arange(len(y))
    first = y[order, :1]
    if (first[1:] == first[:-1]).any():
        order = np.lexsort(y.T[::-1])
    n = len(order)
    if n <= count:
        return order
    return order[(2 * np.arange(count) + 1) * n // (2 * count)]


def _pair(x: Array, y: Array) -> tuple[Array, Array, int]:
    codes = np.repeat([0, 1], [len(x), len(y)])
    return np.concatenate([x, y]), codes, 2


def _rate(bandwidth: float) -> float:
    if not bandwidth > 0:
        raise ValueError(f"the bandwidth must be positive, not {bandwidth}.")
    return 1.0 / (2.0 * bandwidth**2)


def _check_power(power: int) -> None:
    if power != 1:
        raise ValueError(f"power must be 1 or 2, not {power}.")


def _to_control(y: Array, codes: Array, n_groups: int, control: int, kernel: int, rate: float, threads: int | None) -> Array:
    """2 A(g, control) - A(g, g) - A(control, control) for each group g, A the mean of a kernel over pairs."""
    points = Points.with_control_last(y, codes, n_groups, control)
    tasks: list[Callable[[], Array]] = []
    owner: list[tuple[int, int]] = []
    last = n_groups - 1
    for g in range(n_groups):
        for column in (0, 1) if g < last else (0,):
            other = last if column else g
            mine = points.sums(g, other, other + 1, kernel=kernel, rate=rate)
            tasks += mine
            owner += [(g, column)] * len(mine)
    total = _added(owner, in_threads(tasks, threads), n_groups)
    sizes = points.sizes.astype(np.float64)
    within = _within(total[:, 0], sizes)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = 2 * total[:, 1] / (sizes * sizes[last]) - within - within[last]
    value[last] = np.nan if np.isnan(within[last]) else 0.0
    return value[[last if g == control else g - (g > control) for g in range(n_groups)]]


def _added(owner: Sequence[tuple[int, int]], parts: Sequence[Array], n_groups: int) -> Array:
    total = np.zeros((n_groups, 2))
    for cell, part in zip(owner, parts, strict=True):
        total[cell] += part[0]
    return total


def _within(sums: Array, sizes: Array) -> Array:
    """Mean over pairs of different points, from sums that count each pair once."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sizes > 1, 2 * sums / (sizes * (sizes - 1)), np.nan)


def _moments(y: Array, codes: Array, n_groups: int) -> tuple[Array, Array, Array]:
    """Sizes, means (n_groups, d) and summed unbiased variances of the groups, float64."""
    y, codes = np.asarray(y, dtype=np.float64)[np.asarray(codes) >= 0], np.asarray(codes)[np.asarray(codes) >= 0]
    y = y - y.mean(axis=0) if len(y) else y
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes, minlength=n_groups)
    mean, variance = np.full((n_groups, y.shape[1]), np.nan), np.full(n_groups, np.nan)
    for g, rows in enumerate(np.split(order, np.cumsum(sizes)[:-1])):
        if len(rows) > 1:
            mean[g] = y[rows].mean(axis=0)
            variance[g] = ((y[rows] - mean[g]) ** 2).sum() / (len(rows) - 1)
    return sizes.astype(np.float64), mean, variance


def _squared_energy(sizes: Array, mean: Array, variance: Array, control: int) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = variance / sizes
    value = 2 * (((mean - mean[control]) ** 2).sum(axis=1) - noise - noise[control])
    value[control] = np.nan if np.isnan(variance[control]) else 0.0
    return value
