"""Predicted spread against scipy, numerical integration, properscoring where it is installed, and loops."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, sparse, stats

from pbench.bench.contracts.cell_truth import CellTruth
from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.identity import derived_seed
from pbench.bench.contracts.metric import Comparison
from pbench.bench.contracts.training import Profiles
from pbench.bench.kernels.forecast import gaussian_scores, sample_scores
from pbench.metrics.conformal import FLOOR
from pbench.metrics.uncertainty import LEVELS, METRICS, selective_risk

CATALOGUE = {m.id: m for m in METRICS}
REASONS = {"absent", "no_variance", "zero_variance", "too_few_genes", "too_few_cells", "too_few_conditions", "no_cells"}
few = settings(max_examples=12, deadline=None)
shapes = st.tuples(st.integers(0, 10_000), st.sampled_from([1, 3, 17, 20, 24]), st.sampled_from([1, 4, 25]))


def _cells(seed, n, n_genes, n_cells):
    """Sparse cells of each condition, an unexpressed gene and a gene without zeros among them."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        dense = rng.gamma(2.0, 0.5, size=(n_cells, n_genes)) * (rng.random((n_cells, n_genes)) < rng.uniform(0.1, 0.9, n_genes))
        if n_genes > 2:
            dense[:, 0], dense[:, 1] = 0, rng.gamma(2.0, size=n_cells) + 0.1
        out.append(sparse.csr_matrix(dense.astype(np.float32)))
    return out


def _with_cells(truth, cells):
    nothing = np.empty((0, 0))
    held = CellTruth(cells.__getitem__, cells.__getitem__, nothing, nothing, nothing, nothing, 1.0, cells.__getitem__)
    return replace(truth, cells=held)


@pytest.fixture(scope="module")
def screen(make_truth):
    """A truth with cells, and a prediction with variances and cells of its own."""

    def build(seed, n=20, n_genes=25, n_cells=15):
        rng = np.random.default_rng(seed)
        cells = _cells(seed, n, n_genes, n_cells)
        dense = [c.toarray().astype(np.float64) for c in cells]
        truth = make_truth(np.array([d.mean(axis=0) for d in dense]), np.full(n_genes, 0.5))
        var = np.array([d.var(axis=0, ddof=1) for d in dense]).astype(np.float32)
        truth = replace(truth, profiles=replace(truth.profiles, var=var, n_cells=np.full(n, n_cells)))
        guess = dict(enumerate(_cells(seed + 1, n, n_genes, 9)))
        mean = truth.profiles.mean + 0.3 * rng.normal(size=var.shape) * rng.gamma(1.0, size=(n, 1))
        return Comparison(
            _with_cells(truth, cells), mean, rng.gamma(2.0, 0.3, size=var.shape) * rng.gamma(2.0, size=(n, 1)), guess
        )

    return build


def everything(comparison):
    return {name: metric(comparison) for name, metric in CATALOGUE.items()}


def dense_cells(comparison, i):
    return comparison.truth.cells.load(i).toarray().astype(np.float64)


def crps_gaussian(y, mu, sd):
    z = (y - mu) / sd
    return sd * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))


@pytest.mark.parametrize(("mu", "sd", "y"), [(0.0, 1.0, 0.0), (0.3, 0.05, 0.0), (1.5, 2.0, -1.0), (-2.0, 0.7, 1.2)])
def test_the_crps_is_the_integral_of_the_squared_difference_of_distributions(mu, sd, y):
    def below(t):
        return stats.norm.cdf(t, mu, sd) ** 2

    def above(t):
        return stats.norm.sf(t, mu, sd) ** 2

    low, high = min(mu - 12 * sd, y), max(mu + 12 * sd, y)
    expected = integrate.quad(below, low, y)[0] + integrate.quad(above, y, high)[0]
    scores, _ = gaussian_scores(sparse.csr_matrix([[y]]), np.array([mu]), np.array([sd]), np.array([1.0]))
    assert scores[0] == pytest.approx(expected, rel=1e-6)


