"""A matrix in a file, row block by row block: never more than a block of it lies in memory, however long it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy import sparse

from ..bench.contracts.errors import DataError

Array = np.ndarray[Any, Any]
#: Values in a block; with the copies that are made of it, about 100 MB.
VALUES = 2_000_000


class RowBlocks:
    """The rows of a dense, CSR or CSC matrix of an AnnData store, as often as they are asked for.

    A CSC matrix is transposed once into a temporary folder, in blocks too.

    Parameters
    ----------
    opened
        Opens the store, an HDF5 file or a zarr group.
    element
        Where in it the matrix lies, such as ``X``.
    shape
        What obs and var say that its shape is.
    where
        Names the matrix in messages.
    hint
        What to do where it is no matrix of real numbers.
    scratch
        Folder for temporary files; another can be named when rows are asked for.
    kind
        Type of the values that are given; without one, float32 or float64, whichever holds those of the store.

    Raises
    ------
    DataError
        If it is no matrix of real numbers, of another shape, or damaged.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractContextManager[Any]],
        element: str,
        shape: tuple[int, int],
        *,
        where: str,
        hint: str,
        scratch: Path | None = None,
        kind: Any = None,
    ) -> None:
        self.opened, self.element, self.shape, self.where = opened, element, shape, where
        self.scratch, self.kind = scratch, kind
        self._transposed: _Transposed | None = None
        with opened() as f:
            item = f[element]
            attributes = item.attrs
            self.sparse = hasattr(item, "keys")
            form = str(attributes.get("encoding-type", attributes.get("h5sparse_format", ""))).removesuffix("_matrix")
            values = item.get("data") if self.sparse else item
            if getattr(values, "dtype", np.dtype(object)).kind not in "biuf" or (self.sparse and form not in ("csr", "csc")):
                raise DataError(f"{where} is no matrix of real numbers; {hint}.")
            held = attributes.get("shape", attributes.get("h5sparse_shape", ())) if self.sparse else item.shape
            if tuple(map(int, held)) != shape:
                raise DataError(
                    f"{where} is {' x '.join(map(str, held))}, obs has {shape[0]} rows and var {shape[1]}; the file is damaged, "
                    "write it again."
                )
            self.by_column = form == "csc"
            self._chunk = None if self.sparse else (item.chunks or (1,))[0]
            parts = [item["data"], item["indices"], item["indptr"]] if self.sparse else [item]
            #: Bytes that the values take when they are unpacked.
            self.size = sum(int(np.prod(part.shape, dtype=object)) * part.dtype.itemsize for part in parts)
            if self.sparse:
                self._indptr = self._checked_indptr(item, shape[1] if self.by_column else shape[0])

    def __iter__(self) -> Iterator[tuple[slice, Any]]:
        return self.blocks()

    def blocks(self, start: int = 0, scratch: Path | None = None) -> Iterator[tuple[slice, Any]]:
        """Rows from `start` on and their values, CSR or dense, float32 or float64."""
        with self.opened() as f:
            item: Any = f[self.element]
            if self.by_column:
                if self._transposed is None or not self._transposed.there:
                    self._transposed = _Transposed(self, item, scratch or self.scratch)
                yield from self._transposed.blocks(start)
                return
            for rows in self._slices(start):
                if not self.sparse:
                    yield rows, self._real(np.asarray(item[rows]))
                    continue
                a, b = int(self._indptr[rows.start]), int(self._indptr[rows.stop])
                indices = self._checked_indices(np.asarray(item["indices"][a:b]), self.shape[1])
                parts = (self._real(np.asarray(item["data"][a:b])), indices, self._indptr[rows.start : rows.stop + 1] - a)
                yield rows, sparse.csr_matrix(parts, shape=(rows.stop - rows.start, self.shape[1]))

    def _slices(self, start: int) -> Iterator[slice]:
        n = self.shape[0]
        if self.sparse:
            yield from _cut(self._indptr, start)
        else:
            step = max(1, VALUES // max(1, self.shape[1]))
            chunk = self._chunk or 1
            # Whole chunks, so that none is decompressed twice, unless a chunk is very tall.
            step = max(step // chunk, 1) * chunk if chunk <= 8 * step else step
            yield from (slice(i, min(i + step, n)) for i in range(start, n, step))

    def _checked_indptr(self, item: Any, major: int) -> Array:
        if len(item["indptr"].shape) != 1 or item["indptr"].shape[0] != major + 1:
            raise self._damaged()
        indptr = np.asarray(item["indptr"][:]).astype(np.int64)
        n_values = item["data"].shape[0]
        sound = indptr[0] == 0 and indptr[-1] == n_values == item["indices"].shape[0] and item["indices"].dtype.kind in "iu"
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

    def _real(self, values: Array) -> Array:
        if self.kind is None:
            # float16 would overflow in sums, and integers would wrap in squares.
            wide = values.dtype.itemsize > 4 or values.dtype.kind != "f"
            return values.astype(np.float64 if wide else np.float32, copy=False)
        # Values beyond the type become infinite, which is refused by name.
        with np.errstate(over="ignore"):
            return values.astype(self.kind, copy=False)


def _cut(indptr: Array, start: int) -> Iterator[slice]:
    """Rows from `start` on in pieces of at most `VALUES` values and rows, at least one row each."""
    n = len(indptr) - 1
    while start < n:
        stop = int(np.searchsorted(indptr, indptr[start] + VALUES, side="right")) - 1
        stop = min(max(stop, start + 1), start + VALUES, n)
        yield slice(start, stop)
        start = stop


class _Transposed:
    """The rows of a CSC matrix: its values sorted into pieces of rows on disk, and within a piece when it is read.

    A piece is written from front to back, so that the disk is not asked for single values.
    """

    def __init__(self, source: RowBlocks, item: Any, scratch: Path | None) -> None:
        # Gone with this object.
        self._folder = TemporaryDirectory(dir=scratch)
        self.shape = source.shape
        n_rows, n_values = source.shape[0], int(source._indptr[-1])
        bounds = [(a, min(a + VALUES, n_values)) for a in range(0, n_values, VALUES)]
        length = np.zeros(n_rows, dtype=np.int64)
        for a, b in bounds:
            indices = source._checked_indices(np.asarray(item["indices"][a:b]), n_rows)
            length += np.bincount(indices.astype(np.int64, copy=False), minlength=n_rows)
        self.indptr = np.concatenate([[0], np.cumsum(length)])
        self.pieces = list(_cut(self.indptr, 0))
        starts = np.array([piece.start for piece in self.pieces])
        free = self.indptr[starts].copy()
        wide, narrow = source._real(np.zeros(1, item["data"].dtype)).dtype, np.dtype(np.int32)
        self.kinds = {"data": wide, "row": np.dtype(np.int64), "column": narrow}
        with self._open("w+b") as files:
            for a, b in bounds:
                row = np.asarray(item["indices"][a:b]).astype(np.int64)
                column = (np.searchsorted(source._indptr, np.arange(a, b), side="right") - 1).astype(np.int32)
                values = source._real(np.asarray(item["data"][a:b]))
                piece = np.searchsorted(starts, row, side="right") - 1
                order = np.argsort(piece, kind="stable")
                found, first, n = np.unique(piece[order], return_index=True, return_counts=True)
                for name, part in (("data", values[order]), ("row", row[order]), ("column", column[order])):
                    for p, i, k in zip(found, first, n, strict=True):
                        _write(files[name], part[i : i + k], int(free[p]))
                free[found] += n

    @property
    def there(self) -> bool:
        """False once somebody has removed the folder that it was made in."""
        return all((Path(self._folder.name) / name).exists() for name in self.kinds)

    def blocks(self, start: int) -> Iterator[tuple[slice, Any]]:
        with self._open("rb") as files:
            for rows in self.pieces:
                if rows.stop <= start:
                    continue
                a, b = int(self.indptr[rows.start]), int(self.indptr[rows.stop])
                read = {name: self._read(name, f, a, b) for name, f in files.items()}
                order = np.argsort(read["row"], kind="stable")
                parts = (read["data"][order], read["column"][order], self.indptr[rows.start : rows.stop + 1] - a)
                block = sparse.csr_matrix(parts, shape=(rows.stop - rows.start, self.shape[1]))
                skip = max(start - rows.start, 0)
                yield slice(rows.start + skip, rows.stop), block[skip:] if skip else block

    def _read(self, name: str, file: Any, a: int, b: int) -> Array:
        kind = self.kinds[name]
        out: Any = np.empty(b - a, kind)
        file.seek(a * kind.itemsize)
        file.readinto(memoryview(out).cast("B"))
        return out

    def _open(self, mode: str) -> _Files:
        return _Files({name: Path(self._folder.name) / name for name in self.kinds}, mode)


def _write(file: Any, values: Array, place: int) -> None:
    file.seek(place * values.itemsize)
    part: Any = np.ascontiguousarray(values)
    left = memoryview(part).cast("B")
    while left:
        left = left[file.write(left) :]


class _Files:
    """Several files, open together and unbuffered."""

    def __init__(self, paths: dict[str, Path], mode: str) -> None:
        self.paths, self.mode = paths, mode

    def __enter__(self) -> dict[str, Any]:
        self.files = {name: open(path, self.mode, buffering=0) for name, path in self.paths.items()}
        return self.files

    def __exit__(self, *raised: object) -> None:
        for file in self.files.values():
            file.close()
