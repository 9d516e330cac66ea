"""A prediction as arrays of an archive, and back to the last bit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..contracts.condition import Condition
from ..contracts.errors import DataError
from .answer import Answer
from .sealed import Damaged


def prediction_arrays(conditions: Iterable[Condition], genes: Any, answer: Answer) -> dict[str, Any]:
    """What is archived of an answer: ``mean``, ``genes``, ``facts`` (JSON) and, where it has one, ``variance``."""
    facts = {
        "conditions": [c.to_dict() for c in conditions],
        "absent": [str(a) for a in answer.absent],
        "fallback": [bool(f) for f in answer.fallback],
        "seconds": dict(answer.seconds),
        "has_cells": answer.has_cells,
        "cells_offered": answer.cells_offered,
    }
    arrays: dict[str, Any] = {
        "mean": answer.mean,
        "genes": np.asarray(genes, dtype=str),
        "facts": np.array(json.dumps(facts)),
    }
    return arrays if answer.variance is None else {**arrays, "variance": answer.variance}


def answer_of(arrays: Mapping[str, Any], conditions: tuple[Condition, ...]) -> Answer | None:
    """The archived answer, or None where it answers other conditions.

    Raises
    ------
    Damaged
        If these are not the arrays of an answer.
    """
    try:
        facts, mean = json.loads(str(arrays["facts"])), arrays["mean"]
        if [Condition.from_dict(c) for c in facts["conditions"]] != list(conditions):
            return None
        return Answer(
            mean,
            np.array(facts["fallback"], dtype=bool),
            np.array(facts["absent"], dtype=object),
            facts["seconds"],
            arrays.get("variance"),
            has_cells=bool(facts.get("has_cells")),
            cells_offered=bool(facts.get("cells_offered")),
        )
    except (DataError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"is no archived prediction ({type(error).__name__})") from error
