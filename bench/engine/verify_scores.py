"""One job of a bundle scored again from its archived predictions, and its rows compared value by value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contracts.errors import DataError
from ..contracts.metric import MetricInfo
from ..contracts.split import SplitManifest
from .answer import Answer
from .assemble import Assembly
from .bundle_predictions import read_archived
from .prepare import PreparedScreen
from .score import evaluate, rows
from .verify_claims import Problem, installed
from .worker import load_plugins

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]
#: A value matches where it differs by no more than ABSOLUTE + RELATIVE * \|value\|: other processors and libraries add up in another order.
RELATIVE, ABSOLUTE = 1e-6, 1e-8
NO_FILE = "the predictions are not in the bundle"
NO_LATENTS = "reads codes of cells, which a bundle does not hold"
NO_CELLS = "reads predicted cells, which a bundle does not hold"
NO_VARIANCE = "reads predicted variances, which are not among the predictions"
NO_METRIC = "the metric is not installed, or has another version"
#: Needs of metrics for which the cells of the truth are gone through.
CELL_NEEDS = frozenset(("cells", "variance", "truth_cells", "de"))
TEXTS = ("reason", "predicted", "fallback", "perturbation", "context", "dose", "seen_k", "gi_class")
NUMBERS = ("value", "half_value", "effect", "n_cells", "time")


@dataclass(frozen=True)
class ScoreAgain:
    """A finished job with what it needs.

    Parameters
    ----------
    card
        Its run card.
    prediction
        The file of its predictions.
    claimed
        Its rows in the bundle.
    facts
        What the class of its model says, as `restage.model_facts` gives it; empty where the model is not installed.
    """

    card: Mapping[str, Any]
    prediction: Path
    claimed: pd.DataFrame
    screen: Path
    manifest: Path
    cell_sums: Path | None
    cell_truth: Path | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    plugins: Sequence[str] = ()


@dataclass(frozen=True)
class Compared:
    """What came of it: how many values match, and by metric how many were not compared, with the reason."""

    problems: list[Problem]
    verified: int
    unverified: Mapping[tuple[str, str], int]


def needs_cell_truth(cards: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any metric of some cards reads the cells of the truth."""
    metrics = installed(m for c in cards for m in c["metrics"])
    return any(CELL_NEEDS & {*m.needs, *m.reads} for m in metrics.values())


def why_not(metric: MetricInfo, answer: Answer) -> str:
    """Why a metric cannot be scored from an archived answer, or an empty string.

    An answer of a model that gave no cells although it was offered to says all that there is; then what reads cells is
    undefined, and that is compared.
    """
    uses = {*metric.needs, *metric.reads}
    silent = answer.cells_offered and not answer.has_cells
    if metric.of_latents:
        return NO_LATENTS
    if "cells" in uses and not silent:
        return NO_CELLS
    return NO_VARIANCE if "variance" in uses and answer.variance is None and not silent else ""


