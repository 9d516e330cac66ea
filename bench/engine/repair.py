"""Putting aside what is damaged, so that the next run makes it again; nothing is deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .folders import quarantine
from .store import Store
from .survey import Finding

#: Kinds of findings that are put aside; bundles are somebody's publication and are only reported.
PUT_ASIDE = (
    "record",
    "rows without a card",
    "left over",
    "archive",
    "agreement",
    "manifest",
    "records.parquet",
    "cache",
)


@dataclass(frozen=True)
class Repaired:
    """A file or folder that was moved, and where it lies now."""

    path: Path
    to: Path
    why: str


def repair(found: Sequence[Finding], results: Path, cache: Path) -> list[Repaired]:
    """Move what is damaged into quarantine, and write ``records.parquet`` anew from what is whole.

    Parameters
    ----------
    found
        Of `survey.survey_results` and `survey.survey_cache`.

    Raises
    ------
    PbenchError
        If something cannot be moved.
    """
    moved: list[Repaired] = []
    for one in found:
        if one.kind not in PUT_ASIDE:
            continue
        root = cache if one.path.is_relative_to(cache) else results
        for path in (one.path, *one.with_it):
            why = one.why if path == one.path else f"belongs to {one.path.name}, which {one.why}"
            to = quarantine(path, why, root=root)
            if to.name != "quarantine":
                moved.append(Repaired(path, to, why))
    if any(one.kind in ("record", "records.parquet") for one in found):
        Store(results).consolidate()
    return moved
