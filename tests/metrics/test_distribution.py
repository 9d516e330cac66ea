"""Metrics of predicted cells: against loops and hand-computed values, on null data, and against games with cells."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from pbench.bench.contracts.cell_truth import CellTruth, embed
from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.metric import Comparison
from pbench.bench.contracts.training import Profiles
from pbench.bench.contracts.truth import Truth
from pbench.bench.kernels.pairwise import spread
from pbench.metrics import distribution, marginal
from pbench.metrics.distribution import BLUR
from pbench.metrics.marginal import FLOOR, MARGINAL_CELLS, correlation_error, log_totals, zero_fraction
from pbench.metrics.samples import fair
from pbench.metrics.two_sample import FOLDS, cross_fitted_auroc

METRICS = {m.id: m for family in (distribution, marginal) for m in family.METRICS}
UNBIASED = ("energy@all#pca", "energy.squared@all#pca", "mmd@all#pca")
#: The gap between a mean and its own cells says nothing about the truth.
FROM_CELLS = tuple(
    n for n, m in METRICS.items() if "cells" in m.needs and m.level == "perturbation" and n != "cells_mean_gap@all"
)
few = settings(max_examples=10, deadline=None)


def unbiased_variance(cells):
    return cells.var(axis=0, ddof=1) if len(cells) > 1 else np.zeros(cells.shape[1])


def truth_of(true, control, *, components=None, de_order=None, bandwidth=None):
    """A Truth of dense true cells of each condition; without components the coordinates are the genes."""
    n_genes = control.shape[1]
    components = np.eye(n_genes) if components is None else components
    mean = control.mean(axis=0).astype(np.float32)
    components = components.astype(np.float32)
    means = np.array([c.mean(axis=0) for c in true])
    conditions = tuple(Condition((f"P{i:03d}",)) for i in range(len(true)))
    profiles = Profiles(
        conditions,
        means.astype(np.float32),
        np.array([unbiased_variance(c) for c in true], dtype=np.float32),
        np.array([len(c) for c in true]),
    )
    controls = Profiles((Condition(),), mean[None], unbiased_variance(control)[None], np.array([len(control)]))
    ctrl = np.repeat(mean[None].astype(np.float64), len(true), axis=0)
    if de_order is None:
        de_order = np.argsort(-np.abs(means - mean), axis=1, kind="stable")[:, :100]
    points = [embed(c.astype(np.float32), mean, components) for c in true]
    if bandwidth is None:
        pooled = np.concatenate(points)
        bandwidth = float(np.median(cdist(pooled, pooled)[np.triu_indices(len(pooled), 1)]))
    cells = CellTruth(
        load=lambda i: sparse.csr_matrix(true[i].astype(np.float32)),
        load_controls=lambda r: sparse.csr_matrix(control.astype(np.float32)),
        p=np.full(means.shape, np.nan),
        auc=np.full(means.shape, 0.5),
        pca_mean=mean,
        pca_components=components,
        bandwidth=bandwidth,
        coordinates=lambda i: points[i],
    )
    names = np.array([f"gene{g:04d}" for g in range(n_genes)])
    both = (profiles, profiles)
    return Truth(names, profiles, controls, {"ctrl": ctrl}, de_order, ((),) * len(true), both, cells=cells)


def compare(truth, predicted, *, variance=None):
    """A Comparison of predicted cells: a list with one array a condition, or None where the model gives none."""
    means = np.array([np.zeros(len(truth.genes)) if c is None else np.asarray(c.mean(axis=0)).ravel() for c in predicted])
    if variance is None:
        variance = np.array(
            [np.full(len(truth.genes), np.nan) if c is None else unbiased_variance(np.asarray(c)) for c in predicted]
        )
    return Comparison(truth, means, variance, {i: c for i, c in enumerate(predicted) if c is not None})


def draw(rng, n, n_genes=60, effect=0.0):
    """log1p cells with zeros and correlated genes; `effect` moves the first tenth of the genes."""
    depth = rng.normal(size=(n, 1)) * 0.3
    rate = np.linspace(0.3, 2.0, n_genes) + depth
    rate[:, : max(1, n_genes // 10)] += effect
    return np.maximum(rng.normal(size=(n, n_genes)) * 0.6 + rate, 0).round(3).astype(np.float32)


@pytest.fixture(scope="module")
def screen():
    """Six conditions of different strength and size, a control, and second samples of the same distributions."""
    rng = np.random.default_rng(0)
    sizes, effects = (40, 60, 25, 80, 30, 50), (0.0, 0.5, 1.0, 1.5, -0.5, 2.0)
    true = [draw(rng, n, effect=e) for n, e in zip(sizes, effects, strict=True)]
    control = draw(rng, 120)
    components = np.linalg.svd(control - control.mean(axis=0), full_matrices=False)[2][:8]
    again = [draw(rng, n, effect=e) for n, e in zip(sizes, effects, strict=True)]
    return truth_of(true, control, components=components), true, control, again


def values(truth, predicted, names=FROM_CELLS):
    comparison = compare(truth, predicted)
    return {name: METRICS[name](comparison).value for name in names}


def forecast(x, y, kernel):
    """The energy distance of cells y to the forecast that weighs the cells x alike, at most as many x as y, by loops."""
    x = x[spread(x, len(y))] if len(x) > len(y) else x
    within = sum(kernel(a[None], b[None])[0, 0] for a in x for b in x) / len(x) ** 2
    own = sum(kernel(y[i : i + 1], y[j : j + 1])[0, 0] for i in range(len(y)) for j in range(len(y)) if i != j)
    return 2 * kernel(x, y).mean() - within - own / (len(y) * (len(y) - 1))


def unbiased(x, y, kernel):
    within = [(kernel(s, s).sum() - np.trace(kernel(s, s))) / (len(s) * (len(s) - 1)) for s in (x, y)]
    return 2 * kernel(x, y).mean() - sum(within)


# --- values by hand and by loop ---------------------------------------------------------------------------------------


def by_hand():
    """Three cells against two in two genes, the coordinates the genes less the mean of control, (1, 1)."""
    true = [np.array([[0.0, 1.0], [3.0, 5.0]])]
    predicted = [np.array([[0.0, 1.0], [0.0, 4.0], [3.0, 1.0]])]
    return truth_of(true, np.array([[0.0, 2.0], [2.0, 0.0]]), de_order=np.array([[1, 0]]), bandwidth=5.0), predicted


def test_distances_by_hand():
    truth, predicted = by_hand()
    found = {name: v[0] for name, v in values(truth, predicted).items()}
    # Two of the three predicted cells are heard, (0, 1) and (3, 1). Between: 0 5, 3 4. Within the prediction, each cell with
    # itself among the pairs: 0, 3, 3, 0; within the truth: 5.
    between, within = np.array([0.0, 5, 3, 4]), np.array([0.0, 3, 3, 0])
    assert found["energy@all#pca"] == pytest.approx(2 * between.mean() - within.mean() - 5, abs=1e-6)
    assert found["energy.squared@all#pca"] == pytest.approx(2 * (between**2).mean() - (within**2).mean() - 25, abs=1e-6)
    kernel = lambda d: np.exp(-(d**2) / 50)  # noqa: E731
    assert found["mmd@all#pca"] == pytest.approx(kernel(within).mean() + kernel(5.0) - 2 * kernel(between).mean(), abs=1e-6)
    assert np.isnan(found["classifier@all#pca"])


def test_single_genes_by_hand():
    truth, predicted = by_hand()
    found = {name: v[0] for name, v in values(truth, predicted).items()}
    # At most as many predicted cells as true ones: sorted, steps of 3 / 2 take the first and the last.
    # Gene 0: {0, 3} both times. Gene 1: {1, 1} against {1, 5}, distance (5 - 1) / 2 and step 1/2.
    assert found["wasserstein@all"] == pytest.approx(1.0) and found["ks@all"] == pytest.approx(0.25)
    assert np.isnan(found["wasserstein@de20"]) and np.isnan(found["correlation_error@de50"])
    # Zeros: gene 0 in 2 of 3 and 1 of 2 cells, gene 1 in none.
    assert found["zero_fraction@all"] == pytest.approx((2 / 3 - 1 / 2) / 2)
    # 1 + totals of expm1 are e, e^4 and e^3 + e - 1; of the truth e and e^3 + e^5 - 1. Median of three, mean of two.
    true = (1 + np.log(np.exp(3) + np.exp(5) - 1)) / 2
    assert found["library_size@all"] == pytest.approx(abs(np.log(np.exp(3) + np.e - 1) - true))


def test_variances_by_hand():
    truth, _ = by_hand()
    # True variances over cells: 4.5 and 8.
    comparison = Comparison(truth, np.zeros((1, 2)), np.array([[4.5, 2.0]], dtype=np.float32))
    expected = np.sqrt(np.log((2 + FLOOR) / (8 + FLOOR)) ** 2 / 2)
    assert METRICS["variance_error@all"](comparison).value[0] == pytest.approx(expected)
    assert METRICS["variance_spearman@all"](comparison).value[0] == pytest.approx(-1.0)
    flat = METRICS["variance_spearman@all"](Comparison(truth, np.zeros((1, 2)), np.ones((1, 2))))
    assert np.isnan(flat.value[0]) and flat.reason[0] == "zero_variance"
    assert METRICS["variance_error@de20"](comparison).reason[0] == "too_few_genes"


def test_correlation_error_by_hand():
    y = np.array([[1.0, 1, 7, 0], [2, 2, 7, 1], [3, 3, 7, 0]])  # genes 0 and 1 correlate by 1, 3 with neither; 2 is constant
    x = np.array([[1.0, 3, 1, 1], [2, 2, 5, 3], [3, 1, 2, 1]])
    # Predicted: -1 between 0 and 1, 0 with 3. The other entries are equal, so 2 twice in a norm over three genes.
    assert correlation_error(x, y) == pytest.approx(np.sqrt(2 * 2**2) / 3)
    assert correlation_error(y, y) == 0.0
    x[:, 3] = 4.0
    assert np.isnan(correlation_error(x, y)) and np.isnan(correlation_error(y, np.ones((3, 4))))
    assert np.isnan(correlation_error(y[:, :1], y[:, :1]))


def test_statistics_of_many_cells_are_loops_over_them(screen):
    truth, true, _, again = screen
    found = values(truth, again)
    variances = compare(truth, again)
    sigma = truth.cells.bandwidth
    for i, (a, b) in enumerate(zip(again, true, strict=True)):
        x, y = (truth.cells.embed(c).astype(np.float64) for c in (a, b))
        assert found["energy@all#pca"][i] == pytest.approx(forecast(x, y, cdist), abs=1e-5)
        assert found["energy.squared@all#pca"][i] == pytest.approx(forecast(x, y, lambda s, t: cdist(s, t) ** 2), abs=1e-4)
        k = -forecast(x, y, lambda s, t: np.exp(-(cdist(s, t) ** 2) / (2 * sigma**2)))
        assert found["mmd@all#pca"][i] == pytest.approx(k, abs=1e-6)
        assert 0 < found["sinkhorn@all#pca"][i] < sigma
        top = truth.de_order[i]
        w1 = np.array([stats.wasserstein_distance(a[:, g], b[:, g]) for g in range(60)])
        ks = np.array([stats.ks_2samp(a[:, g], b[:, g]).statistic for g in range(60)])
        for name, per_gene in (("wasserstein", w1), ("ks", ks)):
            assert found[f"{name}@all"][i] == pytest.approx(per_gene.mean(), abs=1e-6)
            assert found[f"{name}@de20"][i] == pytest.approx(per_gene[top[:20]].mean(), abs=1e-6)
        gap = np.corrcoef(a[:, top[:50]].T) - np.corrcoef(b[:, top[:50]].T)
        assert found["correlation_error@de50"][i] == pytest.approx(np.sqrt((gap**2).sum()) / 50, abs=1e-6)
        assert found["zero_fraction@all"][i] == pytest.approx(np.abs((a == 0).mean(axis=0) - (b == 0).mean(axis=0)).mean())
        depth = [np.median(np.log1p(np.expm1(c).sum(axis=1))) for c in (a, b)]
        assert found["library_size@all"][i] == pytest.approx(abs(depth[0] - depth[1]), abs=1e-6)
        v, w = a.var(axis=0, ddof=1), b.var(axis=0, ddof=1)
        spearman = METRICS["variance_spearman@all"](variances).value[i]
        assert spearman == pytest.approx(stats.spearmanr(v, w).statistic, abs=1e-6)
        rmse = np.sqrt(np.mean((np.log(v + FLOOR) - np.log(w + FLOOR)) ** 2))
        assert METRICS["variance_error@all"](variances).value[i] == pytest.approx(rmse, abs=1e-6)


def test_the_gap_between_a_mean_and_its_cells():
    """Cells (1, 2) and (3, 6) have the mean (2, 4); a mean of (2, 1) is off by the root of (0 + 9) / 2."""
    control = np.zeros((4, 2))
    truth = truth_of([np.array([[1.0, 2.0], [3.0, 6.0]])] * 2, control)
    comparison = compare(truth, [np.array([[1.0, 2.0], [3.0, 6.0]])] * 2)
    metric = METRICS["cells_mean_gap@all"]
    np.testing.assert_allclose(metric(comparison).value, 0, atol=1e-12)
    elsewhere = replace(comparison, predicted=np.array([[2.0, 1.0], [2.0, 4.0]]))
    np.testing.assert_allclose(metric(elsewhere).value, [np.sqrt(4.5), 0], atol=1e-12)


def test_effect_sizes_are_correlated_over_conditions(screen):
    truth, true, control, again = screen
    metric = METRICS["effect_energy_pearson@all~ctrl#pca"]
    origin = truth.cells.embed(control).astype(np.float64)
    sizes = [[unbiased(truth.cells.embed(c).astype(np.float64), origin, cdist) for c in side] for side in (again, true)]
    assert metric(compare(truth, again)).value == pytest.approx([np.corrcoef(*sizes)[0, 1]], abs=1e-5)
    # Over those that were predicted; not over two, and not of one prediction for all.
    part = [again[0], None, *again[2:]]
    kept = [0, 2, 3, 4, 5]
    expected = np.corrcoef(np.array(sizes)[:, kept])[0, 1]
    assert metric(compare(truth, part)).value == pytest.approx([expected], abs=1e-5)
    assert metric(compare(truth, [*again[:2], None, None, None, None])).reason.tolist() == ["too_few_conditions"]
    assert metric(compare(truth, [again[1]] * 6)).reason.tolist() == ["zero_variance"]


def test_sinkhorn_is_root_two_times_the_divergence_of_a_shifted_copy(screen):
    """Equal samples at a distance s have the divergence s^2 / 2 whatever the entropy, so the value is s."""
    truth, true, _, _ = screen
    shifted = [c + 0.5 * truth.cells.pca_components[0] for c in true]
    np.testing.assert_allclose(values(truth, shifted)["sinkhorn@all#pca"], 0.5, rtol=1e-3)


def test_classifier_is_a_cross_fitted_area(screen):
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(97, 3)) + [1.0, 0, 0], rng.normal(size=(80, 3))
    areas = []
    for fold in range(FOLDS):
        out = [np.arange(len(s)) % FOLDS == fold for s in (x, y)]
        fit = np.concatenate([x[~out[0]], y[~out[1]]])
        label = np.repeat([1, 0], [(~out[0]).sum(), (~out[1]).sum()])
        centre, scale = fit.mean(axis=0), fit.std(axis=0)
        features = lambda p, c=centre, s=scale: np.hstack([(p - c) / s, np.abs((p - c) / s)])  # noqa: E731
        a, b = features(fit)[label == 1], features(fit)[label == 0]
        covariance = (np.cov(a.T) * (len(a) - 1) + np.cov(b.T) * (len(b) - 1)) / (len(fit) - 2)
        weights = np.linalg.inv(covariance + 0.1 * np.eye(6)) @ (a.mean(axis=0) - b.mean(axis=0))
        held = np.concatenate([x[out[0]], y[out[1]]])
        areas.append(roc_auc_score(np.repeat([1, 0], [out[0].sum(), out[1].sum()]), features(held) @ weights))
    assert cross_fitted_auroc(x, y) == pytest.approx(np.mean(areas))
    assert cross_fitted_auroc(x, x) == 0.5 == cross_fitted_auroc(np.ones((10, 3)), np.ones((12, 3)))
    assert cross_fitted_auroc(np.ones((10, 3)), np.zeros((12, 3))) == 1.0
    # A wrong spread and a collapse to the mean are seen, though the means agree.
    assert cross_fitted_auroc(3 * (y - y.mean(axis=0)) + y.mean(axis=0), y) > 0.7
    assert cross_fitted_auroc(np.repeat(y.mean(axis=0)[None], 50, axis=0), y) > 0.9


# --- what perfect, null and cheating predictions get -------------------------------------------------------------------


def test_the_truths_own_cells(screen):
    """T1. Perfect where the statistic is of samples; below zero where it is an unbiased estimate."""
    truth, true, _, _ = screen
    comparison = compare(truth, true)
    for name, metric in METRICS.items():
        found = metric(comparison)
        assert not np.isnan(found.value).any(), name
        if name in UNBIASED:
            assert (found.value < 0).all() and (found.value >= metric.lower).all(), name
        else:
            np.testing.assert_allclose(found.value, metric.perfect, atol=1e-6, err_msg=name)


def test_null_data_are_at_zero_on_average():
    """T9. Truth and prediction are samples of one distribution, of different sizes."""
    rng = np.random.default_rng(5)
    n = 300
    true = [draw(rng, 12, 30) for _ in range(n)]
    truth = truth_of(true, draw(rng, 50, 30), bandwidth=4.0)
    again = [draw(rng, 17, 30) for _ in range(n)]
    from pbench.bench.kernels.pairwise import energy_distance, mmd

    embedded = [truth.cells.embed(x) for x in again]
    pairs = [(x, truth.cells.embedded(i)) for i, x in enumerate(embedded)]
    found = {f"energy {power}": np.array([energy_distance(x, y, power=power) for x, y in pairs]) for power in (1, 2)}
    found["mmd"] = np.array([mmd(x, y, 4.0) for x, y in pairs])
    found["classifier"] = np.array([cross_fitted_auroc(x, y) for x, y in zip(again, true, strict=True)]) - 0.5
    for name, v in found.items():
        assert abs(v.mean()) < 3.5 * v.std() / np.sqrt(n), name
    # The metrics take predicted cells as a forecast: a second sample lies above zero by its mean distance over its number.
    scored = values(truth, again, ("energy@all#pca",))["energy@all#pca"]
    kept = [x[spread(x, 12)] for x in embedded]
    above = np.array([cdist(x, x).sum() / (12 * 11) / 12 for x in kept])
    direct = np.array([energy_distance(x, y) for x, (_, y) in zip(kept, pairs, strict=True)])
    np.testing.assert_allclose(scored, direct + above, atol=1e-4)


@pytest.mark.parametrize("far", [3.0, 30.0, 1000.0])
def test_cells_that_are_chosen_to_please_an_unbiased_statistic_lose(screen, far):
    """Two opposite cells far away make the unbiased mean distance as large as one likes, and many do it for squared norms."""
    truth, _, control, again = screen
    honest = values(truth, again)
    centre = control.mean(axis=0) if hasattr(control, "mean") else truth.controls.mean[0]
    axis = truth.cells.pca_components[0]
    for n in (2, 40):
        signs = np.where(np.arange(n) % 2, 1.0, -1.0)[:, None]
        game = values(truth, [(centre + far * signs * axis).astype(np.float32)] * len(again))
        for name in UNBIASED:
            assert game[name].mean() > honest[name].mean(), (name, n)


def worse_or_equal(name, game, honest, slack):
    """Whether `game` is not better than `honest`, in the mean over conditions and up to `slack`; all are better when lower."""
    assert METRICS[name].direction == "down"
    return game.mean() >= honest.mean() - slack


@pytest.mark.parametrize("copies", [2, 5])
def test_copies_of_cells_gain_nothing(screen, copies):
    """T8."""
    truth, _, _, again = screen
    honest, game = values(truth, again), values(truth, [np.repeat(c, copies, axis=0) for c in again])
    for name in FROM_CELLS:
        assert worse_or_equal(name, game[name], honest[name], 1e-6), name
        if name not in (*UNBIASED, "classifier@all#pca"):
            np.testing.assert_allclose(game[name], honest[name], atol=1e-6, err_msg=name)


def test_copies_gain_nothing_where_the_model_has_fewer_or_more_cells_than_the_truth(screen):
    """T8. Thinning sees the same cells again, and half as many cells as the truth do not become as many."""
    truth, _, _, again = screen
    for share in (0.5, 0.75):
        part = [c[: int(len(c) * share)] for c in again]
        honest, game = values(truth, part), values(truth, [np.repeat(c, 2, axis=0) for c in part])
        for name in FROM_CELLS:
            assert worse_or_equal(name, game[name], honest[name], 0.02 * abs(honest[name].mean())), name


@pytest.mark.parametrize("factor", [1.5, 3.0])
def test_inflated_variance_gains_nothing(screen, factor):
    """T8. Means stay as they are; the unbiased squared energy and correlations are blind to it, everything else is worse."""
    truth, _, _, again = screen
    inflated = [c.mean(axis=0) + factor * (c - c.mean(axis=0)) for c in again]
    honest, game = values(truth, again), values(truth, inflated)
    blind = ("energy.squared@all#pca", "correlation_error@de50", "library_size@all")
    for name in set(FROM_CELLS) - set(blind):
        assert worse_or_equal(name, game[name], honest[name], -1e-9), name
    assert worse_or_equal("library_size@all", game["library_size@all"], honest["library_size@all"], 1e-9)
    np.testing.assert_allclose(game["correlation_error@de50"], honest["correlation_error@de50"], atol=1e-5)
    both = [compare(truth, cells) for cells in (again, inflated)]
    before, after = (METRICS["variance_error@all"](c).value for c in both)
    assert (after > before).all()
    before, after = (METRICS["variance_spearman@all"](c).value for c in both)
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_cells_collapsed_to_the_mean_lose_where_distributions_are_compared(screen):
    """Without the spread a prediction of the exact true means is worse than a second sample with noisy means."""
    truth, true, _, again = screen
    collapsed = [np.repeat(c.mean(axis=0)[None], len(c), axis=0) for c in true]
    honest, game = values(truth, again), values(truth, collapsed)
    for name in set(FROM_CELLS) - {"energy.squared@all#pca", "correlation_error@de50", "library_size@all"}:
        assert worse_or_equal(name, game[name], honest[name], -1e-6), name
    assert np.isnan(game["correlation_error@de50"]).all()


def test_in_many_dimensions_a_short_blur_would_prefer_the_collapse():
    """Why `BLUR` is as long as it is."""
    from pbench.bench.kernels.transport import sinkhorn_divergence

    rng = np.random.default_rng(6)
    spread = np.concatenate([[5.0, 4, 3], np.linspace(2, 0.6, 47)])
    y, again = (rng.normal(size=(256, 50)) * spread for _ in range(2))
    point = np.repeat(y.mean(axis=0)[None], 256, axis=0)
    bandwidth = np.median(cdist(y, y)[np.triu_indices(256, 1)])
    for blur, prefers_the_point in ((0.15, True), (BLUR, False)):
        sample, collapse = (sinkhorn_divergence(x, y, (blur * bandwidth) ** 2) for x in (again, point))
        assert (collapse < sample) == prefers_the_point


def test_further_cells_of_the_same_distribution_do_not_matter_beyond_the_truths_number():
    rng = np.random.default_rng(7)
    y = draw(rng, 20)
    x = draw(rng, 400)
    mine, own = fair(x, y, MARGINAL_CELLS)
    assert (len(mine), len(own)) == (20, 20)
    assert [len(s) for s in fair(x, draw(rng, 700), MARGINAL_CELLS)] == [256, 256]
    assert [len(s) for s in fair(x[:30], draw(rng, 700), MARGINAL_CELLS)] == [30, 256]


@few
@given(st.integers(0, 10**6))
def test_order_of_cells_and_genes_and_the_kind_of_matrix_do_not_matter(seed):
    """T3 and T4."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(12, 40, size=3)
    true, control = [draw(rng, n, 50, effect=rng.normal()) for n in sizes], draw(rng, 30, 50)
    predicted = [draw(rng, n + rng.integers(0, 20), 50) for n in sizes]
    components = np.linalg.svd(control - control.mean(axis=0), full_matrices=False)[2][:6]
    order = np.argsort(-rng.random((3, 50)), axis=1)
    truth = truth_of(true, control, components=components, de_order=order, bandwidth=3.0)
    columns = rng.permutation(50)
    moved = truth_of(
        [c[rng.permutation(len(c))][:, columns] for c in true],
        control[:, columns],
        components=components[:, columns],
        de_order=np.argsort(columns)[order],
        bandwidth=3.0,
    )
    shuffled = [c[rng.permutation(len(c))][:, columns] for c in predicted]
    for name, metric in METRICS.items():
        expected = metric(compare(truth, predicted))
        for cells in (shuffled, [sparse.csr_matrix(c) for c in shuffled]):
            found = metric(replace(compare(moved, shuffled), cells=dict(enumerate(cells))))
            np.testing.assert_allclose(found.value, expected.value, rtol=1e-5, atol=2e-6, err_msg=name)
            assert found.reason.tolist() == expected.reason.tolist()


