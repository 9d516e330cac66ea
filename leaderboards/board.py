"""From records to boards: which records count, which models compete, and everything that is said of them on a split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ..bench.contracts.metric import MetricInfo
from ..bench.engine.calibration import CalibratedScore
from .aligned import Aligned, align, unit_names
from .cells import Cell, cells
from .controls import NO_CHANGE, TRAIN_MEAN, Controls, controls, scores
from .gaming import GROUP, Gaming, gaming
from .order import PRIMARY, Agreement, Order, agreement, order
from .strata import Stratum, strata


@dataclass(frozen=True)
class Line:
    """A model on a board; `cells` by metric id. `status` other than ``ok`` comes with a reason and no cells.

    `predicted`, `asked` and `fallback` count conditions over all folds. `rank` is None for a model that is not ranked.
    `scores` are calibrated scores by headline metric.
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
    group: str = ""
    scores: Mapping[str, CalibratedScore] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return self.status == "ok" and self.predicted == self.asked


@dataclass(frozen=True)
class Board:
    """All models on one data set and split.

    Parameters
    ----------
    common
        The competing models again, on the conditions that every one of them answered; empty where all answered
        everything, or nothing in common. Models that answered nothing do not narrow it.
    controls
        What each metric can tell here; metrics whose controls were not run are absent.
    order, agreement
        The order of the models that answered everything, by the primary metric and between the headline metrics; None
        where the primary metric is missing or grey, or orders nothing.
    strata
        The primary metric apart for parts of the conditions.
    gaming
        Adversarial predictors; their lines are in `gamers` and not in `lines`.
    """

    dataset: str
    split: str
    card: Mapping[str, Any]
    data_id: str
    split_ids: tuple[str, ...]
    seeds: tuple[int, ...]
    contexts: int
    audit: Mapping[str, Any]
    versions: tuple[str, ...]
    lines: tuple[Line, ...]
    common: tuple[Line, ...]
    controls: Mapping[str, Controls]
    order: Order | None
    agreement: Agreement | None
    strata: tuple[Stratum, ...]
    gamers: tuple[Line, ...]
    gaming: Gaming | None
    metrics: tuple[str, ...]

    @property
    def grey(self) -> frozenset[str]:
        """Metrics that do not tell the controls apart, and so rank nothing."""
        return frozenset(name for name, c in self.controls.items() if not c.decides.separates)


def boards(
    cards: Iterable[Mapping[str, Any]],
    rows: pd.DataFrame,
    metrics: Mapping[str, MetricInfo],
    shown: Callable[[str], bool] = lambda model: True,
) -> list[Board]:
    """One board for each data set and split among records; a pure function of them.

    Parameters
    ----------
    cards
        Run cards, as `store.current` gives them.
    rows
        Their tidy rows.
    metrics
        Facts about the metrics in the rows.
    shown
        Which models stand on the boards. Controls say what the metrics can tell even where they are not shown.
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
        part = _rows_of(own, rows) if len(rows) else rows
        if any(shown(c["model"]) for c in own):
            made.append(_board(own, newest, part, metrics, shown))
    return made


def _board(
    cards: list[Mapping[str, Any]],
    newest: Mapping[str, Any],
    rows: pd.DataFrame,
    metrics: Mapping[str, MetricInfo],
    shown: Callable[[str], bool],
) -> Board:
    there = set(rows["metric"].unique()) if len(rows) else set()
    metrics = {m: info for m, info in metrics.items() if m in there}
    aligned = align(rows, tuple(metrics))
    tell = controls(aligned, metrics)
    grey = {name for name, c in tell.items() if not c.decides.separates}
    of_model: dict[str, list[Mapping[str, Any]]] = {}
    for card in cards:
        of_model.setdefault(card["model"], []).append(card)
    by_model = cells(aligned, metrics)
    everyone = [_line(of_model[n], by_model.get(n, {})) for n in sorted(of_model)]
    calibrated = scores(aligned, metrics, tell, [x.model for x in everyone if x.status == "ok" and shown(x.model)])
    everyone = [replace(x, scores=calibrated.get(x.model, {})) for x in everyone]
    lines = [x for x in everyone if x.group != GROUP and shown(x.model)]
    gamers = [x for x in everyone if x.group == GROUP and shown(x.model)]
    beside = [x for x in everyone if x.model in (TRAIN_MEAN, NO_CHANGE)] if gamers else []
    ranked = [x.model for x in lines if x.complete and not x.reference_row]
    may_rank = PRIMARY in aligned and PRIMARY not in grey
    ordered = order(ranked, aligned[PRIMARY], metrics[PRIMARY]) if may_rank and ranked else None
    lines = [replace(x, rank=ordered.ranks.get(x.model) if ordered else None) for x in lines]
    telling = [m for m, info in metrics.items() if info.headline and info.level == "perturbation" and m not in grey]
    return Board(
        dataset=newest["spec"]["dataset"],
        split=newest["spec"]["split"],
        card=newest["dataset_card"],
        data_id=newest["spec"]["data_id"],
        split_ids=tuple(sorted({c["spec"]["split_id"] for c in cards})),
        seeds=tuple(sorted({c["spec"]["seed"] for c in cards})),
        contexts=max((len(set(a.contexts)) for a in aligned.values() if a.contexts), default=1),
        audit=newest["audit"],
        versions=tuple(
            sorted(
                {f"pbench {c['pbench']}" for c in cards}
                | {f"{k} {v}" for c in cards for k, v in c["spec"]["environment"].items()}
            )
        ),
        lines=tuple(lines),
        common=tuple(_common(lines, rows, aligned, metrics, may_rank)),
        controls=tell,
        order=ordered,
        agreement=agreement(ranked, aligned, metrics, telling) if ordered else None,
        strata=tuple(
            strata(rows[rows["metric"] == PRIMARY], aligned[PRIMARY], metrics[PRIMARY], [x.model for x in lines if x.cells])
            if PRIMARY in aligned
            else ()
        ),
        gamers=tuple(gamers + beside),
        gaming=gaming([x.model for x in gamers if x.cells], [x.model for x in beside], aligned, metrics, grey),
        metrics=tuple(metrics),
    )


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


def _line(cards: list[Mapping[str, Any]], own: Mapping[str, Cell]) -> Line:
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
        cells=own if whole else {},
        absent=dict(sorted(absent.items())),
        prior_knowledge=tuple(cards[0].get("prior_knowledge", ())),
        group=cards[0].get("group") or (GROUP if cards[0]["model"].startswith(f"{GROUP}-") else ""),
    )


def _per_seed(cards: list[Mapping[str, Any]], count: str) -> int:
    """A count of conditions over all folds, in the seed where it is smallest."""
    totals: Counter[int] = Counter()
    for card in cards:
        totals[card["spec"]["seed"]] += card[count]
    return min(totals.values(), default=0)


def _common(
    lines: list[Line],
    rows: pd.DataFrame,
    aligned: Mapping[str, Aligned],
    metrics: Mapping[str, MetricInfo],
    may_rank: bool,
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
    names = [x.model for x in models]
    kept = {name: a.only(units) for name, a in aligned.items() if metrics[name].level == "perturbation"}
    made = cells(kept, metrics)
    ranks = order(names, kept[PRIMARY], metrics[PRIMARY]).ranks if may_rank else {}
    return [
        replace(
            x,
            cells=made.get(x.model, {}),
            scores={},
            predicted=len(units),
            asked=len(answered),
            fallback=int(fallbacks.get(x.model, 0)),
            rank=ranks.get(x.model),
        )
        for x in models
    ]