def test_the_crps_of_a_point_is_its_error():
    cells = sparse.csr_matrix([[0.0, 2.0], [1.0, 2.0]])
    mean = np.array([0.25, 2.0])
    for sd in (0.0, 1e-12):
        scores, inside = gaussian_scores(cells, mean, np.full(2, sd), np.array([1.0]))
        np.testing.assert_allclose(scores, [0.5, 0], atol=1e-11)
        assert inside.tolist() == [[0, 1]]
    scores, _ = gaussian_scores(cells, mean, np.full(2, 1e150), np.array([1.0]))
    np.testing.assert_allclose(scores, 1e150 * (math.sqrt(2) - 1) / math.sqrt(math.pi))


@few
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 6))
def test_gaussian_scores_are_those_of_a_loop(seed, n_cells, n_genes):
    rng = np.random.default_rng(seed)
    cells = _cells(seed, 1, n_genes, n_cells)[0]
    mean, sd, bounds = rng.normal(size=n_genes), rng.gamma(1.0, size=n_genes) + 0.01, np.array([0.3, 1.0, 2.5])
    scores, inside = gaussian_scores(cells, mean, sd, bounds)
    dense = cells.toarray().astype(np.float64)
    np.testing.assert_allclose(scores, crps_gaussian(dense, mean, sd).mean(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(
        inside, [[np.mean(abs(dense[:, g] - mean[g]) / sd[g] <= b) for g in range(n_genes)] for b in bounds]
    )


def naive_crps(y, x):
    spread = sum(abs(a - b) for a in x for b in x) / (2 * len(x) ** 2)
    return np.mean([abs(a - b) for a in x for b in y]) - spread


@few
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(2, 9), st.booleans(), st.booleans())
def test_sample_scores_are_those_of_a_double_loop(seed, n, m, negative, dense):
    rng = np.random.default_rng(seed)
    sides = [np.round(rng.normal(size=(k, 5)), 1) * (rng.random((k, 5)) < 0.6) for k in (n, m)]
    if not negative:
        sides = [abs(s) for s in sides]
    sides[0][:, 0] = sides[1][:, 0] = 0
    given_as = [s if dense else sparse.csr_matrix(s) for s in sides]
    expected = [naive_crps(sides[0][:, g], sides[1][:, g]) for g in range(5)]
    found = sample_scores(*given_as)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(sample_scores(given_as[0], sides[1]), expected, atol=1e-12)
    assert (found >= -1e-12).all()


def test_cells_that_are_not_numbers_give_no_score():
    found = sample_scores(np.ones((3, 2)), np.array([[1.0, np.nan], [2.0, 3.0]]))
    assert found[0] == pytest.approx(0.25) and np.isnan(found[1])


def test_two_cells_that_are_chosen_well_do_not_score_zero():
    """The fair estimator, which divides by m (m - 1), gives 0 to two cells on either side of all values."""
    y = np.random.default_rng(0).uniform(5, 6, size=(40, 3))
    chosen = np.array([[0.0] * 3, [20.0] * 3])
    assert sample_scores(y, chosen).min() > 4
    assert sample_scores(y, y[:20]).max() < 0.5


def test_no_forecast_of_the_same_law_beats_a_large_sample():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(40, 400))
    small, large = (sample_scores(y, rng.normal(size=(m, 400))).mean() for m in (2, 50))
    # By the mean distance of two normal values over twice the number of cells.
    assert small - large == pytest.approx((1 / 2 - 1 / 50) / math.sqrt(math.pi), rel=0.1)


def test_properscoring_agrees():
    properscoring = pytest.importorskip("properscoring")
    rng = np.random.default_rng(1)
    y, mu, sd = rng.normal(size=(7, 5)), rng.normal(size=5), rng.gamma(1.0, size=5)
    ours, _ = gaussian_scores(sparse.csr_matrix(y), mu, sd, np.array([1.0]))
    np.testing.assert_allclose(ours, properscoring.crps_gaussian(y, mu, sd).mean(axis=0))


