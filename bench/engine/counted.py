"""Which of several records that answer the same question counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .record import OK


def current(cards: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of the records that answer the same question, the one of the latest run, with what others say of the same answer.

    The question is (model and parameters, data set, split, fold, seed), and whether predictions are asked for or latent
    variables alone; records differ under it where code, data,
    environment or metrics have changed since. The newest record (`record.age`) says which answer counts (its ``job_id``).
    Metrics that it lacks are taken from the newest whole record of that same answer that has them; answers are never mixed.

    Returns
    -------
    Run cards. One that speaks for several records is the newest's with all of their ``metrics``, and with ``parts``: for
    each of these records its score id and the metrics that are read from it.
    """
    asked: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for card in sorted(cards, key=age, reverse=True):
        asked.setdefault(question(card), []).append(card)
    return [_merged(*asked[key]) for key in sorted(asked, key=str)]


def _merged(newest: Mapping[str, Any], *older: Mapping[str, Any]) -> Mapping[str, Any]:
    if newest["status"] != OK or "job_id" not in newest or "metrics" not in newest:
        return newest
    have = set(newest["metrics"])
    parts = [(newest["score_id"], sorted(have))]
    for card in older:
        if card["status"] == OK and card.get("job_id") == newest["job_id"]:
            more = sorted(set(card.get("metrics", ())) - have)
            have.update(more)
            parts += [(card["score_id"], more)] if more else []
    return newest if len(parts) == 1 else {**newest, "metrics": sorted(have), "parts": parts}


def question(card: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a record answers: records differ under it where code, data, environment or metrics have changed since."""
    spec = card["spec"]
    return (spec["dataset"], spec["split"], spec["fold"], card["model"], spec["seed"], card.get("predicts", True))


def age(card: Mapping[str, Any]) -> tuple[Any, ...]:
    """Key by which records are sorted, oldest first: the run that wrote it, then the clock.

    Each run takes a turn that is higher than any it finds (`Store.next_turn`), so that a clock that jumps hides no result: time
    decides only between runs at once, and between records of other folders, which have no turn here.
    """
    return (card.get("turn", 0), card["started"], card["score_id"])
