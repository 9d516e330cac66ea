"""The model of genetic interactions against hand-computed values, loops, scikit-learn and the package dcor."""

from __future__ import annotations

import math
from dataclasses import astuple, replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LinearRegression, TheilSenRegressor

from pbench.bench.kernels.interaction import (
    CLASSES,
    InteractionScores,
    expressed_genes,
    interaction_class,
    interaction_scores,
    robust_fit,
)

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10_000)


def changes(seed, n=80, c=(0.9, 0.6), noise=0.03, outliers=0):
    """Changes of two singles that resemble each other somewhat, and of a double that follows the linear model."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n) * rng.gamma(1.0, size=n)
    b = 0.5 * a + rng.normal(size=n) * rng.gamma(1.0, size=n)
    ab = c[0] * a + c[1] * b + noise * rng.normal(size=n)
    ab[:outliers] += rng.normal(5, 3, size=outliers)
    return a, b, ab


def naive_dcor(x, y):
    """Distance correlation by the definition: distances, double centring, mean products."""
    x, y = (np.asarray(v, dtype=float).reshape(len(v), -1) for v in (x, y))
    centred = []
    for v in (x, y):
        d = np.array([[math.dist(p, q) for q in v] for p in v])
        centred.append(d - d.mean(axis=0) - d.mean(axis=1)[:, None] + d.mean())
    A, B = centred
    return math.sqrt((A * B).mean() / math.sqrt((A * A).mean() * (B * B).mean()))


def naive_scores(a, b, ab, c1, c2):
    first, second = naive_dcor(a, ab), naive_dcor(b, ab)
    return InteractionScores(
        c1,
        c2,
        math.sqrt(c1**2 + c2**2),
        abs(math.log10(abs(c1 / c2))),
        naive_dcor(c1 * a + c2 * b, ab),
        naive_dcor(np.c_[a, b], ab),
        min(first, second) / max(first, second),
        naive_dcor(a, b),
    )


def test_three_genes_by_hand():
    """The three solutions are the corners (1, 2), (1, 3), (2, 2) of a right triangle: its Fermat point is known."""
    a, b, ab = np.array([[1.0, 0, 1], [0, 1, 1], [1, 2, 4]])
    step = (3 - math.sqrt(3)) / 6
    assert robust_fit(a, b, ab) == pytest.approx((1 + step, 2 + step), abs=1e-9)


def test_distance_correlation_of_three_genes_by_hand():
    # Double-centred distances in ninths: (-2 -2 4; -2 -2 4; 4 4 -8) and (-8 4 4; 4 -2 -2; 4 -2 -2), so that the mean
    # product is 36 / 81 / 9 and both mean squares are 144 / 81 / 9.
    scores = interaction_scores(np.array([0.0, 0, 1]), np.array([0.0, 1, 1]), np.array([0.0, 1, 1]))
    assert scores.singles == pytest.approx(0.5)
    assert scores.equality == pytest.approx(0.5)
    assert (scores.c1, scores.c2) == pytest.approx((0, 1), abs=1e-9)
    assert scores.model_fit == pytest.approx(1)


@few
@given(seeds, st.integers(3, 40))
def test_scores_are_those_of_the_definitions(seed, n):
    a, b, ab = changes(seed, n)
    scores = interaction_scores(a, b, ab)
    np.testing.assert_allclose(astuple(scores), astuple(naive_scores(a, b, ab, scores.c1, scores.c2)), rtol=1e-6, atol=1e-7)


def test_distance_correlations_are_those_of_dcor():
    dcor = pytest.importorskip("dcor")
    a, b, ab = changes(1, 300)
    scores = interaction_scores(a, b, ab)
    assert scores.similarity == pytest.approx(dcor.distance_correlation(np.c_[a, b], ab))
    assert scores.singles == pytest.approx(dcor.distance_correlation(a, b))
    assert scores.model_fit == pytest.approx(dcor.distance_correlation(scores.c1 * a + scores.c2 * b, ab))
    sides = sorted(dcor.distance_correlation(x, ab) for x in (a, b))
    assert scores.equality == pytest.approx(sides[0] / sides[1])


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_scikit_learns_where_that_takes_all_pairs(seed):
    a, b, ab = changes(seed, 60, outliers=12)
    theirs = TheilSenRegressor(fit_intercept=False, max_subpopulation=10_000, max_iter=10_000, tol=1e-13).fit(np.c_[a, b], ab)
    assert robust_fit(a, b, ab) == pytest.approx(tuple(theirs.coef_), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_the_spatial_median_of_all_solutions(seed):
    a, b, ab = changes(seed, 25, outliers=6)
    points = np.array([np.linalg.solve([[a[i], b[i]], [a[j], b[j]]], [ab[i], ab[j]]) for i, j in combinations(range(25), 2)])
    best = minimize(
        lambda c: np.linalg.norm(points - c, axis=1).sum(), np.median(points, axis=0), method="Nelder-Mead", tol=1e-12
    )
    assert robust_fit(a, b, ab) == pytest.approx(tuple(best.x), abs=1e-5)


def test_a_selection_of_pairs_is_nearer_to_all_pairs_than_random_pairs_are():
    a, b, ab = changes(2, 900, noise=0.2, outliers=90)
    everything = np.array(robust_fit(a, b, ab, pairs=10**6))
    ours = np.abs(np.array(robust_fit(a, b, ab)) - everything).max()
    theirs = [
        np.abs(
            TheilSenRegressor(fit_intercept=False, max_subpopulation=20_000, random_state=s).fit(np.c_[a, b], ab).coef_
            - everything
        ).max()
        for s in range(3)
    ]
    assert ours < 2e-3
    assert ours < np.mean(theirs)


def test_outliers_move_least_squares_and_not_the_fit():
    a, b, ab = changes(3, 200, outliers=40)
    squares = LinearRegression(fit_intercept=False).fit(np.c_[a, b], ab).coef_
    assert np.abs(robust_fit(a, b, ab) - np.array([0.9, 0.6])).max() < 0.03
    assert np.abs(squares - [0.9, 0.6]).max() > 0.1


@few
@given(seeds, st.integers(4, 400), st.floats(-2, 2), st.floats(-2, 2))
def test_an_exact_model_is_found_exactly(seed, n, c1, c2):
    a, b, ab = changes(seed, n, (c1, c2), noise=0)
    assert robust_fit(a, b, ab) == pytest.approx((c1, c2), abs=1e-6)


@few
@given(seeds, st.integers(3, 400), st.randoms(use_true_random=False))
def test_the_order_of_genes_does_not_matter(seed, n, random):
    a, b, ab = changes(seed, n)
    order = np.array(random.sample(range(n), n))
    after = astuple(interaction_scores(a[order], b[order], ab[order]))
    np.testing.assert_allclose(after, astuple(interaction_scores(a, b, ab)), rtol=1e-7, atol=1e-7)


@few
@given(seeds, st.integers(3, 300))
def test_the_order_of_the_singles_only_swaps_coefficients(seed, n):
    # Up to 317 genes all pairs are used; beyond, the circle of genes is another one.
    a, b, ab = changes(seed, n)
    one, other = interaction_scores(a, b, ab), interaction_scores(b, a, ab)
    assume(np.isfinite(one.dominance))
    np.testing.assert_allclose(astuple(replace(other, c1=other.c2, c2=other.c1)), astuple(one), rtol=1e-6, atol=1e-7)


@few
@given(seeds, st.floats(1e-3, 1e3))
def test_the_unit_of_change_does_not_matter(seed, unit):
    a, b, ab = changes(seed)
    np.testing.assert_allclose(
        astuple(interaction_scores(unit * a, unit * b, unit * ab)), astuple(interaction_scores(a, b, ab)), rtol=1e-7, atol=1e-7
    )


def test_genes_without_any_change_do_not_pull_the_fit_to_zero():
    a, b, ab = changes(4)
    padded = [np.concatenate([v, np.zeros(200)]) for v in (a, b, ab)]
    assert robust_fit(*padded) == pytest.approx(robust_fit(a, b, ab), abs=1e-9)


def test_singles_that_cannot_be_told_apart_share_the_effect():
    a = np.random.default_rng(5).normal(size=50)
    assert robust_fit(a, a, 2 * a) == pytest.approx((1, 1))
    assert robust_fit(a, 3 * a, 5 * a) == pytest.approx((0.5, 1.5))
    assert robust_fit(a, np.zeros(50), 0.7 * a) == pytest.approx((0.7, 0))
    assert robust_fit(np.zeros(50), a, 0.7 * a) == pytest.approx((0, 0.7))


def test_undefined_is_nan():
    nothing, some = np.zeros(5), np.arange(5.0)
    scores = interaction_scores(nothing, nothing, some)
    assert np.isnan(astuple(scores)).all()
    scores = interaction_scores(nothing, some, some)
    assert scores.magnitude == pytest.approx(1)
    assert scores.similarity == pytest.approx(1)
    assert np.isnan([scores.dominance, scores.equality, scores.singles]).all()
    scores = interaction_scores(some, some[::-1].copy(), nothing)
    assert scores.magnitude == 0
    assert np.isnan([scores.dominance, scores.model_fit, scores.similarity, scores.equality]).all()
    for n in (0, 1):
        scores = interaction_scores(some[1 : 1 + n], some[1 : 1 + n], some[1 : 1 + n])
        assert np.isnan([scores.model_fit, scores.singles]).all()


def test_vectors_of_different_length_are_refused():
    with pytest.raises(ValueError, match="one length"):
        interaction_scores(np.ones(3), np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="one length"):
        interaction_scores(np.ones((3, 1)), np.ones((3, 1)), np.ones((3, 1)))


def independent(seed=6, n=1000):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, n))


def test_classes_of_doubles_whose_interaction_is_known():
    a, b = independent()
    noise = 0.1 * np.random.default_rng(7).normal(size=len(a))
    alike = a + 0.05 * b

    def found(first, second, double):
        return interaction_class(interaction_scores(first, second, double))

    assert found(a, b, a + b + noise) == "additive"
    assert found(a, alike, a + alike + noise) == "additive"
    assert found(a, b, 2 * (a + b) + noise) == "synergistic"
    assert found(a, b, 0.4 * (a + b) + noise) == "suppressive"
    assert found(a, alike, 0.5 * (a + alike)) == "redundant"
    assert found(a, b, a + noise) == "epistatic"
    assert found(a, b, independent(8)[0]) == "neomorphic"
    assert found(a, 0 * b, a) == "undetermined"
    assert {"additive", "synergistic", "suppressive", "redundant", "epistatic", "neomorphic", "undetermined"} == set(CLASSES)


def test_the_first_class_that_applies_is_given():
    plain = InteractionScores(1.0, 1.0, math.sqrt(2), 0.0, 0.95, 0.95, 0.9, 0.9)
    for change, expected in (
        ({}, "additive"),
        ({"magnitude": 1.25 * math.sqrt(2) + 1e-6}, "synergistic"),
        ({"magnitude": 0.75 * math.sqrt(2) + 1e-6}, "additive"),
        ({"magnitude": 0.75 * math.sqrt(2) - 1e-6}, "redundant"),
        ({"magnitude": 0.5, "singles": 0.85}, "suppressive"),
        ({"magnitude": 0.5, "similarity": 0.85}, "suppressive"),
        ({"equality": 0.279}, "epistatic"),
        ({"dominance": 0.351}, "epistatic"),
        ({"dominance": math.nan}, "epistatic"),
        ({"model_fit": 0.879, "equality": 0.1}, "neomorphic"),
        ({"equality": math.nan}, "undetermined"),
    ):
        assert interaction_class(replace(plain, **change)) == expected, change


def test_expressed_genes_are_those_with_the_highest_control_mean():
    control = np.random.default_rng(9).gamma(1.0, size=50)
    best = set(sorted(range(50), key=lambda g: -control[g])[:10])
    assert set(expressed_genes(control, size=10)) == best
    target = min(best)
    assert set(expressed_genes(control, (target, 49), size=10)) == best - {target, 49}
    assert expressed_genes(control, (3,)).tolist() == [g for g in range(50) if g != 3]


def test_expressed_genes_depend_on_no_order_and_hold_no_silent_ones():
    control = np.array([0.0, 2, 1, 1, 0, 3, 0, 1])
    assert expressed_genes(control, size=3).tolist() == [1, 2, 3, 5, 7]
    assert expressed_genes(control, size=6).tolist() == [1, 2, 3, 5, 7]
    assert expressed_genes(np.zeros(4), size=2).tolist() == [0, 1, 2, 3]
