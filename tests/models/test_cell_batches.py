"""Minibatches: every cell once an epoch, beside a control cell of its own context, on the scale of the profiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import UsageError
from pbench.bench.contracts.stored_rows import StoredRows
from pbench.bench.contracts.training import Cells
from pbench.models.neural.cell_batches import AHEAD, CellBatches, gene_totals, profiles_of, starts

A, B = Condition(("A",), context="x"), Condition(("B",), context="y")
CONTROLS = (Condition(context="x"), Condition(context="y"))


def made(n=60, *, scale="counts", seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, n)
    X = sparse.csr_matrix(rng.poisson(0.7, (n, 9)).astype(np.float32))
    # The first gene marks the context, the second the row.
    X = X.tolil()
    X[:, 0] = (codes % 2 + 1)[:, None]
    X[:, 1] = np.arange(1, n + 1)[:, None]
    return Cells(X.tocsr().astype(np.float32), codes, (*CONTROLS, A, B), scale)


def test_cells_are_log1p_of_counts_per_ten_thousand():
    cells = made()
    dense = cells.X.toarray().astype(np.float64)
    expected = np.log1p(1e4 * dense / dense.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(profiles_of(cells.X, "counts"), expected, rtol=1e-5)
    np.testing.assert_array_equal(profiles_of(cells.X, "log1p_1e4"), dense)


def test_an_empty_cell_stays_empty():
    X = sparse.csr_matrix((2, 5), dtype=np.float32)
    assert not profiles_of(X, "counts").any()


@given(st.integers(2, 40), st.sampled_from([None, 1, 2, 5]), st.integers(0, 5))
@settings(deadline=None, max_examples=30)
def test_every_cell_comes_once_an_epoch(batch_size, groups, seed):
    cells = made(seed=seed)
    batches = CellBatches(cells, (A, B), batch_size, groups=groups, counts=True)
    seen = np.concatenate([b.counts[:, 1].numpy() for b in batches.epoch(np.random.default_rng(seed))])
    wanted = np.flatnonzero(cells.codes >= 2) + 1
    # A rest of one cell is left out; of pieces, at most one for each that stands alone.
    left_out = len(wanted) - len(seen)
    assert left_out <= (2 if groups else 1)
    if not groups:
        assert left_out == (len(wanted) % batch_size == 1)
    assert set(seen) <= set(wanted.tolist())
    assert len(set(seen)) == len(seen)


def test_codes_and_partners_belong_to_the_condition_and_its_context():
    cells = made()
    batches = CellBatches(cells, (B, A), 16, partners=True, counts=True)
    for batch in batches.epoch(np.random.default_rng(0)):
        rows = batch.counts[:, 1].long().numpy() - 1
        np.testing.assert_array_equal(np.array([3, 2])[batch.codes], cells.codes[rows])
        np.testing.assert_array_equal(batch.depth, batch.counts.sum(dim=1))
        # Recover the marks of a control from ratios: log1p(1e4 c / total) has the same total within a cell.
        ratio = np.expm1(batch.controls[:, 0].numpy()) / np.expm1(batch.controls[:, 1].numpy())
        for code, r in zip(batch.codes, ratio, strict=True):
            context_mark = 2 if code == 0 else 1
            possible = context_mark / (np.flatnonzero(cells.codes == (1 if code == 0 else 0)) + 1)
            assert np.isclose(possible, float(r), rtol=1e-3).any()


def test_a_batch_is_made_of_pieces_of_one_condition_each():
    cells = made(403)
    sizes = []
    for batch in CellBatches(cells, (A, B), 40, groups=4).epoch(np.random.default_rng(0)):
        assert int((np.diff(batch.codes.numpy()) != 0).sum()) < 4
        assert len(batch) <= 40
        sizes.append(len(batch))
    assert min(sizes[:-1]) > 30
    for batch in CellBatches(cells, (A, B), 32, groups=1).epoch(np.random.default_rng(0)):
        assert len(set(batch.codes.tolist())) == 1


def test_without_own_controls_those_of_all_contexts_serve():
    cells = made()
    other = Cells(cells.X, cells.codes, (*CONTROLS, Condition(("A",), context="z"), B), cells.scale)
    assert len(starts(other, "z", 1000, np.random.default_rng(0)).cells) == int((cells.codes < 2).sum())
    few = starts(other, "x", 5, np.random.default_rng(0))
    assert few.cells.shape == (5, 9)
    assert (few.depth > 0).all()


def test_no_counts_where_the_screen_has_none():
    batch = next(CellBatches(made(scale="log1p_1e4"), (A, B), 8, counts=True).epoch(np.random.default_rng(0)))
    assert batch.counts is None
    assert batch.depth is None


def test_the_same_generator_gives_the_same_batches():
    batches = CellBatches(made(), (A, B), 8, partners=True)
    first, second = ([b.controls.numpy() for b in batches.epoch(np.random.default_rng(3))] for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("conditions", [(), (Condition(("absent",)),)])
def test_no_cells_no_batches(conditions):
    batches = CellBatches(made(), conditions, 8, partners=True, groups=3)
    assert len(batches) == 0
    assert list(batches.epoch(np.random.default_rng(0))) == []


@pytest.mark.parametrize("size", [1, 0, -5])
def test_a_batch_too_small_to_learn_from_is_refused(size):
    with pytest.raises(UsageError, match=f"batch_size={size} is too small"):
        CellBatches(made(), (A, B), size)


def test_conditions_of_a_context_share_their_controls():
    other = Condition(("C",), context="x")
    batches = CellBatches(made(), (A, B, other), 8, partners=True)
    assert batches._pools[0] is batches._pools[2]
    assert batches._pools[0] is not batches._pools[1]


@pytest.mark.parametrize("options", [{}, {"partners": True, "counts": True}, {"groups": 2}])
def test_batches_of_cells_on_disk_are_those_of_cells_in_memory(options, tmp_path):
    cells = made(n=90)
    X = cells.X
    for name, value in (("data", X.data), ("indices", X.indices), ("indptr", X.indptr)):
        np.save(tmp_path / f"{name}.npy", value)
    parts = tuple(np.load(tmp_path / f"{n}.npy", mmap_mode="r") for n in ("data", "indices", "indptr"))
    stored = replace(cells, X=StoredRows(parts, X.shape[1]))
    one, other = (list(CellBatches(c, (A, B), 7, **options).epoch(np.random.default_rng(1))) for c in (cells, stored))
    assert len(one) == len(other) > 4
    for a, b in zip(one, other, strict=True):
        for name, value in vars(a).items():
            assert (value is None) == (getattr(b, name) is None)
            assert value is None or torch.equal(value, getattr(b, name)), name
    for a, b in zip(*(vars(starts(c, "x", 5, np.random.default_rng(0))).values() for c in (cells, stored)), strict=True):
        np.testing.assert_array_equal(a, b)
    rows = np.flatnonzero(cells.codes > 1)
    np.testing.assert_array_equal(gene_totals(stored, rows), X[rows].sum(axis=0, dtype=np.float64).A1)


def test_the_disk_is_told_of_batches_before_they_are_asked_for(tmp_path, monkeypatch):
    cells = made(n=90)
    for name in ("data", "indices", "indptr"):
        np.save(tmp_path / f"{name}.npy", getattr(cells.X, name))
    parts = tuple(np.load(tmp_path / f"{n}.npy", mmap_mode="r") for n in ("data", "indices", "indptr"))
    stored, told, asked = StoredRows(parts, 9), [], []
    monkeypatch.setattr(stored, "ahead", lambda rows: told.append(sorted(rows)))
    batches = CellBatches(replace(cells, X=stored), (A, B), 6)
    for batch in batches.epoch(np.random.default_rng(0)):
        asked.append(len(batch))
        assert len(told) == min(len(asked) + AHEAD, -(-len(batches) // 6))
    assert sorted(sum(told, [])) == batches.rows.tolist()
