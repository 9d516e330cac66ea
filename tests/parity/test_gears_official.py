"""Our network with the weights of the official one (cell-gears 0.1.2) against what that computes in an interpreter of its own.

``PBENCH_GEARS_PYTHON`` names an interpreter in which ``import gears`` works. Predictions agree in evaluation, losses and gradients
in training. The official convolution over co-expression is applied to one graph whose edges join genes of the first cell of a
batch alone, so all further cells see their genes without neighbours; both are compared with what they should be.
"""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest
import torch
from scipy import sparse

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.resource import GeneEdges
from pbench.models.neural.cell_batches import Batch
from pbench.models.neural.change_moments import batch_moments
from pbench.models.neural.gears_network import GearsNetwork, Told
from pbench.models.neural.gears_objective import GearsObjective, LossTerms
from pbench.models.neural.gene_graphs import GeneGraph, normalised

PYTHON = os.environ.get("PBENCH_GEARS_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="PBENCH_GEARS_PYTHON names no interpreter with cell-gears")

G, NODES, HIDDEN = 40, 12, 16
#: Perturbed nodes of the cells of a batch; the controls come last.
CELLS = [(0,), (0,), (0,), (1, 5), (1, 5), (7,), (), ()]
SCRIPT = """
import sys
from types import SimpleNamespace
import numpy as np, torch
import gears.utils
from gears.model import GEARS_Model
from gears.utils import loss_fct, uncertainty_loss_fct

class Torch:
    # On a CPU the official loss with uncertainty stops at its first line: it adds in place to a leaf that requires a gradient.
    def __getattr__(self, name):
        return getattr(torch, name)

    def tensor(self, value, requires_grad=False):
        return torch.tensor(value)

gears.utils.torch = Torch()

given, out, uncertain, alone = np.load(sys.argv[1]), {}, sys.argv[3] == "1", sys.argv[4] == "1"
x, y = (torch.from_numpy(given[k]) for k in "xy")
b, G = x.shape
torch.manual_seed(0)
loops = torch.arange(G).repeat(2, 1)
model = GEARS_Model({
    "num_genes": G, "num_perts": int(given["n_nodes"]), "hidden_size": int(given["hidden"]), "uncertainty": uncertain,
    "num_go_gnn_layers": 1, "num_gene_gnn_layers": 1, "decoder_hidden_size": 16, "no_perturb": False, "device": "cpu",
    "G_coexpress": loops if alone else torch.from_numpy(given["gene_edges"]),
    "G_coexpress_weight": torch.ones(G) if alone else torch.from_numpy(given["gene_weight"]),
    "G_go": torch.from_numpy(given["node_edges"]), "G_go_weight": torch.from_numpy(given["node_weight"]),
})
with torch.no_grad():
    for value in model.parameters():
        value.add_(0.2 * torch.randn_like(value))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
told = [[int(t) for t in row if t >= 0] or [-1] for row in given["targets"]]
data = SimpleNamespace(x=x.reshape(-1, 1), pert_idx=told, batch=torch.arange(b).repeat_interleave(G))
out |= {"state/" + k: v.clone().numpy() for k, v in model.state_dict().items()}
predicted = model.eval()(data)
for name, value in zip(("eval", "eval_spread"), predicted if uncertain else [predicted]):
    out[name] = value.detach().numpy()
names = ["ctrl" if row == [-1] else "+".join(map(str, row)) for row in told]
keep = {n: np.flatnonzero(given["kept"][i]) for i, n in enumerate(dict.fromkeys(names)) if n != "ctrl"}
common = {"ctrl": torch.from_numpy(given["control"]), "direction_lambda": 0.0, "dict_filter": keep}
predicted = model.train()(data)
if uncertain:
    loss = uncertainty_loss_fct(*predicted, y, names, reg=0.7, **common)
else:
    loss = loss_fct(predicted, y, names, **common)
loss.backward()
out["loss"] = loss.detach().numpy()
out |= {"grad/" + k: v.grad.numpy() for k, v in model.named_parameters() if v.grad is not None}
out |= {"after/" + k: v.numpy() for k, v in model.state_dict().items() if "running" in k}
np.savez(sys.argv[2], **out)
"""
PAIRS = {
    "emb_trans_v2.network": "gene_pair",
    "pert_fuse.network": "perturbation_pair",
    "recovery_w.network": "shared_pair",
    "cross_gene_state.network": "cross_pair",
    "uncertainty_w.network": "variance_pair",
}
NAMES = {
    "gene_emb": "gene",
    "bn_emb": "gene_norm",
    "emb_pos": "place",
    "layers_emb_pos.0.lin": "place_linear",
    "pert_emb": "perturbation",
    "sim_layers.0.lin": "perturbation_linear",
    "bn_pert_base": "sum_norm",
    "uncertainty_w.network.6": "variance_linear",
    "uncertainty_w.network.7": "variance_norm",
    "indv_w1": "own_weight",
    "indv_b1": "own_bias",
    "indv_w2": "last_weight",
    "indv_b2": "last_bias",
} | {
    f"{a}.{i}": f"{b}.{n}"
    for a, b in PAIRS.items()
    for i, n in ((0, "first"), (1, "first_norm"), (3, "second"), (4, "second_norm"))
}
#: What the official network has and never uses.
UNUSED = ("pert_w", "bn_pert_base_trans")


def ours(found, prefix, like):
    """Official arrays under our names, in our shapes."""
    out = {}
    for key, value in found.items():
        name = key.removeprefix(prefix)
        if key == name or name.startswith(UNUSED) or name.endswith("num_batches_tracked"):
            continue
        stem, _, leaf = name.rpartition(".")
        mapped = f"{NAMES[stem]}.{leaf}" if stem else NAMES[leaf]
        out[mapped] = torch.from_numpy(value).reshape(like[mapped].shape)
    return out


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(0)
    gene, node = (GeneEdges(*np.nonzero(rng.random((n, n)) < 0.15)[::-1], None) for n in (G, NODES))
    x = rng.gamma(1, 1, (len(CELLS), G)).astype(np.float32)
    y = np.where([[bool(c)] for c in CELLS], rng.gamma(1, 1, x.shape), x).astype(np.float32)
    return {
        "x": x,
        "y": y,
        "targets": np.array([(c + (-1, -1))[:2] for c in CELLS]),
        "n_nodes": NODES,
        "hidden": HIDDEN,
        "gene_edges": np.stack([gene.source, gene.target]),
        "gene_weight": rng.uniform(0.4, 1, len(gene.source)).astype(np.float32),
        "node_edges": np.stack([node.source, node.target]),
        "node_weight": rng.uniform(0.1, 1, len(node.source)).astype(np.float32),
        "control": rng.gamma(1, 1, G).astype(np.float32),
        "kept": rng.random((3, G)) < 0.8,
    }


def adjacency(given, name, n):
    return normalised(GeneEdges(*given[f"{name}_edges"], given[f"{name}_weight"]), n)


@pytest.fixture(scope="module")
def official(given, tmp_path_factory):
    """Runs the official network with a loss with or without uncertainty, and with a graph or with genes that are alone."""
    folder = tmp_path_factory.mktemp("gears")
    np.savez(folder / "given.npz", **given)
    (folder / "script.py").write_text(SCRIPT)

    def run(uncertain, alone):
        out = folder / f"{uncertain}{alone}.npz"
        command = [PYTHON, str(folder / "script.py"), str(folder / "given.npz"), str(out), str(int(uncertain)), str(int(alone))]
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return dict(np.load(out))

    return run


def network_like(found, genes, *, uncertain):
    made = GearsNetwork(genes, NODES, hidden=HIDDEN, uncertainty=uncertain)
    missing, strange = made.load_state_dict(ours(found, "state/", made.state_dict()), strict=False)
    assert (missing, strange) == ([], [])
    return made


def test_predictions_are_the_official_ones_with_the_first_cell_alone_on_the_coexpression_graph(given, official):
    found = official(uncertain=True, alone=False)
    node_graph = GeneGraph(tuple("abcdefghijkl"), adjacency(given, "node", NODES))
    taken = node_graph.taken([Condition(tuple("abcdefghijkl"[t] for t in c)) for c in CELLS]).toarray()
    told = Told(torch.from_numpy(taken), torch.tensor([len(c) for c in CELLS]).float(), torch.ones(len(CELLS)))
    graph = adjacency(given, "gene", G)
    assert graph.nnz > 2 * G
    worst = {}
    for name, genes, rows in (("with", graph, slice(1)), ("without", sparse.identity(G, np.float32, "csr"), slice(1, None))):
        shift, spread = network_like(found, genes, uncertain=True).eval()(told)
        predicted = given["x"] + shift.detach().numpy()
        np.testing.assert_allclose(predicted[rows], found["eval"][rows], atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(spread.detach().numpy()[rows], found["eval_spread"][rows], atol=1e-5, rtol=1e-5)
        worst[name] = np.abs(predicted - found["eval"]).max(axis=1)
    # With the graph for all cells, the official predictions of the further ones are others: what reaches them is no graph.
    assert worst["with"][0] < 1e-4 < worst["with"][1:].min()
    assert worst["without"][1:].max() < 1e-4 < worst["without"][0]


@pytest.mark.parametrize("uncertain", [False, True])
def test_loss_gradients_and_statistics_of_a_training_step_are_the_official_ones(given, official, uncertain):
    found = official(uncertain=uncertain, alone=True)
    network = network_like(found, sparse.identity(G, np.float32, "csr"), uncertain=uncertain).train()
    names = tuple("abcdefghijkl")
    conditions = [Condition(("a",)), Condition(("b", "f")), Condition(("h",))]
    objective = GearsObjective(
        network,
        GeneGraph(names, adjacency(given, "node", NODES)),
        conditions,
        changes=np.zeros((3, G)),
        controls=np.tile(given["control"], (3, 1)),
        kept=given["kept"],
        control_share=2 / 6,
        terms=LossTerms(2, "none", 0.0, 0.7),
        device=torch.device("cpu"),
    )
    x, y = (torch.from_numpy(given[k][:6]) for k in "xy")
    loss = objective(batch_moments(Batch(y, torch.tensor([0, 0, 0, 1, 1, 2]), controls=x)))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(found["loss"]), rel=1e-4)
    own = {k: v.grad for k, v in network.named_parameters() if v.grad is not None}
    theirs = ours(found, "grad/", dict(network.named_parameters()))
    assert own.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(own[name], value, rtol=2e-3, atol=2e-4 * max(1.0, float(value.abs().max())), msg=name)
    for name, value in ours(found, "after/", network.state_dict()).items():
        torch.testing.assert_close(network.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)
