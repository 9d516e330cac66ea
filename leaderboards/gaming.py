"""Adversarial predictors, which know no biology and play on a metric: kept off the boards, with a section of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..bench.contracts.metric import MetricInfo
from ..bench.engine.ranks import tied_ranks
from .aligned import Aligned
from .controls import TRAIN_MEAN

GROUP = "gaming"


@dataclass(frozen=True)
class Gaming:
    """What adversarial predictors reach.

    Parameters
    ----------
    models
        Their names, and then the baselines that stand beside them.
    outranks
        For each adversarial predictor the headline metrics on which its rank is better than that of the train mean.
    compared
        Headline metrics on which it could be: those that may rank, and on which the train mean is defined.
    """

    models: tuple[str, ...]
    outranks: Mapping[str, tuple[str, ...]]
    compared: tuple[str, ...]


def gaming(
    adversaries: Collection[str],
    baselines: Collection[str],
    aligned: Mapping[str, Aligned],
    metrics: Mapping[str, MetricInfo],
    grey: Collection[str],
) -> Gaming | None:
    """Rank adversaries and the train mean among themselves on every headline metric; None where there are no adversaries.

    Ranks are shared as on the boards, so that to outrank is to be significantly better.
    """
    if not adversaries:
        return None
    outranks: dict[str, list[str]] = {m: [] for m in sorted(adversaries)}
    compared = []
    for name, a in aligned.items():
        info = metrics[name]
        if not info.headline or name in grey:
            continue
        values = {m: a.values[m] for m in (*adversaries, TRAIN_MEAN) if m in a.values}
        ranks = tied_ranks(values, direction=info.direction, perfect=info.perfect, clusters=a.targets, contexts=a.contexts)
        if TRAIN_MEAN in ranks:
            compared.append(name)
            for model in outranks:
                if ranks.get(model, len(ranks) + 1) < ranks[TRAIN_MEAN]:
                    outranks[model].append(name)
    return Gaming((*outranks, *sorted(baselines)), {m: tuple(won) for m, won in outranks.items()}, tuple(compared))
