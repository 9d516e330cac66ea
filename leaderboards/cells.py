"""A model's value on a metric: its mean over perturbations and what surrounds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bench.contracts.metric import MetricInfo
from ..bench.engine.inference import bootstrap_intervals, context_mean
from .aligned import Aligned

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Cell:
    """A model's value on a metric.

    Parameters
    ----------
    mean, low, high
        Mean over perturbations within a context, then over contexts, with its 95 % bootstrap interval.
    median
        The same with the median over perturbations.
    seed_sd
        Standard deviation over seeds of the mean, on conditions defined under every seed; NaN for a single seed. It
        describes the training noise of one run; it is no part of the interval.
    defined, asked, reasons
        Conditions with a value, all conditions, and how many are undefined for which reason.
    """

    mean: float
    low: float
    high: float
    defined: int
    asked: int
    reasons: Mapping[str, int]
    median: float = float("nan")
    seed_sd: float = float("nan")


def cells(aligned: Mapping[str, Aligned], metrics: Mapping[str, MetricInfo]) -> dict[str, dict[str, Cell]]:
    """Of each model, its `Cell` of each metric that it has rows of."""
    found: dict[str, dict[str, Cell]] = {}
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, a in aligned.items():
        alike.setdefault(a.units, []).append(name)
    for names in alike.values():
        columns = [(name, model) for name in names for model in aligned[name].values]
        table = np.stack([aligned[name].values[model] for name, model in columns], axis=1)
        first = aligned[names[0]]
        ends = bootstrap_intervals(table, clusters=first.targets, contexts=first.contexts)
        for (name, model), low, high in zip(columns, *ends, strict=True):
            info = metrics[name]
            # A widened interval can leave the range of the metric; no mean can.
            low, high = np.clip([low, high], info.lower, info.upper)
            found.setdefault(model, {})[name] = _cell(aligned[name], model, float(low), float(high))
    return found


def _cell(aligned: Aligned, model: str, low: float, high: float) -> Cell:
    values, contexts = aligned.values[model], aligned.contexts
    return Cell(
        context_mean(values, contexts),
        low,
        high,
        int((~np.isnan(values)).sum()),
        len(values),
        aligned.reasons[model],
        context_mean(values, contexts, of=np.median),
        _seed_sd(aligned, model),
    )


def _seed_sd(aligned: Aligned, model: str) -> float:
    by_seed = aligned.seeds[model]
    always = ~np.isnan(by_seed).any(axis=0)
    if len(by_seed) < 2 or not always.any():
        return float("nan")
    means = [context_mean(np.where(always, own, np.nan), aligned.contexts) for own in by_seed]
    return float(np.std(means, ddof=1))
