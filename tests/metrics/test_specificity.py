"""Excess correlation against a loop over scipy, and its two fixed points: constants are worth 0 and the truth is worth 1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from pbench.bench.contracts.condition import Condition

METRIC = "pearson_excess@all~ctrl"
few = settings(max_examples=15, deadline=None)


def naive(truth, predicted):
    """The formula, condition by condition, over the genes that no condition of the context targets."""
    out = np.full(len(predicted), np.nan)
    contexts = [c.context for c in truth.conditions]
    ctrl = truth.references["ctrl"]
    for context in set(contexts):
        rows = [i for i, c in enumerate(contexts) if c == context]
        keep = np.setdiff1d(np.arange(len(truth.genes)), [g for i in rows for g in truth.target_genes[i]])
        true = {i: (truth.profiles.mean[i] - ctrl[i])[keep] for i in rows}
        guess = {i: (predicted[i] - ctrl[i])[keep] for i in rows}
        among = np.mean([pearsonr(true[i], true[j]).statistic for i in rows for j in rows if i != j])
        for i in rows:
            own = pearsonr(guess[i], true[i]).statistic
            others = np.mean([pearsonr(guess[i], true[j]).statistic for j in rows if j != i])
            out[i] = (own - others) / (1 - among)
    return out


@pytest.mark.parametrize("contexts", [1, 3])
def test_it_is_the_loop(random_screen, score, contexts):
    truth, predicted = random_screen(3, n=12, n_contexts=contexts)
    np.testing.assert_allclose(score(METRIC, truth, predicted).value, naive(truth, predicted), rtol=1e-9)


def test_by_hand_for_three_genes(make_truth, score):
    """True changes (1, 0, -1), (0, 1, -1) and (1, -1, 0) correlate by 1/2, 1/2 and -1/2, so the mean of pairs is 1/6."""
    true = np.array([[1.0, 0, -1], [0, 1, -1], [1, -1, 0]])
    truth = make_truth(true + 2, np.full(3, 2.0))
    value = score(METRIC, truth, 2 + 7 * true).value
    np.testing.assert_allclose(value, [(1 - 1 / 2) / (5 / 6), (1 - 0) / (5 / 6), (1 - 0) / (5 / 6)], rtol=1e-6)
    # The second prediction points away from its own truth.
    value = score(METRIC, truth, 2 + true * [[1], [-1], [1]]).value
    np.testing.assert_allclose(value[1], (-1 - 0) / (5 / 6), rtol=1e-6)


@few
@given(st.integers(0, 10_000), st.integers(3, 9), st.integers(1, 2))
def test_every_constant_is_worth_zero_and_the_truth_one(random_screen, score, seed, n, contexts):
    truth, predicted = random_screen(seed, n=2 * n, n_contexts=contexts)
    ctrl = truth.references["ctrl"]
    constant = ctrl + (predicted - ctrl)[:1] * np.random.default_rng(seed).lognormal(size=(len(ctrl), 1))
    assert score(METRIC, truth, constant).value.mean() == pytest.approx(0, abs=1e-9)
    assert score(METRIC, truth, truth.profiles.mean).value.mean() == pytest.approx(1, abs=1e-9)


@few
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_the_size_of_a_change_does_not_matter(random_screen, score, seed, factor):
    truth, predicted = random_screen(seed)
    ctrl = truth.references["ctrl"]
    # A change below 1e-5 of the control is rounding and counts as none: here a gene stays silent, or above that at any factor.
    predicted = np.where(np.abs(predicted - ctrl) > 1e-2 * np.abs(ctrl), predicted, ctrl)
    scaled = ctrl + factor * (predicted - ctrl)
    np.testing.assert_allclose(score(METRIC, truth, scaled).value, score(METRIC, truth, predicted).value, rtol=1e-6, atol=1e-9)


@few
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_the_order_of_genes_does_not_matter(random_screen, score, make_truth, seed, random):
    truth, predicted = random_screen(seed)
    order = np.array(random.sample(range(60), 60))
    position = np.argsort(order)
    moved = make_truth(
        truth.profiles.mean[:, order],
        truth.references["ctrl"][:, order],
        targets=tuple(tuple(int(position[g]) for g in own) for own in truth.target_genes),
    )
    np.testing.assert_allclose(score(METRIC, moved, predicted[:, order]).value, score(METRIC, truth, predicted).value, rtol=1e-9)


def test_reasons(make_truth, score, random_screen):
    truth, predicted = random_screen(5)
    ctrl = truth.references["ctrl"]
    predicted[0], predicted[1] = np.nan, ctrl[1]
    found = score(METRIC, truth, predicted)
    assert found.reason.tolist()[:3] == ["absent", "zero_variance", ""] and np.isnan(found.value[:2]).all()
    alone = make_truth(np.array([[1.0, 2, 4]]), np.ones(3))
    assert score(METRIC, alone, alone.profiles.mean).reason.tolist() == ["too_few_conditions"]
    conditions = (Condition(("A",)), Condition(("B",)))
    targeted = make_truth(np.eye(2) + 1, np.ones(2), conditions=conditions, targets=((0,), (1,)))
    assert score(METRIC, targeted, targeted.profiles.mean).reason.tolist() == ["too_few_genes"] * 2
    same = make_truth(np.array([[1.0, 2, 4], [1, 3, 7]]), np.ones(3))
    assert score(METRIC, same, same.profiles.mean).reason.tolist() == ["zero_variance"] * 2
