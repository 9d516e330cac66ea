"""Uncertainty of a mean over perturbations; the perturbation is the unit, seeds are averaged inside it."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def bootstrap_interval(values: Array, *, level: float = 0.95, n_boot: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean.

    Parameters
    ----------
    values
        (n,) one value for each perturbation, without NaN.

    Returns
    -------
    Lower and upper end; both NaN below two values.
    """
    values = np.sort(np.asarray(values, dtype=np.float64))
    if len(values) < 2:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).integers(0, len(values), size=(n_boot, len(values)))
    means = values[draws].mean(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
