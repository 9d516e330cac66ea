"""The expected logarithm of counts: what a mean of log1p is under a negative binomial, without drawing a count."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compiled import compiled

Array = np.ndarray[Any, Any]
#: The sum over counts ends where this much probability is left.
TAIL = 1e-7
#: Below this probability of a zero the distribution is narrow, and a sum that starts there would lose it to rounding.
SMALLEST = 1e-290


@compiled
def log_count_moments(mean: Array, dispersion: Array, scale: Array) -> tuple[Array, Array]:
    """Means over cells of log1p(scale * X) and of its square, X negative binomial.

    Parameters
    ----------
    mean
        (n, G) expected counts μ.
    dispersion
        (G,) θ: the variance of X is μ + μ²/θ.
    scale
        (n,) factor of each cell, such as 10,000 over its total.

    Returns
    -------
    (G,) float64 first and second moment.

    Notes
    -----
    The probabilities are summed upwards by p(x + 1) = p(x) (x + θ)/(x + 1) μ/(μ + θ). Where p(0) is too small to start from, the
    second-order expansion around μ is used, whose relative spread is then below 6 %.
    """
    n, n_genes = mean.shape
    first = np.zeros(n_genes)
    second = np.zeros(n_genes)
    for j in range(n_genes):
        theta = float(dispersion[j])
        total, squares = 0.0, 0.0
        for i in range(n):
            mu, s = float(mean[i, j]), float(scale[i])
            if mu <= 0.0:
                continue
            log_zero = -theta * math.log1p(mu / theta)
            p = math.exp(log_zero)
            if p > SMALLEST:
                left, ratio, x = 1.0 - p, mu / (mu + theta), 0.0
                a, b = 0.0, 0.0
                while left > TAIL and x < 1e6:
                    p *= (x + theta) / (x + 1.0) * ratio
                    x += 1.0
                    value = math.log1p(s * x)
                    a += p * value
                    b += p * value * value
                    left -= p
            else:
                variance = mu + mu * mu / theta
                slope = s / (1.0 + s * mu)
                level = math.log1p(s * mu)
                a = level - 0.5 * slope * slope * variance
                b = a * a + slope * slope * variance
            total += a
            squares += b
        first[j] = total / n
        second[j] = squares / n
    return first, second
