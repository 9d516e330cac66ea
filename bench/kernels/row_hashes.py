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
    # numba is imported where it is needed: most of what uses this file has no cells.
    from .row_hash_loop import hash_rows

    n, n_columns = X.shape
    weights = np.random.default_rng(0).integers(0, 2**63, n_columns, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    hashes, expressed = np.empty(n, dtype=np.uint64), np.empty(n, dtype=np.int64)
    for start in range(0, n, BLOCK):
        block: Any = sparse.csr_matrix(X[start : start + BLOCK], dtype=np.float32)
        some = slice(start, start + block.shape[0])
        hash_rows(block.data, block.data.view(np.uint32), block.indices, block.indptr, weights, hashes[some], expressed[some])
    return hashes, expressed
