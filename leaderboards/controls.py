"""What each metric can tell on a data set: its controls, its ceiling, and models on the scale between the controls.

Which control is which is fixed before any result is seen; a metric cannot pass by a choice made for it.

The interpolated duplicate is the positive control. A technical duplicate carries the whole sampling noise of half of the
cells, so that with few cells and small effects the train mean, which has none, beats it on correlations of changes
although the metric is sound. Where controls are few it can also win for a wrong reason: real cells of a context, even of
another perturbation (``shuffled``), lie nearer to the truth than a prediction that starts from a noisy control mean. The
interpolated duplicate takes the train mean where half of the cells shows no significant change, and so has neither fault.
It has no cells: metrics on which it is undefined throughout, which are those of cells and of variances, have the technical
duplicate instead. The other pairs of controls are shown and decide nothing.

The negative control is the train mean. Against the mean of the training perturbations (``~pert``) nothing of it is left
to score, and it has no cells: there it is no change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bench.contracts.metric import MetricInfo
from ..bench.engine.calibration import (
    CalibratedScore,
    Calibration,
    Ceiling,
    Pair,
    calibrated_scores,
    calibrations,
    reliability_ceiling,
)
from .aligned import Aligned

Array = np.ndarray[Any, Any]

#: The first that a metric is defined on decides what the metric can tell.
POSITIVE = ("interpolated-duplicate", "technical-duplicate")
TRAIN_MEAN, NO_CHANGE, SHUFFLED = "train-mean", "no-change", "shuffled"
#: Families whose values are correlations between changes, for which halves of the cells give a ceiling.
CORRELATIONS = ("pearson", "spearman", "cosine")


@dataclass(frozen=True)
class Controls:
    """What a metric can tell on a data set.

    Parameters
    ----------
    positive, negative
        The controls that decide.
    decides
        Their calibration.
    others
        Other pairs of controls by name, ``positive over negative``; they are shown and decide nothing.
    ceiling
        What a perfect model can expect of a correlation; None for other metrics.
    """

    positive: str
    negative: str
    decides: Calibration
    others: Mapping[str, Calibration]
    ceiling: Ceiling | None


def negative_controls(metric: str) -> tuple[str, ...]:
    """The trivial baselines of a metric; the first on which it is defined is the one that the metric must tell apart."""
    return (NO_CHANGE,) if "~pert" in metric else (TRAIN_MEAN, NO_CHANGE)


def controls(aligned: Mapping[str, Aligned], metrics: Mapping[str, MetricInfo]) -> dict[str, Controls]:
    """What each metric can tell; metrics whose controls were not run or are undefined throughout are absent."""
    asked: dict[tuple[str, ...], list[tuple[str, str, str]]] = {}
    chosen: dict[str, tuple[str, str]] = {}
    for name, a in aligned.items():
        positive, negative = (_first(a, names) for names in (POSITIVE, negative_controls(name)))
        if positive is not None and negative is not None:
            chosen[name] = positive, negative
            pairs = [(positive, negative), *((other, negative) for other in POSITIVE if other != positive), (positive, SHUFFLED)]
            asked.setdefault(a.units, []).extend((name, p, n) for p, n in pairs if _first(a, (p,)) and _first(a, (n,)))
    made: dict[str, dict[tuple[str, str], Calibration]] = {name: {} for name in chosen}
    for keys in asked.values():
        first = aligned[keys[0][0]]
        pairs = [
            Pair(aligned[name].values[p], aligned[name].values[n], metrics[name].direction, metrics[name].perfect)
            for name, p, n in keys
        ]
        found = calibrations(pairs, clusters=first.targets, contexts=first.contexts)
        for (name, p, n), calibration in zip(keys, found, strict=True):
            made[name][p, n] = calibration
    return {
        name: Controls(
            *pair,
            made[name][pair],
            {f"{p} over {n}": c for (p, n), c in made[name].items() if (p, n) != pair},
            _ceiling(aligned[name], metrics[name]),
        )
        for name, pair in chosen.items()
    }


def scores(
    aligned: Mapping[str, Aligned],
    metrics: Mapping[str, MetricInfo],
    known: Mapping[str, Controls],
    models: Collection[str],
) -> dict[str, dict[str, CalibratedScore]]:
    """Calibrated scores of models by model and headline metric, between the controls that decide."""
    found: dict[str, dict[str, CalibratedScore]] = {m: {} for m in models}
    for name, own in known.items():
        a, info = aligned[name], metrics[name]
        there = [m for m in models if m in a.values]
        if info.headline and there:
            made = calibrated_scores(
                [a.values[m] for m in there],
                a.values[own.positive],
                a.values[own.negative],
                direction=info.direction,
                perfect=info.perfect,
                clusters=a.targets,
                contexts=a.contexts,
            )
            for model, score in zip(there, made, strict=True):
                found[model][name] = score
    return found


def _first(aligned: Aligned, names: tuple[str, ...]) -> str | None:
    """The first of some rows that has a value anywhere."""
    return next((n for n in names if n in aligned.values and not np.isnan(aligned.values[n]).all()), None)


def _ceiling(aligned: Aligned, metric: MetricInfo) -> Ceiling | None:
    halves = aligned.values.get("technical-duplicate")
    correlates = metric.parts["family"].startswith(CORRELATIONS) and (metric.lower, metric.upper) == (-1, 1)
    if halves is None or not correlates or metric.level != "perturbation":
        return None
    return reliability_ceiling(halves, clusters=aligned.targets, contexts=aligned.contexts)
