"""Distances between distributions of single genes against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from pbench.bench.kernels.marginals import marginals


def cells(seed, n, n_genes, negative=False):
    """Cells with many ties and zeros."""
    rng = np.random.default_rng(seed)
    values = np.round(rng.gamma(1.0, 1.0, (n, n_genes)), 1) * (rng.random((n, n_genes)) < 0.4)
    if negative:
        values -= 0.5 * (rng.random((n, n_genes)) < 0.3)
    return values.astype(np.float32)


def scipys(x, y):
    genes = range(x.shape[1])
    w1 = [stats.wasserstein_distance(x[:, g].astype(np.float64), y[:, g].astype(np.float64)) for g in genes]
    return np.array(w1), np.array([stats.ks_2samp(x[:, g], y[:, g], method="asymp").statistic for g in genes])


def test_by_hand():
    x = np.array([[0.0, 0.0, 2.0], [0.0, 1.0, 2.0], [3.0, 1.0, 2.0]])
    y = np.array([[0.0, -1.0, 2.0], [1.0, 4.0, 2.0]])
    w1, ks = marginals(x, y)
    # Gene 0: F - H is 2/3 - 1/2 on [0, 1) and 2/3 - 1 on [1, 3). Gene 1: -1/2 on [-1, 0), -1/6 on [0, 1), 1/2 on [1, 4).
    np.testing.assert_allclose(w1, [1 / 6 + 2 / 3, 1 / 2 + 1 / 6 + 3 / 2, 0.0])
    np.testing.assert_allclose(ks, [1 / 3, 1 / 2, 0.0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_against_scipy_sparse_and_dense(seed, n, m, negative):
    x, y = cells(seed, n, 9, negative), cells(seed + 1, m, 9, negative)
    x[:, 0], y[:, 0], x[:, 1], y[:, 1], y[:, 2] = 0.0, 0.0, 2.0, 1.0, 0.0
    expected = scipys(x, y)
    x[0, 0] = 1.0
    explicit = sparse.csr_matrix(x)
    x[0, 0] = explicit.data[0] = 0.0  # a stored zero
    for a, b in (
        (x, y),
        (sparse.csr_matrix(x), y),
        (explicit, sparse.csr_matrix(y)),
        (x.astype(np.float64), sparse.csc_matrix(y)),
    ):
        for found, wanted in zip(marginals(a, b), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_many_genes_in_any_number_of_threads_and_any_order_of_cells():
    x, y = cells(0, 50, 1300), cells(1, 70, 1300)
    one = marginals(x, y, threads=1)
    order = np.random.default_rng(0).permutation(50)
    for other in (marginals(x, y, threads=3), marginals(x[order], y)):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    np.testing.assert_allclose(one, scipys(x, y), atol=1e-12)


def test_copies_of_cells_are_the_same_distribution():
    x, y = cells(2, 30, 20), cells(3, 40, 20)
    np.testing.assert_allclose(marginals(np.repeat(x, 3, axis=0), y), marginals(x, y), atol=1e-12)
    assert not np.any(marginals(np.repeat(x, 2, axis=0), x))


def test_what_is_refused_and_no_genes():
    x = cells(0, 5, 3)
    with pytest.raises(ValueError, match="genes"):
        marginals(x, x[:, :2])
    with pytest.raises(ValueError, match="no cells"):
        marginals(x[:0], x)
    for bad in (np.nan, np.inf):
        spoilt = x.copy()
        spoilt[1, 1] = bad
        with pytest.raises(ValueError, match="finite"):
            marginals(spoilt, x)
    assert [len(v) for v in marginals(x[:, :0], x[:, :0])] == [0, 0]
