"""biolord as its authors publish it, in the package biolord."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ...bench.contracts.condition import Condition
from ...bench.contracts.model import Capabilities
from ...bench.contracts.training import TrainingData
from ..target_embedding import resource
from . import biolord_script
from .adapter import OfficialModel
from .exchange import Graph, names_of, token

Array = np.ndarray[Any, Any]


class BiolordOfficial(OfficialModel):
    """The package biolord, told of a perturbation by its neighbours in the gene graph.

    As in its publication, a target is described by the weights of its edges in a Gene Ontology graph; the neighbours are the targets
    of training, so that each seen target is its own neighbour and an unseen one needs at least one among the seen. Descriptions
    of combinations are sums. Contexts are a categorical attribute. The mean and the variance are over control cells of the
    context, with the decoder's variance.

    Parameters
    ----------
    python
        Interpreter with biolord; ``""`` takes ``PBENCH_BIOLORD_PYTHON``.
    epochs, batch_size, learning_rate
        Of training; the rate is that of the decoder and of the codes of cells.
    patience
        Epochs without a better value on a tenth of the cells, after which it stops.
    latent, ordered_latent
        Size of the code of a cell, and of that of a perturbation.
    reconstruction_weight, unknown_weight, noise
        Weights of the squared error and of the size of codes of cells, and the noise on these.
    device
        ``cpu`` or ``cuda``.
    """

    name = "biolord-official"
    variable = "PBENCH_BIOLORD_PYTHON"
    script = Path(biolord_script.__file__)
    records = ("biolord", "torch", "scvi-tools", "lightning", "numpy", "anndata")
    capabilities = Capabilities(
        unseen_targets=True,
        needs_cells=True,
        stochastic=True,
        resources=("go",),
        prior_knowledge=("Gene Ontology similarity of genes",),
    )
    reference = "Piran, Cohen, Hoshen & Nitzan, Nature Biotechnology 2024, biolord; package biolord"
    presets = {
        "quick": {"epochs": 10},
        # Defaults of BiolordModule and biolordTrainingPlan (codes, penalties, noise, rates) and of Biolord.train's example.
        "paper": {
            "epochs": 200,
            "batch_size": 256,
            "learning_rate": 1e-4,
            "latent": 32,
            "ordered_latent": 16,
            "reconstruction_weight": 1e2,
            "unknown_weight": 1e1,
            "noise": 0.1,
        },
    }

    def __init__(
        self,
        *,
        python: str = "",
        epochs: int = 200,
        batch_size: int = 256,
        learning_rate: float = 1e-4,
        patience: int = 20,
        latent: int = 32,
        ordered_latent: int = 16,
        reconstruction_weight: float = 1e2,
        unknown_weight: float = 1e1,
        noise: float = 0.1,
        device: str = "cpu",
    ) -> None:
        self.python, self.epochs, self.batch_size, self.learning_rate = python, epochs, batch_size, learning_rate
        self.patience, self.latent, self.ordered_latent = patience, latent, ordered_latent
        self.reconstruction_weight, self.unknown_weight, self.noise = reconstruction_weight, unknown_weight, noise
        self.device = device

    def _unfit(self, data: TrainingData) -> str | None:
        conditions = data.perturbed.conditions
        if len({c.time for c in conditions}) > 1 or len({(c.targets, c.context) for c in conditions}) < len(conditions):
            return "its description of a perturbation knows neither times nor doses, and this screen has several"
        return None

    def _side_files(self, folder: Path, data: TrainingData) -> None:
        graph = Graph.of(resource(data, "go"))
        self.seen_ = sorted({token(t) for c in data.perturbed.conditions for t in c.targets})
        column = {t: i for i, t in enumerate(self.seen_)}
        self.described_: dict[str, Array] = {t: np.eye(1, len(column), i)[0] for t, i in column.items()}
        names = [str(n) for n in graph.names]
        for source, target, weight in zip(graph.source, graph.target, graph.weight, strict=True):
            i = column.get(names[source])
            if i is not None and names[source] != names[target]:
                row = self.described_.setdefault(names[target], np.zeros(len(column)))
                row[i] = max(row[i], float(weight))
        told = (*data.perturbed.conditions, *data.controls.conditions, *data.validation.conditions)
        known = {names_of(c)["perturbation"]: q["features"] for c in told if isinstance(q := self._question(c), dict)}
        (folder / "features.json").write_text(json.dumps(known))

    def _question(self, condition: Condition) -> dict[str, Any] | str:
        features = np.zeros(len(self.seen_))
        for target in condition.targets:
            if token(target) not in self.described_:
                return f"resource: {target} has no neighbour among the training targets in the gene graph"
            features += self.described_[token(target)]
        return {"features": features.tolist()}
