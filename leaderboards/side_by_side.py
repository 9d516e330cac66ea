"""One board: what models identify, what they predict, and whether two trainings of them agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..bench.contracts.metric import MetricInfo
from .board import Board, Line
from .identification import PRIMARY as CODES
from .identification import CodeLine, Identification
from .identification_tables import GUARANTEE
from .order import PRIMARY
from .text import ARROWS, escape, number, span, table

#: Scores of codes that stand beside predictions.
SHOWN = (CODES, "r2_block.invariant")


def side_by_side(boards: Sequence[Board], codes: Sequence[Identification], metrics: Mapping[str, MetricInfo]) -> str | None:
    """Markdown of the models that are on boards of both kinds and of those that only predict; None where one kind is missing."""
    predicted = [b for b in boards if any(PRIMARY in x.cells for x in b.lines)]
    if not codes or not predicted:
        return None
    known = [b for b in codes if b.known]
    agreed = [b for b in codes if any(x.agreement for x in b.lines)]
    of_codes: dict[str, dict[tuple[str, str], CodeLine]] = {}
    for b in codes:
        for x in b.lines:
            if x.status == "ok" and not x.reference_row:
                of_codes.setdefault(x.model, {})[b.dataset, b.split] = x
    of_predictions: dict[str, dict[tuple[str, str], Line]] = {}
    for p in predicted:
        for line in p.lines:
            if line.status == "ok" and not line.reference_row and PRIMARY in line.cells:
                of_predictions.setdefault(line.model, {})[p.dataset, p.split] = line
    columns = [(b, m) for b in known for m in SHOWN if m in b.metrics]
    header = ["model"]
    header += [f"{_where(b, codes)}: {escape(m)} {ARROWS[metrics[m].direction]}" for b, m in columns]
    header += [f"{escape(b.dataset)}, {escape(b.split)}: {escape(PRIMARY)} ↓ (rank)" for b in predicted]
    header += [f"{_where(b, codes)}: seed to seed ↑" for b in agreed]
    rows = []
    names = sorted({*of_codes, *of_predictions}, key=lambda n: (n not in of_codes, n not in of_predictions, n))
    for name in names:
        own, told = of_codes.get(name, {}), of_predictions.get(name, {})
        row = [escape(name)]
        row += [_score(own.get((b.dataset, b.split)), m) for b, m in columns]
        row += [_error(told.get((b.dataset, b.split))) for b in predicted]
        row += [_agreement(own.get((b.dataset, b.split))) for b in agreed]
        rows.append(row)
    text = (
        "The same models on three questions. *Identification*: do the codes of held-out units say what generated them, where that is "
        "known. *Prediction*: how far is the predicted mean from the measured one. *Reproducibility*: do two trainings that differ in "
        "their seed find the same codes, which can be asked of real cells too. A dash is a model that cannot be asked or was not. "
        "Agreement of trainings does not prove that what they agree on is true. *(told)*: these codes change when the model is not told "
        f"what was done to the cells, so that a part of a score or an agreement may be the label. {GUARANTEE}"
    )
    return "\n\n".join(["## Identification, prediction and reproducibility side by side", text, table(rows, header)])


def _where(board: Identification, others: Sequence[Identification]) -> str:
    """The data set of a board, and its split where the data set has boards of several."""
    several = len({b.split for b in others if b.dataset == board.dataset}) > 1
    return f"{escape(board.dataset)}, {escape(board.split)}" if several else escape(board.dataset)


def _score(line: CodeLine | None, metric: str) -> str:
    found = line.scores.get(metric) if line else None
    return (
        "–" if line is None or found is None or math.isnan(found.mean) else span(found.mean, found.low, found.high) + _told(line)
    )


def _told(line: CodeLine) -> str:
    return " (told)" if line.told else ""


def _error(line: Line | None) -> str:
    if line is None:
        return "–"
    cell = line.cells[PRIMARY]
    return span(cell.mean, cell.low, cell.high) + (f" ({line.rank})" if line.rank is not None else "")


def _agreement(line: CodeLine | None) -> str:
    a = line.agreement if line else None
    return "–" if line is None or a is None or math.isnan(a.mean) else number(a.mean) + _told(line)
