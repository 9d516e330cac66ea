"""Sinkhorn divergence against a linear program, closed forms, a plain loop and, where they are installed, POT and geomloss."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from pbench.bench.kernels.transport import half_squared_distances, self_transport, sinkhorn_divergence, transport


def samples(seed=0, n=30, m=21, d=4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(m, d)) * 1.3 + 0.5


def plain_cost(x, y, eps, rounds=20_000):
    """<P, C> + eps KL(P, a x b) of the plan that alternating row and column scaling reaches."""
    cost = ((x[:, None] - y[None]) ** 2).sum(axis=2) / 2
    kernel = np.exp(-cost / eps)
    u, v = np.ones(len(x)), np.ones(len(y))
    for _ in range(rounds):
        u = 1 / len(x) / (kernel @ v)
        v = 1 / len(y) / (u @ kernel)
    plan = u[:, None] * kernel * v
    return (plan * cost).sum() + eps * (plan * np.log(plan * len(x) * len(y))).sum()


def test_by_hand():
    """One point against two: the plan is given, a half each, and equals the product of the weights."""
    x, y = np.array([[0.0, 0.0]]), np.array([[2.0, 0.0], [0.0, 4.0]])
    assert transport(x, y, 1.0) == pytest.approx((2.0 + 8.0) / 2)
    assert self_transport(x, 1.0) == 0.0
    # Of the two points with itself: mass p stays and 1 - p crosses at the cost 10, p / (1 - p) = exp(10 / eps).
    p = 1 / (1 + np.exp(-10.0))
    own = 10 * (1 - p) + p * np.log(2 * p) + (1 - p) * np.log(2 * (1 - p))
    assert self_transport(y, 1.0) == pytest.approx(own, abs=1e-6)
    assert sinkhorn_divergence(x, y, 1.0) == pytest.approx(5.0 - own / 2, abs=1e-6)
    # Two point masses: half the squared distance, whatever the entropy.
    assert sinkhorn_divergence(np.repeat(x, 3, axis=0), np.repeat(y[:1], 2, axis=0), 0.3) == pytest.approx(2.0)


@pytest.mark.parametrize("eps", [0.3, 2.0, 50.0])
def test_both_iterations_reach_what_plain_scaling_reaches(eps):
    x, y = samples()
    assert transport(x, y, eps) == pytest.approx(plain_cost(x, y, eps), abs=1e-6)
    assert self_transport(x, eps) == pytest.approx(plain_cost(x, x, eps), abs=1e-6)
    expected = plain_cost(x, y, eps) - plain_cost(x, x, eps) / 2 - plain_cost(y, y, eps) / 2
    assert sinkhorn_divergence(x, y, eps) == pytest.approx(expected, abs=1e-6)


def test_limits_of_the_entropy():
    """Small: half the squared 2-Wasserstein distance. Large: half the squared distance of the means."""
    x, y = samples(n=25, m=25)
    cost = half_squared_distances(x, y)
    rows, columns = linear_sum_assignment(cost)
    assert sinkhorn_divergence(x, y, 0.002) == pytest.approx(cost[rows, columns].mean(), rel=0.01)
    assert sinkhorn_divergence(x, y, 1e5) == pytest.approx(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() / 2, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12), st.sampled_from([0.05, 1.0, 20.0]))
def test_a_divergence(seed, n, m, eps):
    x, y = samples(seed, n, m)
    value = sinkhorn_divergence(x, y, eps)
    assert value >= -1e-6
    assert value == pytest.approx(sinkhorn_divergence(y, x, eps), abs=1e-5)
    order = np.random.default_rng(seed).permutation(n)
    assert value == pytest.approx(sinkhorn_divergence(x[order], y[:, ::-1].copy()[:, ::-1], eps), abs=1e-5)
    assert sinkhorn_divergence(x, x, eps) == 0.0
    assert sinkhorn_divergence(x[order], x, eps) == pytest.approx(0.0, abs=1e-5)
    # Copies of every point are the same distribution.
    assert value == pytest.approx(sinkhorn_divergence(np.repeat(x, 2, axis=0), y, eps), abs=1e-5)
    # The unit: points ten times as far apart, entropy a hundred times as strong.
    assert 100 * value == pytest.approx(sinkhorn_divergence(10 * x, 10 * y, 100 * eps), abs=1e-3)


def test_samples_that_are_absurdly_far_apart_end_with_an_absurd_value():
    x, y = samples()
    for scale in (1e3, 1e15):
        value = sinkhorn_divergence(x * scale, y, 1.0)
        assert np.isfinite(value) and value > 0.2 * scale**2


def test_empty_samples_and_a_bad_strength():
    x, y = samples()
    assert np.isnan(sinkhorn_divergence(x[:0], y, 1.0)) and np.isnan(sinkhorn_divergence(x, y[:0], 1.0))
    with pytest.raises(ValueError, match="eps"):
        sinkhorn_divergence(x, y, 0.0)


def test_against_pot():
    ot = pytest.importorskip("ot", reason="POT is not installed")
    x, y = samples()
    a, b, cost = np.full(30, 1 / 30), np.full(21, 1 / 21), half_squared_distances(x, y)
    for eps in (0.3, 2.0):
        plan = ot.sinkhorn(a, b, cost, eps, method="sinkhorn_log", numItermax=50_000, stopThr=1e-12)
        expected = (plan * cost).sum() + eps * (plan * np.log(plan / np.outer(a, b))).sum()
        assert transport(x, y, eps) == pytest.approx(expected, abs=1e-6)


def test_against_geomloss():
    geomloss = pytest.importorskip("geomloss", reason="geomloss is not installed")
    torch = importlib.import_module("torch")
    x, y = samples()
    for eps in (0.3, 2.0):
        loss = geomloss.SamplesLoss("sinkhorn", p=2, blur=eps**0.5, scaling=0.99, backend="tensorized")
        # Its iteration stops at a fixed number of steps, so that three digits agree.
        assert sinkhorn_divergence(x, y, eps) == pytest.approx(float(loss(torch.tensor(x), torch.tensor(y))), rel=2e-3)
