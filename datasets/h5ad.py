"""The parts of an .h5ad file that are read, and what is refused: damage, links out of the file, anything but numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bench.contracts.errors import DataError, PbenchError, suggestion

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
            for part in ("X", "obs", "var", "layers"):
                if elsewhere := _elsewhere(f, part):
                    raise DataError(
                        f"{path.name}: '{elsewhere}' is a link, or its values lie in another file, which is never followed; "
                        "copy the values into this file."
                    )
                if part in ("obs", "var") and part not in f:
                    raise DataError(f"{path.name} is no AnnData file: it has no '{part}'; write one with adata.write_h5ad().")
            yield f
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except PbenchError:
        raise
    except Exception as error:  # a damaged file can raise whatever h5py, anndata or a decompressor raises
        raise DataError(
            f"{path.name} is no readable HDF5 file of AnnData ({' '.join(str(error).split())[:300]}); it may be truncated or "
            "damaged: fetch or copy it again, or read it with anndata and write it again with adata.write_h5ad()."
        ) from error


def _elsewhere(f: Any, part: str) -> str | None:
    """The first element in `part` that is a soft or external link, or a dataset whose bytes lie in another file."""
    import h5py

    def linked(name: str, link: Any) -> str | None:
        return None if isinstance(link, h5py.HardLink) else f"{part}/{name}"

    def outside(name: str, item: Any) -> str | None:
        return f"{part}/{name}" if isinstance(item, h5py.Dataset) and (item.is_virtual or item.external) else None

    if part not in f.keys():
        return None
    if not isinstance(f.get(part, getlink=True), h5py.HardLink):
        return part
    if isinstance(f[part], h5py.Dataset):
        return part if outside("", f[part]) else None
    return f[part].visititems_links(linked) or f[part].visititems(outside)


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
        if layer is not None and layer not in f.get("layers", {}):
            raise DataError(f"{path.name} has no layer '{layer}'. {suggestion(layer, f.get('layers', {}))}")
        if layer is None and "X" not in f:
            raise DataError(f"{path.name} has no X; name the layer that holds expression with --layer.")
        obs: Any = read_elem(f["obs"])
        var: Any = read_elem(f["var"])
        X: Any = read_elem(f["X"] if layer is None else f[f"layers/{layer}"])
        if sparse.issparse(X):
            # Without this, an index beyond the last gene would be read from somebody else's memory.
            X.check_format(full_check=True)
    values = X.data if sparse.issparse(X) else X
    name = "X" if layer is None else f"layers['{layer}']"
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        raise DataError(f"{path.name}: {name} is no matrix of real numbers; name the layer that holds expression with --layer.")
    if X.shape != (len(obs), len(var)):
        shape = " x ".join(map(str, X.shape))
        raise DataError(
            f"{path.name}: {name} is {shape}, obs has {len(obs)} rows and var {len(var)}; the file is damaged, write it again."
        )
    genes = var.index.astype(str)
    if gene_names is not None:
        names = var[gene_names].astype(str)
        genes = genes.where(names.duplicated(keep=False).to_numpy(), names.to_numpy())
    return X, obs, genes
