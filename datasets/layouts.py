"""The shapes in which people hold public screens, told apart by their columns."""

from __future__ import annotations

from pathlib import Path

from ..bench.contracts.errors import DataError
from .labels import guides, joined
from .reader import Layout, columns, layers

#: What `genetic` recognises, for its error.
KNOWN = (
    "GEARS (obs 'condition' with 'A+ctrl' and 'ctrl', X log1p of counts per 10,000), "
    "pertpy's norman_2019 (obs 'guide_identity' such as 'KLF1_NegCtrl0__KLF1_NegCtrl0') "
    "and scPerturb (obs 'perturbation' with 'A_B' and 'control', X counts)"
)


def genetic(path: Path) -> Layout:
    """Layout of a pooled genetic screen as GEARS, pertpy or scPerturb publish it.

    Raises
    ------
    DataError
        If the columns are of none of the three.
    """
    found = set(columns(path))
    counts = "counts" in layers(path)
    if "guide_identity" in found:
        batch = "gemgroup" if "gemgroup" in found else None
        # The processed file keeps counts in a layer; without it X is taken for what the file is published as.
        return Layout(
            "guide_identity",
            "counts" if counts else "log1p_1e4",
            guides(),
            "NegCtrl0",
            batch=batch,
            layer="counts" if counts else None,
        )
    if "condition" in found:
        return Layout("condition", "log1p_1e4", joined("+", control="ctrl"), "ctrl")
    if "perturbation" in found:
        return Layout("perturbation", "counts", joined("_", control="control"))
    raise DataError(f"{path.name} is in none of the known layouts: {KNOWN}. Its columns are {', '.join(sorted(found))}.")


def scperturb(separator: str | None = None, *, context: str | None = None, dose: str | None = None) -> Layout:
    """Layout of scPerturb's harmonised files: obs 'perturbation' with 'control', X counts."""
    return Layout("perturbation", "counts", joined(separator, control="control"), context=context, dose=dose)
