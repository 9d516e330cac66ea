"""PerturbedVAE: its linear-Gaussian prior against inverses and torch.distributions, its alignments, what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_screens import training_data

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import NotFitted, TrainingFailed, UsageError
from pbench.bench.engine.check import check_model
from pbench.bench.engine.toy import toy
from pbench.models.perturbed_vae import PerturbedVAE

torch = pytest.importorskip("torch")
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence  # noqa: E402

from pbench.models.neural.cell_batches import Batch  # noqa: E402
from pbench.models.neural.generation import Scene  # noqa: E402
from pbench.models.neural.linear_gaussian import Mechanisms  # noqa: E402
from pbench.models.neural.perturbed_network import (  # noqa: E402
    MechanismNetwork,
    PerturbedNetwork,
    PerturbedWeights,
    centroid_gap,
    random_pairs,
)

CONTROL = Condition()


def mechanisms(d, e, m=3, *, seed=0):
    """Random `Mechanisms` of m environments in double precision."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    return Mechanisms(0.7 * torch.tril(normal(m, d, d), -1), normal(m, d, e), normal(m, d), 0.5 * normal(m, d))


def explicit(own, outside, environment):
    """Mean and covariance of each cell by numpy's inverse."""
    means, covariances = [], []
    for y, i in zip(outside.numpy(), environment.tolist(), strict=True):
        A = np.linalg.inv(np.eye(own.shift.shape[1]) - own.weights[i].numpy())
        means.append(A @ (own.inputs[i].numpy() @ y + own.shift[i].numpy()))
        covariances.append(A @ np.diag(np.exp(own.log_noise[i].numpy())) @ A.T)
    return np.array(means), np.array(covariances)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 10**6))
def test_moments_density_and_divergence_of_the_prior(d, e, seed):
    own = mechanisms(d, e, seed=seed)
    g = torch.Generator().manual_seed(seed)
    environment = torch.tensor([0, 2, 1, 1])
    y, z, m, log_s = (torch.randn(4, k, generator=g, dtype=torch.float64) for k in (e, d, d, d))
    prior = own.given(y, environment)
    mean, covariance = explicit(own, y, environment)
    np.testing.assert_allclose(prior.mean().numpy(), mean, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(prior.covariance()[environment].numpy(), covariance, rtol=1e-8, atol=1e-8)
    full = MultivariateNormal(torch.tensor(mean), scale_tril=torch.linalg.cholesky(torch.tensor(covariance)))
    np.testing.assert_allclose(prior.log_density(z), full.log_prob(z), rtol=1e-6, atol=1e-6)
    diagonal = MultivariateNormal(m, torch.diag_embed(log_s.exp()))
    np.testing.assert_allclose(prior.divergence(m, log_s), kl_divergence(diagonal, full), rtol=1e-6, atol=1e-6)


def test_draws_of_the_prior_have_its_moments():
    own, n = mechanisms(4, 2), 50_000
    environment = torch.ones(n, dtype=torch.int64)
    y = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    torch.manual_seed(0)
    z = own.given(y.expand(n, -1), environment).sample().numpy()
    mean, covariance = explicit(own, y, environment[:1])
    error = np.sqrt(np.diag(covariance[0]) / n)
    assert (np.abs(z.mean(axis=0) - mean[0]) < 5 * error).all()
    np.testing.assert_allclose(np.cov(z.T), covariance[0], atol=0.05 * np.abs(covariance[0]).max())


def test_without_weights_the_prior_is_a_diagonal_gaussian():
    own = mechanisms(5, 2)
    own = Mechanisms(torch.zeros_like(own.weights), torch.zeros_like(own.inputs), own.shift, own.log_noise)
    prior = own.given(torch.randn(3, 2, dtype=torch.float64), torch.arange(3))
    flat = Independent(Normal(own.shift, torch.exp(0.5 * own.log_noise)), 1)
    m, log_s = torch.randn(3, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    q = Independent(Normal(m, torch.exp(0.5 * log_s)), 1)
    np.testing.assert_allclose(prior.divergence(m, log_s), kl_divergence(q, flat), rtol=1e-10)


def test_gradients_reach_every_part_of_the_mechanisms():
    own = mechanisms(3, 2)
    parts = [p.clone().requires_grad_() for p in (own.weights, own.inputs, own.shift, own.log_noise)]
    prior = Mechanisms(*parts).given(torch.randn(3, 2, dtype=torch.float64), torch.arange(3))
    (prior.sample().sum() + prior.divergence(*torch.randn(2, 3, 3, dtype=torch.float64)).sum()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in parts)


@pytest.mark.parametrize("width", [0, 7])
def test_mechanisms_follow_from_what_was_done(width):
    torch.manual_seed(0)
    network = MechanismNetwork(3, 4, 2, width=width)
    u = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    own = network(u)
    assert own.weights.shape == (4, 4, 4)
    assert own.inputs.shape == (4, 4, 2)
    assert not torch.triu(own.weights).any()
    assert (own.weights[1][tuple(torch.tril_indices(4, 4, -1))] != 0).all()
    if width == 0:  # linear in u: a double is the sum of its singles
        assert torch.allclose(own.weights[1] + own.weights[2], own.weights[3] + own.weights[0], atol=1e-6)
    alone = network(u[2:3])
    assert torch.allclose(alone.weights[0], own.weights[2])
    assert torch.allclose(alone.shift[0], own.shift[2])


def small_network(*, kind="random_pairs", reconstruction="error", covariates=0):
    torch.manual_seed(0)
    told = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 1]])
    scene = Scene(6, 3, covariates, 4, 10, "normal", np.arange(6) / 5, np.ones(6), told, torch.zeros(4, covariates))
    weights = PerturbedWeights(0.3, 0.2, 0.7, kind, reconstruction, 0.3)
    network = PerturbedNetwork(scene, variant=3, invariant=2, width=5, hidden=2, mechanism_width=4, weights=weights)
    with torch.no_grad():
        for p in network.mechanisms.parameters():
            p.mul_(3)
    return network