def test_reasons(screen):
    truth, true, _, again = screen
    predicted = [again[0], None, again[2][:1], again[3][:8], np.repeat(again[4][:1], 20, axis=0), None]
    comparison = compare(truth, predicted)
    means = comparison.predicted.copy()
    means[5] = np.nan
    comparison = replace(comparison, predicted=means)
    for name in FROM_CELLS:
        found = METRICS[name](comparison)
        expected = ["", "no_cells", "too_few_cells", "", "", "absent"]
        if name == "classifier@all#pca":
            expected[3] = "too_few_cells"
        if name == "correlation_error@de50":
            expected[4] = "zero_variance"
        assert found.reason.tolist() == expected or (name == "correlation_error@de50" and found.reason[3] == "zero_variance"), (
            name
        )
        assert np.isnan(found.value).tolist() == [bool(r) for r in found.reason]
    variance = METRICS["variance_error@all"](replace(comparison, variance=np.where(np.arange(6)[:, None] == 1, np.nan, 1.0)))
    assert variance.reason.tolist() == ["", "no_variance", "", "", "", "absent"]
    for name, metric in METRICS.items():
        nothing = metric(Comparison(truth, means))
        assert set(nothing.reason) == {"no_variance" if "variance" in metric.needs else "no_cells"}, name
        blind = metric(replace(compare(truth, again), truth=replace(truth, cells=None)))
        if "cells" in metric.needs:
            assert set(blind.reason) == {"no_truth_cells"}


