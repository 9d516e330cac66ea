"""Boards of latent variables as markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..bench.contracts.latents import CLAIMS
from ..bench.contracts.metric import MetricInfo
from .identification import PRIMARY, CodeLine, Identification, Score, ahead
from .order import headline_of
from .text import ARROWS, escape, number, span, table

#: Said on every board: what is proved for one kind of data is easily believed of another.
GUARANTEE = (
    "A guarantee for paired sequences, in which the same unit is seen again and again, does not carry over to snapshots of destroyed "
    "cells: on snapshots a model may look as good, and nothing says that it must."
)


def identification(board: Identification, metrics: Mapping[str, MetricInfo]) -> str:
    """Markdown of one board."""
    shown = [metrics[m] for m in headline_of(board.metrics, metrics)]
    scored = sorted((x for x in board.lines if x.status == "ok" and (x.scores or x.agreement)), key=standing)
    competing = [x for x in scored if not x.reference_row]
    reference = [x for x in scored if x.reference_row]
    parts = [f"## {escape(board.dataset)} · {escape(board.split)} · latent variables", _facts(board)]
    if competing:
        parts += ["### Codes of the models", _models(board, competing, shown)]
    if reference:
        parts += ["### Reference rows (made from the truth; they do not compete)", _models(board, reference, shown)]
    parts.append(_legend(board, shown))
    if any(x.by_latent for x in scored):
        parts += ["### Nonlinear R2 of each latent variable", _by_latent(board, scored)]
    if other := [x for x in board.lines if x not in scored]:
        rows = [[escape(x.model), escape(x.status.replace("_", " ")), escape(x.reason)] for x in other]
        parts += ["### Not on the board", table(rows, ["model", "status", "reason"])]
    if notes := _notes(scored, shown):
        parts += ["### Undefined", "\n".join(notes)]
    return "\n\n".join(parts)


def standing(line: CodeLine) -> tuple[float, str]:
    """What lines are sorted by: best first by the primary metric, those without it last."""
    value = line.scores[PRIMARY].mean if PRIMARY in line.scores else math.nan
    return math.inf if math.isnan(value) else -value, line.model


def ranks(lines: Sequence[CodeLine]) -> dict[str, int]:
    """Rank of each model by the primary metric; models share one where the Welch interval of the difference to the best reaches 0.

    Lines come in the order of their values. Differences of two deterministic models have no interval and count as they are. A random
    model that was trained once has no rank: nothing is known of how far another training would be from it.
    """
    found: dict[str, int] = {}
    best: CodeLine | None = None
    scored = (x for x in lines if PRIMARY in x.scores and not math.isnan(x.scores[PRIMARY].mean))
    for place, line in enumerate(x for x in scored if not x.stochastic or len(x.scores[PRIMARY].seeds) > 1):
        low = math.nan if best is None else ahead(best.scores[PRIMARY], line.scores[PRIMARY])[1]
        tied = best is not None and (low <= 0 if not math.isnan(low) else best.scores[PRIMARY].mean == line.scores[PRIMARY].mean)
        if not tied:
            best = line
        found[line.model] = found[best.model] if tied and best else place + 1
    return found


def places(board: Identification) -> dict[str, int]:
    """Ranks of the models on a board, as its table shows them."""
    return ranks(sorted((x for x in board.lines if x.status == "ok" and x.scores and not x.reference_row), key=standing))


def _facts(board: Identification) -> str:
    said = []
    if board.card["simulated"]:
        said.append("**SIMULATED DATA.** Latent variables are known here because a program made them up.")
    said.append(
        f"{escape(board.card['title'])}. Scale of the data: {board.card['scale']}. Licence: {escape(board.card['licence'])}."
    )
    seeds = ", ".join(map(str, board.seeds))
    said.append(
        f"{len(board.latents)} latent variables: {', '.join(map(escape, board.latents))}. Seeds: {seeds} (deterministic models run once). "
        f"Leakage audit: **{board.audit}**."
        if board.known
        else f"The latent variables are not known; only the agreement of trainings is shown. Seeds: {seeds}."
    )
    said.append(GUARANTEE)
    ids = ", ".join(f"`{i[:12]}`" for i in board.split_ids)
    said.append(f"Data `{board.data_id[:12]}`, split {ids}. {escape(', '.join(board.versions))}.")
    return "\n\n".join(said)


def _models(board: Identification, lines: Sequence[CodeLine], metrics: Sequence[MetricInfo]) -> str:
    ranked = ranks(lines) if not lines[0].reference_row else {}
    agreements = any(x.agreement for x in lines)
    header = [*(["rank"] if ranked else []), "model", "claims", "told"]
    header += [f"{escape(m.id)} {ARROWS[m.direction]}" for m in metrics] + (["seed to seed ↑"] if agreements else []) + ["fit, s"]
    rows = []
    for x in lines:
        row = [str(ranked.get(x.model, "–"))] if ranked else []
        row += [escape(x.model), x.claim or "–", "yes" if x.told else "no"]
        row += [_value(x.scores.get(m.id)) for m in metrics]
        if agreements:
            a = x.agreement
            row.append("–" if a is None else span(a.mean, a.lowest if a.pairs > 1 else math.nan, a.highest))
        rows.append([*row, "–" if math.isnan(x.seconds) else number(x.seconds)])
    return table(rows, header)


def _value(found: Score | None) -> str:
    return "–" if found is None else span(found.mean, found.low, found.high)


def _legend(board: Identification, metrics: Sequence[MetricInfo]) -> str:
    claims = sorted({x.claim for x in board.lines if x.claim})
    text = (
        "Whatever is aligned, matched or fitted is so on half of the held-out units, and reported on the others, which no model was "
        "fitted on either. Mean over seeds \\[95 % Student interval over seeds\\]; a single value has none. Seeds are trainings on one draw "
        "of the data: another draw may order the models otherwise. Models share a rank by "
        f"{escape(PRIMARY)} where the Welch interval of the difference to the best of their group reaches 0; a random model that was "
        "trained once has no rank. Told: the codes change when the model is not told what was done to the cells, so that part of them may be "
        "the label. A model that does not tell invariant codes from others is taken at all of its codes, which can only help it. Seed to "
        "seed: mean correlation of matched codes of two trainings \\[lowest, highest pair\\]; of told codes a part may be agreement on the label."
    )
    if claims:
        text += " Claims: " + "; ".join(f"*{c}*, up to {CLAIMS[c]}" for c in claims) + "."
    return (
        text
        + "\n\n"
        + "\n".join(f"- {escape(m.id)} (v{m.version}, perfect {number(m.perfect)}): {escape(m.summary)}" for m in metrics)
    )


def _by_latent(board: Identification, lines: Sequence[CodeLine]) -> str:
    rows = []
    for x in lines:
        values = [x.by_latent.get(name, math.nan) for name in board.latents]
        rows.append([escape(x.model), *("–" if math.isnan(v) else number(v) for v in values)])
    return table(rows, ["model", *map(escape, board.latents)])


def _notes(lines: Sequence[CodeLine], metrics: Sequence[MetricInfo]) -> list[str]:
    by_reason: dict[tuple[str, str], list[str]] = {}
    for x in lines:
        for m in metrics:
            if m.id in x.scores and x.scores[m.id].reason:
                by_reason.setdefault((m.id, x.scores[m.id].reason), []).append(x.model)
    return [f"- {escape(m)}, {escape(reason)}: {', '.join(map(escape, who))}" for (m, reason), who in by_reason.items()]
