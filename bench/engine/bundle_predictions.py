"""Archived predictions that somebody else has written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts.condition import Condition
from ..contracts.errors import DataError, PbenchError
from .answer import Answer
from .bundle_files import arrays, contents, parse_json, shown
from .card_values import texts

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Archived:
    """What one job has predicted.

    Parameters
    ----------
    conditions
        The n conditions that were asked for.
    genes
        (G,) names.
    answer
        The answer to them; without cells, which are not archived.
    """

    conditions: tuple[Condition, ...]
    genes: Array
    answer: Answer


def read_archived(path: Path) -> Archived:
    """Read an archive as `Store.save_prediction` writes it, without trusting it.

    Raises
    ------
    DataError
        If it is none: other arrays, Python objects, shapes that do not fit, numbers that are none.
    """
    name = f"{path.parent.name}/{path.name}"
    found = arrays(contents(path.parent, path.name), name, {"mean": "f", "variance": "f", "genes": "U", "facts": "U"})
    if lacking := {"mean", "genes", "facts"} - set(found):
        raise DataError(f"{name} lacks the array {min(lacking)}")
    if found["facts"].shape != () or found["genes"].ndim != 1:
        raise DataError(f"{name}: genes or facts have another shape than a list and a text")
    facts = parse_json(str(found["facts"]).encode("utf-8", "replace"), f"{name}, facts")
    conditions = _conditions(facts, name)
    n, shape = len(conditions), (len(conditions), len(found["genes"]))
    mean, variance = found["mean"], found.get("variance")
    if mean.shape != shape or (variance is not None and variance.shape != shape):
        raise DataError(f"{name}: {shown(mean.shape)} numbers for {shape[0]} conditions x {shape[1]} genes")
    absent = np.array(_list(facts, "absent", str, n, name), dtype=object)
    fallback = np.array(_list(facts, "fallback", bool, n, name), dtype=bool)
    there = absent == ""
    if not np.isfinite(mean[there]).all() or not np.isnan(mean[~there]).all():
        raise DataError(f"{name}: a predicted condition holds a number that is none, or an absent one a number")
    if variance is not None and ((variance < 0) | np.isinf(variance)).any():
        raise DataError(f"{name}: a variance is negative or infinite")
    answer = Answer(
        mean.astype(np.float32),
        fallback,
        absent,
        {},
        None if variance is None else variance.astype(np.float32),
        has_cells=bool(facts.get("has_cells")),
        cells_offered=bool(facts.get("cells_offered")),
    )
    return Archived(conditions, found["genes"], answer)


def _conditions(facts: Any, name: str) -> tuple[Condition, ...]:
    try:
        return tuple(Condition.from_dict(c) for c in facts["conditions"])
    except (KeyError, TypeError, ValueError, AttributeError, PbenchError) as error:
        raise DataError(f"{name} does not say which conditions were asked for ({shown(repr(error))})") from error


def _list(facts: Mapping[str, Any], key: str, kind: type, n: int, name: str) -> list[Any]:
    values = facts.get(key)
    if not isinstance(values, list) or len(values) != n or not all(type(v) is kind for v in values):
        raise DataError(f"{name}: {key} is no list of {n} values")
    if kind is str and not texts(values):
        raise DataError(f"{name}: a reason is too long")
    return values
