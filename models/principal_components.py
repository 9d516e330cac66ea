"""Principal components of a wide or tall matrix, quickly and without a random start."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
#: Directions with a smaller share of the largest variance are rounding errors, not components.
NEGLIGIBLE = 1e-12


def principal_components(matrix: Array, n_components: int) -> tuple[Array, Array]:
    r"""Scores and axes of the leading principal components of a matrix whose columns are centred.

    With the singular value decomposition :math:`M = U S V^\top` the scores are :math:`U S` and the axes :math:`V`, so
    that ``scores @ axes.T`` is the best approximation of the matrix of that rank. The smaller of the two Gram matrices
    is diagonalised. The largest score of each component in magnitude is positive.

    Parameters
    ----------
    matrix
        (n, p), each column of mean zero.
    n_components
        Upper bound k on the number of components; fewer where the rank is lower.

    Returns
    -------
    scores, axes
        (n, k) and (p, k).
    """
    from scipy.linalg import eigh

    n, p = matrix.shape
    wide = n < p
    gram = matrix @ matrix.T if wide else matrix.T @ matrix
    size = len(gram)
    if size == 0 or n_components < 1:
        return np.empty((n, 0)), np.empty((p, 0))
    variance, vectors = eigh(gram, subset_by_index=[max(size - n_components, 0), size - 1])
    keep = variance[::-1] > max(variance[-1] * NEGLIGIBLE, 0.0)
    variance, vectors = variance[::-1][keep], vectors[:, ::-1][:, keep]
    if wide:
        scores = vectors * np.sqrt(variance)
        axes = matrix.T @ vectors / np.sqrt(variance)
    else:
        scores, axes = matrix @ vectors, vectors
    sign = np.sign(scores[np.abs(scores).argmax(axis=0), np.arange(scores.shape[1])])
    return scores * sign, axes * sign
