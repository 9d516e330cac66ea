"""Minibatches of training cells: a few hundred rows are dense at a time, the matrix never is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...bench.contracts.condition import Condition
from ...bench.contracts.errors import UsageError
from ...bench.contracts.stored_rows import StoredRows
from ...bench.contracts.training import Cells
from ...bench.kernels.normalisation import log1p_per_10k

Array = np.ndarray[Any, Any]
#: Batches that the disk is told of before they are needed.
AHEAD = 4
_BLOCK = 2048


@dataclass(frozen=True)
class Batch:
    """b cells.

    Parameters
    ----------
    cells
        (b, G) float32 on the scale of the profiles: log1p of counts per 10,000, or raw.
    codes
        (b,) int64 position of each cell's condition among those of the `CellBatches`.
    controls
        (b, G) a random control cell of the same context beside each, where partners were asked for.
    counts, depth
        (b, G) counts and (b,) their totals, on screens of counts where counts were asked for.
    """

    cells: torch.Tensor
    codes: torch.Tensor
    controls: torch.Tensor | None = None
    counts: torch.Tensor | None = None
    depth: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.codes)


def profiles_of(X: Any, scale: str) -> Array:
    """(n, G) float32 cells of a CSR slice as log1p of counts per 10,000; unchanged on the scales ``log1p_1e4`` and ``raw``."""
    return (log1p_per_10k(X).astype(np.float32) if scale == "counts" else X).toarray()


class CellBatches:
    """The cells of some conditions in a new random order each epoch.

    Parameters
    ----------
    cells
        Training cells with the controls among them.
    conditions
        Those whose cells are used, controls only where they are named.
    batch_size
        Cells in a batch; the last one of an epoch may be smaller, and a rest of one cell is left out.
    device
        Where the batches go.
    partners
        Whether each cell gets a random control cell of its context. No cell of a screen was seen before and after its
        perturbation, so partners say no more than that.
    counts
        Whether batches hold counts too.
    groups
        Where it is given, a batch is made of that many pieces of at most ``batch_size / groups`` cells of one condition, so that
        what a network works out for a condition serves many cells. Every cell still comes once an epoch.

    Raises
    ------
    UsageError
        If `batch_size` is below 2: as a rest of one cell is left out, nothing would ever be learned.
    """

    def __init__(
        self,
        cells: Cells,
        conditions: Sequence[Condition],
        batch_size: int,
        device: Any = "cpu",
        *,
        partners: bool = False,
        counts: bool = False,
        groups: int | None = None,
    ) -> None:
        if batch_size < 2:
            raise UsageError(f"batch_size={batch_size} is too small; a batch needs at least 2 cells.")
        self.cells, self.conditions, self.batch_size, self.device = cells, tuple(conditions), batch_size, device
        self.partners, self.counts, self.groups = partners, counts and cells.scale == "counts", groups
        position = {c: i for i, c in enumerate(conditions)}
        code = np.array([position.get(c, -1) for c in cells.conditions], dtype=np.int64)[cells.codes]
        self.rows = np.flatnonzero(code >= 0)
        self.codes = code[self.rows]
        # One array for each context, however many conditions share it.
        pools = {context: control_rows(cells, context) for context in {c.context for c in conditions}} if partners else {}
        self._pools = [pools[c.context] for c in conditions] if partners else []
        self._pool_sizes = np.array([len(pool) for pool in self._pools])

    def __len__(self) -> int:
        return len(self.rows)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """All cells once, in batches."""
        for chosen in self._announced(self._pieces(rng) if self.groups else self._shuffled(rng)):
            if len(chosen) > 1:
                yield self.batch(chosen, rng)

    def _announced(self, every: Iterator[Array]) -> Iterator[Array]:
        """The same, the disk told of each some batches before it is asked for, where cells lie there."""
        if not isinstance(self.cells.X, StoredRows):
            yield from every
            return
        waiting: deque[Array] = deque()
        for chosen in every:
            self.cells.X.ahead(self.rows[chosen])
            waiting.append(chosen)
            if len(waiting) > AHEAD:
                yield waiting.popleft()
        yield from waiting

    def _shuffled(self, rng: np.random.Generator) -> Iterator[Array]:
        order = rng.permutation(len(self.rows))
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]

    def batch(self, chosen: Array, rng: np.random.Generator) -> Batch:
        """The cells at some positions of `rows`."""
        X: Any = self.cells.X[self.rows[chosen]]
        codes = self.codes[chosen]
        controls = counts = depth = None
        if self.partners:
            drawn = (rng.random(len(chosen)) * self._pool_sizes[codes]).astype(np.int64)
            partner = np.array([self._pools[c][d] for c, d in zip(codes.tolist(), drawn.tolist(), strict=True)])
            controls = self._tensor(profiles_of(self.cells.X[partner], self.cells.scale))
        if self.counts:
            counts = self._tensor(X.toarray())
            depth = counts.sum(dim=1)
        return Batch(
            self._tensor(profiles_of(X, self.cells.scale)), self._tensor(codes), controls=controls, counts=counts, depth=depth
        )

    def _tensor(self, values: Array) -> torch.Tensor:
        return torch.from_numpy(values).to(self.device)

    def _pieces(self, rng: np.random.Generator) -> Iterator[Array]:
        """Batches of pieces of one condition each, nearly equal where a condition has several, and the pieces at random."""
        assert self.groups
        size = max(1, self.batch_size // self.groups)
        shuffled = rng.permutation(len(self.rows))
        by_condition = shuffled[np.argsort(self.codes[shuffled], kind="stable")]
        counts = np.bincount(self.codes, minlength=len(self.conditions))
        pieces = [
            piece
            for own in np.split(by_condition, np.cumsum(counts)[:-1])
            if len(own)
            for piece in np.array_split(own, -(-len(own) // size))
        ]
        order = rng.permutation(len(pieces))
        for start in range(0, len(order), self.groups):
            yield np.concatenate([pieces[i] for i in order[start : start + self.groups]])


def control_rows(cells: Cells, context: str | None) -> Array:
    """Rows of the control cells of a context; of all contexts where it has none."""
    own = [i for i, c in enumerate(cells.conditions) if c.is_control and c.context == context]
    own = own or [i for i, c in enumerate(cells.conditions) if c.is_control]
    return np.flatnonzero(np.isin(cells.codes, own))


def gene_totals(cells: Cells, rows: Array) -> Array:
    """(G,) float64 sum of some cells on their own scale, read in blocks."""
    X: Any = cells.X
    total = np.zeros(X.shape[1])
    for at in range(0, len(rows), _BLOCK):
        block = X[rows[at : at + _BLOCK]]
        total += np.bincount(block.indices, weights=block.data, minlength=len(total))
    return total


@dataclass(frozen=True)
class Starts:
    """Control cells that predictions of a context start from.

    Parameters
    ----------
    cells
        (n, G) float32 on the scale of the profiles.
    depth
        (n,) float32 total counts; ones where the screen has no counts.
    """

    cells: Array
    depth: Array


def starts(cells: Cells, context: str | None, n: int, rng: np.random.Generator) -> Starts:
    """At most n random control cells of a context."""
    rows = control_rows(cells, context)
    chosen = rows if len(rows) <= n else np.sort(rng.choice(rows, n, replace=False))
    X: Any = cells.X[chosen]
    depth = np.asarray(X.sum(axis=1), dtype=np.float32).ravel() if cells.scale == "counts" else np.ones(len(chosen), np.float32)
    return Starts(profiles_of(X, cells.scale), depth)