def test_the_likelihood_is_that_of_scipy(screen):
    comparison = screen(0)
    value, excess = (CATALOGUE[name](comparison).value for name in ("nll@all", "nll.excess@all"))
    for i in range(3):
        cells, sd = dense_cells(comparison, i), np.sqrt(np.maximum(comparison.variance[i], FLOOR))
        expected = -stats.norm.logpdf(cells, comparison.predicted[i], sd).mean()
        assert value[i] == pytest.approx(expected, rel=1e-5)
        own = np.sqrt(np.maximum(cells.var(axis=0), FLOOR))
        assert excess[i] == pytest.approx(expected + stats.norm.logpdf(cells, cells.mean(axis=0), own).mean(), rel=1e-4)


def _small(make_truth, mean, var, n_cells, predicted, variance):
    truth = make_truth(mean, [0.0, 0.0, 0.0])
    truth = replace(truth, profiles=replace(truth.profiles, var=np.array(var, np.float32), n_cells=np.array(n_cells)))
    return Comparison(truth, np.array(predicted, dtype=float), np.array(variance, dtype=float))


def test_three_conditions_of_three_genes_by_hand(make_truth):
    # Variances with divisor n are half of the unbiased ones for two cells; with one cell there is none.
    comparison = _small(
        make_truth,
        [[1, 2, 3]] * 3,
        [[2, 2, 2], [2, 0, 0], [9, 9, 9]],
        [2, 2, 1],
        [[1, 2, 3], [2, 2, 3], [3, 2, 3]],
        [[1, 1, 1], [1, 0, 0], [4, 4, 4]],
    )
    log = math.log(2 * math.pi)
    floor = math.log(2 * math.pi * 1e-4)
    expected = [0.5 * (log + 1), (0.5 * (log + 1 + 1) + 2 * 0.5 * floor) / 3, 0.5 * (log + math.log(4)) + 0.5 * (4 / 4) / 3]
    np.testing.assert_allclose(CATALOGUE["nll@all"](comparison).value, expected, rtol=1e-6)
    # Against the normals of the truth: variance 1 thrice, variances 1, 0, 0 and a difference of one, and no variance at all.
    expected = [0, 0.5 * 1 / 3, 0.5 * math.log(4 / 1e-4) + 0.5 * 1 / 3]
    np.testing.assert_allclose(CATALOGUE["nll.excess@all"](comparison).value, expected, atol=1e-6)
    # Mean predicted sd 1, 1/3 and 2 and squared errors 0, 1/3 and 4/3: the second is the surest and not the best.
    assert CATALOGUE["uncertainty_spearman@all"](comparison).value[0] == pytest.approx(0.5)
    assert CATALOGUE["aurc@all"](comparison).value[0] == pytest.approx((1 / 3 + 1 / 6 + 5 / 9) / 3)
    best = (0 + 1 / 6 + 5 / 9) / 3
    assert CATALOGUE["aurc.excess@all"](comparison).value[0] == pytest.approx((1 / 9) / (5 / 9 - best))
    assert CATALOGUE["conformal_width@all"](comparison).reason.tolist() == ["too_few_conditions"] * 3


def test_three_cells_of_three_genes_by_hand(make_truth):
    cells = np.array([[0, 1, 0], [0, 1, 2], [3, 1, 2]], dtype=np.float32)
    truth = make_truth([cells.mean(axis=0)], [0, 0, 0])
    truth = replace(truth, profiles=replace(truth.profiles, var=np.array([cells.var(axis=0, ddof=1)]), n_cells=np.array([3])))
    comparison = Comparison(
        _with_cells(truth, [sparse.csr_matrix(cells)]),
        np.array([[0.0, 1.0, 2.0]]),
        np.array([[1.0, 4.0, 0.0]]),
        {0: np.array([[0.0, 1, 2], [2.0, 1, 0]])},
    )
    at_centre = (math.sqrt(2) - 1) / math.sqrt(math.pi)
    at_three = 3 * (2 * stats.norm.cdf(3) - 1) + 2 * stats.norm.pdf(3) - 1 / math.sqrt(math.pi)
    expected = ((2 * at_centre + at_three) / 3 + 2 * at_centre + 2 / 3) / 3
    assert CATALOGUE["crps@all"](comparison).value[0] == pytest.approx(expected)
    # Within every central interval lie eight of nine but for the first gene's 3 and the third's 0: seven.
    assert CATALOGUE["coverage_error@all"](comparison).value[0] == pytest.approx(np.mean([abs(7 / 9 - p) for p in LEVELS]))
    # Mean distances less half of the mean over all pairs of predicted cells: 4 / 3 - 1 / 2, 0, 1 - 1 / 2.
    assert CATALOGUE["crps.sample@all"](comparison).value[0] == pytest.approx(4 / 9)


