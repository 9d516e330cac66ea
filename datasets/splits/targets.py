"""Folds over perturbed genes: a test target is seen in no training condition."""

from __future__ import annotations

import numpy as np

from ...bench.contracts.errors import UsageError
from ...bench.contracts.screen import Screen
from ...bench.contracts.split import SplitManifest
from .applicable import require
from .folds import Fold, check_fraction, manifests, recorded, share

HELD_OUT_TARGET = "contains a held-out target"


def unseen_single(
    screen: Screen, *, data_id: str, folds: int = 5, seed: int = 0, validation: float = 0.1, min_cells: int = 12
) -> tuple[SplitManifest, ...]:
    """Divide the single perturbations into folds; each is test once, and its target is then nowhere in training.

    A perturbation's conditions in all contexts, doses and times move together. Conditions with several targets train,
    unless one of their targets is held out: those are excluded.

    Parameters
    ----------
    data_id
        Identity of the data.
    folds
        Number of folds, at least 2 and at most the number of single perturbations.
    seed
        Of the division and of the choice of validation perturbations.
    validation
        Share of the training singles that is set aside for model selection.
    min_cells
        Test conditions with fewer cells are excluded.

    Raises
    ------
    DataError
        If the screen has fewer than two single-target perturbations.
    UsageError
        If `folds` or `validation` is out of range.
    """
    require(screen, "unseen-single")
    check_fraction(validation=validation)
    parts = target_folds(screen, folds=folds, seed=seed)
    made = []
    for number, test in enumerate(parts):
        training = [t for i, part in enumerate(parts) if i != number for t in part]
        n_validation = min(share(len(training), validation), len(training) - 1)
        chosen = np.random.default_rng((seed, number)).permutation(len(training))[:n_validation]
        set_aside = {training[i] for i in chosen}
        held = set(test)
        roles, reasons = {}, {}
        for c in screen.perturbed:
            if len(c.targets) == 1:
                target = c.targets[0]
                roles[c] = "test" if target in held else "validation" if target in set_aside else "train"
            elif held & set(c.targets):
                roles[c], reasons[c] = "excluded", HELD_OUT_TARGET
            else:
                roles[c] = "train"
        made.append(Fold(roles, reasons))
    params = recorded(unseen_single, folds=folds, seed=seed, validation=validation, min_cells=min_cells)
    return manifests(screen, made, data_id=data_id, split="unseen-single", params=params, min_cells=min_cells, version=1)


def target_folds(screen: Screen, *, folds: int, seed: int) -> list[list[str]]:
    """A random division of the single-target perturbations into `folds` parts whose sizes differ by at most one.

    Raises
    ------
    UsageError
        If there are fewer perturbations than folds, or fewer than two folds.
    """
    singles = sorted({c.targets[0] for c in screen.perturbed if len(c.targets) == 1})
    if not 2 <= folds <= len(singles):
        raise UsageError(
            f"folds={folds} cannot divide the {len(singles)} single-target perturbations of '{screen.card.name}'; "
            f"give folds from 2 to {len(singles)}."
        )
    order = np.random.default_rng(seed).permutation(len(singles))
    return [sorted(singles[i] for i in part) for part in np.array_split(order, folds)]
