"""Whether the predicted change of expression has the direction, the pattern and the size of the true one.

The same named reference is subtracted on both sides: ``ctrl`` (control mean of the context), ``pert`` (control mean plus
mean training shift, Systema's reference) or ``loo`` (plus the mean shift of all other perturbations). Every statistic below
takes a block of `Rows` of n conditions and k genes, and is (n,), NaN where undefined.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..bench.contracts.metric import MetricInfo
from ..bench.contracts.truth import Truth
from .change import centred, change, cosine_of, norm, ratio
from .per_condition import GENES, GENES_CAVEAT, Family, Rows, per_condition

Array = np.ndarray[Any, Any]

#: What is added to a mean of log1p before the logarithm of `cosine_logfc`, PerturBench's constant.
PSEUDOCOUNT = 0.1


def shape(rows: Rows) -> dict[str, Array]:
    r"""Pattern and size of the predicted change.

    ``pearson``
        Pearson correlation over genes of true and predicted change; undefined where either is constant. Against ``ctrl`` a
        prediction of no change, and against ``pert`` the training mean, has no correlation: not 0.
    ``cosine``
        Cosine of the angle between them; undefined where either is zero. Not centred over genes, so a shift that all genes
        share counts.
    ``r2``
        :math:`1 - \sum_g(\Delta_g - \hat\Delta_g)^2 / \sum_g(\Delta_g - \bar\Delta)^2`, the coefficient of determination and
        not a squared correlation: 0 is as good as the mean over genes of the true change, and there is no lower bound.
        Undefined where the true change is constant.
    ``magnitude_ratio``
        Euclidean length of the predicted change over that of the true one; below 1 shrinks, above 1 exaggerates. Sampling
        noise lengthens the true change, so that even the noise-free truth scores somewhat below 1.
    ``slope``
        :math:`\sum_g\Delta_g\hat\Delta_g / \sum_g\hat\Delta_g^2`, the factor by which the predicted change fits the true one
        best. Noise of the truth leaves its expectation alone. Undefined where no change is predicted.
    ``length``
        Euclidean length of the predicted change.
    """
    true, guess = rows.true, rows.guess
    pattern, length, true_length = rows.true_pattern, norm(guess), norm(true)
    cosine = cosine_of(true, guess)
    return {
        "pearson": cosine_of(pattern, rows.guess_pattern),
        "cosine": cosine,
        "r2": 1.0 - ratio(norm(true - guess) ** 2, norm(pattern) ** 2),
        "magnitude_ratio": ratio(length, true_length),
        # A true change of zero has no angle, but a slope: 0.
        "slope": ratio(np.where(true_length > 0, cosine, 0.0) * true_length, length),
        "length": length,
    }


def spearman(rows: Rows) -> dict[str, Array]:
    """Spearman rank correlation over genes of true and predicted change: Pearson's of ranks, ties at their average rank."""
    if rows.columns is None:
        assert rows.reference_name is not None
        true = rows.comparison.truth.once(_TRUE_RANKS[rows.reference_name])[rows.index].astype(np.float64)
    else:
        true = _centred_ranks(rows.true, rows.reference)
    return {"spearman": cosine_of(true, _centred_ranks(rows.guess, rows.reference))}


def _centred_ranks(delta: Array, reference: Array) -> Array:
    ranks = average_ranks(delta)
    ranks -= (delta.shape[1] + 1) / 2
    ranks[~centred(delta, reference).any(axis=1)] = 0.0
    return ranks


def _true_ranks(truth: Truth, reference: str) -> Array:
    """(n, G) float32 centred ranks of the true changes, which all models share; half-integers are exact in float32."""
    means, out = truth.profiles.mean, np.empty(truth.profiles.mean.shape, dtype=np.float32)
    for start in range(0, len(means), 64):
        r = truth.references[reference][start : start + 64]
        out[start : start + 64] = _centred_ranks(change(means[start : start + 64], r), r)
    return out


_TRUE_RANKS = {name: partial(_true_ranks, reference=name) for name in ("ctrl", "pert", "loo")}


