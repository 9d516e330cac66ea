"""The forward pass of CPA on fixed weights, beside cpa-tools in an interpreter that has it.

``PBENCH_CPA_PYTHON=/path/to/python pytest tests/parity/test_cpa_official.py``; docs/official.md says how to make one.
"""

from __future__ import annotations

import json
import os
import subprocess

import numpy as np
import pytest

torch = pytest.importorskip("torch")
PYTHON = os.environ.get("PBENCH_CPA_PYTHON")
pytestmark = pytest.mark.skipif(not PYTHON, reason="PBENCH_CPA_PYTHON names no interpreter with cpa-tools")
N_GENES, WIDTH, LATENT, TARGETS, CONTEXTS, CELLS = 40, 16, 5, 3, 2, 25

#: Makes a module with random weights and running means, and keeps what it answers; the control is perturbation 1 there.
SCRIPT = f"""
import sys, numpy as np, torch
from importlib.metadata import version
from cpa import CPAModule
folder, norm, doser, loss = sys.argv[1:]
flags = {{f"use_{{n}}_norm_{{part}}": norm == n for n in ("batch", "layer") for part in ("encoder", "decoder")}}
module = CPAModule({N_GENES}, {TARGETS + 2}, {{"context": {{str(i): i for i in range({CONTEXTS})}}}}, n_latent={LATENT},
    recon_loss=loss, doser_type=doser, n_hidden_encoder={WIDTH}, n_layers_encoder=3, n_hidden_decoder={WIDTH},
    n_layers_decoder=2, seed=0, **flags)
generator = torch.Generator().manual_seed(0)
for name, value in module.state_dict().items():
    if value.is_floating_point():
        noise = torch.randn(value.shape, generator=generator)
        value.copy_(noise.abs() + 0.5 if "running_var" in name else 0.3 * noise)
with torch.no_grad():
    module.pert_network.pert_embedding.weight[:2] = 0
module.eval()
given = np.load(folder + "/given.npz")
x, perts, doses, context = (torch.from_numpy(given[k]) for k in ("x", "perts", "doses", "context"))
with torch.no_grad():
    out = module.inference(x, dict(true=perts), dict(true=doses), dict(context=context, context_mixup=context))
    px = module.generative(out["z"], out["library"])["px"]
    answer = dict(basal=out["z_basal"], latent=out["z"], mean=px.mu if loss == "nb" else px.loc)
    if loss == "nb":
        answer["log_p"] = px.log_prob(x).sum(dim=1)
    answer |= {{"weight:" + k: v for k, v in module.state_dict().items()}}
np.savez(folder + "/answer.npz", **{{k: v.numpy() for k, v in answer.items()}})
print(version("cpa-tools"))
"""


def official(folder, x, told, context, *, norm, doser, loss):
    """What the official module answers: arrays by name, its weights among them."""
    slots = np.zeros((2, CELLS, TARGETS), dtype=np.float32)
    for i, row in enumerate(told):
        on = np.flatnonzero(row)
        slots[0, i, : len(on)], slots[1, i, : len(on)] = on + 2, row[on]
    np.savez(folder / "given.npz", x=x, perts=slots[0], doses=slots[1], context=context)
    (folder / "ask.py").write_text(SCRIPT)
    command = [PYTHON, str(folder / "ask.py"), str(folder), norm, doser, loss]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(np.load(folder / "answer.npz")), done.stdout.split()[-1]


