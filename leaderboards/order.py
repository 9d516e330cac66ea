"""The order of the competing models by the primary metric, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ..bench.contracts.metric import MetricInfo
from ..bench.engine.inference import context_mean, gain
from ..bench.engine.ranks import PairwiseTests, kendall_tau, letters, mean_ranks, pairwise_tests, rank_stability, ranks_of
from .aligned import Aligned

Array = np.ndarray[Any, Any]

#: The metric that ranks models; it is named on every board.
PRIMARY = "l2@all"


def headline_of(names: Sequence[str], metrics: Mapping[str, MetricInfo]) -> tuple[str, ...]:
    """The metrics of a board's first table: those made for it, or the first six where there are none."""
    return tuple(m for m in names if metrics[m].headline) or tuple(names[:6])


@dataclass(frozen=True)
class Order:
    """Models in order.

    Parameters
    ----------
    ranks
        Shared where a test cannot tell a model from the best of its group.
    mean_ranks
        Mean over perturbations of the rank among the models.
    groups
        Letters; models that share one are not told apart by their own test.
    tests
        Better mean, other model, and the p value of no difference, adjusted over all pairs.
    stability
        Mean Kendall tau between the order and that on other draws of the perturbations.
    """

    ranks: Mapping[str, int]
    mean_ranks: Mapping[str, float]
    groups: Mapping[str, str]
    tests: tuple[tuple[str, str, float], ...]
    stability: float


def order(models: Collection[str], aligned: Aligned, metric: MetricInfo) -> Order:
    """`Order` of models on one metric."""
    tests, values, oriented = _tests(models, aligned, metric)
    places = mean_ranks(values, **oriented)
    in_order = sorted(tests.order, key=lambda m: (places.get(m, np.inf), m))
    return Order(
        ranks_of(tests),
        places,
        letters(in_order, tests.better),
        tuple((a, b, p) for (a, b), p in tests.p.items()),
        rank_stability(values, **oriented),
    )


def ranks(models: Collection[str], aligned: Aligned, metric: MetricInfo) -> dict[str, int]:
    """The ranks of `order`, and nothing else of it."""
    return ranks_of(_tests(models, aligned, metric)[0])


def _tests(
    models: Collection[str], aligned: Aligned, metric: MetricInfo
) -> tuple[PairwiseTests, dict[str, Array], dict[str, Any]]:
    values = {m: aligned.values[m] for m in models if m in aligned.values}
    oriented = {"direction": metric.direction, "perfect": metric.perfect, "contexts": aligned.contexts}
    return pairwise_tests(values, clusters=aligned.targets, **oriented), values, oriented


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau between the orders of the same models by two metrics: the mean over pairs of metrics, and the lowest pair."""

    mean: float
    lowest: float
    pair: tuple[str, str]


def agreement(
    models: Sequence[str], aligned: Mapping[str, Aligned], metrics: Mapping[str, MetricInfo], names: Sequence[str]
) -> Agreement | None:
    """How alike the metrics `names` order models; None where fewer than two metrics order three models that both know."""
    gains = {}
    for name in names:
        info, a = metrics[name], aligned[name]
        gains[name] = np.array(
            [
                context_mean(gain(a.values[m], direction=info.direction, perfect=info.perfect), a.contexts)
                if m in a.values
                else np.nan
                for m in models
            ]
        )
    taus = {}
    for a, b in combinations(names, 2):
        both = ~np.isnan(gains[a]) & ~np.isnan(gains[b])
        if both.sum() >= 3 and not np.isnan(tau := kendall_tau(gains[a][both], gains[b][both])[0]):
            taus[a, b] = float(tau)
    if not taus:
        return None
    pair = min(taus, key=lambda p: (taus[p], p))
    return Agreement(float(np.mean(list(taus.values()))), taus[pair], pair)
