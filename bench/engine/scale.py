"""Models on a scale between what is trivial and what the data allow: calibrated scores, and ceilings of correlations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .dependence import Clusters, chosen, sample, widen
from .inference import bootstrap_interval, defined, gain
from .strata import Contexts, context_mean, resampled_means

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class CalibratedScore:
    """A model between the negative control (0) and the positive one (1), over `n` perturbations; NaN comes with a reason."""

    value: float
    low: float
    high: float
    n: int
    reason: str = ""


@dataclass(frozen=True)
class Ceiling:
    """The best mean correlation to be expected, with interval, from the halves of `n` perturbations; NaN comes with a reason."""

    value: float
    low: float
    high: float
    n: int
    reason: str = ""


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
    contexts: Contexts | None = None,
) -> CalibratedScore:
    """Where a model stands between the negative control (0) and the positive one (1).

    (m_model - m_neg) / (m_pos - m_neg) of mean gains over the perturbations on which all three are defined, not clipped.
    The interval is a percentile bootstrap that draws perturbations for all three together, widened as that of a
    mean of the linearised residuals (model - neg) - score (pos - neg).

    Parameters
    ----------
    model, positive, negative
        (n,) values aligned by perturbation, NaN where undefined.
    direction, perfect
        Of the metric; for ``target``, means are of \\|value - perfect\\|.
    clusters, contexts
        The targets and the context of each perturbation.

    Returns
    -------
    `CalibratedScore`; NaN with a reason below two perturbations and where the interval of m_pos - m_neg is not wholly
    above 0, for a ratio to a difference that may be nothing says nothing.
    """
    keep = defined(model, positive, negative)
    named = np.zeros(len(keep), dtype=str) if contexts is None else np.asarray(contexts, dtype=str)
    # What is drawn does not depend on how perturbations are listed.
    order = np.lexsort((*(gain(v, direction=direction, perfect=perfect) for v in (model, positive, negative)), named))
    return calibrated_scores(
        [np.asarray(model, dtype=np.float64)[order]],
        np.asarray(positive, dtype=np.float64)[order],
        np.asarray(negative, dtype=np.float64)[order],
        direction=direction,
        perfect=perfect,
        level=level,
        n_boot=n_boot,
        seed=seed,
        clusters=None if clusters is None else [clusters[int(i)] for i in order],
        contexts=None if contexts is None else [contexts[int(i)] for i in order],
    )[0]


def calibrated_scores(
    models: Sequence[Array],
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
) -> list[CalibratedScore]:
    """`calibrated_score` of many models; draws go by place, so that perturbations must come in a fixed order."""
    pos, neg = (gain(v, direction=direction, perfect=perfect) for v in (positive, negative))
    found: list[CalibratedScore | None] = [None] * len(models)
    patterns: dict[bytes, list[int]] = {}
    for i, model in enumerate(models):
        patterns.setdefault(defined(model, positive, negative).tobytes(), []).append(i)
    for pattern, members in patterns.items():
        keep = np.frombuffer(pattern, dtype=bool)
        over = np.stack([gain(models[i], direction=direction, perfect=perfect)[keep] - neg[keep] for i in members], axis=1)
        own = _scores(
            over, (pos - neg)[keep], chosen(clusters, keep), chosen(contexts, keep), level=level, n_boot=n_boot, seed=seed
        )
        for i, score in zip(members, own, strict=True):
            found[i] = score
    return [score for score in found if score is not None]


def _scores(
    over: Array,
    range_: Array,
    clusters: Clusters | None,
    contexts: Contexts | None,
    *,
    level: float,
    n_boot: int,
    seed: int,
) -> list[CalibratedScore]:
    """Scores of models that are defined on the same n perturbations: (n, k) gains over the negative control, (n,) its range."""
    nan, (n, k) = float("nan"), over.shape
    if n < 2:
        reason = f"the model and both controls are defined on {n} condition(s), fewer than 2"
        return [CalibratedScore(nan, nan, nan, n, reason)] * k
    low, high = bootstrap_interval(range_, level=level, n_boot=n_boot, seed=seed, clusters=clusters, contexts=contexts)
    if np.isnan(low):
        return [CalibratedScore(nan, nan, nan, n, "every two perturbations share a target")] * k
    if low <= 0:
        reason = "cannot be told from" if high >= 0 else "is worse than"
        return [CalibratedScore(nan, nan, nan, n, f"the positive control {reason} the negative one")] * k
    known = sample(clusters, contexts, n)
    sides = np.concatenate([range_[:, None], over], axis=1)
    weight = np.broadcast_to(known.weight[:, None], sides.shape)
    drawn = resampled_means(sides, weight, known.stratum, n_boot=n_boot, seed=seed)
    # Draws without any range have no ratio; the suppression above leaves fewer of them than the tail holds.
    drawn = drawn[drawn[:, 0] > 0]
    tail = (1 - level) / 2
    bottom = context_mean(range_, contexts)
    found = []
    for i in range(k):
        value = context_mean(over[:, i], contexts) / bottom
        ends = np.quantile(drawn[:, i + 1] / drawn[:, 0], [tail, 1 - tail])
        width = known.widths((over[:, i] - value * range_)[:, None], level=level)[0]
        low, high = widen(*ends, centre=value, width=width)
        found.append(CalibratedScore(value, float(low), float(high), n))
    return found


def reliability_ceiling(
    duplicate: Array,
    *,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
    clusters: Clusters | None = None,
    contexts: Contexts | None = None,
) -> Ceiling:
    """The correlation with the measured truth that a perfect model can expect: sqrt(2 r / (1 + r)).

    With r the mean correlation of one half of the cells with the other, 2 r / (1 + r) is the reliability of the mean of
    all of them (Spearman-Brown), and its root the correlation of that mean with what it would be without noise. The root
    is concave, so that the ceiling of a mean r is never below the mean of the ceilings.

    Parameters
    ----------
    duplicate
        (n,) correlations of halves, NaN where undefined.
    clusters, contexts
        As in `calibrate`.

    Returns
    -------
    `Ceiling`; NaN with a reason where r is not above 0 or no half is defined. An end of the interval of r below 0 becomes 0.

    References
    ----------
    Spearman, Brit. J. Psychol. 3 (1910). Brown, ibid. (1910).
    """
    keep = defined(duplicate)
    values, nan = np.asarray(duplicate, dtype=np.float64)[keep], float("nan")
    mine, where = chosen(clusters, keep), chosen(contexts, keep)
    mean = context_mean(values, where)
    if not mean > 0:
        reason = "the halves do not correlate" if len(values) else "no perturbation has two halves"
        return Ceiling(nan, nan, nan, len(values), reason)
    ends = bootstrap_interval(values, level=level, n_boot=n_boot, seed=seed, clusters=mine, contexts=where)
    # Widening for shared targets can push an end of the interval of r beyond 1.
    value, low, high = (float(np.sqrt(2 * r / (1 + r))) for r in np.clip([mean, *ends], 0, 1))
    return Ceiling(value, low, high, len(values))
