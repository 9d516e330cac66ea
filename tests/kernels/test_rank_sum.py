"""Mann-Whitney tests against scipy, gene by gene."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from pbench.bench.kernels import gene_major
from pbench.bench.kernels.control_ranks import ControlRanks
from pbench.bench.kernels.p_values import benjamini_hochberg, welch
from pbench.bench.kernels.rank_loops import sort_entries
from pbench.bench.kernels.rank_sum import rank_sum


def screen(seed=0, n=120, genes=23, groups=5, negative=False):
    """Cells with many ties and zeros; a constant gene, an all-zero gene, a gene without zeros, a group of one cell."""
    rng = np.random.default_rng(seed)
    X = np.round(rng.gamma(0.5, 2.0, (n, genes)), 1) * (rng.random((n, genes)) < 0.5)
    if negative:
        X *= rng.choice([-1, 1], (n, genes))
    X[:, 0], X[:, 1], X[:, 2] = 0.0, 1.5, rng.normal(5, 1, n)
    codes = rng.integers(-1, groups, n)
    codes[codes == 1] = 0
    codes[7] = 1
    X[codes == 2, 3] += 2
    return X.astype(np.float32), codes


def by_scipy(X, codes, n_groups, controls, continuity):
    """(auc, p) of a loop over scipy.stats.mannwhitneyu; NaN by our conventions."""
    auc, p = np.full((n_groups, X.shape[1]), np.nan), np.full((n_groups, X.shape[1]), np.nan)
    for group, control in enumerate(controls):
        a, b = X[codes == group].astype(np.float64), X[codes == control].astype(np.float64)
        if control < 0 or control == group or not len(a) or not len(b):
            continue
        for gene in range(X.shape[1]):
            both = np.concatenate([a[:, gene], b[:, gene]])
            result = stats.mannwhitneyu(a[:, gene], b[:, gene], method="asymptotic", use_continuity=continuity)
            auc[group, gene] = result.statistic / len(a) / len(b)
            if np.ptp(both) > 0:
                p[group, gene] = result.pvalue
    return auc, p


def equal(result, auc, p):
    np.testing.assert_allclose(result.auc, auc, rtol=1e-6)
    np.testing.assert_allclose(result.p, p, rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("continuity", [True, False])
@pytest.mark.parametrize("negative", [True, False])
def test_equals_scipy_with_ties_zeros_and_constant_genes(negative, continuity):
    X, codes = screen(negative=negative)
    auc, p = by_scipy(X, codes, 5, [0] * 5, continuity)
    assert np.isnan(p[1:, :2]).all() and np.isfinite(p[1:, 2:]).all()
    equal(rank_sum(sparse.csr_matrix(X), codes, 5, 0, continuity=continuity), auc, p)
    for group in range(1, 5):
        got = ControlRanks(sparse.csr_matrix(X[codes == 0])).test(X[codes == group], continuity=continuity)
        np.testing.assert_allclose(got[0], auc[group], rtol=1e-6)
        np.testing.assert_allclose(got[1], p[group], rtol=1e-9)


@pytest.mark.parametrize("n", [300, 5000])
def test_many_values_of_a_gene_are_sorted_right(n):
    X, codes = screen(1, n=n, genes=5, groups=4, negative=True)
    equal(rank_sum(X, codes, 4, 0), *by_scipy(X, codes, 4, [0] * 4, True))


def test_values_of_every_magnitude_and_infinity():
    rng = np.random.default_rng(0)
    X = (rng.choice([-1, 1], (400, 3)) * 10.0 ** rng.integers(-40, 38, (400, 3))).astype(np.float32)
    X[:3] = [[np.inf], [-np.inf], [-0.0]]
    codes = rng.integers(0, 2, 400)
    equal(rank_sum(X, codes, 2, 0), *by_scipy(X, codes, 2, [0, 0], True))


def test_each_group_has_its_own_control():
    X, codes = screen(2, groups=6)
    controls = np.array([0, 0, 0, 3, 3, -1])
    equal(rank_sum(sparse.csr_matrix(X), codes, 6, controls), *by_scipy(X, codes, 6, controls, True))


def test_hand_computed():
    # Controls 0, 0, 1; group 0, 2. Pairs: 0 against 0, 0, 1 is 0.5 + 0.5 + 0; 2 wins three times. U = 4 of 6.
    # The three zeros tie: factor 6 - 24 / 20 = 4.8, sigma^2 = 6 / 12 * 4.8 = 2.4, z = (|4 - 3| - 0.5) / sqrt(2.4).
    X = np.array([[0], [0], [1], [0], [2]], dtype=np.float32)
    result = rank_sum(X, np.array([0, 0, 0, 1, 1]), 2, 0)
    assert result.auc[1, 0] == np.float32(4 / 6)
    assert result.p[1, 0] == pytest.approx(2 * stats.norm.sf(0.5 / np.sqrt(2.4)), rel=1e-12)
    assert np.isnan(result.auc[0, 0]) and np.isnan(result.p[0, 0])


def test_an_empty_group_or_control_is_undefined():
    X, codes = screen()
    result = rank_sum(X, codes, 7, np.array([0, 0, 0, 0, 6, 0, 0]))
    assert np.isnan(result.p[[4, 5]]).all() and np.isnan(result.auc[[4, 5]]).all()
    ranks = ControlRanks(X[codes == 0])
    assert np.isnan(ranks.test(X[:0])).all()
    assert np.isnan(ControlRanks(X[:0]).test(X)).all()


class OnlySlices:
    """What a backed matrix can do."""

    def __init__(self, X):
        self.X, self.shape = X, X.shape

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        return self.X[rows]


def unsorted(X):
    """CSR with genes in descending order, and each value as a sum of two halves."""
    csr = sparse.csr_matrix(X)
    data, indices, indptr = [], [], [0]
    for i in range(len(X)):
        row = slice(csr.indptr[i], csr.indptr[i + 1])
        data += [*csr.data[row][::-1] / 2] * 2
        indices += [*csr.indices[row][::-1]] * 2
        indptr.append(len(data))
    return sparse.csr_matrix((np.array(data, dtype=np.float32), indices, indptr), shape=X.shape)


@pytest.fixture
def backed(tmp_path):
    def of(matrix):
        import anndata

        anndata.AnnData(matrix).write_h5ad(tmp_path / "x.h5ad")
        return anndata.read_h5ad(tmp_path / "x.h5ad", backed="r").X

    return of


@pytest.mark.parametrize(
    "form", "csc dense fortran float64 int64 memmap slices dense_slices unsorted twice csc_twice stored_zeros".split()
)
@pytest.mark.parametrize("memory_bytes", [2**30, 3000])
def test_any_form_of_matrix_and_any_memory_gives_the_same_bits(form, memory_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr(gene_major, "BLOCK", 32)
    monkeypatch.setattr(gene_major, "SMALL", 256)
    X, codes = screen(3)
    if form == "int64":
        X = np.round(X)
    forms = {
        "csc": sparse.csc_matrix,
        "dense": np.asarray,
        "fortran": np.asfortranarray,
        "float64": lambda X: sparse.csr_matrix(X.astype(np.float64)),
        "int64": lambda X: sparse.csr_matrix(X.astype(np.int64)),
        "memmap": lambda X: mapped(X, tmp_path),
        "slices": lambda X: OnlySlices(sparse.csr_matrix(X)),
        "dense_slices": OnlySlices,
        "unsorted": unsorted,
        "twice": lambda X: twice(sparse.csr_matrix(X)),
        "csc_twice": lambda X: twice(sparse.csc_matrix(X)),
        "stored_zeros": stored_zeros,
    }
    expected = rank_sum(sparse.csr_matrix(X), codes, 5, 0, threads=1)
    got = rank_sum(forms[form](X), codes, 5, 0, threads=2, memory_bytes=memory_bytes)
    np.testing.assert_array_equal(got.p, expected.p)
    np.testing.assert_array_equal(got.auc, expected.auc)
    ranks = ControlRanks(forms[form](X[codes == 0]), memory_bytes=memory_bytes)
    np.testing.assert_allclose(ranks.test(forms[form](X[codes == 2]), memory_bytes=memory_bytes)[1], expected.p[2], rtol=1e-12)


def mapped(X, folder):
    csr = sparse.csr_matrix(X)
    for name in ("data", "indices", "indptr"):
        np.save(folder / f"{name}.npy", getattr(csr, name))
    parts = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("data", "indices", "indptr"))
    return sparse.csr_matrix(tuple(parts), shape=X.shape, copy=False)


def twice(matrix):
    """In the order of genes (or cells), each value as a sum of two halves."""
    halves = np.repeat(matrix.data / 2, 2), np.repeat(matrix.indices, 2), 2 * matrix.indptr
    return type(matrix)(halves, shape=matrix.shape)


def stored_zeros(X):
    rows, genes = np.indices(X.shape)
    return sparse.coo_matrix((X.ravel(), (rows.ravel(), genes.ravel())), shape=X.shape).tocsr()


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_backed_anndata(form, backed):
    X, codes = screen(4)
    expected, got = (rank_sum(m, codes, 5, 0) for m in (sparse.csr_matrix(X), backed(form(X))))
    np.testing.assert_array_equal(got.p, expected.p)


def test_number_of_threads_and_order_of_cells_change_no_bit(monkeypatch):
    monkeypatch.setattr(gene_major, "SMALL", 1)
    X, codes = screen(5)
    expected = rank_sum(sparse.csr_matrix(X), codes, 5, 0, threads=1)
    order = np.random.default_rng(0).permutation(len(codes))
    for threads in (2, 3, 8):
        got = rank_sum(sparse.csr_matrix(X[order]), codes[order], 5, 0, threads=threads)
        np.testing.assert_array_equal(got.p, expected.p)
        np.testing.assert_array_equal(got.auc, expected.auc)


def test_transform_is_applied_to_blocks():
    X, codes = screen(6)
    expected = rank_sum(np.log1p(X), codes, 5, 0)
    np.testing.assert_array_equal(rank_sum(X, codes, 5, 0, transform=np.log1p).p, expected.p)
    halved = rank_sum(sparse.csr_matrix(X), codes, 5, 0, transform=lambda block: block.log1p())
    np.testing.assert_array_equal(halved.p, expected.p)


def test_bad_input_is_refused():
    X, codes = screen()
    with pytest.raises(ValueError, match="119 codes"):
        rank_sum(X, codes[:-1], 5, 0)
    with pytest.raises(ValueError, match="below n_groups"):
        rank_sum(X, codes, 4, 0)
    with pytest.raises(ValueError, match="24 genes"):
        ControlRanks(X).test(np.zeros((2, 24), dtype=np.float32))
    for form in (np.asarray, sparse.csr_matrix, sparse.csc_matrix, OnlySlices):
        bad = X.copy()
        bad[np.flatnonzero(codes >= 0)[0], 5] = np.nan
        with pytest.raises(ValueError, match="NaN"):
            rank_sum(form(bad), codes, 5, 0)
        bad[codes >= 0] = X[codes >= 0]
        bad[codes < 0] = np.nan
        assert np.isfinite(rank_sum(form(bad), codes, 5, 0).p[2, 2])


cells = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(cells, cells, st.booleans())
def test_any_two_samples_equal_scipy_and_mirror_each_other(a, b, continuity):
    X = np.array([*a, *b], dtype=np.float32)[:, None]
    codes = np.repeat([1, 0], [len(a), len(b)])
    result, auc, p = rank_sum(X, codes, 2, 0, continuity=continuity, threads=1), *by_scipy(X, codes, 2, [0, 0], continuity)
    equal(result, auc, p)
    mirror = rank_sum(X, codes, 2, 1, continuity=continuity, threads=1)
    assert mirror.auc[0] == pytest.approx(1 - result.auc[1], abs=1e-6)
    np.testing.assert_allclose(mirror.p[0], result.p[1], rtol=1e-12)
    np.testing.assert_allclose(
        ControlRanks(X[codes == 0], threads=1).test(X[codes == 1], continuity=continuity)[1], p[1], rtol=1e-9
    )


def test_size_of_the_test_under_the_null():
    rng = np.random.default_rng(0)
    X = rng.poisson(0.5, (400, 2000)).astype(np.float32)
    p = rank_sum(X, np.repeat([0, 1], [300, 100]), 2, 0).p[1]
    assert 0.035 < np.mean(p < 0.05) < 0.065


def test_welch_equals_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (9, 6)), rng.normal(1, 2, (4, 6))
    t, p = welch(a.mean(0), a.var(0, ddof=1), 9, b.mean(0), b.var(0, ddof=1), 4)
    expected = stats.ttest_ind(a, b, equal_var=False)
    np.testing.assert_allclose(t, expected.statistic)
    np.testing.assert_allclose(p, expected.pvalue)


def test_welch_without_variance_or_cells():
    t, p = welch(np.array([1.0, 1, 1, 1]), np.array([0.0, 0, 1, 1]), np.array([3, 3, 1, 0]), np.array([1.0, 2, 0, 0]), 0.0, 5)
    np.testing.assert_array_equal(p, [np.nan, 0, np.nan, np.nan])
    np.testing.assert_array_equal(t, [np.nan, -np.inf, np.nan, np.nan])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 30))
def test_benjamini_hochberg_equals_scipy_and_leaves_nan_out(p, gap):
    with_nan = np.insert(np.array(p), min(gap, len(p)), np.nan)
    got = benjamini_hochberg(with_nan[None])[0]
    assert np.isnan(got[min(gap, len(p))])
    np.testing.assert_allclose(got[~np.isnan(got)], stats.false_discovery_control(p), rtol=1e-12)
    np.testing.assert_array_equal(benjamini_hochberg(with_nan[:, None], axis=0)[:, 0], got)


def test_benjamini_hochberg_of_nothing():
    assert benjamini_hochberg(np.empty((2, 0))).shape == (2, 0)
    assert np.isnan(benjamini_hochberg(np.full((2, 3), np.nan))).all()


@pytest.mark.parametrize("n", [0, 1, 40, 41, 512, 513, 3000])
@pytest.mark.parametrize("highest", [1, 3, 300, 70_000, 2**32])
def test_entries_are_sorted_by_key_and_keep_their_order(n, highest):
    rng = np.random.default_rng(n)
    # The lower half would decide differently if it were looked at.
    entries = (rng.integers(0, highest, n, dtype=np.uint64) << np.uint64(32)) | np.arange(n, dtype=np.uint64)[::-1]
    expected = entries[np.argsort(entries >> np.uint64(32), kind="stable")]
    got = sort_entries(entries.copy(), np.empty(n, dtype=np.uint64), np.empty((3, 2048), dtype=np.int64))
    np.testing.assert_array_equal(got, expected)
