"""Kinds of values on run cards, which somebody else may have written."""

from __future__ import annotations

import math
from typing import Any

from ..contracts.latents import CLAIMS
from .bundle_files import MAX_TEXT


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
