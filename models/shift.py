"""The common last step: a change for each condition becomes expression in the condition's own context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.prediction import Prediction
from ..bench.contracts.training import Profiles

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Shift:
    """The change that one condition makes.

    Parameters
    ----------
    value
        (G,) change of mean log1p expression against the control mean of the context.
    fallback
        True where something simpler than the model answered.
    """

    value: Array
    fallback: bool = False


def predict_shifts(conditions: Sequence[Condition], controls: Profiles, shifts: Sequence[Shift | str]) -> Prediction:
    """Control mean of each condition's context plus its change.

    Parameters
    ----------
    conditions
        n queries.
    controls
        Control profiles of their contexts.
    shifts
        A `Shift` for each query, or the reason why there is none; the query is then absent.
    """
    given = {c: s for c, s in zip(conditions, shifts, strict=True) if isinstance(s, Shift)}
    present = tuple(given)
    mean = controls.control_mean(present)
    for row, shift in zip(mean, given.values(), strict=True):
        row += shift.value
    return Prediction(
        conditions=present,
        mean=mean,
        fallback=np.array([s.fallback for s in given.values()], dtype=bool),
        absent={c: s for c, s in zip(conditions, shifts, strict=True) if isinstance(s, str)},
    )
