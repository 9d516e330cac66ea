"""The non-zero values of a cells x genes matrix gene by gene, a range of genes at a time.

Tests of single genes need all cells of a gene together, while screens are stored cell by cell. A transposed copy would
double the memory of the screen, so ranges of genes are transposed into a bounded buffer, handed to the caller and
forgotten. A value becomes an *entry*, a uint64: the float32 as an unsigned integer of the same order (its *key*) in the
upper half, the group of its cell in the lower half. So entries sort by value as plain integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from .scatter import count_columns, count_dense, count_rows, gather_columns, scatter_dense, scatter_rows
from .threads import default_threads

Array = np.ndarray[Any, Any]

#: Rows of a block that is read from a matrix that is not in memory.
BLOCK = 4096
#: Entries in one range of genes of a matrix in memory: 32 MB, small beside a screen and large beside the cost of a range.
RANGE_ENTRIES = 2**22
#: Fewer entries than this are not worth sharing among threads.
SMALL = 2**16


@dataclass(frozen=True)
class GeneRange:
    """Entries of the genes ``first`` to ``last - 1``.

    Parameters
    ----------
    start, stop
        (last - first,) bounds of each gene's entries.
    entries
        uint64, within a gene in the order of the cells; the caller may reorder them.
    """

    first: int
    last: int
    start: Array
    stop: Array
    entries: Array


def for_each_range(
    X: Any,
    codes: Array,
    work: Callable[[GeneRange], None],
    *,
    transform: Callable[[Any], Any] | None = None,
    threads: int | None = None,
    memory_bytes: int = 2**30,
) -> None:
    """Call `work` once for each range of genes, from several threads.

    A matrix in memory (or mapped into it) is read where it lies. Of anything else, or with a `transform`, blocks of rows
    are read: once to count, and once for each set of ranges that fits in `memory_bytes`.

    Parameters
    ----------
    X
        cells x genes; anything with ``shape`` whose row slices are sparse or dense. Values are taken as float32.
    codes
        (n,) group of each cell, below 2^32; cells with a negative code are left out.
    transform
        Applied to each block of rows.
    threads
        At most this many; by default as `default_threads` says. Ranges are independent of each other, so results do
        not depend on the number of threads.
    memory_bytes
        Bound on the buffers; a single gene may exceed it.

    Raises
    ------
    ValueError
        If a value of a cell with a group is NaN, or X and codes differ in length.
    """
    if X.shape[0] != len(codes):
        raise ValueError(f"{X.shape[0]} rows of X but {len(codes)} codes")
    codes = np.ascontiguousarray(codes, dtype=np.int64)
    threads = threads or default_threads()
    # To start one thread takes longer than to test a small group of cells.
    with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        run = map if pool is None else pool.map
        source = _in_memory(X) if transform is None else None
        counts = None if source is None else _counts(source, codes, run, threads)
        if source is not None and counts is not None:
            share = min(RANGE_ENTRIES, max(SMALL, -(-int(counts.sum()) // threads)))
            limit = min(share, max(1, memory_bytes // (8 * threads)))

            def alone(bounds: tuple[int, int]) -> None:
                piece, cursor = _allocate(counts, *bounds)
                _scatter(source, codes, piece, cursor)
                work(_filled(piece, cursor))

            list(run(alone, _bounds(counts, limit)))
            return
        counts = np.zeros(X.shape[1], dtype=np.int64)
        for at, block in _blocks(X, transform):
            found = block.counts(codes[at : at + block.n_rows])
            assert found is not None, "blocks are canonical"
            counts += found
        for first, last in _bounds(counts, max(1, memory_bytes // 8)):
            share = max(1, -(-int(counts[first:last].sum()) // (4 * threads)))
            pieces = [_allocate(counts, first + a, first + b) for a, b in _bounds(counts[first:last], share)]
            for at, block in _blocks(X, transform):
                add = partial(_scatter, block, codes[at : at + block.n_rows])
                list(run(add, *zip(*pieces, strict=True)))
            list(run(lambda filling: work(_filled(*filling)), pieces))


class _Source(Protocol):
    """Rows of a matrix, values as the bits of float32."""

    @property
    def n_rows(self) -> int: ...

    def counts(self, codes: Array) -> Array | None:
        """(G,) stored values of each gene in rows with a group; None where rows are not sorted or repeat a gene."""
        ...

    def rows(self, start: int, stop: int) -> _Source | None:
        """Some of the rows without a copy; None where that is not possible."""
        ...

    def scatter(self, codes: Array, first: int, last: int, cursor: Array, entries: Array) -> int:
        """Write the entries of a range of genes at `cursor` and move it; returns the number of NaNs."""
        ...


@dataclass(frozen=True)
class _Rows:
    """CSR."""

    indptr: Array
    indices: Array
    bits: Array
    n_genes: int

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    def counts(self, codes: Array) -> Array | None:
        counts, canonical = count_rows(self.indptr, self.indices, codes, self.n_genes)
        return counts if canonical else None

    def rows(self, start: int, stop: int) -> _Source:
        return _Rows(self.indptr[start : stop + 1], self.indices, self.bits, self.n_genes)

    def scatter(self, codes: Array, first: int, last: int, cursor: Array, entries: Array) -> int:
        return scatter_rows(self.indptr, self.indices, self.bits, codes, first, last, cursor, entries)


@dataclass(frozen=True)
class _Columns:
    """CSC."""

    indptr: Array
    indices: Array
    bits: Array
    n_rows: int

    def counts(self, codes: Array) -> Array | None:
        counts, canonical = count_columns(self.indptr, self.indices, codes)
        return counts if canonical else None

    def rows(self, start: int, stop: int) -> None:
        return None

    def scatter(self, codes: Array, first: int, last: int, cursor: Array, entries: Array) -> int:
        return gather_columns(self.indptr, self.indices, self.bits, codes, first, last, cursor, entries)


@dataclass(frozen=True)
class _Dense:
    bits: Array

    @property
    def n_rows(self) -> int:
        return len(self.bits)

    def counts(self, codes: Array) -> Array:
        return count_dense(self.bits, codes)

    def rows(self, start: int, stop: int) -> _Source:
        return _Dense(self.bits[start:stop])

    def scatter(self, codes: Array, first: int, last: int, cursor: Array, entries: Array) -> int:
        return scatter_dense(self.bits, codes, first, last, cursor, entries)


def _in_memory(X: Any) -> _Source | None:
    """X as it lies in memory, or None where its blocks have to be read or converted."""
    if sparse.issparse(X) and X.format in ("csr", "csc") and X.dtype == np.float32:
        arrays = np.asarray(X.indptr), np.asarray(X.indices), np.asarray(X.data).view(np.uint32)
        return _Rows(*arrays, X.shape[1]) if X.format == "csr" else _Columns(*arrays, X.shape[0])
    if isinstance(X, np.ndarray) and X.dtype == np.float32 and X.flags.c_contiguous:
        return _Dense(np.asarray(X).view(np.uint32))
    return None


def _blocks(X: Any, transform: Callable[[Any], Any] | None) -> Iterator[tuple[int, _Source]]:
    """Blocks of rows with the position of their first row."""
    if sparse.issparse(X) and X.format != "csr":
        X = X.tocsr()
    for at in range(0, X.shape[0], BLOCK):
        block = X[at : at + BLOCK]
        if transform is not None:
            block = transform(block)
        if sparse.issparse(block):
            block = sparse.csr_matrix(block)
            if not block.has_canonical_format:
                block = block.copy()
                block.sum_duplicates()
            yield at, _Rows(block.indptr, block.indices, block.data.astype(np.float32, copy=False).view(np.uint32), X.shape[1])
        else:
            yield at, _Dense(np.ascontiguousarray(block, dtype=np.float32).view(np.uint32))


def _counts(source: _Source, codes: Array, run: Callable[..., Iterable[Array | None]], threads: int) -> Array | None:
    """Counts of a source in memory, rows shared among the threads."""
    edges = np.linspace(0, source.n_rows, threads + 1).astype(np.int64).tolist()
    parts = [(source.rows(a, b), codes[a:b]) for a, b in pairwise(edges)]
    if any(part is None for part, _ in parts):
        parts = [(source, codes)]
    found = [c for c in run(lambda part: part[0].counts(part[1]), parts) if c is not None]
    return np.sum(found, axis=0) if len(found) == len(parts) else None


def _bounds(counts: Array, limit: int) -> list[tuple[int, int]]:
    """Consecutive ranges of genes with at most `limit` entries each, or a single gene with more."""
    if len(counts) and counts.sum() <= limit:
        return [(0, len(counts))]
    bounds, first, total = [], 0, 0
    for gene, n in enumerate(counts.tolist()):
        if total + n > limit and gene > first:
            bounds.append((first, gene))
            first, total = gene, 0
        total += n
    return [*bounds, (first, len(counts))] if len(counts) else []


def _allocate(counts: Array, first: int, last: int) -> tuple[GeneRange, Array]:
    """A range with room for its entries, and where the next entry of each gene goes."""
    stop = np.cumsum(counts[first:last])
    start = stop - counts[first:last]
    return GeneRange(first, last, start, stop, np.empty(int(stop[-1]), dtype=np.uint64)), start.copy()


def _scatter(source: _Source, codes: Array, piece: GeneRange, cursor: Array) -> None:
    if source.scatter(codes, piece.first, piece.last, cursor, piece.entries):
        raise ValueError("X holds NaN; ranks are not defined.")


def _filled(piece: GeneRange, cursor: Array) -> GeneRange:
    # Stored zeros were counted and not written.
    return GeneRange(piece.first, piece.last, piece.start, cursor, piece.entries)
