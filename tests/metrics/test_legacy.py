"""The scores of the discrepancy-VAE line against all pairs of cells and scikit-learn, and the flaw that they are kept to show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import r2_score

from pbench.bench.contracts.metric import Comparison
from pbench.metrics.legacy import METRICS

EVERY = {m.id: m for m in METRICS}
RMSE, R2 = EVERY["legacy_random_pair_rmse@all"], EVERY["legacy_r2@all"]


def with_cells(make_truth, cells):
    truth = make_truth(np.stack([c.mean(axis=0) for c in cells]), np.zeros(cells[0].shape[1]))
    var = np.stack([c.var(axis=0, ddof=1) for c in cells])
    return replace(truth, profiles=replace(truth.profiles, var=var, n_cells=np.array([len(c) for c in cells])))


def test_by_hand(make_truth):
    """Cells (0, 1, 3) and (2, 1, 5), mean (1, 1, 4), variance over n (1, 0, 1), mean square 18 + 2 = 20 in sum."""
    truth = with_cells(make_truth, [np.array([[0.0, 1, 3], [2, 1, 5]])])
    predicted = np.array([[1.0, 2, 6]])
    # Errors 0, 1, 4 and variances 1, 0, 1; with predicted variances of 1, 2, 0 three more.
    np.testing.assert_allclose(RMSE(Comparison(truth, predicted)).value, [(7 / 20) ** 0.5])
    np.testing.assert_allclose(RMSE(Comparison(truth, predicted, np.array([[1.0, 2, 0]]))).value, [(10 / 20) ** 0.5])
    # Around the mean 3 the prediction has 4 + 1 + 9 = 14.
    np.testing.assert_allclose(R2(Comparison(truth, predicted)).value, [1 - 5 / 14])


def test_expectation_over_all_pairs_of_cells(make_truth):
    rng = np.random.default_rng(60)
    cells = [rng.gamma(1.0, size=(int(rng.integers(2, 9)), 12)) for _ in range(4)]
    guesses = [rng.gamma(2.0, size=(7, 12)) for _ in range(4)]
    truth = with_cells(make_truth, cells)
    predicted, variance = (np.stack([f(g) for g in guesses]) for f in (lambda g: g.mean(axis=0), lambda g: g.var(axis=0)))
    naive = []
    for x, y in zip(cells, guesses, strict=True):
        pairs = [(a - b) ** 2 for a in x for b in y]
        naive.append((np.mean(pairs) / np.mean(x**2)) ** 0.5)
    np.testing.assert_allclose(RMSE(Comparison(truth, predicted, variance)).value, naive, rtol=1e-6)


def test_the_perfect_sampler_loses_to_the_mean_by_the_root_of_two(make_truth):
    """The artefact: the same means, one prediction with the variance of the cells and one with none."""
    rng = np.random.default_rng(61)
    cells = [rng.gamma(0.2, size=(5000, 50)) for _ in range(3)]
    truth = with_cells(make_truth, cells)
    means = truth.profiles.mean.astype(np.float64)
    sampler = RMSE(Comparison(truth, means, truth.profiles.var.astype(np.float64))).value
    mean = RMSE(Comparison(truth, means)).value
    np.testing.assert_allclose(sampler / mean, 2**0.5, rtol=1e-3)
    # Where the model gives a variance for some conditions only, the others are scored by their mean.
    partly = np.where(np.arange(3)[:, None] == 0, truth.profiles.var, np.nan)
    np.testing.assert_allclose(RMSE(Comparison(truth, means, partly)).value, [sampler[0], mean[1], mean[2]])


def test_r2_is_clipped_and_exchanges_truth_and_prediction(random_screen):
    truth, predicted = random_screen(62)
    predicted[5] *= -3
    expected = truth.profiles.mean.astype(np.float64)
    naive = [max(0.0, r2_score(guess, x)) for guess, x in zip(predicted, expected, strict=True)]
    np.testing.assert_allclose(R2(Comparison(truth, predicted)).value, naive, rtol=1e-9)
    assert naive[5] == 0 and naive[0] != pytest.approx(r2_score(expected[0], predicted[0]))


def test_no_change_looks_excellent(make_truth):
    """Why R2 of expression never ranks: genes differ far more than conditions do."""
    rng = np.random.default_rng(63)
    ctrl = rng.gamma(0.5, size=2000)
    truth = make_truth(ctrl + 0.05 * rng.normal(size=(4, 2000)), ctrl)
    assert (R2(Comparison(truth, truth.references["ctrl"])).value > 0.98).all()


def test_undefined_with_a_reason(make_truth):
    truth = make_truth([[0, 0, 0], [1, 2, 3], [1, 2, 3]], [0, 0, 0])
    truth = replace(truth, profiles=replace(truth.profiles, var=np.zeros((3, 3))))
    comparison = Comparison(truth, np.array([[1, 2, 3], [0.1, 0.1, 0.1], [np.nan] * 3]))
    assert RMSE(comparison).reason.tolist() == ["zero_variance", "", "absent"]
    assert R2(comparison).reason.tolist() == ["", "zero_variance", "absent"]


def test_facts_are_complete():
    for metric in METRICS:
        assert metric.caveats.startswith("Never rank on it")
        assert 1 <= metric.caveats.count(". ") + 1 <= 3 and metric.summary.endswith(".")
        assert "|" not in metric.caveats + metric.summary
