"""Statistics of the test cells, computed once for a data set and split and shared by all models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .cell_truth import CellTruth
from .condition import Condition
from .latents import GroundTruth
from .training import Profiles

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Array = np.ndarray[Any, Any]
T = TypeVar("T")


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
        Returns the test cells of a condition, on the scale of the profiles, or with a number 0 or 1 those of one of the
        `halves`; for reference rows.
    single_shifts
        For each condition of two targets or more, (k, G) true changes against control of its singles in the order of
        its targets, at the same context, time and doses, whatever role the split gave them; None where one was not
        measured, and for singles.
    training
        Profiles of the training conditions.
    cells, half_cells
        What single cells say, of all test cells and of their second halves; None where the run asked for no metric
        that reads cells.
    half_de_order
        `de_order` by the second halves alone: a row that is made of the first halves must not have chosen the genes.
    scale
        ``log1p_1e4`` or ``raw``: what the profiles are.
    ground
        Latent variables of the held-out cells that are encoded, in the order in which they are; for reference rows.
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
    load_cells: Callable[..., csr_matrix] | None = None
    single_shifts: tuple[Array | None, ...] = ()
    training: Profiles | None = None
    cells: CellTruth | None = None
    half_cells: CellTruth | None = None
    half_de_order: Array | None = None
    scale: str = "log1p_1e4"
    ground: GroundTruth | None = None
    _memory: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The scored conditions, in the order of every row."""
        return self.profiles.conditions

    def against(self, which: str) -> Truth:
        """This truth, or with ``"half"`` the second halves: their profiles, cells and differential genes."""
        if which == "all":
            return self
        order = self.de_order if self.half_de_order is None else self.half_de_order
        return replace(self, profiles=self.halves[1], cells=self.half_cells, de_order=order)

    @cached_property
    def control_rows(self) -> Array:
        """(n,) row of each condition's context in `controls`."""
        rows = [self.controls.row(c.control()) for c in self.conditions]
        return np.array([-1 if r is None else r for r in rows], dtype=np.int64)

    def once(self, function: Callable[[Truth], T]) -> T:
        """``function(self)``, computed on the first call: what several metrics derive from the truth is derived once."""
        if function not in self._memory:
            self._memory[function] = function(self)
        return self._memory[function]
