"""A matrix in an HDF5 file, row block by row block: never more than a block of it lies in memory, however long it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy import sparse

from ...datasets.h5ad import opened
from ..contracts.errors import DataError

Array = np.ndarray[Any, Any]
#: Values in a block; with the copies that are made of it, about 100 MB.
VALUES = 2_000_000


class RowBlocks:
    """The rows of a dense, CSR or CSC matrix in an AnnData file, as often as they are asked for.

    A CSC matrix is transposed once into a temporary folder, in blocks too.

    Parameters
    ----------
    path, element
        The file, and where in it the matrix lies, such as ``X``.
    shape
        What obs and var say that its shape is.
    name
        Name of the file, for messages.
    scratch
        Folder for temporary files.

    Raises
    ------
    DataError
        If it is no matrix of real numbers, of another shape, or damaged.
    """

    def __init__(self, path: Path, element: str, shape: tuple[int, int], *, name: str, scratch: Path) -> None:
        self.path, self.element, self.shape, self.where = path, element, shape, f"{name}: {element}"
        self._folder: TemporaryDirectory[str] | None = None
        with opened(path) as f:
            item = f[element]
            attributes = item.attrs
            self.sparse = hasattr(item, "keys")
            form = str(attributes.get("encoding-type", attributes.get("h5sparse_format", ""))).removesuffix("_matrix")
            values = item.get("data") if self.sparse else item
            if getattr(values, "dtype", np.dtype(object)).kind not in "biuf" or (self.sparse and form not in ("csr", "csc")):
                raise DataError(
                    f"{self.where} is no matrix of real numbers; name the layer with the predictions with --prediction-layer."
                )
            held = attributes.get("shape", attributes.get("h5sparse_shape", ())) if self.sparse else item.shape
            if tuple(map(int, held)) != shape:
                raise DataError(
                    f"{self.where} is {' x '.join(map(str, held))}, obs has {shape[0]} rows and var {shape[1]}; the file is damaged, "
                    "write it again."
                )
            self._chunk = None if self.sparse else (item.chunks or (1,))[0]
            if self.sparse:
                self._indptr = self._checked_indptr(item, shape[1] if form == "csc" else shape[0])
            if form == "csc":
                self._folder = TemporaryDirectory(dir=scratch)
                self._indptr = self._transpose(item, Path(self._folder.name))

    def __iter__(self) -> Iterator[tuple[slice, Any]]:
        """Rows and their values, CSR or dense, float32 or float64."""
        with opened(self.path) as f:
            item: Any = f[self.element]
            if self._folder is not None:
                item = {name: _Reopened(Path(self._folder.name) / f"{name}.npy") for name in ("data", "indices")}
            for rows in self._slices():
                if not self.sparse:
                    yield rows, _real(item[rows])
                    continue
                a, b = int(self._indptr[rows.start]), int(self._indptr[rows.stop])
                indices = self._checked_indices(item["indices"][a:b], self.shape[1])
                parts = (_real(item["data"][a:b]), indices, self._indptr[rows.start : rows.stop + 1] - a)
                yield rows, sparse.csr_matrix(parts, shape=(rows.stop - rows.start, self.shape[1]))

    def _slices(self) -> Iterator[slice]:
        n = self.shape[0]
        if self.sparse:
            start = 0
            while start < n:
                stop = int(np.searchsorted(self._indptr, self._indptr[start] + VALUES, side="right")) - 1
                stop = min(max(stop, start + 1), start + VALUES, n)
                yield slice(start, stop)
                start = stop
        else:
            step = max(1, VALUES // max(1, self.shape[1]))
            chunk = self._chunk or 1
            # Whole chunks, so that none is decompressed twice, unless a chunk is very tall.
            step = max(step // chunk, 1) * chunk if chunk <= 8 * step else step
            yield from (slice(i, min(i + step, n)) for i in range(0, n, step))

    def _checked_indptr(self, item: Any, major: int) -> Array:
        indptr = np.asarray(item["indptr"][:], dtype=np.int64)
        n_values = len(item["data"])
        sound = len(indptr) == major + 1 and indptr[0] == 0 and indptr[-1] == n_values == len(item["indices"])
        if not sound or (np.diff(indptr) < 0).any():
            raise self._damaged()
        return indptr

    def _checked_indices(self, indices: Array, minor: int) -> Array:
        # Without this, an index beyond the last gene would be read from somebody else's memory.
        if len(indices) and (indices.min() < 0 or indices.max() >= minor):
            raise self._damaged()
        return indices

    def _damaged(self) -> DataError:
        return DataError(f"{self.where} is a damaged sparse matrix; write the file again with adata.write_h5ad().")

    def _transpose(self, item: Any, folder: Path) -> Array:
        """Write values and columns of the rows of a CSC matrix; returns where each row begins."""
        n_rows, n_values = self.shape[0], int(self._indptr[-1])
        bounds = [(a, min(a + VALUES, n_values)) for a in range(0, n_values, VALUES)]
        length = np.zeros(n_rows, dtype=np.int64)
        for a, b in bounds:
            length += np.bincount(self._checked_indices(item["indices"][a:b], n_rows), minlength=n_rows)
        indptr = np.concatenate([[0], np.cumsum(length)])
        free = indptr[:-1].copy()
        paths = {"data": folder / "data.npy", "indices": folder / "indices.npy"}
        allocate(paths["data"], (n_values,), _real(item["data"][:1]).dtype)
        allocate(paths["indices"], (n_values,), np.int32)
        for a, b in bounds:
            row = np.asarray(item["indices"][a:b])
            column = np.searchsorted(self._indptr, np.arange(a, b), side="right") - 1
            order = np.argsort(row, kind="stable")
            row = row[order]
            place = free[row] + np.arange(len(row)) - np.searchsorted(row, row, side="left")
            scatter(paths["data"], place, item["data"][a:b][order])
            scatter(paths["indices"], place, column[order])
            free += np.bincount(row, minlength=n_rows)
        return indptr


class _Reopened:
    """An array on disk that is mapped anew for each read, so that what was read before does not stay resident."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, where: slice) -> Array:
        return np.array(np.load(self.path, mmap_mode="r", allow_pickle=False)[where])


def allocate(path: Path, shape: tuple[int, ...], kind: Any) -> None:
    """Make an ``.npy`` file of zeros for `scatter`."""
    if 0 in shape:
        np.save(path, np.zeros(shape, dtype=kind))
    else:
        np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)


def scatter(path: Path, place: Array, values: Array) -> None:
    """Write `values` to positions (or rows) `place` of an ``.npy`` file, which is mapped only meanwhile."""
    if len(place):
        np.lib.format.open_memmap(path, mode="r+")[place] = values


def _real(values: Array) -> Array:
    # float16 would overflow in sums, and integers would wrap in squares.
    return np.asarray(values, dtype=np.float64 if values.dtype.itemsize > 4 or values.dtype.kind != "f" else np.float32)
