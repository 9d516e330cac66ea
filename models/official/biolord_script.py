"""Trains and asks biolord; run by `bridge` in an interpreter that has it."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

#: Control cells that a prediction starts from.
CONTROLS = 300


def _setup(task: dict[str, Any]) -> Any:
    """The registered training cells with the description of their perturbation; a tenth is watched where no conditions are."""
    import numpy as np

    anndata = import_module("anndata")
    biolord = import_module("biolord")
    folder = Path(task["folder"])
    cells = anndata.read_h5ad(folder / "train.h5ad")
    features = json.loads((folder / "features.json").read_text())
    cells.obsm["targets"] = np.array([features[str(p)] for p in cells.obs["perturbation"]], dtype=np.float32)
    split = cells.obs["split"].astype(str).to_numpy(dtype=object)
    if not (split == "valid").any():
        rng = np.random.default_rng(task["seed"])
        split[rng.permutation(len(split))[: max(1, len(split) // 10)]] = "valid"
    cells.obs["split"] = split
    biolord.Biolord.setup_anndata(
        cells,
        ordered_attributes_keys=["targets"],
        categorical_attributes_keys=["context"],
        retrieval_attribute_key="perturbation",
    )
    return cells


def fit(task: dict[str, Any]) -> None:
    """Train and save."""
    biolord = import_module("biolord")
    params, folder = task["params"], Path(task["folder"])
    cells = _setup(task)
    model = biolord.Biolord(
        cells,
        model_name="pbench",
        n_latent=params["latent"],
        split_key="split",
        train_split="train",
        valid_split="valid",
        test_split="ood",
        module_params={
            "n_latent_attribute_ordered": params["ordered_latent"],
            "reconstruction_penalty": params["reconstruction_weight"],
            "unknown_attribute_penalty": params["unknown_weight"],
            "unknown_attribute_noise_param": params["noise"],
            "gene_likelihood": "normal",
        },
    )
    model.train(
        max_epochs=params["epochs"],
        batch_size=import_module("bridge").batch_size(params["batch_size"], *cells.obs["split"].value_counts()),
        accelerator="gpu" if params["device"] == "cuda" else "cpu",
        early_stopping=True,
        early_stopping_patience=params["patience"],
        # biolord 0.0.3 reads its own defaults of the last two before it has set them, so that they must be given.
        plan_kwargs={
            "latent_lr": params["learning_rate"],
            "decoder_lr": params["learning_rate"],
            "attribute_nn_lr": params["learning_rate"],
            "attribute_nn_wd": 1e-4,
        },
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    model.save(str(folder / "model"), overwrite=True)


def predict(task: dict[str, Any]) -> dict[str, Any]:
    """Decode the codes of control cells with another perturbation; moments over these cells."""
    import numpy as np
    import torch

    biolord = import_module("biolord")
    cells = _setup(task)
    accelerator = "gpu" if task["params"]["device"] == "cuda" else "cpu"
    model = biolord.Biolord.load(str(Path(task["folder"]) / "model"), cells, accelerator=accelerator)
    model.module.eval()
    rng = np.random.default_rng(task["seed"])
    mean, variance, absent, starts = {}, {}, {}, {}
    for i, query in enumerate(task["queries"]):
        context = query["context"]
        if context not in starts:
            own = (cells.obs["perturbation"] == "control") & (cells.obs["context"] == context)
            # A cell that was only watched has the code that it was initialised with.
            rows = np.flatnonzero(own & (cells.obs["split"] == "train"))
            starts[context] = np.sort(rng.permutation(rows)[:CONTROLS])
        if not len(starts[context]):
            absent[i] = f"capability: no control cells of context {context}"
            continue
        tensors = model.get_dataset(cells, indices=starts[context])
        told = torch.tensor(query["features"], dtype=torch.float32)
        tensors["targets"] = told.expand(len(starts[context]), -1).clone()
        with torch.no_grad():
            means, spread = (t.cpu().numpy().reshape(len(starts[context]), -1) for t in model.module.get_expression(tensors))
        mean[i], variance[i] = means.mean(axis=0), spread.mean(axis=0) + means.var(axis=0)
    return {"mean": mean, "variance": variance, "absent": absent, "genes": list(cells.var_names), "scale": task["scale"]}