def score_again(job: ScoreAgain) -> Compared:
    """Score a job and compare; to be called in a process of its own.

    Raises
    ------
    DataError
        If the predictions are none, or are of other conditions or genes than the split asks for.
    """
    load_plugins(job.plugins)
    screen = PreparedScreen(job.screen)
    assembly = Assembly(screen, SplitManifest.load(job.manifest), job.cell_sums)
    metrics = installed(job.card["metrics"])
    cells = any(CELL_NEEDS & {*m.needs, *m.reads} for m in metrics.values())
    truth = assembly.truth(job.cell_truth if cells else None, cells=False)
    archived = read_archived(job.prediction)
    if archived.conditions != truth.conditions:
        raise DataError("the predictions answer other conditions, or in another order, than the split asks for")
    if not np.array_equal(archived.genes.astype(str), np.asarray(truth.genes).astype(str)):
        raise DataError("the predictions are of other genes than the data")
    answer = archived.answer
    problems = _coverage(job, [c.key for c in truth.conditions], answer)
    unverified: dict[tuple[str, str], int] = {}
    chosen: list[MetricInfo] = []
    by_metric = {str(m): own for m, own in job.claimed.groupby("metric", sort=False)}
    for name, own in by_metric.items():
        info = metrics.get(name)
        same = info is not None and bool((own["version"] == info.version).all())
        reason = why_not(info, answer) if info is not None and same else NO_METRIC
        if reason:
            unverified[name, reason] = len(own)
        elif info is not None:
            chosen.append(info)
    half = truth.against("half")
    against = half if job.facts.get("against_half") else truth
    values = evaluate(chosen, against, answer)
    claimed_halves = {n for n, own in by_metric.items() if own["half_value"].notna().any()}
    also = [m for m in chosen if m.headline or job.facts.get("calibrates") or m.id in claimed_halves]
    on_halves = values if job.facts.get("against_half") else evaluate(also, half, answer)
    found = rows(values, chosen, against, answer, {}, on_halves).to_pandas()
    differing, same = _compare(job, found, [m.id for m in chosen])
    return Compared(problems + differing, same, unverified)


def _coverage(job: ScoreAgain, keys: list[str], answer: Answer) -> list[Problem]:
    card = job.card
    absent = {key: str(a) for key, a in zip(keys, answer.absent, strict=True) if a}
    found = []
    for key in sorted(set(absent) | set(card["absent"])):
        claimed, there = card["absent"].get(key, "predicted"), absent.get(key, "predicted")
        if claimed != there:
            found.append(Problem.of(card, "coverage", condition=key, claimed=claimed, found=there))
    if (n := int(answer.fallback.sum())) != card["n_fallback"]:
        found.append(Problem.of(card, "n_fallback", claimed=str(card["n_fallback"]), found=str(n)))
    return found


def _compare(job: ScoreAgain, found: pd.DataFrame, names: Sequence[str]) -> tuple[list[Problem], int]:
    """What differs between claimed rows of some metrics and rows that were made again, and how many rows do not."""
    import pandas as pd

    keys = ["metric", "condition"]
    claimed = job.claimed[job.claimed["metric"].isin(names)]
    place = pd.MultiIndex.from_frame(found[keys]).get_indexer(pd.MultiIndex.from_frame(claimed[keys]))
    # A row without a counterpart is named already, as one that the split does not ask for.
    claimed, found = claimed[place >= 0], found.iloc[place[place >= 0]]
    differ: dict[str, Array] = {name: ~close(claimed[name], found[name]) for name in NUMBERS}
    for name in TEXTS:
        a, b = (frame[name].astype(object).where(frame[name].notna(), None).to_numpy() for frame in (claimed, found))
        differ[name] = np.array([x != y for x, y in zip(a, b, strict=True)], dtype=bool)
        if name == "gi_class":
            # It is only known to runs that went through the cells.
            differ[name] &= claimed[name].notna().to_numpy()
    problems = []
    for row in np.flatnonzero(np.any(list(differ.values()), axis=0)):
        for name in (n for n, wrong in differ.items() if wrong[row]):
            said, there = (_said(frame[name].iloc[row]) for frame in (claimed, found))
            metric, condition = (str(claimed[k].iloc[row]) for k in keys)
            problems.append(Problem.of(job.card, name, metric=metric, condition=condition, claimed=said, found=there))
    return problems, len(claimed) - int(np.any(list(differ.values()), axis=0).sum())


def close(claimed: Any, found: Any) -> Array:
    """Whether numbers are the same up to rounding; undefined equals undefined."""
    a, b = (np.asarray(values, dtype=np.float64) for values in (claimed, found))
    with np.errstate(invalid="ignore"):
        near = (a == b) | (np.abs(a - b) <= ABSOLUTE + RELATIVE * np.abs(b))
    return np.where(np.isnan(a) | np.isnan(b), np.isnan(a) & np.isnan(b), near)


def _said(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "undefined"
    return f"{value:.10g}" if isinstance(value, float) else str(value)
