"""Regressions and discriminants against scikit-learn, loops and known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import norm, rankdata
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, balanced_accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV

from pbench.bench.kernels import latent_regression
from pbench.bench.kernels.discriminant import SHRINKAGE, accuracy, discriminant
from pbench.bench.kernels.latent_regression import PENALTIES, Rows, folds, kernel, linear, r2, spline, spline_r2
from pbench.metrics.identification import halves, regression

few = settings(max_examples=15, deadline=None)


def split(h, n):
    return Rows(h[:n], h[n:], folds(np.arange(n), 0))


def score(function, z, h, n):
    guess = function(split(h, n), z[:n])
    return np.array([r2(z[n:, [i]], guess[:, [i]]) for i in range(z.shape[1])])


def gaussian_kernel(rows, y):
    return kernel(rows, y, seed=0)


@few
@given(st.integers(0, 10_000), st.sampled_from([1, 3, 8]))
def test_ridge_is_that_of_scikit_learn_at_the_penalty_of_the_best_folds(seed, m):
    rng = np.random.default_rng(seed)
    h = rng.normal(size=(160, m)) * rng.uniform(0.5, 5, m) + rng.normal(size=m)
    z = h @ rng.normal(size=(m, 2)) + 3 * rng.normal(size=(160, 2)) + 5
    rows = split(h, 100)
    fit, new = (
        x / np.sqrt(m) for x in ((h[:100] - h[:100].mean(0)) / h[:100].std(0), (h[100:] - h[:100].mean(0)) / h[:100].std(0))
    )
    guess = linear(rows, z[:100])
    for i in range(2):
        centre, errors = z[:100, i].mean(), []
        for penalty in PENALTIES:
            total = 0.0
            for k in np.unique(rows.fold):
                out = rows.fold == k
                model = Ridge(penalty * (~out).sum(), fit_intercept=False, solver="cholesky").fit(
                    fit[~out], z[:100, i][~out] - centre
                )
                total += np.square(model.predict(fit[out]) + centre - z[:100, i][out]).sum()
            errors.append(total)
        model = Ridge(PENALTIES[int(np.argmin(errors))] * 100, solver="cholesky").fit(fit, z[:100, i])
        np.testing.assert_allclose(guess[:, i], model.predict(new), rtol=1e-6, atol=1e-6)


def test_kernel_regression_is_as_good_as_a_searched_exact_one():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1200, 3))
    h = np.tanh(z @ rng.normal(size=(3, 8))) @ rng.normal(size=(8, 8)) + 0.05 * rng.normal(size=(1200, 8))
    scaled = (h - h[:600].mean(0)) / h[:600].std(0)
    search = GridSearchCV(KernelRidge(kernel="rbf"), {"alpha": [1, 0.1, 0.01, 0.001], "gamma": np.logspace(-3, 0, 6)}, cv=3)
    exact = np.array([r2_score(z[600:, i], search.fit(scaled[:600], z[:600, i]).predict(scaled[600:])) for i in range(3)])
    ours, straight = score(gaussian_kernel, z, h, 600), score(linear, z, h, 600)
    assert exact.min() > straight.max() + 0.01
    np.testing.assert_allclose(ours, exact, atol=0.02)


def test_kernel_regression_of_steep_and_flat_codes():
    rng = np.random.default_rng(10)
    z = rng.normal(size=(2000, 4))
    for bent in (z**3, np.exp(z), np.tanh(2 * z)):
        assert score(gaussian_kernel, z, bent, 1000).min() > 0.99
    ties = np.round(2 * z)
    scores = latent_regression.normal_scores((ties[:1000], ties[1000:]))
    order = rankdata(ties[:1000, 0], method="ordinal")
    quantile = norm.ppf((order - 0.5) / 1000) / 2
    for value in np.unique(ties[:1000, 0]):
        expected = quantile[ties[:1000, 0] == value].mean()
        np.testing.assert_allclose(scores[0][ties[:1000, 0] == value, 0], expected)
        np.testing.assert_allclose(scores[1][ties[1000:, 0] == value, 0], expected)


def test_gaussian_features_give_the_kernel():
    """With all fitted rows as landmarks, products of features are the kernel itself."""
    rng = np.random.default_rng(11)
    x, new = rng.normal(size=(60, 2)), rng.normal(size=(5, 2))
    first, second = latent_regression.gaussian((x, new), 0.5, seed=0)
    squared = cdist(x, x) ** 2
    rate = 0.5 / np.median(squared[np.triu_indices(60, 1)])
    np.testing.assert_allclose(first @ first.T, np.exp(-rate * squared), atol=1e-5)
    np.testing.assert_allclose(second @ first.T, np.exp(-rate * cdist(new, x) ** 2), atol=1e-3)


def test_splines_follow_one_code():
    rng = np.random.default_rng(1)
    h = rng.normal(size=(4000, 1))
    z = np.hstack([h**2, np.sin(2 * h), rng.normal(size=(4000, 1)), 3 * h - 1])
    found = score(spline, z, h, 2000)
    assert found[[0, 1, 3]].min() > 0.96 and abs(found[2]) < 0.02 and found[3] == pytest.approx(1, abs=1e-6)
    across = spline_r2(split(h, 2000), z[:2000])
    np.testing.assert_allclose(across, found, atol=0.03)
    assert spline_r2(split(h, 2000), np.ones((2000, 1))).tolist() == [0]


@pytest.mark.parametrize("m", [1, 5, 50])
def test_noise_says_nothing(m):
    rng = np.random.default_rng(2)
    z, h = rng.normal(size=(3000, 5)), rng.normal(size=(3000, m))
    for function in (linear, gaussian_kernel):
        found = score(function, z, h, 1500)
        assert found.max() < 0.01 and found.min() > -0.02


def test_noise_says_nothing_in_few_cells_on_average():
    rng = np.random.default_rng(3)
    found = [score(gaussian_kernel, rng.normal(size=(400, 2)), rng.normal(size=(400, 5)), 200) for _ in range(6)]
    assert np.max(found) < 0.02 and np.mean(found) > -0.05


def test_without_live_codes_it_is_the_mean():
    rng = np.random.default_rng(4)
    z, h = rng.normal(size=(100, 2)), np.ones((100, 3))
    for function in (linear, gaussian_kernel, spline):
        np.testing.assert_allclose(function(split(h, 50), z[:50]), np.tile(z[:50].mean(axis=0), (50, 1)))


def test_folds_keep_groups_together():
    groups = np.repeat(np.arange(40), 3)
    fold = folds(groups, 0)
    assert set(fold) == {0, 1, 2} and all(len(set(fold[groups == g])) == 1 for g in range(40))
    assert np.bincount(fold).min() >= 36 and (folds(groups, 0) == fold).all() and (folds(groups, 1) != fold).any()


def test_r2_is_that_of_scikit_learn():
    rng = np.random.default_rng(5)
    y, guess = rng.normal(size=(50, 2)), rng.normal(size=(50, 2))
    assert r2(y[:, :1], guess[:, :1]) == pytest.approx(r2_score(y[:, 0], guess[:, 0]))
    assert r2(y, guess) == pytest.approx(r2_score(y, guess, multioutput="variance_weighted"))
    assert np.isnan(r2(np.full((5, 1), 0.1), np.zeros((5, 1))))


@few
@given(st.integers(0, 10_000), st.booleans())
def test_discriminants_are_those_of_scikit_learn(seed, balanced):
    rng = np.random.default_rng(seed)
    labels = rng.choice([2.0, 5.0, 7.0], 300, p=[0.6, 0.3, 0.1])
    x = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4)) + 0.8 * labels[:, None] * rng.normal(size=4)
    fit, new, y, fold = x[:200], x[200:], labels[:200], folds(np.arange(200), 0)
    names, count = np.unique(y, return_counts=True)
    prior = np.full(3, 1 / 3) if balanced else count / 200
    within = sum(c * np.cov(fit[y == n].T, bias=True) for n, c in zip(names, count, strict=True)) / (200 - 3)
    guess = discriminant(fit, y, new, fold, balanced=balanced)
    candidates = []
    for share in SHRINKAGE:
        covariance = within + share * np.trace(within) / 4 * np.eye(4)
        means = np.array([fit[y == n].mean(axis=0) for n in names])
        weights = np.linalg.solve(covariance, means.T)
        candidates.append(names[(new @ weights - 0.5 * (means * weights.T).sum(axis=1) + np.log(prior)).argmax(axis=1)])
    assert any((guess == c).all() for c in candidates)
    if not balanced:
        # With priors that are not the shares, scikit-learn weighs the covariances by them.
        plain = LinearDiscriminantAnalysis(solver="lsqr").fit(fit, y).predict(new)
        assert np.mean(candidates[0] == plain) > 0.98


def test_accuracies_are_those_of_scikit_learn():
    rng = np.random.default_rng(6)
    labels, guess = rng.integers(0, 3, 80), rng.integers(0, 4, 80)
    assert accuracy(labels, guess, balanced=False) == pytest.approx(accuracy_score(labels, guess))
    own = guess[guess < 3], labels[guess < 3]
    assert accuracy(own[1], own[0], balanced=True) == pytest.approx(balanced_accuracy_score(own[1], own[0]))


def test_discriminants_without_features_take_the_highest_prior():
    labels = np.array([1, 2, 2, 2, 1, 2])
    assert discriminant(np.zeros((6, 0)), labels, np.zeros((2, 0)), folds(np.arange(6), 0), balanced=False).tolist() == [2, 2]


def test_linear_and_nonlinear_codes(cells):
    rng = np.random.default_rng(7)
    z = cells.z
    mixed = z @ rng.normal(size=(6, 6)) + 2
    for name in ("r2.linear", "r2.nonlinear", "r2_block.responsive", "r2_block.invariant", "r2_block.invariant_linear"):
        assert cells.score(name, mixed) == pytest.approx(1, abs=1e-3), name
    bent = np.exp(0.9 * z)
    assert cells.score("r2.nonlinear", bent) > 0.98 > 0.9 > cells.score("r2.linear", bent)
    noisy = mixed + 0.5 * rng.normal(size=z.shape)
    values = cells.values("r2_latent.linear", noisy).value
    direct = Ridge(1e-6).fit(noisy[~cells.report], z[~cells.report]).predict(noisy[cells.report])
    np.testing.assert_allclose(values, r2_score(z[cells.report], direct, multioutput="raw_values"), atol=2e-3)
    assert cells.score("r2.linear", noisy) == pytest.approx(values.mean())


def test_noise_of_held_out_cells(cells):
    noise = cells.rng.normal(size=(len(cells.z), 8))
    parted = {"responsive": noise[:, :5], "invariant": noise[:, 5:]}
    for name in ("r2.linear", "r2.nonlinear", "r2_block.responsive", "r2_block.invariant", "r2.diagonal", "r2.off_diagonal"):
        assert -0.05 < cells.score(name, parted) < 0.02, name


def test_even_transforms(build):
    """The truth is an even function of the code, which keeps all of it, and correlates with nothing."""
    cells = build(seed=1, n_units=1500, n_times=1)
    code = cells.rng.normal(size=(len(cells.z), 3))
    truth = replace(
        cells.truth,
        values=code**2,
        names=("a", "b", "c"),
        blocks=("responsive",) * 3,
        kinds=("continuous",) * 3,
        targets=cells.truth.targets[:, :3],
        graph=cells.truth.graph[:3, :3],
        lagged=cells.truth.lagged[:, :3, :3],
    )
    for name in ("mcc.pearson", "mcc.spearman", "r2.linear"):
        assert abs(cells.score(name, code, truth=truth)) < 0.1, name
    for name in ("r2.nonlinear", "r2.diagonal", "mcc.elementwise"):
        assert cells.score(name, code, truth=truth) > 0.95, name


def test_angles_and_classes(cells):
    rng = np.random.default_rng(8)
    n = len(cells.z)
    angle, kind = rng.uniform(0, 2 * np.pi, n), rng.choice([0, 1, 2], n, p=[0.5, 0.3, 0.2])
    values = cells.z.copy()
    values[:, 0], values[:, 1] = angle, kind
    truth = replace(cells.truth, values=values, kinds=("circular", "categorical", *("continuous",) * 4))
    # The circle turned by an angle is a linear map of its points; the angle itself is not.
    turned = np.stack([np.sin(angle + 2), np.cos(angle + 2)], axis=1)
    split_class = np.stack([kind == 2, kind == 1], axis=1) + 0.05 * rng.normal(size=(n, 2))
    codes = np.hstack([turned, split_class, values[:, 2:]])
    for name in ("r2_latent.linear", "r2_latent.nonlinear"):
        np.testing.assert_allclose(cells.values(name, codes, truth=truth).value, 1, atol=0.01)
    assert cells.score("r2_block.responsive", codes, truth=truth) == pytest.approx(1, abs=0.01)
    noise = cells.values("r2_latent.nonlinear", rng.normal(size=(n, 3)), truth=truth).value
    assert np.abs(noise).max() < 0.06
    # Of a class, what is above the most frequent one: here half of the others are told.
    half = np.where(kind == 2, 1.0, 0.0)[:, None] + 0.01 * rng.normal(size=(n, 1))
    reported = kind[cells.report]
    base = np.mean(reported == 0)
    assert cells.values("r2_latent.linear", half, truth=truth).value[1] == pytest.approx(
        np.mean(reported == 2) / (1 - base), abs=0.01
    )
    # The raw angle as a code: its ends meet, which a line cannot say.
    raw = cells.values("r2_latent.linear", angle[:, None], truth=truth).value[0]
    assert 0.2 < raw < 0.45 and cells.values("r2_latent.nonlinear", angle[:, None], truth=truth).value[0] > 0.95
    assert cells.score("dci.informativeness", codes, truth=truth) > 0.9
    one = replace(truth, values=np.where(np.arange(6) == 1, 1.0, values))
    assert np.isnan(cells.values("r2_latent.linear", codes, truth=one).value).tolist() == [False, True] + [False] * 4


def test_own_and_other_codes(build):
    independent = build(seed=3, n_units=800, n_times=1, coupling=0.0)
    z = independent.z
    # Two codes for the first variable, one for each of the others.
    codes = np.hstack([np.minimum(z[:, :1], 0), np.maximum(z[:, :1], 0), z[:, 1:]])
    assert independent.score("r2.diagonal", codes) > 0.99 and independent.score("r2.off_diagonal", codes) < 0.03
    turned = z @ np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    assert independent.score("r2.diagonal", turned) < 0.8 and independent.score("r2.off_diagonal", turned) > 0.15
    assert independent.score("r2.nonlinear", turned) > 0.999
    # A variable without codes of its own counts as 0.
    assert independent.score("r2.diagonal", z[:, :3]) == pytest.approx(0.5, abs=0.02)
    assert independent.reason("r2.off_diagonal", np.ones_like(z)) == "zero_variance"
    one = replace(independent.truth, values=np.where(np.arange(6) == 1, z, 1.0))
    assert independent.reason("r2.diagonal", z, truth=one) == "one_latent"


def test_blocks_are_told_by_their_own_codes(cells):
    oracle = cells.oracle
    assert cells.score("r2_block.responsive", oracle) == pytest.approx(1)
    swapped = {"responsive": oracle["invariant"], "invariant": oracle["responsive"]}
    assert cells.score("r2_block.invariant", swapped) < 0.8
    both = [cells.score(f"r2_block.{b}", {"latent": np.hstack(list(swapped.values()))}) for b in ("responsive", "invariant")]
    assert both == pytest.approx([1, 1])
    none = replace(cells.truth, blocks=("responsive",) * cells.truth.d)
    assert cells.reason("r2_block.invariant", oracle, truth=none) == "no_invariant_block"


def test_nothing_is_fitted_on_the_reported_half(cells, monkeypatch):
    """What the regressions are given to fit does not change when the reported half does."""
    names = ("linear", "kernel", "spline_r2")
    given = {True: [], False: []}
    other = cells.z.copy()
    other[cells.report] = cells.rng.normal(size=other[cells.report].shape)
    for scrambled in (False, True):
        for name in names:
            original = getattr(latent_regression, name)

            def spy(rows, y, original=original, log=given[scrambled], **facts):
                log.append((rows.fit.copy(), y.copy(), rows.fold.copy()))
                return original(rows, y, **facts)

            monkeypatch.setattr(regression.numerics, name, spy)
        truth = replace(cells.truth, values=other if scrambled else cells.z)
        for metric in ("r2.linear", "r2.nonlinear", "r2.diagonal"):
            cells.score(metric, cells.z, truth=truth)
        monkeypatch.undo()
    assert len(given[True]) == len(given[False]) > 6
    for first, second in zip(given[True], given[False], strict=True):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)


def test_many_cells_are_drawn_from(cells, monkeypatch):
    monkeypatch.setattr(halves, "MAX_CELLS", 200)
    latents = cells.latents(cells.z)
    fit, new, fold = latents.once(halves.chosen_cells)
    assert len(fit) == len(new) == len(fold) == 200
    assert not cells.report[fit].any() and cells.report[new].all()
    assert all(len(set(fold[cells.unit[fit] == u])) == 1 for u in np.unique(cells.unit[fit]))
    assert cells.score("r2.nonlinear", latents) == pytest.approx(1)
    again = cells.latents(cells.z).once(halves.chosen_cells)
    assert all((a == b).all() for a, b in zip(again, (fit, new, fold), strict=True))
