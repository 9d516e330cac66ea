"""Files of predictions: AnnData, the Virtual Cell Challenge's archive of one, tables of means, and what `pbench run` archives."""

from __future__ import annotations

import shutil
import tarfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np

from ...datasets.h5ad import opened
from ...datasets.h5ad_bounds import check_weight
from ...datasets.row_blocks import RowBlocks
from ..contracts.errors import DataError, PbenchError, UsageError, suggestion
from ..contracts.memory import TIMES, UNPACKED
from .submission_layouts import SCALES, Reading, read_labels, recognised
from .submission_tables import Predictions, archive, table, unique

Array = np.ndarray[Any, Any]
#: Files in an archive that are looked through for the one with predictions.
MOST_MEMBERS = 1000
ANNDATA = (".h5ad", ".h5", ".vcc")
KINDS = (*ANNDATA, ".csv", ".tsv", ".txt", ".parquet", ".npz")


def check_readable(path: Path, reading: Reading) -> None:
    """Ask for what is not said and refuse what does not go together, before anything is read.

    Raises
    ------
    DataError
        If there is no such file.
    UsageError
        If it is of an unknown kind, or the scale is missing, unknown, or given for an archive, which knows its own, or if a
        table is said to hold cells.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'that is a folder, and a file is needed' if path.is_dir() else 'there is no such file'}.")
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise UsageError(f"{path.name}: predictions are read from files that end in {', '.join(KINDS)}.")
    if kind == ".npz":
        if reading.scale is not None:
            raise UsageError(f"{path.name} was written by pbench run and knows its scale; leave out --prediction-scale.")
    elif reading.scale is None:
        raise UsageError(
            f"{path.name}: say what its values are with --prediction-scale {', '.join(SCALES[:-1])} or {SCALES[-1]}; it is never "
            "guessed."
        )
    elif reading.scale not in SCALES:
        raise UsageError(f"--prediction-scale {reading.scale} is unknown. {suggestion(reading.scale, SCALES)}")
    if kind not in ANNDATA and reading.rows == "cells":
        raise UsageError(f"{path.name} holds means, a row a perturbation; cells belong in an .h5ad. Leave out --rows cells.")


@contextmanager
def open_predictions(path: Path, reading: Reading, scratch: Path) -> Iterator[Predictions]:
    """The predictions in a file, told apart by its ending.

    Parameters
    ----------
    scratch
        Folder for temporary files.

    Raises
    ------
    DataError
        If the file is absent, damaged or lacks what is needed.
    UsageError
        If something has to be said first.
    """
    check_readable(path, reading)
    kind = path.suffix.lower()
    scratch.mkdir(parents=True, exist_ok=True)
    if kind == ".vcc":
        with TemporaryDirectory(dir=scratch) as folder:
            yield _h5ad(_unpacked(path, Path(folder)), reading, scratch, path.name)
    elif kind in ANNDATA:
        yield _h5ad(path, reading, scratch)
    elif kind == ".npz":
        yield archive(path)
    else:
        yield table(path, reading)


def _h5ad(path: Path, reading: Reading, scratch: Path, name: str | None = None) -> Predictions:
    where = name or path.name
    with warnings.catch_warnings(), opened(path) as f:
        # anndata warns of old formats; what of that matters is refused by name.
        warnings.simplefilter("ignore")
        found = _columns(f, "obs")
        layout, convention = recognised(found, reading, where)
        for option, key in reading.keys.items():
            if key not in found:
                raise DataError(
                    f"{where}: obs has no column '{key}'. {suggestion(key, found)} Name it with --prediction-{option}-key."
                )
        held = {key: _column(f, "obs", key) for key in {convention.perturbation, *reading.keys.values()}}
        labels = read_labels(held, layout, convention, reading, where)
        genes = _genes(f, reading, where)
        if reading.layer is not None and reading.layer not in f.get("layers", {}):
            raise DataError(f"{where} has no layer '{reading.layer}'. {suggestion(reading.layer, f.get('layers', {}))}")
        if reading.layer is None and "X" not in f:
            raise DataError(f"{where} has no X; name the layer that holds the predictions with --prediction-layer.")
        element = "X" if reading.layer is None else f"layers/{reading.layer}"
        check_weight(f, where, (element,), whole=False)
    # The file is closed here: what goes wrong with the blocks elsewhere is no damage of the file.
    rows = RowBlocks(
        partial(opened, path),
        element,
        (len(labels.codes), len(genes)),
        where=f"{where}: {element}",
        hint="name the layer with the predictions with --prediction-layer",
        scratch=scratch,
    )
    return Predictions(labels, genes, rows, table=False, apart=lambda codes: _apart(path, codes, set(held)))


def _apart(path: Path, codes: Array, said: set[str]) -> tuple[str, ...]:
    """Columns of obs, beside those `said`, that differ among the rows of each perturbation with several; no measurements."""
    import pandas as pd

    used = codes >= 0
    found = []
    with opened(path) as f:
        for name in (n for n in _columns(f, "obs") if n not in said):
            column = pd.Series(_column(f, "obs", name)).reset_index(drop=True)[used]
            groups = column.groupby(codes[used])
            if column.dtype.kind != "f" and (groups.nunique(dropna=False)[groups.size() > 1] > 1).all():
                found.append(name)
    return tuple(found)


def _columns(f: Any, axis: str) -> list[str]:
    """Names of the columns of obs or var; the index is none of them."""
    held = f[axis]
    names = held.dtype.names if getattr(held, "dtype", None) is not None else [k for k in held if k != "__categories"]
    index = held.attrs.get("_index")
    return sorted(str(n) for n in names or () if n != index)


def _column(f: Any, axis: str, key: str) -> Any:
    """One column, without reading the others where the format allows it."""
    from anndata.io import read_elem

    held = f[axis]
    if hasattr(held, "keys") and "encoding-type" in held[key].attrs:
        return read_elem(held[key])
    return cast(Any, read_elem(held))[key]


def _genes(f: Any, reading: Reading, where: str) -> Array:
    from anndata.io import read_elem

    if reading.gene_key is not None:
        found = _columns(f, "var")
        if reading.gene_key not in found:
            raise DataError(f"{where}: var has no column '{reading.gene_key}'. {suggestion(reading.gene_key, found)}")
        return unique(_column(f, "var", reading.gene_key), where)
    var: Any = f["var"]
    index = var.attrs.get("_index")
    return unique(read_elem(var[index]) if index is not None and hasattr(var, "keys") else cast(Any, read_elem(var)).index, where)


def _unpacked(path: Path, folder: Path) -> Path:
    """The .h5ad in an archive of ``cell-eval prep``: a tar that holds it compressed with zstd."""
    import pyarrow as pa

    target = folder / "pred.h5ad"
    try:
        # Not "r:*": a compressed archive may go on for ever.
        with tarfile.open(path, "r:") as tar:
            members = islice(tar, MOST_MEMBERS)
            member = next((m for m in members if m.isreg() and m.name.endswith((".h5ad.zst", ".h5ad"))), None)
            source = tar.extractfile(member) if member is not None else None
            if member is None or source is None:
                raise DataError(f"{path.name} holds no .h5ad.zst; write it again with cell-eval prep, or give the .h5ad.")
            stream: Any = pa.CompressedInputStream(pa.PythonFile(source), "zstd") if member.name.endswith(".zst") else source
            left = min(max(UNPACKED, TIMES * path.stat().st_size), shutil.disk_usage(folder).free)
            with open(target, "wb") as out:
                while block := stream.read(1 << 22):
                    if (left := left - len(block)) < 0:
                        raise DataError(f"{path.name} unpacks to more than it may, or than there is space for; give the .h5ad.")
                    out.write(block)
    except PbenchError:
        raise
    except (tarfile.TarError, pa.ArrowException, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(f"{path.name} is no readable .vcc archive ({said}); write it again with cell-eval prep.") from error
    return target
