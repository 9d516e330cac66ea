"""What the user should know of predictions before reading their scores: what a row was taken for, what is missing, what was ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ..contracts.condition import Condition
from ..contracts.errors import DataError
from .submission_join import first


def rows_shown(facts: Mapping[str, Any]) -> str:
    """How many rows a perturbation has and what they were taken for.

    Examples
    --------
    >>> rows_shown({"n_rows": [2, 2, 3], "cells": False})
    'rows per perturbation: 2 (median; 2 to 3), taken as means and averaged'
    >>> rows_shown({"n_rows": [200, 200], "cells": True})
    'rows per perturbation: 200, taken as cells'
    """
    n = facts["n_rows"]
    spread = f" (median; {min(n)} to {max(n)})" if min(n) < max(n) else ""
    taken = "cells" if facts["cells"] else "means and averaged" if max(n) > 1 else "means"
    return f"rows per perturbation: {median(n):g}{spread}, taken as {taken}"


def notes(facts: Mapping[str, Any], test: set[Condition], missing: Sequence[str], split: str) -> tuple[str, ...]:
    """Sentences for the user, the gravest first.

    Parameters
    ----------
    facts
        What was found in the file.
    test, split
        Test conditions and the name of their split.
    missing
        Those that the file does not predict.

    Raises
    ------
    DataError
        If no test condition is predicted.
    """
    other = sorted(c.key for c in set(map(Condition.from_dict, facts["conditions"])) - test)
    if len(missing) == len(test):
        raise DataError(
            f"none of the {len(test)} test perturbations of {split} is predicted ({first(missing)}); the file predicts "
            f"{first(other)}. Name another --split, or none to score all perturbations."
        )
    return (*_of_rows(facts), *_of_coverage(facts, test, missing, split, other))


def _of_rows(facts: Mapping[str, Any]) -> list[str]:
    n = facts["n_rows"]
    found = []
    if facts["few_rows"]:
        what = "cells: variances and metrics of cells rest on them" if facts["cells"] else "means, which are averaged"
        apart = f" {first(facts['rows_apart'])} in obs tells the rows of a perturbation apart." if facts["rows_apart"] else ""
        found.append(f"CAUTION: the {median(n):g} row(s) per perturbation (median) are taken as {what}, as --rows says.{apart}")
    elif not facts["cells"] and max(n) > 1:
        found.append("Several rows of a perturbation are means, as --rows says, and are averaged.")
    if facts["cells"] and min(n) == 1:
        found.append(f"{n.count(1)} perturbation(s) have a single predicted cell, which has no variance.")
    return found


def _of_coverage(
    facts: Mapping[str, Any], test: set[Condition], missing: Sequence[str], split: str, other: Sequence[str]
) -> list[str]:
    found = []
    if missing:
        found.append(
            f"{len(missing)} of {len(test)} test perturbations are not predicted and count as absent: {first(missing)}. Models with gaps "
            "are not ranked beside those without; predict them, or name a --split without them."
        )
    if facts["controls_ignored"]:
        found.append(
            f"{facts['controls_ignored']} predicted control row(s) are ignored: changes are measured against the truth's controls."
        )
    if other:
        found.append(f"{len(other)} predicted perturbation(s) are no test conditions of {split} and are ignored: {first(other)}.")
    if unknown := facts["unknown"]:
        found.append(
            f"{len(unknown)} predicted perturbation(s) are not in the truth and are ignored: {first(unknown)}.{facts['advice']}"
        )
    if facts["genes_ignored"]:
        found.append(f"{facts['genes_ignored']} predicted gene(s) are not in the truth and are ignored.")
    return found
