"""How well scores find the few positives among many, and which values of a mixture are not of its null."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def cuts(scores: Array, positive: Array) -> tuple[Array, Array]:
    """(k,) true and false positives among the items with at least each of the k distinct scores, highest first.

    Tied items enter together, so nothing depends on the order of items.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    true = np.cumsum(positive[order])[last]
    return true, last + 1 - true


def average_precision(scores: Array, positive: Array) -> float:
    """Area under precision against recall as the sum of (R_k - R_(k-1)) P_k over distinct scores; scikit-learn's.

    Scores that are all equal give the share of positives. NaN without a positive or without a negative.
    """
    if positive.all() or not positive.any():
        return math.nan
    true, false = cuts(scores, positive)
    return float(np.sum(np.diff(true, prepend=0) * true / (true + false)) / true[-1])


def roc_area(scores: Array, positive: Array) -> float:
    """Probability that a positive scores above a negative, ties counting half; NaN without one of either."""
    if positive.all() or not positive.any():
        return math.nan
    true, false = (np.append(0, c) for c in cuts(scores, positive))
    return float(np.sum(np.diff(false) * (true[1:] + true[:-1])) / (2.0 * true[-1] * false[-1]))


def tp_fdp_curve(scores: Array, positive: Array) -> tuple[Array, Array]:
    """The best share of true positives that is reached within each false discovery proportion.

    Returns
    -------
    tuple of Array
        (k,) increasing false discovery proportions, the first 0, and the (k,) shares of all positives found by the best
        cut with no more than that: a step function, which begins at 0 where even the best score is a false positive.
    """
    true, false = cuts(scores, positive)
    proportion = np.append(0.0, false / (true + false))
    share = np.append(0.0, true / max(1, positive.sum()))
    order = np.lexsort((share, proportion))
    proportion, best = proportion[order], np.maximum.accumulate(share[order])
    rises = np.append(True, best[1:] > best[:-1])
    # Of equal proportions the last has the best share.
    keep = np.append(proportion[rises][1:] != proportion[rises][:-1], True)
    return proportion[rises][keep], best[rises][keep]


def curve_area(proportion: Array, share: Array) -> float:
    """Area below the step function of `tp_fdp_curve`, from 0 to 1; scores that are all equal give the share of positives."""
    return float(np.sum(np.diff(proportion, append=1.0) * share))


@dataclass(frozen=True)
class EmpiricalNull:
    """A normal null fitted to the centre of a mixture.

    Parameters
    ----------
    centre, sd
        Of the null.
    share
        Of the values that belong to it, at most 1.
    lower, upper
        Values at or beyond these are called at the false discovery rate, either tail by itself; infinite where none can be.
    size
        Values of at least this size are called at that rate, tails together.
    """

    centre: float
    sd: float
    share: float
    lower: float
    upper: float
    size: float


def empirical_null(values: Array, rate: float = 0.05) -> EmpiricalNull:
    r"""The null of (n,) values of which most are null, and the cut-offs at a false discovery rate.

    Centre and sd maximise the likelihood of the values within ``median +- b IQR / 1.349``, all of them taken to be null and
    so a truncated normal; the share of null is the share of values in there over the probability of the fitted normal
    (Efron 2004, with the ``b`` of the R package locfdr: 1 above 500,000 values, otherwise :math:`4.3\, n^{-0.113}`). The
    upper cut-off is the lowest value t with :math:`p_0 P(N \ge t) / (\#\{x \ge t\} / n) \le` `rate`, as Benjamini-Hochberg,
    the other two accordingly. Ahlmann-Eltze et al. (Nature Methods 2025) cut where the *local* false discovery rate is 5 %,
    which lies further out.
    """
    from scipy.special import ndtr

    ordered = np.sort(values)
    n = len(ordered)
    low, centre, high = np.quantile(ordered, [0.25, 0.5, 0.75])
    width = (high - low) / 1.3489795003921634
    if not width > 0:
        return EmpiricalNull(float(centre), 0.0, 1.0, -math.inf, math.inf, math.inf)
    reach = width * (1.0 if n > 500_000 else 4.3 * math.exp(-0.26 * math.log10(n)))
    inside = ordered[(ordered >= centre - reach) & (ordered <= centre + reach)]
    mean, sd, probability = _truncated_normal(inside, centre, reach, width)
    share = min(1.0, len(inside) / n / probability)
    beyond = share * n / rate * ndtr((mean - ordered) / sd)[::-1], share * n / rate * ndtr((ordered - mean) / sd)
    sizes = np.sort(np.abs(ordered))[::-1]
    return EmpiricalNull(
        mean,
        sd,
        share,
        lower=-_cut(-ordered, beyond[1], -mean),
        upper=_cut(ordered[::-1], beyond[0], mean),
        size=_cut(sizes, share * n / rate * (ndtr((mean - sizes) / sd) + ndtr((-sizes - mean) / sd)), abs(mean)),
    )


def _truncated_normal(inside: Array, centre: float, reach: float, width: float) -> tuple[float, float, float]:
    """Maximum likelihood mean and sd of a normal seen only within centre +- reach, and its probability to be there.

    The sample enters by its first two moments. The sd is kept within 4 times either way of that of the quartiles: a flat
    centre has a normal of infinite sd.
    """
    from scipy.optimize import minimize
    from scipy.special import ndtr

    scaled = (inside - centre) / width
    first, second = scaled.mean(), np.mean(scaled**2)
    edge = reach / width

    def probability(mean: float, sd: float) -> float:
        return ndtr((edge - mean) / sd) - ndtr((-edge - mean) / sd)

    def loss(parameters: Array) -> float:
        mean, sd = parameters[0], math.exp(parameters[1])
        return parameters[1] + (second - 2 * mean * first + mean**2) / (2 * sd**2) + math.log(probability(mean, sd))

    bounds = [(-1.0, 1.0), (-math.log(4), math.log(4))]
    found = minimize(loss, [0.0, 0.0], method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-10})
    mean, sd = float(found.x[0]), math.exp(found.x[1])
    return centre + mean * width, sd * width, float(probability(mean, sd))


def _cut(descending: Array, needed: Array, centre: float) -> float:
    """The lowest of the values, highest first and above `centre`, that at least as many as `needed` reach; infinite if none."""
    enough = np.flatnonzero((needed <= np.arange(1, len(descending) + 1)) & (descending > centre))
    return float(descending[enough[-1]]) if len(enough) else math.inf
