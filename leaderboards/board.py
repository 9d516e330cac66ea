"""From records to boards: which records count, and each model's mean, interval and coverage on a split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..bench.contracts.metric import MetricInfo
from ..bench.engine.calibration import Calibration, calibrate
from ..bench.engine.inference import bootstrap_interval
from ..bench.engine.ranks import tied_ranks
from .aligned import Aligned, align, unit_names

#: The metric that ranks models; it is named on every board.
PRIMARY = "mse@de20"
#: The control that a metric must tell from a trivial baseline before it may rank anything.
POSITIVE = "technical-duplicate"


@dataclass(frozen=True)
class Cell:
    """A model's value on a metric: mean over perturbations, 95 % interval, and how many of them are defined."""

    mean: float
    low: float
    high: float
    defined: int
    asked: int
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class Line:
    """A model on a board; `cells` by metric id. `status` other than ``ok`` comes with a reason and no cells.

    `predicted`, `asked` and `fallback` count conditions over all folds. `rank` is None for a model that is not ranked.
    """

    model: str
    reference_row: bool
    status: str
    reason: str
    predicted: int
    asked: int
    fallback: int
    cells: Mapping[str, Cell]
    absent: Mapping[str, int]
    prior_knowledge: tuple[str, ...] = ()
    rank: int | None = None

    @property
    def complete(self) -> bool:
        return self.status == "ok" and self.predicted == self.asked


@dataclass(frozen=True)
class Board:
    """All models on one data set and split.

    `common` holds the competing models again, on the conditions that every one of them answered; it is empty where all
    answered everything, or nothing in common. Models that answered nothing do not narrow it. `calibrations` says of each
    headline metric whether it tells a technical duplicate from a trivial baseline here.
    """

    dataset: str
    split: str
    card: Mapping[str, Any]
    data_id: str
    split_ids: tuple[str, ...]
    seeds: tuple[int, ...]
    audit: Mapping[str, Any]
    versions: tuple[str, ...]
    lines: tuple[Line, ...]
    common: tuple[Line, ...]
    calibrations: Mapping[str, Calibration]
    metrics: tuple[str, ...]


def boards(cards: Iterable[Mapping[str, Any]], rows: pd.DataFrame, metrics: Mapping[str, MetricInfo]) -> list[Board]:
    """One board for each data set and split among records; a pure function of them.

    Parameters
    ----------
    cards
        Run cards, as `current` gives them.
    rows
        Their tidy rows.
    metrics
        Facts about the metrics in the rows.
    """
    cards = [c for c in cards if c["audit"].get("status") != "fail"]
    made = []
    for dataset, split in sorted({(c["spec"]["dataset"], c["spec"]["split"]) for c in cards}):
        own = [c for c in cards if (c["spec"]["dataset"], c["spec"]["split"]) == (dataset, split)]
        newest = max(own, key=lambda c: (c["started"], c["score_id"]))
        own = [c for c in own if c["spec"]["data_id"] == newest["spec"]["data_id"]]
        # A split that was made anew asks other questions: only answers to the newest manifest of a fold stand side by side.
        manifest = {c["spec"]["fold"]: c["spec"]["split_id"] for c in sorted(own, key=lambda c: (c["started"], c["score_id"]))}
        own = [c for c in own if c["spec"]["split_id"] == manifest[c["spec"]["fold"]]]
        part = _rows_of(own, rows[(rows["dataset"] == dataset) & (rows["split"] == split)]) if len(rows) else rows
        shown = {m: info for m, info in metrics.items() if len(part) and (part["metric"] == m).any()}
        aligned = align(part, tuple(shown))
        names = sorted({c["model"] for c in own})
        lines = [_line([c for c in own if c["model"] == n], _cells(n, aligned, shown)) for n in names]
        ranks = _ranks([x.model for x in lines if x.complete and not x.reference_row], aligned, shown)
        lines = [replace(x, rank=ranks.get(x.model)) for x in lines]
        made.append(
            Board(
                dataset=dataset,
                split=split,
                card=newest["dataset_card"],
                data_id=newest["spec"]["data_id"],
                split_ids=tuple(sorted({c["spec"]["split_id"] for c in own})),
                seeds=tuple(sorted({c["spec"]["seed"] for c in own})),
                audit=newest["audit"],
                versions=tuple(
                    sorted(
                        {f"pbench {c['pbench']}" for c in own}
                        | {f"{k} {v}" for c in own for k, v in c["spec"]["environment"].items()}
                    )
                ),
                lines=tuple(lines),
                common=tuple(_common(lines, part, aligned, shown)),
                calibrations=_calibrations(aligned, shown),
                metrics=tuple(shown),
            )
        )
    return made