def test_cells_are_scored_as_a_loop_does(screen):
    comparison = screen(2)
    values = everything(comparison)
    for i in (0, 7):
        cells, sd = dense_cells(comparison, i), np.sqrt(comparison.variance[i])
        crps = crps_gaussian(cells, comparison.predicted[i], sd).mean(axis=0)
        assert values["crps@all"].value[i] == pytest.approx(crps.mean())
        assert values["crps@de20"].value[i] == pytest.approx(crps[comparison.truth.de_order[i, :20]].mean())
        errors = []
        for level in LEVELS:
            low, high = stats.norm.interval(level, comparison.predicted[i], sd)
            errors.append(abs(np.mean((cells >= low) & (cells <= high)) - level))
        assert values["coverage_error@all"].value[i] == pytest.approx(np.mean(errors))
        guess = comparison.cells[i].toarray().astype(np.float64)
        fair = [naive_crps(cells[:, g], guess[:, g]) for g in range(cells.shape[1])]
        assert values["crps.sample@all"].value[i] == pytest.approx(np.mean(fair))


def test_normal_cells_are_covered_and_have_the_expected_scores(make_truth):
    rng = np.random.default_rng(3)
    mean, sd = rng.normal(size=50), rng.gamma(3.0, 0.3, size=50)
    cells = rng.normal(mean, sd, size=(2000, 50))
    truth = make_truth([cells.mean(axis=0)], np.zeros(50))
    truth = replace(truth, profiles=replace(truth.profiles, var=np.array([cells.var(axis=0, ddof=1)]), n_cells=np.array([2000])))
    truth = _with_cells(truth, [sparse.csr_matrix(cells)])
    right, narrow, wide = (everything(Comparison(truth, mean[None], (k * sd**2)[None])) for k in (1, 0.25, 4))
    assert right["coverage_error@all"].value[0] < 0.005
    assert right["crps@all"].value[0] == pytest.approx(np.mean(sd) / math.sqrt(math.pi), rel=0.01)
    for name in ("coverage_error@all", "crps@all", "nll@all", "nll.excess@all"):
        assert right[name].value[0] < min(narrow[name].value[0], wide[name].value[0])


@few
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 5)), min_size=1, max_size=8))
def test_selective_risk_is_the_mean_over_orders_of_ties(items):
    doubt, error = (np.array(v, dtype=float) for v in zip(*items, strict=True))
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(300):
        order = np.lexsort((rng.random(len(doubt)), doubt))
        drawn.append([error[order][:k].mean() for k in range(1, len(doubt) + 1)])
    tolerance = 5 * np.std(drawn, axis=0) / math.sqrt(300) + 1e-9
    assert (abs(selective_risk(doubt, error) - np.mean(drawn, axis=0)) <= tolerance).all()


def test_warnings_are_those_of_a_loop(screen):
    comparison = screen(4)
    doubt = [np.sqrt(v).mean() for v in comparison.variance]
    error = np.array([np.mean((p - x) ** 2) for p, x in zip(comparison.predicted, comparison.expected, strict=True)])
    values = everything(comparison)
    assert values["uncertainty_spearman@all"].value[0] == pytest.approx(stats.spearmanr(doubt, error).statistic)

    def area(order):
        return np.mean([error[order[:k]].mean() for k in range(1, len(error) + 1)])

    assert values["aurc@all"].value[0] == pytest.approx(area(np.argsort(doubt)))
    room = error.mean() - area(np.argsort(error))
    expected = (area(np.argsort(doubt)) - area(np.argsort(error))) / room
    assert values["aurc.excess@all"].value[0] == pytest.approx(expected)


