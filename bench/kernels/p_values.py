"""Welch's test from summary statistics, and the control of the false discovery rate."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def welch(mean_a: Array, var_a: Array, n_a: Array, mean_b: Array, var_b: Array, n_b: Array) -> tuple[Array, Array]:
    r"""Welch's t and its two-sided p-value from means, unbiased variances and sample sizes, which broadcast together.

    :math:`t = (\bar a - \bar b) / \sqrt{s_a^2/n_a + s_b^2/n_b}` with
    :math:`(s_a^2/n_a + s_b^2/n_b)^2 / [(s_a^2/n_a)^2/(n_a-1) + (s_b^2/n_b)^2/(n_b-1)]` degrees of freedom (Welch 1947).

    Returns
    -------
    t, p
        float64. Both NaN with fewer than two cells on a side, or with neither variance nor difference; with a difference
        and no variance t is infinite and p is 0.
    """
    from scipy.special import stdtr

    t, freedom = welch_t(mean_a, var_a, n_a, mean_b, var_b, n_b)
    return t, np.where(np.isinf(t), 0.0, 2 * stdtr(freedom, -np.abs(t)))


def welch_t(mean_a: Array, var_a: Array, n_a: Array, mean_b: Array, var_b: Array, n_b: Array) -> tuple[Array, Array]:
    """Welch's t and its degrees of freedom, see `welch`; the p-value, which takes ten times as long, is left out."""
    n_a, n_b = np.asarray(n_a, dtype=np.float64), np.asarray(n_b, dtype=np.float64)
    difference = np.asarray(mean_a, dtype=np.float64) - mean_b
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = np.asarray(var_a, dtype=np.float64) / n_a, np.asarray(var_b, dtype=np.float64) / n_b
        t = np.where((n_a > 1) & (n_b > 1), difference / np.sqrt(a + b), np.nan)
        freedom = (a + b) ** 2 / (a**2 / (n_a - 1) + b**2 / (n_b - 1))
    return t, freedom


def benjamini_hochberg(p: Array, axis: int = 1) -> Array:
    r"""Adjusted p-values along an axis, controlling the false discovery rate (Benjamini and Hochberg 1995).

    With the m p-values that are not NaN in ascending order, :math:`\tilde p_{(i)} = \min_{j \ge i} \min(1, m p_{(j)}/j)`.
    NaN stays NaN and does not count.

    Examples
    --------
    >>> benjamini_hochberg(np.array([[0.01, 0.04, np.nan, 0.03]])).tolist()
    [[0.03, 0.04, nan, 0.04]]
    """
    p = np.moveaxis(np.asarray(p, dtype=np.float64), axis, -1)
    order = np.argsort(p, axis=-1)  # NaN last
    ordered = np.take_along_axis(p, order, axis=-1)
    tested = np.sum(~np.isnan(p), axis=-1, keepdims=True)
    adjusted = ordered * tested / np.arange(1, p.shape[-1] + 1)
    untested = np.isnan(adjusted)
    adjusted[untested] = np.inf
    adjusted = np.minimum(np.minimum.accumulate(adjusted[..., ::-1], axis=-1)[..., ::-1], 1.0)
    adjusted[untested] = np.nan
    out = np.empty_like(adjusted)
    np.put_along_axis(out, order, adjusted, axis=-1)
    return np.moveaxis(out, -1, axis)
