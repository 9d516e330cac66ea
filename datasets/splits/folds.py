"""From the roles of one fold to its manifest, in the same way for every generator."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...bench.contracts.condition import Condition
from ...bench.contracts.errors import DataError, UsageError
from ...bench.contracts.screen import Screen
from ...bench.contracts.split import SplitManifest

TOO_FEW_CELLS = "too_few_cells"


@dataclass(frozen=True)
class Fold:
    """What a generator decides about one fold.

    Parameters
    ----------
    roles
        Role of each perturbed condition of the screen.
    reasons
        Why each excluded condition is excluded.
    labels
        Strata of test conditions besides ``seen_k``.
    declared
        Facts for the audit.
    test_cells
        Barcodes, for a split by cells.
    """

    roles: Mapping[Condition, str]
    reasons: Mapping[Condition, str] = field(default_factory=dict)
    labels: Mapping[Condition, Mapping[str, str]] = field(default_factory=dict)
    declared: Mapping[str, str] = field(default_factory=dict)
    test_cells: tuple[str, ...] = ()


def manifests(
    screen: Screen, folds: Sequence[Fold], *, data_id: str, split: str, params: Mapping[str, Any], min_cells: int, version: int
) -> tuple[SplitManifest, ...]:
    """The manifests of all folds that have something to train on and something to score.

    A test condition with fewer than `min_cells` truth cells is excluded with the reason ``too_few_cells``; nothing
    else moves, so the threshold cannot change another condition's role.

    Raises
    ------
    DataError
        If no fold is left.
    """
    scored = [kept for fold in folds if _usable(kept := _exclude_small(screen, fold, min_cells))]
    if not scored:
        raise DataError(
            f"split '{split}' of data set '{screen.card.name}' has no fold with a training condition and a test condition of at "
            f"least {min_cells} cells; lower min_cells or change the parameters of the split."
        )
    return tuple(
        SplitManifest(
            dataset=screen.card.name,
            data_id=data_id,
            split=split,
            params=params,
            fold=f"{i}/{len(scored)}",
            generator_version=version,
            roles=fold.roles,
            reasons=fold.reasons,
            subgroups=_subgroups(fold),
            test_cells=fold.test_cells,
            declared={"controls": "shared by training and truth reference", **fold.declared},
        )
        for i, fold in enumerate(scored, 1)
    )


def recorded(generator: Callable[..., Any], **params: Any) -> dict[str, Any]:
    """The parameters that a manifest records: those that differ from the generator's defaults, and always the seed."""
    defaults = inspect.signature(generator).parameters
    return {k: v for k, v in params.items() if k == "seed" or v != defaults[k].default}


def share(n: int, fraction: float) -> int:
    """`fraction` of `n`, halves rounded up: 0.7 of 131 is 92, half of 131 is 66."""
    return int(np.floor(n * fraction + 0.5))


def check_fraction(**fractions: float) -> None:
    """Raise `UsageError` unless every named value is at least 0 and below 1."""
    for name, value in fractions.items():
        if not 0 <= value < 1:
            raise UsageError(f"{name}={value} is no fraction; give a number from 0 to below 1, such as {name}=0.5.")


def _exclude_small(screen: Screen, fold: Fold, min_cells: int) -> Fold:
    counts = screen.n_cells
    codes = screen.codes
    is_test = np.isin(screen.barcodes, np.asarray(fold.test_cells)) if fold.test_cells else None
    if is_test is not None:
        truth = np.bincount(codes[is_test], minlength=len(screen.conditions))
        counts = {c: int(n) for c, n in zip(screen.conditions, truth, strict=True)}
    small = {c: TOO_FEW_CELLS for c, role in fold.roles.items() if role == "test" and counts[c] < min_cells}
    roles = {**fold.roles, **dict.fromkeys(small, "excluded")}
    cells: tuple[str, ...] = ()
    if is_test is not None:
        scored = np.array([roles.get(c) == "test" for c in screen.conditions])
        cells = tuple(sorted(map(str, screen.barcodes[is_test & scored[codes]])))
    return Fold(roles, {**fold.reasons, **small}, fold.labels, fold.declared, cells)


def _usable(fold: Fold) -> bool:
    roles = set(fold.roles.values())
    return "test" in roles and ("train" in roles or bool(fold.test_cells))


def _subgroups(fold: Fold) -> dict[Condition, dict[str, str]]:
    """Strata of the test conditions; ``seen_k`` counts the targets that are single-target training conditions."""
    trained = ("train", "test") if fold.test_cells else ("train",)
    seen = {c.targets[0] for c, role in fold.roles.items() if role in trained and len(c.targets) == 1}
    tested = [c for c, role in fold.roles.items() if role == "test"]
    return {c: {**fold.labels.get(c, {}), "seen_k": str(sum(t in seen for t in c.targets))} for c in tested}
