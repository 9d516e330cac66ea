"""What every page of the site needs: all boards, all models, the metrics, identification beside prediction, and past releases."""

from __future__ import annotations

from typing import Any

from ...bench.contracts.metric import MetricInfo
from ..board import Board
from ..gaming import GROUP
from ..identification import PRIMARY as CODES
from ..identification import CodeLine, Identification
from ..identification_tables import places
from ..line import Line
from ..order import PRIMARY, headline_of
from ..published import Published
from ..side_by_side import SHOWN
from ..slugs import slug
from .addresses import IDENTIFICATION, PREDICTION, address, kind, place
from .script import interval, number

SEED_TO_SEED = "seed to seed"


def index_data(published: Published) -> dict[str, Any]:
    """Everything in ``data/index.js``; ``pbench`` are the versions that the records were made by."""
    shown = {m for b in (*published.boards, *published.codes) for m in b.metrics}
    return {
        "pbench": ", ".join(sorted({str(c["pbench"]) for c in published.cards})),
        "primary": PRIMARY,
        "boards": [_board(b, published) for b in published.boards] + [_codes(b, published) for b in published.codes],
        "models": _models(published),
        "metrics": {m: _metric(info) for m, info in published.metrics.items() if m in shown},
        "together": _together(published),
        "history": _history(published),
        "refused": list(published.refused),
        "damaged": list(published.damaged),
    }


def _title(board: Board | Identification, published: Published) -> str:
    words = published.words.get((board.dataset, board.split))
    return words.title if words else f"{board.dataset}, {board.split}"


def _board(board: Board, published: Published) -> dict[str, Any]:
    headline = headline_of(board.metrics, published.metrics)
    return {
        "slug": address(board),
        "kind": PREDICTION,
        "dataset": board.dataset,
        "split": board.split,
        "title": _title(board, published),
        "simulated": bool(board.card.get("simulated")),
        "models": sum(not x.reference_row and bool(x.cells) for x in board.lines),
        "conditions": max((x.asked for x in board.lines), default=0),
        "seeds": len(board.seeds),
        "grey": sum(m in board.grey for m in headline),
        "best": [x.model for x in board.lines if x.rank == 1],
        "audit": board.audit["status"],
    }


def _codes(board: Identification, published: Published) -> dict[str, Any]:
    ranked = places(board)
    return {
        "slug": address(board),
        "kind": IDENTIFICATION,
        "dataset": board.dataset,
        "split": board.split,
        "title": _title(board, published),
        "simulated": bool(board.card.get("simulated")),
        "models": sum(not x.reference_row and x.status == "ok" for x in board.lines),
        "conditions": 0,
        "latents": len(board.latents),
        "seeds": len(board.seeds),
        "grey": 0,
        "best": sorted(m for m, rank in ranked.items() if rank == 1),
        "audit": board.audit,
    }


def _models(published: Published) -> list[dict[str, Any]]:
    """All models with where they stand on each board, by the metric that orders it; adversaries are on their boards alone."""
    found: dict[str, dict[str, Any]] = {}
    prior: dict[str, set[str]] = {}
    for card in published.cards:
        prior.setdefault(card["model"], set()).update(card.get("prior_knowledge", ()))
    for board in (*published.boards, *published.codes):
        for x in board.lines:
            if not (isinstance(x, Line) and x.group == GROUP):
                own = {
                    "slug": slug(x.model),
                    "name": x.model,
                    "reference_row": x.reference_row,
                    "prior": sorted(prior.get(x.model, ())),
                }
                found.setdefault(x.model, own | {"boards": []})
        for model, stands in _stands(board).items():
            if model in found:
                found[model]["boards"].append({"slug": address(board), **stands})
    return [found[name] for name in sorted(found)]


def _stands(board: Board | Identification) -> dict[str, dict[str, Any]]:
    """Value and rank of each model by the metric that orders the board."""
    if isinstance(board, Identification):
        ranked = places(board)
        codes = {x.model: s for x in board.lines if (s := x.scores.get(CODES)) is not None}
        return {m: interval(s.mean, s.low, s.high) | {"rank": ranked.get(m)} for m, s in codes.items()}
    lines = [(x, c) for x in board.lines if (c := x.cells.get(PRIMARY)) is not None]
    return {x.model: interval(c.mean, c.low, c.high) | {"rank": x.rank} for x, c in lines}


