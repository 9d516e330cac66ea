"""Training perturbations that a network does not train on, to know when to stop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...bench.contracts.condition import Condition
from ...bench.contracts.identity import derived_seed
from ...bench.contracts.training import Profiles, TrainingData

SHARE, FEWEST, MOST = 0.1, 3, 20
#: Conditions that are looked at for those to hold out: on a screen of ten thousand singles none may be predictable.
TRIED = 500


def held_out(
    data: TrainingData, *, seed: int, predictable: Callable[[Condition, list[Condition]], bool]
) -> tuple[tuple[Condition, ...], Profiles]:
    """Conditions to train on, and profiles of others to watch.

    The split's validation conditions where it has some that can be predicted; else a tenth of the training conditions, at
    most 20, chosen by hashed name one after the other as long as each can still be predicted from the rest. With fewer than
    three such conditions none is held out, and training runs for its whole number of epochs.

    Parameters
    ----------
    predictable
        Whether a condition can be predicted by a model trained on a list of others.
    """
    conditions = list(data.perturbed.conditions)
    watched = data.validation.select(lambda c: predictable(c, conditions))
    if len(watched) >= FEWEST:
        return tuple(conditions), watched
    kept = sorted(conditions, key=lambda c: derived_seed("held out", seed, c.key))
    chosen: list[Condition] = []
    wanted = min(MOST, int(SHARE * len(conditions)))
    for condition in kept[:TRIED]:
        if len(chosen) == wanted:
            break
        rest = [c for c in kept if c != condition]
        if predictable(condition, rest) and all(predictable(c, rest) for c in chosen):
            kept, chosen = rest, [*chosen, condition]
    if len(chosen) < FEWEST:
        return tuple(conditions), data.perturbed.select(lambda c: False)
    out = set(chosen)
    return tuple(c for c in conditions if c not in out), data.perturbed.select(lambda c: c in out)


def seen_targets(condition: Condition, others: list[Condition]) -> bool:
    """Whether every target of a condition, its context and its time occur among others: what a table of targets can predict."""
    targets = {t for c in others for t in c.targets}
    known = condition.context in {c.context for c in others} and condition.time in {c.time for c in others}
    return known and targets.issuperset(condition.targets)


def mean_error(predicted: np.ndarray, watched: Profiles) -> float:
    """Mean over conditions of the mean squared error of predicted means."""
    return float(np.mean((predicted - watched.mean) ** 2))
