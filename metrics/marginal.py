"""Whether single genes are distributed over predicted cells as over true ones: marginals, spread, zeros, depth, correlations."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..bench.contracts.metric import Comparison, MetricInfo, Values
from .change import cosine_of
from .delta import average_ranks
from .per_condition import GENES, GENES_CAVEAT
from .samples import coordinates, fair, reasons

Array = np.ndarray[Any, Any]

#: Cells on either side of the marginals, and of the correlations.
MARGINAL_CELLS, CORRELATION_CELLS = 256, 1024
#: Added to variances of log1p expression before the logarithm: below it a gene counts as not varying.
FLOOR = 1e-3
GENE_SETS = {"all": None, "de20": 20}


def from_cells(comparison: Comparison, statistic: str, *, genes: int = 0, at_least: int = 2) -> Values:
    """A statistic of `gene_statistics`; ``too_few_genes`` with fewer than `genes` differential genes."""
    reason = reasons(comparison, at_least=at_least)
    short = (comparison.truth.de_order[:, :genes] >= 0).sum(axis=1) < genes
    reason[(reason == "") & short] = "too_few_genes"
    value = np.where(reason == "", comparison.once(gene_statistics)[statistic], np.nan)
    return Values(value, np.where((reason == "") & np.isnan(value), "zero_variance", reason))


def gene_statistics(comparison: Comparison) -> dict[str, Array]:
    """All statistics of single genes, each (n,), from one reading of the cells; for `Comparison.once`."""
    truth = comparison.truth
    assert truth.cells is not None
    names = [f"{family}@{genes}" for family in ("wasserstein", "ks") for genes in GENE_SETS]
    out = {k: np.full(len(truth.conditions), np.nan) for k in (*names, "correlation", "zeros", "library", "gap")}
    pairs = comparison.once(coordinates)
    for i in np.flatnonzero(reasons(comparison) == "").tolist():
        cells = comparison.cells[i]
        for name, value in _of_condition(cells, truth.cells.load(i), pairs[i], truth.de_order[i]).items():
            out[name][i] = value
        mean = np.full(cells.shape[0], 1 / cells.shape[0]) @ cells
        out["gap"][i] = np.sqrt(np.mean((mean - comparison.predicted[i]) ** 2))
    return out


def _of_condition(predicted: Any, true: Any, points: tuple[Array, Array], order: Array) -> dict[str, float]:
    from ..bench.kernels.marginals import marginals

    mine, own = fair(*points, MARGINAL_CELLS)
    distances = dict(zip(("wasserstein", "ks"), marginals(predicted[mine], true[own]), strict=True))
    out = {f"{name}@all": float(v.mean()) if len(v) else np.nan for name, v in distances.items()}
    if len(top := order[:20][order[:20] >= 0]):
        out |= {f"{name}@de20": float(v[top].mean()) for name, v in distances.items()}
    mine, own = fair(*points, CORRELATION_CELLS)
    top = order[:50][order[:50] >= 0]
    out["correlation"] = correlation_error(_dense(predicted[mine][:, top]), _dense(true[own][:, top]))
    out["zeros"] = float(np.abs(zero_fraction(predicted) - zero_fraction(true)).mean()) if predicted.shape[1] else np.nan
    out["library"] = abs(float(np.median(log_totals(predicted)) - np.median(log_totals(true))))
    return out


def correlation_error(x: Array, y: Array) -> float:
    """Frobenius norm of the difference of two gene-gene correlation matrices, over the number of genes.

    Parameters
    ----------
    x, y
        (m, k) predicted and (n, k) true cells. Genes that do not vary in `y` are left out.

    Returns
    -------
    float
        NaN where fewer than two genes vary in `y`, or one of these does not vary in `x`.
    """
    varies = np.ptp(y, axis=0) > 0 if len(y) else np.zeros(y.shape[1], dtype=bool)
    x, y = x[:, varies].astype(np.float64), y[:, varies].astype(np.float64)
    if x.shape[1] < 2 or not (np.ptp(x, axis=0) > 0).all():
        return float("nan")
    difference = _correlation(x) - _correlation(y)
    np.fill_diagonal(difference, 0.0)
    return float(np.linalg.norm(difference) / len(difference))


def _correlation(cells: Array) -> Array:
    z = cells - cells.mean(axis=0)
    z /= np.linalg.norm(z, axis=0)
    return z.T @ z


def zero_fraction(cells: Any) -> Array:
    """(G,) share of cells in which a gene is exactly zero, of CSR or dense cells."""
    if hasattr(cells, "getnnz"):
        return 1 - np.bincount(cells.indices[cells.data != 0], minlength=cells.shape[1]) / cells.shape[0]
    return (np.asarray(cells) == 0).mean(axis=0)


def log_totals(cells: Any) -> Array:
    """(m,) log(1 + sum over genes of expm1(max(value, 0))) of each cell, CSR or dense.

    Without overflow for any value, so that cells on a wrong scale get a large number and not infinity.
    """
    from scipy.sparse import csr_matrix

    cells = csr_matrix(cells, dtype=np.float32)
    stored = np.diff(cells.indptr)
    filled, starts = stored > 0, cells.indptr[:-1][stored > 0]
    largest, scaled = np.zeros(cells.shape[0]), np.zeros(cells.shape[0])
    if len(starts):
        values = np.maximum(cells.data, 0)
        largest[filled] = np.maximum.reduceat(values, starts)
        values = np.exp(values - np.repeat(largest.astype(np.float32), stored))
        scaled[filled] = np.add.reduceat(values, starts, dtype=np.float64)
    # 1 + sum(e^v - 1) = e^h (sum(e^(v - h)) + (1 - k) e^-h) with h the largest of k stored values.
    return largest + np.log(scaled + (1 - stored) * np.exp(-largest))


def _dense(cells: Any) -> Array:
    return cells.toarray() if hasattr(cells, "toarray") else np.asarray(cells)


def of_variances(comparison: Comparison, statistic: str, genes: str = "all") -> Values:
    """`variance_error` or `variance_spearman` of predicted and true variances over cells.

    Returns
    -------
    Values
        Reasons: ``absent``, ``no_variance`` (the model gives none for the condition), ``too_few_cells`` (the truth has one),
        ``too_few_genes``, ``zero_variance`` (variances that are equal for all genes have no order).
    """
    truth, predicted = comparison.truth, comparison.variance
    assert predicted is not None
    k = 0 if genes == "all" else int(genes.removeprefix("de"))
    reason = np.full(len(truth.conditions), "", dtype=object)
    reason[(truth.de_order[:, :k] >= 0).sum(axis=1) < k] = "too_few_genes"
    reason[truth.profiles.n_cells < 2] = "too_few_cells"
    reason[np.isnan(predicted).any(axis=1)] = "no_variance"
    reason[~comparison.present] = "absent"
    value = np.full(len(reason), np.nan)
    function = {"error": variance_error, "spearman": variance_spearman}[statistic]
    for i in np.flatnonzero(reason == "").tolist():
        columns = slice(None) if genes == "all" else truth.de_order[i, :k]
        value[i] = function(*(np.asarray(v[i, columns], dtype=np.float64) for v in (predicted, truth.profiles.var)))
    return Values(value, np.where((reason == "") & np.isnan(value), "zero_variance", reason))


def variance_error(predicted: Array, true: Array) -> float:
    """Root mean square over genes of the difference of log(variance + `FLOOR`); NaN without genes."""
    if not len(true):
        return float("nan")
    return float(np.sqrt(np.mean((np.log(predicted + FLOOR) - np.log(true + FLOOR)) ** 2)))


def variance_spearman(predicted: Array, true: Array) -> float:
    """Spearman correlation over genes of two vectors of variances, ties at their average rank; NaN where one is constant."""
    a, b = (average_ranks(v[None]) - (len(v) + 1) / 2 for v in (predicted, true))
    return float(cosine_of(a, b)[0])


_FAIR = "Sampling noise makes it positive for a second sample of the truth, so compare with a technical duplicate. "
_SAMPLE = (
    "Of the truth at most 256 cells are taken and of the prediction at most as many, at equal steps after sorting, so that copies and "
    "further cells gain nothing. "
)
_CELLS, _VARIANCE = ("cells", "truth_cells"), ("variance",)


def _info(name: str, function: Any, summary: str, reference: str, caveats: str, **facts: Any) -> MetricInfo:
    defaults: dict[str, Any] = {"direction": "down", "lower": 0.0, "upper": float("inf"), "perfect": 0.0, "needs": _CELLS}
    facts = defaults | facts
    return MetricInfo(id=name, version=1, function=function, summary=summary, reference=reference, caveats=caveats, **facts)


METRICS: tuple[MetricInfo, ...] = (
    *(
        _info(
            f"{family}@{genes}",
            partial(from_cells, statistic=f"{family}@{genes}", genes=GENE_SETS[genes] or 0),
            f"{formula}, mean over {GENES[genes]}.",
            source,
            f"{_FAIR}{_SAMPLE}{caveat}",
            upper=upper,
        )
        for family, formula, source, caveat, upper in (
            (
                "wasserstein",
                "Wasserstein-1 distance of the values of a gene in predicted and in true cells, integral of abs(Fhat(t) - F(t))",
                "Chevalley et al. 2025, CausalBench; pertpy; scipy wasserstein_distance",
                "The unit is that of log1p expression, so highly expressed genes weigh most.",
                float("inf"),
            ),
            (
                "ks",
                "Kolmogorov-Smirnov statistic of the values of a gene in predicted and in true cells, max over t of abs(Fhat(t) - F(t))",
                "pertpy ks_test; scipy ks_2samp",
                "A prediction without exact zeros differs from the truth by the share of zeros, however small its values.",
                1.0,
            ),
        )
        for genes in GENE_SETS
    ),
    *(
        _info(
            f"variance_error@{genes}",
            partial(of_variances, statistic="error", genes=genes),
            f"Root mean square over genes of log(vhat_g + 0.001) - log(v_g + 0.001), v the variance over cells, over {GENES[genes]}.",
            "PerturBench aggregation by variance; pertpy mean_var_distribution",
            "Models that predict means only have no value and are not penalised elsewhere. The floor silences genes that hardly "
            f"vary; too wide and too narrow count alike. {GENES_CAVEAT[genes]}",
            needs=_VARIANCE,
        )
        for genes in GENE_SETS
    ),
    _info(
        "variance_spearman@all",
        partial(of_variances, statistic="spearman"),
        "Spearman correlation over all G genes of predicted and true variance over cells.",
        "PerturBench aggregation by variance; pertpy mean_var_distribution",
        "The variance of log1p expression follows the mean, so the control cells' variances already correlate highly; blind to a "
        "common factor. Undefined where one variance is given to all genes.",
        needs=_VARIANCE,
        direction="up",
        lower=-1.0,
        upper=1.0,
        perfect=1.0,
    ),
    _info(
        "correlation_error@de50",
        partial(from_cells, statistic="correlation", genes=50, at_least=3),
        "Frobenius norm of the difference of the gene-gene correlations of predicted and of true cells, divided by the number of "
        f"genes, over {GENES['de50']}.",
        "defined here",
        f"{_FAIR}Undefined where a gene that varies in the truth is constant in the prediction, as in cells that are all equal or "
        "that are few.",
        upper=2.0,
    ),
    _info(
        "zero_fraction@all",
        partial(from_cells, statistic="zeros"),
        "Mean over all G genes of the absolute difference of the shares of predicted and of true cells in which the gene is exactly "
        "zero.",
        "defined here",
        "A check of sanity: dense predictions without zeros score the share of zeros of the data, whatever else they get right.",
        upper=1.0,
    ),
    _info(
        "library_size@all",
        partial(from_cells, statistic="library"),
        "Absolute difference of the medians over predicted and over true cells of log(1 + sum over genes of expm1(value)).",
        "defined here",
        "A check of sanity that exposes a wrong scale: log1p of counts per 1e4 has about equal totals, counts or log2 values do not. "
        "Negative values count as zero.",
        needs=("cells", "truth_cells", "log1p"),
    ),
    _info(
        "cells_mean_gap@all",
        partial(from_cells, statistic="gap"),
        "Root mean square over all G genes of the difference between the predicted mean and the mean of the predicted cells.",
        "defined here",
        "Says nothing about the truth: it shows whether metrics of means and metrics of cells score one prediction or two. Sampling "
        "of the cells alone makes it about the root of the mean variance over the number of cells.",
    ),
)
