"""Boards as markdown, the same bytes for the same records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tabulate import tabulate

from ..bench.contracts.metric import MetricInfo
from .board import POSITIVE, PRIMARY, Board, Cell, Line, negative_control

ARROWS = {"up": "↑", "down": "↓", "target": "→"}


def render(boards: Sequence[Board], metrics: Mapping[str, MetricInfo], refused: Sequence[str] = ()) -> str:
    """Markdown of some boards.

    Parameters
    ----------
    metrics
        Facts about the metrics, in the order of the columns.
    refused
        Results kept off the boards because their audit failed.
    """
    parts = [_board(b, metrics) for b in boards]
    if refused:
        parts.append(
            "## Refused\n\nThese results are not shown, because the leakage audit of their split or model failed.\n\n"
            + "\n".join(f"- {escape(r)}" for r in refused)
        )
    return "\n\n".join(parts) + "\n" if parts else "No results yet. Type: pbench run --models all --dataset norman-sim\n"


def escape(text: str) -> str:
    """Text from data or plugins, so that it cannot break a table or become markup."""
    out = "".join(c if c.isprintable() else " " for c in text)
    for character, safe in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("\\", "\\\\"),
        ("|", "\\|"),
        ("`", "\\`"),
        ("*", "\\*"),
        ("_", "\\_"),
        ("~", "\\~"),
        ("[", "\\["),
        ("]", "\\]"),
    ):
        out = out.replace(character, safe)
    return out


def _board(board: Board, metrics: Mapping[str, MetricInfo]) -> str:
    shown = [metrics[m] for m in metrics if m in board.metrics]
    headline = [m for m in shown if m.headline] or shown[:6]
    scored = sorted((x for x in board.lines if x.status == "ok" and x.predicted), key=_order)
    competing = [x for x in scored if not x.reference_row]
    reference = [x for x in scored if x.reference_row]
    other = sorted((x for x in board.lines if x not in scored), key=lambda x: x.model)
    grey = {name for name, c in board.calibrations.items() if not c.separates}
    parts = [f"## {escape(board.dataset)} · {escape(board.split)}", _facts(board)]
    if competing:
        parts += ["### Models", _table(competing, headline, grey, ranked=PRIMARY not in grey)]
    if board.common:
        parts += [
            f"### Models on the {board.common[0].predicted} of {board.common[0].asked} conditions that all of them answered",
            _table(sorted(board.common, key=_value_order), headline, grey, ranked=PRIMARY not in grey),
        ]
    if reference:
        parts += ["### Reference rows (made from test cells; they do not compete)", _table(reference, headline, grey)]
    parts += [_legend(headline), "### What the metrics can tell on this data set", _calibrations(board, headline)]
    if notes := _notes(competing + reference, headline):
        parts.append("Undefined or missing values:\n\n" + "\n".join(notes))
    if other:
        rows = [[escape(x.model), *_why(x)] for x in other]
        parts += ["### Without a result", tabulate(rows, ["model", "status", "reason"], tablefmt="pipe", disable_numparse=True)]
    if len(shown) > len(headline):
        parts += ["### All metrics (means)", _everything(competing + reference, shown)]
    return "\n\n".join(parts)


def _why(line: Line) -> tuple[str, str]:
    """Status and reason of a model that has no values."""
    if line.status != "ok":
        return line.status.replace("_", " "), escape(line.reason)
    reasons = sorted(line.absent.items(), key=lambda item: (-item[1], item[0]))
    return "absent", "; ".join(f"{n} of {line.asked}: {escape(reason)}" for reason, n in reasons[:3]) + (
        "; …" if len(reasons) > 3 else ""
    )


def _facts(board: Board) -> str:
    card = board.card
    lines = []
    if card["simulated"]:
        lines.append("**SIMULATED DATA.** These numbers test the models and the suite; they say nothing about cells.")
    lines.append(f"{escape(card['title'])}. Scale of the data: {card['scale']}. Licence: {escape(card['licence'])}.")
    asked = max((x.asked for x in board.lines), default=0)
    seeds = ", ".join(map(str, board.seeds))
    lines.append(
        f"Test conditions: {asked} in {len(board.split_ids)} fold(s). Seeds: {seeds} (deterministic models run once). "
        f"Leakage audit: **{board.audit['status']}**."
    )
    warned = [
        f"{f['name']} ({f['detail']})" for f in board.audit["findings"] if f["status"] == "warn" and f["rule"] not in (10, 11)
    ]
    if warned:
        lines.append("Audit remarks: " + "; ".join(escape(w) for w in warned) + ".")
    lines.append(
        f"Data `{board.data_id[:12]}`, split "
        + ", ".join(f"`{i[:12]}`" for i in board.split_ids)
        + ". "
        + escape(", ".join(board.versions))
        + "."
    )
    return "\n\n".join(lines)


def _value_order(line: Line) -> tuple[float, str]:
    value = line.cells[PRIMARY].mean if PRIMARY in line.cells else math.nan
    return math.inf if math.isnan(value) else value, line.model


def _order(line: Line) -> tuple[bool, float, str]:
    return not line.complete, *_value_order(line)


def _table(lines: Sequence[Line], metrics: Sequence[MetricInfo], grey: set[str], *, ranked: bool | None = None) -> str:
    """Table of models; with a column of ranks unless `ranked` is None, and without ranks in it where it is False."""
    header = [] if ranked is None else ["rank"]
    header += ["model", "coverage", "fallback"]
    header += [f"{escape(m.id)} {ARROWS[m.direction]}" + (" (grey)" if m.id in grey else "") for m in metrics]
    rows = []
    for line in lines:
        rank = str(line.rank) if ranked and line.rank is not None else "–"
        cells = [_value(line.cells.get(m.id)) for m in metrics]
        rows.append(
            ([] if ranked is None else [rank])
            + [escape(line.model), f"{line.predicted}/{line.asked}", str(line.fallback), *cells]
        )
    return tabulate(rows, header, tablefmt="pipe", disable_numparse=True)


def _calibrations(board: Board, metrics: Sequence[MetricInfo]) -> str:
    if not board.calibrations:
        return (
            f"Not known: the controls {POSITIVE}, train-mean and no-change are not all among the results. Run them with: "
            f"pbench run --models {POSITIVE},train-mean,no-change"
        )
    rows = []
    for metric in metrics:
        if (c := board.calibrations.get(metric.id)) is not None:
            fraction, share = (_span(*v) for v in ((c.drf, c.drf_low, c.drf_high), (c.bds, c.bds_low, c.bds_high)))
            rows.append(
                [
                    escape(metric.id),
                    negative_control(metric.id),
                    fraction,
                    share,
                    str(c.n),
                    "yes" if c.separates else f"no (grey): {escape(c.reason)}",
                ]
            )
    header = ["metric", "negative control", "dynamic range fraction", "share of wins", "conditions", "may rank"]
    text = (
        f"Positive control: {POSITIVE}. Dynamic range fraction: how far it comes from the negative control towards perfect; share of "
        "wins: conditions on which it beats the negative control. Where it does not beat it more often than by chance, the "
        "metric says little about any model here, its column is grey, and it ranks nothing."
    )
    return text + "\n\n" + tabulate(rows, header, tablefmt="pipe", disable_numparse=True)


def _span(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return "–"
    return number(value) + ("" if math.isnan(low) else f" \\[{number(low)}, {number(high)}\\]")


def _value(cell: Cell | None) -> str:
    if cell is None or math.isnan(cell.mean):
        return "–"
    mark = "" if cell.defined == cell.asked else "†"
    return number(cell.mean) + mark + _span(cell.mean, cell.low, cell.high).removeprefix(number(cell.mean))


def number(value: float) -> str:
    """Three significant digits, without a negative zero."""
    return f"{value + 0.0:.3g}" if abs(value) >= 1e-12 else "0"


def _legend(metrics: Sequence[MetricInfo]) -> str:
    lines = [
        "Mean over test perturbations \\[95 % bootstrap interval over perturbations, seeds averaged first, wider where perturbations "
        f"share a gene\\]. Ranked by {escape(PRIMARY)} among models that answered every test condition; models share a rank where a "
        "paired sign-flip test (Holm over all pairs, 5 %) cannot tell them from the best of their group. "
        "↑ higher is better, ↓ lower is better, → closest to 1 is best; – undefined; † defined for a part of the conditions; "
        "coverage: conditions answered of conditions asked; fallback: answered with something simpler than the model."
    ]
    lines += [f"- {escape(m.id)} (v{m.version}, perfect {number(m.perfect)}): {escape(m.summary)}" for m in metrics]
    return lines[0] + "\n\n" + "\n".join(lines[1:])


def _notes(lines: Sequence[Line], metrics: Sequence[MetricInfo]) -> list[str]:
    notes = []
    for line in lines:
        for reason, n in sorted(line.absent.items()):
            notes.append(f"- {escape(line.model)}: {n} of {line.asked} not predicted, {escape(reason)}")
        for metric in metrics:
            cell = line.cells.get(metric.id)
            for reason, n in cell.reasons.items() if cell else ():
                if reason not in line.absent:
                    notes.append(
                        f"- {escape(line.model)}, {escape(metric.id)}: {n} of {cell.asked if cell else 0} undefined, {escape(reason)}"
                    )
    return notes


def _everything(lines: Sequence[Line], metrics: Sequence[MetricInfo]) -> str:
    header = ["metric", *(escape(line.model) for line in lines)]
    rows = [[f"{escape(m.id)} {ARROWS[m.direction]}"] + [_mean(line.cells.get(m.id)) for line in lines] for m in metrics]
    return tabulate(rows, header, tablefmt="pipe", disable_numparse=True)


def _mean(cell: Cell | None) -> str:
    return "–" if cell is None or math.isnan(cell.mean) else number(cell.mean) + ("" if cell.defined == cell.asked else "†")