def test_a_spread_that_orders_the_errors_is_perfect_and_a_constant_one_is_chance(screen):
    comparison = screen(5)
    error = np.mean((comparison.predicted - comparison.expected) ** 2, axis=1, keepdims=True)
    ones = np.ones(comparison.predicted.shape)
    best, constant, worst = (
        everything(Comparison(comparison.truth, comparison.predicted, v)) for v in (error * ones, 0.37 * ones, ones / error)
    )
    assert best["uncertainty_spearman@all"].value[0] == pytest.approx(1)
    assert worst["uncertainty_spearman@all"].value[0] == pytest.approx(-1)
    assert constant["uncertainty_spearman@all"].reason.tolist() == ["zero_variance"]
    assert best["aurc.excess@all"].value[0] == pytest.approx(0, abs=1e-12)
    assert constant["aurc.excess@all"].value[0] == pytest.approx(1)
    assert constant["aurc@all"].value[0] == pytest.approx(error.mean())
    assert worst["aurc.excess@all"].value[0] > 1.5


@pytest.mark.parametrize("variant", ["", ".constant"])
def test_conformal_intervals_are_those_of_a_loop(screen, variant):
    comparison = screen(6, n=24)
    keys = [c.key for c in comparison.truth.conditions]
    order = sorted(range(24), key=lambda i: derived_seed("conformal", keys[i]))
    width, coverage = (CATALOGUE[f"conformal_{name}{variant}@all"](comparison).value for name in ("width", "coverage"))
    scale = np.ones(comparison.predicted.shape) if variant else np.sqrt(np.maximum(comparison.variance, FLOOR))
    score = abs(comparison.expected - comparison.predicted) / scale
    for half in (0, 1):
        rows, others = order[half::2], order[1 - half :: 2]
        pooled = np.sort(score[others].ravel())
        q = pooled[math.ceil(0.9 * 13 / 12 * len(pooled)) - 1]
        np.testing.assert_allclose(width[rows], 2 * q * scale[rows].mean(axis=1))
        np.testing.assert_allclose(coverage[rows], (score[rows] <= q).mean(axis=1))


def test_conformal_intervals_need_nine_conditions_to_calibrate_on(screen):
    for n, defined in ((16, 0), (17, 8), (18, 18)):
        # Seventeen are nine and eight: only the eight have nine to be calibrated on.
        values = CATALOGUE["conformal_width.constant@all"](screen(7, n=n))
        assert np.isfinite(values.value).sum() == defined
        assert set(values.reason[np.isnan(values.value)]) <= {"too_few_conditions"}


@pytest.mark.parametrize(("n", "most"), [(24, 0.9 + 0.9 / 12), (200, 0.9 + 0.9 / 100)])
def test_conformal_intervals_cover_nine_tenths_on_average(make_truth, n, most):
    """Conditions that differ in the size of their errors, over many screens: never less, and 0.9 / K more at most."""
    covered = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        truth = make_truth(rng.normal(size=(n, 30)), np.zeros(30))
        predicted = truth.profiles.mean + rng.normal(size=(n, 30)) * rng.gamma(2.0, size=(n, 1))
        covered.append(CATALOGUE["conformal_coverage.constant@all"](Comparison(truth, predicted)).value.mean())
    error = 3 * np.std(covered) / math.sqrt(40)
    assert 0.9 - error < np.mean(covered) < most + error


def test_intervals_without_a_width_cover_nothing_that_can_be_said(screen):
    comparison = screen(8)
    perfect = Comparison(comparison.truth, comparison.expected, comparison.variance)
    assert (CATALOGUE["conformal_width@all"](perfect).value == 0).all()
    assert CATALOGUE["conformal_coverage@all"](perfect).reason.tolist() == ["zero_variance"] * 20


