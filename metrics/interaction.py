r"""Whether a prediction of two perturbations together says what is more than the sum of their single effects.

With :math:`\delta` changes against control, the interaction of a double is the additive residual
:math:`i_g = \delta_{ab} - \delta_a - \delta_b`. Truth and prediction are held against the *true* singles, also where a split
withheld them from the model, so the residual of an additive prediction from these singles is exactly zero. Measured
target genes are left out. The root mean squared error of the residual is that of the prediction itself, since the same
singles are subtracted on both sides, and is therefore not here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..bench.contracts.metric import Comparison, MetricInfo, Values
from .doubles import doubles, kept, null, predicted, predicted_scores, reasons, true_scores, why_none
from .gene_ranking import top_share

Array = np.ndarray[Any, Any]

#: Pairs among which a correlation means something.
MIN_PAIRS = 3


def residual_pearson(comparison: Comparison) -> Values:
    """Pearson correlation over genes of true and predicted residual, for each double.

    Reasons: ``absent``, ``not_a_double``, ``no_singles`` and ``zero_variance`` (an additive prediction, or truth).
    """
    true, guess = comparison.truth.once(doubles), comparison.once(predicted)[1]
    reason = reasons(comparison)
    value = np.full(len(reason), np.nan)
    for k, i in enumerate(true.rows):
        if not reason[i]:
            value[i] = correlation(true.residual[k, true.measured[k]], guess[k, true.measured[k]])
    reason[(reason == "") & np.isnan(value)] = "zero_variance"
    return Values(value, reason)


def _one(value: float, reason: str) -> Values:
    return Values.of(np.array([value]), reason)


def correlation(x: Array, y: Array) -> float:
    """Pearson correlation of two vectors, NaN where either is constant to nine digits."""
    sides = []
    for v in (x, y):
        centred = v - v.mean() if len(v) else v
        length = np.sqrt(centred @ centred)
        if not length > 1e-9 * np.sqrt(v @ v):
            return float("nan")
        sides.append(centred / length)
    return float(np.clip(sides[0] @ sides[1], -1.0, 1.0))


def calls(comparison: Comparison, tail: str = "both") -> tuple[Array, Array] | str:
    """Pooled over expressed genes of all doubles that are present: (N,) scores, and bool, the true interactions.

    Scores are sizes of predicted residuals for ``both`` tails, the residuals for ``upper`` and their negatives for ``lower``;
    true interactions reach the cut-off of that tail in `null`. A reason where there is nothing to pool.
    """
    true, guess, rows = comparison.truth.once(doubles), comparison.once(predicted)[1], kept(comparison)
    if not rows.any():
        return why_none(comparison)
    cut = comparison.truth.once(null)
    if cut is None:
        return "too_few_genes"
    actual, guess = true.residual[rows][true.expressed[rows]], guess[rows][true.expressed[rows]]
    if tail == "both":
        return np.abs(guess), np.abs(actual) >= cut.size
    return (guess, actual >= cut.upper) if tail == "upper" else (-guess, actual <= cut.lower)


def detection(comparison: Comparison, *, tail: str, statistic: str) -> Values:
    """How well predicted residuals rank the (gene, double) pairs with a true interaction, over the whole data set.

    Parameters
    ----------
    tail
        ``both``: by absolute size; ``upper`` or ``lower``: by the signed residual, against calls of that sign.
    statistic
        ``average_precision``, ``roc_area``, ``fdp20`` (share found at a false discovery proportion of at most 20 %) or
        ``curve_area`` of the curve of that share.
    """
    from ..bench.kernels import detection as numerics

    called = calls(comparison, tail)
    if isinstance(called, str):
        return _one(np.nan, called)
    scores, positive = called
    if positive.all() or not positive.any():
        return _one(np.nan, "single_class")
    if statistic in ("average_precision", "roc_area"):
        return _one(getattr(numerics, statistic)(scores, positive), "single_class")
    proportion, share = numerics.tp_fdp_curve(scores, positive)
    if statistic == "curve_area":
        return _one(numerics.curve_area(proportion, share), "single_class")
    return _one(float(share[np.searchsorted(proportion, 0.2, side="right") - 1]), "single_class")


def curve(comparison: Comparison, tail: str = "both") -> tuple[Array, Array]:
    """False discovery proportions and the shares of true interactions found within them, to be drawn as steps.

    Empty where there are no calls, see `calls`.
    """
    from ..bench.kernels.detection import tp_fdp_curve

    called = calls(comparison, tail)
    return (np.empty(0), np.empty(0)) if isinstance(called, str) else tp_fdp_curve(*called)


def class_agreement(comparison: Comparison) -> Values:
    """Mean over the classes of true interactions of the share that is predicted to be of its class.

    Against the sum of the single changes, a double's change of a gene is *opposite* (of the other sign), *buffering*
    (smaller) or *synergistic* (larger, or there where the sum is zero). A prediction that is exactly additive is of none.
    """
    called = calls(comparison)
    if isinstance(called, str):
        return _one(np.nan, called)
    true, rows, interaction = comparison.truth.once(doubles), kept(comparison), called[1]
    if not interaction.any():
        return _one(np.nan, "single_class")
    genes = true.expressed[rows]
    additive = (true.first + true.second)[rows][genes][interaction]
    actual, guess = (
        _relation(double[rows][genes][interaction], additive) for double in (true.double, comparison.once(predicted)[0])
    )
    return _one(float(np.mean([np.mean(guess[actual == c] == c) for c in np.unique(actual)])), "single_class")


def _relation(double: Array, additive: Array) -> Array:
    """0 additive, 1 buffering, 2 synergistic, 3 opposite."""
    size = np.where(np.abs(double) < np.abs(additive), 1, 2)
    return np.where(double == additive, 0, np.where(double * additive < 0, 3, size))


def score_error(comparison: Comparison, *, score: str) -> Values:
    """Absolute error of one of GEARS' scores for each double; ``zero_variance`` where either side is undefined."""
    reason = reasons(comparison)
    value = np.full(len(reason), np.nan)
    true, guess = _pair_scores(comparison, score)
    rows = comparison.truth.once(doubles).rows
    value[rows] = np.abs(true - guess)
    value[reason != ""] = np.nan
    reason[(reason == "") & np.isnan(value)] = "zero_variance"
    return Values(value, reason)


