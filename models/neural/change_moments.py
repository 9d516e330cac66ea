"""What a loss of powers of the error needs of cells: moments of the change from a random control cell to a perturbed one.

A prediction x + s, with x a control cell and s a shift that is the same for all cells of a condition, is off by s - d, where
d = y - x. So the mean of a power of the error over cells is a polynomial in s whose coefficients are moments of d; no gradient has
to reach a cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...bench.contracts.condition import Condition
from ...bench.contracts.training import Cells
from .cell_batches import Batch, CellBatches, control_rows, profiles_of

Array = np.ndarray[Any, Any]
_ROWS = 512


@dataclass(frozen=True)
class ChangeMoments:
    """Changes from control to perturbed cells of P conditions.

    Parameters
    ----------
    codes
        (P,) int64 positions of the conditions.
    n_cells
        (P,) float32 perturbed cells.
    mean, second, third, fourth
        (P, G) mean and central moments of the change.
    batch
        The cells, where they are at hand.
    """

    codes: torch.Tensor
    n_cells: torch.Tensor
    mean: torch.Tensor
    second: torch.Tensor
    third: torch.Tensor
    fourth: torch.Tensor
    batch: Batch | None = None

    def __len__(self) -> int:
        return int(self.n_cells.sum())


def batch_moments(batch: Batch) -> ChangeMoments:
    """Moments over the pairs of a perturbed and a control cell in a batch with partners."""
    assert batch.controls is not None
    codes, group = torch.unique(batch.codes, return_inverse=True)
    n_cells = torch.bincount(group, minlength=len(codes)).float()
    change = batch.cells - batch.controls
    # A product with the matrix of membership adds up in a fixed order, on every device.
    member = torch.nn.functional.one_hot(group, len(codes)).T.float() / n_cells[:, None]
    mean = member @ change
    change -= mean[group]
    power = change * change
    second = member @ power
    third = member @ change.mul_(power)
    return ChangeMoments(codes, n_cells, mean, second, third, member @ power.mul_(power), batch)


class SampledChanges:
    """Moments of the batches of a `CellBatches` with partners, each cell once an epoch."""

    def __init__(self, batches: CellBatches) -> None:
        self.batches = batches

    def epoch(self, rng: np.random.Generator) -> Iterator[ChangeMoments]:
        return (batch_moments(batch) for batch in self.batches.epoch(rng))


@dataclass(frozen=True)
class ExactChanges:
    """Moments over all pairs of a cell of a condition and a control cell of its context.

    As both are drawn independently, the moments follow from those of the cells and of the controls: the mean and the third
    are differences, the second is a sum, the fourth that of cells + 6 times the product of the second ones + that of controls.

    Parameters
    ----------
    conditions
        P conditions that have cells.
    moments
        (4, P, G) mean, second, third and fourth.
    n_cells
        (P,) perturbed cells.
    """

    conditions: tuple[Condition, ...]
    moments: torch.Tensor
    n_cells: torch.Tensor

    @classmethod
    def of(cls, cells: Cells, conditions: Sequence[Condition], device: Any = "cpu") -> ExactChanges:
        """Those of some conditions."""
        position = {c: i for i, c in enumerate(cells.conditions)}
        contexts = {context: central_moments(cells, control_rows(cells, context)) for context in {c.context for c in conditions}}
        n_genes = next(iter(contexts.values())).shape[1] if contexts else 0
        moments = np.empty((4, len(conditions), n_genes), dtype=np.float32)
        n_cells = np.empty(len(conditions), dtype=np.float32)
        for i, condition in enumerate(conditions):
            rows = np.flatnonzero(cells.codes == position[condition])
            (y1, y2, y3, y4), (x1, x2, x3, x4) = central_moments(cells, rows), contexts[condition.context]
            moments[:, i] = y1 - x1, y2 + x2, y3 - x3, y4 + 6 * y2 * x2 + x4
            n_cells[i] = len(rows)
        return cls(tuple(conditions), torch.from_numpy(moments).to(device), torch.from_numpy(n_cells).to(device))

    def batches(self, conditions: Sequence[Condition], size: int, *, steps: int = 1, passes: int = 1) -> ExactBatches:
        """Batches of `size` of some of the conditions; an epoch has `steps` of them and passes over all `passes` times, at least."""
        position = {c: i for i, c in enumerate(self.conditions)}
        return ExactBatches(self, np.array([position[c] for c in conditions], dtype=np.int64), size, steps, passes)


@dataclass(frozen=True)
class ExactBatches:
    """`size` conditions at a time, in a new random order for each pass of an epoch.

    Codes are positions in `rows`, the rows of the changes that are used.
    """

    changes: ExactChanges
    rows: Array
    size: int
    steps: int
    passes: int

    def epoch(self, rng: np.random.Generator) -> Iterator[ChangeMoments]:
        """All conditions equally often."""
        n_batches = -(-len(self.rows) // self.size)
        for _ in range(max(self.passes, -(-self.steps // n_batches)) if n_batches else 0):
            for part in np.array_split(rng.permutation(len(self.rows)), n_batches):
                codes = torch.from_numpy(np.sort(part)).to(self.changes.n_cells.device)
                rows = torch.from_numpy(self.rows).to(codes.device)[codes]
                mean, second, third, fourth = self.changes.moments[:, rows]
                yield ChangeMoments(codes, self.changes.n_cells[rows], mean, second, third, fourth)


def central_moments(cells: Cells, rows: Array) -> Array:
    """(4, G) float64 mean and second, third and fourth central moment over some cells, on the scale of the profiles."""
    X: Any = cells.X
    parts = [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]
    out = np.zeros((4, X.shape[1]))
    for part in parts:
        out[0] += profiles_of(X[part], cells.scale).sum(axis=0, dtype=np.float64)
    out[0] /= max(len(rows), 1)
    for part in parts:
        deviation = profiles_of(X[part], cells.scale) - out[0]
        square = deviation * deviation
        out[1] += square.sum(axis=0)
        out[2] += np.einsum("ng,ng->g", square, deviation)
        out[3] += np.einsum("ng,ng->g", square, square)
    out[1:] /= max(len(rows), 1)
    return out
