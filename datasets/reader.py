"""An .h5ad file as a `Screen`: canonical labels, a declared scale, and one clear sentence for what is wrong."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bench.contracts.condition import CONTROL
from ..bench.contracts.errors import DataError, UsageError, suggestion
from ..bench.contracts.identity import content_id, file_sha256
from ..bench.contracts.screen import SCALES, Dataset, DatasetCard, Screen, validate
from .h5ad import elements, opened
from .h5ad_bounds import check_weight
from .labels import Parse, canonical, joined, shown
from .row_blocks import RowBlocks
from .stored import FileRows, stored, to_10k
from .zarr_store import opened_store, store_id

if TYPE_CHECKING:
    import pandas as pd

#: Raised whenever the same file and options give another screen.
READER_VERSION = 3


@dataclass(frozen=True)
class Layout:
    """How a file says what was done to each cell.

    Parameters
    ----------
    perturbation, context, dose, time, batch
        Columns of obs; None where the file has none.
    scale
        Declared scale of the values: ``counts``, ``log1p_1e4`` or ``raw``.
    parse
        Turns a label into its targets; an empty tuple is control.
    control
        Label of control cells, for messages.
    layer
        Layer to read instead of X.
    genes
        Column of var with gene names, where the index holds identifiers; a name that occurs twice keeps its identifier.
    total
        Counts per cell after which log1p was taken, where that is not 10,000; values are brought to 10,000, which is exact.
    control_time
        Time point whose cells are the controls, in a time course without untreated cells.
    keep
        Cells to read, as a function of obs.
    kept_by
        Columns of obs that `keep` looks at; without them it is given all.
    """

    perturbation: str
    scale: str
    parse: Parse
    control: str = CONTROL
    context: str | None = None
    dose: str | None = None
    time: str | None = None
    batch: str | None = None
    layer: str | None = None
    genes: str | None = None
    total: float | None = None
    control_time: float | None = None
    keep: Callable[[pd.DataFrame], Any] | None = None
    kept_by: tuple[str, ...] = ()


def read(path: Path | str, layout: Layout, card: DatasetCard, limit: float | None = None) -> Screen:
    """Read a file; obsm, obsp and uns are not read, and nothing is unpickled.

    X keeps the form in which the file stores it: sparse matrices become CSR, dense ones stay dense, both float32.

    Parameters
    ----------
    path
        An ``.h5ad`` file, or the folder of a zarr store.
    card
        Facts about the data set; its counts are filled in from the file.
    limit
        Bytes beyond which the matrix stays in the file (`Screen.rows`); without one it is always read.

    Raises
    ------
    DataError
        Naming the file, the column and the fix.
    """
    path = Path(path)
    with warnings.catch_warnings():
        # anndata warns of old formats and doubled names; what of that matters is refused below.
        warnings.simplefilter("ignore")
        rows: FileRows | None = None
        X: Any = None
        if path.is_dir() or (limit is not None and matrix_bytes(path, layout) > limit):
            source, obs, genes = _stored(path, layout)
            kept = None if layout.keep is None else np.flatnonzero(np.asarray(layout.keep(obs)))
            in_file = FileRows(source, kept, layout.total, path.name)
            obs = obs if kept is None else obs.iloc[kept]
            if limit is None or source.size <= limit:
                X = in_file.whole()
            else:
                rows = in_file
        else:
            X, obs, genes = _whole(path, layout)
    shape = X.shape if rows is None else rows.shape
    if 0 in shape:
        raise DataError(f"{path.name}: there are {shape[0]} cells and {shape[1]} genes to read; both must be at least 1.")
    return _screen(X, rows, obs, genes, layout, card, path.name)


def _whole(path: Path, layout: Layout) -> tuple[Any, pd.DataFrame, Any]:
    from scipy import sparse

    X, obs, genes = elements(path, layout.layer, layout.genes)
    if layout.keep is not None:
        rows = np.flatnonzero(np.asarray(layout.keep(obs)))
        X, obs = X[rows], obs.iloc[rows]
    X = _float32(X)
    X = X.tocsr() if sparse.issparse(X) else X
    return (X if layout.total is None else to_10k(X, layout.total)), obs, genes


def _screen(X: Any, rows: FileRows | None, obs: Any, genes: Any, layout: Layout, card: DatasetCard, where: str) -> Screen:
    import anndata
    import pandas as pd

    canonical_obs = _canonical_obs(obs, layout, where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = anndata.AnnData(X, obs=canonical_obs, var=pd.DataFrame(index=genes))
    perturbed = set(adata.obs["perturbation"].cat.categories) - {CONTROL}
    card = replace(card, scale=layout.scale, n_cells=adata.n_obs, n_genes=adata.n_vars, n_perturbations=len(perturbed))
    return validate(Screen(adata, card, rows=rows), source=where)


def matrix_bytes(path: Path, layout: Layout) -> int:
    """Bytes of the matrix that a layout reads, once it is unpacked; 0 where it is not there, which is said elsewhere."""
    with opened(path) as f:
        item = f.get("X" if layout.layer is None else f"layers/{layout.layer}")
        parts = (
            [] if item is None else [item] if not hasattr(item, "keys") else [item[k] for k in item if hasattr(item[k], "dtype")]
        )
        return sum(int(part.size) * part.dtype.itemsize for part in parts)


def _stored(path: Path, layout: Layout) -> tuple[RowBlocks, pd.DataFrame, Any]:
    """Rows, obs and genes of a store whose matrix is not read."""
    named = (layout.perturbation, layout.context, layout.dose, layout.time, layout.batch)
    columns = None if layout.keep is not None and not layout.kept_by else {c for c in (*named, *layout.kept_by) if c is not None}
    if path.is_dir():
        return stored(partial(opened_store, path), path.name, layer=layout.layer, gene_names=layout.genes, columns=columns)
    with opened(path) as f:
        check_weight(f, path.name, ("X" if layout.layer is None else f"layers/{layout.layer}",), whole=False)
    return stored(partial(opened, path), path.name, layer=layout.layer, gene_names=layout.genes, columns=columns)


def from_h5ad(
    path: Path | str,
    *,
    scale: str,
    name: str | None = None,
    control_label: str = CONTROL,
    perturbation_key: str = "perturbation",
    context_key: str | None = None,
    dose_key: str | None = None,
    time_key: str | None = None,
    batch_key: str | None = None,
    separator: str | None = "+",
    layer: str | None = None,
) -> Dataset:
    """Anybody's screen as a data set.

    Parameters
    ----------
    path
        An ``.h5ad`` file or the folder of a zarr store: cells in rows, genes in columns, dense, CSR or CSC.
    scale
        What the values are: ``counts``, ``log1p_1e4`` or ``raw``; never guessed.
    name
        Of the data set; the file's name without its ending where there is none.
    control_label
        Label of control cells.
    perturbation_key
        Column of obs with the labels.
    context_key
        Column of obs with the cell line, cell type or donor; without it all cells are of one context.
    dose_key
        Column of obs with doses, in a unit of yours.
    time_key
        Column of obs with hours since the perturbation.
    batch_key
        Column of obs with batches, which the audit compares with perturbations.
    separator
        What joins the targets of a combination; None where every label is one target.
    layer
        Layer that holds expression, instead of X.

    Returns
    -------
    Dataset
        Nothing is read but the file's bytes, for its identity; ``load()`` reads the cells.

    Raises
    ------
    UsageError
        If the scale is none of the three.
    DataError
        If there is no such file.
    """
    path = Path(path).expanduser()
    if scale not in SCALES:
        raise UsageError(f"--scale {scale} is unknown. {suggestion(scale, SCALES)}")
    if not path.exists():
        raise DataError(f"{path}: there is no such file.")
    layout = Layout(
        perturbation=perturbation_key,
        scale=scale,
        parse=joined(separator, control=control_label),
        control=control_label,
        context=context_key,
        dose=dose_key,
        time=time_key,
        batch=batch_key,
        layer=layer,
    )
    options = [scale, control_label, perturbation_key, context_key, dose_key, time_key, batch_key, separator, layer]
    card = DatasetCard(
        name=name or path.stem,
        title=f"{path.name}, a file of the user",
        source=path.name,
        licence="not stated",
        scale=scale,
        control_label=control_label,
        feature_selection="not stated",
        default_split="unseen-single",
    )
    return Dataset(
        card=card,
        data_id=lambda: content_id([store_id(path) if path.is_dir() else file_sha256(path), options, READER_VERSION]),
        load=lambda: read(path, layout, card),
        open=lambda limit: read(path, layout, card, limit),
        file=str(path),
    )


def _float32(X: Any) -> Any:
    """`X` in float32, copied only where it was in another type."""
    # Values beyond float32 become infinite, which is refused by name.
    with np.errstate(over="ignore"):
        if isinstance(X, np.ndarray):
            return X.astype(np.float32, copy=False)
        X.data = X.data.astype(np.float32, copy=False)
    return X


def _canonical_obs(obs: pd.DataFrame, layout: Layout, where: str) -> pd.DataFrame:
    import pandas as pd

    labels = _column(obs, layout.perturbation, where, "--perturbation-key")
    _no_gaps(labels, layout.perturbation, where, but=layout.control)
    names = {
        raw: canonical(raw, layout.parse, where=f"{where}: obs['{layout.perturbation}']") for raw in labels.astype(str).unique()
    }
    if CONTROL not in names.values() and layout.control_time is None:
        common = [str(label) for label, _ in Counter(labels.astype(str)).most_common(5)]
        near = get_close_matches(layout.control, names, n=1)
        raise DataError(
            f"{where}: no cell in obs['{layout.perturbation}'] is labelled '{layout.control}'"
            f"{f' (did you mean {near[0]!r}?)' if near else ''}; the most frequent labels are "
            f"{', '.join(map(shown, common))}; name the one of unperturbed cells with --control-label."
        )
    out = pd.DataFrame({"perturbation": labels.astype(str).map(names).to_numpy()}, index=obs.index.astype(str))
    if layout.time is not None:
        time = _numbers(obs, layout.time, where, "--time-key")
        if layout.control_time is not None:
            out.loc[time.to_numpy() == layout.control_time, "perturbation"] = CONTROL
        _no_gaps(time[(out["perturbation"] != CONTROL).to_numpy()], layout.time, where)
        out["time"] = time.to_numpy()
    out["perturbation"] = out["perturbation"].astype("category")
    for column, key, option in (("context", layout.context, "--context-key"), ("batch", layout.batch, "--batch-key")):
        if key is not None:
            values = _column(obs, key, where, option)
            _no_gaps(values, key, where)
            out[column] = values.astype(str).astype("category").to_numpy()
    if layout.context is not None:
        untreated = (out["perturbation"] == CONTROL).to_numpy()
        if bare := sorted(set(out["context"][~untreated]) - set(out["context"][untreated])):
            raise DataError(
                f"{where}: {bare[0]!r} in obs['{layout.context}'] has perturbed cells and no control cells; drop those cells, or "
                "merge contexts."
            )
    if layout.dose is not None:
        out["dose"] = _doses(_column(obs, layout.dose, where, "--dose-key"), labels, layout, where)
    return out


def _column(obs: pd.DataFrame, key: str, where: str, option: str) -> pd.Series[Any]:
    if key not in obs:
        raise DataError(
            f"{where}: obs has no column '{key}'. {suggestion(key, obs.attrs.get('columns') or map(str, obs))} Name the column with {option}."
        )
    return obs[key]


def _no_gaps(values: pd.Series[Any], key: str, where: str, *, but: str | None = None) -> None:
    # Files whose columns went through astype(str) hold the words that pandas writes for a missing value; an untreated
    # cell may be labelled with one of them.
    missing = (values.isna() | values.astype(str).isin(["nan", "None", "<NA>"])) & (values.astype(str) != but)
    if missing.any():
        raise DataError(
            f"{where}: obs['{key}'] is missing in {int(missing.sum())} of {len(values)} cells; fill it or drop the cells."
        )


def _numbers(obs: pd.DataFrame, key: str, where: str, option: str) -> pd.Series[Any]:
    import pandas as pd

    values = _column(obs, key, where, option)
    numbers = pd.to_numeric(values.astype(object), errors="coerce").astype(float)
    if (bad := ~np.isfinite(numbers) & values.notna()).any():
        raise DataError(f"{where}: obs['{key}'] holds {str(values[bad].iloc[0])!r}, which is no number; give hours as numbers.")
    return numbers


def _doses(values: pd.Series[Any], labels: pd.Series[Any], layout: Layout, where: str) -> list[str]:
    """Doses as text, one number a target in the order of the canonical label; empty for controls."""
    text = values.astype(object).where(values.notna(), "").astype(str)
    pairs = list(zip(labels.astype(str), text, strict=True))
    known = {pair: _dose(*pair, layout, where) for pair in sorted(set(pairs))}
    return [known[pair] for pair in pairs]


def _dose(label: str, dose: str, layout: Layout, where: str) -> str:
    targets = layout.parse(label)
    if not targets:
        return ""
    try:
        numbers = [float(dose)]
    except ValueError:
        numbers = [_number(part) for part in dose.split("+")]
    each = numbers * len(targets) if len(numbers) == 1 else numbers
    by_target = dict(zip(targets, each, strict=False))
    if [by_target.get(t) for t in targets] != each or not all(map(isfinite, each)):
        raise DataError(
            f"{where}: obs['{layout.dose}'] holds {dose!r} for {len(targets)} target(s) in {shown(label)}; give one number, "
            "or one for each target joined by '+'."
        )
    # 1e+06 would read as two doses.
    return "+".join(repr(by_target[t]).replace("e+", "e") for t in sorted(by_target))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
