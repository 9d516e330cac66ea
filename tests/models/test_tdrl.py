"""TDRL: its prior against a change of variables and autograd, its loss against a loop, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from small_screens import training_data

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import NotFitted, UsageError
from pbench.bench.contracts.training import Cells
from pbench.models.encoders.tdrl import Tdrl

torch = pytest.importorskip("torch")
from torch.distributions import Normal  # noqa: E402

from pbench.models.neural.tdrl_network import TdrlNetwork  # noqa: E402
from pbench.models.neural.transition_prior import ModularPerceptrons, TransitionPrior  # noqa: E402

CONTROL = Condition()
TINY = {"width": 24, "prior_width": 8, "epochs": 40, "batch_size": 120, "latent": 2, "learning_rate": 5e-3}


def test_derivatives_of_modular_perceptrons_are_those_of_autograd():
    torch.manual_seed(0)
    own = ModularPerceptrons(3, 4, width=5, hidden=2).double()
    shared, z = torch.randn(6, 4).double(), torch.randn(6, 3).double().requires_grad_()
    value, slope = own(shared, z)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    assert torch.allclose(slope, gradient, atol=1e-12)
    # Each sees its own input alone.
    with torch.no_grad():
        moved = z.detach().clone()
        moved[:, 1] += 1
        other = own(shared, moved)[0]
    assert torch.equal(other[:, [0, 2]], value.detach()[:, [0, 2]])
    assert not torch.equal(other[:, 1], value.detach()[:, 1])


@pytest.mark.parametrize("lag", [1, 2])
def test_density_of_a_sequence_against_a_loop_with_jacobians(lag):
    torch.manual_seed(0)
    own = TransitionPrior(2, lag=lag, n_domains=3, embedding=2, width=6, hidden=1).double().requires_grad_(False)
    z, domain = torch.randn(2, 4, 2).double(), torch.randn(2, 4, 3).double()
    later = own.later(z, domain)
    for u in range(2):
        total = 0.0
        for t in range(lag, 4):
            past = torch.cat([z[u, t - back] for back in range(1, lag + 1)])
            shared = torch.cat([past, own.embed(domain[u, t])])[None]

            def residual(v, shared=shared):
                return own.residuals(shared, v[None])[0][0]

            jacobian = torch.autograd.functional.jacobian(residual, z[u, t])
            total += float(Normal(0, 1).log_prob(residual(z[u, t])).sum() + torch.linalg.slogdet(jacobian)[1])
        assert float(later[u]) == pytest.approx(total, rel=1e-6)
    assert torch.allclose(own.start(z), Normal(0, 1).log_prob(z[:, :lag]).sum(dim=(1, 2)).double())


def test_a_density_integrates_to_one():
    torch.manual_seed(1)
    own = TransitionPrior(1, lag=1, n_domains=1, embedding=1, width=4, hidden=1).double().requires_grad_(False)
    # Slopes are made positive, so that the residual is a monotone map of the line onto itself.
    for weight in own.residuals.weights:
        weight.abs_()
    grid = torch.linspace(-60, 60, 120_001).double()
    z = torch.stack([torch.full_like(grid, 0.3), grid], dim=1)[:, :, None]
    density = own.later(z, torch.ones(len(grid), 2, 1).double()).exp()
    assert float(density.sum() * (grid[1] - grid[0])) == pytest.approx(1, abs=2e-3)


def test_the_loss_is_the_sum_of_its_terms():
    torch.manual_seed(0)
    network = TdrlNetwork(
        5, 2, 3, width=6, hidden=1, prior_width=4, prior_hidden=1, embedding=2, lag=1, kl_first=0.3, kl_later=0.7
    ).requires_grad_(False)
    x, domain = torch.randn(3, 4, 5), torch.randn(3, 4, 3)
    mean, log_variance = network.encoded(x)
    torch.manual_seed(5)
    got = float(network.loss(x, domain))
    torch.manual_seed(5)
    z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    q = Normal(mean, (0.5 * log_variance).exp()).log_prob(z)
    expected = ((network.decoder(z) - x) ** 2).sum()
    expected = expected + 0.3 * (q[:, 0].sum() - Normal(0, 1).log_prob(z[:, 0]).sum())
    expected = expected + 0.7 * (q[:, 1:].sum() - network.prior.later(z, domain).sum())
    assert got == pytest.approx(float(expected) / (3 * 4 * 5), rel=1e-5)


@pytest.fixture(scope="module")
def sequences():
    """Two latent variables with noise that a perturbation changes, eight features linear in them."""
    rng = np.random.default_rng(0)
    acts = [CONTROL, Condition(("A",)), Condition(("B",)), Condition(("A", "B"))]
    mixing, n, L = rng.normal(size=(2, 8)), 60, 4
    X, Z, codes, unit, time = [], [], [], [], []
    for i, act in enumerate(acts):
        z = rng.normal(size=(n, 2))
        for t in range(L):
            shift, noise = (np.array([k in act.targets for k in "AB"], float) for _ in range(2))
            z = 0.6 * z + 1.5 * shift + (0.4 + 0.8 * noise) * rng.normal(size=(n, 2))
            Z.append(z)
            X.append(z @ mixing + 0.02 * rng.normal(size=(n, 8)))
            codes.append(np.full(n, i))
            unit.append(np.arange(n) + 1000 * i)
            time.append(np.full(n, float(t)))
    X = np.concatenate(X).astype(np.float32)
    codes, unit, time = (np.concatenate(v) for v in (codes, unit, time))
    cells = Cells(sparse.csr_matrix(X), codes, tuple(acts), "raw", unit, time)
    data = training_data({c: X[codes == i] for i, c in enumerate(acts)})
    object.__setattr__(data, "load_cells", lambda role: cells)
    return data, cells, np.concatenate(Z)


def test_it_finds_variables_that_a_rotation_hides(sequences):
    data, cells, truth = sequences
    model = Tdrl(**TINY, kl_later=0.1).fit(data, seed=0)
    codes = model.encode(cells)["latent"]
    assert codes.shape == truth.shape
    assert model.history_.loss[-1] < 0.5 * model.history_.loss[0]
    correlation = np.abs(np.corrcoef(truth.T, codes.T)[:2, 2:])
    assert max(correlation.trace(), correlation[[0, 1], [1, 0]].sum()) / 2 > 0.7
    blind = Cells(cells.X, np.zeros_like(cells.codes), (CONTROL,), "raw")
    np.testing.assert_array_equal(model.encode(blind)["latent"], codes)
    same = Tdrl(**TINY, kl_later=0.1).fit(data, seed=0)
    np.testing.assert_array_equal(same.encode(cells)["latent"], codes)
    assert model.diagnostics()["epochs"] == TINY["epochs"]
    prediction = model.predict([Condition(("A",))], data.controls)
    assert prediction.absent == {Condition(("A",)): "capability: encodes only"}


def test_it_needs_sequences(sequences):
    data, cells, _ = sequences
    assert Tdrl.capabilities.needs_pairs
    with pytest.raises(UsageError, match="lag=4"):
        Tdrl(**{**TINY, "epochs": 1}, lag=4).fit(data, seed=0)
    still = training_data({c: cells.X[cells.codes == i].toarray() for i, c in enumerate(cells.conditions)})
    with pytest.raises(UsageError, match="several known times"):
        Tdrl(**TINY).fit(still, seed=0)
    with pytest.raises(NotFitted):
        Tdrl().encode(cells)
