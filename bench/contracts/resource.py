"""Side information that a model declares and a user or a screen provides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
#: Rows of a similarity that are dense at a time.
_BLOCK = 512


@dataclass(frozen=True)
class GeneEdges:
    """Edges of a graph over the names of a table.

    Parameters
    ----------
    source, target
        (m,) int64 positions in the names; an edge carries something from source to target.
    weight
        (m,) float32, not negative.
    """

    source: Array
    target: Array
    weight: Array

    @classmethod
    def nearest(cls, similarity: Callable[[slice], Array], n: int, *, n_neighbors: int, threshold: float) -> GeneEdges:
        """Edges to each of n names from those that are most similar to it, in order of their target.

        Parameters
        ----------
        similarity
            (rows, n) similarities of a slice of the names to all; only so many rows are dense at a time.
        n_neighbors
            Edges to each name beside the largest, which is most often that from itself; of ties the name that comes first.
        threshold
            Similarities up to this are no edges.
        """
        sources, targets, weights = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        for start in range(0, n, _BLOCK):
            block = similarity(slice(start, start + _BLOCK))
            nearest = np.argsort(-block, axis=1, kind="stable")[:, : n_neighbors + 1]
            weight = np.take_along_axis(block, nearest, axis=1)
            row, place = np.nonzero(weight > threshold)
            sources.append(nearest[row, place].astype(np.int64))
            targets.append((start + row).astype(np.int64))
            weights.append(weight[row, place].astype(np.float32))
        return cls(np.concatenate(sources), np.concatenate(targets), np.concatenate(weights))


@dataclass(frozen=True)
class FeatureTable:
    """A feature vector for each name: gene embeddings, GO multi-hot rows, rows of a gene graph.

    Parameters
    ----------
    names
        n perturbed genes, compounds or stimuli.
    values
        (n, d) float32.
    source
        Where it comes from, for the run card.
    same_screen
        True where it was derived from the screen that is evaluated (leakage rule 11).
    edges
        The graph that the table was made from, or the similarity of annotations, for models that read a graph.
    """

    names: tuple[str, ...]
    values: Array
    source: str
    same_screen: bool = False
    edges: GeneEdges | None = None

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {n: i for i, n in enumerate(self.names)}

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def missing(self, targets: Sequence[str]) -> list[str]:
        """Those of `targets` that have no vector."""
        return [t for t in targets if t not in self._rows]

    def sum(self, targets: Sequence[str]) -> Array:
        """(d,) sum of the vectors of `targets`; every one must be present."""
        return self.values[[self._rows[t] for t in targets]].sum(axis=0, dtype=np.float64)
