"""Cells that stay on disk: rows of a sparse matrix that are read as they are asked for, for screens larger than memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DataError, PbenchError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Array = np.ndarray[Any, Any]

#: Rows of a block that is read at a time, and values that are read at a time into a larger matrix.
BLOCK, VALUES = 2048, 2**22
#: Bytes of a value and its column in memory.
ENTRY = 8


class TooLarge(PbenchError):
    """Something needs all cells in memory at once, and they do not fit into the bound."""


class StoredRows:
    """(n, G) rows of a CSR matrix in ``.npy`` files, in any order; ``X[rows]`` reads them as a float32 CSR matrix.

    It stands for that matrix where it is larger than memory: rows come with the same bits as from the matrix in memory. Whatever
    else a CSR matrix can do is done on the matrix itself, which is read first; where it does not fit, that is a `TooLarge`.

    Parameters
    ----------
    parts
        Memory maps of the values, their columns and where each row begins, as in CSR.
    rows
        (n,) rows of the files in the order of these rows; all of them where it is None.
    columns
        (G,) column of the files of each column here; None where they are in the same order.
    n_columns
        G.
    transform
        Applied to each CSR matrix that is read: a function of each row alone, which keeps where the values stand.
    room
        Bytes that may be read at a time; any number where it is None.
    bound
        What the user has set as a bound on memory in bytes, for messages.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(
        self,
        parts: tuple[np.memmap, np.memmap, np.memmap],
        n_columns: int,
        *,
        rows: Array | None = None,
        columns: Array | None = None,
        transform: Callable[[Any], Any] | None = None,
        room: int | None = None,
        bound: int | None = None,
    ) -> None:
        data, indices, indptr = parts
        self._files = _File(data), _File(indices)
        self._indptr = indptr
        self._rows = np.arange(len(indptr) - 1) if rows is None else np.asarray(rows, dtype=np.int64)
        self._columns, self._transform, self.room, self.bound = columns, transform, room, bound
        self.shape = len(self._rows), n_columns

    @property
    def nnz(self) -> int:
        """Stored values of all rows."""
        steps = range(0, len(self._rows), 2**20)
        return sum(int(np.subtract(*self._bounds(self._rows[i : i + 2**20])[::-1]).sum()) for i in steps)

    @property
    def nbytes(self) -> int:
        """Bytes of the same matrix in memory."""
        return ENTRY * (self.nnz + self.shape[0] + 1)

    def __getitem__(self, key: Any) -> csr_matrix:
        """Some rows.

        Raises
        ------
        TooLarge
            If they take more memory than there is room.
        DataError
            If the files are shorter than they were.
        """
        from scipy import sparse

        if isinstance(key, tuple):
            return self.tocsr()[key]
        rows = self._rows[[key]] if np.ndim(key) == 0 and not isinstance(key, slice) else self._rows[key]
        start, stop = self._bounds(rows)
        ends = np.concatenate([[0], np.cumsum(stop - start)])
        total = int(ends[-1])
        self.require(ENTRY * (total + len(ends)), f"{len(rows):,} cells")
        if total <= VALUES:
            return self._read(start, stop, ends)
        # Piece by piece into the matrix that is returned, so that nothing else of its size is made on the way.
        kind = np.int32 if total <= np.iinfo(np.int32).max else np.int64
        data, indices = np.empty(total, dtype=np.float32), np.empty(total, dtype=kind)
        at = 0
        while at < len(rows):
            to = max(at + 1, int(np.searchsorted(ends, ends[at] + VALUES, side="right")) - 1)
            piece = self._read(start[at:to], stop[at:to], ends[at : to + 1] - ends[at])
            data[ends[at] : ends[to]], indices[ends[at] : ends[to]] = piece.data, piece.indices
            at = to
        return sparse.csr_matrix((data, indices, ends.astype(kind)), shape=(len(rows), self.shape[1]), copy=False)

    def _read(self, start: Array, stop: Array, ends: Array) -> csr_matrix:
        from scipy import sparse

        runs = _runs(start, stop, ends)
        data, indices = (file.read(runs, int(ends[-1])) for file in self._files)
        if ends[-1] <= np.iinfo(indices.dtype).max:
            ends = ends.astype(indices.dtype)
        found = sparse.csr_matrix((data, indices, ends), shape=(len(start), self.shape[1]), copy=False)
        if self._columns is not None:
            found = found[:, self._columns]
        if self._transform is not None:
            found = self._transform(found)
        return sparse.csr_matrix(found, dtype=np.float32)

    def ahead(self, rows: Array) -> None:
        """Have the system read some rows meanwhile, because they will be asked for soon."""
        start, stop = self._bounds(self._rows[rows])
        runs = _runs(start, stop, np.concatenate([[0], np.cumsum(stop - start)]))
        for file in self._files:
            file.ahead(runs)

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[slice, csr_matrix]]:
        """All rows in order, `size` at a time, each block with where it lies."""
        for at in range(0, self.shape[0], size):
            where = slice(at, min(at + size, self.shape[0]))
            yield where, self[where]

    def sum(self, axis: int | None = None, dtype: Any = None) -> Any:
        """Sums as of a CSR matrix, read in blocks; those over rows are added up in float64."""
        if axis in (1, -1):
            parts = [block.sum(axis=1, dtype=dtype) for _, block in self.blocks()]
            return np.concatenate(parts) if parts else np.asmatrix(np.empty((0, 1), dtype=dtype or self.dtype))
        total = np.zeros((1, self.shape[1]))
        for _, block in self.blocks():
            total += np.bincount(block.indices, weights=block.data, minlength=self.shape[1])
        return total.sum().astype(dtype or self.dtype) if axis is None else np.asmatrix(total.astype(dtype or self.dtype))

    def tocsr(self) -> csr_matrix:
        """All rows in memory.

        Raises
        ------
        TooLarge
            If there is no room for them.
        """
        return self[:]

    def toarray(self) -> Array:
        """(n, G) float32 of all rows; a `TooLarge` where there is no room for it."""
        self.require(self.dtype.itemsize * self.shape[0] * self.shape[1], f"{self.shape[0]:,} cells as a dense matrix")
        return self.tocsr().toarray()

    def require(self, n_bytes: int, what: str) -> None:
        """Make sure that something of `n_bytes` bytes fits before it is made.

        Raises
        ------
        TooLarge
            With what it is, its size, and what to change.
        """
        if self.room is not None and n_bytes > self.room:
            now = "more memory is needed" if self.bound is None else f"the bound is --memory {_size(self.bound)}"
            raise TooLarge(
                f"this needs {what} in memory at once: {_size(n_bytes)}, and cells may take {_size(self.room)}; "
                f"{now}. Give a larger --memory on a machine that has it, or a model that reads cells in batches."
            )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.toarray().astype(dtype or self.dtype, copy=False)

    def __matmul__(self, other: Any) -> Any:
        return self.tocsr() @ other

    def __getattr__(self, name: str) -> Any:
        from scipy import sparse

        if name.startswith("_") or (not hasattr(sparse.csr_matrix, name) and name not in ("data", "indices", "indptr")):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self.tocsr(), name)

    def _bounds(self, rows: Array) -> tuple[Array, Array]:
        """(n,) where rows of the files begin and end."""
        return np.asarray(self._indptr[rows], dtype=np.int64), np.asarray(self._indptr[rows + 1], dtype=np.int64)


