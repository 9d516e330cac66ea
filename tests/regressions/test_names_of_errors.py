"""PEREGGRN, pertpy, scPerturBench: a word that means something else than it says."""

from __future__ import annotations

import numpy as np

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.metric import Comparison
from pbench.bench.contracts.training import Profiles
from pbench.bench.contracts.truth import Truth
from pbench.metrics import CATALOGUE


def of(metric, expected, predicted):
    """Value of a metric of means on one condition of (G,) expected and predicted expression."""
    expected, predicted = np.atleast_2d(expected).astype(np.float32), np.atleast_2d(predicted).astype(float)
    n, genes = expected.shape
    conditions = tuple(Condition((f"P{i}",)) for i in range(n))
    profiles = Profiles(conditions, expected, np.ones_like(expected), np.full(n, 30))
    control = Profiles((Condition(),), np.zeros((1, genes), np.float32), np.ones((1, genes), np.float32), np.array([30]))
    order = np.argsort(-np.abs(expected), axis=1)[:, :100]
    truth = Truth(
        np.arange(genes).astype(str), profiles, control, {"ctrl": np.zeros_like(predicted)}, order, ((),) * n, (profiles,) * 2
    )
    return CATALOGUE[metric](Comparison(truth, predicted)).value


def test_a_mean_squared_error_is_a_mean():
    """PEREGGRN's was the sum, 20 times as large for 20 genes."""
    expected, predicted = [1.0, 2, 3], [2.0, 2, 5]
    np.testing.assert_allclose(of("mse@all", expected, predicted), (1 + 0 + 4) / 3)
    np.testing.assert_allclose(of("mse@all", expected * 4, predicted * 4), (1 + 0 + 4) / 3)


def test_a_root_mean_squared_error_has_a_mean_and_the_norm_has_none():
    """The function of that name in pertpy was the Euclidean distance, larger by the root of the number of genes."""
    expected, predicted = [1.0, 2, 3], [2.0, 2, 5]
    np.testing.assert_allclose(of("rmse@all", expected * 4, predicted * 4), np.sqrt(5 / 3))
    np.testing.assert_allclose(of("l2@all", expected * 4, predicted * 4), np.sqrt(20))


def test_the_root_is_taken_before_the_mean_over_perturbations():
    """The root of a mean of squares is another number than the mean of roots, and both were published as RMSE."""
    values = of("rmse@all", np.zeros((2, 4)), [[1.0] * 4, [3.0] * 4])
    assert values.tolist() == [1.0, 3.0] and values.mean() == 2 != np.sqrt((1 + 9) / 2)


def test_r2_is_no_squared_correlation():
    """Some tools squared a Pearson correlation, which forgives every wrong scale and every wrong sign."""
    expected = np.array([1.0, 2, 3, 4])
    assert of("r2_delta@all~ctrl", expected, -expected)[0] < 0
    assert of("r2_delta@all~ctrl", expected, 3 * expected)[0] < 0
    np.testing.assert_allclose(of("pearson_delta@all~ctrl", expected, 3 * expected), 1)


def test_a_profile_is_the_mean_of_logs_and_not_the_log_of_a_mean(scene):
    """A fold change as log2 of a mean of logs was called a log fold change."""
    s = scene()
    condition = s.truth.conditions[0]
    rows = s.screen.codes == s.screen.conditions.index(condition)
    X = np.asarray(s.screen.adata.X[rows].todense(), dtype=float)
    logs = np.log1p(1e4 * X / X.sum(axis=1, keepdims=True))
    genes = np.argsort(s.screen.genes)
    np.testing.assert_allclose(s.truth.profiles.mean[0], logs.mean(axis=0)[genes], rtol=1e-5)
    assert np.abs(np.log1p(np.expm1(logs).mean(axis=0)) - logs.mean(axis=0)).max() > 0.1


def test_directions_agree_with_names():
    """scPerturBench's pearson_distance held the similarity: here errors and distances go down, agreements go up."""
    down = ("mse", "rmse", "mae", "l2", "wmse", "energy", "mmd", "sinkhorn", "wasserstein", "ks", "crps", "nll")
    up = ("pearson_delta", "spearman_delta", "cosine_delta", "r2_delta", "retrieval", "sign_agreement", "de_overlap", "mantel")
    for metric in CATALOGUE.values():
        family = metric.parts["family"]
        assert family not in down or metric.direction == "down", metric.id
        assert family not in up or metric.direction == "up", metric.id
