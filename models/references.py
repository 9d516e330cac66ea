"""Reference rows: ceilings and floors that are made from the test cells and do not compete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.identity import derived_seed
from ..bench.contracts.model import Capabilities, ReferenceRow
from ..bench.contracts.prediction import LazyCells, Prediction
from ..bench.contracts.training import Profiles, TrainingData
from ..bench.contracts.truth import Truth
from .welch import adjusted_p, welch_p

Array = np.ndarray[Any, Any]


class _TruthRow(ReferenceRow):
    """A row whose answers are all known after `fit`: `means_`, and `absent_` with the reason for the other conditions.

    A row that is made of cells sets `cells_`, which returns those of a condition.
    """

    capabilities = Capabilities(unseen_targets=True, unseen_contexts=True, unseen_times=True, unseen_doses=True)
    means_: dict[Condition, Array]
    absent_: dict[Condition, str]
    cells_: Callable[[Condition], Any] | None

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Look up the answer to each condition."""
        self._check_fitted("means_")
        present = tuple(c for c in conditions if c in self.means_)
        absent = {c: self.absent_.get(c, "resource: no test cells of this condition") for c in conditions if c not in self.means_}
        mean = np.array([self.means_[c] for c in present]).reshape(len(present), self.n_genes_)
        cells = None if self.cells_ is None else LazyCells(present, self.cells_)
        return Prediction(present, mean, absent=absent, cells=cells)

    def _learn(
        self, truth: Truth, means: Array, absent: dict[Condition, str], cells: Callable[[Condition], Any] | None = None
    ) -> None:
        self.n_genes_ = len(truth.genes)
        self.cells_ = cells if truth.load_cells is not None else None
        self.absent_ = absent
        self.means_ = {c: row for c, row in zip(truth.conditions, means, strict=True) if c not in absent}


class OracleMean(_TruthRow):
    """Returns the true mean of the test cells, bit for bit: the best that a predicted mean can be."""

    reference = "truth.profiles.mean"

    def fit(self, data: TrainingData, *, seed: int, truth: Truth) -> OracleMean:
        """Remember the true means."""
        self._learn(truth, truth.profiles.mean, {})
        return self


class NoiseFree(_TruthRow):
    """Returns the true profile without sampling noise: the ceiling of every metric on a simulated screen.

    Absent on real screens, where nobody knows it.
    """

    reference = "truth.noise_free"

    def fit(self, data: TrainingData, *, seed: int, truth: Truth) -> NoiseFree:
        """Remember the noise-free profiles."""
        if truth.noise_free is None:
            self._learn(truth, truth.profiles.mean, dict.fromkeys(truth.conditions, "only a simulated screen knows it"))
        else:
            self._learn(truth, truth.noise_free, {})
        return self


class TechnicalDuplicate(_TruthRow):
    """Returns half of the test cells, scored against the other half: what repeating the experiment gives.

    A condition with fewer than two test cells is absent.
    """

    scored_against = "half"
    calibrates = True
    reference = "Miller et al. 2025 (technical duplicate)"

    def fit(self, data: TrainingData, *, seed: int, truth: Truth) -> TechnicalDuplicate:
        """Remember the first halves."""
        load = truth.load_cells
        cells = None if load is None else partial(_half, load)
        self._learn(truth, truth.halves[0].mean, _without_halves(truth), cells)
        return self


