"""A call in a process of its own, where a hostile or damaged file can do no harm; what it raises is raised here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..contracts import memory
from ..contracts.errors import DataError, PbenchError, UsageError
from .execute import Outcome, execute

Argument = TypeVar("Argument")
Value = TypeVar("Value")


def readers_memory() -> float:
    """Megabytes that a process may take which reads a file: all of the machine's, so that it fails before the machine does."""
    return memory.machine() / 2**20


def apart(function: Callable[[Argument], Value], argument: Argument, what: str, *, preload: Sequence[str] = ()) -> Value:
    """What a function of a module returns for an argument.

    Parameters
    ----------
    what
        What the call does, for messages: ``my.h5ad could not be read``.
    preload
        As for `execute`.

    Raises
    ------
    PbenchError
        What the function has raised, or that it has ended its process.
    """
    (outcome,) = execute(function, [argument], workers=1, preload=preload, memory_mb=readers_memory())
    if outcome.status == "ok":
        found: Any = outcome.value
        return found
    raise error_of(outcome, what, blamed=("killed", "out_of_memory"))


def error_of(outcome: Outcome, what: str, *, blamed: Sequence[str]) -> PbenchError:
    """The error that tells of a call which did not end well.

    Parameters
    ----------
    what
        What the call does, for messages.
    blamed
        Ends that a damaged file can bring about.
    """
    if outcome.status in blamed:
        return DataError(f"{what}: {outcome.reason}. A damaged file can do that too: fetch or copy it again.")
    if outcome.traceback:
        return PbenchError(f"{what}: {outcome.reason}\n{outcome.traceback}")
    kinds = {k.exit_code: k for k in (PbenchError, DataError, UsageError)}
    return kinds.get(outcome.exit_code, PbenchError)(outcome.reason)
