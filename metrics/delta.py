"""Whether the predicted change of expression has the direction, the pattern and the size of the true one.

The same named reference is subtracted on both sides: ``ctrl`` (control mean of the context), ``pert`` (control mean plus
mean training shift, Systema's reference) or ``loo`` (plus the mean shift of all other perturbations). In the statistics
below `expected`, `predicted` and `reference` are (n, k) mean log1p, and the result is (n,), NaN where undefined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..bench.contracts.metric import MetricInfo
from .change import centred, change, norm
from .per_condition import GENES, per_condition

Array = np.ndarray[Any, Any]


def pearson(expected: Array, predicted: Array, reference: Array) -> Array:
    """Pearson correlation over genes of true and predicted change; undefined where either is constant.

    Against ``ctrl`` a prediction of no change, and against ``pert`` the training mean, has no correlation: not 0.
    """
    true, guess = change(expected, reference), change(predicted, reference)
    return _cosine(centred(true, reference), centred(guess, reference))


def spearman(expected: Array, predicted: Array, reference: Array) -> Array:
    """Spearman rank correlation over genes of true and predicted change: `pearson` of ranks, ties at their average rank."""
    ranks = []
    for profile in (expected, predicted):
        delta = change(profile, reference)
        rank = average_ranks(delta) - (delta.shape[1] + 1) / 2
        rank[~centred(delta, reference).any(axis=1)] = 0.0
        ranks.append(rank)
    return _cosine(*ranks)


def average_ranks(rows: Array) -> Array:
    """(n, k) ranks 1 to k within each row, tied values sharing their mean rank; half the time of scipy's ``rankdata``."""
    order = np.argsort(rows, axis=1)
    ordered = np.take_along_axis(rows, order, axis=1)
    leads = np.ones(rows.shape, dtype=bool)
    leads[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    start = np.flatnonzero(leads)
    size = np.diff(start, append=rows.size)
    ranks = np.empty(rows.shape)
    np.put_along_axis(ranks, order, np.repeat(start % rows.shape[1] + (size + 1) / 2, size).reshape(rows.shape), axis=1)
    return ranks


def cosine(expected: Array, predicted: Array, reference: Array) -> Array:
    """Cosine of the angle between true and predicted change; undefined where either is zero.

    Not centred over genes, so a shift that all genes share counts.
    """
    return _cosine(change(expected, reference), change(predicted, reference))


def r2(expected: Array, predicted: Array, reference: Array) -> Array:
    r"""Share of the variance over genes of the true change that is explained; undefined where that change is constant.

    :math:`1 - \sum_g(\Delta_g - \hat\Delta_g)^2 / \sum_g(\Delta_g - \bar\Delta)^2`, the coefficient of determination and not
    a squared correlation: 0 is as good as the mean over genes of the true change, and there is no lower bound.
    """
    true, guess = change(expected, reference), change(predicted, reference)
    return 1.0 - _ratio(np.sum((true - guess) ** 2, axis=1), np.sum(centred(true, reference) ** 2, axis=1))


def sign_agreement(expected: Array, predicted: Array, reference: Array) -> Array:
    """Share of genes whose change is predicted in the right direction.

    A predicted change of zero counts one half, so that silence is worth a coin toss. A gene without a true change is
    left out; undefined where none remains.
    """
    true, guess = np.sign(change(expected, reference)), np.sign(change(predicted, reference))
    # The product of signs is 1, 0 or -1: right, silent or wrong.
    return _ratio(np.sum(0.5 * (1.0 + true * guess) * (true != 0), axis=1), np.sum(true != 0, axis=1))


def magnitude_ratio(expected: Array, predicted: Array, reference: Array) -> Array:
    """Euclidean length of the predicted change over that of the true one; below 1 shrinks, above 1 exaggerates.

    Sampling noise lengthens the true change, so that even the noise-free truth scores somewhat below 1.
    """
    return _ratio(norm(change(predicted, reference)), norm(change(expected, reference)))


def _ratio(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)


def _cosine(a: Array, b: Array) -> Array:
    # Each side is scaled by itself: the product of two small norms could underflow.
    a, b = (_ratio(np.ones(len(v)), norm(v))[:, None] * v for v in (a, b))
    return np.clip(np.einsum("ij,ij->i", a, b), -1.0, 1.0)


@dataclass(frozen=True)
class _Family:
    statistic: Callable[[Array, Array, Array], Array]
    formula: str
    source: str
    variants: tuple[tuple[str, str], ...] = tuple((g, r) for g in ("all", "de20") for r in ("ctrl", "pert", "loo"))
    direction: str = "up"
    lower: float = -1.0
    upper: float = 1.0


_EVERY = _Family.variants
_FAMILIES = {
    "pearson_delta": _Family(
        pearson,
        "Pearson correlation over genes of xhat - r and x - r",
        "GEARS and Ahlmann-Eltze et al. 2025 (control); Systema, Nature Biotechnology 2025 (perturbed mean)",
        (*_EVERY, ("de50", "ctrl"), ("de50", "pert")),
    ),
    "spearman_delta": _Family(
        spearman, "Spearman correlation (average ranks) over genes of xhat - r and x - r", "PEREGGRN, Genome Biology 2025"
    ),
    "cosine_delta": _Family(cosine, "Cosine of xhat - r and x - r, sum(a * b) / sqrt(sum(a^2) * sum(b^2))", "PerturBench cosine"),
    "r2_delta": _Family(
        r2,
        "Coefficient of determination of d = x - r, 1 - sum((d - dhat)^2) / sum((d - mean(d))^2)",
        "scPertEval and CellSimBench",
        lower=float("-inf"),
    ),
    "sign_agreement": _Family(
        sign_agreement,
        "Share of genes with sign(xhat - r) = sign(x - r); no predicted change counts 0.5, no true change is left out",
        "GEARS, share of top 20 genes in the correct direction",
        (("de20", "ctrl"), ("de20", "pert")),
        lower=0.0,
    ),
    "magnitude_ratio": _Family(
        magnitude_ratio,
        "Length of the predicted over the true change, norm(xhat - r) / norm(x - r); 1 is best",
        "defined here; compare the effect-size scores of PEREGGRN",
        (("all", "ctrl"),),
        "target",
        0.0,
        float("inf"),
    ),
}
_REFERENCES = {
    "ctrl": "r the control mean of the context",
    "pert": "r the control mean plus the mean training shift",
    "loo": "r the control mean plus the mean shift of all other perturbations",
}
_HEADLINE = ("pearson_delta@all~ctrl", "pearson_delta@de20~pert", "magnitude_ratio@all~ctrl")

METRICS: tuple[MetricInfo, ...] = tuple(
    MetricInfo(
        id=f"{name}@{genes}~{reference}",
        version=1,
        direction=family.direction,
        lower=family.lower,
        upper=family.upper,
        perfect=1.0,
        function=partial(per_condition, genes=genes, statistic=family.statistic, reference=reference),
        summary=f"{family.formula}; {_REFERENCES[reference]}; over {GENES[genes]}.",
        reference=family.source,
        headline=f"{name}@{genes}~{reference}" in _HEADLINE,
    )
    for name, family in _FAMILIES.items()
    for genes, reference in family.variants
)
