"""Detection of the few among many, against scikit-learn and loops; the empirical null against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn

from pbench.bench.kernels.detection import (
    average_precision,
    curve_area,
    cuts,
    empirical_null,
    roc_area,
    tp_fdp_curve,
)

pairs = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30)
few = settings(max_examples=60, deadline=None)


def columns(items):
    scores, positive = zip(*items, strict=True)
    return np.array(scores, dtype=float), np.array(positive)


def naive_curve(scores, positive, at):
    """The best share of positives among the cuts whose false discovery proportion is at most `at`; nothing called counts."""
    best = 0.0
    for cut in set(scores):
        called = scores >= cut
        if np.mean(~positive[called]) <= at:
            best = max(best, np.mean(called[positive]))
    return best


@few
@given(pairs)
def test_areas_are_those_of_scikit_learn(items):
    scores, positive = columns(items)
    if positive.all() or not positive.any():
        assert math.isnan(average_precision(scores, positive)) and math.isnan(roc_area(scores, positive))
    else:
        assert average_precision(scores, positive) == pytest.approx(sklearn.average_precision_score(positive, scores))
        assert roc_area(scores, positive) == pytest.approx(sklearn.roc_auc_score(positive, scores))


@few
@given(pairs)
def test_the_curve_is_the_best_cut_within_each_proportion(items):
    scores, positive = columns(items)
    if not positive.any():
        return
    proportion, share = tp_fdp_curve(scores, positive)
    assert proportion[0] == 0 and (np.diff(proportion) > 0).all() and (np.diff(share) > 0).all()
    for at in (0.0, 0.1, 0.2, 1 / 3, 0.5, 0.75, 1.0):
        assert share[np.searchsorted(proportion, at, side="right") - 1] == pytest.approx(naive_curve(scores, positive, at))


def test_three_items_by_hand():
    scores, positive = np.array([3.0, 2, 1]), np.array([False, True, True])
    assert [c.tolist() for c in cuts(scores, positive)] == [[0, 1, 2], [1, 1, 1]]
    assert average_precision(scores, positive) == pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 3)
    assert roc_area(scores, positive) == 0
    proportion, share = tp_fdp_curve(scores, positive)
    np.testing.assert_allclose([proportion, share], [[0, 1 / 3], [0, 1]])
    assert curve_area(proportion, share) == pytest.approx(2 / 3)


def test_equal_scores_are_chance():
    positive = np.array([True] + [False] * 4)
    for value in (0.0, 7.5):
        scores = np.full(5, value)
        assert average_precision(scores, positive) == 0.2
        assert roc_area(scores, positive) == 0.5
        assert curve_area(*tp_fdp_curve(scores, positive)) == pytest.approx(0.2)


def test_a_perfect_ranking_is_perfect():
    positive = np.arange(10) < 3
    assert average_precision(-np.arange(10.0), positive) == 1
    assert roc_area(-np.arange(10.0), positive) == 1
    assert curve_area(*tp_fdp_curve(-np.arange(10.0), positive)) == 1


def mixture(seed, n=20_000, share=0.9, centre=0.02, sd=0.05):
    rng = np.random.default_rng(seed)
    is_null = rng.random(n) < share
    far = rng.choice([-1, 1], n) * rng.uniform(0.3, 1.0, n)
    return np.where(is_null, rng.normal(centre, sd, n), far), is_null


@pytest.mark.parametrize(("share", "centre", "sd"), [(0.9, 0.02, 0.05), (0.8, -0.3, 2e-3), (1.0, 0.0, 1.0)])
def test_the_null_of_a_mixture_is_found(share, centre, sd):
    values, _ = mixture(0, share=share, centre=centre, sd=sd)
    null = empirical_null(values)
    assert null.centre == pytest.approx(centre, abs=0.1 * sd)
    assert null.sd == pytest.approx(sd, rel=0.06)
    assert null.share == pytest.approx(share, abs=0.03)


def test_the_null_maximises_the_truncated_likelihood():
    values, _ = mixture(1, n=5_000)
    null = empirical_null(values)
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    reach = 4.3 * math.exp(-0.26 * math.log10(len(values))) * (high - low) / (2 * stats.norm.ppf(0.75))
    inside = values[np.abs(values - middle) <= reach]

    def likelihood(mean, sd):
        ends = (np.array([middle - reach, middle + reach]) - mean) / sd
        return stats.truncnorm.logpdf(inside, *ends, loc=mean, scale=sd).sum()

    best = likelihood(null.centre, null.sd)
    for step in (-1e-3, 1e-3):
        assert likelihood(null.centre + step * null.sd, null.sd) < best
        assert likelihood(null.centre, null.sd * (1 + step)) < best
    probability = np.diff(stats.norm.cdf([middle - reach, middle + reach], null.centre, null.sd))[0]
    assert null.share == pytest.approx(min(1, len(inside) / len(values) / probability))


def test_the_cuts_keep_the_false_discovery_rate():
    values, is_null = mixture(2)
    null = empirical_null(values)
    for called, tail in ((values >= null.upper, stats.norm.sf), (values <= null.lower, stats.norm.cdf)):
        assert np.mean(called & ~is_null) > 0.045
        assert np.mean(is_null[called]) < 0.08
        edge = values[called][np.argmin(np.abs(values[called] - null.centre))]
        assert null.share * tail(edge, null.centre, null.sd) / called.mean() <= 0.05
    called = np.abs(values) >= null.size
    assert np.mean(called & ~is_null) > 0.095 and np.mean(is_null[called]) < 0.08

    def rate(size):
        return null.share * np.diff(stats.norm.cdf([-size, size], null.centre, null.sd))[0]

    sizes = np.sort(np.abs(values))
    ok = [t for t in sizes[::20] if t > abs(null.centre) and (null.share - rate(t)) / np.mean(sizes >= t) <= 0.05]
    assert null.size in sizes
    assert (null.share - rate(null.size)) / called.mean() <= 0.05
    assert min(ok) >= null.size
    for cut, tail in ((null.upper, stats.norm.sf), (null.lower, stats.norm.cdf)):
        # Every less extreme value on that side would break the rate.
        side = (
            values[(values > null.centre) & (values < cut)]
            if cut > null.centre
            else values[(values < null.centre) & (values > cut)]
        )
        for value in side[:: max(1, len(side) // 200)]:
            beyond = np.mean(values >= value) if cut > null.centre else np.mean(values <= value)
            assert null.share * tail(value, null.centre, null.sd) / beyond > 0.05


def test_a_pure_null_has_hardly_a_call():
    null = empirical_null(np.random.default_rng(3).normal(size=5_000))
    values = np.random.default_rng(3).normal(size=5_000)
    assert np.mean((values >= null.upper) | (values <= null.lower)) < 0.002


def test_values_without_a_spread_have_no_cut():
    null = empirical_null(np.full(200, 0.3))
    assert (null.centre, null.sd, null.lower, null.upper, null.size) == (0.3, 0, -math.inf, math.inf, math.inf)


def test_the_null_scales_with_the_values_and_ignores_their_order():
    values, _ = mixture(4, n=3_000)
    one, other = empirical_null(values), empirical_null(7 * values[::-1] + 1)
    for a, b in ((one.centre, other.centre), (one.lower, other.lower), (one.upper, other.upper)):
        assert b == pytest.approx(7 * a + 1, abs=1e-5)
    assert other.sd == pytest.approx(7 * one.sd, rel=1e-5)


def test_a_flat_centre_has_a_bounded_null():
    null = empirical_null(np.linspace(-1, 1, 999))
    assert math.isfinite(null.sd) and null.share <= 1