def copied(network, weights):
    """Put the official weights where they belong."""
    state = network.state_dict()

    def layers(ours, theirs, hidden):
        """Linear layers and norms of `hidden` blocks, which stand in the same order."""
        step = 3 if any(k.startswith(f"{ours}.1.") for k in state) else 2
        for i in range(hidden):
            for part in ("weight", "bias"):
                state[f"{ours}.{i * step}.{part}"] = weights[f"{theirs}.fc_layers.Layer {i}.0.{part}"]
            for part in ("weight", "bias", "running_mean", "running_var"):
                if f"{theirs}.fc_layers.Layer {i}.1.{part}" in weights:
                    state[f"{ours}.{i * step + 1}.{part}"] = weights[f"{theirs}.fc_layers.Layer {i}.1.{part}"]
        return hidden * step

    end = layers("encoder", "encoder.network", 3)
    counts = "px_r" in weights
    layers("decoder", "decoder.px_decoder" if counts else "decoder.encoder", 2)
    for part in ("weight", "bias"):
        state[f"encoder.{end}.{part}"] = weights[f"encoder.z.{part}"]
        head = f"decoder.px_scale_decoder.0.{part}" if counts else f"decoder.mean_encoder.{part}"
        state[f"head.linear.{part}"] = weights[head]
    if counts:
        state["head.spread"] = weights["px_r"]
    state["targets"] = weights["pert_network.pert_embedding.weight"][2:]
    state["covariates"] = weights["covars_embeddings.context.weight"]
    for ours, theirs in (("doser.slope", "beta"), ("doser.offset", "bias")):
        if ours in state:
            state[ours] = weights[f"pert_network.dosers.{theirs}"][0, 2:]
    network.load_state_dict({k: torch.as_tensor(np.asarray(v)) for k, v in state.items()})
    return network.eval()


@pytest.mark.parametrize(
    ("norm", "doser", "loss"),
    [("batch", "linear", "nb"), ("layer", "logsigm", "nb"), ("none", "sigm", "nb"), ("batch", "logsigm", "gauss")],
)
def test_forward_pass_on_fixed_weights(tmp_path, norm, doser, loss, record_property):
    from pbench.models.neural.cell_batches import Batch
    from pbench.models.neural.cpa_network import CpaNetwork
    from pbench.models.neural.generation import Scene

    rng = np.random.default_rng(0)
    x = rng.poisson(2.0, (CELLS, N_GENES)).astype(np.float32)
    told = rng.integers(0, 3, (CELLS, TARGETS)).astype(np.float32)
    told[:3] = 0
    context = rng.integers(0, CONTEXTS, CELLS)
    theirs, release = official(tmp_path, x, told, context, norm=norm, doser=doser, loss=loss)
    covariates = np.eye(CONTEXTS, dtype=np.float32)[context]
    own = [torch.from_numpy(a) for a in (x, told, covariates)]
    scene = Scene(
        n_genes=N_GENES,
        n_targets=TARGETS,
        n_covariates=CONTEXTS,
        n_conditions=CELLS,
        n_cells=CELLS,
        kind="counts" if loss == "nb" else "normal",
        mean=np.ones(N_GENES),
        variance=np.ones(N_GENES),
        told=own[1],
        covariates=own[2],
    )
    network = CpaNetwork(
        scene,
        width=WIDTH,
        latent=LATENT,
        encoder_layers=3,
        decoder_layers=2,
        norm=norm,
        decoder_norm=norm,
        dropout=0.0,
        doser={"linear": "linear", "sigm": "sigmoid", "logsigm": "log-sigmoid"}[doser],
        variational=False,
    )
    weights = {k.removeprefix("weight:"): v for k, v in theirs.items() if k.startswith("weight:")}
    network = copied(network, weights)
    # The official encoder is given log(1 + x) of counts, ours log(1 + x) of counts per 10,000: the same network is asked here.
    cells = torch.log1p(own[0]) if loss == "nb" else own[0]
    depth = own[0].sum(dim=1)
    with torch.no_grad():
        found = network.latents(cells, own[1], own[2])
        expression = network.imagine(cells, depth, own[1], own[2])
    worst = {}
    answers = {**found, "mean": expression.mean}
    if loss == "nb":
        batch = Batch(cells, torch.arange(CELLS), counts=own[0], depth=depth)
        factorial = torch.lgamma(own[0] + 1).sum(dim=1)
        answers["log_p"] = expression.log_likelihood(batch).detach() - factorial
    for name, value in answers.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-4, atol=1e-4, err_msg=f"{name}, cpa-tools {release}")
        worst[name] = float(np.max(np.abs(value.numpy() - theirs[name])))
    record_property("parity", json.dumps({"cpa-tools": release, **worst}))
    assert np.abs(theirs["latent"] - theirs["basal"]).max() > 0.1
