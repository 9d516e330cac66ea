"""Predictions and truth joined by key: which row answers which condition, which column is which gene; never by position."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...datasets.labels import joined
from ..contracts.condition import Condition
from ..contracts.errors import DataError, UsageError
from .submission_layouts import NOTHING, Labels

Array = np.ndarray[Any, Any]
SEPARATORS = ("+", "_", ",", "|", "&", ";", ":")


@dataclass(frozen=True)
class Joined:
    """Where the rows and columns of a file belong.

    Parameters
    ----------
    codes
        (rows,) index of the truth's condition that a row predicts, -1 where none.
    columns
        (G,) column of the file for each gene of the truth.
    controls
        Number of rows that predict control cells; they are not used.
    unknown
        Perturbations of the file that the truth does not have, as the file writes them.
    extra_genes
        Number of columns whose gene the truth does not have.
    """

    codes: Array
    columns: Array
    controls: int
    unknown: tuple[str, ...]
    extra_genes: int


def join(labels: Labels, genes: Array, conditions: Sequence[Condition], truth_genes: Array, where: str) -> Joined:
    """Join by condition and by gene name.

    Parameters
    ----------
    genes
        Names of the columns of the file.
    conditions
        Perturbed conditions of the truth.
    truth_genes
        Genes of the truth.

    Raises
    ------
    DataError
        If genes are missing, or no perturbation is in the truth.
    UsageError
        If the file does not say which context, dose or time it predicts and the truth has several.
    """
    position = {str(g): i for i, g in enumerate(genes)}
    if missing := [str(g) for g in truth_genes if str(g) not in position]:
        raise DataError(
            f"{where} lacks {len(missing)} of {len(truth_genes)} genes of the truth ({first(missing)}); its genes begin with "
            f"{first(map(str, genes))}. Predict every gene of the truth, name another column of var with --prediction-gene-key, or "
            "leave those genes out of the truth's file."
        )
    index = {c: i for i, c in enumerate(conditions)}
    rows = {key: index[c] for key, c in _keys(labels, conditions, where).items()}
    row_of = np.array([-1 if c.is_control else rows.get(c, -2) for c in labels.stated], dtype=np.int64)
    unknown = tuple(sorted(w for w, r in zip(labels.written, row_of, strict=True) if r == -2))
    if not (row_of >= 0).any():
        raise DataError(
            f"{where} predicts no perturbation of the truth. It has {first(unknown) or 'only controls'}; the truth has "
            f"{first(c.key for c in conditions)}.{advice(labels, conditions)}"
        )
    codes = row_of[labels.codes]
    controls = int((codes == -1).sum())
    columns = np.array([position[str(g)] for g in truth_genes], dtype=np.int64)
    return Joined(np.maximum(codes, -1), columns, controls, unknown, len(genes) - len(columns))


def _keys(labels: Labels, conditions: Sequence[Condition], where: str) -> dict[Condition, Condition]:
    """What the file would call each condition of the truth."""
    values = {
        "context": {c.context for c in conditions},
        "dose": {c.doses for c in conditions},
        "time": {c.time for c in conditions},
    }
    nothing: dict[str, Any] = {"context": None, "dose": (), "time": None}
    for part in sorted(labels.declared):
        if values[part] == {nothing[part]} and labels.layout != "archive":
            raise UsageError(
                f"--prediction-{part}-key is given, and the truth has no {part}s; leave it out, or name the truth's with --{part}-key."
            )
    keys: dict[Condition, Condition] = {}
    for c in conditions:
        key = Condition(
            c.targets,
            c.doses if "dose" in labels.declared else (),
            c.time if "time" in labels.declared else None,
            c.context if "context" in labels.declared else None,
        )
        if key in keys:
            other = keys[key]
            parts = {"context": c.context != other.context, "dose": c.doses != other.doses, "time": c.time != other.time}
            part = next(name for name, differs in parts.items() if differs)
            raise UsageError(
                f"the truth has {c.targets} in several {part}s ({other.key!r}, {c.key!r}); say which column of {where} holds the {part} "
                f"of a prediction with --prediction-{part}-key."
            )
        keys[key] = c
    return keys


def advice(labels: Labels, conditions: Sequence[Condition]) -> str:
    """What to try where labels are not in the truth: another separator, if with it they would be."""
    known = {c.targets for c in conditions}
    names = [
        w.partition(" | ")[0]
        for w, c in zip(labels.written, labels.stated, strict=True)
        if not c.is_control and c.targets not in known
    ]
    found = {}
    for separator in (None, *SEPARATORS):
        parse = joined(separator, control=NOTHING[0], tokens=NOTHING)
        found[separator or "none"] = sum(tuple(sorted(set(parse(name)))) in known for name in names)
    best = max(found, key=lambda s: found[s])
    return f" With --prediction-separator {best}, {found[best]} of them would be found." if found[best] else ""


def first(names: Iterable[str], n: int = 3) -> str:
    """The first few names, for a message."""
    found = [x if len(x) <= 60 else x[:60] + "…" for x in names]
    return ", ".join(found[:n]) + (f" and {len(found) - n} more" if len(found) > n else "")
