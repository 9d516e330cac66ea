"""Files of side information, such as gene embeddings, GO annotations and gene graphs, as a `FeatureTable`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bench.contracts.errors import DataError
from ..bench.contracts.identity import file_sha256
from ..bench.contracts.resource import FeatureTable

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]

#: Dimensions that a gene graph is reduced to; its dense adjacency would take gigabytes.
GRAPH_DIMENSIONS = 64
SUFFIXES = (".csv", ".tsv", ".parquet", ".npz")


def read_feature_table(path: Path | str) -> FeatureTable:
    """Read a table of features by name.

    ``.csv``, ``.tsv`` and ``.parquet`` hold names in the first column and numbers in the others, or two columns of text,
    name and term, which become a multi-hot matrix (GO annotations). ``.npz`` holds ``names`` (n,) and ``values`` (n, d), or a
    graph as GEARS builds it: ``genes`` (n,), ``source`` and ``target`` (edges, indices into genes) and ``weight``, whose
    symmetrised adjacency is reduced to its leading eigenvectors, scaled by the root of their absolute eigenvalues.

    Raises
    ------
    DataError
        Naming the file, the column and the fix. Pickled arrays are refused.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path.name} is none of {', '.join(SUFFIXES)}; convert the table to one of them.")
    try:
        names, values = _from_npz(path) if path.suffix == ".npz" else _from_frame(_frame(path), path.name)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"{path.name} cannot be read as a feature table: {error}") from error
    return FeatureTable(_checked_names(names, path.name), _finite(values, path.name), f"{path.name} {file_sha256(path)[:12]}")


def _frame(path: Path) -> pd.DataFrame:
    import pandas as pd

    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", comment="#")


def _from_frame(frame: pd.DataFrame, where: str) -> tuple[list[str], Array]:
    import pandas as pd

    if frame.shape[1] < 2:
        raise DataError(f"{where} has {frame.shape[1]} column(s); it needs names in the first and features in the others.")
    names = ["" if pd.isna(n) else str(n).strip() for n in frame.iloc[:, 0]]
    features = frame.iloc[:, 1:]
    numeric = [pd.api.types.is_numeric_dtype(features[c]) for c in features]
    if all(numeric):
        return names, features.to_numpy(dtype=np.float32)
    if frame.shape[1] == 2:
        terms = features.iloc[:, 0].astype(str)
        rows, columns = sorted(set(names)), sorted(set(terms))
        row, column = {n: i for i, n in enumerate(rows)}, {t: i for i, t in enumerate(columns)}
        out = np.zeros((len(rows), len(columns)), dtype=np.float32)
        out[[row[n] for n in names], [column[t] for t in terms]] = 1
        return rows, out
    raise DataError(f"{where}: column '{features.columns[numeric.index(False)]}' does not hold numbers.")


def _from_npz(path: Path) -> tuple[list[str], Array]:
    with np.load(path, allow_pickle=False) as f:
        if {"names", "values"} <= set(f):
            return [str(n) for n in f["names"]], f["values"].astype(np.float32)
        if {"genes", "source", "target", "weight"} <= set(f):
            return [str(g) for g in f["genes"]], _graph_embedding(len(f["genes"]), f["source"], f["target"], f["weight"])
        raise DataError(f"{path.name} holds {', '.join(sorted(f))}; a table has names and values, a graph genes, source, target and weight.")


def _graph_embedding(n: int, source: Array, target: Array, weight: Array) -> Array:
    from scipy import sparse
    from scipy.sparse.linalg import eigsh

    adjacency = sparse.csr_matrix((weight.astype(np.float64), (source.astype(np.int64), target.astype(np.int64))), shape=(n, n))
    symmetric = (adjacency + adjacency.T) / 2
    if n <= GRAPH_DIMENSIONS + 1:
        return symmetric.toarray().astype(np.float32)
    # A fixed start vector, so that the same file gives the same features in every process.
    values, vectors = eigsh(symmetric, k=GRAPH_DIMENSIONS, which="LM", v0=np.ones(n))
    order = np.argsort(-np.abs(values), kind="stable")
    values, vectors = values[order], vectors[:, order]
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    return (vectors * signs * np.sqrt(np.abs(values))).astype(np.float32)


def _checked_names(names: list[str], where: str) -> tuple[str, ...]:
    seen: set[str] = set()
    for name in names:
        if not name:
            raise DataError(f"{where} has a row without a name; name it or drop it.")
        if name in seen:
            raise DataError(f"{where} names '{name}' twice; keep one row for each name.")
        seen.add(name)
    return tuple(names)


def _finite(values: Array, where: str) -> Array:
    if values.ndim != 2 or not np.isfinite(values).all():
        raise DataError(f"{where} holds NaN, infinite values, or no table of numbers; fill or drop them.")
    return values
