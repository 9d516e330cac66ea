"""Graphs over genes: the edges of a file, and the similarity of annotations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..bench.contracts.resource import GeneEdges

Array = np.ndarray[Any, Any]
#: As in GEARS (Roohani et al. 2023): the 20 most similar genes of each, and itself, above this Jaccard index.
N_NEIGHBORS, THRESHOLD = 20, 0.1


def stored_edges(arrays: dict[str, Array]) -> GeneEdges:
    """The edges of a graph file as they are, direction and all."""
    return GeneEdges(arrays["source"].astype(np.int64), arrays["target"].astype(np.int64), arrays["weight"].astype(np.float32))


def annotation_edges(annotations: Any, *, n_neighbors: int = N_NEIGHBORS, threshold: float = THRESHOLD) -> GeneEdges:
    """Edges to each gene from those with the most similar annotations, itself among them.

    The weight is the Jaccard index, shared terms over terms that either has.

    Parameters
    ----------
    annotations
        (n, terms) CSR of zeros and ones.
    n_neighbors
        Neighbours of each gene beside itself; ties go to the gene that is named first.
    threshold
        Similarities up to this are no edges.
    """
    size = np.asarray(annotations.sum(axis=1)).ravel()
    columns = annotations.T.tocsr()

    def similarity(block: slice) -> Array:
        shared = (annotations[block] @ columns).toarray()
        union = size[block, None] + size[None, :] - shared
        return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)

    return GeneEdges.nearest(similarity, annotations.shape[0], n_neighbors=n_neighbors, threshold=threshold)
