"""Whether run cards and agreements that somebody else has written have the fields that boards read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from ..contracts.errors import DataError
from ..contracts.latents import CLAIMS
from .bundle_files import MAX_TEXT, shown
from .plan import JobSpec
from .record import OK

#: Of the cards and agreements in bundles; records in a folder of results have schemas of their own (`record.SCHEMA`).
SCHEMA = 1

#: Every way in which a job can end.
STATUSES = (OK, "failed", "invalid", "out_of_memory", "timeout", "killed", "unavailable")
AUDITS = ("pass", "warn", "fail", "na")


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT


def _whole(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def texts(value: Any) -> bool:
    """Whether a value is a list of texts of bounded length."""
    return isinstance(value, list) and all(map(_text, value))


def _by_name(inner: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(_text, value)) and all(map(inner, value.values()))


#: Fields that every card has, and those that the card of a finished job has beside.
EVERY: dict[str, Callable[[Any], bool]] = {
    "score_id": _text,
    "job_id": _text,
    "model": _text,
    "origin": _text,
    "group": _text,
    "reference_row": _flag,
    "prior_knowledge": texts,
    "pretraining_overlap": _text,
    "stochastic": _flag,
    "metrics": texts,
    "predicts": _flag,
    "pbench": _text,
    "machine": _by_name(_text),
    "started": _number,
    "status": lambda value: value in STATUSES,
}
FINISHED: dict[str, Callable[[Any], bool]] = {
    "seconds": _by_name(_number),
    "peak_memory_mb": _number,
    "claim": lambda value: value == "" or (_text(value) and value in CLAIMS),
    "n_conditions": _whole,
    "n_predicted": _whole,
    "n_fallback": _whole,
    "absent": _by_name(_text),
    "metrics_failed": _by_name(_text),
}
SPEC: dict[str, Callable[[Any], bool]] = {f.name: _text for f in fields(JobSpec)} | {
    "params": _by_name(lambda value: True),
    "seed": _whole,
    "resources": _by_name(_text),
    "environment": _by_name(_text),
}
DATASET = ("title", "source", "licence", "scale")


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
    _check(card, FINISHED if card["status"] == OK else {"reason": _text}, where)
    spec = card.get("spec")
    if not isinstance(spec, dict) or set(spec) != set(SPEC):
        raise DataError(f"{where}: spec has other fields than {', '.join(SPEC)}")
    _check(spec, SPEC, f"{where}, spec")
    for name in ("dataset", "split", "data_id"):
        if spec[name] != meta[name]:
            raise DataError(f"{where}: {name} is {shown(spec[name])!r}, and the bundle is of {shown(meta[name])!r}")
    described = card.get("dataset_card")
    if (
        not isinstance(described, dict)
        or not all(_text(described.get(n)) for n in DATASET)
        or not _flag(described.get("simulated"))
    ):
        raise DataError(f"{where}: dataset_card lacks one of {', '.join(DATASET)}, simulated")
    _check_audit(card.get("audit"), where)
    return card


def _check(value: Mapping[str, Any], expected: Mapping[str, Callable[[Any], bool]], where: str) -> None:
    for name, fits in expected.items():
        if name not in value:
            raise DataError(f"{where}: {name} is missing")
        if not fits(value[name]):
            raise DataError(f"{where}: {name} is {shown(value[name])!r}, which it cannot be")


def _check_audit(audit: Any, where: str) -> None:
    findings = audit.get("findings") if isinstance(audit, dict) else None
    if not isinstance(findings, list) or audit.get("status") not in AUDITS[:3]:
        raise DataError(f"{where}: audit has no status or no findings")
    for one in findings:
        whole = isinstance(one, dict) and _whole(one.get("rule")) and one.get("status") in AUDITS
        if not whole or not _text(one.get("name")) or not _text(one.get("detail")):
            raise DataError(f"{where}: a finding of the audit lacks its rule, name, status or detail")
    order = ("na", "pass", "warn", "fail").index
    worst = max((f["status"] for f in findings), key=order, default="na")
    if order(audit["status"]) < order(worst):
        raise DataError(f"{where}: audit says {audit['status']}, and its worst finding is {worst}")
    if audit["status"] == "fail":
        raise DataError(f"{where}: its audit failed; such results are not published")


def check_agreement(value: Any, where: str) -> dict[str, Any]:
    """The agreement, if it is one.

    Raises
    ------
    DataError
        If it is not.
    """
    whole = (
        isinstance(value, dict)
        and value.get("schema") == SCHEMA
        and _text(value.get("model"))
        and texts(value.get("jobs"))
        and len(value["jobs"]) == 2
        and isinstance(value.get("seeds"), list)
        and all(map(_whole, value["seeds"]))
        and _number(value.get("value"))
    )
    if not whole:
        raise DataError(f"{where} is no agreement of the codes of two seeds")
    return value
