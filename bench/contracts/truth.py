"""Statistics of the test cells, computed once for a data set and split and shared by all models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .condition import Condition
from .training import Profiles

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Truth:
    """What is known of the n scored test conditions.

    Parameters
    ----------
    genes
        (G,) names.
    profiles
        Profiles of the scored test conditions, sorted.
    controls
        Profiles of control cells, a row for each context.
    references
        Named reference profiles, each (n, G): ``ctrl``, the control mean of the condition's context; ``pert``, that
        control mean plus the mean training shift; ``loo``, the same with the mean shift of all *other* perturbations
        of the screen. In a screen of one context ``pert`` is the mean of the training centroids (Systema).
    de_order
        (n, K) indices of the genes with the largest \\|Welch t\\| of the truth against control, best first, the
        perturbed genes left out, ties by gene name. Used for scoring only.
    target_genes
        For each condition the indices of those of its targets that are measured.
    halves
        Two profiles of the disjoint halves of each condition's cells (by hashed barcode), for duplicates.
    subgroups
        For each condition its strata, such as ``{"seen_k": "1"}``.
    noise_free
        (n, G) profile without sampling noise, for simulated screens.
    load_cells
        Returns the test cells of a condition, for reference rows that sample.
    """

    genes: Array
    profiles: Profiles
    controls: Profiles
    references: dict[str, Array]
    de_order: Array
    target_genes: tuple[tuple[int, ...], ...]
    halves: tuple[Profiles, Profiles]
    subgroups: tuple[dict[str, str], ...] = ()
    noise_free: Array | None = None
    load_cells: Callable[[Condition], csr_matrix] | None = None

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return self.profiles.conditions

    def against(self, which: str) -> Truth:
        """This truth, or with ``"half"`` the one that a row made from the first halves is scored against."""
        return self if which == "all" else replace(self, profiles=self.halves[1])
