"""Correlation coefficients against known answers, all permutations, scipy and scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, stats
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import FastICA

from pbench.bench.kernels.matching import (
    agreement,
    assignment,
    canonical,
    correlations,
    dead_codes,
    elementwise,
    matched,
    matching,
    rotation_floor,
)

few = settings(max_examples=15, deadline=None)


def halves(n):
    return np.arange(n) % 2 == 0


def in_sample(z, h):
    """What most papers report: the pairs and their correlations on the same rows."""
    found = np.abs(correlations(z, h))
    return max(np.mean([found[i, j] for i, j in enumerate(p)]) for p in permutations(range(h.shape[1]), z.shape[1]))


def rotation(rng, d):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def test_order_sign_and_scale_do_not_matter(cells):
    z = cells.z
    codes = 1e3 * z[:, ::-1] * np.array([1, -2, 3, -4, 5, -0.1]) + 7
    for name in ("mcc.pearson", "mcc.spearman", "mcc.affine", "mcc.within", "mcc.adjusted", "mcc.responsive", "mcc.invariant"):
        assert cells.score(name, codes) == pytest.approx(1, abs=1e-9), name
    assert cells.score("mcc.elementwise", codes) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(cells.values("mcc_latent.pearson", codes).value, 1)


def test_elementwise_maps():
    rng = np.random.default_rng(0)
    z, report = rng.normal(size=(40_000, 3)), halves(40_000)
    assert matched(z, z**3, report).mean() == pytest.approx(0.777, abs=0.02)
    assert matched(z, z**3, report, ranks=True) == pytest.approx(1)
    assert matched(z, np.exp(z), report).mean() == pytest.approx(1 / np.sqrt(np.e - 1), abs=0.04)
    assert matched(z, np.tanh(3 * z), report).mean() == pytest.approx(0.89, abs=0.02)
    assert elementwise(z, z**3, report) == pytest.approx(1, abs=1e-4)
    # An even map keeps the size and loses the sign: no correlation, but one of functions.
    assert np.abs(matched(z, z**2, report)).max() < 0.05 and np.abs(matched(z, z**2, report, ranks=True)).max() < 0.05
    assert elementwise(z, z**2, report).min() > 0.99
    assert np.abs(elementwise(z, rng.normal(size=z.shape), report)).max() < 0.05


def test_rotations_of_independent_variables():
    rng = np.random.default_rng(1)
    z, report = rng.normal(size=(20_000, 5)), halves(20_000)
    found = [matched(z, z @ rotation(rng, 5), report).mean() for _ in range(20)]
    assert np.mean(found) == pytest.approx(0.72, abs=0.03)
    assert canonical(z, z @ rotation(rng, 5), report) == pytest.approx(np.ones(5))


def test_chance_is_zero_across_halves_and_not_within():
    rng = np.random.default_rng(2)
    draws = [(rng.normal(size=(5000, 5)), rng.normal(size=(5000, 5))) for _ in range(20)]
    assert np.mean([in_sample(z, h) for z, h in draws]) == pytest.approx(0.020, abs=0.006)
    found = [matched(z, h, halves(5000)).mean() for z, h in draws]
    assert np.abs(found).max() < 0.03 and abs(np.mean(found)) < 3 * 0.009 / np.sqrt(20)
    assert max(abs(canonical(z, h, halves(5000)).mean()) for z, h in draws) < 0.03


@few
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 5))
def test_pairs_are_the_best_of_all_permutations(seed, d, m):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(80, d))
    h = rng.normal(size=(80, m)) + z @ rng.normal(size=(d, m))
    report = halves(80)
    fit = np.array([[stats.pearsonr(z[~report, i], h[~report, j]).statistic for j in range(m)] for i in range(d)])
    if d <= m:
        best = max(permutations(range(m), d), key=lambda p: sum(abs(fit[i, j]) for i, j in enumerate(p)))
        pairs = list(enumerate(best))
    else:
        best = max(permutations(range(d), m), key=lambda p: sum(abs(fit[i, j]) for j, i in enumerate(p)))
        pairs = [(i, j) for j, i in enumerate(best)]
    expected = np.zeros(d)
    for i, j in pairs:
        expected[i] = np.sign(fit[i, j]) * stats.pearsonr(z[report, i], h[report, j]).statistic
    np.testing.assert_allclose(matched(z, h, report), expected, atol=1e-12)


@few
@given(st.integers(0, 10_000))
def test_ranks_are_those_of_scipy_also_with_ties(seed):
    rng = np.random.default_rng(seed)
    z, h = rng.integers(0, 4, (60, 3)).astype(float), rng.integers(0, 5, (60, 4)).astype(float)
    found = correlations(z, h, ranks=True)
    for i in range(3):
        for j in range(4):
            assert found[i, j] == pytest.approx(stats.spearmanr(z[:, i], h[:, j]).statistic, abs=1e-12)


def test_variables_without_a_code_count_as_zero(cells):
    z = cells.z
    d = z.shape[1]
    assert cells.score("mcc.pearson", z[:, :4]) == pytest.approx(4 / d)
    assert cells.score("mcc.affine", z[:, :4]) == pytest.approx(4 / d)
    dead = z.copy()
    dead[:, 2] = 3.0
    assert cells.score("mcc.pearson", dead) == pytest.approx((d - 1) / d)
    assert cells.score("dead_codes", dead) == 1
    twice = np.hstack([z, z])
    assert cells.score("mcc.pearson", twice) == pytest.approx(1)
    assert cells.score("mcc.pearson", np.zeros_like(z)) == 0 and cells.score("dead_codes", np.zeros_like(z)) == d
    assert cells.score("mcc.elementwise", np.zeros_like(z)) == cells.score("mcc.affine", np.zeros_like(z)) == 0


@pytest.mark.parametrize("place", [0.0, 5.0])
def test_a_collapsed_code_is_dead(cells, place):
    codes = cells.z.copy()
    codes[:, 1] = place + 1e-9 * codes[:, 1]
    assert np.corrcoef(codes[:, 1], cells.z[:, 1])[0, 1] > 0.999
    assert cells.score("dead_codes", codes) == 1
    assert cells.score("mcc.pearson", codes) == pytest.approx(1 - 1 / codes.shape[1])
    assert cells.values("r2_latent.nonlinear", codes).value[1] < 0.6
    # Also where most have collapsed, so that the median is no measure, and where all have, away from zero.
    codes[:, 1:] = place + 1e-9 * cells.z[:, 1:]
    assert cells.score("dead_codes", codes) == codes.shape[1] - 1
    assert dead_codes(5 + 1e-9 * cells.z).all() and not dead_codes(1e-9 * cells.z).any()
    assert not dead_codes(cells.z * np.array([1, 10, 0.1, 1, 2, 0.5])).any()


def test_without_codes_or_rows():
    assert assignment(np.zeros((2, 0))).tolist() == [-1, -1]
    assert matched(np.eye(4)[:, :2], np.zeros((4, 0)), np.arange(4) < 2).tolist() == [0, 0]
    assert dead_codes(np.zeros((0, 3))).all()


def test_the_reported_half_is_not_looked_at():
    rng = np.random.default_rng(3)
    z, report = rng.normal(size=(400, 4)), halves(400)
    h = z @ rng.normal(size=(4, 6)) + 0.3 * rng.normal(size=(400, 6))
    other = z.copy()
    other[report] = rng.normal(size=other[report].shape)
    first, second = matching(z[~report], h[~report]), matching(other[~report], h[~report])
    assert first.code.tolist() == second.code.tolist() and first.sign.tolist() == second.sign.tolist()
    # With the pairs of the other half, scrambled rows have correlations around zero; the best pairs of their own would not.
    assert abs(matched(other, h, report).mean()) < 0.1 < in_sample(other[report], h[report])
    for score in (canonical, elementwise):
        assert score(z, h, report).mean() > 0.5 > 0.15 > abs(score(other, h, report).mean())


def test_canonical_pairs_are_those_of_scikit_learn():
    rng = np.random.default_rng(4)
    z = rng.normal(size=(2000, 3))
    h = z @ rng.normal(size=(3, 5)) + np.array([0.2, 1, 2, 0.1, 1]) * rng.normal(size=(2000, 5))
    report = halves(2000)
    fitted = CCA(3, max_iter=5000, tol=1e-12).fit(h[~report], z[~report])
    x, y = fitted.transform(h[report], z[report])
    expected = [np.corrcoef(x[:, k], y[:, k])[0, 1] for k in range(3)]
    np.testing.assert_allclose(canonical(z, h, report), expected, atol=1e-4)
    # A code that repeats another one adds nothing.
    np.testing.assert_allclose(canonical(z, np.hstack([h, h[:, :2]]), report), expected, atol=1e-4)


def equicorrelated(d, rho):
    return np.full((d, d), rho) + (1 - rho) * np.eye(d)


@pytest.mark.parametrize(
    ("d", "rho", "level"), [(5, 0, 0.71), (5, 0.3, 0.74), (5, 0.6, 0.77), (5, 0.9, 0.84), (10, 0, 0.60), (10, 0.9, 0.83)]
)
def test_rotation_floor(d, rho, level):
    rng = np.random.default_rng(5)
    z = rng.multivariate_normal(np.zeros(d), equicorrelated(d, rho), size=5000) * rng.uniform(0.1, 10, d)
    assert rotation_floor(z, seed=0, draws=300) == pytest.approx(level, abs=0.05)
    assert rotation_floor(z, seed=0) == rotation_floor(z, seed=0) != rotation_floor(z, seed=1)


def test_rotation_floor_is_that_of_rotated_samples():
    rng = np.random.default_rng(6)
    z = rng.multivariate_normal(np.zeros(4), equicorrelated(4, 0.5), size=20_000)
    scaled = z / z.std(axis=0)
    sampled = [matched(z, scaled @ rotation(rng, 4), halves(len(z))).mean() for _ in range(150)]
    assert rotation_floor(z, seed=0, draws=150) == pytest.approx(np.mean(sampled), abs=0.03)


def test_adjusted_for_the_floor(cells):
    rng = np.random.default_rng(7)
    z = cells.z / cells.z.std(axis=0)
    floor = cells.score("mcc.floor", z)
    assert 0.6 < floor < 0.9 and cells.score("mcc.floor", rng.normal(size=z.shape)) == floor
    turned = [z @ rotation(rng, z.shape[1]) for _ in range(20)]
    assert abs(np.mean([cells.score("mcc.adjusted", h) for h in turned])) < 0.15
    for h in turned[:2]:
        mcc = cells.score("mcc.pearson", h)
        assert cells.score("mcc.adjusted", h) == pytest.approx((mcc - floor) / (1 - floor))


@pytest.mark.parametrize("d", [5, 10])
def test_ica_finds_linear_mixtures_and_not_deep_ones(d):
    rng = np.random.default_rng(8)
    z = rng.laplace(size=(10_000, d))
    deep = z
    for _ in range(3):
        deep = deep @ rotation(rng, d)
        deep = np.where(deep > 0, deep, 0.2 * deep)
    score = {}
    for name, x in (("linear", z @ rng.normal(size=(d, d))), ("deep", deep)):
        codes = FastICA(d, whiten="unit-variance", random_state=0, max_iter=1000, tol=1e-5).fit_transform(x)
        score[name] = matched(z, codes, halves(len(z))).mean()
    assert score["linear"] == pytest.approx(0.9995, abs=5e-4) and 0.4 < score["deep"] < 0.8


def test_within_environments(cells, build):
    # A code that knows nothing but the condition correlates over all cells and not within one.
    shift = np.array([cells.z[cells.perturbation == p].mean(axis=0) for p in range(5)])[cells.perturbation]
    labels = shift + 1e-3 * cells.rng.normal(size=shift.shape)
    assert cells.score("mcc.responsive", labels) > 0.4
    assert abs(cells.score("mcc.within", labels)) < 0.05
    noisy = cells.z + cells.rng.normal(size=cells.z.shape)
    expected = []
    for p in range(5):
        for t in range(3):
            rows = cells.report & (cells.perturbation == p) & (cells.time == t)
            assert rows.sum() >= 30
            expected.append([stats.pearsonr(cells.z[rows, i], noisy[rows, i]).statistic for i in range(6)])
    assert cells.score("mcc.within", noisy) == pytest.approx(np.mean(expected))
    small = build(n_units=60)
    assert small.reason("mcc.within", small.z) == "too_few_cells"


def test_told_nothing_of_the_condition(cells):
    noise = cells.rng.normal(size=cells.z.shape)
    assert cells.score("mcc.blind", cells.z) == pytest.approx(1)
    assert cells.score("mcc.pearson", cells.z, blind={"latent": noise}) == pytest.approx(1)
    assert abs(cells.score("mcc.blind", cells.z, blind={"latent": noise})) < 0.1


def test_parted_codes(cells):
    oracle = cells.oracle
    assert min(cells.score("mcc.responsive", oracle), cells.score("mcc.invariant", oracle)) == pytest.approx(1)
    swapped = {"responsive": oracle["invariant"], "invariant": oracle["responsive"]}
    assert cells.score("mcc.pearson", swapped) == pytest.approx(1)
    assert cells.score("mcc.responsive", swapped) < 0.4 and cells.score("mcc.invariant", swapped) < 0.4


def test_only_real_variables_that_vary_take_part(cells, build):
    d = cells.truth.d
    kinds = ("circular", "categorical", *("continuous",) * (d - 2))
    truth = replace(cells.truth, kinds=kinds)
    values = cells.values("mcc_latent.pearson", cells.z, truth=truth)
    assert np.isnan(values.value).tolist() == [True, True] + [False] * (d - 2)
    assert cells.score("mcc.pearson", cells.z[:, 2:], truth=truth) == pytest.approx(1)
    assert cells.reason("mcc.pearson", cells.z, truth=replace(truth, kinds=("circular",) * d)) == "no_continuous"
    still = cells.z.copy()
    still[:, 0] = 4.0
    assert cells.score("mcc.pearson", cells.z, truth=replace(cells.truth, values=still)) == pytest.approx(1)
    assert cells.reason("mcc.pearson", cells.z, truth=replace(cells.truth, values=np.ones_like(still))) == "zero_variance"
    none = replace(cells.truth, blocks=("responsive",) * d)
    assert cells.reason("mcc.invariant", cells.z, truth=none) == "no_invariant_block"
    one = replace(cells.truth, kinds=("continuous", *("circular",) * (d - 1)))
    assert cells.reason("mcc.floor", cells.z, truth=one) == cells.reason("mcc.adjusted", cells.z, truth=one) == "one_latent"
    tiny = build(n_units=15)
    assert tiny.reason("mcc.pearson", tiny.z) == "too_few_cells"


def test_claims(cells):
    rng = np.random.default_rng(9)
    z = cells.z
    assert cells.reason("claimed", z) == "no_claim"
    mixed = z @ rng.normal(size=(6, 6)) + 1
    for claim, metric in (("permutation", "mcc.pearson"), ("affine", "mcc.affine")):
        assert cells.score("claimed", mixed, claim=claim) == cells.score(metric, mixed)
    both = [cells.score(f"r2_block.{block}", cells.oracle) for block in ("responsive", "invariant")]
    assert cells.score("claimed", cells.oracle, claim="block") == np.mean(both)


def test_a_rotation_is_one_with_a_single_scale(cells):
    rng = np.random.default_rng(10)
    z, report = cells.z, cells.report
    turn = rotation(rng, 6)
    assert cells.score("claimed", 5 * z @ turn + 3, claim="orthogonal") == pytest.approx(1)
    stretched = z * np.array([1, 1, 1, 1, 1, 8]) @ turn
    noisy = z @ turn + rng.normal(size=z.shape)
    for codes in (stretched, noisy):
        own, code = z - z[~report].mean(axis=0), codes - codes[~report].mean(axis=0)
        q, scale = linalg.orthogonal_procrustes(code[~report], own[~report])
        guess = code @ q * scale / np.square(code[~report]).sum()
        left = np.square(own - guess)[report].sum() / np.square(z[report] - z[report].mean(axis=0)).sum()
        assert cells.score("claimed", codes, claim="orthogonal") == pytest.approx(1 - left)
        assert 1 - left < 0.8
    assert cells.score("claimed", stretched, claim="affine") == pytest.approx(1)
    # More or fewer codes than variables.
    assert cells.score("claimed", np.hstack([z @ turn, 0 * z]), claim="orthogonal") == pytest.approx(1)
    assert 0.2 < cells.score("claimed", (z @ turn)[:, :3], claim="orthogonal") < 0.8
    assert cells.score("claimed", np.zeros_like(z), claim="orthogonal") <= 0


@few
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 5))
def test_agreement_of_two_codes(seed, m, k):
    rng = np.random.default_rng(seed)
    z, report = rng.normal(size=(300, 5)), halves(300)
    a, b = z @ rng.normal(size=(5, m)), z @ rng.normal(size=(5, k))
    assert agreement(a, b, report) == pytest.approx(agreement(b, a, report), abs=1e-12)
    assert agreement(a, -3 * a[:, ::-1] + 1, report) == pytest.approx(1)
    assert agreement(a, np.hstack([a, np.ones((300, 2))]), report) == pytest.approx(m / (m + 2))
    assert abs(agreement(a, rng.normal(size=(300, k)), report)) < 0.35


def test_agreement_of_noise_is_zero():
    rng = np.random.default_rng(11)
    found = [agreement(*rng.normal(size=(2, 2000, 6)), halves(2000)) for _ in range(30)]
    assert abs(np.mean(found)) < 0.01
    assert agreement(np.ones((10, 2)), np.ones((10, 3)), halves(10)) == 0
    assert agreement(np.ones((10, 0)), np.ones((10, 0)), halves(10)) == 0
