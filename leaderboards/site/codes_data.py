"""A board of latent variables as data for its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...bench.contracts.metric import MetricInfo
from ..identification import PRIMARY, Agreement, CodeLine, Identification
from ..identification_tables import places, standing
from ..line import split_audit
from ..order import headline_of
from ..published import Words
from ..slugs import slug
from .board_data import head
from .measured import Card
from .script import interval, number


def codes_data(
    board: Identification, cards: Sequence[Card], metrics: Mapping[str, MetricInfo], words: Words | None
) -> dict[str, Any]:
    """Everything on the page of one board.

    Parameters
    ----------
    cards
        Its run cards.
    """
    headline = headline_of(board.metrics, metrics)
    ranked = places(board)
    prior = {c["model"]: list(c.get("prior_knowledge", ())) for c in cards}
    return head(board, words, {"status": board.audit, "findings": split_audit(cards)["findings"]}) | {
        "primary": PRIMARY,
        "metrics": [*headline, *(m for m in board.metrics if m not in headline)],
        "headline": list(headline),
        "latents": list(board.latents),
        "known": board.known,
        "lines": [_line(x, ranked, prior.get(x.model, [])) for x in sorted(board.lines, key=standing)],
    }


def _line(line: CodeLine, ranked: Mapping[str, int], prior: list[str]) -> dict[str, Any]:
    return {
        "model": line.model,
        "slug": slug(line.model),
        "kind": "reference" if line.reference_row else "model",
        "status": line.status,
        "reason": line.reason,
        "rank": ranked.get(line.model),
        "claim": line.claim,
        "told": bool(line.told),
        "prior": prior,
        "scores": {
            m: interval(s.mean, s.low, s.high) | {"seeds": [number(v) for v in s.seeds], "reason": s.reason}
            for m, s in line.scores.items()
        },
        "by_latent": {name: number(v) for name, v in line.by_latent.items()},
        "agreement": agreement(line.agreement),
        "seconds": number(line.seconds),
    }


def agreement(found: Agreement | None) -> dict[str, Any] | None:
    """How far the codes of two trainings agree, over pairs of seeds."""
    return None if found is None else interval(found.mean, found.lowest, found.highest) | {"pairs": found.pairs}
