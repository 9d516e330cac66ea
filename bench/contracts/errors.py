"""One exception family. Each says what was asked, what exists and what to type next, and carries an exit code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

#: Characters of a message beyond which it is cut: names of a stranger may have any length.
LONGEST = 4000
#: Characters that steer a terminal or turn the direction of writing, and halves of characters; line breaks and tabs are kept.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    r"""The same text, in which nothing steers the terminal that shows it.

    >>> printable("a\x1b[31mb\nc")
    'a�[31mb\nc'
    """
    return _STEERING.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """The same text on one line; nothing in it steers the terminal that shows it."""
    return "".join(c if c.isprintable() else " " if c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


class PbenchError(Exception):
    """A mistake or a lack that the user can mend; the command line prints it without a traceback.

    What the message takes from data cannot steer the terminal that shows it.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(str(message)))


class _Sentence(PbenchError):
    """An error that is said on one line of bounded length."""

    def __init__(self, message: str = "") -> None:
        line = one_line(str(message))
        super().__init__(line if len(line) <= LONGEST else line[:LONGEST] + "…")


class UsageError(_Sentence):
    """The request itself is off: an unknown name, a wrong parameter, an unknown configuration key."""

    exit_code = 2


class DataError(_Sentence):
    """A data file is absent, damaged, or does not hold what was declared."""

    exit_code = 3


class MissingDependency(PbenchError):
    """An optional package is needed and not installed."""

    exit_code = 4

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package '{package}', which is not installed. Type: pip install 'pbench[{extra}]'")


class NotFitted(PbenchError):
    """``predict`` was called before ``fit``."""


class TrainingFailed(PbenchError):
    """Training cannot go on: a loss that is no number, memory that ran out.

    Parameters
    ----------
    checkpoint
        Weights of the last good epoch by name, which the engine keeps beside the results.
    """

    def __init__(self, message: str, checkpoint: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.checkpoint = checkpoint or {}


class InvalidPrediction(_Sentence):
    """A model returned something that cannot be scored; the message says what."""


class AuditFailed(PbenchError):
    """A split leaks test information into training; its results are not published."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """A closing clause for an error about an unknown name: near names, or all of them when they are few."""
    known = sorted(known)
    near = get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return "Did you mean " + " or ".join(repr(n) for n in near) + "?"
    if len(known) <= 12:
        return "Known: " + ", ".join(known) + "." if known else "There is none."
    return f"Known: {', '.join(known[:12])}, and {len(known) - 12} more."