def _pair_scores(comparison: Comparison, score: str) -> tuple[Array, Array]:
    """(p,) true and predicted score of each double."""
    both = comparison.truth.once(true_scores), comparison.once(predicted_scores)
    true, guess = (np.array([getattr(s, score) for s in side], dtype=np.float64) for side in both)
    return true, guess


def score_correlation(comparison: Comparison, *, score: str, ranks: bool) -> Values:
    """Correlation over doubles of true and predicted score; at least three must have both."""
    if not kept(comparison).any():
        return _one(np.nan, why_none(comparison))
    true, guess = _pair_scores(comparison, score)
    defined = ~np.isnan(true + guess)
    if defined.sum() < MIN_PAIRS:
        return _one(np.nan, "too_few_conditions")
    sides = true[defined], guess[defined]
    if ranks:
        from scipy.stats import rankdata

        # Nine digits, so that scores that are equal but for rounding are tied.
        sides = tuple(rankdata(np.round(side, 9)) for side in sides)
    return _one(correlation(*sides), "zero_variance")


#: A class of GEARS' figure: the score that ranks doubles for it, and the sign that puts the strongest first.
RANKED = {
    "synergy": ("magnitude", 1),
    "suppressor": ("magnitude", -1),
    "redundant": ("similarity", 1),
    "neomorphic": ("model_fit", -1),
    "epistatic": ("equality", -1),
}


def precision(comparison: Comparison, *, interaction: str, k: int) -> Values:
    """Share of the k doubles predicted strongest for a class that are among the k truly strongest.

    Ties of predicted scores share their places, the expectation over random orders of them; doubles truly tied with the
    k-th count as well. ``mean`` is the mean over classes. Undefined with ``too_few_conditions`` where no more than k doubles
    have both scores.
    """
    if not kept(comparison).any():
        return _one(np.nan, why_none(comparison))
    shares = []
    for score, sign in RANKED.values() if interaction == "mean" else (RANKED[interaction],):
        true, guess = _pair_scores(comparison, score)
        defined = ~np.isnan(true + guess)
        if defined.sum() > k:
            actual, ranked = (np.round(sign * side[defined], 9) for side in (true, guess))
            shares.append(float(top_share(ranked, k)[actual >= np.sort(actual)[-k]].sum() / k))
    return _one(float(np.mean(shares)) if shares else np.nan, "too_few_conditions")


