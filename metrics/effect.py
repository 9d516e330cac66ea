"""How large the predicted effects are, measured against lengths of the true changes from which sampling noise is taken out.

The squared length of an estimated change is larger than that of the change itself by the sum over genes of its sampling
variance, and more so for a condition with few cells. That bias is known and subtracted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..bench.contracts.metric import Comparison, MetricInfo, Values
from ..bench.contracts.truth import Truth
from .change import contexts
from .delta import shape
from .per_condition import Table

Array = np.ndarray[Any, Any]

# Lengths closer than this are equal but for rounding, and tied.
_SAME = 1e-9


def squared_effects(truth: Truth) -> Array:
    r"""(n,) unbiased squared length of the true changes against control, over all genes.

    :math:`\sum_g (x_g - x_{0g})^2 - \sum_g v_g/n - \sum_g v_{0g}/n_0`, v unbiased variances over cells. Negative values happen where
    there is no effect; NaN with one cell, which has no variance. A context without controls is compared with all of them.
    """
    means, var, n = truth.profiles.mean, truth.profiles.var, truth.profiles.n_cells
    out = np.full(len(n), np.nan)
    noise = _control_noise(truth)
    for i in np.flatnonzero(n >= 2):
        difference = means[i] - truth.references["ctrl"][i]
        out[i] = difference @ difference - var[i].sum(dtype=np.float64) / n[i] - noise[i]
    return out


def _control_noise(truth: Truth) -> Array:
    """(n,) sum over genes of the sampling variance of each condition's control mean."""
    total, n = truth.controls.var.sum(axis=1, dtype=np.float64), truth.controls.n_cells.astype(np.float64)
    # Control means of a context without controls are pooled over cells, so the variances add up with weights (n_r / n)^2 / n_r.
    pooled = float(total @ n) / max(1.0, n.sum()) ** 2
    return np.array([pooled if r < 0 else total[r] / n[r] for r in truth.control_rows])


def magnitude_log_error(comparison: Comparison) -> Values:
    r"""Absolute log of predicted over true length, :math:`|\log(\lVert\hat\Delta\rVert / \lVert\Delta\rVert)|`.

    Reasons: ``absent``; ``too_few_cells`` with one cell; ``zero_variance`` where no change is predicted, or where the true change
    is no longer than its noise.
    """
    squared = comparison.truth.once(squared_effects)
    length, reason = _lengths(comparison)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.abs(np.log(length) - 0.5 * np.log(squared))
    value[~np.isfinite(value)] = np.nan
    reason = np.where(np.isnan(squared) & (reason == ""), "too_few_cells", reason)
    return Values(value, np.where(np.isnan(value) & (reason == ""), "zero_variance", reason).astype(object))


def effect_size_spearman(comparison: Comparison) -> Values:
    """Spearman correlation over conditions of predicted length and true squared effect; (1,), the mean over contexts.

    Reasons: ``absent`` without any prediction; ``too_few_conditions`` with fewer than 3 in every context; ``zero_variance`` where
    all predictions have the same length.
    """
    squared = comparison.truth.once(squared_effects)
    length, _ = _lengths(comparison)
    found, enough = [], False
    for rows in contexts(comparison.truth):
        rows = rows[np.isfinite(length[rows]) & np.isfinite(squared[rows])]
        if len(rows) >= 3:
            enough = True
            found.append(rank_correlation(length[rows], squared[rows], _SAME * length[rows].max()))
    defined = [value for value in found if not np.isnan(value)]
    reason = "absent" if not comparison.present.any() else "zero_variance" if enough else "too_few_conditions"
    return Values.of(np.array([np.mean(defined) if defined else np.nan]), reason)


def _lengths(comparison: Comparison) -> tuple[Array, Array]:
    """(n,) Euclidean length of the predicted change against control, NaN where absent, and the reason."""
    values, why = comparison.once(Table(shape, "all", "ctrl"))
    length = values.get("length", np.full(len(why), np.nan))
    return length, np.where(np.isnan(length), why, "").astype(object)


def rank_correlation(a: Array, b: Array, rounding: float) -> float:
    """Spearman correlation of two vectors; values within `rounding` of the next smaller one tie with it; NaN if all do."""
    a, b = (_centred_ranks(values, rounding) for values in (a, b))
    size = np.sqrt(a @ a) * np.sqrt(b @ b)
    return float(np.clip(a @ b / size, -1.0, 1.0)) if size > 0 else float("nan")


def _centred_ranks(values: Array, rounding: float) -> Array:
    order = np.argsort(values)
    step = np.concatenate(([0], np.cumsum(np.diff(values[order]) > rounding)))
    size = np.bincount(step)
    ranks = np.empty(len(values))
    ranks[order] = (np.cumsum(size) - (size - 1) / 2 - (len(values) + 1) / 2)[step]
    return ranks


METRICS: tuple[MetricInfo, ...] = (
    MetricInfo(
        id="magnitude_log_error@all~ctrl",
        version=1,
        direction="down",
        lower=0.0,
        upper=float("inf"),
        perfect=0.0,
        function=magnitude_log_error,
        summary="abs(log(norm(xhat - x0) / L)), x0 the control mean of the context and "
        "L^2 = sum((x - x0)^2) - sum(v) / n - sum(v0) / n0 the squared true length without sampling noise, over all G genes.",
        reference="defined here; unbiased squared length as in the squared energy distance of Szekely and Rizzo 2013",
        caveats="Predicting no change is undefined and not infinitely wrong, and so is every condition whose true change is no longer than its "
        "noise: look at how many are defined. The sample mean of the truth itself scores above 0, because its noise makes it too long.",
    ),
    MetricInfo(
        id="effect_size_spearman@all~ctrl",
        version=1,
        direction="up",
        lower=-1.0,
        upper=1.0,
        perfect=1.0,
        function=effect_size_spearman,
        summary="Spearman correlation over the conditions of a context of norm(xhat - x0) and of the squared true length without sampling "
        "noise, sum((x - x0)^2) - sum(v) / n - sum(v0) / n0, mean over contexts.",
        reference="compare the effect-size correlations of cell-eval (de_spearman_sig, pearson_edistance)",
        level="dataset",
        caveats="One number for a data set, with no interval of its own. Undefined for a prediction of constant length and with fewer than three "
        "conditions in every context; noise in the order of weak conditions keeps even the true means somewhat below 1.",
    ),
)
