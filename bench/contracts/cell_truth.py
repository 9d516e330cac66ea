"""What the cells of the test conditions say beyond their means, prepared once for a data set and split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from .stored_rows import StoredRows

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class CellTruth:
    """Cells of the n scored test conditions, tests of them against control, and a space to compare samples in.

    Parameters
    ----------
    load
        Cells of the i-th scored condition: (n_i, G) float32 CSR on the scale of the profiles, in an order that does not
        depend on the file.
    load_controls
        The same of the control cells of a row of ``Truth.controls``; `StoredRows` where they take too much of the memory.
    p
        (n, G) float64 two-sided Mann-Whitney p of each gene against the control cells of the context, not adjusted; NaN
        where all pooled values are equal.
    auc
        (n, G) float32 probability that a perturbed cell exceeds a control cell, ties counting half.
    pca_mean, pca_components
        (G,) and (d, G) float32: principal components of training cells, controls among them, and of no test cell.
    bandwidth
        Median Euclidean distance between pooled test cells in that space.
    coordinates
        (n_i, d) float32 coordinates of the cells that `load` returns for i.
    """

    load: Callable[[int], csr_matrix]
    load_controls: Callable[[int], csr_matrix | StoredRows]
    p: Array
    auc: Array
    pca_mean: Array
    pca_components: Array
    bandwidth: float
    coordinates: Callable[[int], Array]

    def embed(self, cells: Any) -> Array:
        """(m, d) float32 coordinates of (m, G) cells on the scale of the profiles, CSR or dense."""
        return embed(cells, self.pca_mean, self.pca_components)

    def embedded(self, i: int) -> Array:
        """(n_i, d) float32 coordinates of the truth's cells of condition i."""
        return self.coordinates(i)


def embed(cells: Any, mean: Array, components: Array, *, block: int = 2048) -> Array:
    """(m, d) float32 coordinates of (m, G) cells, CSR or dense, in blocks: no more than `block` rows are ever dense."""
    parts = []
    for start in range(0, cells.shape[0], block):
        rows = cells[start : start + block]
        dense = rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)
        parts.append((dense.astype(np.float32, copy=False) - mean) @ components.T)
    return np.concatenate(parts) if parts else np.empty((0, len(components)), dtype=np.float32)
