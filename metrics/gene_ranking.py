"""How well a ranking of genes finds the positive ones; the order in which genes are listed never matters.

Tied genes count what they would on average if their ties were broken at random.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def top_share(values: Array, k: int) -> Array:
    """(g,) probability of each gene to be among the k largest of `values` when ties are broken at random.

    A gene of -inf is no candidate; with fewer than k candidates all of them are in.

    >>> top_share(np.array([3.0, 1.0, 1.0, 0.0]), 2).tolist()
    [1.0, 0.5, 0.5, 0.0]
    """
    k = min(k, int(np.sum(values > -np.inf)))
    if k == 0:
        return np.zeros(len(values))
    last = np.partition(values, len(values) - k)[len(values) - k]
    above, tied = values > last, values == last
    return above + tied * ((k - above.sum()) / tied.sum())


def average_precision(positive: Array, values: Array) -> float:
    r"""Area under the precision-recall curve, :math:`\sum_i (R_i - R_{i-1}) P_i` over the distinct values, largest first.

    The step-wise area of ``sklearn.metrics.average_precision_score``: tied genes enter together, and nothing is
    interpolated. NaN without a positive gene.
    """
    from ..bench.kernels import detection

    if positive.all():
        return 1.0 if len(positive) else float("nan")
    return detection.average_precision(values, positive)


def area_under_roc(positive: Array, values: Array) -> float:
    """Probability that a positive gene has a larger value than a negative one, ties counting one half; NaN without both."""
    from ..bench.kernels import detection

    return detection.roc_area(values, positive)
