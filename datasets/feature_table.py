"""Side information from files: gene embeddings, annotations and gene graphs as one vector for each name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..bench.contracts.archive import read_arrays
from ..bench.contracts.errors import DataError
from ..bench.contracts.identity import file_sha256
from ..bench.contracts.memory import unpackable
from ..bench.contracts.resource import FeatureTable, GeneEdges
from .bounded_table import check_header, read_parquet
from .gene_graph import annotation_edges, stored_edges

Array = np.ndarray[Any, Any]

#: Graphs and annotations with more entries than this as a dense table are reduced; 2^25 float32 are 128 MiB.
MAX_DENSE = 2**25
#: Dimensions that a reduced graph or annotation keeps.
N_COMPONENTS = 64
#: Where a resource is looked for in the data folder when the user names no file.
DEFAULT_FILES = {"go": ("side_info/gears_go_graph_top20.npz", "side_info/gene2go.csv")}
READABLE = ".csv, .tsv, .parquet or .npz"


def read_feature_table(path: Path | str) -> FeatureTable:
    """Read a feature vector for each gene, compound or stimulus from a file.

    Parameters
    ----------
    path
        One of

        - ``.csv`` or ``.tsv`` with a header line, or ``.parquet``: the first column (in parquet an index of text, where
          there is one) has the names, all others are numbers;
        - the same with just the columns ``gene`` and ``term`` (any text): a list of annotations, which becomes one
          0/1 column for each term, names and terms sorted;
        - the same with the columns ``source``, ``target`` and perhaps one of weights: the edges of a gene graph, by name;
        - ``.npz`` with ``names`` (n,) of text and ``values`` (n, d);
        - ``.npz`` with a gene graph: ``genes`` (n,) of text, and ``source``, ``target``, ``weight`` (m,), edges as
          positions in `genes`. Rows of the adjacency matrix become the features. An edge counts in both directions
          (the larger weight where they differ), because a list of nearest neighbours cuts a symmetric similarity.

    Returns
    -------
    FeatureTable
        Finite float32 values, with the edges of a graph, or of the similarity of annotations, where the file holds one or the
        other; `source` is the file's name and the start of its sha256. Annotations and graphs with
        more than `MAX_DENSE` entries are replaced by their `N_COMPONENTS` leading left singular vectors times the
        singular values (seeded start; the largest entry of each column is positive), and `source` says so.

    Raises
    ------
    DataError
        If the file is absent, of another kind, holds pickled objects, or if a name is empty or occurs twice or a value
        is not a finite number; the message names file, column and fix.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no feature table {path}; give a file that ends in {READABLE}.")
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv", ".parquet"):
        frame = _read_frame(path, suffix)
        names, values, edges = _from_edge_list(frame, path) if _is_edge_list(frame) else _from_frame(frame, path)
    elif suffix == ".npz":
        names, values, edges = _from_arrays(_read_arrays(path), path)
    else:
        pickles = " Pickles are never read, since opening one runs code." if suffix in (".pkl", ".pickle", ".pt", ".npy") else ""
        raise DataError(f"{path}: the ending '{suffix}' is not one of {READABLE}; save the table as one of those.{pickles}")
    return _checked(names, values, edges, path)


def default_path(name: str, folder: Path | str) -> Path | None:
    """Where a data folder holds a resource under its customary file name, or None where it does not.

    Parameters
    ----------
    name
        Name of the resource, such as ``go``.
    folder
        The data folder.
    """
    paths = (Path(folder) / file for file in DEFAULT_FILES.get(name, ()))
    return next((path for path in paths if path.is_file()), None)


