"""Distances between all pairs of rows of two matrices, exact to rounding.

Sums of absolute differences are a loop over four rows at once and over columns that fit in cache. Euclidean distances and
angles come from a matrix product, as ``|a|^2 + |b|^2 - 2 a.b``, which is faster still but loses the digits that the terms have in
common; so a pair that is close beside its lengths is computed anew from its difference, and equal rows have the distance 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .compiled import compiled
from .distance_sums import in_threads

Array = np.ndarray[Any, Any]

NAMES = ("cosine", "l2", "l1")

#: Differences of distances up to this size, relative to the distances (for the cosine, absolute), are rounding.
ROUNDING = 1e-12

# Two blocks of 64 rows and 512 columns stay in a core's second-level cache; 64 rows are a thread's task.
_ROWS, _COLUMNS = 64, 512
# A squared distance below this share of the two squared lengths has lost two digits or more to subtraction.
_CLOSE = 0.01
# Above this share of close pairs the loop over all pairs takes less time than one over the close ones.
_MANY = 0.1
# Sums may be reordered, which lets the compiler use vector instructions; NaN and infinity keep their meaning.
_FASTMATH = {"reassoc", "nsz", "contract"}


def distances(a: Array, b: Array, name: str, *, threads: int | None = None) -> Array:
    r"""Distance of every row of `a` to every row of `b`.

    Parameters
    ----------
    a, b
        (n, k) and (m, k) float64.
    name
        ``l1`` :math:`\sum|a-b|`, ``l2`` :math:`\sqrt{\sum(a-b)^2}`, or ``cosine``, one less the cosine of the angle, as
        :math:`\frac12\lVert a/\lVert a\rVert-b/\lVert b\rVert\rVert^2`.
    threads
        By default ``OMP_NUM_THREADS``, or else the cores of this process. The values do not depend on it.

    Returns
    -------
    Array
        (n, m) float64; for the cosine NaN where a row is zero.

    Examples
    --------
    >>> distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 0.0]]), "l2").tolist()
    [[5.0, 0.0]]
    """
    a, b = _prepared(a, name), _prepared(b, name)
    out, task = np.empty((len(a), len(b))), _task(a, b, name)
    in_threads([partial(task, slice(i, i + _ROWS), slice(None), out) for i in range(0, len(a), _ROWS)], threads)
    return _finish(out, name)


def distances_among(a: Array, name: str, *, threads: int | None = None) -> Array:
    """(n, n) distances between the rows of one matrix, see `distances`; symmetric to the last bit and half the work."""
    a = _prepared(a, name)
    out, task, starts = np.empty((len(a), len(a))), _task(a, a, name), range(0, len(a), _ROWS)
    in_threads([partial(task, slice(i, i + _ROWS), slice(i, None), out) for i in starts], threads)
    for i in starts:
        stop = i + _ROWS
        square = out[i:stop, i:stop]
        square[...] = np.triu(square) + np.triu(square, 1).T
        out[stop:, i:stop] = out[i:stop, stop:].T
    return _finish(out, name)


def paired_distances(a: Array, b: Array, name: str) -> Array:
    """(n,) distance of each row of `a` to the same row of `b`, see `distances`; equal to rounding to their diagonal."""
    out = np.empty(len(a))
    for i in range(0, len(a), _ROWS):
        x, y = (_prepared(m[i : i + _ROWS], name) for m in (a, b))
        out[i : i + _ROWS] = np.abs(x - y).sum(axis=1) if name == "l1" else np.square(x - y).sum(axis=1)
    return _finish(out, name)


def tolerance(distance: Array, name: str) -> Array:
    """How far another distance may be from these and still be the same but for rounding."""
    return np.full(distance.shape, ROUNDING) if name == "cosine" else ROUNDING * distance


def _task(a: Array, b: Array, name: str) -> Callable[[slice, slice, Array], None]:
    """Writes sums of absolute differences, or for other names of squared ones, of some rows of `a` and of `b`."""
    if name == "l1":
        return lambda i, j, out: _absolute(a[i], b[j], out[i, j])
    norms = [np.einsum("ij,ij->i", m, m) for m in (a, b)]

    def squared(i: slice, j: slice, out: Array) -> None:
        x, y, part, lengths = a[i], b[j], out[i, j], (norms[0][i], norms[1][j])
        part[...] = x @ y.T
        close = _from_products(part, *lengths)
        if close > _MANY * part.size:
            _squared(x, y, part)
        elif close:
            _anew(x, y, *lengths, part)

    return squared


def _finish(out: Array, name: str) -> Array:
    if name == "l2":
        return np.sqrt(out, out=out)
    if name == "cosine":
        out *= 0.5
    return out


def _prepared(rows: Array, name: str) -> Array:
    """Rows as the loops need them: float64 without gaps, and for the cosine of length 1, NaN where they are zero."""
    rows = np.ascontiguousarray(rows, dtype=np.float64)
    if name != "cosine":
        return rows
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    length[length == 0] = np.nan
    return rows / length[:, None]


@compiled
def _from_products(out, norms_a, norms_b):
    """Turns products into squared distances; returns how many are so small that they have lost digits."""
    close = 0
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            size = norms_a[i] + norms_b[j]
            out[i, j] = size - 2.0 * out[i, j]
            close += out[i, j] <= _CLOSE * size
    return close


@compiled(fastmath=_FASTMATH)
def _anew(a, b, norms_a, norms_b, out):
    for i in range(out.shape[0]):
        x = a[i]
        for j in range(out.shape[1]):
            if out[i, j] <= _CLOSE * (norms_a[i] + norms_b[j]):
                y, total = b[j], 0.0
                for g in range(len(y)):
                    total += (x[g] - y[g]) ** 2
                out[i, j] = total


@compiled(fastmath=_FASTMATH)
def _absolute(a, b, out):
    n, m, k = a.shape[0], b.shape[0], a.shape[1]
    out[:] = 0.0
    for start in range(0, k, _COLUMNS):
        stop = min(k, start + _COLUMNS)
        for first in range(0, m, _ROWS):
            last = min(m, first + _ROWS)
            for i in range(0, n, 4):
                # Past the end the last row is computed again and not written.
                i1, i2, i3 = min(i + 1, n - 1), min(i + 2, n - 1), min(i + 3, n - 1)
                x0, x1, x2, x3 = a[i, start:stop], a[i1, start:stop], a[i2, start:stop], a[i3, start:stop]
                for j in range(first, last):
                    y = b[j, start:stop]
                    s0 = s1 = s2 = s3 = 0.0
                    for g in range(len(y)):
                        v = y[g]
                        s0 += abs(x0[g] - v)
                        s1 += abs(x1[g] - v)
                        s2 += abs(x2[g] - v)
                        s3 += abs(x3[g] - v)
                    out[i, j] += s0
                    if i + 1 < n:
                        out[i + 1, j] += s1
                    if i + 2 < n:
                        out[i + 2, j] += s2
                    if i + 3 < n:
                        out[i + 3, j] += s3


@compiled(fastmath=_FASTMATH)
def _squared(a, b, out):
    n, m, k = a.shape[0], b.shape[0], a.shape[1]
    out[:] = 0.0
    for start in range(0, k, _COLUMNS):
        stop = min(k, start + _COLUMNS)
        for first in range(0, m, _ROWS):
            last = min(m, first + _ROWS)
            for i in range(0, n, 4):
                # Past the end the last row is computed again and not written.
                i1, i2, i3 = min(i + 1, n - 1), min(i + 2, n - 1), min(i + 3, n - 1)
                x0, x1, x2, x3 = a[i, start:stop], a[i1, start:stop], a[i2, start:stop], a[i3, start:stop]
                for j in range(first, last):
                    y = b[j, start:stop]
                    s0 = s1 = s2 = s3 = 0.0
                    for g in range(len(y)):
                        v = y[g]
                        s0 += (x0[g] - v) ** 2
                        s1 += (x1[g] - v) ** 2
                        s2 += (x2[g] - v) ** 2
                        s3 += (x3[g] - v) ** 2
                    out[i, j] += s0
                    if i + 1 < n:
                        out[i + 1, j] += s1
                    if i + 2 < n:
                        out[i + 2, j] += s2
                    if i + 3 < n:
                        out[i + 3, j] += s3
