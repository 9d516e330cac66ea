"""Scores weighted by genes against arithmetic by hand, cells, scipy and scikit-learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import mean_squared_error, r2_score

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.metric import Comparison
from pbench.bench.contracts.training import Profiles
from pbench.metrics.weighted import METRICS, gene_weights

EVERY = {m.id: m for m in METRICS}


def profiles_of(conditions, cells):
    """Profiles of cells, a matrix for each condition."""
    return Profiles(
        tuple(conditions),
        np.stack([c.mean(axis=0) for c in cells]).astype(np.float32),
        np.stack([c.var(axis=0, ddof=1) if len(c) > 1 else 0 * c[0] for c in cells]).astype(np.float32),
        np.array([len(c) for c in cells]),
    )


@pytest.fixture
def screen(make_truth):
    """(truth, cells of the truth, cells of training): two contexts; the condition A is tested in one and trained in both."""
    rng = np.random.default_rng(0)
    tested = [Condition((name,), context=context) for context in ("x", "y") for name in "ABC"]
    trained = [Condition((name,), context=context) for name, context in (("A", "x"), ("D", "x"), ("E", "y"))]

    def draw(n):
        return [rng.poisson(rng.gamma(1, 1, size=30), size=(int(rng.integers(5, 40)), 30)).astype(float) for _ in range(n)]

    cells, other = draw(6), draw(3)
    for sample in (*cells, *other):
        sample[:, 7] = 0  # a gene that nobody expresses
    truth = make_truth(np.stack([c.mean(axis=0) for c in cells]), np.ones(30), conditions=tuple(tested))
    return replace(truth, profiles=profiles_of(tested, cells), training=profiles_of(trained, other)), cells, other


def naive_weights(truth, cells, other, i):
    own = truth.conditions[i]
    everyone = list(zip(truth.conditions, cells, strict=True)) + list(zip(truth.training.conditions, other, strict=True))
    rest = np.concatenate([c for condition, c in everyone if condition.context == own.context and condition != own])
    n = len(cells[i])
    a, b = cells[i], rest
    with np.errstate(invalid="ignore"):
        t = stats.ttest_ind_from_stats(
            a.mean(axis=0), a.std(axis=0, ddof=1), n, b.mean(axis=0), b.std(axis=0, ddof=1), n, equal_var=False
        ).statistic
    size = np.abs(np.nan_to_num(t))
    weight = ((size - size.min()) / (size.max() - size.min())) ** 2
    return weight / weight.sum()


def test_weights_are_those_of_the_cells(screen):
    truth, cells, other = screen
    for i in range(6):
        weight = gene_weights(truth, i)
        np.testing.assert_allclose(weight, naive_weights(truth, cells, other, i), rtol=1e-4, atol=1e-7)
        assert weight[7] == 0 and weight.sum() == pytest.approx(1)


@pytest.mark.parametrize("reference", ["ctrl", "pert"])
def test_against_scikit_learn(screen, reference):
    truth, cells, other = screen
    predicted = truth.profiles.mean + np.random.default_rng(1).normal(size=(6, 30))
    predicted[4] = np.nan
    found = {name: metric(Comparison(truth, predicted)) for name, metric in EVERY.items()}
    for i in range(6):
        if i == 4:
            assert {v.reason[4] for v in found.values()} == {"absent"}
            continue
        w = naive_weights(truth, cells, other, i)
        x, guess = truth.profiles.mean[i].astype(float), predicted[i]
        r = truth.references[reference][i]
        covariance = np.cov(x - r, guess - r, aweights=w)
        independent = {
            "wmse@all": mean_squared_error(x, guess, sample_weight=w),
            f"weighted_r2_delta@all~{reference}": r2_score(x - r, guess - r, sample_weight=w),
            f"weighted_pearson_delta@all~{reference}": covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]),
        }
        for name, value in independent.items():
            assert found[name].value[i] == pytest.approx(value, rel=1e-4, abs=1e-5), name


def test_by_hand(make_truth):
    """Three genes, two conditions of 4 cells with variance 2 in each: t is the difference of means here.

    The rest of the first is the second: t = (3, 1, 2), so s = (1, 0, 1/2) and w = (4/5, 0, 1/5).
    """
    truth = make_truth([[3, 1, 4], [0, 2, 2]], [0, 0, 0])
    truth = replace(truth, profiles=replace(truth.profiles, var=np.full((2, 3), 2.0, np.float32), n_cells=np.array([4, 4])))
    np.testing.assert_allclose(gene_weights(truth, 0), [0.8, 0, 0.2])
    guess = Comparison(truth, np.array([[2.0, 9, 2], [0, 2, 2]]))
    values = {name: metric(guess).value[0] for name, metric in EVERY.items()}
    assert values["wmse@all"] == pytest.approx(0.8 * 1 + 0.2 * 4)
    # The weighted mean of (3, 1, 4) is 3.2 and its variance 0.8 * 0.04 + 0.2 * 0.64 = 0.16.
    assert values["weighted_r2_delta@all~ctrl"] == pytest.approx(1 - 1.6 / 0.16)
    assert np.isnan(values["weighted_pearson_delta@all~ctrl"])  # the guess is 2 wherever a gene counts


def test_equal_t_weigh_equally(make_truth, random_screen):
    truth = make_truth([[1, 2, 3], [2, 1, 4]], [0, 0, 0])
    np.testing.assert_array_equal(gene_weights(truth, 0), [1 / 3] * 3)
    same = make_truth(np.tile([1.0, 2, 3], (3, 1)), [0, 0, 0])
    predicted = np.array([[1, 2, 5], [1, 1, 3], [0, 0, 0.0]])
    np.testing.assert_allclose(EVERY["wmse@all"](Comparison(same, predicted)).value, [4 / 3, 1 / 3, 14 / 3])


def test_alone_in_a_context_there_is_no_rest(make_truth):
    conditions = (Condition(("A",), context="x"), Condition(("B",), context="x"), Condition(("A",), context="y"))
    truth = make_truth([[1, 2, 4], [2, 2, 3], [5, 1, 1]], [1, 1, 1], conditions=conditions)
    for name, metric in EVERY.items():
        values = metric(Comparison(truth, np.array([[1.0, 3, 4]] * 3)))
        assert values.reason[2] == "too_few_conditions" and values.reason[0] == "", name
    control = Profiles((Condition((), context="y"),), np.ones((1, 3)), np.ones((1, 3)), np.array([9]))
    with_control = replace(make_truth([[1, 2, 4]], [1, 1, 1], conditions=conditions[2:]), training=control)
    assert gene_weights(with_control, 0) is None


def test_predicting_the_reference_has_no_correlation_and_explains_nothing(screen):
    truth, _, _ = screen
    mean = truth.references["pert"].astype(np.float32).astype(np.float64)
    values = {name: metric(Comparison(truth, mean)) for name, metric in EVERY.items() if name.endswith("~pert")}
    assert values["weighted_pearson_delta@all~pert"].reason.tolist() == ["zero_variance"] * 6
    assert (values["weighted_r2_delta@all~pert"].value <= 0).all()


def test_genes_without_a_response_do_not_count(make_truth):
    """The scores of a screen do not change when genes that never differ are added to it, with a wrong prediction of them."""
    rng = np.random.default_rng(3)
    mean = rng.gamma(1.0, size=(5, 20))
    guess = mean + rng.normal(size=(5, 20))
    wide_mean, wide_guess = np.hstack([mean, np.ones((5, 30))]), np.hstack([guess, rng.normal(size=(5, 30))])
    narrow = make_truth(np.hstack([mean, np.ones((5, 1))]), np.full(21, 0.5))
    wide = make_truth(wide_mean, np.full(50, 0.5))
    for name, metric in EVERY.items():
        few = metric(Comparison(narrow, wide_guess[:, :21])).value
        np.testing.assert_allclose(metric(Comparison(wide, wide_guess)).value, few, rtol=1e-6, err_msg=name)


def test_a_perfect_prediction_is_perfect_and_facts_are_complete(screen):
    truth, _, _ = screen
    for name, metric in EVERY.items():
        values = metric(Comparison(truth, truth.profiles.mean.astype(np.float64)))
        np.testing.assert_allclose(values.value, metric.perfect, atol=1e-12, err_msg=name)
        assert 1 <= metric.caveats.count(". ") + 1 <= 3 and metric.summary.endswith(".")
        assert "|" not in metric.caveats + metric.summary


@settings(max_examples=30, deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(2, 5), st.integers(1, 6)), elements=st.floats(0, 8, width=32)))
def test_weights_are_a_distribution_over_genes_and_follow_them(make_truth, mean):
    truth, mirrored = make_truth(mean, np.zeros(mean.shape[1])), make_truth(mean[:, ::-1], np.zeros(mean.shape[1]))
    for row in range(len(mean)):
        weight = gene_weights(truth, row)
        assert weight.sum() == pytest.approx(1) and (weight >= 0).all()
        np.testing.assert_allclose(gene_weights(mirrored, row), weight[::-1], rtol=1e-6, atol=1e-9)