def _read_frame(path: Path, suffix: str) -> Any:
    import pandas as pd

    try:
        if suffix == ".parquet":
            frame = read_parquet(path)
            return frame.reset_index() if pd.api.types.is_string_dtype(frame.index) else frame
        separator = "\t" if suffix == ".tsv" else ","
        check_header(path, separator)
        first = str(pd.read_csv(path, sep=separator, nrows=0).columns[0])
        # Empty fields and the text "NA" stay what they are: NA may be a gene, and a missing number is an error below.
        frame = pd.read_csv(path, sep=separator, dtype={first: str}, keep_default_na=False, float_precision="high")
    except (ValueError, OSError, IndexError, OverflowError) as error:
        raise DataError(f"{path} cannot be read as a {suffix} table: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise DataError(f"{path}: its lines have more fields than its header; name every column there, the first too.")
    return frame


def _is_edge_list(frame: Any) -> bool:
    return {"source", "target"} <= {str(c).strip().lower() for c in frame.columns} and frame.shape[1] in (2, 3)


def _from_edge_list(frame: Any, path: Path) -> tuple[Array, Any, GeneEdges | None]:
    """Columns source, target and a third of weights (``importance`` in the files of GEARS); 1 where there is none."""
    import pandas as pd

    frame = frame.rename(columns=lambda c: str(c).strip().lower())
    ends = [frame[c].fillna("").astype(str).to_numpy() for c in ("source", "target")]
    other = [c for c in frame.columns if c not in ("source", "target")]
    weight = pd.to_numeric(frame[other[0]], errors="coerce").to_numpy(dtype=np.float64) if other else np.ones(len(frame))
    if not len(frame) or any((e == "").any() for e in ends):
        raise DataError(f"{path} has no edges or one without a source or a target; give both as names of genes.")
    names, position = np.unique(np.concatenate(ends), return_inverse=True)
    arrays = {"genes": names, "source": position[: len(frame)], "target": position[len(frame) :], "weight": weight}
    return names, _adjacency(arrays, path), stored_edges(arrays)


def _from_frame(frame: Any, path: Path) -> tuple[Array, Any, GeneEdges | None]:
    import pandas as pd

    if frame.shape[1] < 2 or not len(frame):
        raise DataError(f"{path} has {len(frame)} rows and {frame.shape[1]} columns; it needs names and a column of values.")
    names = frame.iloc[:, 0].to_numpy()
    if [str(c).strip().lower() for c in frame.columns] == ["gene", "term"]:
        return _multi_hot(names, frame.iloc[:, 1].fillna("").to_numpy().astype(str), path)
    for i, column in enumerate(frame.columns[1:], start=1):
        missing = np.isnan(np.asarray(pd.to_numeric(frame.iloc[:, i], errors="coerce"), dtype=np.float64))
        if missing.any():
            row = int(np.argmax(missing))
            hint = " A list of annotations needs the header gene, term." if frame.shape[1] == 2 else ""
            raise DataError(
                f"{path}: column '{column}' has '{frame.iat[row, i]}' for '{names[row]}', which is not a number; "
                f"correct it or drop the row.{hint}"
            )
    return names, frame.iloc[:, 1:].to_numpy(dtype=np.float64), None


def _multi_hot(genes: Array, terms: Array, path: Path) -> tuple[Array, Any, GeneEdges | None]:
    from scipy.sparse import csr_matrix

    for i, (gene, term) in enumerate(zip(genes, terms, strict=True), start=1):
        if not (isinstance(gene, str) and gene.strip() and term.strip()):
            raise DataError(f"{path}: annotation {i} has no gene or no term; give both as text or drop the row.")
    names, row = np.unique(genes.astype(str), return_inverse=True)
    columns, column = np.unique(terms, return_inverse=True)
    matrix = csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=(len(names), len(columns)))
    matrix.data[:] = 1  # an annotation that is listed twice counts once
    return names, matrix, annotation_edges(matrix)


def _read_arrays(path: Path) -> dict[str, Array]:
    try:
        return read_arrays(path, str(path), most=unpackable(path.stat().st_size))
    except DataError as error:
        if "pickles" in str(error):
            raise DataError(
                f"{path} holds pickled objects, which are never read, since opening them runs code; save text with "
                "np.array(names, dtype=str) and numbers as float32."
            ) from error
        raise DataError(f"{path} is no .npz file ({error}); write one with np.savez(path, names=…, values=…).") from error