def _size(n: float) -> str:
    return f"{n / 2**30:.3g}GB" if n >= 2**30 else f"{n / 2**20:.3g}MB"


def _runs(start: Array, stop: Array, ends: Array) -> list[tuple[int, int, int]]:
    """First value on disk, first value in memory and number of values of each run, in the order of the disk."""
    kept = np.flatnonzero(stop > start)
    order = kept[np.argsort(start[kept], kind="stable")]
    if not len(order):
        return []
    begin, end, place = start[order], stop[order], ends[order]
    broken = (begin[1:] != end[:-1]) | (place[1:] != ends[order + 1][:-1])
    first = np.concatenate([[0], np.flatnonzero(broken) + 1])
    last = np.concatenate([first[1:] - 1, [len(order) - 1]])
    return list(zip(begin[first].tolist(), place[first].tolist(), (end[last] - begin[first]).tolist(), strict=True))


class _File:
    """A one-dimensional array in an ``.npy`` file, read without mapping: pages that were read do not stay in the process."""

    def __init__(self, mapped: np.memmap) -> None:
        self.dtype, self.offset, self.path = mapped.dtype, mapped.offset, str(mapped.filename)
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDONLY)
            if hasattr(os, "posix_fadvise"):
                # Whole runs are asked for; what the system would read beyond them is of other cells.
                os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        return self._descriptor

    def ahead(self, runs: list[tuple[int, int, int]]) -> None:
        if not hasattr(os, "posix_fadvise"):
            return
        size, descriptor, offset = self.dtype.itemsize, self.descriptor, self.offset
        for begin, _, n in runs:
            os.posix_fadvise(descriptor, offset + size * begin, size * n, os.POSIX_FADV_WILLNEED)

    def read(self, runs: list[tuple[int, int, int]], n: int) -> Array:
        """(n,) values of all runs."""
        if len(runs) > 1:
            # All at once, so that the disk serves many at a time.
            self.ahead(runs)
        out = np.empty(n, dtype=self.dtype)
        size, descriptor = self.dtype.itemsize, self.descriptor
        view: Any = memoryview(out.view(np.uint8))  # pyright: ignore[reportArgumentType]
        for begin, place, length in runs:
            at, done, wanted = self.offset + size * begin, size * place, size * length
            while wanted:
                got = os.preadv(descriptor, [view[done : done + wanted]], at)
                if not got:
                    raise DataError(
                        f"{self.path} is shorter than it was: the prepared data are damaged. Type: pbench doctor --repair"
                    )
                at, done, wanted = at + got, done + got, wanted - got
        return out

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
