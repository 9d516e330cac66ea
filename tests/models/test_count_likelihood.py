"""The negative binomial that generative networks say of counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln
from scipy.stats import nbinom

torch = pytest.importorskip("torch")


@given(st.integers(0, 2**32 - 1), st.floats(-3, 6))
@settings(max_examples=30, deadline=None)
def test_the_likelihood_is_that_of_scipy(seed, level):
    from pbench.models.neural.expression import count_log_likelihood

    rng = np.random.default_rng(seed)
    x, mean = rng.poisson(1.5, (5, 7)).astype(float), rng.gamma(1, 2, (5, 7)) + 1e-3
    theta = np.exp(rng.normal(level, 1, 7))
    expected = (nbinom.logpmf(x, theta, theta / (theta + mean)) + gammaln(x + 1)).sum(axis=1)
    ours = count_log_likelihood(*(torch.from_numpy(a) for a in (x, mean, np.log(theta))))
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-7)


def test_gradients_are_those_of_finite_differences():
    from pbench.models.neural.expression import count_log_likelihood

    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.poisson(1.5, (6, 5)).astype(float))
    mean = torch.from_numpy(rng.gamma(1, 2, (6, 5)) + 0.05).requires_grad_()
    log_theta = torch.from_numpy(rng.normal(size=5)).requires_grad_()
    assert torch.autograd.gradcheck(lambda m, t: count_log_likelihood(x, m, t), (mean, log_theta))


def test_rows_do_not_depend_on_how_many_are_worked_out_at_a_time(monkeypatch):
    from pbench.models.neural import expression

    x = torch.poisson(torch.full((50, 9), 0.7))
    mean, log_theta = torch.rand(50, 9).requires_grad_(), torch.randn(9).requires_grad_()
    weight, found = torch.rand(50), []
    for size in (9, 100, 10**6):
        monkeypatch.setattr(expression, "AT_A_TIME", size)
        value = expression.count_log_likelihood(x, mean, log_theta)
        found.append([value, *torch.autograd.grad(value @ weight, (mean, log_theta))])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_silent_genes_and_shares_of_zero():
    from pbench.models.neural.expression import count_log_likelihood

    x, mean = torch.tensor([[0.0, 3.0]]), torch.tensor([[0.0, 0.0]], requires_grad=True)
    value = count_log_likelihood(x, mean, torch.zeros(2))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(mean.grad).all()
    assert mean.grad[0, 1] > 0 > mean.grad[0, 0]


def test_moments_are_those_of_a_sum_and_of_draws():
    from pbench.models.neural.expression import Expression

    rng = np.random.default_rng(2)
    mean, theta = rng.gamma(1, 3, (4, 3)), np.array([0.5, 2.0, 30.0])
    depth = np.array([20.0, 50.0, 80.0, 300.0])
    expression = Expression(*(torch.from_numpy(a) for a in (mean, np.log(theta), depth)))
    first, variance = expression.moments()
    x = np.arange(2000)
    value = np.log1p(x[:, None, None] * 1e4 / depth[:, None])
    p = nbinom.pmf(x[:, None, None], theta, theta / (theta + mean))
    expected = (p * value).sum(axis=0).mean(axis=0)
    np.testing.assert_allclose(first, expected, rtol=1e-5)
    np.testing.assert_allclose(variance, (p * value**2).sum(axis=0).mean(axis=0) - expected**2, rtol=1e-4)
    many = rng.poisson(rng.gamma(theta, mean / theta, (50_000, 4, 3)))
    drawn = np.log1p(many * 1e4 / depth[:, None])
    np.testing.assert_allclose(first, drawn.mean(axis=(0, 1)), atol=5 * drawn.std() / np.sqrt(200_000))


@pytest.mark.filterwarnings("error")
def test_moments_of_an_empty_cell_are_zero():
    from pbench.models.neural.expression import Expression

    depth = torch.tensor([0.0, 100.0])
    both = Expression(depth[:, None] * torch.tensor([0.25, 0.75]), torch.zeros(2), depth)
    full = Expression(both.mean[1:], both.spread, depth[1:])
    np.testing.assert_allclose(both.moments()[0], full.moments()[0] / 2)
