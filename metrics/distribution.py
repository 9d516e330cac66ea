"""Whether predicted cells of a condition are distributed as the true ones, in principal coordinates of training cells.

Below x are predicted and y true cells, each in the coordinates of `CellTruth`: the same for all models, fitted on training
cells, so that no prediction moves the ruler. The bandwidth is the median distance between true cells, for the same reason.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..bench.contracts.metric import Comparison, MetricInfo, Values
from ..bench.contracts.truth import Truth
from .samples import coordinates, each, fair, reasons
from .two_sample import FOLDS, cross_fitted_auroc

Array = np.ndarray[Any, Any]

#: The most cells of a sample, controls among them, of which all pairs are taken, and of one that is transported or classified.
PAIRED_CELLS, TRANSPORT_CELLS = 4096, 256
#: Blur of the Sinkhorn divergence in bandwidths. In 50 dimensions a short blur measures how sparse a sample is: at 0.1 a
#: point at the mean beats a second sample of the truth, at 0.5 it does not.
BLUR = 0.5


def energy(comparison: Comparison, power: int) -> Values:
    """Energy distance of true cells to the predicted ones; see `pbench.bench.kernels.pairwise.forecast_energy`."""
    from ..bench.kernels.pairwise import forecast_energy

    def statistic(x: Array, y: Array) -> float:
        mine, true = fair(x, y, PAIRED_CELLS)
        return forecast_energy(x[mine], y[true], power=power, threads=1)

    return each(comparison, statistic)


def mmd(comparison: Comparison) -> Values:
    """Squared maximum mean discrepancy of true cells to the predicted ones; ``zero_variance`` where all true cells are equal."""
    from ..bench.kernels import pairwise

    bandwidth = _bandwidth(comparison)

    def statistic(x: Array, y: Array) -> float:
        mine, true = fair(x, y, PAIRED_CELLS)
        return pairwise.forecast_mmd(x[mine], y[true], bandwidth, threads=1) if bandwidth > 0 else np.nan

    return each(comparison, statistic)


def sinkhorn(comparison: Comparison) -> Values:
    """sqrt(2 S), S the debiased Sinkhorn divergence of fair samples; see `pbench.bench.kernels.transport`."""
    from ..bench.kernels.transport import sinkhorn_divergence

    eps = (BLUR * _bandwidth(comparison)) ** 2

    def statistic(x: Array, y: Array) -> float:
        mine, true = fair(x, y, TRANSPORT_CELLS)
        return float(np.sqrt(2 * max(sinkhorn_divergence(x[mine], y[true], eps), 0.0))) if eps > 0 else np.nan

    return each(comparison, statistic)


def classifier(comparison: Comparison) -> Values:
    """Cross-fitted AUROC of telling predicted from true cells in fair samples; needs two cells a fold on either side.

    Below 0.5 it is chance, which is cut off: counted as a gain it would reward noise, and counted as a loss as well, since
    copies of cells, which raise the area, would then repair it.
    """

    def statistic(x: Array, y: Array) -> float:
        mine, true = fair(x, y, TRANSPORT_CELLS)
        return max(0.5, cross_fitted_auroc(x[mine], y[true]))

    return each(comparison, statistic, at_least=2 * FOLDS)


def effect_energy_pearson(comparison: Comparison) -> Values:
    """Pearson correlation over conditions of the energy distances of predicted and of true cells to control.

    Returns
    -------
    Values
        (1,): ``too_few_conditions`` with fewer than three, ``zero_variance`` where all distances are the same.
    """
    true = comparison.truth.once(_true_effects)
    ready = (reasons(comparison) == "") & ~np.isnan(true)
    pairs = comparison.once(coordinates)
    predicted = _effects(comparison.truth, {i: pairs[i][0] for i in np.flatnonzero(ready).tolist()})
    a, b = predicted[ready], true[ready]
    if len(a) < 3:
        return Values.of(np.array([np.nan]), "too_few_conditions")
    # Equal cells give equal distances up to the rounding of float32.
    if min(np.ptp(v) / max(np.abs(v).max(), np.finfo(float).tiny) for v in (a, b)) <= 1e-5:
        return Values.of(np.array([np.nan]), "zero_variance")
    a, b = a - a.mean(), b - b.mean()
    return Values.of(np.array([np.clip((a / np.linalg.norm(a)) @ (b / np.linalg.norm(b)), -1.0, 1.0)]))


def _true_effects(truth: Truth) -> Array:
    assert truth.cells is not None
    return _effects(truth, {i: np.asarray(truth.cells.embedded(i)) for i in range(len(truth.conditions))})


def _effects(truth: Truth, samples: dict[int, Array]) -> Array:
    """(n,) energy distance of each sample, by condition, to the control cells of its context; NaN where there is none."""
    from ..bench.kernels.pairwise import energy_distances

    out = np.full(len(truth.conditions), np.nan)
    controls = truth.once(_control_coordinates)
    for row, control in controls.items():
        rows = [i for i in samples if truth.control_rows[i] == row]
        if not rows:
            continue
        parts = [control, *(_capped(samples[i]) for i in rows)]
        codes = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
        out[rows] = energy_distances(np.concatenate(parts), codes, len(parts), 0)[1:]
    return out


def _control_coordinates(truth: Truth) -> dict[int, Array]:
    """Coordinates of the control cells of each context that a condition has, by row of ``truth.controls``."""
    assert truth.cells is not None
    rows = np.unique(truth.control_rows[truth.control_rows >= 0]).tolist()
    return {row: _capped(truth.cells.embed(truth.cells.load_controls(row))) for row in rows}


def _capped(points: Array) -> Array:
    """Unbiased statistics need no equal numbers, but their cost is the product of them."""
    from ..bench.kernels.pairwise import spread

    return points if len(points) <= PAIRED_CELLS else points[spread(points, PAIRED_CELLS)]


def _bandwidth(comparison: Comparison) -> float:
    assert comparison.truth.cells is not None
    return comparison.truth.cells.bandwidth


_FORECAST = (
    "Unbiased on the side of the truth. Predicted cells are taken as the forecast that weighs each alike, since whoever chooses them "
    "could make an unbiased statistic as small as he likes: so a second sample of the truth scores above zero, by its mean distance "
    "over its number of cells, and the truth's own cells a little below; compare with a technical duplicate. "
)
_INFINITE = float("inf")


def _info(name: str, function: Any, summary: str, reference: str, caveats: str, **facts: Any) -> MetricInfo:
    defaults: dict[str, Any] = {"direction": "down", "lower": -_INFINITE, "upper": _INFINITE, "perfect": 0.0}
    needs = ("cells", "truth_cells")
    facts = defaults | facts
    return MetricInfo(
        id=name, version=1, function=function, summary=summary, reference=reference, needs=needs, caveats=caveats, **facts
    )


METRICS: tuple[MetricInfo, ...] = (
    _info(
        "energy@all#pca",
        partial(energy, power=1),
        "Energy distance 2 E norm(x - y) - E norm(x - x') - E norm(y - y') of predicted cells x and true cells y, pairs of a true "
        "cell with itself left out, at most as many x as y, in principal coordinates of training cells.",
        "Szekely and Rizzo 2013; scPertEval energy_distance (pertpy and cell-eval divide by n^2, scPerturb squares distances)",
        _FORECAST
        + "The unit is that of the coordinates, so values of different data sets do not compare. Where effects are large and "
        "unknown, cells that spread too widely score better than honest ones around a wrong mean.",
    ),
    _info(
        "energy.squared@all#pca",
        partial(energy, power=2),
        "Energy distance with squared norms, 2 norm(mean x - mean y)^2 - 2 v_y / n, v_y the summed unbiased variance of the n true "
        "cells y, in principal coordinates of training cells.",
        "Peidli et al. 2024, scPerturb, Nature Methods",
        _FORECAST + "It sees nothing but the means: a prediction of equal cells at the true mean is as good as the truth.",
    ),
    _info(
        "mmd@all#pca",
        mmd,
        "Squared maximum mean discrepancy E k(x, x') + E k(y, y') - 2 E k(x, y), k = exp(-norm(x - y)^2 / (2 b^2)), b the median "
        "distance between true cells, pairs of a true cell with itself left out, in principal coordinates of training cells.",
        "Gretton et al. 2012, lemma 6; scPertEval unbiased_mmd_median, which takes b from prediction and truth together",
        _FORECAST
        + "Far from the truth it saturates and cannot say which of two bad predictions is worse. Undefined where all true "
        "cells are equal.",
        lower=-2.0,
        upper=2.0,
    ),
    _info(
        "sinkhorn@all#pca",
        sinkhorn,
        "sqrt(2 S) with S the debiased Sinkhorn divergence OT(x, y) - OT(x, x) / 2 - OT(y, y) / 2 for the cost norm(x - y)^2 / 2 and "
        "entropy (b / 2)^2, b the median distance between true cells, at most 256 cells a side.",
        "Feydy et al. 2019; geomloss with p = 2 and blur = b / 2; scPertEval sinkhorn_w2 with blur 0.05",
        "Not unbiased: a second sample of the truth scores above zero, the more so the fewer cells it has, so compare with a "
        "technical duplicate. A shorter blur would prefer cells collapsed to their mean.",
        lower=0.0,
    ),
    _info(
        "classifier@all#pca",
        classifier,
        "Area under the ROC curve of a cross-fitted linear discriminant that tells predicted from true cells by principal coordinates "
        "and their absolute values, at most 256 cells a side; below 0.5 it counts as 0.5, the best.",
        "Lopez-Paz and Oquab 2017, classifier two-sample tests; pertpy classifier_proba",
        "Close to 1 for most models, where it ranks nothing. Chance makes it larger than 0.5 for a second sample of the truth; it sees "
        "means and spreads of coordinates and not their dependence. Undefined with fewer than 10 cells on either side.",
        lower=0.5,
        upper=1.0,
        perfect=0.5,
    ),
    _info(
        "effect_energy_pearson@all~ctrl#pca",
        effect_energy_pearson,
        "Pearson correlation over conditions of the energy distance to control of predicted cells and of true cells, unbiased, in "
        "principal coordinates of training cells.",
        "cell-eval pearson_edistance, which divides by n^2 and takes the predicted control for predicted cells",
        "A few strong conditions decide it, and the right order of sizes says nothing about the direction of any effect. Conditions "
        "without predicted cells are left out; undefined with fewer than three or where all distances are equal.",
        direction="up",
        lower=-1.0,
        upper=1.0,
        perfect=1.0,
        level="dataset",
    ),
)
