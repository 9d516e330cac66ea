"""A hash of each cell's values, to find cells that occur twice."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

Array = np.ndarray[Any, Any]
BLOCK = 8192


def row_hashes(X: Any) -> tuple[Array, Array]:
    """A 64-bit hash of each row of a sparse or dense matrix as float32, and its number of non-zero values.

    The hash is a sum over columns of mixed bits times a column's random odd number, so that neither zeros nor the order
    in which a row is stored count.
    """
    n, n_columns = X.shape
    weights = np.random.default_rng(0).integers(0, 2**63, n_columns, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    hashes, expressed = np.empty(n, dtype=np.uint64), np.empty(n, dtype=np.int64)
    for start in range(0, n, BLOCK):
        block = sparse.csr_matrix(X[start : start + BLOCK], dtype=np.float32)
        mixed = block.data.view(np.uint32).astype(np.uint64)
        # Small whole numbers differ in few high bits as floats: multiply these up, then fold them down.
        mixed *= np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
        mixed *= weights[block.indices]
        hashes[start : start + BLOCK] = _sums_by_row(mixed, block.indptr)
        expressed[start : start + BLOCK] = _sums_by_row((block.data != 0).astype(np.uint64), block.indptr)
    return hashes, expressed


def _sums_by_row(values: Array, indptr: Array) -> Array:
    total = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(values, dtype=np.uint64)])
    return total[indptr[1:]] - total[indptr[:-1]]
