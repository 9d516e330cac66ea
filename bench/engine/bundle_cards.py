"""Whether run cards and agreements that somebody else has written have the fields that boards read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from ..contracts.errors import DataError
from ..contracts.screen import SHOWN
from .bundle_files import shown
from .card_values import audit, by_name, claim, dataset, flag, number, text, texts, whole
from .plan import JobSpec
from .record import OK

#: Of the cards and agreements in bundles; records in a folder of results have schemas of their own (`record.SCHEMA`).
SCHEMA = 1

#: Every way in which a job can end.
STATUSES = (OK, "failed", "invalid", "out_of_memory", "timeout", "killed", "unavailable")

#: Fields that every card has, and those that the card of a finished job has beside.
EVERY: dict[str, Callable[[Any], bool]] = {
    "score_id": text,
    "job_id": text,
    "model": text,
    "origin": text,
    "group": text,
    "reference_row": flag,
    "prior_knowledge": texts,
    "pretraining_overlap": text,
    "stochastic": flag,
    "metrics": texts,
    "predicts": flag,
    "pbench": text,
    "machine": by_name(text),
    "started": number,
    "status": lambda value: value in STATUSES,
}
FINISHED: dict[str, Callable[[Any], bool]] = {
    "seconds": by_name(number),
    "peak_memory_mb": number,
    "claim": claim,
    "n_conditions": whole,
    "n_predicted": whole,
    "n_fallback": whole,
    "absent": by_name(text),
    "metrics_failed": by_name(text),
}
SPEC: Mapping[str, Callable[[Any], bool]] = {f.name: text for f in fields(JobSpec)} | {
    "params": by_name(lambda value: True),
    "seed": whole,
    "resources": by_name(text),
    "environment": by_name(text),
}


def check_card(card: Any, meta: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The card, if it is one of the bundle's data set and split.

    Raises
    ------
    DataError
        With the first field that is missing or of another kind.
    """
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        raise DataError(f"{where} is no run card of schema {SCHEMA}")
    _check(card, EVERY, where)
    _check(card, FINISHED if card["status"] == OK else {"reason": text}, where)
    spec = card.get("spec")
    if not isinstance(spec, dict) or set(spec) != set(SPEC):
        raise DataError(f"{where}: spec has other fields than {', '.join(SPEC)}")
    _check(spec, SPEC, f"{where}, spec")
    for name in ("dataset", "split", "data_id"):
        if spec[name] != meta[name]:
            raise DataError(f"{where}: {name} is {shown(spec[name])!r}, and the bundle is of {shown(meta[name])!r}")
    if not dataset(card.get("dataset_card")):
        raise DataError(f"{where}: dataset_card lacks one of {', '.join(SHOWN)}, simulated")
    _check_audit(card.get("audit"), where)
    return card


def _check(value: Mapping[str, Any], expected: Mapping[str, Callable[[Any], bool]], where: str) -> None:
    for name, fits in expected.items():
        if name not in value:
            raise DataError(f"{where}: {name} is missing")
        if not fits(value[name]):
            raise DataError(f"{where}: {name} is {shown(value[name])!r}, which it cannot be")


def _check_audit(said: Any, where: str) -> None:
    if not audit(said):
        raise DataError(f"{where}: audit has no status or no findings, or one of them lacks its rule, name, status or detail")
    order = ("na", "pass", "warn", "fail").index
    worst = max((f["status"] for f in said["findings"]), key=order, default="na")
    if order(said["status"]) < order(worst):
        raise DataError(f"{where}: audit says {said['status']}, and its worst finding is {worst}")
    if said["status"] == "fail":
        raise DataError(f"{where}: its audit failed; such results are not published")


def check_agreement(value: Any, where: str) -> dict[str, Any]:
    """The agreement, if it is one.

    Raises
    ------
    DataError
        If it is not.
    """
    fits = (
        isinstance(value, dict)
        and value.get("schema") == SCHEMA
        and text(value.get("model"))
        and texts(value.get("jobs"))
        and len(value["jobs"]) == 2
        and isinstance(value.get("seeds"), list)
        and all(map(whole, value["seeds"]))
        and number(value.get("value"))
    )
    if not fits:
        raise DataError(f"{where} is no agreement of the codes of two seeds")
    return value
