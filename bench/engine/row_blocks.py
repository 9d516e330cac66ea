"""Arrays on disk that are filled in any order, a block of rows at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def allocate(path: Path, shape: tuple[int, ...], kind: Any) -> None:
    """Make an ``.npy`` file of zeros for `scatter`."""
    if 0 in shape:
        np.save(path, np.zeros(shape, dtype=kind))
    else:
        np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)


def scatter(path: Path, place: Array, values: Array) -> None:
    """Write `values` to positions (or rows) `place` of an ``.npy`` file, which is mapped only meanwhile."""
    if len(place):
        np.lib.format.open_memmap(path, mode="r+")[place] = values
