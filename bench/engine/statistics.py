"""One pass over the cells: sums from which every pseudobulk, variance and t statistic follows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from ..contracts.condition import Condition
from ..contracts.errors import DataError
from ..contracts.training import Profiles
from ..kernels.normalisation import log1p_per_10k

Array = np.ndarray[Any, Any]
NOT_FINITE = "the matrix holds NaN or infinite values; remove those cells or genes."
#: Rows of a block that is copied or read.
BLOCK = 4096
# Blocks at a time of a matrix that is looked at where it lies, so that a mapped one is still read from front to back.
_VIEWED = 16


@dataclass(frozen=True)
class GroupSums:
    """Sums over the cells of g groups on the scale of the profiles.

    Parameters
    ----------
    total, squares
        (g, G) float64 sums and sums of squares.
    n
        (g,) cells.
    """

    total: Array
    squares: Array
    n: Array

    def pool(self, groups: list[list[int]], conditions: tuple[Condition, ...]) -> Profiles:
        """Profiles of unions of groups, one union for each condition."""
        members = sparse.csr_matrix(
            (
                np.ones(sum(map(len, groups))),
                (np.repeat(np.arange(len(groups)), [len(g) for g in groups]), [i for g in groups for i in g]),
            ),
            shape=(len(groups), len(self.n)),
        )
        n = members @ self.n
        safe = np.maximum(n, 1)[:, None]
        mean = (members @ self.total) / safe
        var = np.maximum((members @ self.squares) - safe * mean**2, 0) / np.maximum(n - 1, 1)[:, None]
        # Rounded once here: archived predictions are float32 too, so a perfect prediction is perfect to the last bit.
        return Profiles(conditions, mean.astype(np.float32), var.astype(np.float32), n.astype(np.int64))


def on_profile_scale(X: Any, scale: str) -> Any:
    """A block of cells as log1p of counts per 10,000 (unchanged on the scales ``log1p_1e4`` and ``raw``).

    A cell without any count stays zero.
    """
    if scale != "counts":
        return X
    if sparse.issparse(X):
        return log1p_per_10k(sparse.csr_matrix(X))
    X = np.asarray(X, dtype=np.float64)
    depth = X.sum(axis=1, keepdims=True)
    return np.log1p(X * np.divide(1e4, depth, out=np.zeros_like(depth), where=depth > 0))


def group_sums(X: Any, codes: Array, n_groups: int, *, scale: str, scratch: Path | None = None) -> GroupSums:
    """`GroupSums` of a matrix (cells x genes; CSR, CSC, dense, a memory map, a backed AnnData's or `Rows` of a file) in blocks of rows.

    Each sum adds up its cells in their order, whatever the blocks, the form of X and the number of threads.

    Parameters
    ----------
    codes
        (n,) group of each cell in ``range(n_groups)``.
    scale
        Scale of X; counts are normalised block by block.
    scratch
        Folder for temporary files, where X is in a file.

    Raises
    ------
    DataError
        If a value is not finite.
    ValueError
        If a code is not a group, or X and codes differ in length.
    """
    # numba is imported where it is needed: most of what uses this file has no cells.
    from ..kernels.group_sums import add_rows

    if len(codes) != X.shape[0]:
        raise ValueError(f"{X.shape[0]} rows of X but {len(codes)} codes")
    total, squares = np.zeros((n_groups, X.shape[1])), np.zeros((n_groups, X.shape[1]))
    for start, block in _blocks(X, copied=scale == "counts", scratch=scratch):
        add_rows(on_profile_scale(block, scale), codes[start : start + block.shape[0]], total, squares)
    if not np.isfinite(squares).all():
        raise DataError(NOT_FINITE)
    return GroupSums(total, squares, np.bincount(codes, minlength=n_groups))


def _blocks(X: Any, *, copied: bool, scratch: Path | None) -> Iterator[tuple[int, Any]]:
    """Blocks of rows, CSR or dense, each with the position of its first row; what is in memory as CSR is not copied here."""
    if hasattr(X, "blocks"):
        yield from X.blocks(0, scratch)
        return
    if sparse.issparse(X):
        X = X.tocsr()
        step = BLOCK if copied or X.dtype.kind != "f" else _VIEWED * BLOCK
        for start in range(0, X.shape[0], step):
            bounds = X.indptr[start : start + step + 1]
            values = slice(int(bounds[0]), int(bounds[-1]))
            block = sparse.csr_matrix((len(bounds) - 1, X.shape[1]), dtype=X.dtype)
            # Not given to the constructor, which copies what is less than half of an array.
            block.data, block.indices, block.indptr = X.data[values], X.indices[values], bounds - bounds[0]
            yield start, block
        return
    for start in range(0, X.shape[0], BLOCK):
        block = X[start : start + BLOCK]
        yield start, block.tocsr() if sparse.issparse(block) else block


def halves(barcodes: Any, codes: Array) -> Array:
    """(n,) 0 or 1: two halves of each group, equal to one cell, chosen by hashed barcode and so blind to the order of cells."""
    digest = np.empty(len(barcodes), dtype=np.uint64)
    for start in range(0, len(barcodes), BLOCK):
        some = np.asarray(barcodes[start : start + BLOCK]).astype(str).tolist()
        digest[start : start + BLOCK] = np.frombuffer(b"".join(hashlib.sha256(b.encode()).digest()[:8] for b in some), ">u8")
    order = np.lexsort((digest, codes))
    sorted_codes = codes[order]
    starts = np.searchsorted(sorted_codes, sorted_codes, side="left")
    out = np.empty(len(codes), dtype=np.int64)
    out[order] = (np.arange(len(codes)) - starts) % 2
    return out


def welch_t(a: Profiles, b: Profiles, b_rows: Array) -> Array:
    """(n, G) Welch t statistic of each row of `a` against its row of `b`; 0 where both are constant and equal."""
    difference = a.mean.astype(np.float64) - b.mean[b_rows]
    se2 = a.var / np.maximum(a.n_cells, 1)[:, None].astype(np.float64) + b.var[b_rows] / np.maximum(b.n_cells[b_rows], 1)[
        :, None
    ].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = difference / np.sqrt(se2)
    return np.where(np.isnan(t), 0.0, t)
