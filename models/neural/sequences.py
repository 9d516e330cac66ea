"""Batches of whole units: cells that are one unit at several times, in the order of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...bench.contracts.condition import Condition
from ...bench.contracts.errors import UsageError
from ...bench.contracts.stored_rows import StoredRows
from ...bench.contracts.training import Cells
from .cell_batches import profiles_of

Array = np.ndarray[Any, Any]

#: Values that are kept dense between epochs; larger screens are made dense batch by batch.
DENSE = 5e7


@dataclass(frozen=True)
class SequenceBatch:
    """b units with L frames each.

    Parameters
    ----------
    cells
        (b, L, G) float32 on the scale of the profiles.
    codes
        (b, L) int64 position of each frame's condition among those of the `SequenceBatches`.
    counts, depth
        (b, L, G) counts and (b, L) their totals, on screens of counts where counts were asked for.
    """

    cells: torch.Tensor
    codes: torch.Tensor
    counts: torch.Tensor | None = None
    depth: torch.Tensor | None = None

    def __len__(self) -> int:
        return self.codes.numel()


def units_of(cells: Cells) -> list[Array]:
    """Rows of the cells of each unit in the order of time, units by their number; each cell alone where units are not known."""
    if cells.unit is None:
        return [np.array([i]) for i in range(len(cells.codes))]
    time = np.zeros(len(cells.unit)) if cells.time is None else np.nan_to_num(cells.time)
    order = np.lexsort((time, cells.unit))
    _, starts = np.unique(cells.unit[order], return_index=True)
    return np.split(order, starts[1:])


class SequenceBatches:
    """The units of a screen in a new random order each epoch; units of a batch have equally many frames.

    A frame is a step after the one before, however long that took.

    Parameters
    ----------
    cells
        Cells with units and times.
    conditions
        All of these cells' conditions, in the order that codes count.
    batch_size
        Cells in a batch, about: it has that many over L units, at least 2.
    counts
        Whether batches hold counts too.
    values
        (n, p) float32 that batches hold instead of profiles.

    Raises
    ------
    UsageError
        If no unit is seen more than once, or frames have no times to put them in order.
    """

    def __init__(
        self,
        cells: Cells,
        conditions: Sequence[Condition],
        batch_size: int,
        device: Any = "cpu",
        *,
        counts: bool = False,
        values: Array | None = None,
    ) -> None:
        if not cells.paired or cells.time is None:
            raise UsageError(
                "sequences need units that are seen at several known times (columns 'unit' and 'time' of the screen)."
            )
        position = {c: i for i, c in enumerate(conditions)}
        self.cells, self.batch_size, self.device = cells, batch_size, device
        self.counts = counts and cells.scale == "counts"
        self.codes = np.array([position[c] for c in cells.conditions], dtype=np.int64)[cells.codes]
        self.by_length: dict[int, Array] = {}
        rows = units_of(cells)
        for length in sorted({len(r) for r in rows}):
            self.by_length[length] = np.array([r for r in rows if len(r) == length])
        X: Any = cells.X
        small = X.shape[0] * X.shape[1] <= DENSE and not isinstance(X, StoredRows)
        self._dense = values if values is not None else profiles_of(X, cells.scale) if small else None

    @property
    def longest(self) -> int:
        """Frames of the unit that has most."""
        return max(self.by_length)

    def epoch(self, rng: np.random.Generator) -> Iterator[SequenceBatch]:
        """All units once, in batches."""
        batches = []
        for length, rows in self.by_length.items():
            size = max(2, self.batch_size // length)
            order = rng.permutation(len(rows))
            batches += [rows[order[i : i + size]] for i in range(0, len(order), size)]
        for i in rng.permutation(len(batches)):
            if batches[i].size > 1:
                yield self.batch(batches[i])

    def batch(self, rows: Array) -> SequenceBatch:
        """Units from the rows (b, L) of their frames."""
        flat = rows.ravel()
        X: Any = self.cells.X
        values = self._dense[flat] if self._dense is not None else profiles_of(X[flat], self.cells.scale)
        counts = depth = None
        if self.counts:
            counts = torch.from_numpy(X[flat].toarray().reshape(*rows.shape, -1)).to(self.device)
            depth = counts.sum(dim=-1)
        cells = torch.from_numpy(values.reshape(*rows.shape, -1)).to(self.device)
        return SequenceBatch(cells, torch.from_numpy(self.codes[rows]).to(self.device), counts, depth)
