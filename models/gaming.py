"""Adversaries: predictors that know nothing about a query and re-enact how scores of means have been won without knowledge.

Their rows are published beside the metrics (``--models gaming``), so that a reader sees what a score costs. None of them
looks at the targets of a query beyond hashing its key, so that on perturbations that were not trained they hold no
information. No seed matters: what is drawn is drawn from a hash of the condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.identity import derived_seed
from ..bench.contracts.model import Capabilities, Model
from ..bench.contracts.prediction import Prediction
from ..bench.contracts.training import Profiles, TrainingData
from .shift import Shift, predict_shifts

Array = np.ndarray[Any, Any]

ANYTHING = Capabilities(unseen_targets=True, unseen_contexts=True, unseen_times=True, unseen_doses=True)


def hashed(condition: Condition, purpose: str) -> np.random.Generator:
    """Random numbers that depend on a condition and on what they are for, and on nothing else."""
    return np.random.default_rng(derived_seed("gaming", purpose, condition.key))


def length(rows: Array) -> Array:
    """Euclidean norm along the last axis."""
    return np.sqrt(np.sum(np.square(rows, dtype=np.float64), axis=-1))


class Adversary(Model):
    """Base: learns the mean training change `shift_` and the changes of all training conditions, `shifts_`.

    Without perturbed training cells the mean change is zero and every answer is flagged as a fallback.
    """

    capabilities = ANYTHING

    def fit(self, data: TrainingData, *, seed: int) -> Adversary:
        """Average the training changes."""
        self.trained_ = len(data.perturbed) > 0
        self.shift_ = data.mean_shift
        self.shifts_ = data.shifts
        self._study(data)
        return self

    def _study(self, data: TrainingData) -> None:
        """Learn what else the trick needs."""

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Add the change that the trick asks for to the control mean of each context."""
        self._check_fitted("shift_")
        return predict_shifts(conditions, controls, [Shift(self._change(c), fallback=not self.trained_) for c in conditions])

    def _change(self, condition: Condition) -> Array:
        """(G,) change against control that is claimed for `condition`."""
        return self.shift_

    def _typical_size(self) -> float:
        """Median Euclidean length of the training changes."""
        return float(np.median(length(self.shifts_))) if self.trained_ else 0.0


class TinyNoise(Adversary):
    r"""The mean training change :math:`m` plus noise of a hundredth of its size, so that no two answers are equal.

    Tells nothing apart, yet is not constant to the letter. It used to turn undefined correlations against the perturbed
    mean into numbers (Systema's cell-weighted mean against a centroid-weighted reference, 0.10 on Norman), to break the
    ties of a constant prediction in rank scores (the better half of cell-eval's 0.5 + 1/(2N)), and to slip past filters
    for constant submissions.

    Parameters
    ----------
    size
        Standard deviation of the noise over the root mean square of m.
    """

    reference = "cell-eval discrimination score before 0.6; Systema, Nat Biotechnol 2025 (non-control mean)"

    def __init__(self, *, size: float = 0.01) -> None:
        self.size = size

    def _change(self, condition: Condition) -> Array:
        noise = hashed(condition, "tiny noise").standard_normal(len(self.shift_))
        return self.shift_ + self.size * float(np.sqrt(np.mean(self.shift_**2))) * noise


class ScaledUp(Adversary):
    """The mean training change times a factor.

    Exaggerating is free for every score that does not see size: correlations and cosines, signs, and the rank scores of
    the Virtual Cell Challenge where effects are alike in size. Clipping the error term at its baseline made the error free too.

    Parameters
    ----------
    factor
        Multiplies the mean training change.
    """

    reference = "Virtual Cell Challenge 2025, post-mortems (scaled effects under a clipped error term)"

    def __init__(self, *, factor: float = 5.0) -> None:
        self.factor = factor

    def _change(self, condition: Condition) -> Array:
        return self.factor * self.shift_


class ScaledDown(ScaledUp):
    """The mean training change times a small factor: shrinkage towards no change.

    Wins absolute and squared errors wherever effects are weak or noisy, and correlations against a perturbed mean wherever
    most perturbations are weaker than the mean of all.

    Parameters
    ----------
    factor
        As in `ScaledUp`.
    """

    reference = "mean absolute error of the Virtual Cell Challenge 2025 (smallest for shrunken effects)"

    def __init__(self, *, factor: float = 0.1) -> None:
        super().__init__(factor=factor)


class TypicalSize(Adversary):
    """The mean training change, stretched to the median length of a single training change.

    Averaging cancels what perturbations do not share, so a mean is too short; this one has the right length and wins any
    score of the length alone, such as a ratio of magnitudes.
    """

    reference = "magnitude ratio (here); effect-size scores of PEREGGRN, Genome Biology 2025"

    def _change(self, condition: Condition) -> Array:
        own = float(length(self.shift_))
        return self.shift_ * (self._typical_size() / own) if own else self.shift_


