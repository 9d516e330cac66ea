"""A split by whole units: what an encoder makes of cells that it has not seen, under perturbations that it has."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np

from ...bench.contracts.errors import DataError, UsageError
from ...bench.contracts.screen import Screen
from ...bench.contracts.split import SplitManifest
from .folds import Fold, check_fraction, manifests, recorded, share

Array = np.ndarray[Any, Any]


def units(
    screen: Screen, *, data_id: str, seed: int = 0, fraction: float = 0.35, min_cells: int = 1
) -> tuple[SplitManifest, ...]:
    """Hold out whole units of every perturbation, controls included, with all of their cells; for latent variables.

    Cells with the same ``obs["unit"]`` are one unit; where a screen has no such column each cell is one. Units that were seen
    under the same perturbations and in the same contexts form a stratum, usually the units of one perturbation; strata from which
    no unit could be taken, as where each unit meets perturbations of its own, are put together. Of a stratum
    of n units the ``fraction * n`` (halves rounded up, and never all) with the smallest ``sha256("{seed}:{unit}")`` are held
    out, so that neither the order of the cells nor other strata matter, and all times of a unit are on one side.

    Parameters
    ----------
    data_id
        Identity of the data.
    seed
        Part of the hashed text.
    fraction
        Share of the units of each stratum that is held out.
    min_cells
        Conditions with fewer held-out cells are excluded: their cells are on neither side. One is enough for latent variables, which
        are not scored by condition; predictions want a dozen.

    Raises
    ------
    DataError
        If no condition has enough cells, or a cell of a screen with units has none.
    UsageError
        If the fraction is not strictly between 0 and 1.
    """
    check_fraction(fraction=fraction)
    if fraction == 0:
        raise UsageError("fraction=0 holds out no unit; give a number between 0 and 1, such as fraction=0.35.")
    held_out = _held_out(screen, seed, fraction)
    fold = Fold(
        roles=dict.fromkeys(screen.perturbed, "test"),
        declared={"level": "units", "purpose": "latent variables of unseen units", "test_controls": "held out as well"},
        test_cells=tuple(sorted(screen.barcodes[held_out].tolist())),
    )
    params = recorded(units, seed=seed, fraction=fraction, min_cells=min_cells)
    made = manifests(screen, [fold], data_id=data_id, split="units", params=params, min_cells=min_cells, version=1)
    control = np.array([c.is_control for c in screen.conditions])[screen.codes]
    controls = screen.barcodes[held_out & control].tolist()
    # A manifest keeps the cells of test conditions; control cells belong to none, and are held out all the same.
    return tuple(replace(m, test_cells=tuple(sorted({*m.test_cells, *controls}))) for m in made)


def _held_out(screen: Screen, seed: int, fraction: float) -> Array:
    """(n,) bool: cells of the units that are held out."""
    obs: Any = screen.adata.obs
    if "unit" not in obs:
        name = screen.barcodes
    elif obs["unit"].isna().any():
        raise DataError(
            f"split 'units' needs a unit for every cell; obs['unit'] of data set '{screen.card.name}' lacks {int(obs['unit'].isna().sum())}."
        )
    else:
        name = obs["unit"].astype(str).to_numpy()
    of_condition = np.array([f"{c.label}|{c.context}" for c in screen.conditions], dtype=object)
    seen: dict[str, set[str]] = {}
    for unit, label in zip(name.tolist(), of_condition[screen.codes].tolist(), strict=True):
        seen.setdefault(unit, set()).add(label)
    strata: dict[tuple[str, ...], list[str]] = {}
    for unit, labels in seen.items():
        strata.setdefault(tuple(sorted(labels)), []).append(unit)
    large = {labels: members for labels, members in strata.items() if share(len(members), fraction)}
    together = [unit for labels, members in strata.items() if labels not in large for unit in members]
    chosen: set[str] = set()
    for members in (*large.values(), together):
        members.sort(key=lambda unit: hashlib.sha256(f"{seed}:{unit}".encode()).digest())
        chosen.update(members[: min(share(len(members), fraction), len(members) - 1)])
    return np.fromiter((unit in chosen for unit in name.tolist()), dtype=bool, count=len(name))