def test_a_variance_of_zero_is_scored_and_not_left_out(screen):
    comparison = screen(9)
    values = everything(comparison)
    silent = comparison.variance.copy()
    silent[:, 3] = 0
    after = everything(Comparison(comparison.truth, comparison.predicted, silent))
    assert (after["nll@all"].value > values["nll@all"].value).all()
    i = 4
    cells = dense_cells(comparison, i)
    crps = crps_gaussian(cells, comparison.predicted[i], np.sqrt(np.where(silent[i] > 0, silent[i], 1))).mean(axis=0)
    crps[3] = abs(cells[:, 3] - comparison.predicted[i, 3]).mean()
    assert after["crps@all"].value[i] == pytest.approx(crps.mean())
    nothing = everything(Comparison(comparison.truth, comparison.predicted, np.zeros_like(silent), comparison.cells))
    for name, values in nothing.items():
        if name not in ("crps.sample@all", "conformal_width.constant@all", "conformal_coverage.constant@all"):
            assert set(values.reason) == {"zero_variance"}, name
        else:
            assert set(values.reason) == {""}, name


def test_a_gene_that_is_constant_on_both_sides_has_no_interval(screen):
    """The first gene is nowhere expressed: to say so is worth nothing to the coverage, whatever the level."""
    comparison = screen(10)
    predicted, variance = comparison.predicted.copy(), comparison.variance.copy()
    predicted[:, 0] = variance[:, 0] = 0
    value = CATALOGUE["coverage_error@all"](Comparison(comparison.truth, predicted, variance)).value[0]
    cells, sd = dense_cells(comparison, 0)[:, 1:], np.sqrt(variance[0, 1:])
    inside = [np.mean(abs(cells - predicted[0, 1:]) <= stats.norm.ppf(0.5 + p / 2) * sd) for p in LEVELS]
    assert value == pytest.approx(np.mean(np.abs(np.array(inside) - LEVELS)))


@pytest.mark.parametrize("size", [1e-300, 1e-8, 1e8, 1e200])
def test_extreme_variances_stay_finite(screen, size):
    comparison = screen(11)
    for name, values in everything(Comparison(comparison.truth, comparison.predicted, size * comparison.variance)).items():
        if name != "crps.sample@all":
            assert np.isfinite(values.value).all(), name


def test_reasons(screen):
    comparison = screen(12)
    predicted, variance = comparison.predicted.copy(), comparison.variance.copy()
    predicted[0] = np.nan
    variance[1] = np.nan
    variance[2] = 0
    cells = {k: v for k, v in comparison.cells.items() if k != 4}
    cells[5] = cells[5][:1]
    truth = replace(comparison.truth, de_order=np.where(np.arange(25) == 3, -1, comparison.truth.de_order))
    values = everything(Comparison(truth, predicted, variance, cells))
    first = ["absent", "no_variance", "zero_variance", *[""] * 17]
    for name in ("nll@all", "nll.excess@all", "crps@all", "coverage_error@all", "conformal_width@all", "conformal_coverage@all"):
        if name.startswith("conformal"):
            assert values[name].reason[:3].tolist() == first[:3]
        else:
            assert values[name].reason.tolist() == first, name
    assert values["crps@de20"].reason.tolist() == [*first[:3], *["too_few_genes"] * 17]
    assert values["crps.sample@all"].reason.tolist() == ["absent", "", "", "", "no_cells", "too_few_cells", *[""] * 14]
    assert values["conformal_width.constant@all"].reason.tolist() == ["absent", *[""] * 19]
    without = Comparison(replace(truth, cells=None), predicted)
    for name, metric in CATALOGUE.items():
        if metric.needs != ("means",):
            assert set(metric(without).reason) == {"no_cells" if "cells" in metric.needs else "no_variance"}, name
    pair = screen(13, n=2)
    assert CATALOGUE["uncertainty_spearman@all"](pair).reason.tolist() == ["too_few_conditions"]
    assert np.isfinite(CATALOGUE["aurc@all"](pair).value).all()
    gone = Comparison(pair.truth, np.full_like(pair.predicted, np.nan), pair.variance)
    assert CATALOGUE["aurc@all"](gone).reason.tolist() == ["absent"]


