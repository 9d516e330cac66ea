"""Boards as markdown, the same bytes for the same records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..bench.contracts.metric import MetricInfo
from . import tables
from .board import Board, Line
from .controls import NO_CHANGE, POSITIVE, SHUFFLED, TRAIN_MEAN, TRAINED
from .identification import Identification
from .identification_tables import identification
from .order import PRIMARY, headline_of
from .side_by_side import side_by_side
from .text import ARROWS, escape, number, table

__all__ = ["ARROWS", "escape", "number", "render"]


def render(
    boards: Sequence[Board],
    metrics: Mapping[str, MetricInfo],
    refused: Sequence[str] = (),
    damaged: Sequence[str] = (),
    codes: Sequence[Identification] = (),
) -> str:
    """Markdown of some boards.

    Parameters
    ----------
    metrics
        Facts about the metrics, in the order of the columns.
    refused
        Results kept off the boards because their audit failed.
    damaged
        Names of record files that cannot be read whole.
    codes
        Boards of latent variables.
    """
    parts = [together] if (together := side_by_side(boards, codes, metrics)) else []
    parts += [_board(b, metrics) for b in boards]
    parts += [identification(b, metrics) for b in codes]
    if refused:
        parts.append(
            "## Refused\n\nThese results are not shown, because the leakage audit of their split or model failed.\n\n"
            + "\n".join(f"- {escape(r)}" for r in refused)
        )
    if damaged:
        parts.append(
            "## Damaged records\n\nThese files are not whole and count as absent; the same command runs their jobs again.\n\n"
            + "\n".join(f"- {escape(d)}" for d in damaged)
        )
    return "\n\n".join(parts) + "\n" if parts else "No results yet. Type: pbench run --models all --dataset norman-sim\n"


def _board(board: Board, metrics: Mapping[str, MetricInfo]) -> str:
    shown = [metrics[m] for m in metrics if m in board.metrics]
    headline = [metrics[m] for m in headline_of([m.id for m in shown], metrics)]
    scored = sorted((x for x in board.lines if x.status == "ok" and x.cells and x.predicted), key=board.place)
    competing = [x for x in scored if not x.reference_row]
    reference = [x for x in scored if x.reference_row]
    other = sorted((x for x in board.lines if x not in scored), key=lambda x: x.model)
    parts = [f"## {escape(board.dataset)} · {escape(board.split)}", _facts(board)]
    if competing:
        parts += ["### Models", tables.models(board, competing, headline, ranked=True, footer=True)]
    if board.common:
        parts += [
            f"### Models on the {board.common[0].predicted} of {board.common[0].asked} conditions that all of them answered",
            tables.models(board, sorted(board.common, key=board.place), headline, ranked=True),
        ]
    if reference:
        parts += [
            "### Reference rows (made from test cells; they do not compete)",
            tables.models(board, reference, headline, footer=not competing),
        ]
    parts += [_legend(board, headline), "### What the metrics can tell on this data set", _controls(board, headline)]
    if scored and any(m.id in board.controls for m in headline):
        parts += _scores(competing + reference, [m for m in headline if m.id in board.controls])
    if competing:
        parts += ["### Order of the models", _order(board)]
    if board.strata and scored:
        parts += [f"### {escape(PRIMARY)} by kind of condition", _STRATA, *tables.strata(board, competing + reference)]
    if board.gaming is not None:
        parts += _gaming(board, headline)
    if notes := _notes(competing + reference, headline):
        parts.append("Undefined or missing values:\n\n" + "\n".join(notes))
    if remarks := [f"- {escape(x.model)}: {escape('; '.join(x.remarks))}" for x in competing + reference if x.remarks]:
        parts.append("What the leakage audit says of models:\n\n" + "\n".join(remarks))
    if failed := other + [x for x in board.gamers if not x.cells]:
        rows = [[escape(x.model), *_why(x)] for x in failed]
        parts += ["### Without a result", table(rows, ["model", "status", "reason"])]
    if len(shown) > len(headline):
        parts += ["### All metrics (means)", tables.everything(board, competing + reference, shown)]
    return "\n\n".join(parts)


def _why(line: Line) -> tuple[str, str]:
    """Status and reason of a model that has no values."""
    status, reason = line.outcome
    return status.replace("_", " "), escape(reason)


def _facts(board: Board) -> str:
    card = board.card
    lines = []
    if card["simulated"]:
        lines.append("**SIMULATED DATA.** These numbers test the models and the suite; they say nothing about cells.")
    lines.append(f"{escape(card['title'])}. Scale of the data: {card['scale']}. Licence: {escape(card['licence'])}.")
    asked = max((x.asked for x in board.lines), default=0)
    seeds = ", ".join(map(str, board.seeds))
    lines.append(
        f"Test conditions: {asked} in {len(board.split_ids)} fold(s)"
        + (f" and {board.contexts} contexts" if board.contexts > 1 else "")
        + f". Seeds: {seeds} (deterministic models run once). Leakage audit: **{board.audit['status']}**."
    )
    warned = [f"{f['name']} ({f['detail']})" for f in board.audit["findings"] if f["status"] == "warn"]
    if warned:
        lines.append("Audit remarks: " + "; ".join(escape(w) for w in warned) + ".")
    if not board.training_stated:
        lines.append(
            f"Nobody has said what was in training. Controls that are made from it ({', '.join(TRAINED)}) do not exist here; "
            f"{POSITIVE[1]} and {NO_CHANGE} decide what a metric can tell, and to beat {NO_CHANGE} is to beat little."
        )
    lines.append(
        f"Data `{board.data_id[:12]}`, split "
        + ", ".join(f"`{i[:12]}`" for i in board.split_ids)
        + ". "
        + escape(", ".join(board.versions))
        + "."
    )
    return "\n\n".join(lines)


def _legend(board: Board, metrics: Sequence[MetricInfo]) -> str:
    several = " within a context, then over contexts" if board.contexts > 1 else ""
    text = (
        f"Mean over test perturbations{several} \\[95 % bootstrap interval over perturbations, seeds averaged first, wider where "
        f"perturbations share a gene or are few\\]. Ranked by {escape(PRIMARY)} among models that answered every condition of all "
        "folds under every seed; models share "
        "a rank where a paired sign-flip test (Holm over all pairs, 5 %) cannot tell them from the best of their group. "
        "↑ higher is better, ↓ lower is better, → closest to perfect is best; – undefined; †(n) defined on n "
        "conditions only; coverage: conditions answered of conditions asked; fallback: answered with something simpler than the model."
    )
    if len(board.seeds) > 1:
        text += " Sd over seeds: of the mean, between trainings; it is no part of the interval."
    return (
        text
        + "\n\n"
        + "\n".join(f"- {escape(m.id)} (v{m.version}, perfect {number(m.perfect)}): {escape(m.summary)}" for m in metrics)
    )


def _controls(board: Board, metrics: Sequence[MetricInfo]) -> str:
    if not board.controls and not board.unknown:
        return "Not known: no metric has a value."
    if not board.controls:
        names = ",".join((*POSITIVE, TRAIN_MEAN, NO_CHANGE, SHUFFLED))
        return (
            "Not known, and nothing is ranked: the controls are not all among the results, or were scored by an older version. Run "
            f"them with: pbench run --models {names}\n\n{tables.controls(board, metrics)}"
        )
    text = (
        "Dynamic range fraction: how far the positive control comes from the negative one towards perfect; share of wins: "
        "conditions on which it beats it. The first pair of a metric decides: where the positive control does not win more often "
        "than by chance (the interval reaches 0.5), the metric says little about any model here, its column is grey, and it ranks "
        f"nothing. Which pair decides is fixed beforehand. Positive: {POSITIVE[0]}, since a {POSITIVE[1]} carries the noise of half "
        "of the cells and can lose to the train mean on a sound metric; the latter where the former, which has no cells, is "
        f"undefined. Negative: {TRAIN_MEAN}; {NO_CHANGE} against the mean of the training perturbations and where {TRAIN_MEAN} is "
        "undefined. A control that was not run leaves a metric unknown and grey. All of this, with the calibrated scores, is "
        "computed on the second halves of the test cells, since duplicates are made from the first. Reliability ceiling (correlations): sqrt(2 r / (1 + r)) of the correlation r of two halves of the cells, what "
        "the truth without noise would reach; against control, shared control cells lift it."
    )
    return text + "\n\n" + tables.controls(board, metrics)


def _scores(lines: Sequence[Line], metrics: Sequence[MetricInfo]) -> list[str]:
    body, notes = tables.scores(lines, metrics)
    text = (
        "(model - negative) / (positive - negative) of mean values, with the controls of the table above: 0 is the negative "
        "control, 1 the positive one. Not clipped; a row above 1 beats half of the cells. All values are those on the second "
        "halves of the test cells, which rows made from all test cells know. No score is given where the interval of the "
        "difference between the controls is not above 0."
    )
    parts = ["### Calibrated scores", text, body]
    return [*parts, "No score:\n\n" + "\n".join(notes)] if notes else parts


def _order(board: Board) -> str:
    if board.order is None:
        why = "is not among the results of a model that answered everything"
        if PRIMARY in board.grey:
            why = f"is grey here ({escape(board.why_grey(PRIMARY))})"
        return f"{escape(PRIMARY)} {why}, and orders nothing."
    lines = [
        f"By mean rank over the conditions on {escape(PRIMARY)}. Models that share a letter are not told apart by their paired test "
        "(Holm over all pairs, 5 %).",
        tables.order(board),
    ]
    if not math.isnan(board.order.stability):
        lines.append(
            f"Rank stability: Kendall tau {number(board.order.stability)} between this order of means and that on other draws of the "
            "perturbations (1 the same order, 0 no relation). Perturbations are drawn one by one, so that it is too high where "
            "many share a gene."
        )
    if (a := board.agreement) is not None:
        lowest = f"lowest {number(a.lowest)}, {escape(a.pair[0])} and {escape(a.pair[1])}"
        lines.append(f"Agreement between the headline metrics that may rank: mean Kendall tau {number(a.mean)}, {lowest}.")
    return "\n\n".join(lines)


_STRATA = "Mean over the conditions of a kind, with interval; – below two values. Tertiles are cut between different values."


def _gaming(board: Board, metrics: Sequence[MetricInfo]) -> list[str]:
    assert board.gaming is not None
    compared = ", ".join(map(escape, board.gaming.compared)) or "none"
    text = (
        f"Adversarial predictors, which know no biology and play on a metric. To outrank is to be better than {TRAIN_MEAN} in a "
        "direct paired sign-flip test (Holm over the adversaries, 5 %), on headline metrics that may rank and are defined for "
        f"{TRAIN_MEAN}: {compared}."
    )
    why: dict[str, list[str]] = {}
    for line in board.gamers:
        for metric in metrics:
            for reason in line.cells[metric.id].reasons if metric.id in line.cells else ():
                why.setdefault(f"{escape(metric.id)}, {escape(reason)}", []).append(escape(line.model))
    parts = ["### Gaming suite", text, tables.gaming(board, metrics)]
    if board.gaming.compared:
        parts += [
            f"Gain over {TRAIN_MEAN}, above 0 better whatever the direction of the metric \\[95 % interval, not adjusted\\], adjusted p:",
            tables.differences(board),
        ]
    notes = "\n".join(f"- {what}: {', '.join(who)}" for what, who in why.items())
    return [*parts, "Undefined:\n\n" + notes] if notes else parts


def _notes(lines: Sequence[Line], metrics: Sequence[MetricInfo]) -> list[str]:
    notes = []
    for line in lines:
        for reason, n in sorted(line.absent.items()):
            notes.append(f"- {escape(line.model)}: {n} of {line.asked} not predicted, {escape(reason)}")
        for metric in metrics:
            if metric.id in line.outdated:
                notes.append(f"- {escape(line.model)}, {escape(metric.id)}: {escape(line.outdated[metric.id])}")
            cell = line.cells.get(metric.id)
            for reason, n in cell.reasons.items() if cell else ():
                if reason not in line.absent:
                    notes.append(
                        f"- {escape(line.model)}, {escape(metric.id)}: {n} of {cell.asked if cell else 0} undefined, {escape(reason)}"
                    )
    return notes
