"""Simulated measurements as an AnnData."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def annotated(measured: Array, columns: dict[str, Array]) -> Any:
    """An AnnData of (n, D) measurements ``x1``, ``x2``, … with the columns of obs; texts become categories."""
    import pandas as pd
    from anndata import AnnData

    n, features = measured.shape
    obs = pd.DataFrame(columns, index=pd.Index([f"cell{i:07d}" for i in range(n)]))
    obs = obs.astype({c: "category" for c in obs if not pd.api.types.is_numeric_dtype(obs[c])})
    width = len(str(features))
    var = pd.DataFrame(index=pd.Index([f"x{i:0{width}d}" for i in range(1, features + 1)]))
    return AnnData(X=measured.astype(np.float32), obs=obs, var=var)
