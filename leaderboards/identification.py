"""Boards of latent variables: how far the codes of models say what generated the cells, and how far trainings agree."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..bench.contracts.metric import MetricInfo
from ..bench.engine.store import age
from .counted import of_this_version, rows_of

Array = np.ndarray[Any, Any]
#: The metric that orders models.
PRIMARY = "mcc.responsive"
#: The metric whose values by latent variable are tabulated.
BY_LATENT = "r2_latent.nonlinear"
LATENT = "latent "


@dataclass(frozen=True)
class Score:
    """A model's value on a metric.

    Parameters
    ----------
    mean, low, high
        Mean over seeds with its 95 % Student interval; no interval for a single seed or a deterministic model.
    seeds
        Values by seed.
    reason
        Why there is no value under some seed; empty otherwise.
    """

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]
    reason: str = ""


@dataclass(frozen=True)
class Agreement:
    """Of a model the mean, smallest and largest agreement of the codes of two seeds, and of how many pairs."""

    mean: float
    lowest: float
    highest: float
    pairs: int


@dataclass(frozen=True)
class CodeLine:
    """A model on a board; `status` other than ``ok`` comes with a reason and no scores.

    `told` says whether its codes change when it is not told what was done to the cells.
    """

    model: str
    reference_row: bool
    status: str
    reason: str
    claim: str
    told: bool
    stochastic: bool
    scores: Mapping[str, Score]
    by_latent: Mapping[str, float]
    agreement: Agreement | None = None
    seconds: float = math.nan


@dataclass(frozen=True)
class Identification:
    """All models on the latent variables of one data set and split."""

    dataset: str
    split: str
    card: Mapping[str, Any]
    data_id: str
    split_ids: tuple[str, ...]
    seeds: tuple[int, ...]
    audit: str
    versions: tuple[str, ...]
    lines: tuple[CodeLine, ...]
    metrics: tuple[str, ...]
    latents: tuple[str, ...]
    kind: str = field(default="identification", init=False)

    @property
    def known(self) -> bool:
        """Whether the latent variables are known, so that there are scores and not only agreements."""
        return bool(self.metrics)


def identifications(
    cards: Iterable[Mapping[str, Any]],
    rows: pd.DataFrame,
    metrics: Mapping[str, MetricInfo],
    agreements: Sequence[Mapping[str, Any]],
    shown: Callable[[str], bool] = lambda model: True,
) -> list[Identification]:
    """One board for each data set and split on which models were asked for codes; a pure function of the records.

    Parameters
    ----------
    cards, rows, metrics, shown
        As for `board.boards`.
    agreements
        Of the codes of two seeds each, as `engine.encodings.read_agreements` gives them.
    """
    own = [c for c in cards if c["audit"].get("status") != "fail" and _asks_codes(c, metrics) and shown(c["model"])]
    made = []
    for dataset, split in sorted({(c["spec"]["dataset"], c["spec"]["split"]) for c in own}):
        here = [c for c in own if (c["spec"]["dataset"], c["spec"]["split"]) == (dataset, split)]
        newest = max(here, key=age)
        here = [c for c in here if c["spec"]["data_id"] == newest["spec"]["data_id"]]
        # As for predictions: codes of the cells of an older manifest of a fold are codes of other cells.
        manifest = {c["spec"]["fold"]: c["spec"]["split_id"] for c in sorted(here, key=age)}
        here = [c for c in here if c["spec"]["split_id"] == manifest[c["spec"]["fold"]]]
        made.append(_board(here, newest, rows_of(here, rows) if len(rows) else rows, metrics, agreements))
    return [b for b in made if b.known or any(x.agreement or x.status != "ok" for x in b.lines)]


def _asks_codes(card: Mapping[str, Any], metrics: Mapping[str, MetricInfo]) -> bool:
    return any(m in metrics and metrics[m].of_latents for m in card.get("metrics", ()))


def _board(
    cards: Sequence[Mapping[str, Any]],
    newest: Mapping[str, Any],
    rows: pd.DataFrame,
    metrics: Mapping[str, MetricInfo],
    agreements: Sequence[Mapping[str, Any]],
) -> Identification:
    if len(rows):
        rows = rows[rows["metric"].isin([m for m, info in metrics.items() if info.of_latents])]
        rows, _ = of_this_version(rows, metrics)
    there = set(rows.loc[rows["value"].notna(), "metric"].unique()) if len(rows) else set()
    names = tuple(m for m in metrics if m in there)
    latents = sorted(set(rows.loc[rows["condition"].str.startswith(LATENT), "condition"]), key=_natural) if len(rows) else ()
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for card in cards:
        by_model.setdefault(card["model"], []).append(card)
    lines = [_line(own, rows, names, metrics, _agreement(own, agreements)) for _, own in sorted(by_model.items())]
    return Identification(
        dataset=newest["spec"]["dataset"],
        split=newest["spec"]["split"],
        card=newest["dataset_card"],
        data_id=newest["spec"]["data_id"],
        split_ids=tuple(sorted({c["spec"]["split_id"] for c in cards})),
        seeds=tuple(sorted({c["spec"]["seed"] for c in cards})),
        audit=newest["audit"]["status"],
        versions=tuple(
            sorted(
                {f"pbench {c['pbench']}" for c in cards}
                | {f"{k} {v}" for c in cards for k, v in c["spec"]["environment"].items()}
            )
        ),
        lines=tuple(lines),
        metrics=tuple(m for m in names if metrics[m].level == "dataset"),
        latents=tuple(name.removeprefix(LATENT) for name in latents),
    )


def _natural(text: str) -> list[Any]:
    """z2 before z10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)]