def numpy_layers(module, x):
    """The forward pass of linear layers, layer norms and rectifiers."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear):
            x = x @ layer.weight.detach().numpy().astype(float).T + layer.bias.detach().numpy()
        elif isinstance(layer, torch.nn.LayerNorm):
            x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + layer.eps)
        elif isinstance(layer, torch.nn.ReLU):
            x = np.maximum(x, 0)
    return x


def numpy_decoded(network, z_variant, z_invariant):
    return numpy_layers(network.head.linear, numpy_layers(network.decoder, np.concatenate([z_variant, z_invariant], axis=1)))


def test_what_is_imagined_is_that_of_numpy():
    network = small_network()
    cells = np.random.default_rng(1).normal(1, 1, (5, 6))
    told = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 0]], float)
    torch.manual_seed(4)
    noise = [torch.randn(5, k).numpy() for k in (2, 3)]
    torch.manual_seed(4)
    with torch.no_grad():
        ours = network.imagine(torch.tensor(cells).float(), torch.ones(5), torch.tensor(told).float(), torch.zeros(5, 0))
    mean, log_variance = np.split(numpy_layers(network.to_invariant, numpy_layers(network.trunk, cells)), 2, axis=1)
    y = mean + np.exp(0.5 * log_variance) * noise[0]
    parts = {name: numpy_layers(part, told) for name, part in network.mechanisms.parts.items()}
    z = np.empty((5, 3))
    for i in range(5):
        # Variable after variable in causal order.
        lower = np.zeros((3, 3))
        lower[np.tril_indices(3, -1)] = parts["weights"][i]
        for j in range(3):
            from_outside = parts["inputs"][i].reshape(3, 2)[j] @ y[i] + parts["shift"][i, j]
            z[i, j] = from_outside + lower[j, :j] @ z[i, :j] + np.exp(0.5 * parts["log_noise"][i, j]) * noise[1][i, j]
    np.testing.assert_allclose(ours.mean.numpy(), numpy_decoded(network, z, y), atol=1e-4)
    assert ours.depth is None


@pytest.mark.parametrize("kind", ["random_pairs", "centroid", "none"])
@pytest.mark.parametrize("reconstruction", ["error", "likelihood"])
def test_the_loss_is_the_sum_of_its_terms(kind, reconstruction):
    network = small_network(kind=kind, reconstruction=reconstruction)
    with torch.no_grad():
        network.head.spread.copy_(torch.linspace(-1, 1, 6))
    rng = np.random.default_rng(2)
    x, x0, codes = rng.normal(1, 1, (7, 6)), rng.normal(0, 1, (7, 6)), np.array([0, 1, 1, 2, 2, 3, 1])
    u = network.u.numpy()[codes].astype(float)
    torch.manual_seed(3)
    noise = [torch.randn(7, k).numpy() for k in (2, 3)]
    torch.manual_seed(3)
    batch = Batch(torch.tensor(x).float(), torch.tensor(codes), torch.tensor(x0).float())
    ours = float(network.loss(batch).detach())
    h = numpy_layers(network.trunk, x)
    m_i, s_i = np.split(numpy_layers(network.to_invariant, h), 2, axis=1)
    m_v, s_v = np.split(numpy_layers(network.to_variant, np.concatenate([h, u], axis=1)), 2, axis=1)
    y, z = m_i + np.exp(s_i / 2) * noise[0], m_v + np.exp(s_v / 2) * noise[1]
    own = network.mechanisms(network.u)
    own = Mechanisms(*(getattr(own, f).detach().double() for f in ("weights", "inputs", "shift", "log_noise")))
    mean, covariance = explicit(own, torch.tensor(y), torch.tensor(codes))
    full = MultivariateNormal(torch.tensor(mean), torch.tensor((covariance + covariance.transpose(0, 2, 1)) / 2))
    q = MultivariateNormal(torch.tensor(m_v), torch.diag_embed(torch.tensor(np.exp(s_v))))
    divergence = float(kl_divergence(q, full).mean())
    invariant = 0.5 * (np.exp(s_i) + m_i**2 - 1 - s_i).sum(axis=1).mean()
    error = (x - numpy_decoded(network, z, y)) ** 2
    spread = np.linspace(-1, 1, 6)
    fitted = 0.5 * (error / np.exp(spread) + spread + np.log(2 * np.pi)).mean()
    m_0 = np.split(numpy_layers(network.to_invariant, numpy_layers(network.trunk, x0)), 2, axis=1)[0]
    alignment = 0.0
    if kind == "random_pairs":
        alignment = ((m_i - m_0)[codes > 0] ** 2).sum(axis=1).mean()
    elif kind == "centroid":
        for c, n in ((1, 3), (2, 2)):  # the third condition has one cell, which says nothing of a mean and its error
            a, b = m_i[codes == c], m_0[codes == c]
            gap = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
            alignment += n / 6 * (gap - (a.var(axis=0, ddof=1).sum() + b.var(axis=0, ddof=1).sum()) / n)
        assert alignment > 0 or kind == "centroid"
        alignment = max(alignment, 0)
    expected = (error.mean() if reconstruction == "error" else 0) + fitted + 0.3 * divergence + 0.2 * invariant + 0.7 * alignment
    assert ours == pytest.approx(expected, rel=1e-4)


def test_divergences_warm_up():
    network = small_network()
    heat = []
    for epoch in (0, 15, 30, 80):
        network.at_epoch(epoch, 100)
        heat.append(network.heat)
    assert heat == pytest.approx([0, 0.5, 1, 1])
    batch = Batch(torch.randn(4, 6), torch.arange(4), torch.randn(4, 6))

    def loss(epoch):
        network.at_epoch(epoch, 100)
        torch.manual_seed(0)
        return float(network.loss(batch).detach())

    assert loss(15) == pytest.approx((loss(0) + loss(99)) / 2, rel=1e-5)
    assert loss(0) < loss(99)


def test_with_squared_errors_the_variance_of_a_gene_moves_nothing_else():
    def gradient(spread):
        network = small_network(kind="none")
        with torch.no_grad():
            network.head.spread.fill_(spread)
        torch.manual_seed(0)
        network.loss(Batch(torch.randn(4, 6), torch.arange(4), torch.randn(4, 6))).backward()
        return {k: p.grad for k, p in network.named_parameters()}

    one, other = gradient(-2.0), gradient(3.0)
    assert not torch.allclose(one.pop("head.spread"), other.pop("head.spread"))
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_expectations_of_the_alignments():
    rng = np.random.default_rng(0)
    d, scale_a, scale_b, gap = 4, 1.5, 0.5, np.array([1.0, 0, -0.5, 0.2])
    pairs, gaps, naive = [], [], []
    for _ in range(4000):
        a, b = (torch.tensor(v) for v in (gap + scale_a * rng.normal(size=(5, d)), scale_b * rng.normal(size=(5, d))))
        pairs.append(float(random_pairs(a, b)))
        gaps.append(float(centroid_gap(a, b)))
        naive.append(float(((a.mean(dim=0) - b.mean(dim=0)) ** 2).sum()))
    traces = d * (scale_a**2 + scale_b**2)
    # |gap|² + tr Cov + tr Cov for random pairs, |gap|² for the centroids, a fifth of the traces more without its correction.
    for values, expected in ((pairs, gap @ gap + traces), (gaps, gap @ gap), (naive, gap @ gap + traces / 5)):
        assert abs(np.mean(values) - expected) < 5 * np.std(values) / np.sqrt(len(values))


def test_aligned_centroids_pay_nothing_for_spread():
    network = small_network(kind="centroid")
    rng = np.random.default_rng(0)
    a = torch.tensor(rng.normal(size=(6, 6))).float()
    batch = Batch(a, torch.ones(6, dtype=torch.int64), a.flip(0))
    invariant = network.to_invariant(network.trunk(a)).chunk(2, dim=1)[0]
    assert centroid_gap(invariant, invariant.flip(0)) < 0
    assert network.alignment(invariant, batch) == 0
    assert network.alignment(invariant + 5, batch) > 10
    assert network.alignment(invariant, Batch(a, torch.zeros(6, dtype=torch.int64), a)) == 0


def test_the_decoder_does_not_see_what_was_done():
    network = small_network()
    cells = torch.randn(5, 6)
    fixed = network.mechanisms(torch.tensor([[1.0, 0, 0]]))

    def imagined(told):
        torch.manual_seed(0)
        return network.imagine(cells, torch.ones(5), torch.tensor([told]).expand(5, -1), torch.zeros(5, 0)).mean.detach()

    assert not torch.allclose(imagined([1.0, 0, 0]), imagined([0.0, 1, 1]), atol=1e-3)
    network.mechanisms.forward = lambda told: fixed
    assert torch.equal(imagined([1.0, 0, 0]), imagined([0.0, 1, 1]))


def test_the_invariant_part_does_not_depend_on_what_was_done():
    network = small_network()
    cells = torch.randn(5, 6)
    one, other = (network.latents(cells, torch.tensor([t]).expand(5, -1), torch.zeros(5, 0)) for t in ([1.0, 0, 0], [0.0, 1, 0]))
    assert torch.equal(one["invariant"], other["invariant"])
    assert not torch.allclose(one["responsive"], other["responsive"])
    assert one["responsive"].shape == (5, 3)


def test_other_names_of_targets_permute_predictions():
    network = small_network()
    cells, told = torch.randn(5, 6), torch.tensor([[0.0, 1, 1]]).expand(5, -1)

    def imagined(told):
        torch.manual_seed(0)
        return network.imagine(cells, torch.ones(5), told, torch.zeros(5, 0)).mean.detach()

    before, order = imagined(told), torch.tensor([2, 0, 1])
    with torch.no_grad():
        for part in network.mechanisms.parts.values():
            part[0].weight.copy_(part[0].weight[:, order].clone())
    assert torch.allclose(imagined(told[:, order]), before, atol=1e-5)
    assert not torch.allclose(imagined(told), before, atol=1e-3)


SMALL = {"variant": 2, "invariant": 3, "width": 32, "mechanism_width": 16, "learning_rate": 1e-2, "batch_size": 128, "groups": 4}
SMALL |= {"kl_variant": 1e-3, "kl_invariant": 1e-3}


@pytest.fixture(scope="module")
def blocks():
    """Six targets act on two latent variables; three others are left alone; 25 values are linear in all five."""
    rng = np.random.default_rng(0)
    push = {t: rng.normal(0, 2.5, 2) for t in "abcdef"}
    mixing = rng.normal(0, 1, (5, 25))

    def cells(condition, n):
        z = rng.normal(size=(n, 5))
        z[:, :2] = 0.3 * z[:, :2] + sum((push[t] for t in condition.targets), np.zeros(2))
        return z @ mixing + 0.1 * rng.normal(size=(n, 25))

    conditions = [CONTROL, *(Condition((t,)) for t in "abcdef"), Condition(("a", "b")), Condition(("c", "d"))]
    return {c: cells(c, 240 if c == CONTROL else 80) for c in conditions}


@pytest.fixture(scope="module")
def fitted(blocks):
    def fit(alignment):
        model = PerturbedVAE(**SMALL, epochs=60, alignment=alignment, alignment_weight=1.0)
        return model.fit(training_data(blocks), seed=0)

    return {alignment: fit(alignment) for alignment in ("centroid", "random_pairs")}


def test_random_pairs_shrink_the_invariant_part_and_centroids_do_not(fitted, blocks):
    data = training_data(blocks)
    spread = {a: m.encode(data.cells)["invariant"].var(axis=0).sum() for a, m in fitted.items()}
    assert spread["centroid"] > 10 * spread["random_pairs"]
    assert spread["centroid"] > 0.3


def test_the_invariant_part_is_the_same_with_a_perturbation_and_without(fitted, blocks):
    data = training_data(blocks)
    latents = fitted["centroid"].encode(data.cells)
    latents = {k: [v[data.cells.codes == i] for i in range(len(data.cells.conditions))] for k, v in latents.items()}

    def moved(kind):
        control, *rest = latents[kind]
        return np.mean([np.linalg.norm(r.mean(axis=0) - control.mean(axis=0)) / control.std(axis=0).max() for r in rest])

    assert moved("invariant") < 0.3
    assert moved("responsive") > 5 * moved("invariant")


def test_controls_and_training_conditions_come_back(fitted, blocks):
    data = training_data(blocks)
    asked = (CONTROL, Condition(("b",)), Condition(("a", "b")))
    prediction = fitted["centroid"].predict(asked, data.controls)
    control = blocks[CONTROL].mean(axis=0)
    effects = [blocks[c].mean(axis=0) - control for c in asked]
    assert np.linalg.norm(prediction.mean[0] - control) < 0.25 * np.linalg.norm(effects[2])
    for effect, mean in zip(effects[1:], prediction.mean[1:], strict=True):
        assert np.corrcoef(mean - control, effect)[0, 1] > 0.8
        assert np.linalg.norm(mean - control - effect) < 0.6 * np.linalg.norm(effect)
    assert prediction.variance.shape == (3, 25)
    drawn = prediction.cells[asked[1]]
    np.testing.assert_array_equal(drawn, prediction.cells[asked[1]])
    np.testing.assert_allclose(drawn.var(axis=0), prediction.variance[1], rtol=0.6)


def test_the_graph_of_a_condition(fitted):
    model = fitted["centroid"]
    graph = model.graph(Condition(("a", "c")))
    assert graph["variant"].shape == (2, 2)
    assert graph["invariant"].shape == (2, 3)
    assert not np.triu(graph["variant"]).any()
    assert graph["variant"][1, 0] != model.graph(CONTROL)["variant"][1, 0]
    every = [np.abs(model.graph(c)["variant"]) for c in model.conditions_]
    assert len(every) > 2
    np.testing.assert_allclose(model.graph(), np.mean(every, axis=0), rtol=1e-5, atol=1e-7)
    with pytest.raises(UsageError, match="unseen target"):
        model.graph(Condition(("z",)))
    for arguments in ((CONTROL,), ()):
        with pytest.raises(NotFitted):
            PerturbedVAE().graph(*arguments)


def test_what_is_not_known_is_refused(fitted, blocks):
    prediction = fitted["centroid"].predict((Condition(("z",)), Condition(("a",))), training_data(blocks).controls)
    assert prediction.conditions == (Condition(("a",)),)
    assert "unseen target" in prediction.absent[Condition(("z",))]


def test_one_perturbation_only(blocks):
    one = training_data({c: blocks[c] for c in (CONTROL, Condition(("a",)))})
    model = PerturbedVAE(**SMALL, epochs=5).fit(one, seed=0)
    assert np.isfinite(model.predict((Condition(("a",)), CONTROL), one.controls).mean).all()


def test_counts(blocks):
    rng = np.random.default_rng(0)
    data = training_data(
        {c: rng.poisson(np.exp(2 + np.clip(b / 4, -1.5, 1.5))).astype(float) for c, b in blocks.items()}, scale="counts"
    )
    model = PerturbedVAE(**SMALL, epochs=60, likelihood="counts", reconstruction="likelihood").fit(data, seed=0)
    prediction = model.predict((Condition(("a", "c")), CONTROL), data.controls)
    assert np.linalg.norm(prediction.mean[1] - data.controls.mean[0]) < 0.1 * np.linalg.norm(data.controls.mean[0])
    assert model.encode(data.cells)["responsive"].shape == (len(data.cells.codes), 2)


def test_several_contexts_are_told(blocks):
    two = {Condition(c.targets, context=k): b + 2.0 * (k == "y") for k in "xy" for c, b in blocks.items()}
    data = training_data(two)
    model = PerturbedVAE(**{**SMALL, "invariant": 4}, epochs=40).fit(data, seed=0)
    prediction = model.predict(tuple(Condition(("a",), context=k) for k in "xy"), data.controls)
    assert (prediction.mean[1] - prediction.mean[0]).mean() == pytest.approx(2, abs=0.7)
    assert Condition(("a",), context="w") in model.predict((Condition(("a",), context="w"),), data.controls).absent


def test_a_loss_that_is_no_number_ends_training_with_a_sentence(blocks):
    blocks = {c: b.copy() for c, b in blocks.items()}
    blocks[Condition(("a",))][:] = np.nan
    with pytest.raises(TrainingFailed, match=r"loss became nan in epoch 1 of 5"):
        PerturbedVAE(**SMALL, epochs=5).fit(training_data(blocks), seed=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"alignment": "pairs"}, "alignment='pairs' is unknown"),
        ({"reconstruction": "mse"}, "reconstruction='mse' is unknown"),
        ({"groups": None, "alignment": "centroid"}, "needs groups"),
        ({"likelihood": "counts"}, "needs a screen of counts"),
    ],
)
def test_options_that_do_not_go_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        PerturbedVAE(**options).fit(toy(PerturbedVAE.capabilities).data, seed=0)


def test_squared_errors_of_counts_are_refused(blocks):
    data = training_data({c: np.round(np.abs(b)) + 1 for c, b in blocks.items()}, scale="counts")
    with pytest.raises(UsageError, match="reconstruction=error"):
        PerturbedVAE(likelihood="counts").fit(data, seed=0)


def test_presets_can_be_built():
    assert set(PerturbedVAE.presets) == {"quick", "paper"}
    data = toy(PerturbedVAE.capabilities).data
    for parameters in PerturbedVAE.presets.values():
        model = PerturbedVAE(**{**parameters, "epochs": 1}).fit(data, seed=0)
        assert model.get_params().items() >= {**parameters, "epochs": 1}.items()
    assert model.graph(CONTROL)["invariant"].shape == (20, 85)


def test_conformance():
    assert [v for v in check_model(PerturbedVAE) if not v.passed] == []