def _metric(info: MetricInfo) -> dict[str, Any]:
    return {
        "direction": info.direction,
        "perfect": number(info.perfect),
        "lower": number(info.lower),
        "upper": number(info.upper),
        "formula": info.summary,
        "caveats": info.caveats,
        "version": info.version,
        "headline": info.headline,
        "level": info.level,
    }


def _together(published: Published) -> dict[str, Any] | None:
    """Identification, prediction and reproducibility of the same models on data sets that were asked for codes; None where there are none."""
    asked = {b.dataset for b in published.codes}
    predicted = [b for b in published.boards if b.dataset in asked and any(PRIMARY in x.cells for x in b.lines)]
    if not published.codes or not predicted:
        return None
    columns: list[tuple[dict[str, str], dict[str, dict[str, Any]]]] = []
    for b in published.codes:
        ranked = places(b)
        for m in (m for m in SHOWN if m in b.metrics):
            cells = {
                x.model: interval(s.mean, s.low, s.high)
                | {"rank": ranked.get(x.model) if m == CODES else None, "told": bool(x.told)}
                for x in _competing(b)
                if (s := x.scores.get(m)) is not None
            }
            columns.append(({"board": address(b), "metric": m, "label": f"{_where(b, published)}: {m}"}, cells))
    for b in predicted:
        cells = {
            x.model: interval(c.mean, c.low, c.high) | {"rank": x.rank}
            for x in b.lines
            if x.status == "ok" and not x.reference_row and (c := x.cells.get(PRIMARY)) is not None
        }
        columns.append(({"board": address(b), "metric": PRIMARY, "label": f"{b.dataset}, {b.split}: {PRIMARY}"}, cells))
    for b in published.codes:
        cells = {
            x.model: interval(a.mean, a.lowest, a.highest) | {"rank": None, "told": bool(x.told)}
            for x in _competing(b)
            if (a := x.agreement) is not None
        }
        if cells:
            columns.append(
                ({"board": address(b), "metric": SEED_TO_SEED, "label": f"{_where(b, published)}: {SEED_TO_SEED}"}, cells)
            )
    coded = {m for about, cells in columns if about["metric"] != PRIMARY for m in cells}
    names = sorted({m for _, cells in columns for m in cells}, key=lambda m: (m not in coded, m))
    return {
        "columns": [about for about, _ in columns],
        "rows": [{"model": m, "slug": slug(m), "cells": [cells.get(m) for _, cells in columns]} for m in names],
    }


def _competing(board: Identification) -> list[CodeLine]:
    return [x for x in board.lines if x.status == "ok" and not x.reference_row]


def _where(board: Identification, published: Published) -> str:
    """The data set of a board, and its split where the data set has boards of codes on several."""
    several = len({b.split for b in published.codes if b.dataset == board.dataset}) > 1
    return f"{board.dataset}, {board.split}" if several else board.dataset


def _history(published: Published) -> dict[str, Any]:
    """Means of every model and metric in each release, in the order of releases."""
    versions = [str(release["version"]) for release in published.history]
    there = {(b.dataset, b.split, kind(b)) for b in (*published.boards, *published.codes)}
    means: dict[tuple[str, str, str], list[Any]] = {}
    for number_of, release in enumerate(published.history):
        for dataset, split, model, metric, mean in release["numbers"]:
            of = _kind(dataset, split, published.metrics.get(metric), there)
            own = means.setdefault((place(dataset, split, of), model, metric), [None] * len(versions))
            own[number_of] = number(mean)
    series = [{"board": b, "model": m, "metric": i, "means": v} for (b, m, i), v in sorted(means.items(), key=lambda x: x[0])]
    return {"versions": versions, "series": series}


def _kind(dataset: str, split: str, info: MetricInfo | None, there: set[tuple[str, str, str]]) -> str:
    """Of which kind of board a number of a release is; a metric that is gone is looked for where there is a board."""
    if info is not None:
        return IDENTIFICATION if info.of_latents else PREDICTION
    only = (dataset, split, PREDICTION) not in there and (dataset, split, IDENTIFICATION) in there
    return IDENTIFICATION if only else PREDICTION
