"""Splits that hold out pairs of perturbations whose members were seen alone."""

from __future__ import annotations

import numpy as np

from ...bench.contracts.screen import Screen
from ...bench.contracts.split import SplitManifest
from .applicable import require
from .folds import Fold, check_fraction, manifests, recorded, share


def doubles(
    screen: Screen, *, data_id: str, seed: int = 0, holdout: float = 0.5, validation: float = 0.1, min_cells: int = 12
) -> tuple[SplitManifest, ...]:
    """Hold out a random half of the double perturbations and train on all singles and the other doubles.

    Every target of a test double was seen alone, so the additive prediction exists for every scored condition. A pair
    plays the same role in all contexts, doses and times. Conditions with more than two targets are excluded.

    Parameters
    ----------
    data_id
        Identity of the data.
    seed
        Of the draw.
    holdout
        Share of the doubles that is test (62 of the 124 doubles of Norman et al. 2019).
    validation
        Share of the remaining doubles that is set aside for model selection.
    min_cells
        Test conditions with fewer cells are excluded.

    Raises
    ------
    DataError
        If the screen has no doubles or no singles.
    UsageError
        If a share is not in [0, 1).

    References
    ----------
    Ahlmann-Eltze, Huber and Anders, Nature Methods 2025, doi:10.1038/s41592-025-02772-6.
    """
    require(screen, "doubles")
    check_fraction(holdout=holdout, validation=validation)
    pairs = _pairs(screen)
    order = np.random.default_rng(seed).permutation(len(pairs))
    n_test = max(1, share(len(pairs), holdout))
    n_validation = share(len(pairs) - n_test, validation)
    params = recorded(doubles, seed=seed, holdout=holdout, validation=validation, min_cells=min_cells)
    fold = _fold(screen, {pairs[i]: r for i, r in zip(order, _roles(n_test, n_validation, len(pairs)), strict=True)})
    return manifests(screen, [fold], data_id=data_id, split="doubles", params=params, min_cells=min_cells, version=1)


def perturbench_combo(
    screen: Screen, *, data_id: str, seed: int = 42, holdout: float = 0.7, min_cells: int = 12
) -> tuple[SplitManifest, ...]:
    """Hold out most double perturbations, half of them for validation and half for the test, and train on all singles.

    The published split of 131 doubles has 39 for training, 46 for validation and 46 for the test. The sizes are
    reproduced, the draw is not: it depended on the order of the cells in PerturBench's file.

    Parameters
    ----------
    data_id
        Identity of the data.
    seed
        Of the draw.
    holdout
        Share of the doubles that is held out; of an odd number the larger half is test.
    min_cells
        Test conditions with fewer cells are excluded.

    Raises
    ------
    DataError
        If the screen has no doubles or no singles.
    UsageError
        If the share is not in [0, 1).

    References
    ----------
    Wu et al., PerturBench, arXiv:2408.10609, task "combo prediction".
    """
    require(screen, "perturbench-combo")
    check_fraction(holdout=holdout)
    pairs = _pairs(screen)
    order = np.random.default_rng(seed).permutation(len(pairs))
    held = max(1, share(len(pairs), holdout))
    params = recorded(perturbench_combo, seed=seed, holdout=holdout, min_cells=min_cells)
    fold = _fold(screen, {pairs[i]: r for i, r in zip(order, _roles(held - held // 2, held // 2, len(pairs)), strict=True)})
    return manifests(screen, [fold], data_id=data_id, split="perturbench-combo", params=params, min_cells=min_cells, version=1)


def _pairs(screen: Screen) -> list[tuple[str, ...]]:
    return sorted({c.targets for c in screen.perturbed if len(c.targets) == 2})


def _roles(n_test: int, n_validation: int, n: int) -> list[str]:
    return ["test"] * n_test + ["validation"] * n_validation + ["train"] * (n - n_test - n_validation)


def _fold(screen: Screen, role_of_pair: dict[tuple[str, ...], str]) -> Fold:
    larger = [c for c in screen.perturbed if len(c.targets) > 2]
    roles = {c: role_of_pair.get(c.targets, "train") for c in screen.perturbed}
    return Fold({**roles, **dict.fromkeys(larger, "excluded")}, dict.fromkeys(larger, "more than two targets"))
