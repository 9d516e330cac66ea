"""Whether a predicted spread is the spread of cells, and whether it warns of errors.

What a model predicts is the variance *over cells* of each gene. As a distribution of cells it is scored by `nll`, `crps` and
`coverage_error`; as a warning of errors of the mean by `uncertainty_spearman`, `aurc` and the conformal intervals, where
any positive scale of the error would do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..bench.contracts.metric import Comparison, MetricInfo, Values
from .conformal import FLOOR, conformal, spread, unscored
from .expression_calls import representative
from .per_condition import GENES

Array = np.ndarray[Any, Any]

#: Nominal coverages of the central intervals.
LEVELS = tuple(k / 10 for k in range(1, 10))


def nll(comparison: Comparison, *, excess: bool) -> Values:
    r"""Negative log likelihood of a cell's expression of a gene under :math:`N(\mu_g, s_g^2)`, mean over cells and genes.

    It needs the moments of the cells only: :math:`\frac12\log 2\pi s^2 + (v + (x - \mu)^2) / 2s^2` with x and v the mean and
    variance (divisor n) of the true cells. With `excess`, less the same of the truth's own normal: the Kullback-Leibler
    divergence of the two normals. All variances below `FLOOR` are raised to it, of a gene that is predicted constant too, so
    that silence about a gene is scored and not left out.
    """
    profiles = comparison.truth.profiles
    reason = unscored(comparison)
    value = np.full(len(reason), np.nan)
    for i in np.flatnonzero(reason == "").tolist():
        n = profiles.n_cells[i]
        seen = profiles.var[i].astype(np.float64) * (n - 1) / n if n > 1 else np.zeros(len(comparison.truth.genes))
        given = np.maximum(spread(comparison)[i], FLOOR)
        score = np.log(2 * np.pi * given) + (seen + (comparison.expected[i] - comparison.predicted[i]) ** 2) / given
        if excess:
            own = np.maximum(seen, FLOOR)
            score -= np.log(2 * np.pi * own) + seen / own
        value[i] = 0.5 * score.mean()
    return Values(value, reason)


def gaussian(comparison: Comparison) -> tuple[Array, Array, Array]:
    """(n,) CRPS over all genes and over the 20 differential ones, and coverage error, of normal predictions of cells.

    In one pass over the true cells; NaN where there is no prediction or, of the second, too few differential genes.
    """
    from scipy.special import ndtri

    from ..bench.kernels.forecast import gaussian_scores

    truth, cells = comparison.truth, comparison.truth.cells
    assert cells is not None  # a metric that needs cells of the truth is only called where they are
    bounds = ndtri(0.5 + np.array(LEVELS) / 2)
    ready = np.flatnonzero(unscored(comparison) == "").tolist()
    everywhere, affected, error = np.full((3, len(truth.conditions)), np.nan)
    for i in ready:
        sd = np.sqrt(spread(comparison)[i])
        scores, inside = gaussian_scores(cells.load(i), comparison.predicted[i].astype(np.float64), sd, bounds)
        everywhere[i] = scores.mean()
        genes = truth.de_order[i, :20]
        affected[i] = scores[genes].mean() if len(genes) == 20 and (genes >= 0).all() else np.nan
        # A gene that is constant on both sides has no intervals to speak of.
        counted = (sd > 0) | (truth.profiles.var[i] > 0)
        error[i] = np.mean(np.abs(inside[:, counted].mean(axis=1) - LEVELS))
    return everywhere, affected, error


def of_cells(comparison: Comparison, *, which: int) -> Values:
    """One of the results of `gaussian`; ``too_few_genes`` where only that is missing."""
    reason = unscored(comparison)
    value = comparison.once(gaussian)[which].copy()
    reason[(reason == "") & np.isnan(value)] = "too_few_genes"
    return Values(value, reason)


def sample_crps(comparison: Comparison) -> Values:
    """CRPS of the predicted cells, mean over genes; ``no_cells`` or ``too_few_cells`` (one) where there are not two.

    At most as many cells as the truth has are heard, chosen as in `representative`.
    """
    from ..bench.kernels.forecast import sample_scores

    cells = comparison.truth.cells
    assert cells is not None  # as above
    reason = unscored(comparison, constant=True)
    value = np.full(len(reason), np.nan)
    for i in np.flatnonzero(reason == "").tolist():
        guess = comparison.cells.get(i)
        if guess is None or guess.shape[0] < 2:
            reason[i] = "no_cells" if guess is None else "too_few_cells"
        else:
            value[i] = sample_scores(cells.load(i), representative(guess, comparison.truth, i)).mean()
    return Values(value, reason)


def warning(comparison: Comparison) -> tuple[Array, Array, Array]:
    """Of the conditions with a variance: (k,) mean over genes of the predicted sd, (k,) mean squared error; and all reasons."""
    reason = unscored(comparison)
    rows = np.flatnonzero(reason == "")
    doubt = np.sqrt(spread(comparison)[rows]).mean(axis=1)
    # Nine digits of the largest: rounding makes no order.
    doubt = np.round(doubt / doubt.max(), 9) if len(rows) else doubt
    return doubt, np.mean((comparison.predicted[rows] - comparison.expected[rows]) ** 2, axis=1), reason


def _few(reason: Array) -> Values:
    """Too few conditions, or the reason of all of them where there is one."""
    common = set(reason)
    why = common.pop() if len(common) == 1 and "" not in common else "too_few_conditions"
    return Values.of(np.array([np.nan]), why)


def spearman(comparison: Comparison) -> Values:
    """Spearman correlation over perturbations of mean predicted sd and mean squared error; at least three of them."""
    from scipy.stats import rankdata

    doubt, error, reason = comparison.once(warning)
    if len(doubt) < 3:
        return _few(reason)
    x, y = (rankdata(v) - (len(v) + 1) / 2 for v in (doubt, error))
    length = np.sqrt((x @ x) * (y @ y))
    return Values.of(np.array([np.clip(x @ y / length, -1.0, 1.0) if length > 0 else np.nan]))


def aurc(comparison: Comparison, *, excess: bool) -> Values:
    """Area under the risk-coverage curve: mean over k of the mean error of the k perturbations with the least predicted sd.

    With `excess`, less that of the best order, over the same difference for the expectation of a random order.
    """
    doubt, error, reason = comparison.once(warning)
    if len(doubt) < 2:
        return _few(reason)
    area = selective_risk(doubt, error).mean()
    if not excess:
        return Values.of(np.array([area]))
    best = selective_risk(error, error).mean()
    room = error.mean() - best
    return Values.of(np.array([(area - best) / room if room > 1e-9 * error.mean() else np.nan]))


def selective_risk(doubt: Array, error: Array) -> Array:
    """(n,) mean error of the k with the least doubt, k = 1 to n; ties are in random order, and this is the expectation."""
    order = np.argsort(doubt, kind="stable")
    _, group, size = np.unique(doubt[order], return_inverse=True, return_counts=True)
    shared = np.bincount(group, weights=error[order]) / size
    return np.cumsum(shared[group]) / np.arange(1, len(error) + 1)


_BY_SD, _BY_ONE = partial(conformal, constant=False), partial(conformal, constant=True)


def conformal_interval(comparison: Comparison, *, constant: bool, which: int) -> Values:
    """Width (0) or coverage (1) of `conformal`."""
    return comparison.once(_BY_ONE if constant else _BY_SD)[which]


_GNEITING = "Gneiting & Raftery, Journal of the American Statistical Association 2007"
_HALVES = (
    "The two halves of the scored conditions calibrate each other, since not every split has validation conditions; that makes "
    "it a property of the errors and their scale on this test set, not of intervals that the model could have given."
)
_CELLS = (
    "Counts are not normal: zeros are a point mass, so a perfect mean and variance do not give the perfect value, and genes that are "
    "hardly expressed dominate the mean over genes."
)
_ORDER = (
    "A variance over cells grows with expression and with heterogeneity, so it need not be a statement on the error of the mean. "
    "Few perturbations make it noisy."
)
_BOTH, _ALL = ("means", "variance"), ("means", "variance", "truth_cells")
_INFINITY = float("inf")
_LEAST = 0.5 * float(np.log(2 * np.pi * FLOOR))


def _info(name: str, function: Callable[..., Values], summary: str, caveats: str, reference: str, **facts: Any) -> MetricInfo:
    standard = {"direction": "down", "lower": 0.0, "upper": _INFINITY, "perfect": 0.0, "needs": _BOTH}
    return MetricInfo(
        id=name, version=1, function=function, summary=summary, caveats=caveats, reference=reference, **standard | facts
    )


METRICS: tuple[MetricInfo, ...] = (
    _info(
        "nll@all",
        partial(nll, excess=False),
        "Mean over cells and genes of -log N(x; mu_g, s_g^2), 0.5 log(2 pi s^2) + (v + (m - mu)^2) / (2 s^2) from the mean m and "
        f"variance v of the true cells, s^2 at least {FLOOR:g}.",
        f"{_CELLS} Its perfect value is that of a gene that is constant and known to be, so read differences between models.",
        _GNEITING,
        lower=_LEAST,
        perfect=_LEAST,
    ),
    _info(
        "nll.excess@all",
        partial(nll, excess=True),
        "nll less that of the normal with the mean and variance of the true cells: the mean over genes of the divergence "
        f"KL(N(m, v), N(mu, s^2)), both variances at least {FLOOR:g}.",
        "Right moments score 0 whatever the shape of the distribution. A variance that is too small costs far more than one that is "
        "too large.",
        _GNEITING,
    ),
    *(
        _info(
            f"crps@{genes}",
            partial(of_cells, which=which),
            "Mean over cells and genes of the CRPS of N(mu_g, s_g^2) at y, s (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)) with "
            f"z = (y - mu) / s; over {text}.",
            _CELLS,
            f"{_GNEITING}; properscoring crps_gaussian",
            needs=_ALL,
        )
        for which, genes, text in ((0, "all", GENES["all"]), (1, "de20", GENES["de20"]))
    ),
    _info(
        "crps.sample@all",
        sample_crps,
        "Mean over genes of the CRPS of m predicted cells x, at most as many as true ones, at n true cells y, "
        "sum(abs(x_i - y_j)) / (n m) - sum(abs(x_i - x_k)) / (2 m^2).",
        "Fewer cells score worse by their mean distance over twice their number; the fair estimator would instead let two chosen "
        "cells score 0. The spread of the true cells remains in it, so even the true distribution does not score 0: read differences between "
        "models. Of each gene by itself, so dependence between genes does not count.",
        "Gneiting and Raftery 2007; Ferro 2014 on the fair estimator, which is not taken",
        needs=("cells", "truth_cells"),
    ),
    _info(
        "coverage_error@all",
        partial(of_cells, which=2),
        "Mean over nominal levels p = 0.1, 0.2, ..., 0.9 of abs(c(p) - p), c(p) the share of cells and genes within the central "
        "interval of probability p of N(mu_g, s_g^2).",
        f"{_CELLS} Genes covered too often make up for genes covered too seldom.",
        "compare the interval calibration of Kuleshov et al., ICML 2018",
        upper=0.9,
        needs=_ALL,
    ),
    _info(
        "uncertainty_spearman@all",
        spearman,
        "Spearman correlation over perturbations of the mean over genes of the predicted sd and the mean squared error.",
        _ORDER,
        "GEARS, uncertainty against error",
        direction="up",
        lower=-1.0,
        upper=1.0,
        perfect=1.0,
        level="dataset",
    ),
    _info(
        "aurc@all",
        partial(aurc, excess=False),
        "Mean over k of the mean squared error averaged over the k perturbations with the least mean predicted sd, ties in random "
        "order.",
        f"It is mostly the error itself: nothing but the order is judged by aurc.excess. {_ORDER}",
        "Geifman & El-Yaniv, NeurIPS 2017",
        level="dataset",
    ),
    _info(
        "aurc.excess@all",
        partial(aurc, excess=True),
        "(aurc - best) / (mean error - best), best the aurc of perturbations ordered by their error: 0 is the best order, 1 is a "
        "random one.",
        f"Above 1 the spread misleads. {_ORDER}",
        "Geifman, Uziel & El-Yaniv, ICLR 2019, excess AURC; the scale is ours",
        level="dataset",
    ),
    *(
        _info(
            f"conformal_{name}{variant}@all",
            partial(conformal_interval, constant=bool(variant), which=which),
            f"{what} mu_g +- q {scale}, q the 0.9 (K + 1) / K quantile of abs(error) / {scale} over the K conditions of the other half "
            "of the test set and all genes.",
            f"{_HALVES} {more}",
            "Dunn, Wasserman & Ramdas, Journal of the American Statistical Association 2022",
            needs=("means",) if variant else _BOTH,
            **facts,
        )
        for variant, scale in (("", "s_g"), (".constant", "1"))
        for which, name, what, more, facts in (
            (
                0,
                "width",
                "Mean over genes of the width of the interval",
                "A width means something only at the same coverage.",
                {},
            ),
            (
                1,
                "coverage",
                "Share of genes whose true mean lies within the interval",
                "Its mean over conditions should be at least 0.9, and about 0.9 / K more at most; a single condition may be far from it. "
                "Undefined for intervals of no width.",
                {"direction": "target", "upper": 1.0, "perfect": 0.9},
            ),
        )
    ),
)
