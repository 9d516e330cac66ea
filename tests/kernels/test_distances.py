"""Distances between all pairs of rows against scipy, exact sums and arithmetic by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

from pbench.bench.kernels.distances import NAMES, distances, distances_among, paired_distances, tolerance

SCIPY = {"l1": "cityblock", "l2": "euclidean", "cosine": "cosine"}


BY_HAND = {
    "l1": [[7, 3, 4], [0, 4, 11], [5, 3, 6]],
    "l2": [[5, 3, 4], [0, 4, 73**0.5], [13**0.5, 5**0.5, 26**0.5]],
    "cosine": [[np.nan] * 3, [0, 1 - 3 / 5, 1 + 4 / 5], [1 - 7 / 50**0.5, 1 - 1 / 2**0.5, 1 + 1 / 2**0.5]],
}


@pytest.mark.parametrize("name", NAMES)
def test_by_hand(name):
    a, b = np.array([[0.0, 0], [3, 4], [1, 1]]), np.array([[3.0, 4], [3, 0], [0, -4]])
    np.testing.assert_allclose(distances(a, b, name), BY_HAND[name], rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 511), (3, 70, 513), (130, 67, 1300), (4, 4, 512)])
def test_against_scipy(name, shape):
    n, m, k = shape
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(n, k)), rng.normal(size=(m, k))
    np.testing.assert_allclose(distances(a, b, name), cdist(a, b, SCIPY[name]), rtol=1e-12, atol=1e-14)
    among = distances_among(b, name)
    np.testing.assert_array_equal(among, among.T)
    np.testing.assert_allclose(among, cdist(b, b, SCIPY[name]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_close", [1, 40])
def test_close_rows_keep_their_digits(name, n_close):
    """A product would leave nothing of these distances: 1e-9 beside lengths of 30. Few and many close pairs are two paths."""
    rng = np.random.default_rng(1)
    a = rng.normal(size=(40, 900))
    b = rng.normal(size=(40, 900))
    b[:n_close] = a[:n_close] + 1e-9 * rng.normal(size=(n_close, 900))
    if n_close > 1:
        a[1:] = a[0] + 1e-9 * rng.normal(size=(39, 900))
        b[1:] = a[1:] + 1e-9 * rng.normal(size=(39, 900))
    found = distances(a, b, name)
    for i, j in ((0, 0), (n_close - 1, n_close - 1), (n_close // 2, n_close - 1)):
        if name == "l1":
            exact = math.fsum(abs(x - y) for x, y in zip(a[i], b[j], strict=True))
        else:
            x, y = a[i], b[j]
            if name == "cosine":
                x, y = (v / math.sqrt(math.fsum(v * v)) for v in (x, y))
            exact = math.fsum((x - y) ** 2)
            exact = exact / 2 if name == "cosine" else math.sqrt(exact)
        # Normalising rounds each coordinate of the cosine, which a distance of 1e-19 feels.
        assert found[i, j] == pytest.approx(exact, rel=1e-5 if name == "cosine" else 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_equal_rows_are_at_distance_zero_and_tie_exactly(name):
    rng = np.random.default_rng(2)
    a = np.repeat(rng.normal(size=(1, 777)), 90, axis=0)
    b = rng.normal(size=(50, 777))
    b[7] = b[31]
    assert not distances_among(a, name).any()
    found = distances(a, b, name)
    assert (np.ptp(found, axis=0) <= tolerance(found[0], name)).all()
    assert (np.abs(found[:, 7] - found[:, 31]) <= tolerance(found[:, 7], name)).all()


@pytest.mark.parametrize("name", NAMES)
def test_threads_change_nothing(name):
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(200, 600)), rng.normal(size=(150, 600))
    np.testing.assert_array_equal(distances(a, b, name, threads=1), distances(a, b, name, threads=3))
    np.testing.assert_array_equal(distances_among(a, name, threads=1), distances_among(a, name, threads=3))


@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_the_diagonal_and_zero_rows_have_no_angle(name):
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(70, 40)), rng.normal(size=(70, 40))
    a[3] = 0
    b[3] = 0
    pairs, diagonal = paired_distances(a, b, name), np.diag(distances(a, b, name))
    np.testing.assert_allclose(pairs, diagonal, rtol=1e-13)
    assert np.isnan(pairs[3]) if name == "cosine" else pairs[3] == 0


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_left_alone_and_may_have_gaps(name):
    rng = np.random.default_rng(5)
    wide = rng.normal(size=(20, 60)).astype(np.float32)
    copy = wide.copy()
    found = distances(wide[::2, ::3], wide[1::2, ::3], name)
    np.testing.assert_array_equal(wide, copy)
    solid = wide.astype(np.float64)
    np.testing.assert_allclose(found, cdist(solid[::2, ::3], solid[1::2, ::3], SCIPY[name]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_compare(name):
    assert distances(np.empty((0, 5)), np.ones((3, 5)), name).shape == (0, 3)
    assert distances(np.ones((2, 5)), np.empty((0, 5)), name).shape == (2, 0)
    assert distances_among(np.empty((0, 5)), name).shape == (0, 0)


integers = st.integers(1, 6).flatmap(
    lambda k: arrays(np.float64, st.tuples(st.integers(1, 9), st.just(k)), elements=st.integers(-9, 9).map(float))
)


@settings(max_examples=40, deadline=None)
@given(integers)
def test_integers_are_exact(rows):
    naive = [[sum(abs(x - y) for x, y in zip(a, b, strict=True)) for b in rows] for a in rows]
    np.testing.assert_array_equal(distances_among(rows, "l1"), naive)
    squares = [[sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) for b in rows] for a in rows]
    np.testing.assert_array_equal(distances_among(rows, "l2"), np.sqrt(squares))
