"""Values of all models on one metric, aligned by test condition, with seeds averaged inside a condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..bench.contracts.condition import parse_label

Array = np.ndarray[Any, Any]

NOT_SCORED = "not scored"


@dataclass(frozen=True)
class Aligned:
    """Values of models on one metric.

    Parameters
    ----------
    units
        (n,) fold and condition of each column.
    targets
        (n,) the targets of each condition: conditions that share one are dependent.
    contexts
        (n,) the context of each condition; None where there is a single one.
    values
        For each model (n,) its values, NaN where undefined.
    seeds
        For each model (s, n) its values by seed, NaN where undefined or not run.
    halves
        For each model (n,) its values against the second halves of the test cells, which alone calibrate; NaN where
        undefined or not recorded.
    reasons
        For each model how many conditions are undefined for which reason; `NOT_SCORED` where there is no record.
    """

    units: tuple[str, ...]
    targets: tuple[tuple[str, ...], ...]
    contexts: tuple[str, ...] | None
    values: Mapping[str, Array]
    seeds: Mapping[str, Array]
    halves: Mapping[str, Array]
    reasons: Mapping[str, Mapping[str, int]]

    def only(self, units: frozenset[str]) -> Aligned:
        """The same on some of the conditions; reasons are counted for all."""
        keep = [i for i, u in enumerate(self.units) if u in units]
        contexts = None if self.contexts is None else tuple(self.contexts[i] for i in keep)
        return Aligned(
            tuple(self.units[i] for i in keep),
            tuple(self.targets[i] for i in keep),
            contexts if contexts and len(set(contexts)) > 1 else None,
            {m: v[keep] for m, v in self.values.items()},
            {m: v[:, keep] for m, v in self.seeds.items()},
            {m: v[keep] for m, v in self.halves.items()},
            self.reasons,
        )


@dataclass(frozen=True)
class _Codes:
    """Numbers for the names in rows, sorted by name, and the names."""

    code: Array
    names: Array

    @classmethod
    def of(cls, column: Any) -> _Codes:
        code, names = pd.factorize(np.asarray(column, dtype=object), sort=True)
        return cls(code, names)


def align(rows: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Aligned]:
    """`Aligned` values of each metric among tidy rows."""
    if not len(rows):
        return {}
    units, models, seeds = _units(rows), _Codes.of(rows["model"]), _Codes.of(rows["seed"])
    reasons = _Codes.of(rows["reason"])
    value, half = (
        rows[c].to_numpy(dtype=np.float64, na_value=np.nan) if c in rows else np.full(len(rows), np.nan)
        for c in ("value", "half_value")
    )
    first = np.full(len(units.names), len(rows))
    np.minimum.at(first, units.code, np.arange(len(rows)))
    targets = [parse_label(label) for label in rows["perturbation"].to_numpy(dtype=object)[first]]
    context = (
        ["" if pd.isna(c) else str(c) for c in rows["context"].to_numpy(dtype=object)[first]]
        if "context" in rows
        else [""] * len(first)
    )
    metric, names = pd.factorize(rows["metric"].to_numpy(dtype=object))
    order = np.lexsort((seeds.code, metric))
    pieces = np.split(order, np.flatnonzero(np.diff(metric[order])) + 1)
    found = {}
    for own in pieces:
        if (name := str(names[metric[own[0]]])) in metrics:
            column = np.unique(units.code[own])
            contexts = tuple(context[c] for c in column)
            grid = _grid(own, np.searchsorted(column, units.code[own]), len(column), models, seeds, value, half, reasons)
            found[name] = Aligned(
                tuple(str(units.names[c]) for c in column),
                tuple(targets[c] for c in column),
                contexts if len(set(contexts)) > 1 else None,
                *grid,
            )
    return {name: found[name] for name in metrics if name in found}


def unit_names(rows: pd.DataFrame) -> Array:
    """(len(rows),) the unit of each row: its fold and condition."""
    return (rows["fold"] + " " + rows["condition"]).to_numpy(dtype=object)


def _units(rows: pd.DataFrame) -> _Codes:
    fold, condition = _Codes.of(rows["fold"]), _Codes.of(rows["condition"])
    pair, code = np.unique(fold.code * len(condition.names) + condition.code, return_inverse=True)
    names = np.array(
        [f"{fold.names[p // len(condition.names)]} {condition.names[p % len(condition.names)]}" for p in pair], dtype=object
    )
    order = np.argsort(names, kind="stable")
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    return _Codes(rank[code], names[order])


def _grid(
    own: Array, column: Array, n: int, models: _Codes, seeds: _Codes, value: Array, half: Array, reasons: _Codes
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array], dict[str, dict[str, int]]]:
    """Values, values by seed, values on halves and reasons of each model, of the rows `own` (sorted by seed) of one metric.

    `column` is the place of each of these rows among the n units.
    """
    there, model = np.unique(models.code[own], return_inverse=True)
    cube, of_half = np.full((2, len(there), len(seeds.names), n), np.nan)
    cube[model, seeds.code[own], column] = value[own]
    of_half[model, seeds.code[own], column] = half[own]
    known = ~np.isnan(cube)
    count = known.sum(axis=1)
    mean = _over_seeds(cube)
    names = [str(models.names[m]) for m in there]
    why: dict[str, dict[str, int]] = {m: {} for m in names}
    lost = np.flatnonzero((count[model, column] == 0) & (reasons.code[own] >= 0))
    # Undefined in every seed: the reason of the first one.
    lost = lost[np.unique(model[lost] * n + column[lost], return_index=True)[1]]
    pair = model[lost] * len(reasons.names) + reasons.code[own[lost]]
    found, times = np.unique(pair, return_counts=True)
    for p, t in zip(found.tolist(), times.tolist(), strict=True):
        why[names[p // len(reasons.names)]][str(reasons.names[p % len(reasons.names)])] = t
    scored = np.zeros((len(there), n), dtype=bool)
    scored[model, column] = True
    for i in np.flatnonzero(~scored.all(axis=1)):
        why[names[i]][NOT_SCORED] = int((~scored[i]).sum())
    ran = np.asarray(known.any(axis=2))
    return (
        dict(zip(names, mean, strict=True)),
        {m: cube[i][ran[i]] for i, m in enumerate(names)},
        dict(zip(names, _over_seeds(of_half), strict=True)),
        why,
    )


def _over_seeds(cube: Array) -> Array:
    """(models, n) mean over the seeds of (models, seeds, n) that have a value."""
    known = ~np.isnan(cube)
    count = known.sum(axis=1)
    return np.divide(np.where(known, cube, 0.0).sum(axis=1), count, out=np.full(count.shape, np.nan), where=count > 0)
