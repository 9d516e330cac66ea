"""Rows of a matrix on disk against the matrix in memory."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from pbench.bench.contracts import stored_rows
from pbench.bench.contracts.errors import DataError
from pbench.bench.contracts.stored_rows import StoredRows, TooLarge


@pytest.fixture
def on_disk(tmp_path, monkeypatch):
    """A random CSR matrix and `StoredRows` of it, read at most 50 values at a time."""
    monkeypatch.setattr(stored_rows, "VALUES", 50)
    X = sparse.random_array((60, 12), density=0.4, rng=3, format="csr", dtype=np.float32)
    X = sparse.csr_matrix(X)
    X.data[::7] = 0  # stored zeros stay stored
    empty = np.array([0, 5, 59])
    X = sparse.csr_matrix(sparse.diags_array(np.isin(np.arange(60), empty, invert=True).astype(np.float32)) @ X)
    X.sort_indices()
    for name, value in (("data", X.data), ("indices", X.indices), ("indptr", X.indptr.astype(np.int64))):
        np.save(tmp_path / f"{name}.npy", value)

    def opened(**options):
        parts = tuple(np.load(tmp_path / f"{n}.npy", mmap_mode="r") for n in ("data", "indices", "indptr"))
        return StoredRows(parts, 12, **options)

    return X, opened


def assert_same_matrix(found, expected):
    assert sparse.issparse(found) and found.format == "csr" and found.dtype == np.float32
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


KEYS = (
    slice(None),
    slice(3, 40, 5),
    slice(50, 2, -1),
    np.array([59, 0, 7, 7, 8, 9, 3]),
    np.arange(60) % 3 == 0,
    np.array([], dtype=np.int64),
    17,
    -1,
)


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
@pytest.mark.parametrize("values", [1, 50, 10**6])
def test_rows_are_those_of_the_matrix_in_memory(key, values, on_disk, monkeypatch):
    X, opened = on_disk
    monkeypatch.setattr(stored_rows, "VALUES", values)
    assert_same_matrix(opened()[key], X[key])
    rows, columns = np.random.default_rng(0).permutation(60)[:45], np.random.default_rng(1).permutation(12)
    if isinstance(key, int | slice) or len(key) != 60:
        key = key if isinstance(key, int | slice) else key % 45
        stored = opened(rows=rows, columns=columns, transform=lambda part: part * 2)
        assert_same_matrix(stored[key], sparse.csr_matrix(X[rows][key][:, columns] * np.float32(2)))


def test_it_stands_for_the_matrix(on_disk):
    X, opened = on_disk
    stored = opened()
    assert (stored.shape, stored.nnz, stored.ndim, stored.dtype) == (X.shape, X.nnz, 2, np.float32)
    assert stored.nbytes == X.data.nbytes + X.indices.nbytes + 8 * 61
    assert_same_matrix(stored.tocsr(), X)
    np.testing.assert_array_equal(stored.toarray(), X.toarray())
    np.testing.assert_array_equal(np.asarray(stored), X.toarray())
    for axis in (None, 0, 1):
        np.testing.assert_allclose(stored.sum(axis=axis), X.sum(axis=axis), rtol=1e-6)
        assert np.shape(stored.sum(axis=axis)) == np.shape(X.sum(axis=axis))
    np.testing.assert_array_equal(np.asarray(stored.sum(axis=1)), np.asarray(X.sum(axis=1)))
    np.testing.assert_array_equal(stored.multiply(2).toarray(), X.multiply(2).toarray())
    np.testing.assert_array_equal(stored @ np.ones(12, dtype=np.float32), X @ np.ones(12, dtype=np.float32))
    np.testing.assert_array_equal(stored[2:9, 4].toarray(), X[2:9, 4].toarray())
    blocks = list(stored.blocks(25))
    assert [w for w, _ in blocks] == [slice(0, 25), slice(25, 50), slice(50, 60)]
    assert_same_matrix(sparse.vstack([b for _, b in blocks], format="csr"), X)
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = stored.absent


def test_what_is_read_ahead_changes_nothing(on_disk):
    X, opened = on_disk
    stored = opened()
    stored.ahead(np.array([5, 1, 0, 59, 30]))
    stored.ahead(np.array([], dtype=np.int64))
    assert_same_matrix(stored[[5, 1]], X[[5, 1]])


@pytest.mark.parametrize("ask", [lambda X: X.tocsr(), lambda X: X[:], lambda X: X.toarray(), lambda X: X.T, np.asarray])
def test_what_does_not_fit_is_refused_before_it_is_read(ask, on_disk, monkeypatch):
    X, opened = on_disk
    stored = opened(room=X.data.nbytes, bound=4 * 2**30)
    assert stored[:10].shape == (10, 12)
    monkeypatch.setattr(stored_rows._File, "read", lambda *_: pytest.fail("it was read"))
    with pytest.raises(TooLarge, match=r"this needs 60 cells.* in memory at once.*--memory 4GB\. Give a larger --memory"):
        ask(stored)


def test_a_file_that_was_cut_off_is_damage(on_disk, tmp_path):
    X, opened = on_disk
    stored = opened()
    with (tmp_path / "data.npy").open("r+b") as f:
        f.truncate(200)
    with pytest.raises(DataError, match="shorter than it was.*pbench doctor"):
        stored.tocsr()
