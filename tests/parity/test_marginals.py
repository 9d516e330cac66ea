"""Distributions of single genes against scipy and pertpy."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="module")
def pairs(screen):
    real, predicted = screen
    return [(predicted.of(name).astype(np.float64), real.of(name).astype(np.float64)) for name in real.names]


def test_scipy(agree, pairs):
    from scipy.sparse import csr_matrix
    from scipy.stats import ks_2samp, wasserstein_distance

    from pbench.bench.kernels.marginals import marginals

    x, y = pairs[0]
    w1, ks = marginals(csr_matrix(x), csr_matrix(y))
    genes = range(x.shape[1])
    agree("scipy", "Wasserstein-1 of a gene", w1, [wasserstein_distance(x[:, g], y[:, g]) for g in genes], tolerance=1e-9)
    agree("scipy", "Kolmogorov-Smirnov of a gene", ks, [ks_2samp(x[:, g], y[:, g]).statistic for g in genes], tolerance=1e-12)


def test_metrics_are_means_over_genes(agree, comparison, value, pairs):
    """As many predicted as true cells and fewer than 256, so that all cells are read."""
    from scipy.stats import wasserstein_distance

    assert all(len(x) == len(y) <= 256 for x, y in pairs)
    theirs = [np.mean([wasserstein_distance(x[:, g], y[:, g]) for g in range(x.shape[1])]) for x, y in pairs]
    agree("scipy", "wasserstein@all", value("wasserstein@all", comparison), theirs, tolerance=1e-6)


def test_pertpy(agree, comparison, value, pairs):
    pertpy = pytest.importorskip("pertpy", reason="pertpy is not installed: pip install 'pbench[parity]'")
    measure = pertpy.tl.Distance(metric="ks_test", layer_key="counts")
    agree("pertpy", "ks@all = ks_test", value("ks@all", comparison), [measure(x, y) for x, y in pairs], tolerance=1e-6)
