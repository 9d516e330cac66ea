"""Which rows of the records count on a board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..bench.contracts.metric import MetricInfo


def rows_of(cards: Sequence[Mapping[str, Any]], rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of some cards of one data set and split."""
    spec = cards[0]["spec"]
    asked = {(spec["dataset"], spec["split"], c["spec"]["fold"], c["model"], c["spec"]["seed"]) for c in cards}
    code = np.zeros(len(rows), dtype=np.int64)
    parts = []
    for column in ("dataset", "split", "fold", "model", "seed"):
        own, names = pd.factorize(rows[column].to_numpy(dtype=object))
        code = code * len(names) + own
        parts.append(names)
    seen, place = np.unique(code, return_inverse=True)
    wanted = []
    for number in seen.tolist():
        key: list[Any] = []
        for names in reversed(parts):
            number, i = divmod(number, len(names))
            key.append(names[i])
        wanted.append(tuple(reversed(key)) in asked)
    keep = np.array(wanted)[place]
    return rows if keep.all() else rows[keep]


def of_this_version(rows: pd.DataFrame, metrics: Mapping[str, MetricInfo]) -> tuple[pd.DataFrame, dict[str, dict[str, str]]]:
    """Rows of the versions of metrics that are installed, and of each model the metrics of which it has others, with the reason.

    Values of two versions are values of two metrics: they are never averaged, nor compared.
    """
    if not len(rows):
        return rows, {}
    expected = rows["metric"].map({name: info.version for name, info in metrics.items()})
    own = rows["version"] if "version" in rows else pd.Series(np.nan, index=rows.index)
    same = (own == expected) | expected.isna()
    found: dict[str, dict[str, str]] = {}
    other = rows[~same].assign(version=own[~same]).drop_duplicates(["model", "metric", "version"])
    for model, metric, version in other.sort_values(["model", "metric", "version"])[["model", "metric", "version"]].to_numpy():
        said = "of an unknown version" if pd.isna(version) else f"by version {int(version)}"
        found.setdefault(model, {})[metric] = f"scored {said}; run again"
    return rows[same], found


def scored_on_all(rows: pd.DataFrame, metric: str, of_model: Mapping[str, Sequence[Mapping[str, Any]]], asked: int) -> set[str]:
    """Models that a metric has a row of for every condition under every seed."""
    own = rows[rows["metric"] == metric].drop_duplicates(["model", "seed", "fold", "condition"])["model"].value_counts()
    seeds = {m: len({c["spec"]["seed"] for c in cards}) for m, cards in of_model.items()}
    return {m for m, n in seeds.items() if own.get(m, 0) == n * asked}
