"""Small .h5ad files in the shapes in which people hold screens, and the folder of real ones."""

from __future__ import annotations

import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

GENES = ["KLF1", "BAK1", "AHR", "SET", "TBX3"]


def _counts(n: int, n_genes: int = len(GENES)) -> np.ndarray:
    return 1 + np.random.default_rng(0).poisson(2.0, (n, n_genes))


def _log1p_1e4(counts: np.ndarray) -> np.ndarray:
    return np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)


@pytest.fixture
def write(tmp_path):
    """Write a small file: `labels` go into obs['perturbation'], every other keyword is a column of obs."""

    def make(labels, *, X=None, key="perturbation", name="my.h5ad", genes=None, barcodes=None, layers=None, dense=False, **obs):
        n = len(labels)
        X = np.asarray(_counts(n) if X is None else X, dtype=np.float32)
        frame = pd.DataFrame({key: labels, **obs}, index=barcodes or [f"cell{i}" for i in range(n)])
        adata = anndata.AnnData(X if dense else sparse.csr_matrix(X), obs=frame)
        adata.var_names = genes or GENES[: X.shape[1]]
        adata.layers.update({k: sparse.csr_matrix(v) for k, v in (layers or {}).items()})
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        adata.write_h5ad(path)
        return path

    return make


@pytest.fixture
def counts():
    return _counts


@pytest.fixture
def log1p_1e4():
    return _log1p_1e4


@pytest.fixture
def real_data():
    """Path of a file in the folder of real screens."""

    def find(name: str) -> Path:
        folder = os.environ.get("PBENCH_DATA")
        if not folder:
            pytest.skip("PBENCH_DATA is not set; it names the folder of real screens")
        path = Path(folder) / name
        if not path.is_file():
            pytest.skip(f"{name} is not in PBENCH_DATA")
        return path

    return find