def average_ranks(rows: Array) -> Array:
    """(n, k) ranks 1 to k within each row, tied values sharing their mean rank; a quarter of the time of scipy's ``rankdata``."""
    n, k = rows.shape
    order = (np.argsort(rows, axis=1) + np.arange(0, n * k, k)[:, None] if k else np.empty((n, 0), dtype=int)).ravel()
    ordered = rows.ravel()[order]
    ranks = np.tile(np.arange(1.0, k + 1), n)
    same = ordered[1:] == ordered[:-1]
    same[k - 1 :: max(k, 1)] = False
    tied = np.flatnonzero(same)  # positions that are equal to the next one
    if len(tied):
        first = np.flatnonzero(np.diff(tied, prepend=-2) != 1)
        size = np.diff(first, append=len(tied)) + 1
        start = tied[first]
        members = np.repeat(start - np.cumsum(size) + size, size) + np.arange(size.sum())
        ranks[members] = np.repeat(ranks[start] + (size - 1) / 2, size)
    out = np.empty(n * k)
    out[order] = ranks
    return out.reshape(n, k)


def direction(rows: Rows) -> dict[str, Array]:
    """Direction of the predicted change of single genes; a gene without a true change is left out.

    ``sign_agreement``
        Share of genes whose change is predicted in the right direction. A predicted change of zero counts one half, so that
        silence is worth a coin toss. Undefined where no gene remains.
    ``opposite_direction``
        Share of genes that are predicted in the wrong direction. Here silence is never wrong.
    """
    true = np.sign(rows.true)
    # The product of signs is 1, 0 or -1: right, silent or wrong.
    product, genes = true * np.sign(rows.guess), np.sum(true != 0, axis=1)
    return {
        "sign_agreement": ratio(np.sum(0.5 * (1.0 + product) * (true != 0), axis=1), genes),
        "opposite_direction": ratio(np.sum(product < 0, axis=1), genes),
    }


def log_fold_change(rows: Rows) -> dict[str, Array]:
    r"""``cosine_logfc``: cosine of true and predicted :math:`\log_2\frac{m_g + 0.1}{r_g + 0.1}`, m and r means of log1p.

    A negative prediction counts as 0, which is what a mean of log1p can be at least. A change that is rounding is zero.
    """
    base = np.log2(rows.reference + PSEUDOCOUNT)
    true, guess = (
        np.where(delta != 0, np.log2(np.maximum(profile, 0.0) + PSEUDOCOUNT) - base, 0.0)
        for profile, delta in ((rows.expected, rows.true), (rows.predicted, rows.guess))
    )
    return {"cosine_logfc": cosine_of(true, guess)}


@dataclass(frozen=True)
class _Family:
    function: Family
    statistic: str
    formula: str
    source: str
    caveats: str
    variants: tuple[tuple[str, str], ...] = tuple((g, r) for g in ("all", "de20") for r in ("ctrl", "pert", "loo"))
    direction: str = "up"
    lower: float = -1.0
    upper: float = 1.0
    perfect: float = 1.0


