"""Scores that a line of papers reports and that rank models wrongly: to read those papers by, beside rows that show the flaw.

The discrepancy-VAE (Zhang et al. 2023) and models compared with it pair predicted with real cells at random and take the
root mean squared difference of the pairs. With x and xhat the means and v and vhat the variances over cells, that is in
expectation ``v + vhat + (xhat - x)^2``: a prediction is paid for having no variance. A sampler that reproduces the distribution
of the cells exactly scores sqrt(2) times what the plain mean of the same cells scores where v is large beside the error.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..bench.contracts.metric import MetricInfo
from .per_condition import Rows, per_condition

Array = np.ndarray[Any, Any]


def scores(rows: Rows) -> dict[str, Array]:
    r"""Expectations in closed form, no cell is drawn.

    ``random_pair_rmse``
        :math:`\sqrt{\sum_g (v_g + \hat v_g + (\hat x_g - x_g)^2) / \sum_g (v_g + x_g^2)}`, v the variance over the truth's cells
        with denominator n and :math:`\hat v` the predicted variance, 0 where the model predicts none. Undefined where the
        truth is zero throughout.
    ``r2``
        :math:`\max(0, 1 - \sum_g(\hat x_g - x_g)^2 / \sum_g(\hat x_g - \bar{\hat x})^2)`: the variance in the denominator is
        that of the *prediction*, as in the source. Undefined where the prediction is constant over genes.
    """
    truth, predicted, expected = rows.comparison.truth, rows.predicted, rows.expected
    n = np.maximum(truth.profiles.n_cells[rows.index], 1)[:, None]
    variance = rows.take(truth.profiles.var) * (n - 1) / n
    spread = 0.0 if rows.comparison.variance is None else np.nan_to_num(rows.take(rows.comparison.variance))
    error = (predicted - expected) ** 2
    size = np.sum(variance + expected**2, axis=1)
    around = np.sum((predicted - predicted.mean(axis=1, keepdims=True)) ** 2, axis=1)
    # Rounding of the mean of equal numbers is no variance.
    around[around <= 1e-24 * np.sum(predicted**2, axis=1)] = 0.0
    return {
        "random_pair_rmse": np.sqrt(_over(np.sum(variance + spread + error, axis=1), size)),
        "r2": np.maximum(0.0, 1.0 - _over(error.sum(axis=1), around)),
    }


def _over(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)


METRICS: tuple[MetricInfo, ...] = (
    MetricInfo(
        id="legacy_random_pair_rmse@all",
        version=1,
        direction="down",
        lower=0.0,
        upper=float("inf"),
        perfect=0.0,
        function=partial(per_condition, genes="all", family=scores, statistic="random_pair_rmse"),
        summary="Relative RMSE of real and predicted cells paired at random, in expectation "
        "sqrt(sum(v + vhat + (xhat - x)^2) / sum(v + x^2)), v and vhat variances over real and predicted cells, vhat = 0 for models of "
        "means.",
        reference="Zhang et al. 2023, discrepancy-VAE, notebook plot_samples (there over batches of 32 cells)",
        caveats="Never rank on it: predicted variance is punished, so that the exact distribution of the cells scores up to sqrt(2) times "
        "worse than its mean alone. No prediction reaches 0 where cells vary; compare with rows of the true mean and of true cells.",
        reads=("variance",),
    ),
    MetricInfo(
        id="legacy_r2@all",
        version=1,
        direction="up",
        lower=0.0,
        upper=1.0,
        perfect=1.0,
        function=partial(per_condition, genes="all", family=scores, statistic="r2"),
        summary="R2 of mean expression clipped at 0, with truth and prediction exchanged as in the source, "
        "max(0, 1 - sum((xhat - x)^2) / sum((xhat - mean(xhat))^2)).",
        reference="Zhang et al. 2023, discrepancy-VAE, notebook plot_samples; also reported by SENA and CPA in other forms",
        caveats="Never rank on it: expression differs far more between genes than between conditions, so predicting no change scores about "
        "0.98. Clipping hides how bad a bad prediction is.",
    ),
)
