"""The parts of an .h5ad file that are read, and what is refused: damage, links out of the file, anything but numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bench.contracts.condition import check_name
from ..bench.contracts.errors import DataError, PbenchError
from .h5ad_bounds import check, check_weight, in_time
from .stored import element_of, genes_of

if TYPE_CHECKING:
    import pandas as pd


def columns(path: Path | str, axis: str = "obs") -> list[str]:
    """Names of the columns of obs or var, without reading anything else."""
    with opened(Path(path)) as f:
        held = f[axis]
        found = list(held.dtype.names) if getattr(held, "dtype", None) is not None else [k for k in held if k != "__categories"]
        return sorted(map(str, found))


def layers(path: Path | str) -> list[str]:
    """Names of the layers of a file."""
    with opened(Path(path)) as f:
        return sorted(f.get("layers", {}))


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The HDF5 file, once everything that will be read lies in it and in no other file."""
    import h5py

    try:
        with h5py.File(path, "r") as f:
            with in_time():
                check(f, path.name, ("X", "obs", "var", "layers"))
                for part in ("obs", "var"):
                    if part not in f:
                        raise DataError(f"{path.name} is no AnnData file: it has no '{part}'; write one with adata.write_h5ad().")
                check_weight(f, path.name, ("obs", "var"))
            yield f
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except (PbenchError, MemoryError):
        raise
    except Exception as error:  # a damaged file can raise whatever h5py, anndata or a decompressor raises
        raise DataError(
            f"{path.name} is no readable HDF5 file of AnnData ({' '.join(str(error).split())[:300]}); it may be truncated or "
            "damaged: fetch or copy it again, or read it with anndata and write it again with adata.write_h5ad()."
        ) from error


def elements(path: Path, layer: str | None, gene_names: str | None) -> tuple[Any, pd.DataFrame, Any]:
    """Matrix (cells x genes), obs and gene names of a file; obsm, obsp and uns are not read.

    Parameters
    ----------
    layer
        Layer to read instead of X.
    gene_names
        Column of var with gene names; a name that occurs twice keeps its identifier of the index.

    Raises
    ------
    DataError
        If the file is damaged or does not hold what is asked.
    """
    from anndata.io import read_elem
    from scipy import sparse

    with opened(path) as f:
        element = element_of(f, path.name, layer)
        check_weight(f, path.name, ("obs", "var", element))
        obs: Any = read_elem(f["obs"])
        var: Any = read_elem(f["var"])
        name = "X" if layer is None else f"layers['{layer}']"
        # Before it is read: memory is taken for as many rows as a sparse matrix says that it has.
        _check_shape(_declared_shape(f[element]), len(obs), len(var), f"{path.name}: {name}")
        X: Any = read_elem(f[element])
        if sparse.issparse(X):
            # Without this, an index beyond the last gene would be read from somebody else's memory.
            X.check_format(full_check=True)
    values = X.data if sparse.issparse(X) else X
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        raise DataError(f"{path.name}: {name} is no matrix of real numbers; name the layer that holds expression with --layer.")
    _check_shape(X.shape, len(obs), len(var), f"{path.name}: {name}")
    genes = genes_of(var, gene_names)
    check_name(max(genes, key=len, default=""), f"{path.name}: var")
    return X, obs, genes


def _declared_shape(item: Any) -> tuple[int, ...] | None:
    """What a matrix says of its shape; None where it is something else, of which more is said once it is read."""
    if hasattr(item, "shape"):
        return item.shape if item.dtype.kind in "biuf" and item.shape else None
    held = item.attrs.get("shape", item.attrs.get("h5sparse_shape"))
    return None if held is None else tuple(int(n) for n in np.ravel(held)[:4])


def _check_shape(shape: tuple[int, ...] | None, n: int, genes: int, what: str) -> None:
    if shape is not None and shape != (n, genes):
        said = " x ".join(map(str, shape))
        raise DataError(f"{what} is {said}, obs has {n} rows and var {genes}; the file is damaged, write it again.")
