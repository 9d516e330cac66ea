"""Sums of a function of the Euclidean distance over all pairs of points, by groups of points.

A block of inner products comes from BLAS, and while it is in cache one compiled loop turns it into distances and adds
them up, so that no distance matrix is ever in memory. Points are centred first, which keeps squared norms small: a squared
distance ``|x|^2 + |y|^2 - 2 x.y`` loses in float32 what the two norms have in common. Pairs that are so close that this
matters are computed anew from their difference in float64, and the distance of equal points is exactly zero.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  (the BLAS that compiled code calls is loaded before its threads are counted)
from threadpoolctl import ThreadpoolController

from .compiled import compiled

Array = np.ndarray[Any, Any]
T = TypeVar("T")

#: Which function of the distance is summed: the distance itself, or exp(-rate * distance^2).
DISTANCE, RBF = 0, 1
#: 512 x 512 float32: a block of inner products and its points stay in a core's second-level cache.
BLOCK = 512

_F = np.float32
_CLOSE = _F(1e-2)  # of the squared norm: closer pairs are computed from their difference
_LN2 = math.log(2.0)
_C1, _C2, _C3, _C4, _C5, _C6 = (_F(_LN2**k / math.factorial(k)) for k in range(1, 7))


@dataclass(frozen=True)
class Points:
    """Points sorted by group, centred, float32.

    Parameters
    ----------
    x
        (n, d) float32, C-contiguous.
    norms
        (n,) float32 squared norms.
    bounds
        (n_groups + 1,) rows ``bounds[g]:bounds[g + 1]`` are group g.
    """

    x: Array
    norms: Array
    bounds: Array

    @classmethod
    def of(cls, y: Array, codes: Array, n_groups: int) -> Points:
        """Points (n, d) in groups `codes` (n,), from 0 to `n_groups` - 1; points with the code -1 are left out.

        Raises
        ------
        ValueError
            Where a coordinate or its square is not finite, or a code is not a group.
        """
        y, codes = np.asarray(y), np.asarray(codes)
        if y.ndim != 2 or codes.shape != (len(y),):
            raise ValueError(f"points must be (n, d) with a code each, not {y.shape} with {codes.shape}.")
        if len(codes) and not (-1 <= codes.min() and codes.max() < n_groups):
            raise ValueError(f"codes must be from 0 to {n_groups - 1}, or -1.")
        y, codes = (y, codes) if (codes >= 0).all() else (y[codes >= 0], codes[codes >= 0])
        order = np.argsort(codes, kind="stable")
        # The order of cells within a group changes sums of float32 by rounding only.
        centre = y.mean(axis=0, dtype=np.float64) if len(y) else np.zeros(y.shape[1])
        x = np.ascontiguousarray(y[order] - centre, dtype=np.float32)
        norms = np.einsum("ij,ij->i", x, x)
        if not np.isfinite(norms).all():
            raise ValueError("a coordinate is not finite, or its square in float32 is not.")
        bounds = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=n_groups))]).astype(np.int64)
        return cls(x, norms, bounds)

    @classmethod
    def with_control_last(cls, y: Array, codes: Array, n_groups: int, control: int) -> Points:
        """As `of`, with the control group behind the other groups, which keep their order.

        Raises
        ------
        ValueError
            As of `of`, or where the control is not a group.
        """
        codes = np.asarray(codes)
        if not 0 <= control < n_groups or (codes >= n_groups).any():
            raise ValueError(f"codes and control must be from 0 to {n_groups - 1}.")
        return cls.of(y, np.where(codes == control, n_groups - 1, codes - (codes > control)), n_groups)

    @property
    def sizes(self) -> Array:
        """(n_groups,) numbers of points."""
        return np.diff(self.bounds)

    def sums(self, rows: int, first: int, last: int, *, kernel: int = DISTANCE, rate: float = 0.0) -> list[Callable[[], Array]]:
        """Tasks whose results add up to the sums over pairs of group `rows` and each of the groups `first` to `last` - 1.

        A pair within a group counts once. Only pairs in which the point of `rows` comes first in `x` are counted, so
        `first` must not be below `rows`.
        """
        edges = self.bounds[first : last + 1]

        def task(start: int, stop: int) -> Callable[[], Array]:
            return lambda: pair_sums(self.x, self.norms, start, stop, edges, kernel, _F(rate / _LN2), True).sum(axis=0)

        begin, end = int(self.bounds[rows]), int(self.bounds[rows + 1])
        return [task(start, min(start + BLOCK, end)) for start in range(begin, end, BLOCK)]

    def row_sums(self, start: int, stop: int, edges: Array) -> Array:
        """(stop - start, segments) sums of the distances of single points to all others in ``edges[k]:edges[k + 1]``."""
        return pair_sums(self.x, self.norms, start, stop, np.asarray(edges, dtype=np.int64), DISTANCE, _F(0.0), False)


@compiled(fastmath=True)
def _as_float(bits):
    return np.int32(bits).view(np.float32)


@compiled(fastmath=True)
def _power_of_two(t):
    """2^t of a float32 t <= 0, to 2e-7: the whole part by its bits times a polynomial, which unlike ``exp`` runs in vectors."""
    t = max(t, _F(-126.0))
    n = np.int32(t - _F(0.5))
    r = t - _F(n)
    p = ((((((_C6 * r + _C5) * r + _C4) * r) + _C3) * r + _C2) * r + _C1) * r + _F(1.0)
    return p * _as_float((n + np.int32(127)) << np.int32(23))


@compiled(fastmath=True)
def _squared(x, i, j):
    total = 0.0
    for k in range(x.shape[1]):
        difference = np.float64(x[i, k]) - np.float64(x[j, k])
        total += difference * difference
    return total


@compiled(fastmath=True)
def sum_of_distances(line, norm, norms, x, i, j):
    """Sum of the distances of point i to the points j, j + 1, ..., from inner products `line` and squared norms."""
    total, close, limit = 0.0, np.int32(0), _CLOSE * norm
    for k in range(len(line)):
        square = max(norm + norms[k] - _F(2.0) * line[k], _F(0.0))
        total += np.float64(math.sqrt(square))
        close += np.int32(square < limit)
    if close == 0:
        return total
    exact = 0.0
    for k in range(len(line)):
        square = norm + norms[k] - _F(2.0) * line[k]
        exact += math.sqrt(_squared(x, i, j + k)) if square < limit else math.sqrt(np.float64(square))
    return exact


@compiled(fastmath=True)
def _sum_of_kernels(line, norm, norms, x, i, j, rate):
    """As `sum_of_distances` of 2^(-rate * distance^2); at most `BLOCK` terms up to one, so float32 keeps seven digits of it."""
    total, close, limit = _F(0.0), np.int32(0), _CLOSE * norm
    for k in range(len(line)):
        square = max(norm + norms[k] - _F(2.0) * line[k], _F(0.0))
        total += _power_of_two(-rate * square)
        close += np.int32(square < limit)
    if close == 0:
        return np.float64(total)
    exact = 0.0
    for k in range(len(line)):
        square = max(norm + norms[k] - _F(2.0) * line[k], _F(0.0))
        if square < limit:
            square = _F(_squared(x, i, j + k))
        exact += np.float64(_power_of_two(-rate * square))
    return exact


@compiled
def _sum(kernel, line, norm, norms, x, i, j, rate):
    if kernel == DISTANCE:
        return sum_of_distances(line, norm, norms, x, i, j)
    return _sum_of_kernels(line, norm, norms, x, i, j, rate)


@compiled
def pair_sums(x, norms, start, stop, edges, kernel, rate, upper):
    """Sums of a function of the distance of each point to segments of other points.

    Parameters
    ----------
    x, norms
        As in `Points`.
    start, stop
        Rows, at most `BLOCK` of them.
    edges
        (s + 1,) int64: segment k is the columns ``edges[k]:edges[k + 1]``.
    kernel, rate
        `DISTANCE`, or `RBF` with the rate in 2^(-rate * distance^2), float32.
    upper
        Whether only columns behind the row count; otherwise all but the row itself.

    Returns
    -------
    Array
        (stop - start, s) float64.
    """
    n, segments = stop - start, len(edges) - 1
    out = np.zeros((n, segments))
    buffer = np.empty(n * BLOCK, dtype=np.float32)
    a = x[start:stop]
    first, last = edges[0], edges[segments]
    if upper:
        first = max(first, start)
    segment = 0
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        inner = buffer[: n * (high - low)].reshape(n, high - low)
        np.dot(a, x[low:high].T, inner)
        while edges[segment + 1] <= low:
            segment += 1
        for r in range(n):
            i = start + r
            k = segment
            while k < segments and edges[k] < high:
                begin, end = max(edges[k], low), min(edges[k + 1], high)
                if begin < i and not upper:
                    e = min(end, i)
                    out[r, k] += _sum(kernel, inner[r, begin - low : e - low], norms[i], norms[begin:e], x, i, begin, rate)
                begin = max(begin, i + 1)
                if begin < end:
                    out[r, k] += _sum(kernel, inner[r, begin - low : end - low], norms[i], norms[begin:end], x, i, begin, rate)
                k += 1
    return out


def in_threads(tasks: Sequence[Callable[[], T]], threads: int | None = None) -> list[T]:
    """Results of tasks in their order, whatever the number of threads; each has BLAS to itself in one thread.

    Parameters
    ----------
    threads
        By default ``OMP_NUM_THREADS``, or else the cores of this process.
    """
    count = min(threads or default_threads(), len(tasks))
    with one_blas_thread():
        if count <= 1:
            return [task() for task in tasks]
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda task: task(), tasks))


def default_threads() -> int:
    """``OMP_NUM_THREADS`` where it is set, or else the number of cores that this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if given.isdigit() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS in one thread: its results then depend on the shapes alone, and our own threads do not compete with its."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
