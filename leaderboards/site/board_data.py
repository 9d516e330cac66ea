"""A board of predictions as data for its page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ...bench.contracts.metric import MetricInfo
from ...bench.engine.calibration import Calibration
from ...bench.engine.inference import context_mean
from ..board import Board
from ..cells import Cell
from ..controls import Controls
from ..gaming import GROUP
from ..identification import Identification
from ..line import Line
from ..order import PRIMARY
from ..published import Words
from ..slugs import slug
from .addresses import address, kind
from .measured import Card, Measured
from .script import interval, number

CARD = ("title", "source", "licence", "citation", "scale", "modality", "n_cells", "n_genes", "simulated", "known_defects")


def head(board: Board | Identification, words: Words | None, audit: Mapping[str, Any]) -> dict[str, Any]:
    """What stands above every board: its names, its card, the plain words and the leakage audit."""
    return {
        "slug": address(board),
        "kind": kind(board),
        "dataset": board.dataset,
        "split": board.split,
        "words": None
        if words is None
        else {"title": words.title, "may": words.may, "may_not": words.may_not, "command": words.command},
        "card": {name: board.card.get(name) for name in CARD},
        "data_id": board.data_id,
        "split_ids": list(board.split_ids),
        "seeds": list(board.seeds),
        "versions": list(board.versions),
        "audit": audit,
    }


def board_data(
    board: Board, behind: Measured, metrics: Mapping[str, MetricInfo], words: Words | None, with_file: frozenset[str]
) -> dict[str, Any]:
    """Everything on the page of one board.

    Parameters
    ----------
    behind
        The records of the board.
    with_file
        Models with a file of their values by condition.
    """
    lines = [*board.lines, *(g for g in board.gamers if g.group == GROUP)]
    return head(board, words, board.audit) | {
        "contexts": board.contexts,
        "primary": PRIMARY,
        "metrics": [*behind.headline, *(m for m in board.metrics if m not in behind.headline)],
        "headline": list(behind.headline),
        "grey": {m: board.why_grey(m) for m in board.metrics if m in board.grey},
        "controls": {m: _controls(m, board.controls[m], behind) for m in board.metrics if m in board.controls},
        "lines": [_line(x, board, behind, metrics) | {"detail": x.model in with_file} for x in sorted(lines, key=board.place)],
        "common": [_line(x, board, behind, metrics) for x in sorted(board.common, key=board.place)],
        "common_n": board.common[0].predicted if board.common else 0,
        "order": _order(board),
        "strata": [
            {
                "name": s.kind,
                "value": s.level,
                "from": number(s.low),
                "to": number(s.high),
                "n": s.n,
                "cells": {m: interval(c.mean, c.low, c.high) for m, c in s.cells.items()},
            }
            for s in board.strata
        ],
        "conditions": [
            {"label": q.label, "fold": q.fold, "context": q.context, "targets": list(q.targets)} for q in behind.questions
        ],
    }


def _line(line: Line, board: Board, behind: Measured, metrics: Mapping[str, MetricInfo]) -> dict[str, Any]:
    status, reason = line.outcome
    cards = behind.cards.get(line.model, ())
    order = board.order
    return {
        "model": line.model,
        "slug": slug(line.model),
        "kind": GROUP if line.group == GROUP else "reference" if line.reference_row else "model",
        "status": status,
        "reason": reason,
        "rank": line.rank,
        "letters": order.groups.get(line.model, "") if order else "",
        "mean_rank": number(order.mean_ranks.get(line.model)) if order else None,
        "complete": line.complete,
        "predicted": line.predicted,
        "asked": line.asked,
        "fallback": line.fallback,
        "absent": dict(line.absent),
        "prior": list(line.prior_knowledge),
        "remarks": list(line.remarks),
        "seconds": seconds(cards),
        "memory_mb": number(_median(c.get("peak_memory_mb") for c in cards)),
        "cells": {m: _cell(line.cells[m]) for m in metrics if m in line.cells},
        "scores": {
            m: {"score": number(s.value), "low": number(s.low), "high": number(s.high), "reason": s.reason}
            for m, s in line.scores.items()
        },
        "outranks": list(board.gaming.outranks.get(line.model, ())) if board.gaming else [],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return interval(cell.mean, cell.low, cell.high) | {
        "median": number(cell.median),
        "seed_sd": number(cell.seed_sd),
        "defined": cell.defined,
        "asked": cell.asked,
        "reasons": dict(cell.reasons),
    }


def seconds(cards: Sequence[Card]) -> dict[str, float | int | None]:
    """Median seconds of the jobs that succeeded."""
    good = [c["seconds"] for c in cards if c["status"] == "ok" and "seconds" in c]
    return {name: number(_median(s.get(name) for s in good)) for name in ("fit", "predict", "total")}


def _median(values: Any) -> float | None:
    known = [float(v) for v in values if v is not None and not math.isnan(v)]
    return median(known) if known else None


def _controls(metric: str, known: Controls, behind: Measured) -> dict[str, Any]:
    """What decides on a metric; means of the controls are those on the second halves of the test cells, as all of it is."""
    aligned = behind.aligned.get(metric)

    def mean(model: str) -> float | int | None:
        there = aligned is not None and model in aligned.halves
        return number(context_mean(aligned.halves[model], aligned.contexts)) if aligned is not None and there else None

    ceiling = known.ceiling
    return _calibration(known.decides) | {
        "positive": known.positive,
        "negative": known.negative,
        "ceiling": number(ceiling.value) if ceiling else None,
        "ceiling_low": number(ceiling.low) if ceiling else None,
        "ceiling_high": number(ceiling.high) if ceiling else None,
        "positive_mean": mean(known.positive),
        "negative_mean": mean(known.negative),
        "others": {pair: _calibration(c) for pair, c in known.others.items()},
    }


def _calibration(c: Calibration) -> dict[str, Any]:
    names = ("drf", "drf_low", "drf_high", "bds", "bds_low", "bds_high")
    return {name: number(getattr(c, name)) for name in names} | {"n": c.n, "separates": bool(c.separates), "reason": c.reason}


def _order(board: Board) -> dict[str, Any] | None:
    if board.order is None:
        return None
    a = board.agreement
    return {
        "tests": [[better, other, number(p)] for better, other, p in board.order.tests],
        "stability": number(board.order.stability),
        "agreement": None if a is None else {"mean": number(a.mean), "lowest": number(a.lowest), "pair": list(a.pair)},
    }
