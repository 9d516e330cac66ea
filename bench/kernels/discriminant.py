"""Classes of cells from their codes, by linear discriminants whose shrinkage is chosen by cross-validation."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: Shares of the mean variance that are added to the variance within classes.
SHRINKAGE = np.logspace(-5, 1, 7)


def discriminant(fit: Array, labels: Array, new: Array, fold: Array, *, balanced: bool) -> Array:
    """(k,) class of each new row.

    Parameters
    ----------
    fit, new
        (n, p) and (k, p) features.
    labels
        (n,) int class of each fitted row.
    fold
        (n,) int fold of each fitted row; the shrinkage that classifies the other folds best is taken, of equal ones the largest.
    balanced
        Whether all classes count alike, in the choice and a priori, and not as often as they occur.

    Returns
    -------
    Array
        Values of `labels`. Where there are no features, the class of the highest prior.
    """
    classes, code = np.unique(labels, return_inverse=True)
    right = np.zeros(len(SHRINKAGE))
    share = np.bincount(code)[code] if balanced else np.ones(len(code))
    for k in np.unique(fold):
        out = fold == k
        if (~out).any():
            guess = _classified(fit[~out], code[~out], len(classes), fit[out], balanced)
            right += ((guess == code[out]) / share[out]).sum(axis=1)
    best = len(right) - 1 - int(np.argmax(np.round(right[::-1], 9)))
    return classes[_classified(fit, code, len(classes), new, balanced)[best]]


def _classified(x: Array, code: Array, n_classes: int, new: Array, balanced: bool) -> Array:
    """(shrinkages, k) class of each new row; classes without a row are never chosen."""
    count = np.bincount(code, minlength=n_classes)
    means = np.zeros((n_classes, x.shape[1]))
    np.add.at(means, code, x)
    means /= np.maximum(count, 1)[:, None]
    within = x - means[code]
    values, vectors = np.linalg.eigh(within.T @ within / max(1, len(x) - (count > 0).sum()))
    prior = np.where(count > 0, 0.0 if balanced else np.log(np.maximum(count, 1) / len(x)), -np.inf)
    centre = means[count > 0].mean(axis=0)
    point, mean = (new - centre) @ vectors, (means - centre) @ vectors
    out = np.empty((len(SHRINKAGE), len(new)), dtype=np.int64)
    for i, share in enumerate(SHRINKAGE):
        scale = np.maximum(values, 0.0) + share * max(values.mean() if len(values) else 1.0, 1e-12)
        weights = mean / scale
        out[i] = (point @ weights.T - 0.5 * (weights * mean).sum(axis=1) + prior).argmax(axis=1)
    return out


def accuracy(labels: Array, guess: Array, *, balanced: bool) -> float:
    """Share of rows, or mean over classes of the share of their rows, that are classified rightly."""
    if not balanced:
        return float(np.mean(labels == guess))
    return float(np.mean([np.mean(guess[labels == c] == c) for c in np.unique(labels)]))
