"""Graphs over genes for graph convolutions: from edges, from features, from co-expression, or at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from ...bench.contracts.condition import Condition
from ...bench.contracts.resource import FeatureTable, GeneEdges
from ...bench.contracts.training import Cells
from .cell_batches import profiles_of

Array = np.ndarray[Any, Any]

#: Of GEARS (Roohani et al. 2024): the 20 nearest genes beside the gene itself, and what counts as near.
NEIGHBORS, SIMILAR, COEXPRESSED = 20, 0.1, 0.4
#: Values of the dense sample of cells that correlations are taken from.
_SAMPLE = 2**25


@dataclass(frozen=True)
class GeneGraph:
    """Genes and the normalised weights with which each takes from its neighbours.

    Parameters
    ----------
    names
        n genes.
    adjacency
        (n, n) float32 CSR, what a row takes from each column; see `normalised`.
    """

    names: tuple[str, ...]
    adjacency: Any

    @cached_property
    def position(self) -> dict[str, int]:
        """Row of each gene."""
        return {n: i for i, n in enumerate(self.names)}

    def refusal(self, condition: Condition) -> str | None:
        """Why a condition has no place in the graph; None where it has one."""
        missing = [t for t in condition.targets if t not in self.position]
        return f"graph: {missing[0]} is not in the gene graph" if missing else None

    def taken(self, conditions: Sequence[Condition]) -> Any:
        """(len(conditions), n) float32 CSR: the sum over the targets of a condition of what they take from each gene."""
        targets = [[self.position[t] for t in c.targets] for c in conditions]
        row = np.repeat(np.arange(len(targets)), [len(own) for own in targets])
        column = np.array([p for own in targets for p in own], dtype=np.int64)
        hot = sparse.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=(len(targets), len(self.names)))
        return (hot @ self.adjacency).tocsr()


def normalised(edges: GeneEdges, n: int) -> Any:
    """(n, n) float32 CSR D^-1/2 A D^-1/2 of edges, where A[i, j] is the weight of the edge from j to i and D its row sums.

    A gene without an edge to itself gets one of weight 1 (Kipf and Welling 2017); of several edges between two genes the
    heaviest counts. One propagation step of a simplified graph convolution (Wu et al. 2019) is a product with this matrix.
    """
    target, source = np.asarray(edges.target), np.asarray(edges.source)
    order = np.lexsort((-np.asarray(edges.weight), source, target))
    target, source = target[order], source[order]
    weight = np.asarray(edges.weight, dtype=np.float64)[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(target) != 0) | (np.diff(source) != 0)
    first &= weight > 0
    alone = np.setdiff1d(np.arange(n), target[first & (target == source)])
    row, column = np.concatenate([target[first], alone]), np.concatenate([source[first], alone])
    weight = np.concatenate([weight[first], np.ones(len(alone))])
    scale = 1 / np.sqrt(np.bincount(row, weight, minlength=n))
    values = (scale[row] * weight * scale[column]).astype(np.float32)
    return sparse.csr_matrix((values, (row, column)), shape=(n, n))


def heaviest(edges: GeneEdges, n_neighbors: int) -> GeneEdges:
    """The `n_neighbors` + 1 heaviest edges to each gene, that from itself among them; of ties the first in the list."""
    order = np.lexsort((-edges.weight, edges.target))
    target = edges.target[order]
    start = np.searchsorted(target, target)
    kept = np.sort(order[np.arange(len(order)) - start <= n_neighbors])
    return GeneEdges(edges.source[kept], edges.target[kept], edges.weight[kept])


def table_graph(table: FeatureTable, n_neighbors: int = NEIGHBORS) -> GeneGraph:
    """The graph that a table was made from, or else the similarity of its rows."""
    edges = similarity_edges(table.values, n_neighbors) if table.edges is None else heaviest(table.edges, n_neighbors)
    return GeneGraph(table.names, normalised(edges, len(table.names)))


def similarity_edges(values: Array, n_neighbors: int = NEIGHBORS, threshold: float = SIMILAR) -> GeneEdges:
    """Edges to each row from those that are most similar, itself among them.

    The similarity is the Jaccard index, shared over all ones, where all values are 0 or 1, and the cosine otherwise. Rows
    of zeros are similar to nothing.

    Parameters
    ----------
    values
        (n, d).
    n_neighbors
        Edges to each row beside that from itself; of ties the first rows.
    threshold
        Similarities up to this are no edges.
    """
    binary = bool(np.isin(values, (0, 1)).all())
    rows = np.asarray(values, dtype=np.float32)
    length = rows.sum(axis=1) if binary else np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1)).astype(np.float32)

    def similarity(block: slice) -> Array:
        shared = rows[block] @ rows.T
        whole = length[block, None] + length[None, :] - shared if binary else length[block, None] * length[None, :]
        return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)

    return GeneEdges.nearest(similarity, len(rows), n_neighbors=n_neighbors, threshold=threshold)


def coexpression_edges(
    cells: Cells, *, seed: int, n_neighbors: int = NEIGHBORS, threshold: float = COEXPRESSED, sample: int = _SAMPLE
) -> GeneEdges:
    """Edges to each gene from those with the largest absolute Pearson correlation over training cells, itself among them.

    GEARS correlates cells of control and of singles; here it is all training cells, and at most so many of them, drawn by
    seed, that `sample` values are dense. A gene that never varies is correlated with nothing.
    """
    X: Any = cells.X
    n_cells, n_genes = X.shape
    rows = np.arange(n_cells)
    if n_cells * n_genes > sample:
        rows = np.sort(np.random.default_rng(seed).choice(n_cells, max(2, sample // n_genes), replace=False))
    Z = profiles_of(X[rows], cells.scale)
    Z -= Z.mean(axis=0, dtype=np.float64).astype(np.float32)
    size = np.sqrt(np.einsum("ng,ng->g", Z, Z, dtype=np.float64))
    varies = size > 1e-6 * np.sqrt(len(rows))
    Z *= np.divide(1, size, out=np.zeros_like(size), where=varies).astype(np.float32)
    return GeneEdges.nearest(lambda block: np.abs(Z[:, block].T @ Z), n_genes, n_neighbors=n_neighbors, threshold=threshold)


def random_edges(n: int, *, seed: int, n_neighbors: int = NEIGHBORS) -> GeneEdges:
    """Edges of weight 1 to each gene from `n_neighbors` others that mean nothing."""
    rng = np.random.default_rng(seed)
    k = min(n_neighbors, n - 1)
    source = np.empty((n, k), dtype=np.int64)
    for i, row in enumerate(source):
        row[:] = rng.choice(n - 1, k, replace=False)
        row[row >= i] += 1
    return GeneEdges(source.ravel(), np.repeat(np.arange(n), k), np.ones(n * k, np.float32))
