"""Dials of a data set: the keyword parameters of the function that makes or reads it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from ..bench.contracts.errors import UsageError, suggestion


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The default of each parameter by name."""
    return {name: p.default for name, p in inspect.signature(function).parameters.items()}


def typed(defaults: Mapping[str, Any], name: str, dials: Mapping[str, Any]) -> dict[str, Any]:
    """The dials in the type of their defaults, so that 1 and 1.0 name the same data.

    Parameters
    ----------
    defaults
        Of all dials that there are, as `defaults_of` gives them.
    name
        Of the data set, for messages.
    dials
        Those that were turned.

    Raises
    ------
    UsageError
        If there is no such dial, or a value is not of its type.
    """
    out: dict[str, Any] = {}
    for dial, value in dials.items():
        if dial not in defaults:
            raise UsageError(f"data set '{name}' has no parameter '{dial}'. {suggestion(dial, defaults)}")
        kind = type(defaults[dial])
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if kind is float and number:
            value = float(value)
        elif kind is int and number and value == int(value):
            value = int(value)
        if type(value) is not kind or (kind is float and not number):
            meant = {int: "a whole number", float: "a number", bool: "True or False", str: "a name"}[kind]
            raise UsageError(f"{dial}={value} of data set '{name}' is not {meant}; the default is {dial}={defaults[dial]}.")
        out[dial] = value
    return out


def named(name: str, changed: Mapping[str, Any]) -> str:
    """The name and the dials that were turned, as they are typed: ``latent-temporal[mode=snapshot]``."""
    shown = ",".join(f"{k}={v}" for k, v in sorted(changed.items()))
    return f"{name}[{shown}]" if shown else name
