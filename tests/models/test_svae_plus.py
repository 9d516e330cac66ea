"""sVAE+ against closed forms and a forward pass in numpy; what it shares with SAMS-VAE is tested there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import gammaln
from small_screens import made_up

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import NotFitted, TrainingFailed
from pbench.bench.contracts.model import build
from pbench.bench.engine.check import check_model
from pbench.models.neural.cell_batches import Batch
from pbench.models.neural.generation import Scene
from pbench.models.neural.sparse_shift_networks import MechanismShiftNetwork, beta_log_density
from pbench.models.svae_plus import SvaePlus

A, B, C = Condition(("A",)), Condition(("B",)), Condition(("C",))
SMALL = {"latent": 3, "width": 8, "hidden": 1, "decoder_width": 8, "epochs": 3, "batch_size": 64}


def network_of(told, *, genes=6, n_cells=50, latent=3, width=5, penalty=7.0, moments=None, random=True):
    told = torch.as_tensor(np.asarray(told), dtype=torch.float32)
    scene = Scene(
        n_genes=genes,
        n_targets=told.shape[1],
        n_covariates=0,
        n_conditions=len(told),
        n_cells=n_cells,
        kind="counts",
        mean=np.full(genes, 1 / genes),
        variance=np.ones(genes),
        told=told,
        covariates=torch.zeros(len(told), 0),
    )
    torch.manual_seed(0)
    network = MechanismShiftNetwork(
        scene,
        moments or (np.linspace(0, 1, genes), np.linspace(1, 2, genes)),
        penalty=penalty,
        width=width,
        hidden=1,
        decoder_width=4,
        decoder_hidden=0,
        latent=latent,
        temperature=1.0,
        logit=0.0,
        warmup=0,
    )
    if random:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return network.eval()


def arrays(network):
    return {n: t.detach().double().numpy() for n, t in [*network.named_parameters(), *network.named_buffers()]}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("penalty", [1.0, 4.0, 30.0])
def test_sparsity_prior_is_the_beta_density_of_scipy(penalty):
    logits = torch.tensor([-5.0, -0.4, 0.0, 3.0], dtype=torch.float64)
    expected = stats.beta(1, penalty).logpdf(sigmoid(logits.numpy()))
    np.testing.assert_allclose(beta_log_density(logits, penalty), expected, rtol=1e-9, atol=1e-12)
    assert torch.isfinite(beta_log_density(torch.tensor([200.0]), penalty)).all()


def test_drawn_shifts_are_sums_of_masked_means_and_their_mean_is_the_expected_one():
    network = network_of(np.array([[0.0, 0], [1, 0], [1, 2]]))
    w = arrays(network)
    torch.manual_seed(1)
    drawn = network.drawn_shift(torch.tensor([[1.0, 1]]).expand(20000, -1)).detach().numpy()
    # Every coordinate of the sum is one of four values; the second dose is half of that target's largest.
    first, second = w["effect"][0], w["effect"][1] / 2
    possible = np.stack([np.zeros(3), first, second, first + second])
    assert np.abs(drawn[:200, None] - possible).min(axis=1).max() < 1e-5
    expected = sigmoid(w["inclusion"][0]) * first + sigmoid(w["inclusion"][1]) * second
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=0.02)
    np.testing.assert_allclose(network.expected_shift(torch.tensor([[1.0, 1]]))[0].detach(), expected, rtol=1e-5)
    np.testing.assert_array_equal(network.drawn_shift(torch.zeros(2, 2)).detach(), np.zeros((2, 3)))


def test_loss_is_the_negative_bound_computed_in_numpy(monkeypatch):
    monkeypatch.setattr(torch, "randn_like", lambda t: torch.full_like(t, 0.3))
    monkeypatch.setattr(torch, "rand_like", lambda t: torch.linspace(0.05, 0.95, t.numel()).reshape(t.shape).to(t))
    told = np.array([[0.0, 0], [1, 0], [1, 1]])
    torch.manual_seed(0)
    network = network_of(told, penalty=5.0)
    with torch.no_grad():
        network.inclusion.copy_(torch.tensor([[1.0, -1, 0.5], [-0.5, 2, 0]]))
        network.effect.copy_(torch.tensor([[1.0, 2, -1], [0.5, -2, 3]]))
    rng = np.random.default_rng(0)
    codes, cells = np.array([0, 1, 2]), rng.normal(size=(3, 6))
    counts = rng.poisson(3, (3, 6)).astype(np.float64)
    depth = counts.sum(1)
    given = {n: torch.as_tensor(v, dtype=torch.float32) for n, v in {"cells": cells, "counts": counts, "depth": depth}.items()}
    loss = network.loss(Batch(codes=torch.as_tensor(codes), **given)).item()

    w = arrays(network)
    # Masks are drawn for cell 1 with target 0, then cell 2 with targets 0 and 1.
    u = np.linspace(0.05, 0.95, 9).reshape(3, 3)
    mask = (w["inclusion"][[0, 0, 1]] + np.log(u / (1 - u)) > 0) * w["effect"][[0, 0, 1]]
    prior = np.stack([np.zeros(3), mask[0], mask[1] + mask[2]])
    standard = (cells - np.linspace(0, 1, 6)) / np.linspace(1, 2, 6)
    h = standard @ w["encoder.0.weight"].T + w["encoder.0.bias"]
    h = (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-5)
    h = np.maximum(h * w["encoder.1.weight"] + w["encoder.1.bias"], 0)
    mean, log_variance = np.split(h @ w["encoder.3.weight"].T + w["encoder.3.bias"], 2, axis=1)
    z = mean + 0.3 * np.exp(0.5 * log_variance)
    out = np.exp(z @ w["head.linear.weight"].T + w["head.linear.bias"])
    mu, theta = depth[:, None] * out / out.sum(1, keepdims=True), np.exp(w["head.spread"])
    likelihood = (stats.nbinom.logpmf(counts, theta, theta / (theta + mu)) + gammaln(counts + 1)).sum(1)
    local = 0.5 * (np.exp(log_variance) + (mean - prior) ** 2 - 1 - log_variance).sum(1)
    of_masks = stats.beta(1, 5).logpdf(sigmoid(w["inclusion"])).sum()
    assert loss == pytest.approx((local - likelihood).mean() - of_masks / 50, rel=1e-4)


def test_gradients_of_the_divergence_reach_masks_and_means():
    network = network_of(np.eye(2), penalty=1.0)
    torch.manual_seed(0)
    batch = Batch(torch.randn(40, 6), torch.arange(40) % 2, counts=torch.ones(40, 6), depth=torch.full((40,), 6.0))
    network.loss(batch).backward()
    assert (network.inclusion.grad != 0).all() and (network.effect.grad != 0).all()


def test_prediction_decodes_draws_of_the_prior_with_the_totals_of_control_cells():
    network = network_of(np.eye(2))
    w = arrays(network)
    told, depth = torch.tensor([[0.0, 1.0]]).expand(4, -1), torch.tensor([10.0, 20, 30, 40])
    answers = []
    for cells in (torch.zeros(4, 6), torch.ones(4, 6)):
        torch.manual_seed(7)
        answers.append(network.imagine(cells, depth, told, torch.zeros(4, 0)).mean.detach().numpy())
    np.testing.assert_array_equal(*answers)
    torch.manual_seed(7)
    z = sigmoid(w["inclusion"][1]) * w["effect"][1] + torch.randn(4, 3).numpy()
    out = np.exp(z @ w["head.linear.weight"].T + w["head.linear.bias"])
    np.testing.assert_allclose(answers[0], depth.numpy()[:, None] * out / out.sum(1, keepdims=True), rtol=1e-4)


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
    network = network_of(
        told,
        genes=genes,
        n_cells=len(codes),
        latent=d,
        width=32,
        penalty=10.0,
        moments=(cells.mean(0), cells.std(0)),
        random=False,
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
    for _ in range(600):
        chosen = torch.as_tensor(rng.choice(len(codes), 256, replace=False))
        x, c, y = (t[chosen] for t in tensors)
        optimiser.zero_grad()
        network.loss(Batch(x, c, counts=y, depth=y.sum(1))).backward()
        optimiser.step()
    return sigmoid(arrays(network)["inclusion"]), mask, arrays(network)["effect"], effect


def test_learned_inclusion_tells_true_masks_from_false():
    from sklearn.metrics import roc_auc_score

    inclusion, mask, learned, effect = recovered(0)
    assert roc_auc_score(mask.ravel(), inclusion.ravel()) > 0.95
    assert np.corrcoef((inclusion * learned).ravel(), effect.ravel())[0, 1] > 0.9


@pytest.fixture(scope="module")
def fitted():
    data = made_up([A, B, C, Condition(("A", "B"))])
    return data, SvaePlus(**SMALL).fit(data, seed=3)


def test_targets_are_named_with_inclusion_and_effect(fitted):
    _, model = fitted
    table = model.shifts()
    assert table["targets"].tolist() == ["A", "B", "C"]
    assert table["inclusion"].shape == table["effect"].shape == (3, 3)
    assert list(model.targets()) == ["A", "B", "C"]
    np.testing.assert_allclose(model.targets()["B"], np.abs(table["inclusion"][1] * table["effect"][1]), rtol=1e-6)
    for ask in (SvaePlus().targets, SvaePlus().shifts):
        with pytest.raises(NotFitted):
            ask()


def test_control_and_new_doubles_are_predicted_and_unseen_targets_absent(fitted):
    data, model = fitted
    asked = [Condition(), Condition(("B", "C")), Condition(("X",))]
    prediction = model.predict(asked, data.controls)
    assert prediction.conditions == tuple(asked[:2])
    assert dict(prediction.absent) == {asked[2]: "capability: unseen target, context or time"}
    assert np.isfinite(prediction.mean).all() and (prediction.variance > 0).all()
    assert np.asarray(prediction.cells[asked[1]]).shape == (12, 15)


def test_latents_do_not_look_at_the_condition(fitted):
    data, model = fitted
    cells = data.cells
    latents = model.encode(cells)
    assert {n: v.shape for n, v in latents.items()} == {"latent": (60, 3), "perturbation": (60, 3)}
    relabelled = model.encode(replace(cells, codes=cells.codes[::-1].copy()))
    np.testing.assert_array_equal(relabelled["latent"], latents["latent"])
    np.testing.assert_array_equal(latents["perturbation"][:12], 0)


@pytest.mark.parametrize("scale", ["counts", "log1p_1e4"])
def test_the_same_seed_gives_the_same_answer_on_every_scale(scale):
    data = made_up([A, B], scale=scale)
    first, second, other = (SvaePlus(**SMALL).fit(data, seed=s).predict([A], data.controls).mean for s in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).all() and not np.array_equal(first, other)


def test_one_perturbation_is_enough():
    data = made_up([A])
    assert np.isfinite(SvaePlus(**SMALL).fit(data, seed=0).predict([A], data.controls).mean).all()


def test_contexts_are_covariates():
    data = made_up([replace(c, context=x) for c in (A, B) for x in "uv"])
    u, v, w = (Condition(("A",), context=x) for x in "uvw")
    prediction = SvaePlus(**SMALL).fit(data, seed=0).predict([u, v, w], data.controls)
    assert prediction.conditions == (u, v) and set(prediction.absent) == {w}
    assert not np.allclose(prediction.mean[0], prediction.mean[1])


def test_a_loss_that_is_no_number_ends_training_and_keeps_a_checkpoint():
    params = {**SMALL, "epochs": 50, "batch_size": 1000, "learning_rate": 1e10, "warmup": 0}
    with pytest.raises(TrainingFailed, match=r"lower learning_rate.*Weights of epoch") as caught:
        SvaePlus(**params).fit(made_up([A, B], scale="log1p_1e4"), seed=0)
    assert {"inclusion", "effect", "head.linear.weight"} <= set(caught.value.checkpoint)


def test_presets_are_parameters():
    for preset in ("quick", "standard", "paper"):
        build(SvaePlus, {}, name="svae-plus", preset=preset)


def test_the_conformance_kit_finds_nothing():
    class Quick(SvaePlus):
        def __init__(self, *, epochs: int = 3, latent: int = 4, width: int = 16, decoder_width: int = 16) -> None:
            super().__init__(epochs=epochs, latent=latent, width=width, decoder_width=decoder_width)

    assert [v for v in check_model(Quick) if not v.passed] == []
