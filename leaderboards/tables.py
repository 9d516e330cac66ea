"""The tables of a board."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from ..bench.contracts.metric import MetricInfo
from .board import Board, Line
from .cells import Cell
from .controls import Controls
from .order import PRIMARY
from .text import ARROWS, escape, number, span, table

FRACTION, WINS, CEILING = "dynamic range fraction", "share of wins", "reliability ceiling"


def models(
    board: Board, lines: Sequence[Line], metrics: Sequence[MetricInfo], *, ranked: bool = False, footer: bool = False
) -> str:
    """Models by metric.

    Parameters
    ----------
    ranked
        With a column of ranks and, where there are several seeds, one of the spread over them.
    footer
        With rows that say what each metric can tell.
    """
    several = ranked and len(board.seeds) > 1
    header = [*(["rank"] if ranked else []), "model", "coverage", "fallback"]
    header += [f"{escape(PRIMARY)} sd over seeds"] if several else []
    header += [_title(m, board.grey) for m in metrics]
    rows = []
    for line in lines:
        row = ["–" if line.rank is None else str(line.rank)] if ranked else []
        row += [escape(line.model), f"{line.predicted}/{line.asked}", str(line.fallback)]
        if several:
            spread = line.cells[PRIMARY].seed_sd if PRIMARY in line.cells else math.nan
            row.append("–" if math.isnan(spread) else number(spread))
        rows.append(row + [_greyed(_value(line.cells.get(m.id)), m.id in board.grey) for m in metrics])
    if footer and board.controls:
        blank = [""] * (len(header) - len(metrics) - (2 if ranked else 1))
        for name in (FRACTION, WINS, CEILING):
            shown = [_footer(name, board.controls.get(m.id)) for m in metrics]
            if any(shown):
                rows.append([*([""] if ranked else []), f"*{name}*", *blank, *shown])
    return table(rows, header)


def _title(metric: MetricInfo, grey: Collection[str]) -> str:
    return f"{escape(metric.id)} {ARROWS[metric.direction]}" + (" (grey)" if metric.id in grey else "")


def _greyed(text: str, grey: bool) -> str:
    return f"*{text}*" if grey and text != "–" else text


def _value(cell: Cell | None) -> str:
    return "–" if cell is None else span(cell.mean, cell.low, cell.high, mark=_partly(cell))


def _partly(cell: Cell) -> str:
    """A mark with the number of values behind a mean that is not over all conditions: to be undefined is no way to a better mean."""
    return "" if cell.defined == cell.asked else f"†({cell.defined})"


def _footer(name: str, known: Controls | None) -> str:
    if known is None:
        return ""
    c = known.decides
    if name == CEILING:
        return "" if known.ceiling is None else span(known.ceiling.value, known.ceiling.low, known.ceiling.high)
    return span(c.drf, c.drf_low, c.drf_high) if name == FRACTION else span(c.bds, c.bds_low, c.bds_high)


def controls(board: Board, metrics: Sequence[MetricInfo]) -> str:
    """What each metric can tell: the controls that decide first, the other pairs below them."""
    rows = []
    for metric in metrics:
        if (known := board.controls.get(metric.id)) is None:
            if metric.id in board.unknown:
                why = f"not known (grey): {escape(board.unknown[metric.id])}"
                rows.append([escape(metric.id), "–", "–", "–", "–", why])
            continue
        pairs = {f"{known.positive} over {known.negative}": known.decides, **known.others}
        for place, (pair, c) in enumerate(pairs.items()):
            verdict = "" if place else "yes" if c.separates else f"no (grey): {escape(c.reason)}"
            rows.append(
                [
                    "" if place else escape(metric.id),
                    pair,
                    span(c.drf, c.drf_low, c.drf_high),
                    span(c.bds, c.bds_low, c.bds_high),
                    str(c.n),
                    verdict,
                ]
            )
    return table(rows, ["metric", "controls", FRACTION, WINS, "conditions", "may rank"])


def scores(lines: Sequence[Line], metrics: Sequence[MetricInfo]) -> tuple[str, list[str]]:
    """Calibrated scores, and why some are missing."""
    rows = []
    why: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        found = [line.scores.get(m.id) for m in metrics]
        rows.append([escape(line.model), *("–" if s is None else span(s.value, s.low, s.high) for s in found)])
        for metric, s in zip(metrics, found, strict=True):
            # Where the model itself has no value, the list of undefined values says why.
            if s is not None and s.reason and line.cells[metric.id].defined:
                why.setdefault((metric.id, s.reason), []).append(line.model)
    notes = [
        f"- {escape(name)}: {escape(reason)} ({'all models' if len(who) == len(lines) else escape(', '.join(who))})"
        for (name, reason), who in why.items()
    ]
    return table(rows, ["model", *(escape(m.id) for m in metrics)]), notes


def order(board: Board) -> str:
    """Models by mean rank, with the letters of the groups that tests cannot tell apart."""
    assert board.order is not None
    rows = [
        [escape(m), number(board.order.mean_ranks.get(m, math.nan)), letters, str(board.order.ranks[m])]
        for m, letters in board.order.groups.items()
    ]
    return table(rows, ["model", "mean rank", "groups", "rank by mean"])


def strata(board: Board, lines: Sequence[Line]) -> list[str]:
    """One table of the primary metric for each kind of strata."""
    parts = []
    for kind in dict.fromkeys(s.kind for s in board.strata):
        levels = [s for s in board.strata if s.kind == kind]
        header = ["model"]
        for s in levels:
            ends = "" if math.isnan(s.low) else f"{number(s.low)} to {number(s.high)}, "
            header.append(f"{escape(s.level)} ({ends}n = {s.n})")
        rows = [[escape(x.model), *(_value(s.cells.get(x.model)) for s in levels)] for x in lines]
        parts.append(f"By {kind}:\n\n{table(rows, header)}")
    return parts


def gaming(board: Board, metrics: Sequence[MetricInfo]) -> str:
    """Adversarial predictors beside the baselines."""
    assert board.gaming is not None
    lines = {x.model: x for x in board.gamers}
    rows = []
    for name in board.gaming.models:
        won = board.gaming.outranks.get(name)
        verdict = "(baseline)" if won is None else "no" if not won else "yes: " + ", ".join(map(escape, won))
        if won is not None and not board.gaming.compared:
            verdict = "not known"
        rows.append([escape(name), verdict, *(_greyed(_value(lines[name].cells.get(m.id)), m.id in board.grey) for m in metrics)])
    return table(rows, ["model", "outranks train-mean", *(_title(m, board.grey) for m in metrics)])


def differences(board: Board) -> str:
    """How much better than the train mean each adversary is, on the metrics that are compared."""
    assert board.gaming is not None
    rows = []
    for name, tests in board.gaming.tests.items():
        found = [tests.get(m) for m in board.gaming.compared]
        rows.append([escape(name), *("–" if t is None else span(t.difference, t.low, t.high) + _p(t.p) for t in found)])
    return table(rows, ["model", *map(escape, board.gaming.compared)])


def _p(p: float) -> str:
    return "" if math.isnan(p) else f", p {number(p)}"


def everything(board: Board, lines: Sequence[Line], metrics: Sequence[MetricInfo]) -> str:
    """Means of all metrics, with what each can tell."""
    header = ["metric", FRACTION, WINS, "may rank", *(escape(line.model) for line in lines)]
    rows = []
    for m in metrics:
        known = board.controls.get(m.id)
        told = [_footer(name, known) or "–" for name in (FRACTION, WINS)]
        told.append("yes" if m.id not in board.grey else "no (grey)" if known else f"no (grey): {escape(board.why_grey(m.id))}")
        cells = [_greyed(_mean(line.cells.get(m.id)), m.id in board.grey) for line in lines]
        rows.append([f"{escape(m.id)} {ARROWS[m.direction]}", *told, *cells])
    return table(rows, header)


def _mean(cell: Cell | None) -> str:
    return "–" if cell is None or math.isnan(cell.mean) else number(cell.mean) + _partly(cell)
