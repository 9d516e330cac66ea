"""Predicted means in a table, a row a perturbation and a column a gene, or as `pbench run` archives them."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from ...datasets.bounded_table import check_header, read_parquet
from ..contracts.archive import read_arrays
from ..contracts.condition import Condition
from ..contracts.errors import DataError, PbenchError, UsageError, suggestion
from ..contracts.memory import unpackable
from .submission_layouts import Labels, Reading, read_labels, recognised

Array = np.ndarray[Any, Any]
#: Arrays of an archive and the letters of their types.
ARCHIVED = {"mean": "f", "variance": "f", "genes": "U", "facts": "U"}
#: Rows that a table may have: one a perturbation, so that more are cells in the wrong kind of file.
TABLE_ROWS = 100_000


@dataclass(frozen=True)
class Predictions:
    """An open file of predictions.

    Parameters
    ----------
    labels
        What each row predicts.
    genes
        (G,) names of the columns, as the file orders them.
    rows
        Blocks of rows with their values, as often as it is iterated.
    table
        True where the kind of file says that a row is a mean; False where rows may be cells.
    scale
        Of an archive of ours, which knows it; None elsewhere.
    variance
        (rows, G) variance over cells that goes with means, where the file has it.
    apart
        Which columns that say nothing of the perturbation differ among rows of one; the rows' perturbations are given as
        codes, -1 for rows that do not count.
    """

    labels: Labels
    genes: Array
    rows: Iterable[tuple[slice, Any]]
    table: bool
    scale: str | None = None
    variance: Array | None = None
    apart: Callable[[Array], tuple[str, ...]] = lambda codes: ()


def unique(names: Any, where: str) -> Array:
    """Gene names as an array.

    Raises
    ------
    DataError
        If one occurs twice.
    """
    genes = np.asarray(names).astype(str)
    values, count = np.unique(genes, return_counts=True)
    if (count > 1).any():
        raise DataError(
            f"{where}: {int((count > 1).sum())} gene name(s) occur more than once (first: {str(values[count > 1][0])!r}); predictions are "
            "joined by name, so each gene needs one of its own."
        )
    return genes


def table(path: Path, reading: Reading) -> Predictions:
    """A .csv, .tsv or .parquet with one row a perturbation and one column a gene.

    Raises
    ------
    DataError
        If it cannot be read, or a column is neither a gene nor known.
    UsageError
        If it is not clear which column names the perturbation.
    """
    if reading.layer is not None or reading.gene_key is not None:
        raise UsageError(f"{path.name} is a table; --prediction-layer and --prediction-gene-key are for .h5ad.")
    frame, index = _parquet(path) if path.suffix.lower() == ".parquet" else _delimited(path, reading)
    layout, convention = recognised(frame, reading, path.name, index=index)
    for option, key in reading.keys.items():
        if key not in frame:
            raise DataError(
                f"{path.name} has no column '{key}'. {suggestion(key, map(str, frame))} Name it with --prediction-{option}-key."
            )
    if not 0 < len(frame) <= TABLE_ROWS:
        raise DataError(
            f"{path.name} has {len(frame)} rows; a table has one for each perturbation, and cells belong in an .h5ad."
        )
    about = [convention.perturbation, *reading.keys.values()]
    labels = read_labels({key: frame[key] for key in about}, layout, convention, reading, path.name)
    genes = [c for c in frame if c not in about]
    if text := [c for c in genes if frame[c].dtype.kind not in "biuf"]:
        raise DataError(
            f"{path.name}: the column '{text[0]}' holds text, such as {str(frame[text[0]].iloc[0])[:40]!r}; every column but that of "
            "the perturbation is a gene. Drop it, or say what it is with --prediction-context-key, -dose-key or -time-key."
        )
    values = frame[genes].to_numpy(dtype=np.float64)
    return Predictions(labels, unique(genes, path.name), [(slice(0, len(values)), values)], table=True)


def _delimited(path: Path, reading: Reading) -> tuple[Any, str | None]:
    """A table of text and the name of its nameless first column."""
    import pandas as pd

    separator = "," if path.suffix.lower() == ".csv" else "\t"
    try:
        header = check_header(path, separator)
        # pandas would rename the second of two equal columns.
        unique([h for h in header if h], path.name)
        index = "" if header and header[0] == "" else None
        names = ["label", *header[1:]] if index is not None and "label" not in header else header
        words = {"label", "perturbation", "target_gene", "condition", reading.perturbation_key, *reading.keys.values()}
        text = {n: str for n in names if n in words}
        with warnings.catch_warnings():
            # A row that is longer than the header would be cut with no more than a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path,
                sep=separator,
                header=None,
                names=names,
                skiprows=1,
                index_col=False,
                dtype=cast(Mapping[Any, Any], text),
                keep_default_na=False,
                na_values={n: ["", "nan", "NaN", "NA"] for n in names if n not in text},
                encoding="utf-8-sig",
                float_precision="round_trip",
            )
    except PbenchError:
        raise
    except (OSError, ValueError, csv.Error, pd.errors.ParserWarning) as error:
        raise DataError(
            f"{path.name} is no readable table ({' '.join(str(error).split())[:200]}); a .csv is separated by commas, a .tsv by tabs, "
            "with a header of gene names."
        ) from error
    return frame, "label" if index is not None and "label" in names[:1] else None


def _parquet(path: Path) -> tuple[Any, str | None]:
    import pandas as pd

    frame = read_parquet(path, most_rows=TABLE_ROWS)
    if isinstance(frame.index, pd.RangeIndex):
        return frame, None
    nameless = frame.index.name is None
    frame.index.name = "label" if nameless else frame.index.name
    return frame.reset_index(), "label" if nameless else None


def archive(path: Path) -> Predictions:
    """What `pbench run` has archived: means on the scale of the profiles, with whole conditions.

    Raises
    ------
    DataError
        If it is damaged or something else.
    """
    try:
        f = read_arrays(path, path.name, most=unpackable(path.stat().st_size), kinds=ARCHIVED)
        facts, mean, genes = json.loads(str(f["facts"])), f["mean"], f["genes"]
        variance = f.get("variance")
        there = np.array([not reason for reason in facts["absent"]], dtype=bool)
        stated = tuple(Condition.from_dict(c) for c, keep in zip(facts["conditions"], there, strict=True) if keep)
        mean = mean[there].astype(np.float64)
        variance = None if variance is None else variance[there].astype(np.float64)
        if mean.shape != (len(stated), len(genes)) or (variance is not None and variance.shape != mean.shape):
            raise ValueError(f"the mean is {mean.shape}")
        if not np.isfinite(mean).all() or (variance is not None and (np.isinf(variance) | (variance < 0)).any()):
            raise ValueError("a mean or variance is no finite number")
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive can raise whatever zipfile, zlib or numpy raises
        said = str(error)[:300]
        raise DataError(f"{path.name} is no archive of predictions that pbench run has written ({said}).") from error
    whole = frozenset(("context", "dose", "time"))
    labels = Labels(stated, tuple(c.key for c in stated), np.arange(len(stated)), whole, "archive")
    blocks = [(slice(0, len(mean)), mean)]
    return Predictions(labels, unique(genes, path.name), blocks, table=True, scale="profile", variance=variance)
