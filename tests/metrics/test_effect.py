"""Sizes of effects against arithmetic by hand, simulation and scipy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.metric import Comparison
from pbench.bench.contracts.training import Profiles
from pbench.metrics.effect import METRICS, rank_correlation, squared_effects

EVERY = {m.id: m for m in METRICS}
LOG_ERROR, SPEARMAN = EVERY["magnitude_log_error@all~ctrl"], EVERY["effect_size_spearman@all~ctrl"]


def noiseless(truth):
    """The truth with cells that do not vary."""
    profiles, controls = (replace(p, var=np.zeros_like(p.var)) for p in (truth.profiles, truth.controls))
    return replace(truth, profiles=profiles, controls=controls)


def test_squared_effects_by_hand(make_truth):
    """Variance 1 in 3 genes, 50 cells and 100 control cells: 3/50 + 3/100 of the squared length is noise."""
    truth = make_truth([[1, 2, 2], [0, 0, 0], [3, 0, 0]], [0, 0, 0])
    truth = replace(truth, profiles=replace(truth.profiles, n_cells=np.array([50, 50, 1])))
    np.testing.assert_allclose(squared_effects(truth), [9 - 0.09, -0.09, np.nan])


def test_squared_effects_of_a_context_without_controls(make_truth):
    """Control means are pooled over cells there: variances 3 * 10/40^2 + 3 * 2 * 30/40^2."""
    conditions = (Condition(("A",), context="x"), Condition(("A",), context="z"))
    truth = make_truth([[1, 2, 2], [1, 2, 2]], [0, 0, 0], conditions=conditions)
    controls = Profiles(
        (Condition((), context="x"), Condition((), context="y")),
        np.zeros((2, 3)),
        np.array([[1.0] * 3, [2] * 3]),
        np.array([10, 30]),
    )
    truth = replace(truth, controls=controls)
    np.testing.assert_allclose(squared_effects(truth), [9 - 3 / 50 - 3 / 10, 9 - 3 / 50 - (3 * 10 + 6 * 30) / 1600])


def test_squared_effects_are_unbiased(make_truth):
    """Means of cells of one distribution with a known shift: the plain squared length is far too large (T9)."""
    rng = np.random.default_rng(50)
    shift = np.linspace(0, 0.4, 30)
    estimates, plain = [], []
    for _ in range(300):
        cells, controls = rng.gamma(2.0, size=(8, 30)) + shift, rng.gamma(2.0, size=(20, 30))
        truth = make_truth(cells.mean(axis=0)[None], controls.mean(axis=0))
        one = (Condition(("A",)),), cells.mean(axis=0)[None], cells.var(axis=0, ddof=1)[None], np.array([8])
        none = (Condition(),), controls.mean(axis=0)[None], controls.var(axis=0, ddof=1)[None], np.array([20])
        truth = replace(truth, profiles=Profiles(*one), controls=Profiles(*none))
        estimates.append(squared_effects(truth)[0])
        plain.append(np.sum((cells.mean(axis=0) - controls.mean(axis=0)) ** 2))
    error = np.std(estimates) / 300**0.5
    assert abs(np.mean(estimates) - shift @ shift) < 4 * error
    assert np.mean(plain) > shift @ shift + 10 * error


def test_log_error_by_hand(make_truth):
    truth = noiseless(make_truth([[3, 4, 0], [3, 4, 0], [3, 4, 0], [0, 0, 0], [3, 4, 0]], [0, 0, 0]))
    predicted = np.array([[0, 0, 10.0], [2.5, 0, 0], [0, 0, 0], [1, 1, 1], [np.nan] * 3])
    values = LOG_ERROR(Comparison(truth, predicted))
    np.testing.assert_allclose(values.value, [np.log(2), np.log(2), np.nan, np.nan, np.nan])
    assert values.reason.tolist() == ["", "", "zero_variance", "zero_variance", "absent"]


def test_log_error_knows_the_noise(make_truth):
    """The true length without noise is right: 9 - 0.09 is the squared length; one cell says nothing."""
    truth = make_truth([[1, 2, 2], [1, 2, 2]], [0, 0, 0])
    truth = replace(truth, profiles=replace(truth.profiles, n_cells=np.array([50, 1])))
    values = LOG_ERROR(Comparison(truth, np.array([[0, 0, 8.91**0.5], [0, 0, 3]])))
    np.testing.assert_allclose(values.value, [0, np.nan], atol=1e-12)
    assert values.reason.tolist() == ["", "too_few_cells"]


def test_spearman_by_hand(make_truth):
    """True lengths 1, 2, 3 against predicted 2, 1, 5: ranks 1, 2, 3 and 2, 1, 3 correlate by 1/2."""
    truth = noiseless(make_truth(np.diag([1, 2, 3]), [0, 0, 0]))
    values = SPEARMAN(Comparison(truth, np.array([[0, 2.0, 0], [0, 0, 1], [3, 4, 0]])))
    np.testing.assert_allclose(values.value, [0.5])
    assert values.reason.tolist() == [""]


def test_spearman_against_scipy_and_over_contexts(random_screen):
    truth, predicted = random_screen(51, n=16, n_contexts=2)
    predicted[5] = np.nan
    ctrl = truth.references["ctrl"]
    naive = []
    for context in range(2):
        rows = [i for i in range(context, 16, 2) if i != 5]
        length = np.linalg.norm((predicted - ctrl)[rows], axis=1)
        # Every condition has the same noise here, so it does not change the order.
        naive.append(stats.spearmanr(length, np.linalg.norm((truth.profiles.mean - ctrl)[rows], axis=1)).statistic)
    np.testing.assert_allclose(SPEARMAN(Comparison(truth, predicted)).value, [np.mean(naive)])


def test_few_cells_do_not_look_like_large_effects(make_truth):
    """Equal effects, few cells in some: the plain length follows the number of cells and the corrected one does not."""
    rng = np.random.default_rng(52)
    n = np.repeat([10, 1000], 100)
    mean = 5 + rng.normal(size=(200, 400)) / np.sqrt(n)[:, None]
    truth = make_truth(mean, np.full(400, 5.0))
    truth = replace(
        truth, profiles=replace(truth.profiles, n_cells=n), controls=replace(truth.controls, n_cells=np.array([10**9]))
    )
    plain = np.linalg.norm(mean - 5, axis=1)
    assert abs(stats.spearmanr(plain, n).statistic) > 0.8
    assert abs(stats.spearmanr(squared_effects(truth), n).statistic) < 0.25


def test_spearman_is_undefined_with_a_reason(make_truth, random_screen):
    truth, predicted = random_screen(53, n=8)
    for constant in (np.tile(truth.profiles.mean.mean(axis=0, dtype=float), (8, 1)), truth.references["ctrl"]):
        assert SPEARMAN(Comparison(truth, constant)).reason.tolist() == ["zero_variance"]
    assert SPEARMAN(Comparison(truth, np.full_like(predicted, np.nan))).reason.tolist() == ["absent"]
    pair = make_truth([[1, 2, 3], [3, 1, 1]], [0, 0, 0])
    assert SPEARMAN(Comparison(pair, np.array([[1.0, 2, 3], [2, 2, 3]]))).reason.tolist() == ["too_few_conditions"]


def test_rank_correlation_ties_what_rounding_separates():
    a, b = np.array([1.0, 1 + 1e-14, 2, 3]), np.array([4.0, 1, 2, 3])
    assert rank_correlation(a, b, 1e-12) == pytest.approx(stats.spearmanr([1, 1, 2, 3], b).statistic)
    assert np.isnan(rank_correlation(np.ones(4), b, 0.0))


def test_noiseless_perfection_and_complete_facts(random_screen):
    truth, _ = random_screen(54, n=10)
    truth = noiseless(truth)
    perfect = Comparison(truth, truth.profiles.mean.astype(np.float64))
    for metric in METRICS:
        np.testing.assert_allclose(metric(perfect).value, metric.perfect, atol=1e-9)
        assert 1 <= metric.caveats.count(". ") + 1 <= 3 and metric.summary.endswith(".")
        assert "|" not in metric.caveats + metric.summary
