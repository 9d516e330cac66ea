"""The primary metric apart for kinds of perturbations: how much training saw of them, how strong, how well measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..bench.contracts.metric import MetricInfo
from .aligned import Aligned, unit_names
from .cells import Cell, cells

Array = np.ndarray[Any, Any]

#: Column of the records, and what a reader calls it.
NAMED = {"seen_k": "targets seen alone in training", "gi_class": "genetic interaction"}
MEASURED = {"effect": "size of the true change", "n_cells": "number of test cells"}
TERTILES = ("low", "middle", "high")


@dataclass(frozen=True)
class Stratum:
    """A part of the test conditions.

    Parameters
    ----------
    kind, level
        What the conditions are parted by, and which part this is.
    low, high
        The smallest and the largest value in it, of a kind that is measured; NaN for others.
    n
        Its conditions.
    cells
        `Cell` of the primary metric by model; models with fewer than two values in it are absent.
    """

    kind: str
    level: str
    low: float
    high: float
    n: int
    cells: Mapping[str, Cell]


def strata(rows: pd.DataFrame, aligned: Aligned, metric: MetricInfo, models: Collection[str]) -> list[Stratum]:
    """Strata of the conditions by what the records say of them; a kind that has a single level, or is not recorded, is left out.

    Parameters
    ----------
    rows
        Tidy rows of the metric `metric` for all models.
    """
    facts = _facts(rows)
    found = []
    for column, kind in (NAMED | MEASURED).items():
        if column in facts:
            known = facts[column].dropna()
            levels = _tertiles(known) if column in MEASURED else _levels(known)
            if len(levels) > 1:
                found += [_stratum(kind, level, known, units, aligned, metric, models) for level, units in levels.items()]
    return found


def _facts(rows: pd.DataFrame) -> pd.DataFrame:
    """What is recorded of each unit; duplicates are scored against half of the cells, so that the row of most cells knows best.

    Where it leaves a column empty, the next row that does not is asked.
    """
    columns = [c for c in (*NAMED, *MEASURED) if c in rows and not rows[c].isna().all()]
    own = rows.assign(unit=unit_names(rows))
    own = own[own["condition"] != "*"]
    by = ["unit", "n_cells", "model"] if "n_cells" in own else ["unit", "model"]
    own = own.sort_values(by, ascending=[True, *([False] if len(by) == 3 else []), True], kind="stable")
    # `first` takes the first value that is recorded, column by column.
    return own.groupby("unit", sort=True)[columns].first()


def _levels(known: pd.Series[Any]) -> dict[str, frozenset[str]]:
    return {str(level): frozenset(known.index[known == level]) for level in sorted(set(known))}


def _tertiles(known: pd.Series[Any]) -> dict[str, frozenset[str]]:
    """Three parts of about equal size, cut between different values; fewer where there are not enough of them."""
    value = known.to_numpy(dtype=np.float64)
    if not len(value):
        return {}
    cuts = np.quantile(value, [1 / 3, 2 / 3], method="inverted_cdf")
    part = np.searchsorted(cuts, value, side="left")
    return {TERTILES[i]: frozenset(known.index[part == i]) for i in np.unique(part)}


def _stratum(
    kind: str,
    level: str,
    known: pd.Series[Any],
    units: frozenset[str],
    aligned: Aligned,
    metric: MetricInfo,
    models: Collection[str],
) -> Stratum:
    own = aligned.only(units)
    own = replace(own, **{part: {m: v for m, v in getattr(own, part).items() if m in models} for part in ("values", "seeds")})
    made = cells({metric.id: own}, {metric.id: metric}) if own.values else {}
    inside = known[known.index.isin(units)]
    ends = (float(inside.min()), float(inside.max())) if kind in MEASURED.values() else (float("nan"), float("nan"))
    shown = {m: c[metric.id] for m, c in made.items() if c[metric.id].defined > 1}
    return Stratum(kind, level, *ends, len(own.units), shown)
