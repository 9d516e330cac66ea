"""Dynamic range, share of wins and calibrated scores against naive loops, scipy, closed forms and simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pbench.bench.contracts.errors import UsageError
from pbench.bench.engine.calibration import (
    Pair,
    calibrate,
    calibrations,
    wilson,
)
from pbench.bench.engine.dependence import design_effect
from pbench.bench.engine.inference import bootstrap_interval
from pbench.bench.engine.scale import calibrated_score, calibrated_scores, reliability_ceiling

FEW = settings(max_examples=25, deadline=None)
UP, DOWN, TARGET = ({"direction": d, "perfect": p} for d, p in (("up", 1.0), ("down", 0.0), ("target", 1.0)))
VALUES = st.lists(st.tuples(*[st.integers(0, 16).map(lambda i: i / 16)] * 3), min_size=2, max_size=25)


def naive(positive, negative, direction, perfect):
    """Mean fraction and share of wins by a loop over perturbations."""
    fractions, wins = [], []
    for p, q in zip(positive, negative, strict=True):
        if np.isnan(p) or np.isnan(q):
            continue
        if direction == "up":
            top, bottom, won = p - q, perfect - q, p > q
        elif direction == "down":
            top, bottom, won = q - p, q - perfect, p < q
        else:
            top, bottom = abs(q - perfect) - abs(p - perfect), abs(q - perfect)
            won = abs(p - perfect) < abs(q - perfect)
        wins.append(0.5 if top == 0 else float(won))
        if bottom > 1e-9:
            fractions.append(top / bottom)
    return np.mean(fractions), np.mean(wins), len(wins), len(wins) - len(fractions)


# -- controls


@pytest.mark.parametrize("orientation", [UP, DOWN, TARGET], ids=["up", "down", "target"])
def test_fraction_and_wins_are_means_over_perturbations(orientation):
    rng = np.random.default_rng(0)
    positive, negative = rng.uniform(0, 2, (2, 50)) if orientation is TARGET else rng.uniform(0.01, 0.99, (2, 50))
    positive[:3], negative[2:6] = np.nan, np.nan
    positive[10] = negative[10]
    negative[11] = orientation["perfect"]
    found = calibrate(positive, negative, **orientation)
    drf, bds, n, saturated = naive(positive, negative, **orientation)
    assert found.drf == pytest.approx(drf)
    assert found.bds == pytest.approx(bds)
    assert (found.n, found.saturated) == (n, saturated) == (44, 1)


def test_intervals_are_those_of_the_mean_and_of_the_share():
    rng = np.random.default_rng(1)
    negative = rng.uniform(0.2, 0.4, 30)
    positive = negative + np.where(np.arange(30) < 24, 0.1, -0.1)
    found = calibrate(positive, negative, **UP)
    ends = (found.drf_low, found.drf_high)
    np.testing.assert_allclose(ends, bootstrap_interval((positive - negative) / (1 - negative)), rtol=1e-12)
    theirs = scipy.stats.binomtest(24, 30).proportion_ci(method="wilson")
    np.testing.assert_allclose((found.bds_low, found.bds_high), theirs)
    assert found.separates
    assert found.reason == ""


def test_a_perfect_positive_control_has_the_whole_range():
    found = calibrate(np.ones(8), np.linspace(0.1, 0.4, 8), **UP)
    assert (found.drf, found.drf_low, found.drf_high, found.bds) == (1, 1, 1, 1)
    assert found.separates


def test_mirrored_metrics_have_equal_calibrations():
    rng = np.random.default_rng(2)
    positive, negative = rng.uniform(0, 1, (2, 20))
    up, down = calibrate(positive, negative, **UP), calibrate(1 - positive, 1 - negative, **DOWN)
    for field in ("drf", "drf_low", "drf_high", "bds", "bds_low", "bds_high", "n", "separates", "reason"):
        assert getattr(up, field) == pytest.approx(getattr(down, field)), field


def test_fractions_are_not_clipped():
    assert calibrate(np.array([0.0, 0.5]), np.array([0.9, 0.5]), **UP).drf == pytest.approx((-9 + 0) / 2)


def test_what_cannot_separate_says_why():
    better, worse = np.full(8, 0.8), np.full(8, 0.2)
    cases = {
        "fewer than 5": (better[:4], worse[:4]),
        "than by chance": (np.tile([0.8, 0.2], 20), np.tile([0.2, 0.8], 20)),
        "negative control beats": (worse, better),
    }
    for reason, (positive, negative) in cases.items():
        found = calibrate(positive, negative, **UP)
        assert not found.separates
        assert reason in found.reason
    assert "by chance" in calibrate(better, better, **UP).reason
    assert calibrate(better, better, **UP).bds == 0.5
    assert calibrate(better[:5], worse[:5], **UP).separates


def test_undefined_pairs_are_no_losses():
    positive, negative = np.full(12, 0.8), np.full(12, 0.2)
    positive[:3], negative[3:5] = np.nan, np.nan
    found = calibrate(positive, negative, **UP)
    assert found == calibrate(positive[5:], negative[5:], **UP)
    assert (found.n, found.bds) == (7, 1)
    nothing = calibrate(np.full(6, np.nan), negative[:6], **UP)
    assert nothing.n == 0
    assert not nothing.separates
    assert np.isnan([nothing.drf, nothing.bds, nothing.drf_low, nothing.bds_low]).all()


def test_a_perfect_negative_control_leaves_no_range():
    found = calibrate(np.full(6, 0.9), np.ones(6), **UP)
    assert (found.saturated, found.n, found.bds) == (6, 6, 0)
    assert np.isnan([found.drf, found.drf_low]).all()
    rounding = calibrate(np.full(6, 0.5), np.full(6, np.nextafter(1.0, 0.0)), **UP)
    assert rounding.saturated == 6


def test_shared_targets_widen_both_intervals():
    rng = np.random.default_rng(3)
    gene = np.repeat(rng.normal(0.3, 1.0, 20), 5)
    negative = np.full(100, 0.2)
    positive = negative + 0.1 * gene
    clusters = [(f"G{i // 5}",) for i in range(100)]
    alone, together = calibrate(positive, negative, **UP), calibrate(positive, negative, **UP, clusters=clusters)
    # Five equal values for a gene are one observation: intervals are those of about 20 values, sqrt(5) times as wide.
    for field in ("drf", "bds"):
        width = [getattr(c, f"{field}_high") - getattr(c, f"{field}_low") for c in (alone, together)]
        assert width[1] / width[0] == pytest.approx(np.sqrt(5), rel=0.15)
    wins = (positive > negative).astype(float)
    np.testing.assert_allclose(
        (together.bds_low, together.bds_high), wilson(wins.mean(), 100 / design_effect(wins, clusters)), rtol=1e-12
    )


def test_where_every_two_share_a_target_nothing_separates():
    clusters = [("A", "B", "C"), ("A", "B"), ("A", "C"), ("B", "C"), ("A", "B", "D")]
    found = calibrate(np.array([0.8, 0.9, 0.1, 0.9, 0.9]), np.full(5, 0.2), **UP, clusters=clusters)
    assert "share a target" in found.reason
    assert not found.separates


@pytest.mark.parametrize(("won", "n"), [(0, 6), (3, 10), (17, 20), (9, 9)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilson_is_that_of_scipy(won, n, level):
    theirs = scipy.stats.binomtest(won, n).proportion_ci(confidence_level=level, method="wilson")
    np.testing.assert_allclose(wilson(won / n, n, level=level), theirs, atol=1e-12)
    assert np.isnan(wilson(0.5, 0)).all()


def test_a_metric_without_signal_rarely_separates():
    rng = np.random.default_rng(0)
    passed = sum(calibrate(*rng.uniform(0, 1, (2, 40)), **UP, n_boot=20).separates for _ in range(500))
    assert passed / 500 <= 0.05


# -- models


def test_controls_are_the_ends_of_the_scale():
    rng = np.random.default_rng(0)
    negative = rng.uniform(0.1, 0.3, 25)
    positive = negative + rng.uniform(0.2, 0.4, 25)
    top, bottom = (calibrated_score(m, positive, negative, **UP) for m in (positive, negative))
    assert (top.value, top.low, top.high) == pytest.approx((1, 1, 1))
    assert (bottom.value, bottom.low, bottom.high) == pytest.approx((0, 0, 0))
    beyond = calibrated_score(negative + 2 * (positive - negative), positive, negative, **UP)
    assert (beyond.value, beyond.low, beyond.high) == pytest.approx((2, 2, 2)), "no clipping"


def test_the_score_is_a_ratio_of_means_over_what_all_three_answer():
    rng = np.random.default_rng(1)
    model, positive, negative = rng.uniform(0, 0.2, (3, 30)) + np.array([[0.3], [0.5], [0.1]])
    model[0], positive[1], negative[2] = np.nan, np.nan, np.nan
    found = calibrated_score(model, positive, negative, **UP)
    m, p, q = (v[3:].mean() for v in (model, positive, negative))
    assert found.value == pytest.approx((m - q) / (p - q))
    assert found.n == 27
    down = calibrated_score(1 - model, 1 - positive, 1 - negative, **DOWN)
    assert (down.value, down.low, down.high) == pytest.approx((found.value, found.low, found.high))


def test_target_scores_use_the_distance():
    model, positive, negative = np.tile([1.3, 0.7], 5), np.tile([0.9, 1.1], 5), np.full(10, 1.5)
    assert calibrated_score(model, positive, negative, **TARGET).value == pytest.approx((0.3 - 0.5) / (0.1 - 0.5))


def test_interval_is_the_paired_bootstrap_of_scipy():
    rng = np.random.default_rng(4)
    model, positive, negative = rng.normal(0, 0.1, (3, 50)) + np.array([[0.4], [0.6], [0.2]])

    def ratio(m, p, q, axis):
        return (m.mean(axis) - q.mean(axis)) / (p.mean(axis) - q.mean(axis))

    theirs = scipy.stats.bootstrap((model, positive, negative), ratio, paired=True, method="percentile", n_resamples=8000, rng=0)
    found = calibrated_score(model, positive, negative, **UP, n_boot=8000)
    np.testing.assert_allclose((found.low, found.high), theirs.confidence_interval, atol=0.01)


def test_a_difference_that_may_be_nothing_suppresses_the_score():
    rng = np.random.default_rng(5)
    model, noise = rng.normal(0, 1, (2, 30))
    zero = np.zeros(30)
    cases = {
        "cannot be told from": (model, noise - noise.mean(), zero),
        "is worse than": (model, zero - 1, zero),
        "fewer than 2": (model[:1], zero[:1] + 1, zero[:1]),
    }
    for reason, columns in cases.items():
        found = calibrated_score(*columns, **UP)
        assert reason in found.reason
        assert np.isnan([found.value, found.low, found.high]).all()


def test_coverage_of_the_interval():
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(400):
        shared = rng.normal(0, 0.3, 40)
        model, positive, negative = (mean + shared + rng.normal(0, 0.3, 40) for mean in (0.5, 0.9, 0.1))
        found = calibrated_score(model, positive, negative, **UP, n_boot=400)
        covered += found.low <= 0.5 <= found.high
    assert 0.90 <= covered / 400 <= 0.98


@pytest.mark.parametrize(("contexts", "size"), [(1, 5), (8, 3), (30, 2)])
def test_coverage_of_scores_of_few_perturbations(contexts, size):
    rng = np.random.default_rng(12)
    n, named = contexts * size, [f"c{i}" for i in range(contexts) for _ in range(size)]
    covered = 0
    for _ in range(1200):
        model, positive, negative = (mean + rng.normal(0, 0.1, n) for mean in (0.5, 0.9, 0.1))
        found = calibrated_score(model, positive, negative, **UP, n_boot=400, contexts=named)
        covered += found.low <= 0.5 <= found.high
    assert 0.92 <= covered / 1200 <= 0.98


@pytest.mark.parametrize(("contexts", "size"), [(1, 5), (8, 3), (30, 2)])
def test_coverage_of_the_ceiling_of_few_perturbations(contexts, size):
    rng = np.random.default_rng(13)
    n, named = contexts * size, [f"c{i}" for i in range(contexts) for _ in range(size)]
    covered = 0
    for _ in range(1200):
        found = reliability_ceiling(0.5 + rng.normal(0, 0.1, n), n_boot=400, contexts=named)
        covered += found.low <= np.sqrt(2 * 0.5 / 1.5) <= found.high
    assert 0.92 <= covered / 1200 <= 0.98


def test_coverage_with_shared_targets():
    rng = np.random.default_rng(7)
    clusters = [(f"G{i // 4}",) for i in range(160)]
    covered = {True: 0, False: 0}
    for _ in range(300):
        model = 0.5 + np.repeat(rng.normal(0, 0.3, 40), 4) + rng.normal(0, 0.1, 160)
        positive, negative = 0.9 + rng.normal(0, 0.1, 160), 0.1 + rng.normal(0, 0.1, 160)
        for clustered in covered:
            found = calibrated_score(model, positive, negative, **UP, n_boot=300, clusters=clusters if clustered else None)
            covered[clustered] += found.low <= 0.5 <= found.high
    assert 0.90 <= covered[True] / 300 <= 0.98
    assert covered[False] / 300 < 0.80


@FEW
@given(VALUES, st.randoms(use_true_random=False), st.sampled_from([UP, DOWN, TARGET]))
def test_order_of_perturbations_is_irrelevant(rows, random, orientation):
    table = np.array(rows).T
    clusters = [tuple(random.sample("ABCDEFG", random.randint(1, 2))) for _ in rows]
    order = random.sample(range(len(rows)), len(rows))
    model, positive, negative = table
    mixed = {"clusters": [clusters[i] for i in order], "n_boot": 40, **orientation}
    plain = {"clusters": clusters, "n_boot": 40, **orientation}
    ours, theirs = calibrate(positive, negative, **plain), calibrate(positive[order], negative[order], **mixed)
    assert (ours.n, ours.saturated, ours.separates, ours.reason) == (theirs.n, theirs.saturated, theirs.separates, theirs.reason)
    for field in ("drf", "drf_low", "drf_high", "bds", "bds_low", "bds_high"):
        np.testing.assert_allclose(getattr(ours, field), getattr(theirs, field), rtol=1e-9, atol=1e-12)
    ours, theirs = calibrated_score(*table, **plain), calibrated_score(*table[:, order], **mixed)
    assert ours.reason == theirs.reason
    np.testing.assert_allclose([ours.value, ours.low, ours.high], [theirs.value, theirs.low, theirs.high], rtol=1e-9, atol=1e-12)


def test_columns_must_be_aligned():
    with pytest.raises(UsageError, match="one for each perturbation"):
        calibrate(np.zeros(3), np.zeros(4), **UP)
    with pytest.raises(UsageError, match="up, down, target"):
        calibrate(np.zeros(3), np.zeros(3), direction="max", perfect=1.0)


# -- many metrics or models at once


def test_many_pairs_are_each_as_if_alone():
    rng = np.random.default_rng(8)
    clusters = [(f"G{i % 9}", f"H{i}") for i in range(30)]
    pairs = []
    for orientation in (UP, DOWN, TARGET) * 12:
        positive, negative = rng.uniform(0, 1, (2, 30))
        positive[rng.random(30) < 0.1 * rng.integers(0, 2)] = np.nan
        pairs.append(Pair(positive, negative, *orientation.values()))
    together = calibrations(pairs, clusters=clusters)
    for pair, found in zip(pairs, together, strict=True):
        alone = calibrate(pair.positive, pair.negative, direction=pair.direction, perfect=pair.perfect, clusters=clusters)
        assert repr(found) == repr(alone)
    assert repr(calibrations(pairs[:5], clusters=clusters)) == repr(together[:5])
    assert calibrations([]) == []


def test_many_models_are_each_as_if_alone_among_others():
    rng = np.random.default_rng(9)
    positive, negative = rng.uniform(0.6, 0.9, 25), rng.uniform(0.1, 0.3, 25)
    models = [rng.uniform(0.1, 0.9, 25) for _ in range(7)]
    models[3][:4] = np.nan
    models[5][:] = np.nan
    together = calibrated_scores(models, positive, negative, **UP)
    for model, found in zip(models, together, strict=True):
        assert repr(calibrated_scores([model], positive, negative, **UP)) == repr([found])
        other = calibrated_score(model, positive, negative, **UP)
        assert (other.n, other.reason) == (found.n, found.reason)
        if not found.reason:
            assert other.value == pytest.approx(found.value)
            assert (other.low, other.high) == pytest.approx((found.low, found.high), abs=0.05)
    assert "on 0 condition(s)" in together[5].reason


def test_without_a_finite_perfect_value_the_share_of_wins_decides():
    found = calibrate(np.linspace(2, 3, 9), np.linspace(1, 2, 9) - 0.5, direction="up", perfect=float("inf"))
    assert np.isnan([found.drf, found.drf_low, found.drf_high]).all()
    assert (found.bds, found.saturated, found.separates) == (1, 0, True)


# -- contexts


def test_a_large_context_does_not_speak_for_a_small_one():
    contexts = ["a"] * 30 + ["b"] * 6
    negative = np.full(36, 0.2)
    positive = np.where(np.arange(36) < 30, 0.6, 0.1)
    found = calibrate(positive, negative, **UP, contexts=contexts)
    assert found.bds == pytest.approx(0.5)
    assert found.drf == pytest.approx((0.5 - 0.125) / 2)
    assert not found.separates
    assert calibrate(positive, negative, **UP).separates
    np.testing.assert_allclose((found.bds_low, found.bds_high), wilson(0.5, 4 / (1 / 30 + 1 / 6)), rtol=1e-12)
    model = np.where(np.arange(36) < 30, 0.4, 0.3)
    score = calibrated_score(model, positive + 0.3, negative, **UP, contexts=contexts)
    assert score.value == pytest.approx((0.2 / 2 + 0.1 / 2) / (0.7 / 2 + 0.2 / 2))


def test_controls_that_share_no_perturbation_have_no_calibration():
    gone = np.full(4, np.nan)
    for contexts in (None, ["a", "a", "b", "b"]):
        found = calibrate(gone, np.ones(4), **UP, clusters=[("A",), ("A",), ("B",), ("C",)], contexts=contexts)
        assert found.n == 0 and not found.separates
        assert np.isnan([found.drf, found.drf_low, found.bds, found.bds_low]).all()
        score = calibrated_score(gone, np.ones(4), np.zeros(4), **UP, clusters=[("A",)] * 4, contexts=contexts)
        assert score.n == 0 and np.isnan(score.value)
        ceiling = reliability_ceiling(gone, clusters=[("A",)] * 4, contexts=contexts)
        assert ceiling.n == 0 and np.isnan(ceiling.value)


def test_coverage_of_the_score_with_contexts():
    rng = np.random.default_rng(10)
    contexts = ["a"] * 50 + ["b"] * 15
    of_context = np.where(np.arange(65) < 50, 0.5, -0.5)
    covered = {True: 0, False: 0}
    for _ in range(400):
        shared = rng.normal(0, 0.3, 65)
        model = 0.5 + 0.4 * of_context + shared + rng.normal(0, 0.3, 65)
        positive, negative = 0.9 + shared + rng.normal(0, 0.3, 65), 0.1 + shared + rng.normal(0, 0.3, 65)
        for by_context in covered:
            found = calibrated_score(model, positive, negative, **UP, n_boot=400, contexts=contexts if by_context else None)
            covered[by_context] += found.low <= 0.5 <= found.high
    assert 0.90 <= covered[True] / 400 <= 0.98
    assert covered[False] / 400 < 0.80, "the mean over perturbations is another question"


# -- ceilings


@pytest.mark.parametrize(("noise", "cells"), [(1.0, 20), (2.0, 40), (3.0, 10)])
def test_the_ceiling_is_what_the_truth_without_noise_reaches(noise, cells):
    rng = np.random.default_rng(11)
    halves, noise_free = [], []
    for _ in range(60):
        truth = rng.normal(0, 1, 400)
        first, second = truth + noise / np.sqrt(cells / 2) * rng.normal(size=(2, 400))
        halves.append(np.corrcoef(first, second)[0, 1])
        noise_free.append(np.corrcoef(truth, (first + second) / 2)[0, 1])
    found = reliability_ceiling(np.array(halves))
    assert found.value == pytest.approx(np.mean(noise_free), abs=0.01)
    assert found.low <= np.mean(noise_free) <= found.high
    assert found.n == 60


def test_the_ceiling_by_hand_and_its_ends():
    found = reliability_ceiling(np.array([0.6, np.nan, 0.6, 0.6]))
    assert (found.value, found.low, found.high) == pytest.approx((np.sqrt(1.2 / 1.6),) * 3)
    assert found.n == 3
    assert reliability_ceiling(np.array([0.9, 1.0, 1.0, -0.9, 1.0])).low == 0
    for reason, values in {"do not correlate": [-0.2, 0.1], "no perturbation": [np.nan, np.nan]}.items():
        nothing = reliability_ceiling(np.array(values))
        assert np.isnan([nothing.value, nothing.low, nothing.high]).all()
        assert reason in nothing.reason
