"""Energy distance and maximum mean discrepancy against loops over pairs, scipy and scikit-learn."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist, pdist
from sklearn.metrics.pairwise import rbf_kernel

from pbench.bench.kernels.distance_sums import BLOCK, Points, in_threads
from pbench.bench.kernels.energy_test import energy_test
from pbench.bench.kernels.pairwise import (
    energy_distance,
    energy_distances,
    energy_matrix,
    median_distance,
    mmd,
    mmd_to_control,
    spread,
)

few = settings(max_examples=25, deadline=None)


def groups(seed=0, sizes=(40, 7, 2, 150, 600), d=5, offset=100.0):
    """Groups far from the origin, one longer than a block, in mixed order."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    y = rng.normal(size=(len(codes), d)) * np.linspace(3, 1, d) + offset + codes[:, None] * 0.4
    return y.astype(np.float32), codes


def unbiased(x, y, matrix):
    """2 A(x, y) - A(x, x) - A(y, y) by a function that returns the matrix of a kernel."""
    within = [(m.sum() - np.trace(m)) / (len(m) * (len(m) - 1)) for m in (matrix(x, x), matrix(y, y))]
    return 2 * matrix(x, y).mean() - sum(within)


def powers(power):
    return lambda a, b: cdist(a.astype(np.float64), b.astype(np.float64)) ** power


def test_by_hand():
    x, y = np.array([[0.0], [2.0], [4.0]]), np.array([[1.0], [5.0]])
    # Between: 1 5 1 3 3 1, mean 7/3. Within x: 2 4 2, mean 8/3. Within y: 4.
    assert energy_distance(x, y) == pytest.approx(14 / 3 - 8 / 3 - 4, abs=1e-6)
    # Squared: 1 25 1 9 9 1, mean 23/3; 4 16 4, mean 8; 16.
    assert energy_distance(x, y, power=2) == pytest.approx(46 / 3 - 8 - 16, abs=1e-12)
    kernels = [np.exp(-np.array(squares) / 8).mean() for squares in ([4, 16, 4], [16], [1, 25, 1, 9, 9, 1])]
    assert mmd(x, y, 2.0) == pytest.approx(kernels[0] + kernels[1] - 2 * kernels[2], abs=1e-6)


@pytest.mark.parametrize("power", [1, 2])
def test_to_control_and_all_pairs_are_means_over_pairs(power):
    y, codes = groups()
    n = codes.max() + 1
    parts = [y[codes == g] for g in range(n)]
    expected = np.array([[0.0 if g == h else unbiased(parts[g], parts[h], powers(power)) for h in range(n)] for g in range(n)])
    matrix = energy_matrix(y, codes, n, power=power)
    np.testing.assert_allclose(matrix, expected, rtol=1e-6, atol=2e-6)
    assert np.array_equal(matrix, matrix.T)
    for control in range(n):
        np.testing.assert_allclose(energy_distances(y, codes, n, control, power=power), expected[control], rtol=1e-6, atol=2e-6)


def test_kernel_discrepancy_is_that_of_scikit_learn():
    y, codes = groups()
    bandwidth = median_distance(y)
    expected = [
        0.0 if g == 3 else -unbiased(y[codes == g], y[codes == 3], lambda a, b: rbf_kernel(a, b, gamma=1 / (2 * bandwidth**2)))
        for g in range(5)
    ]
    np.testing.assert_allclose(mmd_to_control(y, codes, 5, 3, bandwidth), expected, atol=1e-6)
    # In a short and in a long kernel as well: the exponential reaches from 1 to what float32 holds.
    for bandwidth in (0.05, 1000.0):
        matrix = lambda a, b, g=1 / (2 * bandwidth**2): rbf_kernel(a.astype(np.float64), b.astype(np.float64), gamma=g)  # noqa: E731
        value = mmd(y[codes == 0], y[codes == 3], bandwidth)
        assert value == pytest.approx(-unbiased(y[codes == 0], y[codes == 3], matrix), abs=1e-6)


