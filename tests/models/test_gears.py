"""GEARS-style against loops over cells and genes in numpy, and what it says where something is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import NotFitted, TrainingFailed, UsageError
from pbench.bench.contracts.model import build
from pbench.bench.contracts.resource import FeatureTable, GeneEdges
from pbench.bench.contracts.training import Cells, Profiles, TrainingData
from pbench.bench.engine.check import check_model
from pbench.bench.kernels.interaction import interaction_scores
from pbench.models.gears import Gears, GearsCoexpression
from pbench.models.neural.cell_batches import Batch, CellBatches
from pbench.models.neural.change_moments import ChangeMoments, ExactChanges, batch_moments, central_moments
from pbench.models.neural.gears_loss import SOFTNESS, mean_power, over_genes, sign_direction, soft_direction
from pbench.models.neural.gears_network import BoundedEmbedding, GearsNetwork, Told
from pbench.models.neural.gears_objective import GearsObjective, LossTerms
from pbench.models.neural.gene_graphs import GeneGraph, normalised
from pbench.models.neural.weighted_norm import WeightedNorm

G, NODES, HIDDEN = 7, 5, 4
FAST = {"hidden": 8, "epochs": 1, "refit": False}


def graph_of(n, seed):
    rng = np.random.default_rng(seed)
    t, s = np.nonzero(rng.random((n, n)) < 0.4)
    return normalised(GeneEdges(s, t, rng.uniform(0.2, 1, len(s)).astype(np.float32)), n)


@pytest.fixture
def network():
    """A network none of whose parameters and statistics is at its first value."""
    torch.manual_seed(0)
    made = GearsNetwork(graph_of(G, 1), NODES, hidden=HIDDEN, uncertainty=True)
    with torch.no_grad():
        for value in made.parameters():
            value.add_(0.3 * torch.randn_like(value))
        for module in made.modules():
            if isinstance(module, WeightedNorm):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
    return made.eval()


class Naive:
    """The forward pass of GEARS for a batch of cells, written from its description: every cell has all genes of its own."""

    def __init__(self, network):
        self.p = {k: v.detach().double().numpy() for k, v in network.state_dict().items()}
        self.gene_graph, self.training = network.coexpression.to_dense().double().numpy(), network.training

    def norm(self, x, name):
        rows = x.reshape(-1, x.shape[-1])
        p = self.p
        mean, var = (rows.mean(0), rows.var(0)) if self.training else (p[f"{name}.running_mean"], p[f"{name}.running_var"])
        return (x - mean) / np.sqrt(var + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]

    def linear(self, x, name):
        return x @ self.p[f"{name}.weight"].T + self.p[f"{name}.bias"]

    def pair(self, x, name):
        hidden = np.maximum(self.norm(self.linear(x, f"{name}.first"), f"{name}.first_norm"), 0)
        return self.norm(self.linear(hidden, f"{name}.second"), f"{name}.second_norm")

    def bounded(self, name):
        w = self.p[f"{name}.weight"]
        return np.array([row / max(1.0, np.linalg.norm(row)) for row in w])

    def __call__(self, cells, targets, node_graph):
        """(b, G) prediction and log variance for control cells (b, G) with the nodes that are perturbed in each."""
        b, p = len(cells), self.p
        base = np.maximum(self.norm(np.tile(self.bounded("gene"), (b, 1)), "gene_norm"), 0)
        place = np.tile(self.linear(self.gene_graph @ self.bounded("place"), "place_linear"), (b, 1))
        base = self.pair(base + 0.2 * place, "gene_pair").reshape(b, G, -1)
        nodes = self.linear(node_graph @ self.bounded("perturbation"), "perturbation_linear")
        real = [i for i in range(b) if targets[i]]
        if real:
            told = self.pair(np.array([sum(nodes[t] for t in targets[i]) for i in real]), "perturbation_pair")
            for row, i in zip(told, real, strict=True):
                for g in range(G):
                    base[i, g] += row
        state = np.maximum(self.norm(base.reshape(b * G, -1), "sum_norm"), 0)
        shared = self.pair(state, "shared_pair").reshape(b, G, -1)
        own = np.array([[shared[i, g] @ p["own_weight"][g] + p["own_bias"][g] for g in range(G)] for i in range(b)])
        cross = self.pair(own, "cross_pair")
        shift = np.array(
            [
                [p["last_weight"][g] @ np.concatenate([[own[i, g]], cross[i]]) + p["last_bias"][g] for g in range(G)]
                for i in range(b)
            ]
        )
        hidden = np.maximum(self.pair(state, "variance_pair"), 0)
        log_variance = self.norm(self.linear(hidden, "variance_linear"), "variance_norm").reshape(b, G)
        return cells + shift, log_variance


PERTURBED = [(0,), (1, 3), (), (4,)]


def told_of(node_graph, targets, n_cells):
    taken = np.array([sum((node_graph[t] for t in own), np.zeros(NODES)) for own in targets])
    return Told(torch.tensor(taken).float(), torch.tensor([len(t) for t in targets]).float(), torch.tensor(n_cells).float())


@pytest.mark.parametrize("training", [False, True])
def test_the_shared_forward_pass_is_that_of_every_cell_by_itself(network, training):
    network.train(training)
    node_graph = graph_of(NODES, 2).toarray().astype(float)
    n_cells = [3, 1, 4, 2]
    cells = np.random.default_rng(0).uniform(0, 3, (10, G))
    of = np.repeat(np.arange(4), n_cells)
    wanted, wanted_spread = Naive(network)(cells, [PERTURBED[i] for i in of], node_graph)
    shift, spread = network(told_of(node_graph, PERTURBED, n_cells))
    np.testing.assert_allclose(cells + shift.detach().numpy()[of], wanted, atol=2e-5)
    np.testing.assert_allclose(spread.detach().numpy()[of], wanted_spread, atol=2e-5)


def test_gradients_are_those_of_every_cell_by_itself(network):
    """Perturbations weighted by cells against the same perturbations repeated, in training."""
    network.double().train()
    node_graph = graph_of(NODES, 2).toarray().astype(float)
    n_cells = [3, 1, 4, 2]
    of = torch.repeat_interleave(torch.arange(4), torch.tensor(n_cells))
    d = torch.randn(10, G, dtype=torch.float64)

    def told(targets, cells):
        t = told_of(node_graph, targets, cells)
        return Told(t.taken.double(), t.targets.double(), t.cells.double())

    def gradients(shift):
        network.zero_grad()
        ((shift - d) ** 4).mean().backward()
        return {k: v.grad.clone() for k, v in network.named_parameters() if v.grad is not None}

    shared = gradients(network(told(PERTURBED, n_cells))[0][of])
    single = gradients(network(told([PERTURBED[i] for i in of], [1] * 10))[0])
    assert shared.keys() == single.keys()
    for name, value in shared.items():
        torch.testing.assert_close(value, single[name], rtol=1e-7, atol=1e-9, msg=name)
    assert max(v.abs().max() for v in shared.values()) > 1e-3


def test_targets_have_no_order_and_genes_no_place(network):
    node_graph = graph_of(NODES, 2).toarray().astype(float)
    a, _ = network(told_of(node_graph, [(1, 3)], [1]))
    b, _ = network(told_of(node_graph, [(3, 1)], [1]))
    torch.testing.assert_close(a, b)
    order = torch.randperm(G, generator=torch.Generator().manual_seed(1))
    dense = network.coexpression.to_dense()[order][:, order]
    moved = GearsNetwork(sparse.csr_matrix(dense.numpy()), NODES, hidden=HIDDEN, uncertainty=True).eval()
    state = {k: v.clone() for k, v in network.state_dict().items()}
    for name in ("gene.weight", "place.weight", "own_weight", "own_bias", "last_weight", "last_bias"):
        state[name] = state[name][order]
    state["cross_pair.first.weight"] = state["cross_pair.first.weight"][:, order]
    moved.load_state_dict(state)
    torch.testing.assert_close(moved(told_of(node_graph, [(1, 3)], [1]))[0], a[:, order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(4, 6, 3), (4, 3)])
def test_weighted_norm_is_batch_norm_of_repeated_rows(shape, relu):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    counts = torch.tensor([1, 5, 2, 3])
    ours, theirs = WeightedNorm(3).double(), torch.nn.BatchNorm1d(3).double()
    with torch.no_grad():
        for own, other in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):
            own.normal_()
            other.copy_(own)
    repeated = torch.repeat_interleave(x, counts, dim=0).reshape(-1, 3)
    a, b = ours(x, counts.double(), relu=relu), theirs(repeated)
    b = torch.relu(b) if relu else b
    weight = torch.randn_like(a)
    weights = torch.repeat_interleave(weight / counts.view(-1, *[1] * (len(shape) - 1)), counts, dim=0).reshape(-1, 3)
    wanted = torch.autograd.grad((b * weights).sum(), [x, theirs.weight, theirs.bias])
    found = torch.autograd.grad((a * weight).sum(), [x, ours.weight, ours.bias])
    for f, w in zip(found, wanted, strict=True):
        torch.testing.assert_close(f, w)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(x, counts.double()).reshape(-1, 3), theirs.eval()(x.reshape(-1, 3)))


@pytest.mark.parametrize("training", [False, True])
def test_norm_of_sums_is_the_norm_of_what_is_summed(training):
    torch.manual_seed(0)
    rows, slabs, counts = torch.randn(6, 3).double(), torch.randn(4, 3).double(), torch.tensor([1.0, 5, 2, 3]).double()
    ours, theirs = WeightedNorm(3).double().train(training), WeightedNorm(3).double().train(training)
    for norm in (ours, theirs):
        norm.running_var.fill_(2.5)
    a, b = ours.sums(rows, slabs, counts)
    torch.testing.assert_close(a + b[:, None], theirs(rows + slabs[:, None], counts))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_embeddings_are_bounded_as_torchs_are():
    torch.manual_seed(0)
    ours, theirs = BoundedEmbedding(6, 3), torch.nn.Embedding(6, 3, max_norm=1.0)
    with torch.no_grad():
        ours.weight[2] *= 0.1
        theirs.weight.copy_(ours.weight)
    before = ours.weight.clone()
    torch.testing.assert_close(ours.eval()(), theirs(torch.arange(6)))
    torch.testing.assert_close(ours.weight.detach(), before.detach())
    torch.testing.assert_close(ours.train()(), theirs.weight)


# ---------------------------------------------------------------------------------------------------------------- loss


def drawn_batch(seed=0):
    rng = np.random.default_rng(seed)
    codes = np.array([2, 0, 2, 2, 1, 0])
    y, x = rng.gamma(1, 1, (6, G)).astype(np.float32), rng.gamma(1, 1, (6, G)).astype(np.float32)
    return Batch(torch.from_numpy(y), torch.from_numpy(codes), controls=torch.from_numpy(x))


@pytest.mark.parametrize("gamma", [0, 2])
def test_mean_power_is_that_of_a_loop_over_cells_and_genes(gamma):
    batch = drawn_batch()
    shift = np.random.default_rng(1).normal(size=(3, G))
    wanted = np.zeros((3, G))
    for p in range(3):
        cells = [i for i in range(6) if batch.codes[i] == p]
        for g in range(G):
            errors = [abs(float(batch.controls[i, g]) + shift[p, g] - float(batch.cells[i, g])) for i in cells]
            wanted[p, g] = sum(e ** (2 + gamma) for e in errors) / len(errors)
    moments = batch_moments(batch)
    assert moments.codes.tolist() == [0, 1, 2]
    assert moments.n_cells.tolist() == [2, 1, 3]
    assert len(moments) == 6
    np.testing.assert_allclose(mean_power(torch.tensor(shift).float(), moments, gamma).numpy(), wanted, rtol=2e-5, atol=1e-5)


def test_legacy_direction_is_the_formula_with_signs_and_has_no_gradient():
    batch = drawn_batch()
    rng = np.random.default_rng(1)
    shift, control = rng.normal(0, 0.3, (3, G)), rng.gamma(1, 1, (3, G))
    wanted = np.zeros((3, G))
    for p in range(3):
        cells = [i for i in range(6) if batch.codes[i] == p]
        for g in range(G):
            for i in cells:
                true = np.sign(float(batch.cells[i, g]) - control[p, g])
                told = np.sign(float(batch.controls[i, g]) + shift[p, g] - control[p, g])
                wanted[p, g] += (true - told) ** 2 / len(cells)
    s = torch.tensor(shift, requires_grad=True).float()
    found = sign_direction(s, batch_moments(batch), torch.tensor(control).float())
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5)
    assert wanted.any()
    assert not found.requires_grad


def test_surrogate_direction_nears_the_signs_and_is_smallest_where_the_shift_is_right():
    change = torch.tensor([[0.8, -0.8, 0.03]])
    shift = torch.tensor([[-2.0, -2.0, 0.03]], requires_grad=True)
    value = soft_direction(shift, change)
    np.testing.assert_allclose(value.detach().numpy(), [[4, 0, 0]], atol=1e-4)
    near = torch.tensor([[0.05, -0.05, -0.05]], requires_grad=True)
    (slope,) = torch.autograd.grad(soft_direction(near, change).sum(), near)
    h = 1e-3
    numeric = (soft_direction(near + h, change) - soft_direction(near - h, change)) / (2 * h)
    torch.testing.assert_close(slope, numeric.detach(), rtol=1e-2, atol=1e-3)
    assert torch.sign(slope).tolist() == [[-1, 1, -1]]
    assert SOFTNESS > 0


def test_a_mean_is_over_kept_genes_and_then_over_conditions():
    values, kept = torch.arange(6.0).reshape(2, 3), torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    assert float(over_genes(values, kept)) == pytest.approx(((0 + 2) / 2 + 5) / 2)


def objective_of(network, terms, kept=None):
    names = tuple("abcde")
    graph = GeneGraph(names, graph_of(NODES, 2))
    conditions = [Condition(("a",)), Condition(("b", "d")), Condition(("e",))]
    rng = np.random.default_rng(3)
    return GearsObjective(
        network,
        graph,
        conditions,
        changes=rng.normal(size=(3, G)),
        controls=rng.gamma(1, 1, (3, G)),
        kept=np.ones((3, G)) if kept is None else kept,
        control_share=0.5,
        terms=terms,
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize("direction", ["none", "surrogate", "legacy"])
@pytest.mark.parametrize("uncertain", [False, True])
def test_the_objective_is_that_of_a_loop_with_control_as_one_more_condition(network, direction, uncertain):
    if not uncertain:
        network.variance_pair = None
    kept = np.random.default_rng(4).random((3, G)) < 0.7
    batch = drawn_batch()
    objective = objective_of(network, LossTerms(2, direction, 0.3, 0.7), kept)
    found = float(objective(batch_moments(batch)).detach())
    node_graph = graph_of(NODES, 2).toarray().astype(float)
    shift, spread = network(told_of(node_graph, [(0,), (1, 3), (4,), ()], [2, 1, 3, 3]))
    shift = shift.detach().numpy()
    total = 0.0
    for p in range(4):
        genes = [g for g in range(G) if p == 3 or kept[p, g]]
        part = 0.0
        for g in genes:
            if p == 3:
                power, signs = shift[3, g] ** 4, 0.0
            else:
                cells = [i for i in range(6) if batch.codes[i] == p]
                x, y = batch.controls[cells, g].numpy(), batch.cells[cells, g].numpy()
                c = objective.controls[p, g].item()
                power = np.mean((x + shift[p, g] - y) ** 4)
                signs = np.mean((np.sign(y - c) - np.sign(x + shift[p, g] - c)) ** 2)
            if uncertain:
                power *= 1 + 0.7 * np.exp(-spread[p, g].item())
            change = 0.0 if p == 3 else objective.changes[p, g].item()
            soft = (np.tanh(shift[p, g] / SOFTNESS) - np.tanh(change / SOFTNESS)) ** 2
            part += power + 0.3 * {"none": 0.0, "surrogate": soft, "legacy": signs}[direction]
        total += part / len(genes)
    assert found == pytest.approx(total / 4, rel=1e-4)


# ------------------------------------------------------------------------------------------------------------- moments


def small_cells(scale="log1p_1e4", contexts=(None,)):
    rng = np.random.default_rng(0)
    conditions = [Condition(context=c) for c in contexts] + [Condition((t,), context=c) for c in contexts for t in "ab"]
    codes = np.repeat(np.arange(len(conditions)), 5)
    X = rng.poisson(rng.gamma(1, 2, (len(codes), G))).astype(np.float32)
    X[:, 0] += 1
    return Cells(sparse.csr_matrix(X), codes, tuple(conditions), scale)


@pytest.mark.parametrize("contexts", [(None,), ("u", "v")])
def test_exact_moments_are_those_of_all_pairs(contexts):
    cells = small_cells(contexts=contexts)
    conditions = [c for c in cells.conditions if not c.is_control]
    exact = ExactChanges.of(cells, conditions)
    X = cells.X.toarray().astype(float)
    for i, condition in enumerate(conditions):
        y = X[cells.codes == cells.conditions.index(condition)]
        x = X[cells.codes == cells.conditions.index(condition.control())]
        d = (y[:, None] - x[None]).reshape(-1, G)
        central = d - d.mean(0)
        for k, wanted in enumerate([d.mean(0), (central**2).mean(0), (central**3).mean(0), (central**4).mean(0)]):
            np.testing.assert_allclose(exact.moments[k, i], wanted, rtol=1e-5, atol=1e-5)
    assert exact.n_cells.tolist() == [5] * len(conditions)


def test_central_moments_of_counts_are_on_the_scale_of_the_profiles():
    cells = small_cells("counts")
    X = cells.X.toarray().astype(float)
    Y = np.log1p(1e4 * X / X.sum(axis=1, keepdims=True))[3:9]
    found = central_moments(cells, np.arange(3, 9))
    np.testing.assert_allclose(found[0], Y.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found[3], ((Y - Y.mean(0)) ** 4).mean(0), rtol=1e-4, atol=1e-6)


def test_exact_batches_bring_all_conditions_equally_often():
    cells = small_cells(contexts=("u", "v"))
    exact = ExactChanges.of(cells, [c for c in cells.conditions if not c.is_control])
    batches = exact.batches([exact.conditions[i] for i in (3, 1, 2)], 2, steps=5)
    seen = list(batches.epoch(np.random.default_rng(0)))
    assert len(seen) == 6
    assert np.bincount(np.concatenate([b.codes for b in seen])).tolist() == [3, 3, 3]
    assert len(list(exact.batches(exact.conditions, 2, passes=4).epoch(np.random.default_rng(0)))) == 8
    for b in seen:
        for code, mean in zip(b.codes.tolist(), b.mean, strict=True):
            torch.testing.assert_close(mean, exact.moments[0, (3, 1, 2)[code]])


def test_sampled_losses_average_to_the_exact_one():
    cells = small_cells()
    conditions = [c for c in cells.conditions if not c.is_control]
    shift = torch.tensor(np.random.default_rng(1).normal(size=(2, G))).float()
    exact = ExactChanges.of(cells, conditions)
    (all_of_it,) = exact.batches(conditions, 2).epoch(np.random.default_rng(0))
    wanted = mean_power(shift, all_of_it, 2)
    batches, rng = CellBatches(cells, conditions, 10, partners=True), np.random.default_rng(2)
    drawn = torch.stack([mean_power(shift, batch_moments(b), 2) for _ in range(2000) for b in batches.epoch(rng)])
    error = drawn.std(dim=0) / len(drawn) ** 0.5
    assert ((drawn.mean(dim=0) - wanted).abs() < 5 * error + 1e-5).all()
    assert isinstance(all_of_it, ChangeMoments)


# --------------------------------------------------------------------------------------------------------------- model


def screen(targets, *, n_genes=12, n=12, seed=0, edges=None, names=None, validation=()):
    """A screen with cells: additive effects; names and edges are those of the resource."""
    rng = np.random.default_rng(seed)
    genes = np.array([f"G{i:02d}" for i in range(n_genes)])
    level, effect = rng.uniform(0.5, 2, n_genes), {g: rng.normal(0, 0.5, n_genes) for g in sorted(genes)}

    def draw(conditions):
        shift = [sum((effect.get(t, np.zeros(n_genes)) for t in c.targets), np.zeros(n_genes)) for c in conditions]
        return [np.maximum(rng.normal(level + s, 0.3, (n, n_genes)), 0).astype(np.float32) for s in shift]

    def profiles(conditions, blocks):
        shape = (len(blocks), n_genes)
        mean, var = (
            np.array([f(x) for x in blocks], np.float32).reshape(shape) for f in (lambda x: x.mean(0), lambda x: x.var(0))
        )
        return Profiles(tuple(conditions), mean, var, np.full(len(blocks), n))

    conditions = [Condition(t) for t in targets]
    held = [Condition(t) for t in validation]
    control, perturbed, watched = draw([Condition()]), draw(conditions), draw(held)
    X = np.concatenate([*control, *perturbed])
    cells = Cells(sparse.csr_matrix(X), np.repeat(np.arange(len(conditions) + 1), n), (Condition(), *conditions), "log1p_1e4")
    names = tuple(genes) if names is None else names
    table = FeatureTable(names, rng.normal(size=(len(names), 6)).astype(np.float32), "made up", edges=edges)
    return TrainingData(
        genes=genes,
        perturbed=profiles(conditions, perturbed),
        controls=profiles([Condition()], control),
        validation=profiles(held, watched),
        resources={"go": table},
        load_cells=lambda role: cells,
    )


SINGLES = [(f"G{i:02d}",) for i in range(8)]


def test_it_learns_what_the_training_cells_show():
    data = screen([*SINGLES, ("G00", "G01"), ("G02", "G03")], n=60)
    model = Gears(hidden=16, refit=False).fit(data, seed=0)
    prediction = model.predict(data.perturbed.conditions, data.controls)
    error = np.abs(prediction.mean - data.perturbed.mean).mean()
    assert error < 0.4 * np.abs(data.shifts).mean()
    assert np.abs(model.predict([Condition()], data.controls).mean - data.controls.mean).mean() < 0.1
    assert not prediction.fallback.any()


@pytest.mark.parametrize("cls", [Gears, GearsCoexpression])
@pytest.mark.parametrize(
    "params", [{"gamma": 2, "direction": "surrogate"}, {"batch_size": 24, "perturbations": 4}, {"uncertainty": True}]
)
def test_a_seed_fixes_everything_and_another_one_changes_it(cls, params):
    data = screen(SINGLES)
    asked = [Condition(("G01", "G09")), Condition(("G04",))]
    one, same, other = (cls(**FAST, **params).fit(data, seed=s).predict(asked, data.controls).mean for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-4
    assert np.isfinite(one).all()


def test_a_target_outside_the_graph_is_absent_and_one_without_trained_neighbours_a_fallback():
    names = ("G00", "G01", "G02", "G03", "far")
    edges = GeneEdges(np.array([0, 1]), np.array([1, 2]), np.ones(2, np.float32))
    data = screen([("G00",), ("G01",), ("G05",), ("G00", "G05")], names=names, edges=edges)
    model = Gears(**FAST).fit(data, seed=0)
    asked = [Condition(t) for t in (("G00",), ("G02",), ("far",), ("G00", "far"), ("G05",), ("G00", "nowhere"))]
    prediction = model.predict(asked, data.controls)
    assert prediction.absent == {
        asked[4]: "graph: G05 is not in the gene graph",
        asked[5]: "graph: nowhere is not in the gene graph",
    }
    assert prediction.conditions == tuple(asked[:4])
    assert prediction.fallback.tolist() == [False, False, True, True]


def test_no_perturbation_that_is_in_the_graph_is_said_in_one_sentence():
    data = screen(SINGLES[:3], names=("X", "Y"))
    with pytest.raises(
        TrainingFailed, match=r"none of 3 training perturbations.*2 genes.*G00 is not in the gene graph.*--resource go="
    ):
        Gears(**FAST).fit(data, seed=0)


def test_of_perturbations_that_are_not_measured_a_graph_of_measured_genes_says_nothing():
    data = screen([("drug",)])
    prediction = GearsCoexpression(**FAST).fit(data, seed=0).predict([Condition(("drug",))], data.controls)
    assert prediction.absent == {Condition(("drug",)): "graph: drug is not in the gene graph"}


def test_a_graph_without_edges_still_has_its_genes():
    none = GeneEdges(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    data = screen(SINGLES, edges=none)
    prediction = Gears(**FAST).fit(data, seed=0).predict([Condition(("G01",)), Condition(("G11",))], data.controls)
    assert np.isfinite(prediction.mean).all()
    assert prediction.fallback.tolist() == [False, True]


@pytest.mark.parametrize("params", [{}, {"batch_size": 8}])
def test_one_perturbation_only(params):
    data = screen([("G00",)])
    prediction = Gears(**FAST, **params).fit(data, seed=0).predict([Condition(("G00",)), Condition(("G01",))], data.controls)
    assert np.isfinite(prediction.mean).all()


def test_without_any_perturbation_there_is_no_shift():
    data = screen([])
    prediction = Gears(**FAST).fit(data, seed=0).predict([Condition(("G00",))], data.controls)
    np.testing.assert_allclose(prediction.mean, data.controls.mean)
    assert prediction.fallback.all()


def test_validation_is_watched_and_else_training_perturbations_are_then_trained_on_too():
    pairs = [(f"G{i:02d}", f"G{j:02d}") for i in range(9) for j in range(i)]
    model = Gears(hidden=8, epochs=3).fit(screen(pairs), seed=0)
    assert len(model.history_.score) == len(model.history_.loss)
    assert len(model.refit_history_.loss) == model.history_.best + 1
    watched = Gears(hidden=8, epochs=3).fit(screen(SINGLES, validation=[("G00", "G01"), ("G01", "G02"), ("G03", "G04")]), seed=0)
    assert len(watched.history_.score) == 3
    assert not hasattr(watched, "refit_history_")


@pytest.mark.parametrize("nonzero_only", [False, True])
def test_genes_that_are_zero_in_a_condition_are_left_out_where_wished(nonzero_only):
    from pbench.models.neural.gears_training import GearsSettings, GearsTraining

    data = screen(SINGLES)
    mean = data.perturbed.mean.copy()
    mean[2, 5] = 0
    data = replace(data, perturbed=replace(data.perturbed, mean=mean))
    model = Gears(hidden=4, nonzero_only=nonzero_only)
    settings = GearsSettings(**{name: getattr(model, name) for name in GearsSettings.__dataclass_fields__})
    graph = GeneGraph(tuple(data.genes), graph_of(12, 0))
    training = GearsTraining(data, data.perturbed.conditions, graph, graph, settings, torch.device("cpu"))
    network = GearsNetwork(graph.adjacency, 12, hidden=4)
    kept = training._objective(network, data.perturbed.conditions).kept
    assert kept[2, 5] == (0 if nonzero_only else 1)
    assert int(kept.sum()) == 9 * 12 - nonzero_only


def test_the_steps_of_a_step_schedule_halve_the_learning_rate():
    from pbench.models.neural.fitting import Settings
    from pbench.models.neural.gears_objective import AdamDescent

    torch.manual_seed(0)
    made = objective_of(GearsNetwork(graph_of(G, 1), NODES, hidden=HIDDEN), LossTerms(2, "none", 0, 0))
    descent = AdamDescent(made, Settings(4, 1e-3, decay="step", clip=1))
    rates = []
    for epoch in range(3):
        descent.at_epoch(epoch)
        rates.append(descent.optimiser.param_groups[0]["lr"])
    assert rates == [1e-3, 5e-4, 2.5e-4]


def test_random_and_coexpression_graphs_hold_the_measured_genes():
    data = screen([*SINGLES, ("G00", "drug")])
    found = {}
    for graph in ("coexpression", "random"):
        model = GearsCoexpression(graph=graph, **FAST).fit(data, seed=0)
        prediction = model.predict([Condition(("G01",)), Condition(("drug",))], data.controls)
        assert prediction.absent == {Condition(("drug",)): "graph: drug is not in the gene graph"}
        found[graph] = model.graph_.adjacency.toarray()
    assert (np.count_nonzero(found["random"], axis=1) == 12).all()
    assert not np.allclose(found["random"], found["coexpression"])


@pytest.mark.parametrize(
    ("cls", "params", "message"),
    [
        (Gears, {"gamma": 1}, "gamma=1 is unknown; use one of 0, 2"),
        (Gears, {"direction": "x"}, "surrogate, legacy, none"),
        (Gears, {"decay": "x"}, "none, step, cosine"),
        (Gears, {"direction": "legacy"}, "give a batch_size"),
        (GearsCoexpression, {"graph": "x"}, "coexpression or random"),
        (Gears, {"device": "tpu"}, "auto, cpu or cuda"),
    ],
)
def test_what_a_parameter_may_be(cls, params, message):
    with pytest.raises(UsageError, match=message):
        cls(**params).fit(screen(SINGLES), seed=0)


def test_uncertainty_is_asked_for_by_itself_and_no_variance_over_cells():
    data = screen(SINGLES)
    model = Gears(**FAST, uncertainty=True).fit(data, seed=0)
    assert model.log_variance(data.perturbed.conditions[:2]).shape == (2, 12)
    assert model.predict(data.perturbed.conditions[:2], data.controls).variance is None
    with pytest.raises(UsageError, match="uncertainty=True"):
        Gears(**FAST).fit(data, seed=0).log_variance(data.perturbed.conditions[:2])


def test_interaction_scores_are_those_of_the_predicted_changes():
    data = screen(SINGLES)
    with pytest.raises(NotFitted):
        Gears().gi_predict("G00", "G01", data.controls)
    model = Gears(**FAST).fit(data, seed=0)
    found = model.gi_predict("G00", "G05", data.controls)
    asked = [Condition(("G00",)), Condition(("G05",)), Condition(("G00", "G05"))]
    changes = model.predict(asked, data.controls).mean - data.controls.mean
    np.testing.assert_allclose([found.first, found.second, found.double], changes, atol=1e-6)
    others = [i for i in range(12) if i not in (0, 5)]
    wanted = interaction_scores(*(c[others] for c in (found.first, found.second, found.double)))
    assert found.scores == wanted
    with pytest.raises(UsageError, match="drug is not in the gene graph"):
        model.gi_predict("G00", "drug", data.controls)


def test_an_infinite_cell_ends_training_with_a_sentence():
    data = screen(SINGLES)
    cells = data.cells
    broken = cells.X.copy()
    broken.data[-1] = np.inf
    data = replace(data, load_cells=lambda role: replace(cells, X=broken))
    with pytest.raises(TrainingFailed, match="lower learning_rate"), np.errstate(all="ignore"):
        Gears(**FAST, batch_size=24).fit(data, seed=0)


def test_paper_preset_is_the_official_setting_and_runs():
    model = build(Gears, {"epochs": 1, "hidden": 8}, name="gears", preset="paper")
    assert (model.batch_size, model.gamma, model.direction, model.decay, model.clip) == (32, 2, "legacy", "step", 1.0)
    data = screen(SINGLES)
    assert np.isfinite(model.fit(data, seed=0).predict([Condition(("G09",))], data.controls).mean).all()


@pytest.mark.parametrize("cls", [Gears, GearsCoexpression])
def test_contract(cls):
    class Quick(cls):
        def __init__(self, *, epochs: int = 2, hidden: int = 8) -> None:
            super().__init__(epochs=epochs, hidden=hidden)

        capabilities = cls.capabilities

    assert [(v.check, v.problem) for v in check_model(Quick) if not v.passed] == []
