"""SAMS-VAE, and what it shares with sVAE+, against closed forms and a forward pass in numpy."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import gammaln
from small_screens import made_up

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import TrainingFailed, UsageError
from pbench.bench.contracts.model import build
from pbench.bench.engine.check import check_model
from pbench.models.neural.cell_batches import Batch
from pbench.models.neural.generation import Scene
from pbench.models.neural.sparse_shift_networks import (
    AdditiveShiftNetwork,
    bernoulli_divergence,
    relaxed_bernoulli,
)
from pbench.models.sams_vae import SamsVae

A, B, C = Condition(("A",)), Condition(("B",)), Condition(("C",))
SMALL = {"latent": 3, "width": 8, "hidden": 1, "decoder_width": 8, "epochs": 3, "batch_size": 64}


def scene_of(told, covariates=None, *, kind="counts", genes=6, n_cells=50):
    told = torch.as_tensor(told, dtype=torch.float32)
    covariates = torch.zeros(len(told), 0) if covariates is None else torch.as_tensor(covariates, dtype=torch.float32)
    return Scene(
        n_genes=genes,
        n_targets=told.shape[1],
        n_covariates=covariates.shape[1],
        n_conditions=len(told),
        n_cells=n_cells,
        kind=kind,
        mean=np.full(genes, 1 / genes),
        variance=np.ones(genes),
        told=told,
        covariates=covariates,
    )


def network_of(scene, *, seed=0, decoder_hidden=1, moments=None, prior=0.1, correlated=True, particles=1):
    """A network whose weights are all random, inclusion and spreads too."""
    torch.manual_seed(seed)
    network = AdditiveShiftNetwork(
        scene,
        moments or (np.linspace(0, 1, scene.n_genes), np.linspace(1, 2, scene.n_genes)),
        prior=prior,
        correlated=correlated,
        particles=particles,
        width=5,
        hidden=1,
        decoder_width=4,
        decoder_hidden=decoder_hidden,
        latent=3,
        temperature=0.7,
        logit=0.0,
        warmup=0,
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network.eval()


def arrays(network):
    return {n: t.detach().double().numpy() for n, t in [*network.named_parameters(), *network.named_buffers()]}


def encoded(w, inputs):
    """Linear, layer norm, ReLU, linear."""
    h = inputs @ w["encoder.0.weight"].T + w["encoder.0.bias"]
    h = (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-5)
    h = np.maximum(h * w["encoder.1.weight"] + w["encoder.1.bias"], 0)
    out = h @ w["encoder.3.weight"].T + w["encoder.3.bias"]
    return np.split(out, 2, axis=1)


def decoded(w, z, depth):
    h = np.maximum(z @ w["trunk.0.weight"].T + w["trunk.0.bias"], 0)
    out = h @ w["head.linear.weight"].T + w["head.linear.bias"]
    share = np.exp(out - out.max(1, keepdims=True))
    return depth[:, None] * share / share.sum(1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def fixed_noise(monkeypatch):
    """Noise that a test can compute too: 0.3 for normal draws, a grid for uniform ones."""
    monkeypatch.setattr(torch, "randn_like", lambda t: torch.full_like(t, 0.3))
    monkeypatch.setattr(torch, "rand_like", lambda t: torch.linspace(0.05, 0.95, t.numel()).reshape(t.shape).to(t))


def test_relaxed_draws_are_zero_or_one_with_the_probability_of_the_logits():
    torch.manual_seed(0)
    logits = torch.tensor([-3.0, 0.0, 1.5])
    drawn = relaxed_bernoulli(logits.expand(20000, 3), 0.5)
    assert set(drawn.round(decimals=5).unique().tolist()) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(dim=0), sigmoid(logits.numpy()), atol=0.02)


def test_gradients_flow_through_relaxed_draws_as_through_the_concrete_distribution(fixed_noise):
    logits = torch.tensor([-1.0, 0.2, 2.0], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    (weights * relaxed_bernoulli(logits, 0.6)).sum().backward()
    u = np.linspace(0.05, 0.95, 3)
    soft = sigmoid((logits.detach().numpy() + np.log(u / (1 - u))) / 0.6)
    np.testing.assert_allclose(logits.grad.numpy(), weights.numpy() * soft * (1 - soft) / 0.6, rtol=1e-6)


def test_divergence_of_inclusion_is_that_of_scipy():
    logits = torch.tensor([-4.0, -0.3, 0.0, 2.5], dtype=torch.float64)
    p = sigmoid(logits.numpy())
    expected = stats.entropy(np.stack([p, 1 - p]), np.array([0.07, 0.93])[:, None])
    np.testing.assert_allclose(bernoulli_divergence(logits, 0.07), expected, rtol=1e-9)
    assert torch.isfinite(bernoulli_divergence(torch.tensor([-200.0, 200.0]), 0.07)).all()


def test_global_divergence_of_the_mean_field_guide_adds_up_that_of_effects_and_masks():
    network = network_of(scene_of(np.eye(2)), correlated=False, prior=0.2)
    normal = torch.distributions.Normal(network.effect, torch.exp(0.5 * network.effect_spread))
    effects = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum()
    bernoulli = torch.distributions.Bernoulli(logits=network.inclusion)
    masks = torch.distributions.kl_divergence(bernoulli, torch.distributions.Bernoulli(0.2)).sum()
    assert network.global_divergence().item() == pytest.approx((effects + masks).item(), rel=1e-5)


def test_global_divergence_of_the_correlated_guide_is_the_sum_over_all_masks():
    """Enumerates M: log q(M)/p(M) plus the divergence of E given M, which is that of the prior from itself where M is 0."""
    network = network_of(scene_of(np.ones((1, 1))), prior=0.15)
    w = arrays(network)
    mean, log_variance, p = (w[n][0] for n in ("effect", "effect_spread", "inclusion"))
    p = sigmoid(p)
    of_effect = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance)
    total = 0.0
    for bits in itertools.product([0, 1], repeat=3):
        m = np.array(bits)
        q, prior = np.prod(np.where(m, p, 1 - p)), np.prod(np.where(m, 0.15, 0.85))
        total += q * (np.log(q / prior) + of_effect[m == 1].sum())
    assert network.global_divergence().item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("particles", [1, 3])
def test_loss_is_the_negative_bound_computed_in_numpy(fixed_noise, particles):
    told = np.array([[0.0, 0], [2, 0], [1, 4]])
    covariates = np.array([[1.0, 0], [0, 1], [1, 0]])
    network = network_of(scene_of(told, covariates), particles=particles)
    rng = np.random.default_rng(0)
    codes, cells = np.array([0, 1, 2, 2]), rng.normal(size=(4, 6))
    counts = rng.poisson(3, (4, 6)).astype(np.float64)
    depth = counts.sum(1)
    tensors = {n: torch.as_tensor(v, dtype=torch.float32) for n, v in {"cells": cells, "counts": counts, "depth": depth}.items()}
    loss = network.loss(Batch(codes=torch.as_tensor(codes), **tensors)).item()

    w = arrays(network)
    u = np.linspace(0.05, 0.95, 6).reshape(2, 3)
    mask = (w["inclusion"] + np.log(u / (1 - u)) > 0).astype(float)
    effect = w["effect"] + 0.3 * np.exp(0.5 * w["effect_spread"])
    # Doses are relative to the largest of each target: 2 and 4.
    shift = (told / [2, 4])[codes] @ (mask * effect)
    standard = (cells - np.linspace(0, 1, 6)) / np.linspace(1, 2, 6)
    mean, log_variance = encoded(w, np.hstack([standard, shift, covariates[codes]]))
    z = mean + 0.3 * np.exp(0.5 * log_variance) + shift
    mu, theta = decoded(w, np.hstack([z, covariates[codes]]), depth), np.exp(w["head.spread"])
    likelihood = (stats.nbinom.logpmf(counts, theta, theta / (theta + mu)) + gammaln(counts + 1)).sum(1)
    local = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance).sum(1)
    expected = (local - likelihood).mean() + network.global_divergence().item() / 50
    assert loss == pytest.approx(expected, rel=1e-4)


def test_loss_on_normal_values_has_the_density_of_scipy(fixed_noise):
    network = network_of(scene_of(np.eye(2), kind="normal"), decoder_hidden=0)
    cells = np.random.default_rng(1).normal(size=(2, 6))
    loss = network.loss(Batch(torch.as_tensor(cells, dtype=torch.float32), torch.tensor([0, 1]))).item()
    w = arrays(network)
    u = np.linspace(0.05, 0.95, 6).reshape(2, 3)
    mask = (w["inclusion"] + np.log(u / (1 - u)) > 0).astype(float)
    shift = mask * (w["effect"] + 0.3 * np.exp(0.5 * w["effect_spread"]))
    standard = (cells - np.linspace(0, 1, 6)) / np.linspace(1, 2, 6)
    mean, log_variance = encoded(w, np.hstack([standard, shift]))
    z = mean + 0.3 * np.exp(0.5 * log_variance) + shift
    value = z @ w["head.linear.weight"].T + w["head.linear.bias"]
    likelihood = stats.norm.logpdf(cells, value, np.exp(0.5 * w["head.spread"])).sum(1)
    local = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance).sum(1)
    assert loss == pytest.approx((local - likelihood).mean() + network.global_divergence().item() / 50, rel=1e-4)


def test_warmup_raises_the_weight_of_the_divergences_to_one():
    network = network_of(scene_of(np.eye(2)))
    network.warmup = 4
    weights = []
    for epoch in range(6):
        network.at_epoch(epoch, 6)
        weights.append(network.weight)
    assert weights == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_doubles_are_additive_in_latent_space_and_doses_scale():
    network = network_of(scene_of(np.array([[10.0, 0], [0, 2]])))
    w = arrays(network)
    per_target = sigmoid(w["inclusion"]) * w["effect"]
    np.testing.assert_allclose(network.expected_shift(torch.tensor([[10.0, 2]]))[0].detach(), per_target.sum(0), rtol=1e-5)
    np.testing.assert_allclose(network.expected_shift(torch.tensor([[5.0, 0]]))[0].detach(), per_target[0] / 2, rtol=1e-5)
    np.testing.assert_array_equal(network.expected_shift(torch.zeros(1, 2)).detach(), np.zeros((1, 3)))


def test_prediction_decodes_the_basal_state_of_control_cells_plus_the_expected_shift(fixed_noise):
    """Columns of the covariates that control cells never have, times, are no input of their encoder."""
    covariates = np.array([[1.0, 0, 0], [0, 1, 0], [1, 0, 1]])
    network = network_of(scene_of(np.array([[0.0], [0], [1]]), covariates))
    cells, depth = np.random.default_rng(2).normal(size=(5, 6)), np.arange(5.0) + 10
    asked = np.tile([1.0, 0, 1], (5, 1))
    w = arrays(network)
    standard = (cells - np.linspace(0, 1, 6)) / np.linspace(1, 2, 6)
    mean, log_variance = encoded(w, np.hstack([standard, np.zeros((5, 3)), asked * [1, 1, 0]]))
    basal = mean + 0.3 * np.exp(0.5 * log_variance)
    for dose in (0.0, 1.0):
        told = torch.full((5, 1), dose)
        out = network.imagine(
            *(torch.as_tensor(a, dtype=torch.float32) for a in (cells, depth)), told, torch.as_tensor(asked).float()
        )
        z = basal + dose * sigmoid(w["inclusion"]) * w["effect"]
        np.testing.assert_allclose(out.mean.detach(), decoded(w, np.hstack([z, asked]), depth), rtol=1e-4)


def recovered(seed, *, k=24, d=4, genes=40, n=50):
    """Inclusion probabilities learned from the model's own process with a known decoder, and the true masks."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((k, d))
    for row in mask:
        row[rng.choice(d, rng.integers(1, 3), replace=False)] = 1
    effect = mask * rng.choice([-1, 1], (k, d)) * rng.normal(2, 0.4, (k, d))
    weight, bias = rng.normal(0, 0.5, (genes, d)), rng.normal(0, 0.5, genes)
    told = np.vstack([np.zeros(k), np.eye(k)])
    codes = np.repeat(np.arange(k + 1), n)
    rates = np.exp((told @ effect)[codes] @ weight.T + rng.normal(size=(len(codes), d)) @ weight.T + bias)
    counts = rng.poisson(1000 * rates / rates.sum(1, keepdims=True)).astype(np.float32)
    cells = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)
    network = AdditiveShiftNetwork(
        scene_of(told, genes=genes, n_cells=len(codes)),
        (cells.mean(0), cells.std(0)),
        prior=0.1,
        correlated=True,
        particles=1,
        width=32,
        hidden=1,
        decoder_width=1,
        decoder_hidden=0,
        latent=d,
        temperature=1.0,
        logit=0.0,
        warmup=0,
    )
    with torch.no_grad():
        # A decoder that is learned may turn the latents; a true one names them.
        network.head.linear.weight.copy_(torch.as_tensor(weight))
        network.head.linear.bias.copy_(torch.as_tensor(bias))
        network.head.spread.fill_(6.0)
    network.head.requires_grad_(False)
    groups = [{"params": network.encoder.parameters(), "lr": 0.01}, {"params": network.tables(), "lr": 0.05}]
    optimiser = torch.optim.Adam(groups)
    tensors = [torch.as_tensor(a) for a in (cells, codes, counts)]
    for _ in range(1000):
        chosen = torch.as_tensor(rng.choice(len(codes), 256, replace=False))
        x, c, y = (t[chosen] for t in tensors)
        optimiser.zero_grad()
        network.loss(Batch(x, c, counts=y, depth=y.sum(1))).backward()
        optimiser.step()
    return sigmoid(arrays(network)["inclusion"]), mask, arrays(network)["effect"], effect