_EVERY = _Family.variants
_CTRL = (("all", "ctrl"),)
_UNBOUNDED = float("inf")
_FAMILIES = {
    "pearson_delta": _Family(
        shape,
        "pearson",
        "Pearson correlation over genes of xhat - r and x - r",
        "GEARS and Ahlmann-Eltze et al. 2025 (control); Systema, Nature Biotechnology 2025 (perturbed mean)",
        "Blind to the size of the change. Undefined where either change is constant over genes.",
        (*_EVERY, ("de50", "ctrl"), ("de50", "pert")),
    ),
    "spearman_delta": _Family(
        spearman,
        "spearman",
        "Spearman correlation (average ranks) over genes of xhat - r and x - r",
        "PEREGGRN, Genome Biology 2025",
        "Every gene weighs the same, so over all genes it is mostly the order of genes that do not respond; many exact zeros are "
        "one tie.",
    ),
    "cosine_delta": _Family(
        shape,
        "cosine",
        "Cosine of xhat - r and x - r, sum(a * b) / sqrt(sum(a^2) * sum(b^2))",
        "PerturBench cosine",
        "Not centred over genes, so a shift that all genes share, such as one of library size, counts. Blind to the size of the "
        "change, and undefined where either is zero.",
    ),
    "r2_delta": _Family(
        shape,
        "r2",
        "Coefficient of determination of d = x - r, 1 - sum((d - dhat)^2) / sum((d - mean(d))^2)",
        "scPertEval and CellSimBench",
        "Has no lower bound, so a few conditions can decide the mean; some tools give the name to a squared correlation. Sampling "
        "noise of the truth counts as variance to be explained.",
        lower=-_UNBOUNDED,
    ),
    "sign_agreement": _Family(
        direction,
        "sign_agreement",
        "Share of genes with sign(xhat - r) = sign(x - r); no predicted change counts 0.5, no true change is left out",
        "GEARS, share of top 20 genes in the correct direction",
        "Chance is 0.5 only where up and down are equally common: a change that all conditions share is right in most genes.",
        (("de20", "ctrl"), ("de20", "pert")),
        lower=0.0,
    ),
    "opposite_direction": _Family(
        direction,
        "opposite_direction",
        "Share of genes with sign(xhat - r) = -sign(x - r), no true change left out",
        "GEARS, share of top 20 genes in the opposite direction",
        "Predicting no change is never wrong and scores the best value, 0, so never rank on it: read it beside sign_agreement.",
        (("de20", "ctrl"),),
        direction="down",
        lower=0.0,
        perfect=0.0,
    ),
    "cosine_logfc": _Family(
        log_fold_change,
        "cosine_logfc",
        "Cosine of log2((xhat + 0.1) / (r + 0.1)) and log2((x + 0.1) / (r + 0.1)), x a mean of log1p and xhat at least 0",
        "Wu et al. 2025, PerturBench cosine of logFC as its code computes it by default",
        "A logarithm of a mean of logarithms and no fold change of counts; the constant 0.1 decides how much genes of low expression "
        "weigh. Undefined where either is zero throughout.",
        _CTRL,
    ),
    "magnitude_ratio": _Family(
        shape,
        "magnitude_ratio",
        "Length of the predicted over the true change, norm(xhat - r) / norm(x - r); 1 is best",
        "defined here; compare the effect-size scores of PEREGGRN",
        "Noise lengthens the true change of a condition with few cells, so that even the noise-free truth scores below 1. Says "
        "nothing about direction.",
        _CTRL,
        "target",
        0.0,
        _UNBOUNDED,
    ),
    "slope_delta": _Family(
        shape,
        "slope",
        "Slope through the origin of the true change on the predicted one, sum((x - r) * (xhat - r)) / sum((xhat - r)^2); 1 is best",
        "defined here",
        "Above 1 the prediction is shrunk, below 1 exaggerated or noisy, below 0 reversed; a small predicted change in the right "
        "direction makes it large. Undefined where no change is predicted.",
        _CTRL,
        "target",
        -_UNBOUNDED,
        _UNBOUNDED,
    ),
}
_REFERENCES = {
    "ctrl": "r the control mean of the context",
    "pert": "r the control mean plus the mean training shift",
    "loo": "r the control mean plus the mean shift of all other perturbations",
}
_REFERENCE_CAVEAT = {
    "ctrl": "A response that all perturbations share is rewarded, and so is the sampling noise of the controls that truth and "
    "reference have in common: without any effect the truth of one condition correlates with another's by about n / (n + n_control).",
    "pert": "The train mean has no change here and is undefined, not 0.",
    "loo": "The reference contains the truth of other test conditions; it is used for scoring only.",
}
_SHARED = ("pearson_delta", "spearman_delta", "cosine_delta", "r2_delta")
_HEADLINE = ("pearson_delta@all~ctrl",)


def _caveats(name: str, genes: str, reference: str) -> str:
    """Three sentences at most: of the statistic, and of its reference where that can mislead."""
    said = _FAMILIES[name].caveats
    if (name, reference) == ("r2_delta", "pert"):
        return f"{said} The train mean has no change here and scores 0 or less."
    if name in _SHARED:
        return f"{said} {_REFERENCE_CAVEAT[reference]}"
    return f"{said} {GENES_CAVEAT[genes]}" if genes != "all" else said


METRICS: tuple[MetricInfo, ...] = tuple(
    MetricInfo(
        id=f"{name}@{genes}~{reference}",
        version=1,
        direction=family.direction,
        lower=family.lower,
        upper=family.upper,
        perfect=family.perfect,
        function=partial(per_condition, genes=genes, family=family.function, statistic=family.statistic, reference=reference),
        summary=f"{family.formula}; {_REFERENCES[reference]}; over {GENES[genes]}.",
        reference=family.source,
        needs=("means", "log1p") if name == "cosine_logfc" else ("means",),
        headline=f"{name}@{genes}~{reference}" in _HEADLINE,
        caveats=_caveats(name, genes, reference),
    )
    for name, family in _FAMILIES.items()
    for genes, reference in family.variants
)
