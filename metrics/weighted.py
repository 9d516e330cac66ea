"""Errors and correlations in which a gene counts as much as it singles the condition out among all perturbations.

Most genes do not respond to a perturbation, so that a plain mean over genes is mostly noise and a response that all
perturbations share. Mejia et al. 2025 weigh genes by how much the condition differs from the *rest*, the other perturbed
cells: by Welch's t with the variance of the rest overestimated, as if it had no more cells than the condition has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.metric import MetricInfo
from ..bench.contracts.training import Profiles
from ..bench.contracts.truth import Truth
from .change import ROUNDING, cosine_of, norm, ratio
from .per_condition import Family, Rows, per_condition

Array = np.ndarray[Any, Any]

# A variance below this share of the squared mean is what is left of subtracting equal numbers.
_CONSTANT = 1e-12


@dataclass(frozen=True)
class _Moments:
    """Number of cells, and sum and sum of squares of each gene over them."""

    n: float
    total: Array
    squares: Array

    @staticmethod
    def of(profiles: Profiles, row: int) -> _Moments:
        n, mean = float(profiles.n_cells[row]), profiles.mean[row].astype(np.float64)
        return _Moments(n, n * mean, (n - 1) * profiles.var[row] + n * mean**2)

    def __add__(self, other: _Moments) -> _Moments:
        return _Moments(self.n + other.n, self.total + other.total, self.squares + other.squares)

    def __sub__(self, other: _Moments) -> _Moments:
        return _Moments(self.n - other.n, self.total - other.total, self.squares - other.squares)


def _perturbed(truth: Truth) -> dict[str | None, _Moments]:
    """Moments over all perturbed cells of each context, those of the truth and of training together."""
    pools: dict[str | None, _Moments] = {}
    for profiles in _sources(truth):
        for row, condition in enumerate(profiles.conditions):
            if not condition.is_control:
                own = _Moments.of(profiles, row)
                pool = pools.get(condition.context)
                pools[condition.context] = own if pool is None else pool + own
    return pools


def _sources(truth: Truth) -> list[Profiles]:
    return [truth.profiles] if truth.training is None else [truth.profiles, truth.training]


def _rest(truth: Truth, condition: Condition) -> _Moments:
    """Moments of the perturbed cells of the context that have another condition."""
    pool = truth.once(_perturbed)[condition.context]
    for profiles in _sources(truth):
        row = profiles.row(condition)
        pool = pool if row is None else pool - _Moments.of(profiles, row)
    return pool


def gene_weights(truth: Truth, row: int) -> Array | None:
    r"""Weights of the genes for a scored condition, from moments alone.

    With m, v and n the mean, the unbiased variance and the number of cells of the condition, and r and u those of the rest,
    :math:`t_g = |m_g - r_g| / \sqrt{v_g/n + u_g/n}`, :math:`s_g = (t_g - \min t)/(\max t - \min t)` and
    :math:`w_g = s_g^2 / \sum_h s_h^2`.

    Returns
    -------
    Array or None
        (G,) float64 that add up to 1. A t of 0/0 or x/0 (a gene that is constant on both sides) counts as 0, and where all t
        are equal every gene has the same weight. None where nothing else is perturbed in the context.

    Notes
    -----
    Mejia et al. 2025, arXiv 2506.22641, with scanpy's ``t-test_overestim_var`` against the rest; exponent 2.
    """
    rest = _rest(truth, truth.conditions[row])
    if rest.n < 2:
        return None
    n = float(truth.profiles.n_cells[row])
    mean = rest.total / rest.n
    variance = (rest.squares - rest.total * mean) / (rest.n - 1)
    variance[variance <= _CONSTANT * mean**2] = 0.0
    difference = np.abs(truth.profiles.mean[row].astype(np.float64) - mean)
    spread = np.sqrt((truth.profiles.var[row] + variance) / n)
    t = np.divide(difference, spread, out=np.zeros(len(mean)), where=spread > 0)
    low, high = t.min(initial=np.inf), t.max(initial=0.0)
    if high - low <= ROUNDING * high:
        return np.full(len(t), 1.0 / max(1, len(t)))
    weight = ((t - low) / (high - low)) ** 2
    return weight / weight.sum()


def _weights(truth: Truth) -> Array:
    """(n, G) float32 `gene_weights`, shared by all models; a row of NaN where there is no rest."""
    out = np.full(truth.profiles.mean.shape, np.nan, dtype=np.float32)
    for row in range(len(out)):
        weight = gene_weights(truth, row)
        if weight is not None:
            out[row] = weight
    return out


def _weights_of(rows: Rows) -> Array:
    """(rows, G) float64 weights that add up to 1 to the last digit."""
    weight = rows.take(rows.comparison.truth.once(_weights))
    rows.why[np.isnan(weight).any(axis=1)] = "too_few_conditions"
    return weight / weight.sum(axis=1, keepdims=True)


def weighted_error(rows: Rows) -> dict[str, Array]:
    r"""``wmse``: :math:`\sum_g w_g(\hat x_g - x_g)^2`."""
    return {"wmse": np.einsum("ij,ij->i", _weights_of(rows), np.square(rows.predicted - rows.expected))}


def weighted_change(rows: Rows) -> dict[str, Array]:
    r"""Weighted scores of the change :math:`\Delta` against a reference; undefined where it is constant over the genes that count.

    ``pearson``
        Pearson correlation with weighted means, variances and covariance.
    ``r2``
        :math:`1 - \sum_g w_g(\Delta_g - \hat\Delta_g)^2 / \sum_g w_g(\Delta_g - \bar\Delta_w)^2`, the bar a weighted mean.
    """
    weight = _weights_of(rows)
    root = np.sqrt(weight)
    scale = norm(root * rows.reference)
    true, guess = (_centred(delta, weight, root, scale) for delta in (rows.true, rows.guess))
    error = np.einsum("ij,ij->i", weight, np.square(rows.true - rows.guess))
    return {"pearson": cosine_of(true, guess), "r2": 1.0 - ratio(error, norm(true) ** 2)}


def _centred(delta: Array, weight: Array, root: Array, scale: Array) -> Array:
    """Change less its weighted mean, times the root of the weight; zero where that is rounding, as in `change.centred`."""
    out = root * (delta - np.einsum("ij,ij->i", weight, delta)[:, None])
    out[norm(out) <= ROUNDING * (scale + norm(root * delta))] = 0.0
    return out


_WEIGHTS = "w the squared min-max scaled absolute t of the condition against all other perturbed cells of its context, sum 1"
_SOURCE = "Mejia et al. 2025, arXiv 2506.22641; scPertEval"
_WEIGHTS_CAVEAT = (
    "The weights come from the truth, noise included, so values of different conditions rest on different genes, and in a "
    "knock-down the target itself can have most of the weight."
)


def _info(
    name: str, statistic: str, family: Family, formula: str, caveat: str, reference: str | None, **facts: Any
) -> MetricInfo:
    against = {
        None: "",
        "ctrl": "; r the control mean of the context",
        "pert": "; r the control mean plus the mean training shift",
    }
    return MetricInfo(
        id=f"{name}@all" + (f"~{reference}" if reference else ""),
        version=1,
        perfect=0.0 if name == "wmse" else 1.0,
        function=partial(per_condition, genes="all", family=family, statistic=statistic, reference=reference),
        summary=f"{formula}{against[reference]}; {_WEIGHTS}.",
        reference=_SOURCE,
        caveats=f"{_WEIGHTS_CAVEAT} {caveat}",
        **facts,
    )


METRICS: tuple[MetricInfo, ...] = (
    _info(
        "wmse",
        "wmse",
        weighted_error,
        "Weighted mean squared error, sum over g of w_g * (xhat_g - x_g)^2",
        "Undefined where the context has no other perturbation; where all t are equal it is mse.",
        None,
        direction="down",
        lower=0.0,
        upper=float("inf"),
    ),
    *(
        _info(
            "weighted_r2_delta",
            "r2",
            weighted_change,
            "Weighted coefficient of determination of d = x - r, 1 - sum(w * (d - dhat)^2) / sum(w * (d - dbar)^2), dbar = sum(w * d)",
            "No lower bound; predicting the reference itself scores 0 or less.",
            reference,
            direction="up",
            lower=float("-inf"),
            upper=1.0,
        )
        for reference in ("ctrl", "pert")
    ),
    *(
        _info(
            "weighted_pearson_delta",
            "pearson",
            weighted_change,
            "Weighted Pearson correlation over genes of xhat - r and x - r",
            "Blind to the size of the change; undefined where either is constant over the genes that count.",
            reference,
            direction="up",
            lower=-1.0,
            upper=1.0,
        )
        for reference in ("ctrl", "pert")
    ),
)
