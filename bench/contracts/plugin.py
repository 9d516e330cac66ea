"""What a stranger's object must look like to be registered, and its errors in words."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .errors import DataError, PbenchError
from .metric import MetricInfo
from .model import Capabilities
from .screen import Dataset, DatasetCard

DIRECTIONS = ("up", "down", "target")
LEVELS = ("perturbation", "dataset", "latent")


def unfit(kind: str, name: str, value: Any) -> str:
    """Why a stranger's object is no model, data set, split or metric of that name; empty where it looks like one."""
    what = value.__name__ if isinstance(value, type) else type(value).__name__
    if kind == "model":
        if not (isinstance(value, type) and callable(getattr(value, "fit", None)) and callable(getattr(value, "predict", None))):
            return f"'{what}' is no class with fit and predict"
        if not isinstance(getattr(value, "capabilities", Capabilities()), Capabilities):
            return f"the capabilities of '{what}' are no pbench.Capabilities"
    elif kind == "dataset":
        if not isinstance(value, Dataset):
            return f"'{what}' is no pbench.Dataset(card, data_id, load)"
        if not isinstance(value.card, DatasetCard):
            return "its card is no pbench.DatasetCard"
        if not (callable(value.data_id) and callable(value.load)):
            return "data_id and load must be functions"
    elif kind == "metric":
        if not isinstance(value, MetricInfo):
            return f"'{what}' is no pbench.MetricInfo"
        if value.id != name:
            return f"its id is '{value.id}'; register it under its id"
        if not callable(value.function):
            return "its function is none"
        if value.direction not in DIRECTIONS or value.level not in LEVELS:
            return f"direction is one of {', '.join(DIRECTIONS)}, and level one of {', '.join(LEVELS)}"
    elif kind == "split" and (isinstance(value, type) or not callable(value)):
        return f"'{what}' is no function of a screen"
    return ""


def summary_of(value: Any) -> str:
    """One line for people: of a metric its summary, of a data set its title, else the first line of the docstring."""
    if isinstance(value, MetricInfo):
        return str(value.summary)
    text = getattr(value.card, "title", "") if isinstance(value, Dataset) else getattr(value, "__doc__", None) or ""
    lines = str(text).strip().splitlines()
    return lines[0] if lines else ""


def guarded(value: Any, name: str, origin: str) -> Any:
    """The same data set or split, whose functions say in words what they raise; other objects as they are.

    They are called in the process of the command line, where models and metrics never are, and what they print does not belong
    to its answer.
    """
    if isinstance(value, Dataset):
        functions = {part: getattr(value, part) for part in ("data_id", "load")}
        return replace(value, **{part: _told(f, f"data set '{name}' ({origin}): {part}()") for part, f in functions.items()})
    if callable(value) and not isinstance(value, type | MetricInfo):
        return _told(value, f"split '{name}' ({origin})")
    return value


def _told(function: Callable[..., Any], what: str) -> Callable[..., Any]:
    #: A wrong parameter of a split is one of these, of which the caller makes a message of its own.
    passed = (PbenchError, MemoryError, *((TypeError, ValueError) if what.startswith("split") else ()))

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                return function(*arguments, **options)
        except passed:
            raise
        except (Exception, SystemExit) as error:  # whatever a stranger's function raises
            raise DataError(f"{what} raised {type(error).__name__}: {error}") from error

    return call
