"""Adversarial predictors, which know no biology and play on a metric: kept off the boards, with a section of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from ..bench.contracts.metric import MetricInfo
from ..bench.engine.inference import PairedTest
from ..bench.engine.ranks import against
from .aligned import Aligned
from .controls import TRAIN_MEAN

GROUP = "gaming"
#: Level of the tests against the train mean, after Holm over the adversaries.
LEVEL = 0.05


@dataclass(frozen=True)
class Gaming:
    """What adversarial predictors reach.

    Parameters
    ----------
    models
        Their names, and then the baselines that stand beside them.
    outranks
        For each adversarial predictor the headline metrics on which it beats the train mean in a direct test.
    tests
        For each of them and each metric the paired test against the train mean: its gain over it with an interval (not
        adjusted), and p after Holm over the adversaries.
    compared
        Headline metrics on which it could be: those that may rank, and on which the train mean is defined.
    """

    models: tuple[str, ...]
    outranks: Mapping[str, tuple[str, ...]]
    tests: Mapping[str, Mapping[str, PairedTest]]
    compared: tuple[str, ...]


def gaming(
    adversaries: Collection[str],
    baselines: Collection[str],
    aligned: Mapping[str, Aligned],
    metrics: Mapping[str, MetricInfo],
    grey: Collection[str],
) -> Gaming | None:
    """Test each adversary against the train mean on every headline metric that may rank; None where there are no adversaries.

    The test is direct: a rank that is shared with the best of a group would hide an adversary that beats the train mean
    behind another one.
    """
    if not adversaries:
        return None
    tests: dict[str, dict[str, PairedTest]] = {m: {} for m in sorted(adversaries)}
    compared = []
    for name, a in aligned.items():
        info = metrics[name]
        if not info.headline or name in grey or TRAIN_MEAN not in a.values or np.isnan(a.values[TRAIN_MEAN]).all():
            continue
        compared.append(name)
        values = {m: a.values[m] for m in tests if m in a.values}
        oriented = {"direction": info.direction, "perfect": info.perfect}
        for model, test in against(values, a.values[TRAIN_MEAN], clusters=a.targets, contexts=a.contexts, **oriented).items():
            tests[model][name] = test
    outranks = {m: tuple(name for name, t in own.items() if beats(t)) for m, own in tests.items()}
    return Gaming((*tests, *sorted(baselines)), outranks, tests, tuple(compared))


def beats(test: PairedTest) -> bool:
    """Whether an adversary is better than what it was tested against, and significantly so."""
    return test.difference > 0 and test.p < LEVEL
