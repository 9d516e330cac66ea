"""Headline means of every board at a release, frozen so that later releases can be held against them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..bench.contracts.errors import DataError, UsageError
from ..bench.contracts.metric import MetricInfo
from .board import Board
from .identification import Identification

Number = list[Any]
FORMAT = 1
#: Frozen numbers keep so many significant digits: sums differ in the last ones from machine to machine.
DIGITS = 6


def headline(boards: Sequence[Board], codes: Sequence[Identification], metrics: Mapping[str, MetricInfo]) -> list[Number]:
    """``[dataset, split, model, metric, mean]`` of every headline metric that has a value, sorted."""
    found = []
    for b in boards:
        for line in b.lines:
            found += [(b.dataset, b.split, line.model, m, c.mean) for m, c in line.cells.items() if metrics[m].headline]
    for b in codes:
        for line in b.lines:
            found += [(b.dataset, b.split, line.model, m, s.mean) for m, s in line.scores.items() if metrics[m].headline]
    return [[*key, float(f"{mean:.{DIGITS}g}")] for *key, mean in sorted(found) if math.isfinite(mean)]


def read_history(path: Path) -> list[dict[str, Any]]:
    """Frozen releases, oldest first; none where there is no such file.

    Raises
    ------
    DataError
        If the file is not what `freeze` and `dump` made.
    """
    if not path.is_file():
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        releases = [{"version": str(r["version"]), "numbers": [_number(n) for n in r["numbers"]]} for r in found["releases"]]
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']}")
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise DataError(
            f"{path} is not a history of boards ({error}). It is written by: pbench publish --release VERSION"
        ) from error
    return releases


def _number(given: Any) -> Number:
    *key, mean = given
    if len(key) != 4 or not all(isinstance(k, str) for k in key) or not isinstance(mean, int | float):
        raise ValueError(f"not a number of a board: {given!r}")
    return [*key, float(mean)]


def freeze(history: Sequence[Mapping[str, Any]], version: str, numbers: Sequence[Number]) -> list[dict[str, Any]]:
    """The history with a release more, in the order of versions.

    Raises
    ------
    UsageError
        If this version is frozen already with other numbers, or is no version.
    """
    if not re.fullmatch(r"\d+(\.\d+)*([a-z.+-][a-z0-9.+-]*)?", version):
        raise UsageError(f"--release {version}: give a version, such as 0.1.0.")
    before = next((r for r in history if r["version"] == version), None)
    if before is not None and before["numbers"] != list(numbers):
        moved = sum(n not in before["numbers"] for n in numbers) + sum(n not in numbers for n in before["numbers"])
        raise UsageError(
            f"--release {version}: this version is frozen with other numbers ({moved} differ). Frozen numbers stay; "
            "give the next version."
        )
    others = [{"version": r["version"], "numbers": list(r["numbers"])} for r in history if r["version"] != version]
    return sorted([*others, {"version": version, "numbers": list(numbers)}], key=lambda r: _order(r["version"]))


def _order(version: str) -> tuple[Any, ...]:
    """0.9 before 0.10, and 1.0rc1 before 1.0."""
    released, rest = re.match(r"([\d.]*\d)(.*)", version).groups()  # type: ignore[union-attr]
    return tuple(map(int, released.split("."))), rest == "" or rest.startswith((".", "+")), rest


def dump(history: Sequence[Mapping[str, Any]]) -> str:
    """JSON with one number a line, so that a change shows as one."""
    releases = []
    for r in history:
        lines = ",\n".join(f"    {json.dumps(n, ensure_ascii=False)}" for n in r["numbers"])
        releases.append(f'  {{"version": {json.dumps(r["version"])}, "numbers": [\n{lines}\n  ]}}')
    return f'{{"format": {FORMAT}, "releases": [\n' + ",\n".join(releases) + "\n]}\n"
