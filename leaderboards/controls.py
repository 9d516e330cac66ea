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

A control gives way to the next one only where it was run and is undefined throughout. Where it was not run, nothing is known
of the metric, and it ranks nothing: which pair decides must not follow from what somebody happened to run. The exception is
a split of which nobody has said what was in training: the controls that are made from training do not exist there.

Duplicates are made from one half of the test cells and scored against the other. So is every row here: truths of different
noise, and lists of top genes from other cells, would tell controls apart that are equal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..bench.contracts.metric import MetricInfo
from ..bench.engine.calibration import Calibration, Pair, calibrations
from ..bench.engine.scale import CalibratedScore, Ceiling, calibrated_scores, reliability_ceiling
from .aligned import Aligned

Array = np.ndarray[Any, Any]

#: The first that is defined decides what the metric can tell.
POSITIVE = ("interpolated-duplicate", "technical-duplicate")
TRAIN_MEAN, NO_CHANGE, SHUFFLED = "train-mean", "no-change", "shuffled"
#: Controls that are made from training, and exist only where somebody has said what was in it.
TRAINED = ("interpolated-duplicate", TRAIN_MEAN)
ON_HALVES = "not scored on the second halves of the test cells; run it again"
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


def controls(
    aligned: Mapping[str, Aligned], metrics: Mapping[str, MetricInfo], *, training_stated: bool = True
) -> tuple[dict[str, Controls], dict[str, str]]:
    """What each metric can tell, and why nothing is known of others; all from values on the second halves of the cells.

    Parameters
    ----------
    training_stated
        False for a split of which nobody has said what was in training.
    """
    asked: dict[tuple[str, ...], list[tuple[str, str, str]]] = {}
    chosen: dict[str, tuple[str, str]] = {}
    unknown: dict[str, str] = {}
    for name, a in aligned.items():
        positive, why = _decides(a, POSITIVE, training_stated)
        negative, why_not = _decides(a, negative_controls(name), training_stated)
        if positive is None or negative is None:
            unknown[name] = why or why_not
            continue
        chosen[name] = positive, negative
        pairs = [(positive, negative), *((other, negative) for other in POSITIVE if other != positive), (positive, SHUFFLED)]
        asked.setdefault(a.units, []).extend((name, p, n) for p, n in pairs if _known(a.halves, p) and _known(a.halves, n))
    made: dict[str, dict[tuple[str, str], Calibration]] = {name: {} for name in chosen}
    for keys in asked.values():
        first = aligned[keys[0][0]]
        pairs = [
            Pair(aligned[name].halves[p], aligned[name].halves[n], metrics[name].direction, metrics[name].perfect)
            for name, p, n in keys
        ]
        found = calibrations(pairs, clusters=first.targets, contexts=first.contexts)
        for (name, p, n), calibration in zip(keys, found, strict=True):
            made[name][p, n] = calibration if metrics[name].level == "perturbation" else _of_one_sample(calibration)
    known = {
        name: Controls(
            *pair,
            made[name][pair],
            {f"{p} over {n}": c for (p, n), c in made[name].items() if (p, n) != pair},
            _ceiling(aligned[name], metrics[name]),
        )
        for name, pair in chosen.items()
    }
    return known, unknown


def _decides(a: Aligned, names: tuple[str, ...], training_stated: bool) -> tuple[str | None, str]:
    """The first control that was run and is defined, or None and why nothing is known."""
    for name in names:
        if name not in a.values:
            if name in TRAINED and not training_stated:
                continue
            return None, f"controls not run ({name})"
        if _known(a.halves, name):
            return name, ""
        if _known(a.values, name):
            return None, f"{name}: {ON_HALVES}"
    return None, f"{' and '.join(n for n in names if n in a.values) or 'every control'} undefined throughout"


def _known(columns: Mapping[str, Array], name: str) -> bool:
    """Whether a row has a value anywhere."""
    return name in columns and not np.isnan(columns[name]).all()


def _of_one_sample(found: Calibration) -> Calibration:
    """A calibration of a metric that has one value for a whole fold: folds share their data and are no sample of anything."""
    nan = float("nan")
    reason = "one value for each fold of the same data is no sample"
    return replace(found, drf_low=nan, drf_high=nan, bds_low=nan, bds_high=nan, separates=False, reason=reason)


def scores(
    aligned: Mapping[str, Aligned],
    metrics: Mapping[str, MetricInfo],
    known: Mapping[str, Controls],
    models: Collection[str],
) -> dict[str, dict[str, CalibratedScore]]:
    """Calibrated scores of models by model and headline metric, between the controls that decide, on the second halves."""
    found: dict[str, dict[str, CalibratedScore]] = {m: {} for m in models}
    for name, own in known.items():
        a, info = aligned[name], metrics[name]
        there = [m for m in models if m in a.values]
        if info.headline and there:
            made = calibrated_scores(
                [a.halves[m] for m in there],
                a.halves[own.positive],
                a.halves[own.negative],
                direction=info.direction,
                perfect=info.perfect,
                clusters=a.targets,
                contexts=a.contexts,
            )
            for model, score in zip(there, made, strict=True):
                old = _known(a.values, model) and not _known(a.halves, model)
                found[model][name] = replace(score, reason=ON_HALVES) if old else score
    return found


def _ceiling(aligned: Aligned, metric: MetricInfo) -> Ceiling | None:
    halves = aligned.halves.get("technical-duplicate")
    correlates = metric.parts["family"].startswith(CORRELATIONS) and (metric.lower, metric.upper) == (-1, 1)
    if halves is None or not correlates or metric.level != "perturbation":
        return None
    return reliability_ceiling(halves, clusters=aligned.targets, contexts=aligned.contexts)
