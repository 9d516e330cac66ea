"""What a scatter of true against predicted changes shows: of each condition the genes that change most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contracts.truth import Truth
from .bundle import SHIFT_COLUMNS
from .bundle_predictions import Archived

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]
#: Genes of a condition, those with the largest true change.
TOP = 30
DIGITS = 4


@dataclass(frozen=True)
class Changes:
    """True changes of the test conditions of one fold.

    Parameters
    ----------
    keys
        Names of the n conditions.
    genes
        (G,) names, sorted.
    control
        (n, G) mean log1p of the control cells of each condition's context.
    true
        (n, G) float64 mean of the test cells minus that control.
    """

    keys: tuple[str, ...]
    genes: Array
    control: Array
    true: Array

    @classmethod
    def of(cls, truth: Truth) -> Changes:
        """Changes against the control of the context; a context without control cells has the mean of all."""
        control = truth.controls.control_mean(truth.conditions)
        true = truth.profiles.mean.astype(np.float64) - control
        return cls(tuple(c.key for c in truth.conditions), np.asarray(truth.genes), control, true)

    def largest(self) -> Array:
        """(n, k) genes by true change, largest first; ties go by name."""
        return np.argsort(-np.abs(self.true), axis=1, kind="stable")[:, :TOP]

    def predicted(self, answers: Sequence[Archived]) -> Array:
        """(n, G) predicted change, the mean over the seeds that answered; NaN where none did."""
        total, n = np.zeros(self.true.shape), np.zeros((len(self.keys), 1))
        for archived in answers:
            there = archived.answer.absent == ""
            total[there] += archived.answer.mean[there] - self.control[there]
            n[there] += 1
        return np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)


def shifts(
    cards: Sequence[Mapping[str, Any]],
    changes: Mapping[str, Changes],
    prediction: Callable[[str], Archived | None],
) -> pd.DataFrame:
    """The shifts of all models that predict, sorted by model, fold and condition, and in these by the size of the true change.

    Parameters
    ----------
    cards
        Run cards.
    changes
        `Changes` of each split by its id.
    prediction
        What the job of an id has predicted, to exactly the conditions of its split; None where that is not kept.

    Returns
    -------
    Columns as in `bundle.SHIFT_COLUMNS`; numbers are float32 of `DIGITS` significant digits. No rows where no seed answered.
    """
    import pandas as pd

    jobs: dict[tuple[str, str], dict[str, str]] = {}
    for card in cards:
        if card["status"] == "ok" and card.get("predicts", True):
            jobs.setdefault((card["model"], card["spec"]["fold"]), {})[card["job_id"]] = card["spec"]["split_id"]
    parts: dict[str, list[Any]] = {name: [] for name in SHIFT_COLUMNS}
    for (model, fold), own in sorted(jobs.items()):
        found = [a for job in sorted(own) if (a := prediction(job)) is not None]
        if not found:
            continue
        here = changes[next(iter(own.values()))]
        predicted = here.predicted(found)
        largest = here.largest()
        for i in sorted(range(len(here.keys)), key=here.keys.__getitem__):
            if np.isnan(predicted[i]).all():
                continue
            top = largest[i]
            for name, values in (("model", model), ("fold", fold), ("condition", here.keys[i])):
                parts[name].append(np.full(len(top), values, dtype=object))
            parts["gene"].append(here.genes[top].astype(object))
            parts["truth"].append(significant(here.true[i, top]))
            parts["predicted"].append(significant(predicted[i, top]))
    if not parts["model"]:
        return pd.DataFrame({name: np.array([], dtype=object) for name in SHIFT_COLUMNS})
    return pd.DataFrame({name: np.concatenate(values) for name, values in parts.items()})


def significant(values: Array) -> Array:
    """Values as float32 of `DIGITS` significant digits.

    >>> significant(np.array([1234567.0, -0.000123456, 0.0])).tolist()
    [1235000.0, -0.00012349999451544136, 0.0]
    """
    size = np.abs(values)
    with np.errstate(divide="ignore"):
        scale = np.where(size > 0, 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.where(size > 0, size, 1)))), 1.0)
    return (np.round(values * scale) / scale + 0.0).astype(np.float32)
