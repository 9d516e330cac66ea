"""Adversaries among cells: samples that re-enact how distributional and differential-expression scores have been won.

All predict the mean of the train-mean baseline and differ in the cells around it, which are made of control cells. Where
no control cells are stored they predict the mean alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.identity import derived_seed
from ..bench.contracts.prediction import LazyCells, Prediction
from ..bench.contracts.training import Profiles, TrainingData
from .gaming import Adversary

Array = np.ndarray[Any, Any]

#: Control cells of a context that cells are made of, at most.
TEMPLATES = 500


class CellAdversary(Adversary):
    """Base: cells around the train mean, clipped at zero as log expression is, made by `_around` one condition at a time."""

    def _study(self, data: TrainingData) -> None:
        self.load_ = data.load_controls

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Predict the mean, and cells where the context has control cells."""
        prediction = super().predict(conditions, controls)
        if self.load_ is None:
            return prediction
        row = {c: i for i, c in enumerate(prediction.conditions)}
        residuals = cache(self._residuals)

        def make(condition: Condition) -> Array:
            rng = np.random.default_rng(derived_seed("gaming", type(self).__name__, condition.key))
            cells = self._around(prediction.mean[row[condition]], residuals(condition.context), rng)
            return np.maximum(cells, 0.0).astype(np.float32)

        own = [c for c in prediction.conditions if controls.row(c.control()) is not None]
        return replace(prediction, cells=LazyCells(own, make))

    def _residuals(self, context: str | None) -> Array:
        """(m, G) control cells of a context less their mean, at most `TEMPLATES` of them."""
        assert self.load_ is not None
        cells: Any = self.load_(context)
        rows = np.arange(cells.shape[0])
        if len(rows) > TEMPLATES:
            rng = np.random.default_rng(derived_seed("gaming", "templates", context))
            rows = np.sort(rng.choice(len(rows), TEMPLATES, replace=False))
        cells = cells[rows]
        dense = cells.toarray().astype(np.float64)
        return dense - dense.mean(axis=0)

    def _around(self, mean: Array, residuals: Array, rng: np.random.Generator) -> Array:
        """(m, G) cells around a predicted (G,) mean."""
        raise TypeError(f"{type(self).__name__} defines no _around(mean, residuals, rng)")


class ConstantCells(CellAdversary):
    """The predicted mean, repeated as cells without any variance.

    A test against control then calls nearly every gene significant: in cell-eval a constant mean recovered 88 % of the
    differential genes and called 221 of 300 significant in data without effects. Here such a gene is undefined.

    Parameters
    ----------
    n_cells
        Copies.
    """

    reference = "cell-eval recall and overlap of differential genes (0.8.2)"

    def __init__(self, *, n_cells: int = 100) -> None:
        self.n_cells = n_cells

    def _around(self, mean: Array, residuals: Array, rng: np.random.Generator) -> Array:
        return np.tile(mean, (self.n_cells, 1))


class InflatedVariance(CellAdversary):
    """Control cells moved to the predicted mean, their deviations multiplied.

    Variance is a dial for the number of genes that a test calls, and spreads cells over the truth's tails. Challenge
    post-mortems report higher scores from inflated variance even for random data.

    Parameters
    ----------
    factor
        Multiplies deviations from the mean.
    """

    reference = "Virtual Cell Challenge 2025, post-mortems (variance inflation)"

    def __init__(self, *, factor: float = 3.0) -> None:
        self.factor = factor

    def _around(self, mean: Array, residuals: Array, rng: np.random.Generator) -> Array:
        return mean + self.factor * residuals


class DuplicatedCells(CellAdversary):
    """A few control cells moved to the predicted mean, each repeated many times.

    Tests and biased distances take copies for independent cells: p values shrink and self-distances vanish.

    Parameters
    ----------
    distinct, copies
        Different cells and copies of each.
    """

    reference = "Virtual Cell Challenge 2025, post-mortems (cell numbers chosen for the DE test); scPerturb V statistic"

    def __init__(self, *, distinct: int = 5, copies: int = 100) -> None:
        self.distinct, self.copies = distinct, copies

    def _around(self, mean: Array, residuals: Array, rng: np.random.Generator) -> Array:
        few = residuals[rng.integers(len(residuals), size=self.distinct)]
        return np.repeat(mean + few - few.mean(axis=0), self.copies, axis=0)


class ManyCells(CellAdversary):
    """Very many cells, drawn with replacement from control cells moved to the predicted mean.

    More cells mean smaller p values, so the number of genes that a test calls can be chosen; and a V statistic falls with n.

    Parameters
    ----------
    n_cells
        Cells of each condition.
    """

    reference = "Virtual Cell Challenge 2025, post-mortems (cell numbers chosen for the DE test)"

    def __init__(self, *, n_cells: int = 2000) -> None:
        self.n_cells = n_cells

    def _around(self, mean: Array, residuals: Array, rng: np.random.Generator) -> Array:
        return mean + residuals[rng.integers(len(residuals), size=self.n_cells)]


class TwoFarCells(CellAdversary):
    """Two cells, silence and a multiple of the predicted mean.

    An unbiased statistic subtracts the mean distance of different predicted cells, and whoever places two cells decides it: the
    fair CRPS of two far cells on either side of all values is 0, its best, and the energy distance falls below that of the
    truth. Where predicted cells are taken as a forecast the distance of each to itself counts, and this loses.

    Parameters
    ----------
    factor
        The second cell is this many times the mean.
    """

    reference = "unbiased energy distance, MMD and fair CRPS of cells that a model chooses (found here)"

    def __init__(self, *, factor: float = 2.0) -> None:
        self.factor = factor

    def _around(self, mean: Array, residuals: Array, rng: np.random.Generator) -> Array:
        return np.stack([np.zeros_like(mean), self.factor * mean])


class NoiseCells(CellAdversary):
    """Independent normal noise of each gene's control variance around the predicted mean.

    Has the right mean and variance of every gene and neither its shape nor any correlation between genes, which is all
    that scores of marginal moments ask for.

    Parameters
    ----------
    n_cells
        Cells of each condition.
    """

    reference = "pertpy mean_var_distribution; per-gene Wasserstein distances"

    def __init__(self, *, n_cells: int = 100) -> None:
        self.n_cells = n_cells

    def _around(self, mean: Array, residuals: Array, rng: np.random.Generator) -> Array:
        return mean + residuals.std(axis=0) * rng.standard_normal((self.n_cells, len(mean)))


class CountCells(CellAdversary):
    """Control cells moved to the predicted mean and given as counts per 10,000, declared to be their logarithm.

    The mean is on the declared scale, the cells are not: the mixture that moved evaluators which guess a scale.
    """

    reference = "cell-eval issues 184, 197, 204; pdex issues 41, 55"

    def _around(self, mean: Array, residuals: Array, rng: np.random.Generator) -> Array:
        return np.expm1(np.maximum(mean + residuals, 0.0))


class ExtraLogCells(CellAdversary):
    """Control cells moved to the predicted mean, with one logarithm too many."""

    reference = "Virtual Cell Challenge 2025, post-mortems (extra log1p)"

    def _around(self, mean: Array, residuals: Array, rng: np.random.Generator) -> Array:
        return np.log1p(np.maximum(mean + residuals, 0.0))
