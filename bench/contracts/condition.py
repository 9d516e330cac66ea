"""What is done to cells: targets with optional doses, a time and a context."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

from .errors import DataError

CONTROL = "control"
#: Characters that a name may have: it stands in tables, on boards and in the names of rows.
MOST_LETTERS = 10_000


@dataclass(frozen=True)
class Condition:
    """One perturbation in one context; hashable, and equal whatever the order in which its targets were named.

    Parameters
    ----------
    targets
        Perturbed genes, compounds or stimuli; kept sorted. Empty means control.
    doses
        One dose or sign for each target in sorted order, or empty where the screen has none.
    time
        Hours since the perturbation, or None where the screen has a single time.
    context
        Cell line, cell type or donor, or None where the screen has a single context.

    Examples
    --------
    >>> Condition(("KLF1", "BAK1")) == Condition(("BAK1", "KLF1"))
    True
    >>> Condition(("KLF1", "BAK1")).label
    'BAK1+KLF1'
    """

    targets: tuple[str, ...] = ()
    doses: tuple[float, ...] = ()
    time: float | None = None
    context: str | None = None

    def __post_init__(self) -> None:
        targets = tuple(str(t) for t in self.targets)
        doses = tuple(float(d) for d in self.doses)
        if doses and len(doses) != len(targets):
            raise DataError(f"{len(doses)} doses were given for {len(targets)} targets {targets}; give one each or none.")
        if len(set(targets)) != len(targets):
            raise DataError(f"a target occurs twice in {targets}; a condition names each target once.")
        if CONTROL in targets or "" in targets:
            raise DataError(f"{targets} contains an empty name or '{CONTROL}', which is kept for unperturbed cells.")
        for name in (*targets, *(() if self.context is None else (str(self.context),))):
            check_name(name, "a condition")
        if not all(map(isfinite, doses)) or not (self.time is None or isfinite(self.time)):
            raise DataError(f"the doses {doses} or the time {self.time} of {targets} are no finite numbers.")
        order = sorted(range(len(targets)), key=targets.__getitem__)
        object.__setattr__(self, "targets", tuple(targets[i] for i in order))
        object.__setattr__(self, "doses", tuple(doses[i] for i in order) if doses else ())
        object.__setattr__(self, "time", None if self.time is None else float(self.time))

    @property
    def is_control(self) -> bool:
        """Whether nothing is done to the cells."""
        return not self.targets

    @property
    def label(self) -> str:
        """The canonical perturbation label: escaped sorted targets joined by ``+``, or ``control``."""
        return "+".join(escape(t) for t in self.targets) if self.targets else CONTROL

    @property
    def key(self) -> str:
        """A readable string that is unique among conditions: the label, then doses, time and context where present."""
        parts = [self.label]
        if self.doses:
            parts.append("dose=" + "+".join(f"{d:g}" for d in self.doses))
        if self.time is not None:
            parts.append(f"time={self.time:g}")
        if self.context is not None:
            parts.append(f"context={self.context}")
        return " | ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """A JSON object with the fields that are set."""
        out: dict[str, Any] = {"targets": list(self.targets)}
        if self.doses:
            out["doses"] = list(self.doses)
        if self.time is not None:
            out["time"] = self.time
        if self.context is not None:
            out["context"] = self.context
        return out

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Condition:
        """The condition that `to_dict` has written.

        Raises
        ------
        ValueError
            If `value` is something else, as what a stranger has written may be.
        """
        targets, doses = value["targets"], value.get("doses", [])
        time, context = value.get("time"), value.get("context")
        texts = isinstance(targets, list) and all(isinstance(t, str) for t in targets) and isinstance(context, str | None)
        numbers = isinstance(doses, list) and all(type(n) in (int, float) and abs(n) < 1e300 for n in (*doses, time or 0))
        if not texts or not numbers:
            raise ValueError("targets are a list of texts, doses a list of numbers, time a number and context a text")
        return cls(tuple(targets), tuple(doses), time, context)

    def single(self, target: str) -> Condition:
        """The condition that perturbs only `target`, at the same dose, time and context."""
        i = self.targets.index(target)
        return Condition((target,), self.doses[i : i + 1], self.time, self.context)

    def control(self) -> Condition:
        """The unperturbed condition of the same context (controls carry no dose and no time)."""
        return Condition(context=self.context)


def check_name(name: str, where: str) -> None:
    """Raise `DataError` unless a name of a target, context or gene can be written to a file and shown in a table."""
    if len(name) > MOST_LETTERS:
        raise DataError(f"{where} has a name of {len(name):,} characters ({name[:40]!r}…), and {MOST_LETTERS:,} are the most.")
    if not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name):
        raise DataError(f"{where} has the name {name[:40]!r}, which is no Unicode text; write the file again.")


def escape(target: str) -> str:
    """Percent-escape what the canonical label gives a meaning to, so that any name survives the round trip."""
    return target.replace("%", "%25").replace("+", "%2B")


def unescape(target: str) -> str:
    return target.replace("%2B", "+").replace("%25", "%")


def parse_label(label: str) -> tuple[str, ...]:
    """Targets of a canonical label.

    >>> parse_label("A+B"), parse_label("control")
    (('A', 'B'), ())
    """
    return () if label == CONTROL else tuple(unescape(t) for t in label.split("+"))


def sort_key(condition: Condition) -> tuple[Any, ...]:
    """A total order on conditions that does not depend on how a screen lists them."""
    time = -1.0 if condition.time is None else condition.time
    return (condition.context or "", len(condition.targets), condition.targets, condition.doses, time)
