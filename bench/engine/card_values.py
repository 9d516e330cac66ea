"""Kinds of values on run cards, which somebody else may have written."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..contracts.latents import CLAIMS
from ..contracts.screen import SHOWN
from .bundle_files import MAX_TEXT

#: What an audit, and a finding of one, can say.
AUDITS = ("pass", "warn", "fail", "na")


def text(value: Any, longest: int = MAX_TEXT) -> bool:
    """Whether a value is a text of bounded length."""
    return isinstance(value, str) and len(value) <= longest


def texts(value: Any, longest: int = MAX_TEXT) -> bool:
    """Whether a value is a list of texts of bounded length."""
    return isinstance(value, list) and all(text(one, longest) for one in value)


def whole(value: Any) -> bool:
    """Whether a value is a whole number of 64 bits."""
    return type(value) is int and abs(value) < 2**63


def number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def flag(value: Any) -> bool:
    """Whether a value is true or false."""
    return isinstance(value, bool)


def claim(value: Any) -> bool:
    """Whether a value is a claim of `CLAIMS`, or none."""
    return value == "" or (text(value) and value in CLAIMS)


def by_name(inner: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether a value is a mapping of texts to values of a kind."""
    return lambda value: isinstance(value, dict) and all(map(text, value)) and all(map(inner, value.values()))


def finding(value: Any) -> bool:
    """Whether a value is a finding of an audit."""
    fits = isinstance(value, dict) and whole(value.get("rule")) and value.get("status") in AUDITS
    return fits and text(value.get("name")) and text(value.get("detail"))


def audit(value: Any) -> bool:
    """Whether a value is an audit: a status and findings."""
    found = value.get("findings") if isinstance(value, dict) else None
    return isinstance(found, list) and value.get("status") in AUDITS[:3] and all(map(finding, found))


def dataset(value: Any) -> bool:
    """Whether a value says what a data set is."""
    return isinstance(value, dict) and all(text(value.get(n)) for n in SHOWN) and flag(value.get("simulated"))
