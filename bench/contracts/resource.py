"""Side information that a model declares and a user or a screen provides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


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
