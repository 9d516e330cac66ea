"""Training speed of cell-gears on a Norman-shaped screen, in cells a second.

``measure(python, n_genes, batch)`` runs this file with the interpreter of the package (docs/official.md) and returns the median of
three rounds; inside such an environment ``python official_speed.py 5000 32 loader`` prints one figure. It needs nothing of pbench.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

#: Share of genes that are not zero in a cell, and perturbations.
DENSITY, N_TARGETS, N_PAIRS = 0.2, 40, 40
ROUNDS = 3


def measure(python, n_genes, batch, *, part="loader", threads=2, timeout=1800):
    """Training cells a second, median of three rounds.

    Parameters
    ----------
    python
        Interpreter of the package's environment.
    part
        ``loader`` times steps as its training makes them, ``model`` steps on one batch that lies ready.
    """
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    environment |= {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
    environment |= {"PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [python, str(Path(__file__).resolve()), str(n_genes), str(batch), part],
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            timeout=timeout,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"cell-gears at batch {batch} failed: {done.stderr[-1500:]}")
    return json.loads(done.stdout.splitlines()[-1])["cells_per_second"]


def screen(n_genes, n_cells):
    """Log-normalised cells with a fifth of the genes on, from 40 singles, 40 pairs and a tenth of controls."""
    import anndata
    import pandas as pd
    from scipy import sparse

    rng = np.random.default_rng(0)
    genes = [f"GENE{i:04d}" for i in range(n_genes)]
    targets = genes[:N_TARGETS]
    pairs = [(targets[i], targets[(i + 1 + i % 7) % N_TARGETS]) for i in range(N_PAIRS)]
    labels = [(t,) for t in targets] + [tuple(sorted(set(p))) for p in pairs if len(set(p)) == 2]
    own = [()] * (n_cells // 10)
    own += [labels[i % len(labels)] for i in range(n_cells - len(own))]
    X = sparse.random(n_cells, n_genes, density=DENSITY, format="csr", dtype=np.float32, random_state=0)
    X.data = (1 + rng.poisson(1.0, len(X.data))).astype(np.float32)
    depth = np.asarray(X.sum(axis=1)).ravel()
    X.data = np.log1p(1e4 * X.data / np.repeat(depth, np.diff(X.indptr))).astype(np.float32)
    obs = pd.DataFrame(
        {
            "condition": ["+".join([*t, "ctrl"] if len(t) == 1 else t) or "ctrl" for t in own],
            "perturbation": ["+".join(t) or "control" for t in own],
            "dose": ["+".join(["1.0"] * max(1, len(t))) for t in own],
            "cell_type": "cells",
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    return anndata.AnnData(X, obs=obs, var=pd.DataFrame({"gene_name": genes}, index=genes))


def gears(n_genes, batch, part):
    """Steps as `GEARS.train` makes them, at its defaults, on a graph over the perturbed genes and a thousand others."""
    import pickle

    import pandas as pd
    import torch
    from gears import GEARS, PertData
    from gears.utils import loss_fct

    n_steps = 2
    cells = screen(n_genes, max(600, (n_steps + 1) * batch + 200))
    names = list(cells.var_names[:1000])
    place = Path("gears")
    (place / "go_essential_all").mkdir(parents=True)
    (place / "gene2go_all.pkl").write_bytes(pickle.dumps({n: {n} for n in names}))
    (place / "essential_all_data_pert_genes.pkl").write_bytes(pickle.dumps(names))
    neighbours = [(names[(i + j) % len(names)], names[i], 1 / (1 + j)) for i in range(len(names)) for j in range(21)]
    edges = pd.DataFrame(neighbours, columns=["source", "target", "importance"])
    edges.to_csv(place / "go_essential_all" / "go_essential_all.csv", index=False)
    data = PertData(str(place))
    data.new_data_process(dataset_name="speed", adata=cells)
    every = sorted(set(cells.obs["condition"].astype(str)))
    Path("split.pkl").write_bytes(pickle.dumps({"train": every, "val": every[:3], "test": []}))
    data.prepare_split(split="custom", split_dict_path="split.pkl")
    data.get_dataloader(batch_size=batch)
    del data.dataloader["test_loader"]
    model = GEARS(data, device="cpu")
    model.model_initialize()
    network = model.model.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=5e-4)

    def step(own):
        optimizer.zero_grad()
        loss = loss_fct(
            network(own), own.y, own.pert, ctrl=model.ctrl_expression, dict_filter=model.dict_filter, direction_lambda=0.1
        )
        loss.backward()
        torch.nn.utils.clip_grad_value_(network.parameters(), clip_value=1.0)
        optimizer.step()

    ready = next(iter(data.dataloader["train_loader"]))
    step(ready)
    rounds = []
    for _ in range(ROUNDS):
        batches = iter(data.dataloader["train_loader"]) if part == "loader" else iter([ready] * n_steps)
        start = time.perf_counter()
        for _ in range(n_steps):
            step(next(batches))
        rounds.append(n_steps * batch / (time.perf_counter() - start))
    return rounds


if __name__ == "__main__":
    # Standard output carries one line of JSON; what the packages print goes the other way.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    n_genes, batch, part = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    sys.path.pop(0)
    rounds = gears(n_genes, batch, part)
    out.write(json.dumps({"cells_per_second": median(rounds), "rounds": rounds}) + "\n")
    out.flush()