class RandomSize(Adversary):
    """The mean training change times a random factor, log-normal with standard deviation `sd` on the log scale.

    Sizes without knowledge: for scores of the spread and the rank of effect sizes over perturbations, which cell-eval
    copies into every row and reports as 1 where nothing is significant.

    Parameters
    ----------
    sd
        Standard deviation of the factor's natural logarithm.
    """

    reference = "cell-eval de_spearman_sig and pearson_edistance"

    def __init__(self, *, sd: float = 1.0) -> None:
        self.sd = sd

    def _change(self, condition: Condition) -> Array:
        return self.shift_ * float(np.exp(self.sd * hashed(condition, "size").standard_normal()))


class SignOnly(Adversary):
    r"""The sign of the mean training change, the same amount for every gene: :math:`\pm s`.

    With s the median length of a training change over the square root of the number of genes. Wins counts of correct
    directions (a constant mean had 82 % of them in cell-eval), and correlations over few genes chosen by the truth, where
    two clusters, up and down, decide.
    """

    reference = "GEARS share of correct directions; cell-eval de_direction_match; Systema top 20"

    def _change(self, condition: Condition) -> Array:
        sign = np.sign(self.shift_)
        return sign * (self._typical_size() / max(1.0, float(length(sign))))


class SelectedGenes(Adversary):
    """For each gene its mean change in those training conditions where it is among the most changed.

    A gene is scored over the truth's top genes only where it changed much. Whoever knows that predicts the change of a gene
    given that it was chosen, and wins errors and correlations over truth-selected genes with one constant answer.

    Parameters
    ----------
    top
        Genes that count as most changed in a training condition, by change over its standard error.
    """

    reference = "GEARS MSE and Pearson over the top 20 genes of the truth (selection by the outcome)"

    def __init__(self, *, top: int = 20) -> None:
        self.top = top

    def _study(self, data: TrainingData) -> None:
        if not self.trained_:
            return
        own, control = data.perturbed, data.controls
        noise = float(np.mean(control.var)) / max(1, int(control.n_cells.sum()))
        error = np.sqrt(own.var / own.n_cells[:, None] + noise)
        score = np.abs(self.shifts_) / np.where(error > 0, error, 1.0)
        chosen = np.zeros(score.shape, dtype=bool)
        np.put_along_axis(chosen, np.argsort(-score, axis=1, kind="stable")[:, : self.top], True, axis=1)
        times = chosen.sum(axis=0)
        self.shift_ = np.where(times > 0, (self.shifts_ * chosen).sum(axis=0) / np.maximum(times, 1), self.shift_)


class RandomCopy(Adversary):
    """The change of one training condition, drawn by a hash of the query.

    Looks like a prediction for this very perturbation: right size, right sparsity, right variety between queries. Wins
    what scores realism instead of truth, such as distributions of effect sizes and of distances between perturbations.
    Copying the nearest *informed* condition is the honest baseline ``nearest``.
    """

    reference = "matched random perturbation as a negative control (Vollenweider & Bühlmann 2026)"

    def _study(self, data: TrainingData) -> None:
        # Sorted, so that a draw does not depend on the order in which training conditions are listed.
        keys = [c.key for c in data.perturbed.conditions]
        self.sorted_ = sorted(range(len(keys)), key=keys.__getitem__)

    def _change(self, condition: Condition) -> Array:
        if not self.trained_:
            return self.shift_
        return self.shifts_[self.sorted_[int(hashed(condition, "copy").integers(len(self.sorted_)))]].astype(np.float64)


class Hub(Adversary):
    """The one training change that is most similar to all the others, for every query.

    Similar means the largest mean cosine; ties go to the first by name. A hub is near to many truths, which wins ranks
    that are counted one way only: ranking predictions for a truth punishes it, ranking truths for a prediction does not.
    """

    reference = "PerturBench rank against cell-eval discrimination (two orientations of one matrix)"

    def _study(self, data: TrainingData) -> None:
        if not self.trained_:
            return
        size = length(self.shifts_)[:, None]
        unit = self.shifts_ / np.where(size > 0, size, 1.0)
        similar = np.round(unit @ unit.sum(axis=0), 9)
        names = [c.key for c in data.perturbed.conditions]
        self.shift_ = self.shifts_[min(range(len(names)), key=lambda i: (-similar[i], names[i]))].astype(np.float64)


class EditedControl(Adversary):
    """The train mean, submitted with a control of its own that lies further away, so that its effects look larger.

    Where predicted controls enter the predicted change (cell-eval's discrimination and DE scores did this) a submitter moves
    all changes at will. A `Prediction` has no place for controls and changes are taken from the truth's control on both
    sides, so this row scores what the train mean scores, to the last bit.

    Parameters
    ----------
    strength
        How far `own_control` is moved against the mean training change, in units of it.
    """

    reference = "cell-eval issues 183 and 196 (predicted controls)"

    def __init__(self, *, strength: float = 4.0) -> None:
        self.strength = strength

    def own_control(self, controls: Profiles) -> Profiles:
        """The control profiles that the adversary would like to be compared with."""
        moved = controls.mean - self.strength * self.shift_
        return Profiles(controls.conditions, moved, controls.var, controls.n_cells)
