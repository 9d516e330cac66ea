"""The shapes in which people hold public screens, told apart by their columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..bench.contracts.errors import DataError
from .h5ad import columns, layers
from .labels import constructs, guides, joined, numbered
from .reader import Layout

if TYPE_CHECKING:
    import pandas as pd

#: Non-targeting vectors of Adamson 2016 as scPerturb names them.
ADAMSON_CONTROLS = (
    "62(mod)_pBA581",
    "63(mod)_pBA580",
    "Gal4-4(mod)_pBA582",
    "3x_neg_ctrl_pMJ144-1",
    "3x_neg_ctrl_pMJ144-2",
)

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
        # GEARS' index of var holds Ensembl identifiers, its labels symbols.
        genes = "gene_name" if "gene_name" in columns(path, "var") else None
        return Layout("condition", "log1p_1e4", joined("+", control="ctrl"), "ctrl", genes=genes)
    if "perturbation" in found:
        return scperturb("_")
    raise DataError(f"{path.name} is in none of the known layouts: {KNOWN}. Its columns are {', '.join(sorted(found))}.")


def scperturb(separator: str | None = None, *, context: str | None = None, dose: str | None = None) -> Layout:
    """Layout of scPerturb's harmonised files: obs 'perturbation' with 'control', X counts; cells without a guide left out."""
    labels = joined(separator, control="control")
    return Layout("perturbation", "counts", labels, context=context, dose=dose, keep=_assigned, kept_by=("perturbation",))


def adamson(path: Path) -> Layout:
    """Layout of Adamson 2016 as GEARS or scPerturb publish it."""
    if "condition" in columns(path):
        return genetic(path)
    parse = constructs(controls=ADAMSON_CONTROLS)
    return Layout("perturbation", "counts", parse, ADAMSON_CONTROLS[0], keep=_assigned, kept_by=("perturbation",))


def papalexi() -> Layout:
    """Layout of Papalexi 2021 as scPerturb publishes it, labelled by guide."""
    return Layout("perturbation", "counts", numbered(control="control"), keep=_assigned, kept_by=("perturbation",))


def _assigned(obs: pd.DataFrame) -> pd.Series:
    """Cells with a label; '*' is Adamson's mark for a cell whose guide could not be called."""
    labels = obs["perturbation"]
    return labels.notna() & ~labels.astype(str).isin(["nan", "None", "*"])
