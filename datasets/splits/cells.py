"""A split by cells: not out of distribution, kept to show what a benchmark without held-out perturbations rewards."""

from __future__ import annotations

import hashlib

from ...bench.contracts.errors import UsageError
from ...bench.contracts.screen import Screen
from ...bench.contracts.split import SplitManifest
from .applicable import require
from .folds import Fold, check_fraction, manifests, recorded, share


def iid(screen: Screen, *, data_id: str, seed: int = 0, fraction: float = 0.2, min_cells: int = 12) -> tuple[SplitManifest, ...]:
    """Hold out random cells of every perturbation and train on its other cells; a positive control only.

    Of a condition with n cells the ``fraction * n`` cells (halves rounded up) with the smallest
    ``sha256("{seed}:{barcode}")`` are test, so neither the order of the cells nor other conditions matter.

    Parameters
    ----------
    data_id
        Identity of the data.
    seed
        Part of the hashed text.
    fraction
        Share of each condition's cells that is test.
    min_cells
        Conditions with fewer test cells are excluded.

    Raises
    ------
    DataError
        If no condition has enough cells.
    UsageError
        If the fraction is not strictly between 0 and 1.
    """
    require(screen, "iid")
    check_fraction(fraction=fraction)
    if fraction == 0:
        raise UsageError("fraction=0 leaves no test cell; give a number between 0 and 1, such as fraction=0.2.")
    barcodes, codes = screen.barcodes, screen.codes
    chosen: list[str] = []
    for code, condition in enumerate(screen.conditions):
        if not condition.is_control:
            own = sorted(barcodes[codes == code].tolist(), key=lambda b: hashlib.sha256(f"{seed}:{b}".encode()).digest())
            chosen += own[: min(share(len(own), fraction), len(own) - 1)]
    fold = Fold(
        roles=dict.fromkeys(screen.perturbed, "test"),
        declared={"level": "cells", "purpose": "positive control only"},
        test_cells=tuple(sorted(chosen)),
    )
    params = recorded(iid, seed=seed, fraction=fraction, min_cells=min_cells)
    return manifests(screen, [fold], data_id=data_id, split="iid", params=params, min_cells=min_cells, version=1)
