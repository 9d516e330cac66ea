"""Graphs over genes: the edges of a file, and the similarity of annotations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..bench.contracts.resource import GeneEdges

Array = np.ndarray[Any, Any]
#: As in GEARS (Roohani et al. 2023): the 20 most similar genes of each, and itself, above this Jaccard index.
N_NEIGHBORS, THRESHOLD = 20, 0.1
#: Rows of the similarity that are dense at a time.
_BLOCK = 512


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
    sources, targets, weights = [], [], []
    for start in range(0, annotations.shape[0], _BLOCK):
        shared = (annotations[start : start + _BLOCK] @ columns).toarray()
        union = size[start : start + _BLOCK, None] + size[None, :] - shared
        similarity = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : n_neighbors + 1]
        weight = np.take_along_axis(similarity, nearest, axis=1)
        row, place = np.nonzero(weight > threshold)
        sources.append(nearest[row, place])
        targets.append(start + row)
        weights.append(weight[row, place])
    return GeneEdges(
        np.concatenate(sources).astype(np.int64),
        np.concatenate(targets).astype(np.int64),
        np.concatenate(weights).astype(np.float32),
    )