def test_truths_without_cells_genes_or_bandwidth(screen):
    truth, true, control, again = screen
    single = truth_of([true[0][:1], true[1]], control)
    assert METRICS["energy@all#pca"](compare(single, again[:2])).reason.tolist() == ["too_few_cells", ""]
    assert METRICS["variance_error@all"](compare(single, again[:2])).reason.tolist() == ["too_few_cells", ""]
    few_genes = replace(truth, de_order=np.where(np.arange(truth.de_order.shape[1]) < 30, truth.de_order, -1))
    found = {name: set(METRICS[name](compare(few_genes, again)).reason) for name in ("ks@de20", "correlation_error@de50")}
    assert found == {"ks@de20": {""}, "correlation_error@de50": {"too_few_genes"}}
    for bandwidth in (0.0, float("nan")):
        flat = truth_of(true, control, bandwidth=bandwidth)
        for name in ("mmd@all#pca", "sinkhorn@all#pca"):
            assert set(METRICS[name](compare(flat, again)).reason) == {"zero_variance"}


def test_absurd_predictions_get_finite_bad_values(screen):
    truth, _, _, again = screen
    honest = values(truth, again)
    for factor in (1e3, 1e30):
        with np.errstate(over="ignore"):
            absurd = values(truth, [(c * factor).astype(np.float32) for c in again])
        for name in set(FROM_CELLS) - {"correlation_error@de50", "zero_fraction@all"}:
            assert np.isfinite(absurd[name]).all(), name
            assert worse_or_equal(name, absurd[name], honest[name], -1e-3), name