def _line(
    cards: Sequence[Mapping[str, Any]],
    rows: pd.DataFrame,
    names: Sequence[str],
    metrics: Mapping[str, MetricInfo],
    agreement: Agreement | None,
) -> CodeLine:
    bad = [c for c in cards if c["status"] != "ok"]
    good = [c for c in cards if c["status"] == "ok"]
    own = rows[rows["model"] == cards[0]["model"]] if len(rows) else rows
    whole = bool(good) and not bad
    scores = {m: score(own[own["metric"] == m]) for m in names if metrics[m].level == "dataset"} if whole and len(own) else {}
    latent = own[own["metric"] == BY_LATENT] if whole and len(own) else own[:0]
    by_latent = latent.groupby("condition", sort=False)["value"].mean().to_dict() if len(latent) else {}
    return CodeLine(
        model=cards[0]["model"],
        reference_row=cards[0]["reference_row"],
        status="ok" if whole else bad[0]["status"],
        reason="" if whole else bad[0]["reason"],
        claim=good[0].get("claim", "") if good else "",
        told=any(c.get("uses_condition_at_encode") for c in good),
        stochastic=cards[0]["stochastic"],
        scores=scores,
        by_latent={str(k).removeprefix(LATENT): float(v) for k, v in by_latent.items()},
        agreement=agreement if whole else None,
        seconds=float(np.median([c["seconds"].get("fit", math.nan) for c in good])) if good else math.nan,
    )


def score(rows: pd.DataFrame) -> Score:
    """The mean over seeds of the rows of one model and metric, folds averaged first."""
    from scipy import stats

    reasons = sorted({str(r) for r in rows["reason"].dropna()})
    values = rows.groupby("seed")["value"].mean() if len(rows) else pd.Series(dtype=float)
    if not len(values) or rows["value"].isna().any():
        return Score(math.nan, math.nan, math.nan, (), reasons[0] if reasons else "")
    seeds = tuple(float(v) for v in values.sort_index())
    mean, n = float(np.mean(seeds)), len(seeds)
    if n < 2:
        return Score(mean, math.nan, math.nan, seeds)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(seeds, ddof=1) / math.sqrt(n))
    return Score(mean, mean - half, mean + half, seeds)


def ahead(a: Score, b: Score) -> tuple[float, float, float]:
    """Mean difference of two models over seeds with its 95 % Welch interval; a model of one value adds no variance.

    NaN ends where neither model has two seeds.
    """
    from scipy import stats

    parts = [(np.var(s.seeds, ddof=1) / len(s.seeds), len(s.seeds)) if len(s.seeds) > 1 else (0.0, 1) for s in (a, b)]
    difference = a.mean - b.mean
    total = parts[0][0] + parts[1][0]
    spread = [(v**2 / (n - 1)) for v, n in parts if n > 1]
    if not spread or total == 0:
        return difference, math.nan if not spread else difference, math.nan if not spread else difference
    half = float(stats.t.ppf(0.975, total**2 / sum(spread)) * math.sqrt(total))
    return difference, difference - half, difference + half


def _agreement(cards: Sequence[Mapping[str, Any]], agreements: Sequence[Mapping[str, Any]]) -> Agreement | None:
    jobs = {c["job_id"] for c in cards if c["status"] == "ok"}
    values = [float(a["value"]) for a in agreements if set(a["jobs"]) <= jobs]
    return Agreement(float(np.mean(values)), min(values), max(values), len(values)) if values else None
