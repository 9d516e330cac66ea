"""Prints every value of the catalogue for some models on a toy screen, as JSON: run as a program by `test_determinism`.

Arguments: a scratch folder, then the forms in which the same screen is to be stored and read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from anndata import AnnData
from scipy import sparse

from pbench.bench.contracts import registry
from pbench.bench.engine.answer import ask
from pbench.bench.engine.assemble import Assembly
from pbench.bench.engine.prepare import prepare
from pbench.bench.engine.score import evaluate
from pbench.datasets.reader import from_h5ad
from pbench.metrics import CATALOGUE

FORMS = {
    "csr": lambda X: sparse.csr_matrix(X.astype(np.float32)),
    "csr of float64": lambda X: sparse.csr_matrix(X.astype(np.float64)),
    "csc": lambda X: sparse.csc_matrix(X.astype(np.float32)),
    "dense": lambda X: X.astype(np.float32),
    "dense of float64": lambda X: X.astype(np.float64),
    "cells and genes in another order": lambda X: sparse.csr_matrix(X.astype(np.float32)),
}
MODELS = ("additive", "gaming-noise-cells", "oracle-sampler", "technical-duplicate")


def screen():
    """Counts, obs and var of five singles and seven doubles in two contexts."""
    import pandas as pd

    rng = np.random.default_rng(0)
    genes, targets = [f"G{i:02d}" for i in range(60)], [f"G{i:02d}" for i in range(5)]
    base = rng.uniform(-1.0, 2.0, 60)
    effect = {t: rng.normal(0, 1, 60) * (rng.random(60) < 0.4) for t in targets}
    pairs = [f"{a}+{b}" for i, a in enumerate(targets) for b in targets[i + 1 :]]
    X, labels, where = [], [], []
    for k, context in enumerate(("K562", "RPE1")):
        for label in ["control", *targets, *pairs]:
            n = 60 if label == "control" else 20
            shift = sum((effect[t] for t in label.split("+") if label != "control"), 0.4 * k * np.sin(np.arange(60)))
            X.append(rng.poisson(np.exp(base + shift) * rng.lognormal(0, 0.3, (n, 1))))
            labels += [label] * n
            where += [context] * n
    obs = pd.DataFrame({"perturbation": labels, "context": where}, index=[f"cell{i:05d}" for i in range(len(labels))])
    return np.concatenate(X), obs, pd.DataFrame(index=genes)


def values(form: str, folder: Path) -> dict[str, list[float | None]]:
    """Values by model, metric and condition of the screen, stored in one form and read back from the file."""
    X, obs, var = screen()
    adata = AnnData(FORMS[form](X), obs=obs, var=var)
    if form.startswith("cells and genes"):
        rng = np.random.default_rng(1)
        adata = adata[rng.permutation(adata.n_obs)][:, rng.permutation(adata.n_vars)].copy()
    path = folder / f"{form}.h5ad"
    adata.write_h5ad(path)
    dataset = from_h5ad(path, scale="counts", context_key="context")
    manifest = registry.splits.get("doubles")(dataset.load(), data_id="toy")[0]
    assembly = Assembly(prepare(dataset, data_id=form, cells=True), manifest)
    assembly.write_cell_truth(folder / f"truth {form}")
    truth = assembly.truth(folder / f"truth {form}")
    out = {}
    for name in MODELS:
        model = registry.models.get(name)()
        answer = ask(model, assembly.training({}, cells=True), truth, seed=0)
        against = truth.against(getattr(model, "scored_against", "all"))
        for metric, found in evaluate([m for m in CATALOGUE.values() if not m.of_latents], against, answer).items():
            assert not str(found.reason[0]).startswith("metric failed"), (metric, found.reason[0])
            out[f"{name}, {metric}"] = [None if np.isnan(v) else float(v) for v in found.value]
    return out


if __name__ == "__main__":
    sys.stdout.write(json.dumps({form: values(form, Path(sys.argv[1])) for form in sys.argv[2:]}))