class InterpolatedDuplicate(_TruthRow):
    r"""Returns half of the test cells where a gene clearly changes and the train mean where it does not.

    For each gene :math:`\alpha \bar x_{half} + (1 - \alpha) m`, with m the control mean of the context plus the mean
    training change, and :math:`\alpha = 1 - p` for p the Benjamini-Hochberg adjusted p-value (over the genes of a
    condition) of Welch's test of the half against the control cells of the context. Scored against the other half.
    With few cells a duplicate alone can lose to the train mean; this row is the better ceiling. A condition with fewer
    than two test cells is absent.
    """

    scored_against = "half"
    calibrates = True
    reference = "Miller et al. 2025 (interpolated duplicate)"

    def fit(self, data: TrainingData, *, seed: int, truth: Truth) -> InterpolatedDuplicate:
        """Mix the first halves with the train mean."""
        half = truth.halves[0]
        alpha = 1 - adjusted_p(welch_p(half, truth.controls))
        train_mean = truth.controls.control_mean(truth.conditions) + data.mean_shift
        self._learn(truth, alpha * half.mean + (1 - alpha) * train_mean, _without_halves(truth))
        return self


def _half(load: Callable[..., Any], condition: Condition) -> Any:
    return load(condition, 0)


def _without_halves(truth: Truth) -> dict[Condition, str]:
    enough = np.minimum(truth.halves[0].n_cells, truth.halves[1].n_cells) > 0
    return {c: "resource: fewer than two test cells" for c, ok in zip(truth.conditions, enough, strict=True) if not ok}


class OracleSampler(ReferenceRow):
    """Returns a bootstrap of the test cells: as many as there are, drawn with replacement, and their mean."""

    capabilities = Capabilities(
        unseen_targets=True, unseen_contexts=True, unseen_times=True, unseen_doses=True, needs_cells=True, stochastic=True
    )
    reference = "Efron 1979 (bootstrap)"

    def fit(self, data: TrainingData, *, seed: int, truth: Truth) -> OracleSampler:
        """Remember where the test cells are."""
        self.truth_, self.seed_ = truth, seed
        return self

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Draw the cells of each condition; the draw depends on the seed and the condition alone."""
        self._check_fitted("truth_")
        counts = dict(zip(self.truth_.conditions, self.truth_.profiles.n_cells.tolist(), strict=True))
        there = tuple(c for c in conditions if self.truth_.load_cells is not None and counts.get(c, 0))
        drawn = LazyCells(there, self._draw)
        mean = np.array([np.full(cells.shape[0], 1 / cells.shape[0]) @ cells for cells in drawn.values()])
        absent = {c: "resource: no test cells of this condition" for c in conditions if c not in drawn}
        return Prediction(there, mean.reshape(len(there), len(self.truth_.genes)), cells=drawn, absent=absent)

    def _draw(self, condition: Condition) -> Any:
        assert self.truth_.load_cells is not None
        observed: Any = self.truth_.load_cells(condition)
        rng = np.random.default_rng(derived_seed("oracle-sampler", self.seed_, condition.key))
        return observed[rng.integers(observed.shape[0], size=observed.shape[0])]


class Shuffled(_TruthRow):
    """Returns true profiles and cells of the wrong conditions: everything that can be known without knowing which is which.

    Within each context the test conditions are put on a random ring and each gets the profile of the next, so that no
    condition keeps its own. A test condition that is alone in its context is absent.
    """

    capabilities = replace(_TruthRow.capabilities, stochastic=True)
    calibrates = True
    reference = "negative control by permutation of labels (Vollenweider & Bühlmann 2026)"

    def fit(self, data: TrainingData, *, seed: int, truth: Truth) -> Shuffled:
        """Draw the rings."""
        rows: dict[str | None, list[int]] = {}
        for i, condition in enumerate(truth.conditions):
            rows.setdefault(condition.context, []).append(i)
        source = np.arange(len(truth.conditions))
        absent: dict[Condition, str] = {}
        for context, own in rows.items():
            ring = np.random.default_rng(derived_seed("shuffled", seed, context)).permutation(own)
            source[ring] = np.roll(ring, -1)
            if len(own) == 1:
                absent[truth.conditions[own[0]]] = "capability: no other test condition in its context"
        of = {c: truth.conditions[i] for c, i in zip(truth.conditions, source, strict=True)}
        load = truth.load_cells
        self._learn(truth, truth.profiles.mean[source], absent, None if load is None else lambda c: load(of[c]))
        return self
