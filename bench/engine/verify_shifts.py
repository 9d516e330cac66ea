"""The shifts of a bundle compared with its predictions and the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .bundle import Bundle
from .bundle_predictions import Archived
from .shifts import TOP, Changes
from .store import OK
from .verify_claims import Problem

if TYPE_CHECKING:
    import pandas as pd

#: Shifts have four digits, the last of which may be rounded the other way.
RELATIVE, ABSOLUTE = 1.5e-3, 1e-6


def check_shifts(
    bundle: Bundle, changes: Mapping[str, Changes], prediction: Callable[[Mapping[str, Any]], Archived | None]
) -> tuple[list[Problem], int]:
    """What does not match, and how many shifts could not be compared for want of predictions.

    Parameters
    ----------
    changes
        True changes by split id.
    prediction
        What the job of a card has predicted, where that is in the bundle.
    """
    problems: list[Problem] = []
    unverified = 0
    assert bundle.shifts is not None
    for key, own in bundle.shifts.groupby(["model", "fold"], sort=True):
        model, fold = map(str, key if isinstance(key, tuple) else (key, ""))
        cards = [
            c for c in bundle.cards if (c["model"], c["spec"]["fold"]) == (model, fold) and c["status"] == OK and c["predicts"]
        ]
        found = [prediction(c) for c in cards]
        answers = [a for a in found if a is not None]
        if not cards or len(answers) < len(cards):
            unverified += len(own)
            continue
        problems += _check_model(Problem("", model, fold), own, changes[cards[0]["spec"]["split_id"]], answers)
    return problems, unverified


def _check_model(where: Problem, own: pd.DataFrame, here: Changes, answers: list[Archived]) -> list[Problem]:
    problems: list[Problem] = []
    row = {key: i for i, key in enumerate(here.keys)}
    column = {str(gene): j for j, gene in enumerate(here.genes)}
    predicted = here.predicted(answers)
    k = min(TOP, len(column))

    def say(what: str, condition: str, claimed: str = "", found: str = "") -> None:
        problems.append(Problem(what, where.model, where.fold, condition=condition, claimed=claimed, found=found))

    for key, part in own.groupby("condition", sort=True):
        condition = str(key)
        genes = [column.get(str(g), -1) for g in part["gene"]]
        i = row.get(condition, -1)
        if i < 0 or np.isnan(predicted[i]).all():
            say("a scatter of a condition that was not predicted", condition)
            continue
        if min(genes) < 0 or len(set(genes)) != len(genes) or len(genes) != k:
            say(f"the scatter does not show {k} genes of the data, each once", condition)
            continue
        smallest = np.sort(np.abs(here.true[i]))[-k]
        if np.abs(here.true[i, genes]).min() < smallest * (1 - RELATIVE) - ABSOLUTE:
            say(f"the genes of the scatter are not the {k} that change most", condition)
        for name, expected in (("truth", here.true[i, genes]), ("predicted", predicted[i, genes])):
            claimed = part[name].to_numpy(dtype=np.float64)
            wrong = ~(np.abs(claimed - expected) <= ABSOLUTE + RELATIVE * np.abs(expected))
            if wrong.any():
                j = int(np.flatnonzero(wrong)[0])
                what = f"{name} change of {here.genes[genes[j]]} in the scatter"
                say(what, condition, f"{claimed[j]:.4g}", f"{expected[j]:.4g}")
    return problems
