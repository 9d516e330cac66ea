"""Adversaries that distort a whole profile: values in the wrong order or on the wrong scale, not declared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.prediction import Prediction
from ..bench.contracts.training import Profiles
from .gaming import Adversary, hashed

Array = np.ndarray[Any, Any]


class Reprofiled(Adversary):
    """Base of adversaries that distort the whole predicted profile, control mean plus mean training change."""

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Distort the profile of each condition."""
        prediction = super().predict(conditions, controls)
        for condition, row in zip(prediction.conditions, prediction.mean, strict=True):
            row[:] = self._distorted(condition, row)
        return prediction

    def _distorted(self, condition: Condition, profile: Array) -> Array:
        raise TypeError(f"{type(self).__name__} defines no _distorted(condition, profile)")


class SortedGenes(Reprofiled):
    """The train-mean profile with all its values in the wrong gene order, from the last gene to the first.

    Joined by position it keeps every sum, variance and distribution over genes. CellSimBench lost the order of genes in a
    set, GEARS returned predictions in an undocumented one, and neither score noticed.
    """

    reference = "CellSimBench metrics over DE genes; GEARS issue 49"

    def _distorted(self, condition: Condition, profile: Array) -> Array:
        return profile[::-1].copy()


class CountScale(Reprofiled):
    """The train-mean profile as counts per 10,000, declared to be their logarithm, for a share of the conditions.

    Evaluators that guess the scale from the largest value were moved by it, and by mixtures of both scales all the more.
    Here the declared scale is believed and the error is what it is.

    Parameters
    ----------
    share
        Share of the conditions, chosen by hash, that are on the wrong scale.
    """

    reference = "cell-eval issues 184, 197, 204 (guessing logarithms or counts)"

    def __init__(self, *, share: float = 1.0) -> None:
        self.share = share

    def _distorted(self, condition: Condition, profile: Array) -> Array:
        return np.expm1(profile) if hashed(condition, "scale").random() < self.share else profile


class MixedScale(CountScale):
    """As `CountScale`, for half of the conditions: the mixture that no guess from the whole matrix gets right.

    Parameters
    ----------
    share
        As in `CountScale`.
    """

    def __init__(self, *, share: float = 0.5) -> None:
        super().__init__(share=share)


class ExtraLog(Reprofiled):
    """The train-mean profile with one logarithm too many, log1p(x): it stays within the bounds of log expression.

    Post-mortems of the Virtual Cell Challenge tell of an extra logarithm that raised scores even of random data.
    """

    reference = "Virtual Cell Challenge 2025, post-mortems (extra log1p)"

    def _distorted(self, condition: Condition, profile: Array) -> Array:
        return np.log1p(np.maximum(profile, 0.0))