_AHLMANN = "Ahlmann-Eltze, Huber & Anders, Nature Methods 2025, additive residual with an empirical null"
_GEARS = "Roohani et al. 2024, GEARS, get_coeffs and GI_predict; Norman et al., Science 2019"
_GENES = "the 1,000 genes with the highest control mean, targets left out"
_RESIDUAL = "i = d_ab - d_a - d_b, d the change against control and d_a, d_b the true singles"
_CALLS = (
    f"{_RESIDUAL}; pairs of a double and one of {_GENES}; true ones lie beyond the 5 % cut-offs of a normal fitted to the centre"
)
_POOLED = (
    "An additive prediction has no ranking and gets exactly chance; no change is a strong rival, since residuals grow with "
    "effects. Doubles of few cells have more noise and so more than their share of the calls."
)
_NOISE = (
    "Truth and prediction share the sampling error of the singles, so agreement is not 0 without interaction: compare with no change. "
    "Noise lowers the true score, and coefficients are ill determined where the singles resemble each other. Truth and "
    "prediction both use the true singles, where GEARS took the model's own for the prediction."
)
_TAILS = {"": ("both", "abs(ihat)"), ".upper": ("upper", "ihat"), ".lower": ("lower", "-ihat")}
_STATISTICS = {
    "gi_auprc": ("average_precision", "Average precision, sum of (R_k - R_(k-1)) * P_k over distinct scores,", tuple(_TAILS)),
    "gi_auroc": ("roc_area", "Area under the ROC curve, ties one half,", tuple(_TAILS)),
    "gi_recall.fdp20": ("fdp20", "Share of true interactions found by the best cut with FP / (FP + TP) at most 0.2", ("",)),
    "gi_tp_fdp_area": ("curve_area", "Area under the best TP / (TP + FN) within each FP / (FP + TP), a step function,", ("",)),
}
_SCORES = {
    "magnitude": "magnitude sqrt(c1^2 + c2^2)",
    "dominance": "dominance abs(log10(abs(c1 / c2)))",
    "model_fit": "model fit dcor(c1 d_a + c2 d_b, d_ab)",
    "similarity": "similarity dcor((d_a, d_b), d_ab)",
    "equality": "equality of contribution min/max(dcor(d_a, d_ab), dcor(d_b, d_ab))",
}
_FIT = f"d_ab = c1 d_a + c2 d_b fitted robustly over {_GENES}, d_a and d_b true"


def _info(
    name: str, function: Callable[..., Values], summary: str, caveats: str, genes: str = "expressed1000", **facts: Any
) -> MetricInfo:
    standard = {"direction": "up", "lower": 0.0, "upper": 1.0, "perfect": 1.0, "reference": _GEARS, "level": "dataset"}
    return MetricInfo(
        id=f"{name}@{genes}~ctrl", version=1, function=function, summary=summary, caveats=caveats, **standard | facts
    )


METRICS: tuple[MetricInfo, ...] = (
    _info(
        "gi_residual_pearson",
        residual_pearson,
        f"Pearson correlation over genes of true and predicted residual {_RESIDUAL}; over all genes but the targets.",
        "Undefined for an additive prediction, whose residual is zero. Both residuals subtract the same singles, whose sampling error "
        "correlates them even where nothing interacts: 0.37 for no change and 0.82 for the true mean in a simulation without any "
        "interaction. Compare with no change, never with 0.",
        genes="all",
        lower=-1.0,
        level="perturbation",
        reference=_AHLMANN,
    ),
    *(
        _info(
            name + tail,
            partial(detection, tail=_TAILS[tail][0], statistic=statistic),
            f"{formula} of {_TAILS[tail][1]} for {_CALLS}.",
            _POOLED,
            reference=_AHLMANN,
        )
        for name, (statistic, formula, tails) in _STATISTICS.items()
        for tail in tails
    ),
    _info(
        "gi_class_agreement",
        class_agreement,
        "Mean over classes of the share of true interactions predicted of their class: d_ab of the other sign than d_a + d_b "
        f"(opposite), smaller (buffering) or larger (synergistic); {_CALLS}.",
        "No change calls everything buffering and gets one third where all classes occur; an exactly additive prediction "
        "names no class and gets 0.",
        reference=f"{_AHLMANN}; the mean over classes is ours",
    ),
    *(
        _info(
            f"gi_{name}_error",
            partial(score_error, score=name),
            f"Absolute error of {formula}; {_FIT}.",
            _NOISE,
            direction="down",
            upper=1.0 if name in ("model_fit", "similarity", "equality") else float("inf"),
            perfect=0.0,
            level="perturbation",
        )
        for name, formula in _SCORES.items()
    ),
    *(
        _info(
            f"gi_{name}_{kind}",
            partial(score_correlation, score=name, ranks=kind == "spearman"),
            f"{kind.capitalize()} correlation over doubles of true and predicted {_SCORES[name]}; {_FIT}.",
            (
                f"Undefined for additive predictions, whose {name} is the same for all. "
                if name in ("magnitude", "dominance")
                else ""
            )
            + _NOISE,
            lower=-1.0,
        )
        for name in _SCORES
        for kind in ("pearson", "spearman")
    ),
    *(
        _info(
            "gi_precision.k10" + ("" if name == "mean" else f"_{name}"),
            partial(precision, interaction=name, k=10),
            f"Share of the 10 doubles predicted strongest for {what} that are among the 10 truly strongest, ties shared; {_FIT}.",
            "Chance is 10 over the number of doubles, so it compares only within a data set and split. Doubles without a predicted "
            "score are left out.",
        )
        for name, what in (
            ("mean", "a class (by magnitude both ways, similarity, low model fit, low equality; mean over these)"),
            *((c, f"{'high' if sign > 0 else 'low'} {_SCORES[score]}") for c, (score, sign) in RANKED.items()),
        )
    ),
)
