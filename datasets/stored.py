"""An AnnData store whose matrix stays where it is: labels are read at once, rows in blocks when somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ..bench.contracts.errors import DataError, suggestion
from .row_blocks import RowBlocks

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]
Opened = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class FileRows:
    """Rows of a matrix in a store, float32 and on the scale of the screen.

    Parameters
    ----------
    source
        All rows of the store.
    keep
        Sorted rows that belong to the screen; None for all.
    total
        Counts per cell after which log1p was taken, where that is not 10,000.
    name
        Of the store, for messages.
    """

    source: RowBlocks
    keep: Array | None = None
    total: float | None = None
    name: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        return (self.source.shape[0] if self.keep is None else len(self.keep), self.source.shape[1])

    def blocks(self, start: int = 0, scratch: Path | None = None) -> Iterator[tuple[int, Any]]:
        """Blocks of rows from `start` on, CSR or dense, each with the position of its first row."""
        if start >= self.shape[0]:
            return
        first = start if self.keep is None else int(self.keep[start])
        for rows, block in self.source.blocks(first, scratch):
            place = rows.start
            if self.keep is not None:
                place, stop = (int(i) for i in np.searchsorted(self.keep, [rows.start, rows.stop]))
                if place == stop:
                    continue
                if stop - place < rows.stop - rows.start:
                    block = block[self.keep[place:stop] - rows.start]
            yield place, block if self.total is None else to_10k(block, self.total)

    def whole(self) -> Any:
        """All rows in memory, CSR or dense."""
        blocks = [block for _, block in self.blocks()]
        if not blocks:
            return np.zeros(self.shape, np.float32)
        return sparse.vstack(blocks, format="csr") if sparse.issparse(blocks[0]) else np.concatenate(blocks)


def to_10k(X: Any, total: float) -> Any:
    """log1p of counts per `total` as log1p of counts per 10,000, in place where the values can be written."""
    values = X.data if sparse.issparse(X) else X
    changed = np.log1p(np.expm1(values.astype(np.float64)) * (1e4 / total))
    values[:] = changed
    return X


def stored(
    opened: Opened,
    name: str,
    *,
    layer: str | None,
    gene_names: str | None,
    columns: Iterable[str] | None,
) -> tuple[RowBlocks, pd.DataFrame, Any]:
    """Rows (not read), obs and gene names of a store.

    Parameters
    ----------
    opened
        Opens it.
    name
        Of the store, for messages.
    layer
        Layer to read instead of X.
    gene_names
        Column of var with gene names; a name that occurs twice keeps its identifier of the index.
    columns
        Columns of obs to read; None for all. Those that do not exist are left out, and ``obs.attrs["columns"]`` names those
        that do.

    Raises
    ------
    DataError
        If the store is damaged or does not hold what is asked.
    """
    with opened() as f:
        element = element_of(f, name, layer)
        obs = _table(f, "obs", columns)
        var = _table(f, "var", () if gene_names is None else (gene_names,))
    rows = RowBlocks(
        opened,
        element,
        (len(obs), len(var)),
        where=f"{name}: {'X' if layer is None else f'layers[{layer!r}]'}",
        hint="name the layer that holds expression with --layer",
        kind=np.float32,
    )
    return rows, obs, genes_of(var, gene_names)


def element_of(f: Any, name: str, layer: str | None) -> str:
    """Where in an opened store the matrix lies: X, or a layer.

    Raises
    ------
    DataError
        If the store does not have it.
    """
    if layer is not None and layer not in f.get("layers", {}):
        raise DataError(f"{name} has no layer '{layer}'. {suggestion(layer, f.get('layers', {}))}")
    if layer is None and "X" not in f:
        raise DataError(f"{name} has no X; name the layer that holds expression with --layer.")
    return "X" if layer is None else f"layers/{layer}"


def genes_of(var: pd.DataFrame, gene_names: str | None) -> Any:
    """Names of genes: the index of var, or one of its columns where its names occur once."""
    genes = var.index.astype(str)
    if gene_names is not None:
        names = var[gene_names].astype(str)
        genes = genes.where(names.duplicated(keep=False).to_numpy(), names.to_numpy())
    return genes


def _table(f: Any, axis: str, columns: Iterable[str] | None) -> pd.DataFrame:
    """Obs or var with some of its columns; the others are not read where the format allows it."""
    import pandas as pd
    from anndata.io import read_elem

    held = f[axis]
    index = held.attrs.get("_index")
    if not hasattr(held, "keys") or index is None or held.attrs.get("encoding-type") != "dataframe":
        whole: Any = read_elem(held)
        whole.attrs["columns"] = [str(c) for c in whole]
        return whole
    names = [str(n) for n in held.keys() if n != index]
    wanted = [n for n in names if columns is None or n in set(columns)]
    read = partial(_column, held)
    table = pd.DataFrame({n: read(n) for n in wanted}, index=pd.Index(read(str(index))))
    table.attrs["columns"] = names
    return table


def _column(held: Any, name: str) -> Any:
    from anndata.io import read_elem

    return read_elem(held[name])