def test_a_wrong_scale_is_seen_by_the_checks_of_sanity(screen):
    truth, _, _, again = screen
    honest = values(truth, again)["library_size@all"]
    for wrong in (np.log2(np.e), 0.5):
        assert (values(truth, [c * wrong for c in again])["library_size@all"] > honest + 0.3).all()
    dense = values(truth, [c + 1e-3 for c in again])["zero_fraction@all"]
    zeros = [np.mean(truth.cells.load(i).toarray() == 0) for i in range(6)]
    np.testing.assert_allclose(dense, zeros, atol=1e-12)


def test_log_totals_and_zero_fraction():
    cells = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, -3.0], [800.0, 800.0, 0.0]])
    expected = [0.0, np.log(np.e + np.e**2 - 1), 800 + np.log(2)]
    for kind in (np.asarray, sparse.csr_matrix):
        np.testing.assert_allclose(log_totals(kind(cells)), expected)
        np.testing.assert_allclose(zero_fraction(kind(cells)), [1 / 3, 1 / 3, 2 / 3])


def test_cells_are_read_twice_at_most(screen):
    truth, _, _, again = screen

    class Counted(dict):
        reads = 0

        def __getitem__(self, key):
            Counted.reads += 1
            return super().__getitem__(key)

    comparison = replace(compare(truth, again), cells=Counted(enumerate(again)))
    for metric in METRICS.values():
        metric(comparison)
    assert Counted.reads == 2 * len(again)


def test_facts():
    for name, metric in METRICS.items():
        assert metric.id == name and metric.summary.endswith(".") and metric.caveats.endswith(".")
        assert not set("|\n") & set(metric.summary + metric.reference + metric.caveats)
        assert metric.lower <= metric.perfect <= metric.upper
        assert pickle.loads(pickle.dumps(metric)).id == name
    assert METRICS["energy.squared@all#pca"].parts["variant"] == "squared"
