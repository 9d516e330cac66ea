"""Trains and asks cpa-tools; run by `bridge` in an interpreter that has it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

#: Control cells that a prediction starts from.
CONTROLS = 300


def _setup(task: dict[str, Any]) -> Any:
    """The registered training cells; a tenth of them stops training where no conditions are kept for that."""
    import numpy as np

    anndata = import_module("anndata")
    cpa = import_module("cpa")
    cells = anndata.read_h5ad(Path(task["folder"]) / "train.h5ad")
    split = cells.obs["split"].astype(str).to_numpy(dtype=object)
    if not (split == "valid").any():
        rng = np.random.default_rng(task["seed"])
        split[rng.permutation(len(split))[: max(1, len(split) // 10)]] = "valid"
    for column in ("perturbation", "dose", "context"):
        cells.obs[column] = cells.obs[column].astype(str)
    cells.obs["split"] = split
    cpa.CPA.setup_anndata(
        cells,
        perturbation_key="perturbation",
        control_group="control",
        dosage_key="dose",
        categorical_covariate_keys=["context"],
        is_count_data=task["given"] == "counts",
        max_comb_len=max(2, *(p.count("+") + 1 for p in cells.obs["perturbation"])),
    )
    return cells


def fit(task: dict[str, Any]) -> None:
    """Train and save."""
    cpa = import_module("cpa")
    params = task["params"]
    cells = _setup(task)
    model = cpa.CPA(
        cells,
        split_key="split",
        train_split="train",
        valid_split="valid",
        test_split="ood",
        n_latent=params["latent"],
        recon_loss="nb" if task["given"] == "counts" else "gauss",
        doser_type="linear",
        n_hidden_encoder=params["width"],
        n_layers_encoder=params["encoder_layers"],
        n_hidden_decoder=params["width"],
        n_layers_decoder=params["decoder_layers"],
        use_batch_norm_encoder=True,
        use_batch_norm_decoder=False,
        dropout_rate_encoder=params["dropout"],
        seed=task["seed"],
    )
    model.train(
        max_epochs=params["epochs"],
        use_gpu=params["device"] == "cuda",
        batch_size=import_module("bridge").batch_size(params["batch_size"], *cells.obs["split"].value_counts()),
        plan_kwargs={
            "lr": params["learning_rate"],
            "wd": params["weight_decay"],
            "n_epochs_pretrain_ae": params["alone"],
            # It divides by this number.
            "n_epochs_adv_warmup": params["warm_up"] or None,
            "mixup_alpha": params["mixup"],
            "adv_steps": params["adversary_steps"],
            "reg_adv": params["adversary_weight"],
            "pen_adv": params["adversary_penalty"],
            "n_layers_adv": params["adversary_layers"],
            "n_hidden_adv": params["adversary_width"],
            "dropout_rate_adv": params["adversary_dropout"],
            "adv_lr": params["adversary_rate"],
            "adv_wd": params["adversary_decay"],
            "step_size_lr": params["rate_step"],
            "n_epochs_mixup_warmup": params["mixup_warm_up"] or None,
        },
        early_stopping_patience=params["patience"],
        check_val_every_n_epoch=min(params["check_every"], params["epochs"]),
        save_path=str(Path(task["folder"]) / "model"),
        enable_progress_bar=False,
    )


def predict(task: dict[str, Any]) -> dict[str, Any]:
    """Decode control cells of the context with the perturbation added to their codes."""
    import numpy as np

    cpa = import_module("cpa")
    keys = import_module("cpa._utils").CPA_REGISTRY_KEYS
    cells = _setup(task)
    model = cpa.CPA.load(str(Path(task["folder"]) / "model"), cells, use_gpu=task["params"]["device"] != "cpu")
    rng = np.random.default_rng(task["seed"])
    mean, decoded, absent = {}, {}, {}
    for i, query in enumerate(task["queries"]):
        rows = np.flatnonzero((cells.obs["perturbation"] == "control") & (cells.obs["context"] == query["context"]))
        targets, doses = query["perturbation"].split("+"), [float(d) for d in query["dose"].split("+")]
        shape = cells.obsm[keys.PERTURBATIONS].shape[1]
        unknown = [t for t in targets if t not in model.pert_encoder]
        if not len(rows) or unknown or len(targets) > shape:
            absent[i] = (
                f"capability: no control cells of context {query['context']}"
                if not len(rows)
                else f"capability: unseen target {unknown[0]}"
                if unknown
                else f"capability: at most {shape} targets, as many as in training"
            )
            continue
        start = cells[np.sort(rng.permutation(rows)[:CONTROLS])].copy()
        # The labels stay those of controls, which the package knows; what it decodes with are these two.
        codes, amounts = np.zeros((len(start), shape), dtype=int), np.zeros((len(start), shape))
        codes[:, : len(targets)], amounts[:, : len(targets)] = [model.pert_encoder[t] for t in targets], doses
        start.obsm[keys.PERTURBATIONS], start.obsm[keys.PERTURBATIONS_DOSAGES] = codes, amounts
        model.predict(start, batch_size=CONTROLS)
        made = np.asarray(start.obsm["CPA_pred"])
        if task["given"] == "counts":
            made = np.log1p(1e4 * made / np.maximum(made.sum(axis=1, keepdims=True), 1e-12))
        mean[i], decoded[i] = made.mean(axis=0), made
    return {"mean": mean, "cells": decoded, "absent": absent, "genes": list(cells.var_names), "scale": task["scale"]}
