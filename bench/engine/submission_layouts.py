"""How files of predictions name perturbations: declared, or recognised by the names of columns and never by values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, cast

import numpy as np

from ...datasets.labels import canonical, joined, shown
from ..contracts.condition import Condition, parse_label
from ..contracts.errors import DataError, UsageError, suggestion

Array = np.ndarray[Any, Any]
#: Scales that predictions can be declared on.
SCALES = ("log1p_1e4", "counts", "delta", "raw")


@dataclass(frozen=True)
class Convention:
    """A column of labels, the label of control cells and what joins the targets of a combination."""

    perturbation: str
    control: str
    separator: str


CONVENTIONS = {
    "cell-eval": Convention("target_gene", "non-targeting", "+"),
    "scperturb": Convention("perturbation", "control", "_"),
    "gears": Convention("condition", "ctrl", "+"),
    "pbench": Convention("perturbation", "control", "+"),
}
#: Names of controls that also stand for "no second target", in all conventions.
NOTHING = ("control", "ctrl", "non-targeting")


@dataclass(frozen=True)
class Reading:
    """What the user says of a file of predictions; None where nothing was said.

    Parameters
    ----------
    scale
        One of `SCALES`; an archive of pbench knows its own.
    layout
        A key of `CONVENTIONS`.
    separator
        What joins targets; ``none`` where every label is one target.
    gene_key
        Column of var with gene names, instead of its index.
    rows
        ``cells`` or ``means``: what a row is.
    """

    scale: str | None = None
    layout: str | None = None
    perturbation_key: str | None = None
    control_label: str | None = None
    separator: str | None = None
    context_key: str | None = None
    dose_key: str | None = None
    time_key: str | None = None
    layer: str | None = None
    gene_key: str | None = None
    rows: str | None = None

    @property
    def keys(self) -> dict[str, str]:
        """Columns beside the label, by what they say of a condition."""
        found = {"context": self.context_key, "dose": self.dose_key, "time": self.time_key}
        return {name: key for name, key in found.items() if key is not None}


@dataclass(frozen=True)
class Labels:
    """What the rows of a file say that they predict.

    Parameters
    ----------
    stated
        Each distinct perturbation; a control where it has no targets.
    written
        The same as the file writes it.
    codes
        (rows,) index into `stated`.
    declared
        Which of ``context``, ``dose`` and ``time`` the file states.
    layout
        Key of `CONVENTIONS` by which labels were read, or ``archive``.
    """

    stated: tuple[Condition, ...]
    written: tuple[str, ...]
    codes: Array
    declared: frozenset[str]
    layout: str


def recognised(found: Iterable[str], reading: Reading, where: str, *, index: str | None = None) -> tuple[str, Convention]:
    """The convention of a file with the columns `found`, as declared or by their names.

    Parameters
    ----------
    index
        A nameless first column, which holds labels where no other column does.

    Raises
    ------
    UsageError
        If no column or more than one could hold the labels, and the user has not said which.
    """
    found = set(found)
    scperturb = "nperts" in found
    by_column = {"target_gene": "cell-eval", "condition": "gears", "perturbation": "scperturb" if scperturb else "pbench"}
    if reading.layout is not None:
        layout = reading.layout
    elif reading.perturbation_key is not None:
        layout = by_column.get(reading.perturbation_key, "pbench")
    else:
        fitting = [layout for column, layout in by_column.items() if column in found]
        if not fitting and index is not None:
            return "pbench", _spoken(Convention(index, "control", "+"), reading)
        if len(fitting) != 1:
            named = f"holds each of {', '.join(c for c in by_column if c in found)}" if fitting else "names none of its columns"
            named = f"{named} ({', '.join(sorted(found)[:12])})" if not fitting else named
            raise UsageError(
                f"{where} {named}{'' if fitting else ' ' + ', '.join(by_column)}; say which one holds the perturbations "
                f"with --prediction-perturbation-key, or the layout with --layout ({', '.join(CONVENTIONS)})."
            )
        layout = fitting[0]
    convention = _spoken(CONVENTIONS[layout], reading)
    if convention.perturbation not in found:
        raise DataError(
            f"{where} has no column '{convention.perturbation}' with perturbations (layout {layout}). "
            f"{suggestion(convention.perturbation, found)} Name it with --prediction-perturbation-key."
        )
    return layout, convention


def _spoken(convention: Convention, reading: Reading) -> Convention:
    return Convention(
        reading.perturbation_key or convention.perturbation,
        reading.control_label or convention.control,
        reading.separator or convention.separator,
    )


def read_labels(columns: Mapping[str, Any], layout: str, convention: Convention, reading: Reading, where: str) -> Labels:
    """What each row predicts.

    Parameters
    ----------
    columns
        The column of labels and those in ``reading.keys``, by name, each with one value a row.

    Raises
    ------
    DataError
        If a label, context, dose or time is missing or cannot be read.
    """
    import pandas as pd

    names = {"label": convention.perturbation, **reading.keys}
    # Categories, because a long file has few perturbations.
    obs = pd.DataFrame({name: pd.Series(columns[key]).reset_index(drop=True).astype("category") for name, key in names.items()})
    for name in [n for n in ("label", "context") if n in obs]:
        # Columns that went through astype(str) hold the words that pandas writes for a missing value.
        words = {str(c): c for c in obs[name].cat.categories}
        nothing = [words[w] for w in ("nan", "None", "<NA>", "") if w in words and w != convention.control]
        gaps = obs[name].isna() | obs[name].isin(nothing)
        if gaps.any():
            raise DataError(
                f"{where}: the column '{names[name]}' is missing in {int(gaps.sum())} of {len(obs)} rows (first: row "
                f"{int(np.flatnonzero(gaps)[0]) + 1}); fill it or drop the rows."
            )
    codes = obs.groupby(list(obs), observed=True, sort=False, dropna=False).ngroup().to_numpy()
    distinct = obs.iloc[np.unique(codes, return_index=True)[1]]
    separator = None if convention.separator.lower() == "none" else convention.separator
    parse = joined(separator, control=convention.control, tokens=NOTHING)
    stated = [_condition(row, parse, names, where) for row in cast(Any, distinct.to_dict("records"))]
    written = [" | ".join(str(v) for v in row) for row in distinct.itertuples(index=False, name=None)]
    return Labels(tuple(stated), tuple(written), codes, frozenset(reading.keys), layout)


def _condition(row: Mapping[str, Any], parse: Any, names: Mapping[str, str], where: str) -> Condition:
    label = str(row["label"])
    context = str(row["context"]) if "context" in row else None
    try:
        targets = parse_label(canonical(label, parse, where=f"{where}: '{names['label']}'"))
    except DataError as error:
        raise DataError(str(error).replace("--separator", "--prediction-separator")) from error
    if not targets:
        return Condition(context=context)
    doses: tuple[float, ...] = ()
    if "dose" in row:
        given = [_number(part, row["dose"], names["dose"], where) for part in str(row["dose"]).split("+")]
        written = parse(label)
        if len(given) not in (1, len(written)):
            raise DataError(
                f"{where}: '{names['dose']}' holds {row['dose']!r} for {len(written)} target(s) in {shown(label)}; give one number, "
                "or one for each target joined by '+'."
            )
        each = dict(zip(written, given if len(given) > 1 else given * len(written), strict=True))
        doses = tuple(each[t] for t in targets)
    time = _number(str(row["time"]), row["time"], names["time"], where) if "time" in row else None
    return Condition(targets, doses, time, context)


def _number(text: str, value: Any, key: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise DataError(f"{where}: the column '{key}' holds {value!r}, which is no number.")
    return number
