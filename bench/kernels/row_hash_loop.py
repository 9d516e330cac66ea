"""The loop of `row_hashes`."""

from __future__ import annotations

import numpy as np

from .compiled import compiled


@compiled
def hash_rows(values, bits, indices, indptr, weights, hashes, expressed):
    """Sums over the values of each row, modulo 2**64, of their mixed bits times the weight of their column."""
    for row in range(len(hashes)):
        total, n = np.uint64(0), 0
        for k in range(indptr[row], indptr[row + 1]):
            # Small whole numbers differ in few high bits as floats: multiply these up, then fold them down.
            mixed = np.uint64(bits[k]) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(32)
            total += mixed * weights[indices[k]]
            n += values[k] != 0
        hashes[row], expressed[row] = total, n