def test_learned_inclusion_tells_true_masks_from_false():
    from sklearn.metrics import roc_auc_score

    torch.manual_seed(0)
    inclusion, mask, learned, effect = recovered(0)
    assert roc_auc_score(mask.ravel(), inclusion.ravel()) > 0.95
    assert np.corrcoef((inclusion * learned).ravel(), effect.ravel())[0, 1] > 0.85


@pytest.fixture(scope="module")
def fitted():
    data = made_up([A, B, C, Condition(("A", "B"))])
    return data, SamsVae(**SMALL).fit(data, seed=3)


def test_targets_are_named_with_inclusion_and_effect(fitted):
    _, model = fitted
    table = model.shifts()
    assert table["targets"].tolist() == ["A", "B", "C"]
    assert table["inclusion"].shape == table["effect"].shape == (3, 3)
    assert ((table["inclusion"] > 0) & (table["inclusion"] < 1)).all()
    assert list(model.targets()) == ["A", "B", "C"]
    np.testing.assert_allclose(np.array(list(model.targets().values())), table["inclusion"] * np.abs(table["effect"]), rtol=1e-6)


def test_control_and_new_doubles_are_predicted_and_unseen_targets_absent(fitted):
    data, model = fitted
    asked = [Condition(), Condition(("B", "C")), Condition(("A", "X"))]
    prediction = model.predict(asked, data.controls)
    assert prediction.conditions == tuple(asked[:2])
    assert dict(prediction.absent) == {asked[2]: "capability: unseen target, context or time"}
    assert np.isfinite(prediction.mean).all() and (prediction.variance > 0).all()
    cells = np.asarray(prediction.cells[asked[1]])
    assert cells.shape == (12, 15) and (cells >= 0).all()
    np.testing.assert_array_equal(cells, prediction.cells[asked[1]])


