"""Trains and asks cell-gears; run by `bridge` in an interpreter that has it."""

from __future__ import annotations

import pickle
from importlib import import_module
from pathlib import Path
from typing import Any

#: What the package calls the cell type where it is not told one; also its name of the data set.
CELL_TYPE, DATASET = "cells", "screen"


def _write_graph(folder: Path) -> None:
    """Put the graph where the package looks for its downloads, so that it makes none."""
    import numpy as np
    import pandas as pd

    with np.load(folder / "graph.npz") as stored:
        names, source, target, weight = (stored[k] for k in ("names", "source", "target", "weight"))
    place = folder / "gears"
    (place / "go_essential_all").mkdir(parents=True, exist_ok=True)
    nodes = [str(n) for n in names]
    # The package reads which genes have annotations; the terms themselves only matter where it builds a graph, which it need not.
    with (place / "gene2go_all.pkl").open("wb") as file:
        pickle.dump({n: {n} for n in nodes}, file)
    with (place / "essential_all_data_pert_genes.pkl").open("wb") as file:
        pickle.dump(nodes, file)
    edges = pd.DataFrame({"source": names[source], "target": names[target], "importance": weight.astype(float)})
    edges.to_csv(place / "go_essential_all" / "go_essential_all.csv", index=False)


def _split(folder: Path, obs: Any) -> Path:
    """Training and validation conditions as the package's custom split; the test part is empty, for nobody knows it here."""
    by_split = {s: sorted(set(obs["condition"][obs["split"] == s].astype(str))) for s in ("train", "valid")}
    # The package cannot train without watching something.
    watched = by_split["valid"] or [c for c in by_split["train"] if c != "ctrl"]
    path = folder / "split.pkl"
    with path.open("wb") as file:
        pickle.dump({"train": by_split["train"], "val": watched, "test": []}, file)
    return path


def _data(folder: Path, batch_size: int, split: Path, seed: int) -> Any:
    """The package's data object, from what it has processed, with loaders but for the empty test part."""
    gears = import_module("gears")
    data = gears.PertData(str(folder / "gears"))
    data.load(data_path=str(folder / "gears" / DATASET))
    data.prepare_split(split="custom", seed=seed, split_dict_path=str(split))
    data.get_dataloader(batch_size=batch_size)
    del data.dataloader["test_loader"]
    return data


def fit(task: dict[str, Any]) -> None:
    """Process the cells as the package does, train, and save weights."""
    anndata = import_module("anndata")
    gears = import_module("gears")
    folder, params = Path(task["folder"]), task["params"]
    _write_graph(folder)
    cells = anndata.read_h5ad(folder / "train.h5ad")
    cells.obs["cell_type"] = CELL_TYPE
    cells.var["gene_name"] = cells.var_names.astype(str)
    split = _split(folder, cells.obs)
    gears.PertData(str(folder / "gears")).new_data_process(dataset_name=DATASET, adata=cells)
    n_train = int((cells.obs["split"] == "train").sum())
    data = _data(folder, min(params["batch_size"], n_train), split, task["seed"])
    model = gears.GEARS(data, device=params["device"])
    model.model_initialize(
        hidden_size=params["hidden"],
        decoder_hidden_size=params["decoder_hidden"],
        direction_lambda=params["direction_weight"],
    )
    model.train(epochs=params["epochs"], lr=params["learning_rate"], weight_decay=params["weight_decay"])
    model.save_model(str(folder / "model"))


def predict(task: dict[str, Any]) -> dict[str, Any]:
    """Mean over 300 control cells of what the package predicts."""
    gears = import_module("gears")
    folder = Path(task["folder"])
    data = _data(folder, 32, folder / "split.pkl", task["seed"])
    model = gears.GEARS(data, device=task["params"]["device"])
    model.load_pretrained(str(folder / "model"))
    mean = {}
    for i, query in enumerate(task["queries"]):
        targets = query["perturbation"].split("+")
        mean[i] = model.predict([targets])["_".join(targets)]
    return {"mean": mean, "genes": list(data.adata.var["gene_name"]), "scale": task["scale"]}
