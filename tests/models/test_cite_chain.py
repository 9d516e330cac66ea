"""The laws of CITE-VAE's chains: against inverses, simulated chains, the static model, and what a null edit must leave alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from torch.distributions import MultivariateNormal, kl_divergence  # noqa: E402

from pbench.models.neural.cite_alignment import alignment, unbiased_discrepancy  # noqa: E402
from pbench.models.neural.cite_edits import EditTables  # noqa: E402
from pbench.models.neural.deviation_chain import (  # noqa: E402
    JITTER,
    STABLE,
    AffineLaw,
    Edits,
    deviation_laws,
    weight_variant_laws,
)
from pbench.models.neural.linear_gaussian import Mechanisms  # noqa: E402


def generator(seed):
    g = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)


def chain(d, e, m, seed):
    """Random parts of a deviation chain of m environments whose steps contract."""
    normal = generator(seed)
    lagged, instant = 0.3 * normal(d, d) / d**0.5, torch.tril(0.4 * normal(d, d), -1)
    start = AffineLaw(normal(1, d), 0.5 * normal(1, d, e), torch.diag_embed(torch.exp(0.3 * normal(1, d))))
    edits = Edits(normal(m, d), 0.4 * normal(m, d, e), 0.3 * normal(m, d), torch.exp(normal(m, d)) / 4)
    return lagged, instant, start, edits


def walked(lagged, instant, start, edits, steps, y, n, rng):
    """(n, d) end points of a chain that is walked step by step in numpy, in the first environment."""
    d = len(lagged)
    B, C = lagged.numpy(), instant.numpy()
    mean = start.offset[0].numpy() + start.inputs[0].numpy() @ y
    z0 = mean + rng.normal(size=(n, d)) * np.sqrt(np.diag(start.covariance[0].numpy()))
    deviation = np.zeros((n, d))
    fixed = edits.shift[0].numpy() + edits.inputs[0].numpy() @ y
    for _ in range(steps):
        pushed = deviation @ B.T + fixed + edits.damping[0].numpy() * z0
        pushed = pushed + rng.normal(size=(n, d)) * np.sqrt(edits.noise[0].numpy())
        following = np.zeros((n, d))
        for i in range(d):  # in causal order
            following[:, i] = pushed[:, i] + following @ C[i]
        deviation = following
    return z0 + deviation


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_moments_of_a_deviation_chain_are_those_of_walks(steps):
    parts, n = chain(4, 2, 1, 3), 50_000
    y = np.array([0.7, -0.4])
    law = deviation_laws(*parts, torch.tensor([float(steps)], dtype=torch.float64))
    end = walked(*parts, steps, y, n, np.random.default_rng(0))
    mean = (law.offset[0] + law.inputs[0] @ torch.tensor(y)).numpy()
    covariance = law.covariance[0].numpy()
    assert (np.abs(end.mean(axis=0) - mean) < 5 * np.sqrt(np.diag(covariance) / n)).all()
    np.testing.assert_allclose(np.cov(end.T), covariance, atol=0.03 * np.abs(covariance).max())


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 4), st.integers(0, 10**6))
def test_null_edits_are_control_and_moments_are_sums_of_powers(d, e, steps, seed):
    lagged, instant, start, edits = chain(d, e, 2, seed)
    edits = Edits(*(torch.cat([0 * v[:1], v[1:]]) for v in (edits.shift, edits.inputs, edits.damping, edits.noise)))
    law = deviation_laws(lagged, instant, start, edits, torch.full((2,), float(steps), dtype=torch.float64))
    for got, expected in ((law.offset, start.offset), (law.inputs, start.inputs), (law.covariance, start.covariance)):
        assert torch.equal(got[0], expected[0])
    A = np.linalg.inv(np.eye(d) - instant.numpy())
    M = A @ lagged.numpy()
    M = M * min(1, STABLE / np.linalg.norm(M, 2))
    powers = [np.linalg.matrix_power(M, s) @ A for s in range(steps)]
    R = sum(powers, np.zeros((d, d)))
    through = np.eye(d) + R @ np.diag(edits.damping[1].numpy())
    noise = sum((p @ np.diag(edits.noise[1].numpy()) @ p.T for p in powers), np.zeros((d, d)))
    np.testing.assert_allclose(law.offset[1], through @ start.offset[0].numpy() + R @ edits.shift[1].numpy(), atol=1e-9)
    np.testing.assert_allclose(law.inputs[1], through @ start.inputs[0].numpy() + R @ edits.inputs[1].numpy(), atol=1e-9)
    np.testing.assert_allclose(law.covariance[1], through @ start.covariance[0].numpy() @ through.T + noise, atol=1e-9)


def test_between_two_steps_moments_are_interpolated():
    parts = chain(3, 2, 3, 1)
    parts = (*parts[:3], Edits(*(v[:1].expand(3, *v.shape[1:]) for v in vars(parts[3]).values())))
    law = deviation_laws(*parts, torch.tensor([1.0, 1.25, 2.0], dtype=torch.float64))
    for value in (law.offset, law.inputs, law.covariance):
        np.testing.assert_allclose(value[1], 0.75 * value[0] + 0.25 * value[2], atol=1e-12)


def mechanisms(d, e, m, seed):
    normal = generator(seed)
    return Mechanisms(0.7 * torch.tril(normal(m, d, d), -1), normal(m, d, e), normal(m, d), 0.5 * normal(m, d))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 10**6))
def test_one_step_without_memory_is_the_prior_of_perturbed_vae(d, e, seed):
    """Mean, covariance and divergence of the static sibling, to 1e-6, whatever the reference state is."""
    own, normal = mechanisms(d, e, 3, seed), generator(seed + 1)
    start = AffineLaw(normal(1, d), normal(1, d, e), torch.diag_embed(torch.exp(normal(1, d))))
    environment = torch.tensor([0, 2, 1, 1])
    y, m, log_s = normal(4, e), normal(4, d), normal(4, d)
    law = weight_variant_laws(own, None, start, torch.ones(3, dtype=torch.float64))
    static, full = own.given(y, environment), law.given(y, environment)
    np.testing.assert_allclose(full.mean, static.mean(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(law.covariance, static.covariance(), rtol=1e-6, atol=1e-6)
    # The ridge under the root moves each part of the divergence by about its size over the smallest variance; parts can cancel.
    smallest = float(torch.linalg.eigvalsh(static.covariance()).min())
    moved = 1e-6 + 2 * JITTER / smallest
    np.testing.assert_allclose(full.divergence(m, log_s), static.divergence(m, log_s), rtol=moved, atol=d * moved)


def test_weight_variant_chain_against_a_naive_recursion():
    own, normal = mechanisms(3, 2, 2, 5), generator(6)
    lagged = 0.2 * normal(2, 3, 3)
    start = AffineLaw(normal(1, 3), normal(1, 3, 2), torch.eye(3, dtype=torch.float64)[None])
    law = weight_variant_laws(own, lagged, start, torch.tensor([3.0, 0.0], dtype=torch.float64))
    A = np.linalg.inv(np.eye(3) - own.weights[0].numpy())
    M = A @ lagged[0].numpy()
    M = M * min(1, STABLE / np.linalg.norm(M, 2))
    mean, inputs, covariance = start.offset[0].numpy(), start.inputs[0].numpy(), np.eye(3)
    for _ in range(3):
        mean = M @ mean + A @ own.shift[0].numpy()
        inputs = M @ inputs + A @ own.inputs[0].numpy()
        covariance = M @ covariance @ M.T + A @ np.diag(np.exp(own.log_noise[0].numpy())) @ A.T
    np.testing.assert_allclose(law.offset[0], mean, atol=1e-10)
    np.testing.assert_allclose(law.inputs[0], inputs, atol=1e-10)
    np.testing.assert_allclose(law.covariance[0], covariance, atol=1e-10)
    assert torch.equal(law.offset[1], start.offset[0])


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 4), st.integers(0, 10**6))
def test_an_end_point_has_the_law_of_one_step(d, e, steps, seed):
    """Saturation: the factors of the covariance of any chain are the weights and noise of a static model with the same law."""
    law = deviation_laws(*chain(d, e, 2, seed), torch.full((2,), float(steps), dtype=torch.float64))
    root = torch.linalg.cholesky(law.covariance)
    unit = root / torch.diagonal(root, dim1=1, dim2=2)[:, None, :]
    backwards = torch.linalg.inv(unit)
    static = Mechanisms(
        torch.eye(d, dtype=torch.float64) - backwards,
        backwards @ law.inputs,
        torch.einsum("mij,mj->mi", backwards, law.offset),
        2 * torch.log(torch.diagonal(root, dim1=1, dim2=2)),
    )
    y, environment = generator(seed + 2)(2, e), torch.arange(2)
    np.testing.assert_allclose(static.given(y, environment).covariance(), law.covariance, rtol=1e-7, atol=1e-9)
    expected = law.offset + torch.einsum("mde,me->md", law.inputs, y)
    np.testing.assert_allclose(static.given(y, environment).mean(), expected, rtol=1e-7, atol=1e-8)
    assert not torch.triu(static.weights).abs().max() > 1e-9


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 5), st.integers(0, 10**6), st.booleans())
def test_divergence_and_density_of_a_full_gaussian(d, seed, turned):
    normal = generator(seed)
    a = normal(2, d, d)
    covariance = a @ a.mT + torch.eye(d, dtype=torch.float64)
    environment, mean = torch.tensor([1, 0, 1]), normal(3, d)
    own = AffineLaw(normal(2, d), normal(2, d, 1), covariance).given(normal(3, 1), environment)
    full = MultivariateNormal(own.mean, covariance[environment])
    log_s = normal(3, d)
    basis = normal(d, d) + 3 * torch.eye(d, dtype=torch.float64) if turned else torch.eye(d, dtype=torch.float64)
    q = MultivariateNormal(mean, basis @ torch.diag_embed(log_s.exp()) @ basis.T)
    got = own.divergence(mean, log_s, basis if turned else None)
    np.testing.assert_allclose(got, kl_divergence(q, full), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(own.log_density(mean), full.log_prob(mean), rtol=1e-4, atol=1e-5)
    # … and against draws of q.
    torch.manual_seed(0)
    z = q.sample((40_000,))
    drawn = q.log_prob(z) - full.log_prob(z)
    assert ((drawn.mean(dim=0) - got).abs() < 6 * drawn.std(dim=0) / 200).all()


def test_draws_of_a_law_have_its_moments():
    law = deviation_laws(*chain(3, 2, 2, 8), torch.tensor([2.0, 1.0], dtype=torch.float64))
    n = 50_000
    torch.manual_seed(0)
    y = torch.tensor([[0.3, 1.0]], dtype=torch.float64).expand(n, -1)
    own = law.given(y, torch.ones(n, dtype=torch.int64))
    z = own.sample().numpy()
    expected = law.covariance[1].numpy()
    assert (np.abs(z.mean(axis=0) - own.mean[0].numpy()) < 5 * np.sqrt(np.diag(expected) / n)).all()
    np.testing.assert_allclose(np.cov(z.T), expected, atol=0.03 * np.abs(expected).max())


def tables(**changes):
    torch.manual_seed(0)
    own = EditTables(**{"n_targets": 3, "responsive": 4, "invariant": 2, "rank": 2, "gates": True, **changes})
    with torch.no_grad():
        for p in (own.shift, own.damping, own.noise, own.left, own.right):
            p.copy_(torch.randn_like(p))
        if own.gated:
            own.logits.copy_(torch.randn_like(own.logits))
    return own.eval()


def test_edits_add_up_over_targets_and_scale_with_signed_doses():
    own = tables(gates=False)
    told = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [-0.5, 0, 0]])
    edits = own(told)
    for name in ("shift", "inputs", "damping", "noise"):
        value = getattr(edits, name)
        assert not value[0].any()
        assert torch.allclose(value[3], value[1] + value[2], atol=1e-6)
        assert torch.allclose(value[4], (0.5 if name == "noise" else -0.5) * value[1], atol=1e-6)
    assert (edits.noise >= 0).all()


def test_a_closed_gate_edits_nothing():
    own = tables()
    edits = own(torch.eye(3))
    closed = own.logits < 0
    assert closed.any()
    assert not closed.all()
    for value in (edits.shift, edits.damping, edits.noise, edits.inputs.abs().sum(dim=2)):
        assert torch.equal(value == 0, closed)
    torch.manual_seed(1)
    own.train()
    share = torch.stack([own.gate() for _ in range(3000)]).mean(dim=0)
    assert torch.allclose(share, own.probability, atol=0.05)
    own.settling = True
    assert (own.gate() == 1).all()


def test_unbiased_discrepancy_is_zero_on_average_and_does_not_pay_for_shrinking():
    rng = np.random.default_rng(0)

    def values(scale_a, gap=0.0):
        draws = [
            (torch.tensor(gap + scale_a * rng.normal(size=(12, 3))), torch.tensor(scale_a * rng.normal(size=(12, 3))))
            for _ in range(600)
        ]
        return np.array([float(unbiased_discrepancy(a, b)) for a, b in draws])

    for scale in (1.0, 0.1):
        null = values(scale)
        assert abs(null.mean()) < 4 * null.std() / np.sqrt(len(null))
    assert values(1.0, gap=1.0).mean() > 0.05


def test_alignment_is_a_mean_over_the_cells_of_perturbations():
    torch.manual_seed(0)
    a, b = torch.randn(7, 2) + 1, torch.randn(7, 2)
    codes = torch.tensor([0, 0, 0, 1, 1, 1, 2])
    expected = sum(3 / 7 * unbiased_discrepancy(a[i : i + 3], b[i : i + 3]) for i in (0, 3)).clamp(min=0)
    assert torch.allclose(alignment("mmd", codes, a, b), expected)
    assert torch.allclose(alignment("random_pairs", codes, a, b), ((a - b) ** 2).sum(dim=1).mean())
    assert alignment("none", codes, a, b) == 0
    assert alignment("centroid", codes[:0], a[:0], b[:0]) == 0