@few
@given(shapes)
def test_values_stay_in_range_and_only_undefined_ones_have_a_reason(screen, shape):
    seed, n, n_genes = shape
    comparison = screen(seed, n, n_genes)
    rng = np.random.default_rng(seed)
    comparison.predicted[rng.random(n) < 0.1] = np.nan
    for name, values in everything(comparison).items():
        info, undefined = CATALOGUE[name], np.isnan(values.value)
        assert values.value.shape == values.reason.shape == ((1,) if info.level == "dataset" else (n,))
        np.testing.assert_array_equal(values.reason != "", undefined)
        assert set(values.reason[undefined]) <= REASONS
        inside = values.value[~undefined]
        assert ((inside >= info.lower - 1e-9) & (inside <= info.upper)).all(), name


@few
@given(shapes)
def test_a_perfect_prediction_is_perfect_where_that_can_be(screen, shape):
    """Means and variances of the truth: scores of cells keep the spread of cells, and none scores better than they do."""
    comparison = screen(*shape)
    n = comparison.truth.profiles.n_cells[:, None]
    variance = comparison.truth.profiles.var.astype(np.float64) * (n - 1) / n
    perfect = everything(Comparison(comparison.truth, comparison.expected, variance))
    for name in (
        "nll.excess@all",
        "uncertainty_spearman@all",
        "aurc@all",
        "aurc.excess@all",
        *(m for m in CATALOGUE if "conformal" in m),
    ):
        values = perfect[name]
        defined = ~np.isnan(values.value)
        np.testing.assert_allclose(values.value[defined], CATALOGUE[name].perfect, atol=1e-9, err_msg=name)
        assert set(values.reason[~defined]) <= REASONS
    other = everything(comparison)
    better = perfect["nll@all"].value <= other["nll@all"].value + 1e-9
    assert better[~np.isnan(perfect["nll@all"].value)].all()


@few
@given(shapes, st.randoms(use_true_random=False))
def test_the_order_of_genes_cells_and_conditions_does_not_matter(screen, shape, random):
    comparison = screen(*shape)
    truth, old = comparison.truth, comparison.truth.profiles
    rows, columns = (np.array(random.sample(range(k), k)) for k in comparison.predicted.shape)
    shuffled = [truth.cells.load(i)[random.sample(range(15), 15)][:, columns] for i in rows]
    position = np.argsort(columns)
    moved = replace(
        truth,
        profiles=Profiles(
            tuple(old.conditions[i] for i in rows),
            old.mean[np.ix_(rows, columns)],
            old.var[np.ix_(rows, columns)],
            old.n_cells[rows],
        ),
        de_order=np.where(truth.de_order < 0, -1, position[truth.de_order])[rows],
    )
    after = everything(
        Comparison(
            _with_cells(moved, shuffled),
            comparison.predicted[np.ix_(rows, columns)],
            comparison.variance[np.ix_(rows, columns)],
            {k: comparison.cells[i][:, columns] for k, i in enumerate(rows)},
        )
    )
    for name, values in everything(comparison).items():
        own = slice(None) if len(values.value) == 1 else rows
        np.testing.assert_allclose(after[name].value, values.value[own], rtol=1e-6, atol=1e-6, err_msg=name)
        assert after[name].reason.tolist() == values.reason[own].tolist()


def test_halves_do_not_depend_on_which_model_is_scored_and_split_contexts_too(make_truth):
    conditions = tuple(Condition((f"P{i}",), context="ab"[i % 2]) for i in range(40))
    rng = np.random.default_rng(14)
    truth = make_truth(rng.normal(size=(40, 10)), np.zeros(10), conditions=conditions)
    predicted = truth.profiles.mean + rng.normal(size=(40, 10))
    before = CATALOGUE["conformal_width.constant@all"](Comparison(truth, predicted)).value
    sizes = {round(v, 9): np.flatnonzero(np.isclose(before, v)) for v in before}
    assert sorted(len(v) for v in sizes.values()) == [20, 20]
    # A condition that is absent changes only the width of the half that it does not calibrate any more.
    gone = predicted.copy()
    lost = next(iter(sizes.values()))[0]
    gone[lost] = np.nan
    after = CATALOGUE["conformal_width.constant@all"](Comparison(truth, gone)).value
    same = next(v for v in sizes.values() if lost in v)
    np.testing.assert_array_equal(np.delete(after[same], 0), np.delete(before[same], 0))
