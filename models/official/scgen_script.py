"""Trains and asks scgen; run by `bridge` in an interpreter that has it. Only its documented interface is used."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from typing import Any

#: Control cells that a prediction starts from.
CONTROLS = 300
#: Share of the cells that is trained on; the others stop training.
TRAINED = 0.9


def _setup(task: dict[str, Any]) -> Any:
    anndata = import_module("anndata")
    scgen = import_module("scgen")
    cells = anndata.read_h5ad(Path(task["folder"]) / "train.h5ad")
    scgen.SCGEN.setup_anndata(cells, batch_key="perturbation", labels_key="context")
    return cells


def fit(task: dict[str, Any]) -> None:
    """Train and save."""
    scgen = import_module("scgen")
    params = task["params"]
    cells = _setup(task)
    model = scgen.SCGEN(
        cells,
        n_hidden=params["width"],
        n_latent=params["latent"],
        n_layers=params["hidden"],
        dropout_rate=params["dropout"],
    )
    model.train(
        max_epochs=params["epochs"],
        batch_size=import_module("bridge").batch_size(params["batch_size"], math.ceil(TRAINED * cells.n_obs)),
        train_size=TRAINED,
        early_stopping=True,
        early_stopping_patience=25,
        use_gpu=params["device"] == "cuda",
    )
    model.save(str(Path(task["folder"]) / "model"), overwrite=True)


def predict(task: dict[str, Any]) -> dict[str, Any]:
    """Decode control cells of the context after the perturbation's arrow was added to their codes."""
    import numpy as np
    from scipy import sparse

    scgen = import_module("scgen")
    cells = _setup(task)
    model = scgen.SCGEN.load(str(Path(task["folder"]) / "model"), cells, use_gpu=task["params"]["device"] != "cpu")
    rng = np.random.default_rng(task["seed"])
    known = set(cells.obs["perturbation"].astype(str))
    mean, decoded, absent = {}, {}, {}
    for i, query in enumerate(task["queries"]):
        rows = np.flatnonzero((cells.obs["perturbation"] == "control") & (cells.obs["context"] == query["context"]))
        if query["perturbation"] not in known:
            absent[i] = f"capability: {query['perturbation']} was not seen in training"
        elif not len(rows):
            absent[i] = f"capability: no control cells of context {query['context']}"
        else:
            start = cells[np.sort(rng.permutation(rows)[:CONTROLS])].copy()
            made, _ = model.predict(ctrl_key="control", stim_key=query["perturbation"], adata_to_predict=start)
            X = made.X.toarray() if sparse.issparse(made.X) else np.asarray(made.X)
            mean[i], decoded[i] = X.mean(axis=0), X
    return {"mean": mean, "cells": decoded, "absent": absent, "genes": list(cells.var_names), "scale": task["scale"]}
