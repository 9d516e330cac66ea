"""Counts on the scale of the profiles."""

from __future__ import annotations

from typing import Any

import numpy as np


def log1p_per_10k(X: Any) -> Any:
    """Cells as log1p of counts per 10,000 of the cell; a cell without any count stays zero.

    Parameters
    ----------
    X
        (n, G) CSR counts.

    Returns
    -------
    (n, G) CSR float64 of the same pattern, whose index arrays are those of X.
    """
    depth = np.asarray(X.sum(axis=1, dtype=np.float64)).ravel()
    factor = np.divide(1e4, depth, out=np.zeros_like(depth), where=depth > 0)
    return type(X)((np.log1p(X.data * np.repeat(factor, np.diff(X.indptr))), X.indices, X.indptr), shape=X.shape)
