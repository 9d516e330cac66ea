"""What a metric is worth on a data set: whether it tells a positive control from a negative one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from .dependence import Clusters, chosen, sample
from .inference import bootstrap_intervals, defined, gain
from .strata import Contexts, context_mean

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
    contexts: Contexts | None = None,
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
    contexts
        The context of each perturbation, where there are several; both numbers are then means over contexts.

    Notes
    -----
    The interval of the share of wins is Wilson's, at 1 / sum(w^2) perturbations (w the weights of the mean; n in a single
    context) divided by the `dependence.design_effect`; ties leave less variance than a binomial share has, so it errs on the
    wide side. A share below 0.5 with its whole interval does not separate either: such a metric prefers the negative
    control. A metric without a finite perfect value has no dynamic range fraction; its share of wins decides.

    References
    ----------
    Miller et al. 2025 (dynamic range fraction; without their clipping and their 1e-6 in the denominator). Vollenweider and
    Buehlmann, doi 10.64898/2026.04.20.719650 (share of wins). Wilson, J. Am. Stat. Assoc. 22 (1927).
    """
    pair = Pair(positive, negative, direction, perfect)
    return calibrations([pair], level=level, n_boot=n_boot, seed=seed, clusters=clusters, contexts=contexts)[0]


@dataclass(frozen=True)
class Pair:
    """Values of two controls on a metric, as `calibrate` takes them."""

    positive: Array
    negative: Array
    direction: str
    perfect: float


def calibrations(
    pairs: Sequence[Pair],
    *,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
    clusters: Clusters | None = None,
    contexts: Contexts | None = None,
) -> list[Calibration]:
    """`calibrate` for many pairs of controls on the same perturbations."""
    fractions, wins, saturated = [], [], []
    for pair in pairs:
        keep = defined(pair.positive, pair.negative)
        pos, neg = (gain(v, direction=pair.direction, perfect=pair.perfect) for v in (pair.positive, pair.negative))
        room = float(gain(np.array(pair.perfect), direction=pair.direction, perfect=pair.perfect)) - neg
        # Where the negative control is perfect up to rounding, there is nothing to gain and the fraction is undefined.
        closed = np.isfinite(room) & (room <= ROUNDING * (1 + abs(pair.perfect)))
        open_ = keep & ~closed & np.isfinite(room)
        fractions.append(np.divide(pos - neg, room, out=np.full(len(keep), np.nan), where=open_))
        wins.append(np.where(keep, (1 + np.sign(pos - neg)) / 2, np.nan))
        saturated.append(int((keep & closed).sum()))
    if not pairs:
        return []
    ends = bootstrap_intervals(
        np.stack(fractions, axis=1), level=level, n_boot=n_boot, seed=seed, clusters=clusters, contexts=contexts
    )
    found = []
    for fraction, won, lost, low, high in zip(fractions, wins, saturated, *ends, strict=True):
        keep = ~np.isnan(won)
        n, bds = int(keep.sum()), context_mean(won, contexts)
        effective = 0.0
        if n:
            known = sample(chosen(clusters, keep), chosen(contexts, keep), n)
            effective = 1 / (known.weight**2).sum() / known.design_effects(won[keep][:, None])[0]
        ends = wilson(bds, effective, level=level)
        reason = _why_not(*ends, n)
        drf = context_mean(fraction, contexts)
        found.append(Calibration(drf, float(low), float(high), bds, *ends, n, lost, separates=not reason, reason=reason))
    return found


def _why_not(low: float, high: float, n: int) -> str:
    if n < FEWEST:
        return f"both controls are defined on {n} condition(s), fewer than {FEWEST}"
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
    low, high = np.clip([(centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)], 0, 1)
    return float(low), float(high)
