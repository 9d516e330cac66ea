"""What a check says: its name in plain words, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..contracts.errors import PbenchError


@dataclass(frozen=True)
class Verdict:
    """The result of one check; `problem` is empty where it passed."""

    check: str
    problem: str

    @property
    def passed(self) -> bool:
        return not self.problem


def verdicts(checks: Mapping[str, Callable[..., str | None]], *subject: Any, needed: Collection[str] = ()) -> Iterator[Verdict]:
    """Run checks by name; a check that raises says what it raised.

    Parameters
    ----------
    checks
        Functions of `subject` that return what is wrong, or None.
    needed
        Checks without which the later ones mean nothing: if one fails, they are not run.
    """
    for name, function in checks.items():
        try:
            problem = function(*subject) or ""
        except PbenchError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - whatever a stranger's code raises is the finding
            problem = f"raised {type(error).__name__}: {error}"
        yield Verdict(name, problem)
        if problem and name in needed:
            return