def test_latents_of_cells_are_named(fitted):
    data, model = fitted
    latents = model.encode(data.cells)
    assert {n: v.shape for n, v in latents.items()} == {"invariant": (60, 3), "responsive": (60, 3)}
    moved = latents["responsive"] - latents["invariant"]
    np.testing.assert_array_equal(moved[:12], 0)
    table = model.shifts()
    expected = table["inclusion"][0] * table["effect"][0]
    np.testing.assert_allclose(moved[12:24], np.tile(expected, (12, 1)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("params", [{"guide": "mean-field"}, {"particles": 2}, {"likelihood": "normal"}, {"decoder_hidden": 0}])
def test_options_train_and_the_same_seed_gives_the_same_answer(params):
    data = made_up([A, B])
    first, second = (SamsVae(**SMALL, **params).fit(data, seed=1).predict([A, Condition()], data.controls) for _ in range(2))
    np.testing.assert_array_equal(first.mean, second.mean)
    other = SamsVae(**SMALL, **params).fit(data, seed=2).predict([A, Condition()], data.controls)
    assert not np.array_equal(first.mean, other.mean)


def test_unknown_guide_is_refused():
    with pytest.raises(UsageError, match="mean-field or correlated"):
        SamsVae(guide="full").fit(made_up([A, B]), seed=0)


def test_one_perturbation_is_enough():
    data = made_up([A], scale="log1p_1e4")
    prediction = SamsVae(**SMALL).fit(data, seed=0).predict([A], data.controls)
    assert prediction.mean.shape == (1, 15) and np.isfinite(prediction.mean).all()


def test_contexts_are_covariates_and_an_unseen_one_is_absent():
    data = made_up([replace(c, context=x) for c in (A, B) for x in "uv"])
    model = SamsVae(**SMALL).fit(data, seed=0)
    u, v, w = (Condition(("A",), context=x) for x in "uvw")
    prediction = model.predict([u, v, w], data.controls)
    assert prediction.conditions == (u, v) and set(prediction.absent) == {w}
    assert model.network_.covariates.shape[1] == 2
    assert not np.allclose(prediction.mean[0], prediction.mean[1])


def test_a_loss_that_is_no_number_ends_training_and_keeps_a_checkpoint():
    params = {**SMALL, "epochs": 50, "batch_size": 1000, "learning_rate": 1e10, "warmup": 0}
    with pytest.raises(TrainingFailed, match=r"lower learning_rate.*Weights of epoch") as caught:
        SamsVae(**params).fit(made_up([A, B], scale="log1p_1e4"), seed=0)
    assert {"inclusion", "effect", "head.linear.weight"} <= set(caught.value.checkpoint)


def test_presets_are_parameters():
    for preset in ("quick", "standard", "paper"):
        build(SamsVae, {}, name="sams-vae", preset=preset)


def test_the_conformance_kit_finds_nothing():
    class Quick(SamsVae):
        def __init__(self, *, epochs: int = 3, latent: int = 4, width: int = 16, decoder_width: int = 16) -> None:
            super().__init__(epochs=epochs, latent=latent, width=width, decoder_width=decoder_width)

    assert [v for v in check_model(Quick) if not v.passed] == []
