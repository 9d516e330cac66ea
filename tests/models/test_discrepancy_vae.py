"""The discrepancy-VAE: its distance, its graph, its schedules, and what it recovers of a small world."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from small_screens import training_data

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import NotFitted, TrainingFailed, UsageError
from pbench.bench.engine.check import check_model
from pbench.bench.engine.toy import toy
from pbench.models.discrepancy_vae import DiscrepancyVAE

torch = pytest.importorskip("torch")
from pbench.models.neural.cell_batches import Batch  # noqa: E402
from pbench.models.neural.discrepancy_network import DiscrepancyNetwork, DiscrepancyWeights, ramp  # noqa: E402
from pbench.models.neural.generation import Scene  # noqa: E402
from pbench.models.neural.maximum_mean_discrepancy import maximum_mean_discrepancy, median_bandwidth  # noqa: E402

CONTROL = Condition()


def small_network(*, targets=3, latent=4, genes=6, reconstruction="mean", told=None):
    torch.manual_seed(0)
    told = torch.eye(targets) if told is None else told
    scene = Scene(
        genes, targets, 0, len(told), 10, "normal", np.arange(genes) / 5, np.ones(genes), told, torch.zeros(len(told), 0)
    )
    weights = DiscrepancyWeights(10.0, 2.0, 1e-3, 5.0, reconstruction)
    network = DiscrepancyNetwork(scene, latent=latent, width=5, bandwidth=2.0, kernels=4, weights=weights)
    with torch.no_grad():
        network.edges.copy_(torch.randn(latent, latent))
    return network


def numpy_layers(sequential, x, *, slope=0.2):
    """The forward pass of linear layers with leaky activations between them."""
    linear = [layer for layer in sequential if hasattr(layer, "weight")]
    for i, layer in enumerate(linear):
        x = x @ layer.weight.detach().numpy().astype(float).T + layer.bias.detach().numpy()
        if i < len(linear) - 1:
            x = np.where(x > 0, x, slope * x)
    return x


def naive_discrepancy(a, b, bandwidth, kernels):
    def mean_kernel(p, q):
        total = 0.0
        for x in p:
            for y in q:
                d = sum((u - v) ** 2 for u, v in zip(x, y, strict=True))
                total += sum(math.exp(-d / (bandwidth * 2.0 ** (i - kernels // 2))) for i in range(kernels))
        return total / (len(p) * len(q))

    return mean_kernel(a, a) + mean_kernel(b, b) - 2 * mean_kernel(a, b)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 10), st.floats(0.1, 50), st.integers(0, 10**6))
def test_the_discrepancy_is_that_of_a_double_loop(n, m, kernels, bandwidth, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(3, 1, (n, 4)), rng.normal(3.5, 2, (m, 4))
    ours = float(maximum_mean_discrepancy(torch.tensor(a), torch.tensor(b), bandwidth=bandwidth, kernels=kernels))
    assert ours == pytest.approx(naive_discrepancy(a, b, bandwidth, kernels), abs=1e-9)


def test_the_discrepancy_of_a_set_with_itself_is_zero_and_it_has_a_gradient_there():
    a = torch.randn(5, 3, requires_grad=True)
    value = maximum_mean_discrepancy(a, a.detach().clone(), bandwidth=2.0)
    value.backward()
    assert float(value.detach()) == pytest.approx(0, abs=1e-5)
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()


def test_far_from_zero_the_distance_keeps_its_digits():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1000, 1, (6, 20)), rng.normal(1000, 1, (6, 20))
    ours = float(maximum_mean_discrepancy(torch.tensor(a).float(), torch.tensor(b).float(), bandwidth=20.0, kernels=5))
    assert ours == pytest.approx(naive_discrepancy(np.float32(a), np.float32(b), 20.0, 5), abs=2e-3)


def test_the_bandwidth_is_the_median_squared_distance():
    x = np.random.default_rng(0).normal(size=(12, 5))  # 66 pairs: torch takes the lower of the two middle ones
    expected = np.sort(pdist(x, "sqeuclidean"))[(66 - 1) // 2]
    assert median_bandwidth(torch.tensor(x)) == pytest.approx(expected)
    assert median_bandwidth(torch.ones(4, 3)) == 1.0
    assert median_bandwidth(torch.ones(1, 3)) == 1.0


def test_the_forward_pass_is_that_of_numpy():
    network = small_network()
    network.temperature.fill_(2.5)
    cells = np.random.default_rng(1).normal(1, 1, (7, 6))
    told = np.array([[1, 0, 1], [0, 2, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]], float)
    torch.manual_seed(3)
    noise = torch.randn(7, 4).numpy()
    torch.manual_seed(3)
    with torch.no_grad():
        ours = network.imagine(torch.tensor(cells).float(), torch.ones(7), torch.tensor(told).float(), torch.zeros(7, 0))
    mean, raw = np.split(numpy_layers(network.encoder, cells), 2, axis=1)
    z = mean + np.sqrt(np.log1p(np.exp(raw))) * noise
    out = numpy_layers(network.assignment, np.eye(3))
    logits = 2.5 * out[:, :4]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    z = z + told @ (probability * out[:, 4:])
    G = np.triu(network.edges.detach().numpy(), 1)
    v = z @ np.linalg.inv(np.eye(4) - G)
    np.testing.assert_allclose(ours.mean.numpy(), numpy_layers(network.decoder, v), atol=2e-4)
    average, variance = ours.moments()
    np.testing.assert_allclose(average, ours.mean.double().mean(dim=0))
    np.testing.assert_allclose(variance, ours.mean.double().numpy().var(axis=0))


@pytest.mark.parametrize("reconstruction", ["mean", "sum"])
def test_the_loss_is_the_sum_of_its_terms(reconstruction):
    network = small_network(reconstruction=reconstruction)
    network.at_epoch(30, 100)
    rng = np.random.default_rng(2)
    cells, controls, codes = rng.normal(1, 1, (7, 6)), rng.normal(0, 1, (7, 6)), np.array([0, 0, 0, 2, 2, 1, 0])
    batch = Batch(torch.tensor(cells).float(), torch.tensor(codes), torch.tensor(controls).float())
    torch.manual_seed(3)
    noise = torch.randn(7, 4).numpy()
    torch.manual_seed(3)
    ours = float(network.loss(batch).detach())
    mean, raw = np.split(numpy_layers(network.encoder, controls), 2, axis=1)
    variance = np.log1p(np.exp(raw))
    z = mean + np.sqrt(variance) * noise
    G = np.triu(network.edges.detach().numpy().astype(float), 1)
    A = np.linalg.inv(np.eye(4) - G)
    shift = network.shift(torch.eye(3)).detach().numpy()
    x, y = (numpy_layers(network.decoder, v @ A) for v in (z, z + shift[codes]))
    error = ((x - controls) ** 2).mean() * (6 if reconstruction == "sum" else 1)
    divergence = 0.5 * (variance + mean**2 - 1 - np.log(variance)).sum(axis=1).mean()
    pieces = [(codes == c).sum() / 7 * naive_discrepancy(y[codes == c], cells[codes == c], 2.0, 4) for c in range(3)]
    expected = 10 * 25 / 45 * sum(pieces) + error + 2 * 20 / 90 * divergence + 1e-3 * np.abs(G).sum()
    assert ours == pytest.approx(expected, rel=1e-4)


def test_schedules_of_a_hundred_epochs_are_the_published_ones():
    network = small_network()
    seen = {}
    for epoch in (0, 5, 10, 30, 50, 55, 99):
        network.at_epoch(epoch, 100)
        seen[epoch] = (network.alpha, network.beta, float(network.temperature))
    assert seen[0] == (0, 0, 1)
    assert seen[5] == (0, 0, 1)
    assert seen[10] == pytest.approx((10 * 5 / 45, 0, 1 + 4 * 5 / 95))
    assert seen[30] == pytest.approx((10 * 25 / 45, 2 * 20 / 90, 1 + 4 * 25 / 95))
    assert seen[50] == pytest.approx((10, 2 * 40 / 90, 1 + 4 * 45 / 95))
    assert seen[55] == pytest.approx((10, 1, 1 + 4 * 50 / 95))
    assert seen[99] == pytest.approx((10, 2 * 89 / 90, 1 + 4 * 94 / 95))
    assert [ramp(e, 0, 0) for e in (0, 1)] == [0, 1]


def test_the_temperature_is_kept_with_the_weights():
    network = small_network()
    network.at_epoch(60, 100)
    kept = {k: v.clone() for k, v in network.state_dict().items()}
    before = network.assigned()[0]
    network.at_epoch(99, 100)
    network.load_state_dict(kept)
    assert torch.equal(network.assigned()[0], before)


def test_the_shift_of_a_double_is_the_sum_of_those_of_its_singles():
    network = small_network()
    a, b, both = (network.shift(torch.tensor([t])) for t in ([1.0, 0, 0], [0, 0, 1.0], [1.0, 0, 1.0]))
    assert torch.allclose(a + b, both, atol=1e-6)
    assert not network.shift(torch.zeros(1, 3)).any()
    assert torch.allclose(network.shift(torch.tensor([[0.5, 0, 0]])), 0.5 * a)


def test_other_names_of_targets_permute_predictions():
    network = small_network()
    cells, told = torch.randn(5, 6), torch.tensor([[0.0, 1, 1]]).expand(5, -1)

    def imagined(told):
        torch.manual_seed(0)
        return network.imagine(cells, torch.ones(5), told, torch.zeros(5, 0)).mean.detach()

    before = imagined(told)
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        network.assignment[0].weight.copy_(network.assignment[0].weight[:, order].clone())
    assert torch.allclose(imagined(told[:, order]), before, atol=1e-5)
    assert not torch.allclose(imagined(told), before, atol=1e-3)


@pytest.fixture(scope="module")
def world():
    """Three latent variables in a chain; targets a, b push the first, c, d the second, e, f the third; x = v M + little noise."""
    rng = np.random.default_rng(0)
    d, names = 3, "abcdef"
    G = np.zeros((d, d))
    G[0, 1], G[1, 2] = 0.8, -0.7
    A, mixing = np.linalg.inv(np.eye(d) - G), rng.normal(0, 1, (d, 20))

    def cells(condition, n=100):
        z = rng.normal(size=(n, d))
        for target in condition.targets:
            i = names.index(target)
            z[:, i // 2] += 4.0 if i % 2 else 2.5
        return z @ A @ mixing + 0.1 * rng.normal(size=(n, 20))

    conditions = [CONTROL, *(Condition((t,)) for t in names), Condition(("a", "c")), Condition(("b", "e")), Condition(("d", "f"))]
    blocks = {c: cells(c, 300 if c == CONTROL else 100) for c in conditions}
    model = DiscrepancyVAE(latent=3, epochs=40, width=32, learning_rate=5e-3, reconstruction="sum", groups=4, batch_size=128)
    return model.fit(training_data(blocks), seed=0), blocks, cells


def test_targets_of_the_same_latent_variable_are_found(world):
    assigned = {t: int(np.argmax(p)) for t, p in world[0].targets().items()}
    assert [assigned[t] for t in "ace"] == [assigned[t] for t in "bdf"]
    assert len({assigned[t] for t in "ace"}) == 3
    for p in world[0].targets().values():
        assert p.shape == (3,)
        assert p.sum() == pytest.approx(1, abs=1e-5)
        assert p.max() > 0.6


def test_the_graph_is_strictly_lower_triangular(world):
    graph = world[0].graph()
    assert graph.shape == (3, 3)
    assert np.abs(graph[np.tril_indices(3, -1)]).max() > 0.05
    assert not graph[np.triu_indices(3)].any()


def test_controls_come_back_and_an_unseen_double_is_predicted(world):
    model, blocks, cells = world
    controls = training_data(blocks).controls
    asked = (CONTROL, Condition(("b", "c")))
    prediction = model.predict(asked, controls)
    control = blocks[CONTROL].mean(axis=0)
    effect = cells(asked[1], 4000).mean(axis=0) - control
    assert np.linalg.norm(prediction.mean[0] - control) < 0.1 * np.linalg.norm(effect)
    assert np.linalg.norm(prediction.mean[1] - control - effect) < 0.25 * np.linalg.norm(effect)
    drawn = prediction.cells[asked[1]]
    np.testing.assert_allclose(drawn.mean(axis=0), prediction.mean[1], atol=1e-4)
    np.testing.assert_array_equal(drawn, prediction.cells[asked[1]])


def test_latents_of_cells(world):
    model, blocks, _ = world
    data = training_data(blocks)
    latents = model.encode(data.cells)
    assert {k: v.shape for k, v in latents.items()} == {"latent": (1200, 3), "exogenous": (1200, 3)}
    # v = G v + z for each cell, with [i, j] from the variable j to i.
    np.testing.assert_allclose(latents["latent"] @ (np.eye(3) - model.graph()).T, latents["exogenous"], atol=1e-3)


def test_what_is_not_known_is_refused(world):
    model, blocks, _ = world
    prediction = model.predict((Condition(("z",)), Condition(("a", "z")), Condition(("a",))), training_data(blocks).controls)
    assert prediction.conditions == (Condition(("a",)),)
    assert all("unseen target" in reason for reason in prediction.absent.values())
    for ask in (DiscrepancyVAE().graph, DiscrepancyVAE().targets):
        with pytest.raises(NotFitted):
            ask()


def test_one_perturbation_only(world):
    _, blocks, _ = world
    one = {c: blocks[c] for c in (CONTROL, Condition(("a",)))}
    model = DiscrepancyVAE(epochs=15, width=16).fit(training_data(one), seed=0)
    assert model.graph().shape == (1, 1)
    assert np.isfinite(model.predict((Condition(("a",)),), training_data(one).controls).mean).all()


def test_a_loss_that_is_no_number_ends_training_with_a_sentence(world):
    blocks = {c: b.copy() for c, b in world[1].items()}
    blocks[Condition(("a",))][:] = np.nan
    with pytest.raises(TrainingFailed, match=r"loss became nan in epoch \d+ of 20"):
        DiscrepancyVAE(epochs=20, width=8).fit(training_data(blocks), seed=0)


def test_unknown_options_are_refused(world):
    data = training_data(world[1])
    with pytest.raises(UsageError, match="mmd_sigma"):
        DiscrepancyVAE(mmd_sigma="mean").fit(data, seed=0)
    with pytest.raises(UsageError, match="reconstruction"):
        DiscrepancyVAE(reconstruction="most").fit(data, seed=0)


def test_the_bandwidth_comes_from_training_cells_or_is_given(world):
    data = training_data(world[1])
    assert DiscrepancyVAE(epochs=1, width=8, mmd_sigma=7.5).fit(data, seed=0).network_.bandwidth == 7.5
    cells = data.cells.X.toarray()
    rough = np.median(pdist(cells[::3], "sqeuclidean"))
    assert DiscrepancyVAE(epochs=1, width=8).fit(data, seed=0).network_.bandwidth == pytest.approx(rough, rel=0.15)


def test_a_batch_holds_pieces_of_a_few_perturbations():
    scene = toy(DiscrepancyVAE.capabilities)
    model = DiscrepancyVAE(epochs=1, groups=2, batch_size=8)
    sizes = []
    original = DiscrepancyNetwork.discrepancy

    def watched(self, generated, cells, codes):
        sizes.append(len(codes.unique()))
        return original(self, generated, cells, codes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiscrepancyNetwork, "discrepancy", watched)
        patch.setattr(DiscrepancyNetwork, "at_epoch", lambda self, epoch, epochs: None)
        model.fit(scene.data, seed=0)
    assert sizes
    assert max(sizes) <= 2


def test_presets_can_be_built():
    assert set(DiscrepancyVAE.presets) == {"quick", "paper"}
    for parameters in DiscrepancyVAE.presets.values():
        assert DiscrepancyVAE(**parameters).get_params().items() >= parameters.items()
    paper = toy(DiscrepancyVAE.capabilities).data
    assert DiscrepancyVAE(**{**DiscrepancyVAE.presets["paper"], "epochs": 2}).fit(paper, seed=0).graph().shape == (105, 105)


def test_conformance():
    assert [v for v in check_model(DiscrepancyVAE) if not v.passed] == []
