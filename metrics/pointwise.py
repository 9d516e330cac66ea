"""How far predicted mean expression lies from the truth, gene by gene."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..bench.contracts.metric import MetricInfo
from ..bench.contracts.truth import Truth
from .change import norm, ratio
from .per_condition import GENES, GENES_CAVEAT, Family, Rows, per_condition

Array = np.ndarray[Any, Any]

#: Quartiles need cells: fewer, and the range of a gene is a guess.
LEAST_CELLS = 4


def errors(rows: Rows) -> dict[str, Array]:
    r"""Errors of each row over its k genes; the same on expression and on changes against a shared reference.

    ``mse`` :math:`\frac{1}{k}\sum_g(\hat x_g - x_g)^2`; ``rmse`` its root, taken before any mean over perturbations;
    ``mae`` the mean absolute error; ``l2`` the Euclidean norm of the error, :math:`\sqrt{k}` times ``rmse``.
    """
    error = rows.predicted - rows.expected
    length = norm(error)
    k = error.shape[1]
    return {
        "mse": length**2 / k,
        "rmse": length / np.sqrt(k),
        "mae": np.abs(error, out=error).mean(axis=1),
        "l2": length,
    }


def against_no_change(rows: Rows) -> dict[str, Array]:
    """``nmse``: squared error over that of predicting no change; undefined where the truth has no change.

    The reference of `rows` is the control mean of the context.
    """
    true, guess = rows.true, rows.guess
    return {"nmse": ratio(np.sum((guess - true) ** 2, axis=1), np.sum(true**2, axis=1))}


def within_deviation(rows: Rows) -> dict[str, Array]:
    """``frac_sigma``: share of genes predicted within one standard deviation over the truth's cells.

    A gene that is constant over cells is left out; undefined where none remains, and with one cell.
    """
    truth = rows.comparison.truth
    deviation = np.sqrt(rows.take(truth.profiles.var))
    hit = np.abs(rows.predicted - rows.expected) < deviation
    share = ratio(hit.sum(axis=1), (deviation > 0).sum(axis=1))
    single = truth.profiles.n_cells[rows.index] < 2
    share[single], rows.why[single] = np.nan, "too_few_cells"
    return {"frac_sigma": share}


def within_quartiles(rows: Rows) -> dict[str, Array]:
    """``frac_in_range``: share of genes whose predicted mean lies in the interquartile range of the truth's cells.

    The ends belong to the range. Undefined with fewer than `LEAST_CELLS` cells.
    """
    low, high = (quartile[rows.index] for quartile in rows.comparison.truth.once(_QUARTILES[rows.genes]))
    share = np.mean((rows.predicted >= low) & (rows.predicted <= high), axis=1)
    share[np.isnan(low).any(axis=1)] = np.nan
    rows.why[:] = "too_few_cells"
    return {"frac_in_range": share}


def _quartiles(truth: Truth, k: int) -> tuple[Array, Array]:
    """(n, k) first and third quartile over the truth's cells of the k top genes of each condition."""
    assert truth.cells is not None
    out = np.full((2, len(truth.conditions), k), np.nan)
    for i, genes in enumerate(truth.de_order[:, :k]):
        if (genes >= 0).sum() == k and truth.profiles.n_cells[i] >= LEAST_CELLS:
            cells = truth.cells.load(i).tocsc()[:, genes].toarray()
            out[:, i] = np.quantile(cells.astype(np.float64), [0.25, 0.75], axis=0)
    return out[0], out[1]


_QUARTILES = {"de20": partial(_quartiles, k=20)}


_HEADLINE = ("l2@all",)
_ERRORS = {
    "mse": (
        "Mean squared error, mean over g of (xhat_g - x_g)^2",
        "Roohani et al. 2024, GEARS; cell-eval mse",
        "Strong conditions and strong genes decide the mean over conditions. PEREGGRN gives this name to the sum over genes, "
        "and others to the error over single cells.",
    ),
    "rmse": (
        "Root of the mean squared error of each perturbation, sqrt(mean over g of (xhat_g - x_g)^2)",
        "Wu et al. 2025, PerturBench rmse (pertpy gives this name to l2)",
        "The root is taken before the mean over conditions, so it is not the root of the mean of mse.",
    ),
    "mae": (
        "Mean absolute error, mean over g of abs(xhat_g - x_g)",
        "cell-eval mae",
        "Smallest for a median and not for a mean, so that it rewards predictions shrunk towards no change; the train mean is hard "
        "to beat.",
    ),
    "l2": (
        "Euclidean norm of the error, sqrt(sum over g of (xhat_g - x_g)^2) = sqrt(G) * rmse, comparable only at equal G",
        "Ahlmann-Eltze, Huber and Anders 2025, Nature Methods",
        "Grows with the square root of the number of genes; pertpy calls it euclidean, and rmse.",
    ),
}


def _info(statistic: str, genes: str, family: Family, summary: str, source: str, caveats: str, **facts: Any) -> MetricInfo:
    defaults: dict[str, Any] = {"direction": "down", "lower": 0.0, "upper": float("inf"), "perfect": 0.0}
    reference = "ctrl" if family is against_no_change else None
    return MetricInfo(
        id=f"{statistic}@{genes}",
        version=1,
        function=partial(per_condition, genes=genes, family=family, statistic=statistic, reference=reference),
        summary=f"{summary}, over {GENES[genes]}.",
        reference=source,
        headline=f"{statistic}@{genes}" in _HEADLINE,
        caveats=caveats,
        **(defaults | facts),
    )


METRICS: tuple[MetricInfo, ...] = (
    *(
        _info(name, genes, errors, formula, source, f"{caveat} {GENES_CAVEAT[genes]}")
        for name, (formula, source, caveat) in _ERRORS.items()
        for genes in GENES
    ),
    _info(
        "nmse",
        "de20",
        against_no_change,
        "Squared error over that of predicting the control mean x0, sum((xhat_g - x_g)^2) / sum((x0_g - x_g)^2), 1 for no change",
        "Roohani et al. 2024, GEARS, figures normalised by the no-perturbation baseline",
        "A small denominator makes weak perturbations count most, so the mean over conditions is unstable and the median is safer. "
        "Undefined where the truth does not change; the mean of ratios is not the ratio of means.",
    ),
    _info(
        "frac_sigma",
        "de20",
        within_deviation,
        "Share of genes with abs(xhat_g - x_g) below the standard deviation of x_g over the truth's cells, constant genes left out",
        "Roohani et al. 2024, GEARS deeper_analysis",
        "The deviation is that of single cells, many times the error of a mean, so that predicting no change scores well: a check of "
        "sanity and not of skill. A gene with no variance over cells is left out.",
        direction="up",
        upper=1.0,
        perfect=1.0,
    ),
    _info(
        "frac_in_range",
        "de20",
        within_quartiles,
        "Share of genes whose predicted mean lies between the first and the third quartile of the truth's cells, ends included",
        "Roohani et al. 2024, GEARS deeper_analysis",
        "The range is that of cells and wide. The mean of a gene that few cells express lies outside it, so that the true mean "
        "itself can score below 1 while a prediction of zero counts as a hit; undefined with fewer than four cells.",
        direction="up",
        upper=1.0,
        perfect=1.0,
        needs=("means", "truth_cells"),
    ),
)