def _from_arrays(arrays: dict[str, Array], path: Path) -> tuple[Array, Any, GeneEdges | None]:
    if {"genes", "source", "target", "weight"} <= arrays.keys():
        return arrays["genes"], _adjacency(arrays, path), stored_edges(arrays)
    if not {"names", "values"} <= arrays.keys():
        held = ", ".join(sorted(arrays)) or "none"
        raise DataError(f"{path} holds the arrays: {held}; it needs names and values, or genes, source, target and weight.")
    names, values = arrays["names"], arrays["values"]
    if values.ndim != 2 or names.shape != values.shape[:1] or values.dtype.kind not in "fiub":
        raise DataError(
            f"{path}: names {names.shape} and values {values.shape} of type {values.dtype} do not fit; give n and (n, d) numbers."
        )
    return names, values, None


def _adjacency(arrays: dict[str, Array], path: Path) -> Any:
    from scipy.sparse import csr_matrix

    genes, source, target, weight = (arrays[k] for k in ("genes", "source", "target", "weight"))
    if genes.ndim != 1 or source.ndim != 1 or not (source.shape == target.shape == weight.shape):
        shapes = f"source {source.shape}, target {target.shape} and weight {weight.shape}"
        raise DataError(f"{path}: {shapes} must be flat and of one length, and genes {genes.shape} flat.")
    for name, ends in (("source", source), ("target", target)):
        if ends.dtype.kind not in "iu" or (ends.size and not 0 <= ends.min() <= ends.max() < len(genes)):
            raise DataError(f"{path}: '{name}' must hold whole numbers from 0 to {len(genes) - 1}, positions in 'genes'.")
    if weight.dtype.kind not in "fiub" or not (np.isfinite(weight) & (weight >= 0)).all():
        raise DataError(f"{path}: 'weight' has values that are negative or not finite numbers; drop those edges.")
    ends = (source.astype(np.int64), target.astype(np.int64))
    directed = csr_matrix((weight.astype(np.float64), ends), shape=(len(genes), len(genes)))
    return directed.maximum(directed.T).tocsr()


def _reduced(matrix: Any) -> Array:
    from scipy.sparse.linalg import svds

    k = min(N_COMPONENTS, min(matrix.shape) - 1)
    start = np.random.default_rng(0).standard_normal(min(matrix.shape))
    factors: Any = svds(matrix.astype(np.float64), k=k, v0=start)
    left, size = factors[0], factors[1]
    order = np.argsort(-size, kind="stable")
    left, size = left[:, order], size[order]
    peak = left[np.argmax(np.abs(left), axis=0), np.arange(k)]
    return left * np.sign(peak) * size


def _checked(names: Array, values: Any, edges: GeneEdges | None, path: Path) -> FeatureTable:
    source = f"{path.name} sha256:{file_sha256(path)[:12]}"
    if not isinstance(values, np.ndarray):
        if values.shape[0] * values.shape[1] > MAX_DENSE:
            source += f", {N_COMPONENTS} leading singular directions"
            values = _reduced(values)
        else:
            values = values.toarray()
    if names.dtype.kind not in "UO" or not all(isinstance(n, str) for n in names.tolist()):
        raise DataError(f"{path}: the names have type {names.dtype}; the first column, or the array of names, must hold text.")
    if not len(names) or values.shape[1] == 0:
        raise DataError(f"{path} has {len(names)} names and {values.shape[1]} values each; it needs at least one of both.")
    seen: set[str] = set()
    for i, name in enumerate(names.tolist()):
        if not name.strip():
            raise DataError(f"{path}: name {i + 1} is empty; every row needs one.")
        if name in seen:
            raise DataError(f"{path}: the name '{name[:60]}' occurs more than once; keep one row of it.")
        seen.add(name)
    with np.errstate(over="ignore"):
        table = np.ascontiguousarray(values, dtype=np.float32)
    if bad := np.argwhere(~np.isfinite(table)).tolist():
        row, column = bad[0]
        raise DataError(f"{path}: value {column + 1} of '{names[row]}' is not finite in 32 bits; correct it or drop the row.")
    return FeatureTable(tuple(str(n) for n in names), table, source, edges=edges)