def refused(cards: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is kept off the boards because its audit failed, with the first failed rule."""
    found = set()
    for card in cards:
        if card["audit"].get("status") == "fail":
            failed = [f for f in card["audit"]["findings"] if f["status"] == "fail"]
            spec = card["spec"]
            found.add(
                f"{card['model']} on {spec['dataset']} / {spec['split']}: rule {failed[0]['rule']}, {failed[0]['name']}: {failed[0]['detail']}"
            )
    return sorted(found)


def _rows_of(cards: list[Mapping[str, Any]], rows: pd.DataFrame) -> pd.DataFrame:
    keys = [(c["model"], c["spec"]["fold"], c["spec"]["seed"]) for c in cards]
    return rows[pd.MultiIndex.from_frame(rows[["model", "fold", "seed"]]).isin(keys)]


def _line(cards: list[Mapping[str, Any]], cells: Mapping[str, Cell]) -> Line:
    good = [c for c in cards if c["status"] == "ok"]
    bad = sorted((c for c in cards if c["status"] != "ok"), key=lambda c: c["score_id"])
    absent = Counter(reason for card in good for reason in card["absent"].values())
    whole = bool(good) and not bad
    return Line(
        model=cards[0]["model"],
        reference_row=cards[0]["reference_row"],
        status="ok" if whole else bad[0]["status"],
        reason="" if whole else (f"{len(bad)} of {len(cards)} jobs: " if len(cards) > 1 else "") + bad[0]["reason"],
        predicted=_per_seed(good, "n_predicted"),
        asked=_per_seed(good, "n_conditions"),
        fallback=_per_seed(good, "n_fallback"),
        cells=cells if whole else {},
        absent=dict(sorted(absent.items())),
        prior_knowledge=tuple(cards[0].get("prior_knowledge", ())),
    )


def _per_seed(cards: list[Mapping[str, Any]], count: str) -> int:
    """A count of conditions over all folds, in the seed where it is smallest."""
    totals: Counter[int] = Counter()
    for card in cards:
        totals[card["spec"]["seed"]] += card[count]
    return min(totals.values(), default=0)


def _common(
    lines: list[Line], rows: pd.DataFrame, aligned: Mapping[str, Aligned], metrics: Mapping[str, MetricInfo]
) -> list[Line]:
    """The competing models on the conditions that all of them answered."""
    models = [x for x in lines if x.status == "ok" and not x.reference_row and x.predicted]
    if all(x.complete for x in models):
        return []
    own = rows[rows["model"].isin([x.model for x in models]) & (rows["condition"] != "*")]
    own = own.assign(unit=unit_names(own))
    answered = own.groupby(["unit", "model"])["predicted"].all().unstack("model").all(axis=1)
    units = frozenset(answered.index[answered])
    if not units:
        return []
    fallbacks = own[own["fallback"] & own["unit"].isin(units)].drop_duplicates(["model", "unit"])["model"].value_counts()
    kept = {name: a.only(units) for name, a in aligned.items()}
    ranks = _ranks([x.model for x in models], kept, metrics)
    return [
        replace(
            x,
            cells=_cells(x.model, kept, metrics),
            predicted=len(units),
            asked=len(answered),
            fallback=int(fallbacks.get(x.model, 0)),
            rank=ranks.get(x.model),
        )
        for x in models
    ]


def _cells(model: str, aligned: Mapping[str, Aligned], metrics: Mapping[str, MetricInfo]) -> dict[str, Cell]:
    """A model's cells by metric; intervals only for headline metrics, which are the ones that boards show them of."""
    return {name: _cell(a, model, metrics[name]) for name, a in aligned.items() if model in a.values}


def _cell(aligned: Aligned, model: str, metric: MetricInfo) -> Cell:
    values = aligned.values[model]
    known = ~np.isnan(values)
    low = high = float("nan")
    if metric.headline:
        targets = [t for t, k in zip(aligned.targets, known, strict=True) if k]
        # A widened interval can leave the range of the metric; no mean can.
        low, high = np.clip(bootstrap_interval(values[known], clusters=targets), metric.lower, metric.upper)
    mean = float(np.sort(values[known]).mean()) if known.any() else float("nan")
    return Cell(mean, float(low), float(high), int(known.sum()), len(values), aligned.reasons[model])


def _ranks(models: list[str], aligned: Mapping[str, Aligned], metrics: Mapping[str, MetricInfo]) -> dict[str, int]:
    """Ranks of models by the primary metric, shared where a paired test cannot tell a model from the best of its group."""
    if PRIMARY not in aligned:
        return {}
    primary, info = aligned[PRIMARY], metrics[PRIMARY]
    values = {m: primary.values[m] for m in models if m in primary.values}
    return tied_ranks(values, direction=info.direction, perfect=info.perfect, clusters=primary.targets)


def negative_control(metric: str) -> str:
    """The trivial baseline that a metric must tell from the positive control."""
    # The train mean has no change against itself, so that nothing of it is left to score.
    return "no-change" if "~pert" in metric else "train-mean"


def _calibrations(aligned: Mapping[str, Aligned], metrics: Mapping[str, MetricInfo]) -> dict[str, Calibration]:
    """Of each headline metric, how far it separates the positive from the negative control; empty where they were not run."""
    found = {}
    for name, a in aligned.items():
        negative = negative_control(name)
        if metrics[name].headline and {POSITIVE, negative} <= set(a.values):
            found[name] = calibrate(
                a.values[POSITIVE],
                a.values[negative],
                direction=metrics[name].direction,
                perfect=metrics[name].perfect,
                clusters=a.targets,
            )
    return found
