"""From an answer to tidy rows: one for each condition and metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contracts.condition import Condition
from ..contracts.errors import LONGEST, InvalidPrediction
from ..contracts.latents import LatentComparison
from ..contracts.metric import Comparison, MetricInfo, Values
from ..contracts.truth import Truth
from .answer import Answer
from .tables import ROW_COLUMNS, schema

if TYPE_CHECKING:
    import pyarrow as pa

Array = np.ndarray[Any, Any]
FAILED = "metric failed: "


def evaluate(
    metrics: Sequence[MetricInfo], truth: Truth, answer: Answer, latents: LatentComparison | None = None
) -> dict[str, Values]:
    """Values of each metric by id. A metric that raises is undefined everywhere, with its error as the reason.

    Parameters
    ----------
    latents
        For metrics of latent variables.

    Raises
    ------
    InvalidPrediction
        If cells that are read one condition at a time turn out to be none.
    MemoryError
        If memory runs out, which is no fault of the metric.
    """
    variance = None if answer.variance is None else answer.variance.astype(np.float64)
    comparison = Comparison(truth, answer.mean.astype(np.float64), variance, answer.cells, latents)
    out = {}
    for metric in metrics:
        n = metric.size(comparison)
        try:
            values = metric(comparison)
            if values.value.shape != (n,) or values.reason.shape != (n,):
                raise ValueError(f"returned {values.value.shape} values for {n}")
        except (MemoryError, InvalidPrediction):
            raise
        except Exception as error:  # noqa: BLE001 - a plugin's metric must not take the other metrics down
            values = Values.of(np.full(n, np.nan), f"{FAILED}{type(error).__name__}: {error}")
        if metric.level == "perturbation":
            reason = np.where(answer.absent != "", answer.absent, values.reason).astype(object)
            values = Values(np.where(answer.absent != "", np.nan, values.value), reason)
        out[metric.id] = values
    return out


def failures(values: Mapping[str, Values]) -> dict[str, str]:
    """What went wrong by id, for metrics that raised."""
    first = {name: str(v.reason[0]) for name, v in values.items() if len(v.reason)}
    return {name: reason.removeprefix(FAILED) for name, reason in first.items() if reason.startswith(FAILED)}


def reads_spread(metrics: Sequence[MetricInfo]) -> bool:
    """Whether any of some metrics looks at predicted cells or variances."""
    return any({"cells", "variance"} & {*m.needs, *m.reads} for m in metrics)


def rows(
    values: Mapping[str, Values],
    metrics: Sequence[MetricInfo],
    truth: Truth,
    answer: Answer,
    constants: Mapping[str, Any],
    on_halves: Mapping[str, Values] | None = None,
    latents: Sequence[str] = (),
) -> pa.Table:
    """The tidy table of one job.

    Parameters
    ----------
    constants
        Columns that are the same in every row (model, data set, split, fold, seed …).
    on_halves
        Values of some of the metrics against the second halves of the test cells, for the column ``half_value``.
    latents
        Names of the true latent variables, for metrics that have a value for each.
    """
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in (*_DESCRIBED, "predicted", "fallback")}
    scores: dict[str, list[Any]] = {name: [] for name in ("metric", "version", "value", "reason", "half_value")}
    sizes = effect_sizes(truth)
    described = [
        _describe(c, truth.subgroups[i], int(truth.profiles.n_cells[i]), float(sizes[i]))
        | {"predicted": not answer.absent[i], "fallback": bool(answer.fallback[i])}
        for i, c in enumerate(truth.conditions)
    ]
    whole = dict.fromkeys(columns) | {"condition": "*", "perturbation": "*"}
    of_level = {"perturbation": described, "dataset": [whole], "latent": [whole | {"condition": f"latent {n}"} for n in latents]}
    for metric in metrics:
        value = values[metric.id]
        for row in of_level[metric.level]:
            for name, column in columns.items():
                column.append(row[name])
        n = len(value.value)
        scores["metric"] += [metric.id] * n
        scores["version"] += [metric.version] * n
        scores["value"] += [None if np.isnan(v) else float(v) for v in value.value]
        scores["reason"] += [str(r)[:LONGEST] or None for r in value.reason]
        half = on_halves.get(metric.id) if on_halves else None
        scores["half_value"] += [None] * n if half is None else [None if np.isnan(v) else float(v) for v in half.value]
    total = len(scores["metric"])
    types = {field.name: field.type for field in schema(ROW_COLUMNS)}
    table = {name: [value] * total for name, value in constants.items()} | columns | scores
    return pa.table({name: pa.array(column, type=types.get(name)) for name, column in table.items()})


_DESCRIBED = ("condition", "perturbation", "context", "dose", "time", "seen_k", "gi_class", "effect", "n_cells")


def effect_sizes(truth: Truth) -> Array:
    """(n,) Euclidean length of the true change against control with the share of sampling noise taken out; 0 where that leaves none.

    The square root of max(0, norm(x - c)^2 - sum over g of (var_x / n_x + var_c / n_c)), unbiased before the root.
    """
    rows, profiles, controls = truth.control_rows, truth.profiles, truth.controls
    noise = (profiles.var.sum(axis=1, dtype=np.float64) / np.maximum(profiles.n_cells, 1)) + (
        controls.var.sum(axis=1, dtype=np.float64) / np.maximum(controls.n_cells, 1)
    )[rows]
    squared = np.sum((profiles.mean.astype(np.float64) - controls.mean[rows]) ** 2, axis=1)
    return np.sqrt(np.maximum(squared - noise, 0))


def _describe(condition: Condition, subgroups: Mapping[str, str], n_cells: int, effect: float) -> dict[str, Any]:
    return {
        "condition": condition.key,
        "perturbation": condition.label,
        "context": condition.context,
        "dose": "+".join(f"{d:g}" for d in condition.doses) or None,
        "time": condition.time,
        "seen_k": subgroups.get("seen_k"),
        "gi_class": subgroups.get("gi_class"),
        "effect": effect,
        "n_cells": n_cells,
    }
