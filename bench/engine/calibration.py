"""What a metric is worth on a data set: whether it tells a positive control from a negative one, and models on that scale."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from .inference import Clusters, bootstrap_interval, chosen, defined, design_effect, gain, widen

Array = np.ndarray[Any, Any]

FEWEST = 5
ROUNDING = 1e-12


@dataclass(frozen=True)
class Calibration:
    """How far a metric separates a positive from a negative control on a data set; a fact about no model.

    Parameters
    ----------
    drf, drf_low, drf_high
        Dynamic range fraction, the mean over perturbations, with interval: 1 where the positive control is perfect, 0
        where it is no better than the negative one. It is not clipped.
    bds, bds_low, bds_high
        Share of perturbations on which the positive control beats the negative one, ties counting half, with interval.
    n
        Perturbations on which both controls are defined.
    saturated
        Those of them that are left out of `drf` because the negative control is already perfect.
    separates
        Whether the metric may rank models: `bds_low` above 0.5 and at least five perturbations.
    reason
        Why not; empty where it separates.
    """

    drf: float
    drf_low: float
    drf_high: float
    bds: float
    bds_low: float
    bds_high: float
    n: int
    saturated: int
    separates: bool
    reason: str


@dataclass(frozen=True)
class CalibratedScore:
    """A model between the negative control (0) and the positive one (1), over `n` perturbations; NaN comes with a reason."""

    value: float
    low: float
    high: float
    n: int
    reason: str = ""


def calibrate(
    positive: Array,
    negative: Array,
    *,
    direction: str,
    perfect: float,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
    clusters: Clusters | None = None,
) -> Calibration:
    """Dynamic range fraction and share of wins of a positive over a negative control.

    With gains g, more being better (see `inference.gain`), a perturbation's fraction is
    (g_pos - g_neg) / (g_perfect - g_neg): (pos - neg) / (perfect - neg) for ``up`` and its mirror for ``down``; for
    ``target``, 1 - \\|pos - perfect\\| / \\|neg - perfect\\|.

    Parameters
    ----------
    positive, negative
        (n,) values of the controls, aligned by perturbation. A pair with a NaN is dropped, not lost by anyone.
    direction, perfect
        Of the metric.
    clusters
        The targets of each perturbation; intervals are widened where perturbations share some.

    Notes
    -----
    The interval of the share of wins is Wilson's, at n divided by the `inference.design_effect`; ties leave less variance
    than a binomial share has, so it errs on the wide side. A share below 0.5 with its whole interval does not separate
    either: such a metric prefers the negative control.

    References
    ----------
    Miller et al. 2025 (dynamic range fraction; without their clipping and their 1e-6 in the denominator). Vollenweider and
    Buehlmann, doi 10.64898/2026.04.20.719650 (share of wins). Wilson, J. Am. Stat. Assoc. 22 (1927).
    """
    keep = defined(positive, negative)
    pos, neg = (gain(v, direction=direction, perfect=perfect)[keep] for v in (positive, negative))
    mine = chosen(clusters, keep)
    room = float(gain(np.array(perfect), direction=direction, perfect=perfect)) - neg
    # Where the negative control is perfect up to rounding, there is nothing to gain and the fraction is undefined.
    open_ = room > ROUNDING * (1 + abs(perfect))
    fraction = (pos - neg)[open_] / room[open_]
    drf = float(np.sort(fraction).mean()) if len(fraction) else float("nan")
    drf_low, drf_high = bootstrap_interval(fraction, level=level, n_boot=n_boot, seed=seed, clusters=chosen(mine, open_))
    wins = (1 + np.sign(pos - neg)) / 2
    bds = float(wins.mean()) if len(wins) else float("nan")
    bds_low, bds_high = wilson(bds, len(wins) / design_effect(wins, mine), level=level)
    reason = _why_not(bds_low, bds_high, len(wins))
    return Calibration(
        drf, drf_low, drf_high, bds, bds_low, bds_high, len(wins), int((~open_).sum()), separates=not reason, reason=reason
    )


def _why_not(low: float, high: float, n: int) -> str:
    if n < FEWEST:
        return f"both controls are defined on {n} perturbations, fewer than {FEWEST}"
    if np.isnan(low):
        return "every two perturbations share a target"
    if high < 0.5:
        return "the negative control beats the positive one"
    return "" if low > 0.5 else "the positive control beats the negative one no more often than by chance"


def wilson(share: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share among `n`; both ends NaN where n is 0 or NaN.

    (share + z^2 / 2n -+ z sqrt(share (1 - share) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    """
    if not n > 0:
        return float("nan"), float("nan")
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = share + z * z / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return float((centre - half) / (1 + z * z / n)), float((centre + half) / (1 + z * z / n))


def calibrated_score(
    model: Array,
    positive: Array,
    negative: Array,
    *,
    direction: str,
    perfect: float,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
    clusters: Clusters | None = None,
) -> CalibratedScore:
    """Where a model stands between the negative control (0) and the positive one (1).

    (m_model - m_neg) / (m_pos - m_neg) of mean gains over the perturbations on which all three are defined, not clipped.
    The interval is a percentile bootstrap that draws perturbations for all three together, widened by the root of the
    design effect of the linearised residuals (model - neg) - score (pos - neg).

    Parameters
    ----------
    model, positive, negative
        (n,) values aligned by perturbation, NaN where undefined.
    direction, perfect
        Of the metric; for ``target``, means are of \\|value - perfect\\|.
    clusters
        The targets of each perturbation.

    Returns
    -------
    `CalibratedScore`; NaN with a reason below two perturbations and where the interval of m_pos - m_neg is not wholly
    above 0, for a ratio to a difference that may be nothing says nothing.
    """
    nan = float("nan")
    keep = defined(model, positive, negative)
    m, pos, neg = (gain(v, direction=direction, perfect=perfect)[keep] for v in (model, positive, negative))
    mine = chosen(clusters, keep)
    n = len(m)
    if n < 2:
        return CalibratedScore(nan, nan, nan, n, f"the model and both controls are defined on {n} perturbations, fewer than 2")
    low, high = bootstrap_interval(pos - neg, level=level, n_boot=n_boot, seed=seed, clusters=mine)
    if np.isnan(low):
        return CalibratedScore(nan, nan, nan, n, "every two perturbations share a target")
    if low <= 0:
        reason = "cannot be told from" if high >= 0 else "is worse than"
        return CalibratedScore(nan, nan, nan, n, f"the positive control {reason} the negative one")
    order = np.lexsort((m, pos, neg))
    over, range_ = (m - neg)[order], (pos - neg)[order]
    value = float(over.mean() / range_.mean())
    draws = np.random.default_rng(seed).integers(0, n, size=(n_boot, n))
    tail = (1 - level) / 2
    top, bottom = over[draws].mean(axis=1), range_[draws].mean(axis=1)
    # Draws without any range have no ratio; the suppression above leaves fewer of them than the tail holds.
    low, high = np.quantile(top[bottom > 0] / bottom[bottom > 0], [tail, 1 - tail])
    effect = design_effect((m - neg) - value * (pos - neg), mine)
    return CalibratedScore(value, *widen(low, high, centre=value, effect=effect), n)
