r"""How well codes predict variables on cells that nothing was fitted on.

Three regressions, linear in the features that they are named after: ``linear`` in the codes, ``kernel`` also in Nystroem
features of a Gaussian kernel of the codes or of their normal scores (so it can only gain), ``spline`` in a piecewise linear basis of one code. Ridge
penalties and the width of the kernel are chosen for each variable by cross-validation among the fitted rows, whose groups are never
torn apart. A kernel ridge that is fitted and scored on the same rows reaches an R2 of 1 on noise, which is why rows that are
scored appear here as `new` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .matching import dead_codes

Array = np.ndarray[Any, Any]

#: Ridge penalties over the number of rows, of features whose rows have about unit length.
PENALTIES = np.logspace(-7, 2, 10)
#: Rates of the Gaussian kernel, over the reciprocal of the median squared distance.
RATES = (0.1, 0.4, 1.6)
LANDMARKS = 300
#: More landmarks than one for so many fitted rows are not taken.
ROWS_A_LANDMARK = 4
KNOTS = 15
FOLDS = 3


@dataclass(frozen=True)
class Rows:
    """What is fitted on and what is predicted.

    Parameters
    ----------
    fit, new
        (n, m) and (k, m) codes.
    fold
        (n,) int fold of each fitted row, see `folds`.
    """

    fit: Array
    new: Array
    fold: Array

    def features(self) -> tuple[Array, Array]:
        """Codes that are not dead, standardised by the fitted rows, so that rows have about unit length."""
        alive = ~dead_codes(self.fit)
        fit, new = self.fit[:, alive], self.new[:, alive]
        mean, scale = fit.mean(axis=0), fit.std(axis=0) * np.sqrt(max(1, alive.sum()))
        return (fit - mean) / scale, (new - mean) / scale


def folds(groups: Array, seed: int) -> Array:
    """(n,) fold from 0 to `FOLDS` - 1 of each row, whole groups at random."""
    names, number = np.unique(groups, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(names)) % FOLDS)[number]


def linear(rows: Rows, y: Array) -> Array:
    """(k, q) ridge predictions of the variables (n, q) of the fitted rows."""
    return _best([rows.features()], y, rows.fold)


def kernel(rows: Rows, y: Array, *, seed: int, landmarks: int = LANDMARKS) -> Array:
    """(k, q) ridge predictions from codes and Nystroem features, see `gaussian`, of the codes or of their normal scores.

    With normal scores, which are features themselves then, a code that is a steep or flat function of its variable is no challenge:
    of cubes of five normal variables, a Gaussian kernel alone tells 86 %.
    """
    found = [expanded(rows, rate, ranks=ranks, seed=seed, landmarks=landmarks) for ranks in (False, True) for rate in RATES]
    return _best(found, y, rows.fold)


def expanded(rows: Rows, rate: float, *, ranks: bool, seed: int, landmarks: int = LANDMARKS) -> tuple[Array, Array]:
    """Codes with `gaussian` features of them beside them, or, of `ranks`, with their normal scores and `gaussian` features of those."""
    codes = rows.features()
    landmarks = min(landmarks, max(20, len(rows.fit) // ROWS_A_LANDMARK))
    if not ranks:
        parts = [codes, gaussian(codes, rate, seed=seed, landmarks=landmarks)]
    else:
        scores = normal_scores(codes)
        parts = [codes, scores, gaussian(scores, rate, seed=seed, landmarks=landmarks)]
    return np.hstack([p[0] for p in parts]), np.hstack([p[1] for p in parts])


def spline(rows: Rows, y: Array) -> Array:
    """(k, q) ridge predictions from one code: linear pieces between `KNOTS` quantiles of the fitted rows, also beyond them."""
    return _best([_pieces(rows)], y, rows.fold)


def spline_r2(rows: Rows, y: Array) -> Array:
    """(q,) R2 of `spline` across the folds of the fitted rows; 0 for columns that do not vary."""
    fit, _ = _pieces(rows)
    target = y - y.mean(axis=0)
    total = np.square(target).sum(axis=0)
    left = _errors(fit - fit.mean(axis=0), target, rows.fold).min(axis=0)
    return np.where(total > 0, 1 - left / np.where(total > 0, total, 1.0), 0.0)


def _pieces(rows: Rows) -> tuple[Array, Array]:
    fit, new = rows.features()
    if not fit.shape[1]:
        return fit, new
    knots = np.unique(np.quantile(fit[:, 0], np.linspace(0, 1, KNOTS + 2)[1:-1]))
    first, second = (np.concatenate([x, np.maximum(x - knots, 0.0)], axis=1) for x in (fit, new))
    return first, second


def gaussian(codes: tuple[Array, Array], rate: float, *, seed: int, landmarks: int = LANDMARKS) -> tuple[Array, Array]:
    r"""Codes with Nystroem features of a Gaussian kernel beside them, of fitted and of new rows.

    The kernel is :math:`\exp(-r \lVert x - x' \rVert^2 / m)` with m the median over pairs of landmarks, which are drawn among the
    fitted rows. Williams & Seeger, NIPS 2000.
    """
    fit, new = codes
    if not fit.shape[1]:
        return codes
    rng = np.random.default_rng(seed)
    chosen = fit[np.sort(rng.permutation(len(fit))[:landmarks])]
    among = _squared(chosen, chosen)
    median = np.median(among[np.triu_indices(len(among), 1)]) if len(among) > 1 else 1.0
    width = rate / (median if median > 0 else 1.0)
    values, vectors = np.linalg.eigh(np.exp(-width * among))
    keep = values > 1e-8 * values[-1]
    root = vectors[:, keep] / np.sqrt(values[keep])
    return np.exp(-width * _squared(fit, chosen)) @ root, np.exp(-width * _squared(new, chosen)) @ root


def normal_scores(codes: tuple[Array, Array]) -> tuple[Array, Array]:
    """Normal quantiles of the ranks among the fitted rows, equal values their mean, interpolated for new rows; sizes as of `Rows.features`."""
    from scipy.special import ndtri

    fit, new = codes
    n = len(fit)
    quantiles = ndtri((np.arange(n) + 0.5) / n) / np.sqrt(max(1, fit.shape[1]))
    first, second = np.empty_like(fit), np.empty_like(new)
    for j in range(fit.shape[1]):
        values, start, count = np.unique(np.sort(fit[:, j]), return_index=True, return_counts=True)
        means = np.add.reduceat(quantiles, start) / count
        first[:, j], second[:, j] = np.interp(fit[:, j], values, means), np.interp(new[:, j], values, means)
    return first, second


def _squared(a: Array, b: Array) -> Array:
    return np.maximum(np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b) - 2 * a @ b.T, 0.0)


def _best(candidates: Sequence[tuple[Array, Array]], y: Array, fold: Array) -> Array:
    """Predictions of new rows by the features and the penalty that predict each column best across folds."""
    mean = y.mean(axis=0)
    target = y - mean
    centred = [(fit - fit.mean(axis=0), new - fit.mean(axis=0)) for fit, new in candidates]
    errors = np.stack([_errors(fit, target, fold) for fit, _ in centred])
    flat = errors.reshape(-1, y.shape[1]).argmin(axis=0)
    feature, penalty = np.unravel_index(flat, errors.shape[:2])
    out = np.empty((len(candidates[0][1]), y.shape[1]))
    for i in np.unique(feature):
        own = feature == i
        fit, new = centred[i]
        weights = _path(fit.T @ fit, fit.T @ target[:, own], len(fit))
        chosen = weights[penalty[own], :, np.arange(own.sum())].T
        out[:, own] = new @ chosen
    return out + mean


def _errors(x: Array, y: Array, fold: Array) -> Array:
    """(penalties, q) sums of squared errors of the rows of each fold, predicted from the other folds."""
    if not x.shape[1]:
        return np.tile(np.square(y).sum(axis=0), (len(PENALTIES), 1))
    gram, moment = x.T @ x, x.T @ y
    total = np.zeros((len(PENALTIES), y.shape[1]))
    for k in np.unique(fold):
        out = fold == k
        weights = _path(gram - x[out].T @ x[out], moment - x[out].T @ y[out], int((~out).sum()))
        stacked = x[out] @ weights.transpose(1, 0, 2).reshape(x.shape[1], -1)
        total += np.square(stacked.reshape(-1, len(PENALTIES), y.shape[1]) - y[out][:, None]).sum(axis=0)
    return total


def _path(gram: Array, moment: Array, n: int) -> Array:
    """(penalties, p, q) ridge weights for each of `PENALTIES` times n."""
    values, vectors = np.linalg.eigh(gram)
    projected = vectors.T @ moment
    return vectors @ (projected / (np.maximum(values, 0.0)[:, None] + PENALTIES[:, None, None] * max(1, n)))


def r2(y: Array, predicted: Array) -> float:
    """1 - SSE / SST of all columns of (n, q) together, SST about the means of these rows; NaN where they do not vary.

    Negative where the means would have predicted better. Of an angle's (sin, cos), it is that of the point on the circle.
    """
    total = np.square(y - y.mean(axis=0)).sum()
    return float(1 - np.square(y - predicted).sum() / total) if total > 1e-12 * np.square(y).sum() else float("nan")
