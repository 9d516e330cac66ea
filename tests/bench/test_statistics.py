"""The sums and what follows from them, against naive loops and scipy."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import DataError
from pbench.bench.contracts.training import Profiles
from pbench.bench.engine import statistics
from pbench.bench.engine.statistics import group_sums, halves, on_profile_scale, welch_t
from pbench.bench.kernels import group_sums as group_sums_kernel

FORMATS = {
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "dense": np.asarray,
    "fortran": np.asfortranarray,
    "float64": lambda X: sparse.csr_matrix(X, dtype=np.float64),
    "int": lambda X: sparse.csr_matrix(X.astype(np.int64)),
}


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(0)
    X = rng.poisson(rng.gamma(0.4, 2.0, (1, 13)), (211, 13)).astype(np.float32)
    X[5] = 0
    return X, rng.integers(0, 6, 211)


def naive_log1p(X):
    out = np.zeros(X.shape)
    for i, row in enumerate(X.astype(np.float64)):
        if row.sum():
            out[i] = np.log1p(1e4 * row / row.sum())
    return out


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("scale", ["counts", "raw"])
@pytest.mark.parametrize("block", [16, 4096])
def test_group_sums_equal_a_loop_over_cells(counts, form, scale, block, monkeypatch):
    monkeypatch.setattr(statistics, "BLOCK", block)
    X, codes = counts
    sums = group_sums(FORMATS[form](X), codes, 8, scale=scale)
    values = naive_log1p(X) if scale == "counts" else X.astype(np.float64)
    total, squares = np.zeros((8, 13)), np.zeros((8, 13))
    for code, row in zip(codes, values, strict=True):
        total[code] += row
        squares[code] += row**2
    np.testing.assert_allclose(sums.total, total, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(sums.squares, squares, rtol=1e-10, atol=1e-12)
    assert sums.n.tolist() == [int((codes == g).sum()) for g in range(8)]


def test_group_sums_read_a_memory_map(counts, tmp_path):
    X, codes = counts
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(
        group_sums(mapped, codes, 6, scale="counts").total, group_sums(X, codes, 6, scale="counts").total
    )


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_group_sums_read_a_file_that_stays_on_disk(counts, form, tmp_path, monkeypatch):
    from anndata import AnnData, read_h5ad

    X, codes = counts
    AnnData(FORMATS[form](X)).write_h5ad(tmp_path / "X.h5ad")
    monkeypatch.setattr(statistics, "BLOCK", 50)
    for scale in ("counts", "raw"):
        backed = group_sums(read_h5ad(tmp_path / "X.h5ad", backed="r").X, codes, 6, scale=scale)
        in_memory = group_sums(FORMATS[form](X), codes, 6, scale=scale)
        np.testing.assert_array_equal((backed.total, backed.squares), (in_memory.total, in_memory.squares))


def test_group_sums_leave_the_matrix_as_it_was(counts):
    X, codes = counts
    for scale in ("counts", "raw", "log1p_1e4"):
        for dtype in (np.float32, np.float64):
            given_matrix = sparse.csr_matrix(X, dtype=dtype)
            group_sums(given_matrix, codes, 6, scale=scale)
            np.testing.assert_array_equal(given_matrix.toarray(), X)


def test_counts_and_their_logs_give_the_same_profiles(counts):
    X, codes = counts
    groups, conditions = [[g] for g in range(6)], tuple(Condition((f"P{g}",)) for g in range(6))
    from_counts = group_sums(sparse.csr_matrix(X), codes, 6, scale="counts").pool(groups, conditions)
    from_logs = group_sums(sparse.csr_matrix(naive_log1p(X).astype(np.float32)), codes, 6, scale="log1p_1e4").pool(
        groups, conditions
    )
    np.testing.assert_allclose(from_counts.mean, from_logs.mean, atol=1e-6)
    np.testing.assert_allclose(from_counts.var, from_logs.var, atol=1e-5)


def test_profile_scale_of_sparse_and_dense_agree(counts):
    X, _ = counts
    np.testing.assert_allclose(on_profile_scale(sparse.csr_matrix(X), "counts").toarray(), naive_log1p(X), rtol=1e-12)
    np.testing.assert_allclose(on_profile_scale(X, "counts"), naive_log1p(X), rtol=1e-12)
    assert on_profile_scale(X, "raw") is X


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    X = np.ones((4, 3), dtype=np.float32)
    X[2, 1] = bad
    for form in (np.asarray, sparse.csr_matrix):
        with pytest.raises(DataError, match="NaN or infinite"):
            group_sums(form(X), np.zeros(4, dtype=int), 1, scale="raw")


def test_pooled_profiles_are_mean_and_unbiased_variance_over_cells(counts):
    X, codes = counts
    union = [[0, 3], [1], [5, 4, 2]]
    conditions = tuple(Condition((f"P{i}",)) for i in range(3))
    profiles = group_sums(sparse.csr_matrix(X), codes, 6, scale="raw").pool(union, conditions)
    assert profiles.conditions == conditions
    for i, groups in enumerate(union):
        own = X[np.isin(codes, groups)].astype(np.float64)
        np.testing.assert_allclose(profiles.mean[i], own.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(profiles.var[i], own.var(axis=0, ddof=1), rtol=1e-5, atol=1e-6)
        assert profiles.n_cells[i] == len(own)


def test_one_cell_has_no_variance_and_no_cell_has_no_mean():
    profiles = group_sums(np.array([[3.0, 4.0]]), np.array([0]), 2, scale="raw").pool(
        [[0], [1]], (Condition(("A",)), Condition(("B",)))
    )
    np.testing.assert_array_equal(profiles.mean, [[3, 4], [0, 0]])
    np.testing.assert_array_equal(profiles.var, np.zeros((2, 2)))
    assert profiles.n_cells.tolist() == [1, 0]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 2**32 - 1))
def test_halves_differ_by_one_cell_at_most_and_are_blind_to_order(codes, seed):
    codes = np.array(codes)
    barcodes = np.array([f"cell{i}" for i in range(len(codes))])
    half = halves(barcodes, codes)
    for g in np.unique(codes):
        first = int((half[codes == g] == 0).sum())
        assert 0 <= first - (int((codes == g).sum()) - first) <= 1
    order = np.random.default_rng(seed).permutation(len(codes))
    np.testing.assert_array_equal(halves(barcodes[order], codes[order]), half[order])


def test_halves_alternate_along_the_hash_of_the_barcode():
    barcodes = np.array([f"AAC{i}-1" for i in range(9)])
    by_hash = sorted(range(9), key=lambda i: hashlib.sha256(barcodes[i].encode()).digest()[:8])
    expected = np.empty(9, dtype=int)
    expected[by_hash] = np.arange(9) % 2
    np.testing.assert_array_equal(halves(barcodes, np.zeros(9, dtype=int)), expected)


def test_welch_t_is_that_of_scipy(counts):
    X, codes = counts
    conditions = tuple(Condition((f"P{g}",)) for g in range(6))
    all_groups = group_sums(sparse.csr_matrix(X), codes, 6, scale="counts").pool([[g] for g in range(6)], conditions)
    tested = all_groups.select(lambda c: c in conditions[2:])
    control = all_groups.select(lambda c: c in conditions[:2])
    rows = np.array([0, 1, 1, 0])
    t = welch_t(tested, control, rows)
    values = naive_log1p(X)
    for i in range(4):
        expected = scipy.stats.ttest_ind(values[codes == i + 2], values[codes == rows[i]], equal_var=False).statistic
        # A gene without any count in both groups has no t in scipy; here it has not changed.
        np.testing.assert_allclose(t[i], np.nan_to_num(expected), rtol=2e-3, atol=1e-4)


def test_welch_t_of_constant_genes():
    flat = Profiles((Condition(("A",)),), np.array([[1.0, 2.0]]), np.zeros((1, 2)), np.array([5]))
    control = Profiles((Condition(),), np.array([[1.0, 1.0]]), np.zeros((1, 2)), np.array([5]))
    np.testing.assert_array_equal(welch_t(flat, control, np.array([0])), [[0.0, np.inf]])


def one_hot_sums(X, codes, n_groups):
    """Sums and sums of squares as products with the membership of each cell."""
    members = sparse.csr_matrix((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(n_groups, len(codes)))
    values = sparse.csr_matrix(X, dtype=np.float64)
    return (members @ values).toarray(), (members @ values.multiply(values).tocsr()).toarray()


@pytest.mark.parametrize("form", FORMATS)
def test_sums_have_the_same_bits_for_any_threads_blocks_and_form(counts, form, monkeypatch):
    X, codes = counts
    X = np.log1p(X)  # squares that do not add up without rounding
    monkeypatch.setattr(group_sums_kernel, "SMALL", 0)
    given_matrix = FORMATS[form](X)
    values = given_matrix.toarray() if sparse.issparse(given_matrix) else np.asarray(given_matrix)
    expected = one_hot_sums(values, codes, 8)
    for threads, block in ((1, 4096), (2, 4096), (5, 4096), (3, 7)):
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        monkeypatch.setattr(statistics, "BLOCK", block)
        sums = group_sums(given_matrix, codes, 8, scale="log1p_1e4")
        # Products add up cells in the same order, so not even rounding differs.
        np.testing.assert_array_equal(sums.total, expected[0])
        np.testing.assert_array_equal(sums.squares, expected[1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 9), st.integers(1, 6))
def test_sums_of_any_groups_are_those_of_the_one_hot_form(seed, n, n_genes, n_groups):
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(n, n_genes)) * (rng.random((n, n_genes)) < 0.4)).astype(np.float32)
    codes = rng.integers(0, n_groups, n)
    total, squares = np.zeros((2, n_groups, n_genes))
    group_sums_kernel.add_rows(sparse.csr_matrix(X), codes, total, squares, threads=2)
    np.testing.assert_array_equal((total, squares), one_hot_sums(X, codes, n_groups))


def test_codes_that_are_no_group_are_refused(counts):
    X, codes = counts
    for wrong in (codes - 1, codes + 3, codes[1:]):
        for form in (np.asarray, sparse.csr_matrix):
            with pytest.raises(ValueError, match="codes"):
                group_sums(form(X), wrong, 8, scale="raw")
    with pytest.raises(ValueError, match="CSR"):
        group_sums_kernel.add_rows(sparse.csc_matrix(X), codes, np.zeros((8, 13)), np.zeros((8, 13)))
