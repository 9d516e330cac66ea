"""CITE-VAE: regimes, what its parts must leave alone, sequences, and what it finds on a process whose latent variables are known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from small_screens import made_up, training_data

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import NotFitted, UsageError
from pbench.bench.contracts.training import Cells
from pbench.models.anchor import anchored
from pbench.models.cite_vae import CiteVAE
from pbench.models.neural.cite_clock import Clock
from pbench.models.neural.identifiability_report import collapsed, leakage, natural_parameters, separation, spectrum

torch = pytest.importorskip("torch")
from pbench.models.neural.cite_coder import Lens, Shape  # noqa: E402
from pbench.models.neural.cite_paired import PairedNetwork  # noqa: E402
from pbench.models.neural.cite_snapshot import SnapshotNetwork, Terms  # noqa: E402
from pbench.models.neural.deviation_chain import AffineLaw  # noqa: E402
from pbench.models.neural.generation import Scene  # noqa: E402
from pbench.models.neural.sequences import SequenceBatch, SequenceBatches, units_of  # noqa: E402

CONTROL = Condition()
SMALL = {"width": 32, "epochs": 4, "batch_size": 96, "groups": 4, "responsive": 3, "invariant": 2}
#: Cells that a perturbation has at each of the times 0, 1, … of the process below.
TIMES, UNITS = 5, 40


def process(*, seed=0, paired=True, units=UNITS):
    """Three responsive variables, one invariant one, seven perturbations, twelve features that are linear in all four."""
    rng = np.random.default_rng(seed)
    drives = {(): ([0, 0, 0], [1, 1, 1])}
    drives |= {(f"P{i}",): (1.2 * np.eye(3)[i] * (-1) ** i, 1 + np.eye(3)[i] * (0.8 if i else -0.6)) for i in range(3)}
    for a, b in ((0, 1), (0, 2), (1, 2)):
        drives[f"P{a}", f"P{b}"] = tuple(
            op(drives[f"P{a}",][j], drives[f"P{b}",][j]) for j, op in ((0, np.add), (1, np.multiply))
        )
    mixing, W = rng.normal(size=(4, 12)), np.array([[0, 0, 0.4], [0.5, 0, 0], [0, 0, 0]])
    X, Z, codes, time, unit, conditions = [], [], [], [], [], []
    for act, (shift, noise) in drives.items():
        own = [Condition(act, time=float(t)) if act else CONTROL for t in range(TIMES)]
        conditions += list(dict.fromkeys(own))
        v, z = rng.normal(size=(units, 1)), rng.normal(size=(units, 3))
        for t in range(-8, TIMES):
            on = t > 0
            z = (
                0.6 * z
                + np.tanh(z) @ W.T
                + 0.4 * v
                + on * np.array(shift)
                + np.where(on, noise, 1) * 0.4 * rng.normal(size=z.shape)
            )
            if t >= 0:
                Z.append(np.concatenate([z, v], axis=1))
                X.append(Z[-1] @ mixing + 0.05 * rng.normal(size=(units, 12)))
                codes.append(np.full(units, conditions.index(own[t])))
                time.append(np.full(units, float(t)))
                unit.append(np.arange(units) + 1000 * list(drives).index(act))
    X, codes = np.concatenate(X).astype(np.float32), np.concatenate(codes)
    blocks = {c: X[codes == i] for i, c in enumerate(conditions)}
    whole = Cells(
        sparse.csr_matrix(X),
        codes,
        tuple(conditions),
        "raw",
        np.concatenate(unit) if paired else None,
        np.concatenate(time) if paired else None,
    )
    data = replace(training_data(blocks), load_cells=lambda role: whole, latents={"responsive": 3, "invariant": 1})
    return data, whole, np.concatenate(Z)


@pytest.fixture(scope="module")
def sequences():
    return process()


@pytest.fixture(scope="module")
def fitted(sequences):
    return CiteVAE(epochs=100, width=48, batch_size=250).fit(sequences[0], seed=0)


def snapshots(**changes):
    torch.manual_seed(0)
    told = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    scene = Scene(6, 3, 1, 4, 10, "normal", np.zeros(6), np.ones(6), told, torch.tensor([[0.0], [2], [2], [2]]))
    settings = {
        "informed": True,
        "transition": "deviation",
        "steps": 3,
        "rank": 2,
        "gates": False,
        "mechanism_width": 4,
    } | changes
    shape = Shape(3, 2, 8, 2, True, 0.5, False)
    terms = Terms(1.0, 1.0, 0.1, "centroid", 0.01, 0.01, 0.0, 0.0)
    network = SnapshotNetwork(scene, shape, Lens(np.arange(6.0), np.ones(6)), terms, **settings)
    with torch.no_grad():
        network.basis.add_(0.3 * torch.randn(3, 3))
        network.instant.copy_(0.5 * torch.randn(3, 3))
        network.inputs.copy_(torch.randn(3, 2))
        if network.deviates:
            for p in (network.edits.shift, network.edits.damping, network.edits.noise):
                p.copy_(0.7 * torch.randn_like(p))
    return network.eval()


def imagined(network, told, step=2.0, cells=None):
    cells = torch.linspace(-2, 2, 30).view(5, 6) if cells is None else cells
    torch.manual_seed(1)
    n = len(cells)
    with torch.no_grad():
        return network.imagine(cells, torch.ones(n), torch.tensor([told]).expand(n, -1), torch.full((n, 1), step)).mean


def test_with_a_linear_decoder_means_are_additive(monkeypatch):
    network = snapshots()
    with torch.no_grad():
        for p in network.decoder.parameters():
            p.zero_()
    monkeypatch.setattr("pbench.models.neural.deviation_chain.FullGaussian.sample", lambda own: own.mean)
    # Damping acts on the reference state, and its mean adds up as well.
    none, a, b, both = (imagined(network, t) for t in ([0.0, 0, 0], [1.0, 0, 0], [0.0, 1, 0], [1.0, 1, 0]))
    assert not torch.allclose(a, none, atol=0.05)
    assert torch.allclose(both - none, (a - none) + (b - none), atol=1e-4)


def test_with_another_decoder_they_are_not(monkeypatch):
    network = snapshots()
    monkeypatch.setattr("pbench.models.neural.deviation_chain.FullGaussian.sample", lambda own: own.mean)
    none, a, b, both = (imagined(network, t) for t in ([0.0, 0, 0], [1.0, 0, 0], [0.0, 1, 0], [1.0, 1, 0]))
    assert not torch.allclose(both - none, (a - none) + (b - none), atol=1e-3)


@pytest.mark.parametrize("transition", ["deviation", "weight-variant"])
def test_the_decoder_does_not_see_what_was_done(transition, monkeypatch):
    network = snapshots(transition=transition)
    assert not torch.allclose(imagined(network, [1.0, 0, 0]), imagined(network, [0.0, 1, 1]), atol=1e-3)
    fixed = AffineLaw(torch.ones(1, 3), torch.zeros(1, 3, 2), torch.eye(3)[None])
    monkeypatch.setattr(network, "laws", lambda told, covariates: fixed)
    assert torch.equal(imagined(network, [1.0, 0, 0]), imagined(network, [0.0, 1, 1]))


def test_other_names_of_targets_permute_predictions():
    network, order = snapshots(), torch.tensor([2, 0, 1])
    told = torch.tensor([1.0, 0, 1])
    before = imagined(network, told.tolist())
    with torch.no_grad():
        for p in network.edits.parameters():
            p.copy_(p[order].clone())
    assert torch.allclose(imagined(network, told[order].tolist()), before, atol=1e-5)
    assert not torch.allclose(imagined(network, told.tolist()), before, atol=1e-3)


def test_a_target_without_edits_changes_nothing():
    network = snapshots(gates=True)
    with torch.no_grad():
        network.edits.logits.fill_(5)
        network.edits.logits[1].fill_(-5)
    assert torch.equal(imagined(network, [1.0, 1, 0]), imagined(network, [1.0, 0, 0]))
    assert torch.equal(imagined(network, [0.0, 1, 0]), imagined(network, [0.0, 0, 0]))
    assert not torch.allclose(imagined(network, [1.0, 0, 0]), imagined(network, [0.0, 0, 0]), atol=1e-3)


def test_controls_keep_the_reference_law_in_both_transitions():
    for transition in ("deviation", "weight-variant"):
        network = snapshots(transition=transition)
        law = network.laws(torch.zeros(2, 3), torch.tensor([[0.0], [3.0]]))
        assert torch.allclose(law.offset, network.mean.expand(2, -1))
        assert torch.allclose(law.inputs, network.inputs.expand(2, -1, -1))
        assert torch.allclose(law.covariance, torch.diag(network.log_variance.exp()).expand(2, -1, -1))
        perturbed = network.laws(torch.eye(3)[:1], torch.tensor([[1.0]]))
        assert not torch.allclose(perturbed.offset, law.offset[:1], atol=1e-2)


def test_a_static_model_with_random_pairs_is_perturbed_vae_in_its_prior():
    """The network of u itself: one step, no memory; to 1e-6 for perturbed cells."""
    network = snapshots(transition="weight-variant", steps=1)
    assert network.memory is None
    told = torch.tensor([[1.0, 0, 0], [1, 1, 0]])
    law, own = network.laws(told, torch.ones(2, 1)), network.weights(told)
    y, environment = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    static = own.given(y, environment)
    assert torch.allclose(law.given(y, environment).mean, static.mean(), atol=1e-6)
    assert torch.allclose(law.covariance, static.covariance(), atol=1e-6)


def paired_network(*, kind="linear", instantaneous=False, align="none", memory=True):
    torch.manual_seed(0)
    told = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    scene = Scene(6, 2, 1, 4, 10, "normal", np.zeros(6), np.ones(6), told, torch.zeros(4, 1))
    terms = Terms(1.0, 1.0, 0.2, align, 0.02, 0.01, 0.0, 0.0)
    shape = Shape(3, 2, 8, 2, True, 0.5, False)
    network = PairedNetwork(
        scene,
        shape,
        Lens(np.zeros(6), np.ones(6)),
        terms,
        transition=kind,
        gates=False,
        instantaneous=instantaneous,
        memory=memory,
    )
    with torch.no_grad():
        for name, p in network.named_parameters():
            if name.startswith(("transition", "basis", "mixed_in")):
                p.add_(0.2 * torch.randn_like(p))
    return network


def test_units_of_a_scale_do_not_matter_to_the_loss():
    """z → c z with every part of a linear transition in the new units: the same evidence, and the same penalties."""
    network = paired_network()
    batch = SequenceBatch(torch.randn(5, 4, 6), torch.randint(4, (5, 4)))

    def loss():
        torch.manual_seed(2)
        return float(network.loss(batch).detach())

    before, c = loss(), 3.0
    own = network.transition
    with torch.no_grad():
        for p in (network.basis, network.mixed_in, own.edits.shift, own.bias, own.inputs, own.first_mean, own.first_inputs):
            p.mul_(c)
        own.first_shift.mul_(c)
        for p in (own.log_scale, own.first_log_scale):
            p.add_(np.log(c))
    assert loss() == pytest.approx(before, rel=1e-5)
    with torch.no_grad():
        network.basis.mul_(1.3)
    assert loss() != pytest.approx(before, rel=1e-3)


def test_a_basis_does_not_touch_what_is_rebuilt():
    network = paired_network()
    y, e = torch.randn(4, 2), torch.randn(4, 3)
    assert torch.allclose(network.turned_back(network.turned(e, y), y), e, atol=1e-5)


def test_frames_of_a_unit_are_multiplied_into_one_code():
    mean, log_variance = torch.tensor([[[1.0], [-0.5], [2.0]]]), torch.tensor([[[0.3], [-1.0], [0.7]]])
    pooled, log_pooled = PairedNetwork.pooled(mean, log_variance)
    grid = np.linspace(-8, 8, 40_001)
    log_density = -0.5 * grid**2
    for m, s in zip(mean.flatten().tolist(), log_variance.flatten().tolist(), strict=True):
        log_density = log_density - 0.5 * (grid - m) ** 2 / np.exp(s)
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    expected = (weight * grid).sum()
    assert float(pooled) == pytest.approx(expected, abs=1e-4)
    assert float(log_pooled.exp()) == pytest.approx((weight * (grid - expected) ** 2).sum(), rel=1e-3)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("instantaneous", [False, True])
def test_density_of_a_transition_against_a_loop(kind, instantaneous):
    own = paired_network(kind=kind, instantaneous=instantaneous).transition.double().requires_grad_(False)
    z, y, told = torch.randn(2, 3, 3).double(), torch.randn(2, 2).double(), torch.randint(2, (2, 3, 2)).double()
    got = own.log_density(z, y, told)
    for u in range(2):
        first = own.first_mean + own.first_inputs @ y[u] + told[u, 0] @ own.first_shift
        total = torch.distributions.Normal(first, own.first_log_scale.exp()).log_prob(z[u, 0]).sum()
        for t in (1, 2):
            h = own.influence(z[u, t - 1])
            damping, noise = told[u, t] @ own.edits.damping, told[u, t].abs() @ own.edits.noise
            for i in range(3):
                mean = own.keep[i] * z[u, t - 1, i] + damping[i].exp() * h[i] + own.inputs[i] @ y[u] + own.bias[i]
                mean = mean + told[u, t] @ own.edits.shift[:, i]
                for j in range(i):
                    mean = mean + own.instant[i, j] * z[u, t, j] * instantaneous
                total = total + torch.distributions.Normal(mean, (own.log_scale[i] + noise[i]).exp()).log_prob(z[u, t, i])
        assert float(got[u]) == pytest.approx(float(total), rel=1e-9)


def test_an_influence_has_the_slopes_that_it_says():
    own = paired_network(kind="mlp").transition.double()
    past = torch.randn(1, 3).double()
    none = torch.zeros(1, 2).double()
    jacobian = torch.autograd.functional.jacobian(lambda z: own.step(z, none, none)[0][0], past)[:, 0]
    assert torch.allclose(own.slopes(past), jacobian.abs(), atol=1e-10)


def test_one_step_makes_sequences_static():
    own = paired_network(kind="mlp", memory=False).transition.requires_grad_(False)
    z, y, told = torch.randn(2, 4, 3), torch.randn(2, 2), torch.ones(2, 4, 2)
    shuffled = z[:, [0, 3, 1, 2]]
    assert torch.allclose(own.log_density(z, y, told), own.log_density(shuffled, y, told), atol=1e-4)
    assert not own.slopes(z[0]).any()
    with_memory = paired_network(kind="mlp").transition
    assert not torch.allclose(with_memory.log_density(z, y, told), with_memory.log_density(shuffled, y, told), atol=1e-2)


def test_walks_have_the_moments_of_the_transition():
    own = paired_network(instantaneous=True).transition.eval()
    n = 40_000
    torch.manual_seed(0)
    start, y, told = torch.tensor([[0.5, -1, 0.3]]).expand(n, -1), torch.ones(n, 2), torch.tensor([[1.0, 0]]).expand(n, -1)
    with torch.no_grad():
        one = own.walk(start, y, told, torch.ones(n))
        mean, log_scale = own.step(start[:1], y[:1], told[:1])
        A = torch.linalg.inv(torch.eye(3) - torch.tril(own.instant, -1))
        half = own.walk(start, y, told, torch.full((n,), 0.5))
    covariance = A @ torch.diag(torch.exp(2 * log_scale[0])) @ A.T
    assert ((one.mean(dim=0) - A @ mean[0]).abs() < 5 * (covariance.diagonal() / n).sqrt()).all()
    assert torch.allclose(torch.cov(one.T), covariance, atol=0.03 * float(covariance.abs().max()))
    assert ((half.mean(dim=0) - (start[0] + A @ mean[0]) / 2).abs() < 5 * (covariance.diagonal() / n).sqrt()).all()
    assert torch.equal(own.walk(start, y, told, torch.zeros(n)), start)


@pytest.mark.parametrize("align", ["centroid", "mmd", "random_pairs"])
def test_alignment_of_units_looks_at_perturbations_not_at_times(align):
    network = paired_network(align=align)
    codes = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    y = torch.randn(7, 2)
    torch.manual_seed(0)
    near = network.aligned(y, codes)
    y[3:] += 4
    torch.manual_seed(0)
    assert network.aligned(y, codes) > near + 0.1
    assert network.aligned(y, torch.zeros(7, dtype=torch.int64)) == 0
    assert network.aligned(y, torch.ones(7, dtype=torch.int64)) == 0


def test_sequences_hold_whole_units_in_the_order_of_time(sequences):
    _, cells, _ = sequences
    order = np.random.default_rng(0).permutation(len(cells.codes))[:-3]
    mixed = Cells(cells.X[order], cells.codes[order], cells.conditions, "raw", cells.unit[order], cells.time[order])
    rows = units_of(mixed)
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(order)))
    assert all((np.diff(mixed.time[r]) > 0).all() and len(set(mixed.unit[r])) == 1 for r in rows)
    batches = SequenceBatches(mixed, mixed.conditions, 50)
    seen = list(batches.epoch(np.random.default_rng(1)))
    assert sum(len(b) for b in seen) == len(order)
    assert {b.cells.shape[1] for b in seen} >= {TIMES}
    X = mixed.X.toarray()
    for batch in seen[:2]:
        for cell, code in zip(batch.cells.flatten(0, 1).numpy(), batch.codes.flatten().tolist(), strict=True):
            row = int(np.flatnonzero((X == cell).all(axis=1))[0])
            assert mixed.codes[row] == code
    with pytest.raises(UsageError, match="several known times"):
        SequenceBatches(replace(mixed, unit=None), mixed.conditions, 50)


def matched(truth, codes):
    """Mean absolute correlation of the best matching."""
    from scipy.optimize import linear_sum_assignment

    d = truth.shape[1]
    correlation = np.abs(np.corrcoef(truth.T, codes.T)[:d, d:])
    return correlation[linear_sum_assignment(-correlation)].mean()


def test_what_it_finds_in_sequences(fitted, sequences):
    """Far ahead of principal components in both blocks."""
    _, cells, truth = sequences
    codes = fitted.encode(cells)
    X = cells.X.toarray()
    components = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[0][:, :4]
    assert matched(truth[:, :3], codes["responsive"]) > matched(truth[:, :3], components) + 0.1
    assert abs(np.corrcoef(truth[:, 3], codes["invariant"][:, 0])[0, 1]) > 0.93
    assert codes["responsive"].shape == (len(truth), 3)
    for rows in units_of(cells)[:5]:
        assert np.ptp(codes["invariant"][rows], axis=0).max() < 1e-5


def test_targets_that_it_finds_in_sequences(fitted, sequences):
    _, cells, truth = sequences
    codes = fitted.encode(cells)["responsive"]
    from scipy.optimize import linear_sum_assignment

    correlation = np.abs(np.corrcoef(truth[:, :3].T, codes.T)[:3, 3:])
    match = linear_sum_assignment(-correlation)[1]
    strength = fitted.targets()
    assert set(strength) == {"P0", "P1", "P2"}
    for i in range(3):
        assert strength[f"P{i}"].argmax() == match[i]
    graph = fitted.graph()
    assert graph.shape == (3, 3)
    assert (graph >= 0).all()


def test_codes_of_sequences_see_no_label(fitted, sequences):
    _, cells, _ = sequences
    blind = Cells(cells.X, np.zeros_like(cells.codes), (CONTROL,), "raw", cells.unit, cells.time)
    for name, value in fitted.encode(cells).items():
        np.testing.assert_array_equal(value, fitted.encode(blind)[name])
    alone = fitted.encode(Cells(cells.X[:7], cells.codes[:7], cells.conditions, "raw"))
    assert alone["invariant"].shape == (7, 1)


def test_predictions_of_sequences(fitted, sequences):
    data, _, _ = sequences
    asked = [
        CONTROL,
        Condition(("P0",), time=4.0),
        Condition(("P0",), time=3.5),
        Condition(("P0", "P1", "P2"), time=4.0),
        Condition(("P0",), time=9.0),
        Condition(("X",), time=4.0),
    ]
    prediction = fitted.predict(asked, data.controls)
    assert prediction.absent == {
        asked[4]: "capability: time beyond those of training",
        asked[5]: "capability: unseen target or context",
    }
    spread = np.sqrt(data.controls.var[0])
    assert (np.abs(prediction.mean[0] - data.controls.mean[0]) < 0.35 * spread).all()
    seen = data.perturbed.mean[data.perturbed.row(asked[1])]
    moved = np.linalg.norm(seen - data.controls.mean[0])
    assert np.linalg.norm(prediction.mean[1] - seen) < 0.3 * moved
    assert np.linalg.norm(prediction.mean[2] - prediction.mean[1]) < 0.5 * moved
    np.testing.assert_allclose(prediction.cells[asked[1]].mean(axis=0), prediction.mean[1], atol=0.5)
    assert np.isfinite(prediction.variance).all()


def test_the_report_is_json_and_says_what_the_regime_allows(fitted, sequences):
    own = json.loads(json.dumps(fitted.identifiability_report()))
    assert own["needed"] == 6
    assert own["environments"] == 6 * TIMES
    assert own["effective_rank"] <= 6
    assert "observed" in own["dynamics"]
    assert own["alignment"]["responsive"]["auc_max"] > own["alignment"]["invariant"]["auc_max"]
    assert own["collapsed"] == {"responsive": 0, "invariant": 0}
    assert len(own["vanishing"]) == 3
    json.dumps(fitted.diagnostics())


def test_rank_of_changes_and_its_floor():
    rng = np.random.default_rng(0)
    sizes, d = [4000] * 5, 3
    # Two variables change their means in two environments, one its variance in another; two environments are control again.
    laws = [((0, 0, 0), 1), ((1, 0, 0), 1), ((0, -1, 0), 1), ((0, 0, 0), (1, 1, 0.4)), ((0, 0, 0), 1)]
    codes = np.concatenate([rng.normal(size=(n, d)) * np.array(s) + np.array(m) for n, (m, s) in zip(sizes, laws, strict=True)])
    found = spectrum(codes, np.repeat(np.arange(5), sizes), seed=0)
    assert found["environments"] == 4
    assert found["effective_rank"] == 3
    assert found["singular_values"][3] < found["noise_floor"]
    np.testing.assert_allclose(natural_parameters(codes[:4000]), [0, 0, 0, -0.5, -0.5, -0.5], atol=0.06)


def test_separation_leakage_and_collapse():
    rng = np.random.default_rng(0)
    environment = np.repeat([0, 1, 2], 400)
    same = rng.normal(size=(1200, 2))
    moved = same + np.where(environment[:, None] == 2, 2.0, 0.0)
    assert separation(same, environment)["auc_max"] < 0.57
    assert separation(moved, environment)["auc_max"] > 0.95
    assert separation(moved, environment)["mmd_max"] > 10 * abs(separation(same, environment)["mmd_max"])
    assert leakage(rng.normal(size=(1200, 3)), same) < 0.02
    assert leakage(same @ rng.normal(size=(2, 3)) + 0.1 * rng.normal(size=(1200, 3)), same) > 0.9
    assert collapsed(np.column_stack([same, 1e-3 * same[:, 0], np.zeros(1200)])) == 2


@pytest.fixture(scope="module")
def still():
    """The same process, each cell seen once, at its last time or at all of them."""
    data, cells, _ = process(paired=False)
    last = [i for i, c in enumerate(cells.conditions) if c.is_control or c.time == TIMES - 1]
    blocks = {replace(cells.conditions[i], time=None): cells.X[cells.codes == i].toarray() for i in last}
    return data, training_data(blocks)


def test_regimes_follow_from_the_data(sequences, still):
    timed, endpoint = still
    assert Clock.of(sequences[0], "auto", None).regime == "paired"
    assert Clock.of(timed, "auto", None) == Clock("timed", (0.0, 1, 2, 3, 4), (0.0, 1, 2, 3, 4), 4)
    assert Clock.of(endpoint, "auto", None) == Clock("endpoint", (), (), 3)
    assert Clock.of(endpoint, "endpoint", 1).step(Condition(("P0",))) == 1
    assert Clock.of(timed, "timed", 8).step(Condition(("P0",), time=2.5)) == 5
    assert Clock.of(timed, "auto", None).step(CONTROL) == 0
    for regime, data in (("paired", timed), ("timed", endpoint), ("other", timed)):
        with pytest.raises(UsageError, match=f"regime='?{regime}"):
            Clock.of(data, regime, None)
    with pytest.raises(UsageError, match="steps=0"):
        Clock.of(endpoint, "auto", 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"transition": "mlp"}, "does not go with endpoint"),
        ({"alignment": "pairs"}, "alignment='pairs' is unknown"),
        ({"groups": None}, "needs groups"),
    ],
)
def test_what_does_not_fit_is_refused(still, changes, said):
    with pytest.raises(UsageError, match=said):
        CiteVAE(**{**SMALL, **changes}).fit(still[1], seed=0)


def test_one_step_and_several_learn_end_points_alike(still):
    losses = {}
    for steps in (1, 3):
        model = CiteVAE(**{**SMALL, "epochs": 30, "learning_rate": 1e-2, "invariant": 1}, steps=steps)
        losses[steps] = model.fit(still[1], seed=0).history_.loss
        assert losses[steps][-1] < losses[steps][0] - 0.3
    assert abs(losses[1][-1] - losses[3][-1]) < 0.1 * (losses[1][0] - losses[1][-1])


@pytest.mark.parametrize("transition", ["deviation", "weight-variant"])
def test_snapshots_at_times_predict_between_them(still, transition):
    model = CiteVAE(**{**SMALL, "epochs": 16, "learning_rate": 1e-2}, transition=transition).fit(still[0], seed=0)
    asked = [Condition(("P1",), time=t) for t in (3.0, 3.5, 4.0)] + [CONTROL, Condition(("P1",), time=4.5)]
    prediction = model.predict(asked, still[0].controls)
    assert list(prediction.absent) == asked[4:]
    seen = still[0].perturbed.mean[still[0].perturbed.row(asked[2])]
    assert np.corrcoef(prediction.mean[2] - prediction.mean[3], seen - still[0].controls.mean[0])[0, 1] > 0.7
    assert np.linalg.norm(prediction.mean[1] - prediction.mean[2]) < np.linalg.norm(prediction.mean[3] - prediction.mean[2])
    assert model.graph().shape == (3, 3)
    assert all(v.shape == (3,) and (v >= 0).all() for v in model.targets().values())
    assert "no transition" in model.identifiability_report()["dynamics"]


def test_counts_doses_contexts_and_anchor():
    conditions = [Condition((g,), (dose,), context=c) for g in "AB" for dose in (1.0, 2.0) for c in "xy"]
    data = made_up(conditions, n=30)
    model = CiteVAE(**SMALL).fit(data, seed=0)
    asked = [
        Condition(("A", "B"), (1.0, -1.5), context="x"),
        Condition(("A",), (2.0,), context="y"),
        Condition(("A",), context="z"),
    ]
    prediction = model.predict(asked, data.controls)
    assert list(prediction.absent) == asked[2:]
    assert (prediction.mean >= 0).all()
    assert prediction.cells[asked[0]].min() >= 0
    assert set(model.encode(data.cells)) == {"responsive", "invariant"}
    own = anchored(CiteVAE)(**SMALL).fit(data, seed=0)
    assert np.isfinite(own.predict(asked[:2], data.controls).mean).all()


def test_a_seed_gives_the_same_model_and_another_one_another(still):
    one, same, other = (CiteVAE(**SMALL).fit(still[1], seed=s) for s in (3, 3, 4))
    asked = [Condition(("P0",)), Condition(("P0", "P2"))]
    np.testing.assert_array_equal(one.predict(asked, still[1].controls).mean, same.predict(asked, still[1].controls).mean)
    assert not np.allclose(one.predict(asked, still[1].controls).mean, other.predict(asked, still[1].controls).mean)
    for name, value in one.encode(still[1].cells).items():
        np.testing.assert_array_equal(value, same.encode(still[1].cells)[name])


def test_wide_raw_screens_are_seen_through_components():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(4, 600))
    blocks = {
        c: (rng.normal(size=(60, 4)) + shift) @ mixing + 0.1 * rng.normal(size=(60, 600))
        for c, shift in ((CONTROL, 0.0), (Condition(("A",)), 1.0), (Condition(("B",)), -1.0))
    }
    data = training_data(blocks)
    model = CiteVAE(**{**SMALL, "epochs": 40, "learning_rate": 1e-2}).fit(data, seed=0)
    assert model.network_.lens.width <= 100
    prediction = model.predict([Condition(("A",))], data.controls)
    change = prediction.mean[0] - data.controls.mean[0]
    assert np.corrcoef(change, data.perturbed.mean[0] - data.controls.mean[0])[0, 1] > 0.9
    assert np.median(prediction.variance[0] / data.perturbed.var[0]) == pytest.approx(1, abs=0.5)


def test_before_fit_it_says_so():
    model = CiteVAE()
    for ask in (model.targets, model.graph, model.identifiability_report):
        with pytest.raises(NotFitted, match="CiteVAE"):
            ask()
