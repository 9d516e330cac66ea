"""Values of all models on one metric, aligned by test condition, with seeds averaged inside a condition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..bench.contracts.condition import parse_label

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Aligned:
    """Values of models on one metric.

    Parameters
    ----------
    units
        (n,) fold and condition of each column.
    targets
        (n,) the targets of each condition: conditions that share one are dependent.
    values
        For each model (n,) its values, NaN where undefined.
    reasons
        For each model how many conditions are undefined for which reason.
    """

    units: tuple[str, ...]
    targets: tuple[tuple[str, ...], ...]
    values: Mapping[str, Array]
    reasons: Mapping[str, Mapping[str, int]]

    def only(self, units: frozenset[str]) -> Aligned:
        """The same on some of the conditions; reasons are counted for all."""
        keep = [i for i, u in enumerate(self.units) if u in units]
        return Aligned(
            tuple(self.units[i] for i in keep),
            tuple(self.targets[i] for i in keep),
            {m: v[keep] for m, v in self.values.items()},
            self.reasons,
        )


def align(rows: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Aligned]:
    """`Aligned` values of each metric among tidy rows."""
    return {metric: _one(own) for metric, own in rows.groupby("metric", sort=False) if metric in metrics}  # type: ignore[misc]


def unit_names(rows: pd.DataFrame) -> Array:
    """(len(rows),) the unit of each row: its fold and condition."""
    return (rows["fold"] + " " + rows["condition"]).to_numpy(dtype=str)


def _one(rows: pd.DataFrame) -> Aligned:
    units, first, column = np.unique(unit_names(rows), return_index=True, return_inverse=True)
    models, row = np.unique(rows["model"].to_numpy(dtype=str), return_inverse=True)
    value = rows["value"].to_numpy(dtype=np.float64, na_value=np.nan)
    known = ~np.isnan(value)
    shape = (len(models), len(units))
    flat = row * len(units) + column
    count = np.bincount(flat[known], minlength=shape[0] * shape[1])
    total = np.bincount(flat[known], value[known], minlength=shape[0] * shape[1])
    mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0).reshape(shape)
    reasons: dict[str, Counter[str]] = {m: Counter() for m in models.tolist()}
    text = rows["reason"].to_numpy(dtype=object)
    lost = {(int(row[i]), int(column[i])): str(text[i]) for i in np.flatnonzero(~known) if not count[flat[i]]}
    for (i, _), reason in sorted(lost.items()):
        reasons[str(models[i])][reason] += 1
    labels = rows["perturbation"].to_numpy(dtype=str)[first]
    return Aligned(
        tuple(units.tolist()),
        tuple(parse_label(label) for label in labels.tolist()),
        dict(zip(models.tolist(), mean, strict=True)),
        {m: dict(sorted(c.items())) for m, c in reasons.items()},
    )