def test_in_one_dimension_the_energy_distance_is_scipys():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=300), rng.normal(0.5, 2.0, size=200)
    # scipy returns the root of the statistic with n^2 in the terms within groups.
    within = sum(2 * pdist(v[:, None]).sum() * (1 / len(v) ** 2 - 1 / (len(v) * (len(v) - 1))) for v in (x, y))
    expected = stats.energy_distance(x, y) ** 2 + within
    assert energy_distance(x[:, None], y[:, None]) == pytest.approx(expected, abs=1e-6)


def test_distances_of_close_points_far_from_the_centre_are_exact():
    """In float32 the squared norms are near 1e10, so that inner products alone cannot see a distance below 100."""
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(size=(20, 3)) + 1e5, rng.normal(size=(20, 3)) - 1e5]).astype(np.float32)
    y = (x[::-1] + 0.25).astype(np.float32)
    assert energy_distance(x, y) == pytest.approx(unbiased(x, y, powers(1)), rel=1e-6)


def test_pairs_that_are_closer_to_each_other_than_to_the_centre_keep_their_digits():
    """Two clusters a hundred times as far apart as their points: from inner products alone the error is near 1e-4."""
    rng = np.random.default_rng(12)
    for _ in range(20):
        x, y = (np.array([[5.0], [5.0], [-5.0]]) + 0.1 * rng.normal(size=(3, 1)) for _ in range(2))
        x, y = x.astype(np.float32), y.astype(np.float32)
        assert energy_distance(x, y) == pytest.approx(unbiased(x, y, powers(1)), abs=2e-6)


def test_point_masses_have_their_real_distance():
    a, b = np.full((30, 7), 3.0), np.full((11, 7), 4.0)
    assert energy_distance(a, a[:5]) == 0.0
    assert energy_distance(a, b) == pytest.approx(2 * np.sqrt(7), rel=1e-6)
    assert mmd(a, b, 1.0) == pytest.approx(2 - 2 * np.exp(-3.5), rel=1e-6)
    assert mmd(a, a[:5], 1.0) == pytest.approx(0.0, abs=1e-6)
    # So far that the kernel is below what float32 holds.
    assert mmd(a, a[:5] + 1e12, 1.0) == pytest.approx(2.0, abs=1e-6)
    assert energy_distance(a, a[:5] + 1e12) == pytest.approx(2e12 * np.sqrt(7), rel=1e-6)


def test_too_few_points_are_undefined_and_minus_one_is_left_out():
    y, codes = groups(sizes=(5, 1, 4))
    for values in (
        energy_distances(y, codes, 4, 0),
        energy_distances(y, codes, 4, 0, power=2),
        mmd_to_control(y, codes, 4, 0, 1.0),
    ):
        assert np.isnan(values).tolist() == [False, True, False, True] and values[0] == 0.0
        assert not np.signbit(values[0])
    assert np.isnan(energy_distances(y, codes, 4, 1)).all()
    for power in (1, 2):
        matrix = energy_matrix(y, codes, 4, power=power)
        assert np.isnan(matrix[[1, 3]]).all() and not np.isnan(matrix[[0, 0, 2], [0, 2, 2]]).any()
    kept, rest = codes != 2, np.where(codes == 2, -1, codes)
    for power in (1, 2):
        np.testing.assert_allclose(
            energy_matrix(y, rest, 2, power=power), energy_matrix(y[kept], codes[kept], 2, power=power), atol=1e-6
        )


def test_what_is_refused():
    y, codes = groups(sizes=(5, 4))
    with pytest.raises(ValueError, match="codes"):
        energy_distances(y, codes, 1, 0)
    with pytest.raises(ValueError, match="power"):
        energy_distances(y, codes, 2, 0, power=3)
    with pytest.raises(ValueError, match="bandwidth"):
        mmd_to_control(y, codes, 2, 0, 0.0)
    for bad in (np.nan, np.inf, 1e30):
        with pytest.raises(ValueError, match="finite"), np.errstate(invalid="ignore", over="ignore"):
            energy_distance(np.array([[bad], [1.0]]), y[:, :1])
    with pytest.raises(ValueError, match="seeds"):
        energy_test(y, codes, 2, 0, 9, [1])
    with pytest.raises(ValueError, match="points"):
        energy_matrix(y, codes[:3], 2)


