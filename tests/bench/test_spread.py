"""Variance and cells of a prediction: checked, put on the scale of the profiles, read one condition at a time where they are lazy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import InvalidPrediction
from pbench.bench.contracts.prediction import LazyCells, Prediction
from pbench.bench.engine.spread import predicted_cells, predicted_variance

GENES = np.array(["a", "b", "c"])
A, B, C = (Condition((t,)) for t in "ABC")
CELLS = np.array([[0.0, 1.0, 2.0], [4.0, 1.0, 0.0]], dtype=np.float32)


def predict(conditions=(A, B), **fields):
    return Prediction(conditions, np.zeros((len(conditions), 3)), **fields)


def test_a_prediction_of_means_has_neither():
    assert predicted_cells(predict(), (A, B), GENES) == {}
    assert predicted_variance(predict(), (A, B), GENES, {}) is None


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_cells_by_row_of_what_was_asked_and_their_variance(kind):
    cells = predicted_cells(predict((B, A), cells={B: kind(CELLS)}), (A, B, C), GENES)
    assert list(cells) == [1]
    found = cells[1].toarray() if sparse.issparse(cells[1]) else cells[1]
    np.testing.assert_array_equal(found, CELLS)
    variance = predicted_variance(predict((B, A)), (A, B, C), GENES, cells)
    np.testing.assert_allclose(variance[1], CELLS.var(axis=0, ddof=1), rtol=1e-6)
    assert np.isnan(variance[[0, 2]]).all()


def test_one_cell_has_no_variance():
    cells = predicted_cells(predict(cells={A: CELLS[:1]}), (A, B), GENES)
    assert np.isnan(predicted_variance(predict(), (A, B), GENES, cells)).all()


def test_genes_are_joined_by_name_and_those_that_the_screen_lacks_are_left_out():
    wide = np.array([[9.0, 3.0, 2.0, 1.0]], dtype=np.float32)
    names = np.array(["z", "c", "b", "a"])
    prediction = Prediction((A,), np.zeros((1, 4)), cells={A: wide}, variance=wide.astype(float), genes=names)
    cells = predicted_cells(prediction, (A,), GENES)
    np.testing.assert_array_equal(cells[0], [[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(predicted_variance(prediction, (A,), GENES, cells), [[1.0, 2.0, 3.0]])


def test_counts_become_log1p_of_counts_per_10000_of_the_genes_of_the_screen():
    counts = np.array([[1.0, 3.0, 0.0, 4.0]])
    names = np.array(["a", "b", "c", "z"])
    prediction = Prediction((A,), np.zeros((1, 4)), scale="counts", cells={A: sparse.csr_matrix(counts)}, genes=names)
    cells = predicted_cells(prediction, (A,), GENES)[0]
    np.testing.assert_allclose(cells.toarray(), np.log1p(counts[:, :3] / 4 * 1e4), rtol=1e-6)


def test_the_models_own_variance_is_taken_before_that_of_its_cells():
    own = predict(cells={A: CELLS}, variance=np.full((2, 3), 7.0))
    cells = predicted_cells(own, (A, B), GENES)
    np.testing.assert_array_equal(predicted_variance(own, (A, B), GENES, cells), np.full((2, 3), 7.0))


def test_lazy_cells_are_made_when_they_are_read():
    made = []

    def make(condition):
        made.append(condition)
        return CELLS

    lazy = LazyCells([A, B, A], make)
    assert list(lazy) == [A, B] and A in lazy and C not in lazy and len(lazy) == 2
    with pytest.raises(KeyError):
        lazy[C]
    cells = predicted_cells(predict(cells=lazy), (B, A), GENES)
    assert made == [] and len(cells) == 2 and bool(cells)
    np.testing.assert_array_equal(cells[0], CELLS)
    assert made == [B]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cells": {C: CELLS}}, "was not predicted"),
        ({"cells": {A: CELLS[:, :2]}}, r"\(2, 2\)"),
        ({"cells": {A: CELLS[:0]}}, "m > 0"),
        ({"cells": {A: CELLS * np.nan}}, "NaN"),
        ({"cells": {A: -CELLS}, "scale": "counts"}, "negative"),
        ({"cells": {A: CELLS}, "scale": "delta"}, "delta"),
    ],
)
def test_cells_that_cannot_be_scored(fields, words):
    with pytest.raises(InvalidPrediction, match=words):
        predicted_cells(predict(**fields), (A, B), GENES)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"variance": np.ones((2, 2))}, r"\(2, 2\)"),
        ({"variance": -np.ones((2, 3))}, "negative"),
        ({"variance": np.full((2, 3), np.inf)}, "infinite"),
        ({"variance": np.ones((2, 3)), "scale": "counts"}, "log1p"),
    ],
)
def test_variances_that_cannot_be_scored(fields, words):
    with pytest.raises(InvalidPrediction, match=words):
        predicted_variance(predict(**fields), (A, B), GENES, {})
