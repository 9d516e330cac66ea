"""Work on objects in memory with the engine, which works on files: a folder of its own that is gone afterwards."""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .contracts.errors import DataError, PbenchError, suggestion

#: What the engine sets in the environment, for itself and for the processes that it starts.
SET = ("PBENCH_CACHE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "OMP_WAIT_POLICY")
#: The environment belongs to the process, so one call works at a time.
_ALONE = threading.RLock()


@contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    """Derived data goes into `folder`; the environment is afterwards as it was."""
    with _ALONE:
        before = {name: os.environ.get(name) for name in SET}
        os.environ["PBENCH_CACHE"] = str(folder)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@contextmanager
def workspace() -> Iterator[Path]:
    """An empty folder, with a cache in it, that is deleted at the end."""
    with TemporaryDirectory(prefix="pbench-") as folder, cache_in(Path(folder) / "cache"):
        yield Path(folder)


def written(adata: Any, path: Path, columns: Sequence[str | None], *, layer: str | None = None, names: str | None = None) -> Path:
    """Write what is read of an AnnData: the matrix, some columns of obs, and gene names.

    Parameters
    ----------
    columns
        Names in obs; None among them is nothing.
    layer
        Layer to write as X.
    names
        Column of var with gene names, instead of its index.

    Raises
    ------
    DataError
        If it is no AnnData or does not have what is named.
    """
    import anndata
    import pandas as pd

    what = path.stem
    if not isinstance(adata, anndata.AnnData):
        raise DataError(
            f"{what} is {type(adata).__name__}, and an AnnData is needed. Read a file with anndata.read_h5ad, or use the command "
            "pbench score, which reads files."
        )
    adata = adata.to_memory() if adata.isbacked else adata
    if layer is not None and layer not in adata.layers:
        raise DataError(f"{what} has no layer '{layer}'. {suggestion(layer, map(str, adata.layers))}")
    matrix: Any = adata.X if layer is None else adata.layers[layer]
    if matrix is None:
        raise DataError(f"{what}.X is empty; name the layer that holds expression.")
    if names is not None and names not in adata.var:
        raise DataError(f"{what}.var has no column '{names}'. {suggestion(names, map(str, adata.var))}")
    genes = adata.var_names if names is None else adata.var[names]
    obs = pd.DataFrame(index=adata.obs_names.astype(str))
    for key in dict.fromkeys(c for c in columns if c is not None):
        if key not in adata.obs:
            raise DataError(f"{what}.obs has no column '{key}'. {suggestion(key, map(str, adata.obs))}")
        obs[key] = _plain(adata.obs[key])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(index=list(map(str, genes)))).write_h5ad(path)
    return path


def _plain(values: Any) -> Any:
    """A column that every version of the format can hold: numbers as they are, anything else as text with gaps."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_extension_array_dtype(values):
        return values.to_numpy()
    return pd.Categorical([None if pd.isna(v) else str(v) for v in values])


@contextmanager
def spoken(arguments: Mapping[str, str]) -> Iterator[None]:
    """Errors of the engine name the options of the command line; say them as arguments of a function.

    Parameters
    ----------
    arguments
        Argument by option, without its dashes.
    """
    try:
        yield
    except PbenchError as error:
        said = said_in_python(str(error), arguments)
        if said == str(error):
            raise
        again = type(error).__new__(type(error), said)
        again.__dict__.update(error.__dict__)
        raise again from None


def said_in_python(text: str, arguments: Mapping[str, str]) -> str:
    """A message with arguments in the place of options.

    >>> said_in_python("declare --scale counts, or name --layer.", {"scale": "true_scale", "layer": "layer"})
    "declare true_scale='counts', or name layer."
    """

    def argument(found: re.Match[str]) -> str:
        name = arguments.get(found[1])
        if name is None:
            return found[0]
        return f"{name}={found[2]!r}" if found[2] else name

    values = "counts|log1p_1e4|raw|delta|cells|means|none"
    # What is to be typed in a shell stays as it is.
    prose, typed, command = re.split(r"(\w+: pbench |$)", text, maxsplit=1)
    prose = re.sub(rf"--([a-z][a-z-]*[a-z])(?: ({values})\b)?", argument, prose)
    return re.sub(r"\b(adata(?:_\w+)?)\.h5ad\b", r"\1", prose) + typed + command