@few
@given(st.integers(0, 10**6), st.lists(st.integers(2, 40), min_size=2, max_size=4), st.integers(1, 60))
def test_order_does_not_matter(seed, sizes, d):
    y, codes = groups(seed, sizes, d, offset=0.0)
    order = np.random.default_rng(seed).permutation(len(y))
    n = len(sizes)
    for value in (
        lambda a, c: energy_matrix(a, c, n),
        lambda a, c: mmd_to_control(a, c, n, 0, 2.0),
        lambda a, c: energy_distances(a, c, n, n - 1, power=2),
    ):
        np.testing.assert_allclose(value(y[order], codes[order]), value(y, codes), rtol=1e-6, atol=1e-6)
        # Coordinates in another order round differently, by 1e-7 of distances of about 10.
        np.testing.assert_allclose(value(y[:, ::-1], codes), value(y, codes), rtol=1e-6, atol=1e-5)


def test_the_number_of_threads_changes_nothing():
    y, codes = groups(sizes=(900, 700, 3, 50))
    for run in (
        lambda t: energy_distances(y, codes, 4, 1, threads=t),
        lambda t: energy_matrix(y, codes, 4, threads=t),
        lambda t: mmd_to_control(y, codes, 4, 1, 3.0, threads=t),
        lambda t: np.concatenate(energy_test(y, codes, 4, 1, 19, 5, threads=t)),
    ):
        assert np.array_equal(run(1), run(3), equal_nan=True)


def test_the_environment_and_numpys_own_threads_change_nothing():
    code = (
        "import numpy as np; from pbench.bench.kernels.pairwise import energy_matrix; r = np.random.default_rng(0);"
        "print(energy_matrix(r.normal(size=(1500, 20)), r.integers(0, 3, 1500), 3).tolist())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2", "4")
    }
    assert len(runs) == 1


def test_two_samples_of_one_distribution_are_at_zero_on_average():
    """T9. The statistics with n^2 would be at about 0.5 and 0.05 with these sizes."""
    rng = np.random.default_rng(3)
    draws = [(rng.normal(size=(8, 4)), rng.normal(size=(13, 4))) for _ in range(400)]
    for value in (energy_distance, lambda x, y: energy_distance(x, y, power=2), lambda x, y: mmd(x, y, 2.0)):
        values = np.array([value(x, y) for x, y in draws])
        assert abs(values.mean()) < 3.5 * values.std() / np.sqrt(len(values))


def test_copies_of_points_do_not_come_closer():
    """T8. Copies lower the mean distance within a group that is counted with n (n - 1), and so raise the statistic."""
    y, codes = groups(sizes=(20, 30))
    x, z = y[codes == 0], y[codes == 1]
    for value in (lambda a: energy_distance(a, z), lambda a: energy_distance(a, z, power=2), lambda a: mmd(a, z, 2.0)):
        assert value(x) < value(np.repeat(x, 2, axis=0)) < value(np.repeat(x, 10, axis=0))


def test_median_distance_and_spread():
    rng = np.random.default_rng(4)
    y = rng.normal(size=(301, 4))
    assert median_distance(y) == pytest.approx(np.median(pdist(y)))
    assert np.isnan(median_distance(y[:1]))
    # Thinned, in any order: near the whole, and the same.
    thinned = median_distance(y, max_points=100)
    assert thinned == median_distance(y[rng.permutation(301)], max_points=100)
    assert thinned == pytest.approx(median_distance(y), rel=0.05) and thinned != median_distance(y)
    # Copies give the same points.
    for count in (1, 10, 100, 300):
        rows = y[spread(y, count)]
        assert len(rows) == count and np.array_equal(rows, rows[np.lexsort(rows.T[::-1])])
        for copies in (2, 3):
            many = np.repeat(y, copies, axis=0)[rng.permutation(301 * copies)]
            assert np.array_equal(many[spread(many, count)], rows)
    assert sorted(spread(y, 301)) == list(range(301)) == sorted(spread(y, 1000))


