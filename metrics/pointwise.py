"""How far predicted mean expression lies from the truth, gene by gene."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..bench.contracts.metric import MetricInfo
from .per_condition import GENES, per_condition

Array = np.ndarray[Any, Any]


def mse(expected: Array, predicted: Array) -> Array:
    r"""Mean squared error of each row, :math:`\frac{1}{k}\sum_g(\hat x_g - x_g)^2`.

    Parameters
    ----------
    expected, predicted
        (n, k) mean log1p. The same on expression and on changes against a shared reference.

    Returns
    -------
    Array
        (n,).
    """
    return np.mean((predicted - expected) ** 2, axis=1)


def rmse(expected: Array, predicted: Array) -> Array:
    """Root mean squared error of each row, (n,); the root is taken before any mean over perturbations."""
    return np.sqrt(mse(expected, predicted))


def mae(expected: Array, predicted: Array) -> Array:
    """Mean absolute error of each row, (n,); smallest for the median, so it rewards shrinkage more than `mse`."""
    return np.mean(np.abs(predicted - expected), axis=1)


def l2(expected: Array, predicted: Array) -> Array:
    """Euclidean norm of the error of each row, (n,): the square root of k times `rmse`, so it grows with the genes."""
    return np.sqrt(np.sum((predicted - expected) ** 2, axis=1))


_FAMILY: dict[str, tuple[Callable[[Array, Array], Array], str, str]] = {
    "mse": (mse, "Mean squared error, mean over g of (xhat_g - x_g)^2", "Roohani et al. 2024, GEARS; cell-eval mse"),
    "rmse": (
        rmse,
        "Root of the mean squared error of each perturbation, sqrt(mean over g of (xhat_g - x_g)^2)",
        "Wu et al. 2025, PerturBench rmse (pertpy gives this name to l2)",
    ),
    "mae": (mae, "Mean absolute error, mean over g of abs(xhat_g - x_g)", "cell-eval mae"),
    "l2": (
        l2,
        "Euclidean norm of the error, sqrt(sum over g of (xhat_g - x_g)^2) = sqrt(G) * rmse, comparable only at equal G",
        "Ahlmann-Eltze, Huber and Anders 2025, Nature Methods",
    ),
}
_HEADLINE = ("mse@de20", "l2@all")

METRICS: tuple[MetricInfo, ...] = tuple(
    MetricInfo(
        id=f"{family}@{genes}",
        version=1,
        direction="down",
        lower=0.0,
        upper=float("inf"),
        perfect=0.0,
        function=partial(per_condition, genes=genes, statistic=statistic),
        summary=f"{formula}, over {GENES[genes]}.",
        reference=reference,
        headline=f"{family}@{genes}" in _HEADLINE,
    )
    for family, (statistic, formula, reference) in _FAMILY.items()
    for genes in GENES
)