def test_tasks_keep_their_order_and_errors_come_through():
    assert in_threads([lambda i=i: i for i in range(20)], 4) == list(range(20))
    assert in_threads([], 4) == []
    with pytest.raises(ZeroDivisionError):
        in_threads([lambda: 1, lambda: 1 // 0], 2)


def test_row_sums_leave_out_the_point_itself():
    y, codes = groups(sizes=(BLOCK + 40, 30))
    points = Points.of(y, codes, 2)
    distances = cdist(points.x, points.x)
    sums = points.row_sums(100, 300, points.bounds)
    np.testing.assert_allclose(sums[:, 0], distances[100:300, : BLOCK + 40].sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(sums[:, 1], distances[100:300, BLOCK + 40 :].sum(axis=1), rtol=1e-6)


def test_energy_test_of_a_few_points_enumerates_to_the_exact_p():
    """Two against three points have ten relabellings, of which random ones are ten equally likely draws."""
    y, codes = np.array([[0.0], [0.5], [2.0], [2.5], [9.0]]), np.array([0, 0, 1, 1, 1])
    statistic, p = energy_test(y, codes, 2, 1, 4000, 7)
    every = []
    for chosen in itertools.combinations(range(5), 2):
        rest = [i for i in range(5) if i not in chosen]
        every.append(unbiased(y[list(chosen)], y[rest], powers(1)))
    exact = np.mean(np.array(every) >= every[0] - 1e-9)
    assert statistic[0] == pytest.approx(every[0], abs=1e-6) and statistic[1] == 0.0 and np.isnan(p[1])
    assert p[0] == pytest.approx(exact, abs=0.03)
    # The larger group as the one that is tested: the same partition, so the same exact p.
    assert energy_test(y, codes, 2, 0, 4000, 7)[1][1] == pytest.approx(exact, abs=0.03)


def test_energy_test_agrees_with_permuting_a_distance_matrix():
    y, codes = groups(6, sizes=(60, 25, 200), d=8, offset=0.0)
    y[codes == 1] -= 0.4
    statistic, p = energy_test(y, codes, 3, 2, 999, 11)
    np.testing.assert_allclose(statistic[:2], energy_distances(y, codes, 3, 2)[:2], atol=1e-5)
    rng = np.random.default_rng(0)
    for g in range(2):
        pooled = np.concatenate([y[codes == g], y[codes == 2]]).astype(np.float64)
        distances, k = cdist(pooled, pooled), int((codes == g).sum())
        larger = 0
        for _ in range(999):
            order = rng.permutation(len(pooled))
            a, b = order[:k], order[k:]
            within = [distances[np.ix_(s, s)].sum() / (len(s) * (len(s) - 1)) for s in (a, b)]
            larger += 2 * distances[np.ix_(a, b)].mean() - sum(within) >= statistic[g]
        expected = (larger + 1) / 1000
        assert p[g] == pytest.approx(expected, abs=4 * np.sqrt(2 * max(expected, 0.002) / 1000) + 0.002)


def test_energy_test_has_its_size_and_finds_a_shift():
    """T16. Of 300 groups like the control 5 % have p <= 0.05; a shifted one has the smallest possible p."""
    rng = np.random.default_rng(8)
    n = 300
    codes = np.concatenate([np.repeat(np.arange(n), 6), np.full(80, n), np.full(12, n + 1)])
    y = rng.normal(size=(len(codes), 3))
    y[codes == n + 1] += 3.0
    # Fresh controls would be needed for independent tests; the size is that of each test by itself.
    _, p = energy_test(y, codes, n + 2, n, 199, 1)
    assert p[n + 1] == 1 / 200 and np.isnan(p[n])
    assert 0.01 < (p[:n] <= 0.05).mean() < 0.12
    assert 0.35 < p[:n].mean() < 0.65


def test_energy_test_of_equal_points_and_of_no_permutations():
    y, codes = np.ones((30, 2)), np.repeat([0, 1], [10, 20])
    statistic, p = energy_test(y, codes, 2, 1, 50, 3)
    assert statistic[0] == 0.0 and p[0] == 1.0
    assert energy_test(y, codes, 2, 1, 0, 3)[1][0] == 1.0


def test_energy_test_seeds_belong_to_groups():
    y, codes = groups(9, sizes=(20, 30, 25, 60))
    _, p = energy_test(y, codes, 4, 3, 199, [11, 12, 13, 14])
    # Without group 1, and with the remaining groups under other numbers: nobody else's p moves.
    fewer = np.array([0, -1, 1, 2])[codes]
    _, q = energy_test(y, fewer, 3, 2, 199, [11, 13, 14])
    np.testing.assert_allclose(q[:2], p[[0, 2]], atol=1e-12)
