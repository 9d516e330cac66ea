"""GEARS as its authors publish it, in the package cell-gears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...bench.contracts.condition import Condition
from ...bench.contracts.errors import UsageError
from ...bench.contracts.model import Capabilities
from ...bench.contracts.training import TrainingData
from ..neural.held_out import held_out
from ..target_embedding import resource
from . import gears_script
from .adapter import OfficialModel
from .exchange import Graph, token


class GearsOfficial(OfficialModel):
    """cell-gears, trained on our training conditions and watched on our validation conditions.

    Where the split has no validation conditions, the same tenth of the training conditions is held out that our own networks
    hold out. The graph over perturbations is that of the resource ``go``, in the place of the download that the package makes.
    Conditions with a single cell, or with a target outside the graph, are not trained on: the package can use neither.

    Parameters
    ----------
    python
        Interpreter with cell-gears; ``""`` takes ``PBENCH_GEARS_PYTHON``.
    epochs, batch_size, learning_rate, weight_decay
        Of training.
    hidden, decoder_hidden
        Sizes of embeddings and of the decoder of each gene.
    direction_weight
        Weight of the loss of wrong signs.
    device
        ``cpu`` or ``cuda``.
    """

    name = "gears-official"
    variable = "PBENCH_GEARS_PYTHON"
    script = Path(gears_script.__file__)
    records = ("cell-gears", "torch", "torch_geometric", "numpy", "pandas", "scanpy", "anndata")
    capabilities = Capabilities(
        unseen_targets=True,
        max_targets=2,
        needs_cells=True,
        stochastic=True,
        resources=("go",),
        prior_knowledge=("Gene Ontology similarity of genes",),
    )
    reference = "Roohani, Huang & Leskovec, Nature Biotechnology 2024, GEARS; package cell-gears"
    presets = {
        "quick": {"epochs": 2},
        # Defaults of GEARS.train, model_initialize and the demo of snap-stanford/GEARS (batch 32).
        "paper": {"epochs": 20, "batch_size": 32, "hidden": 64, "learning_rate": 1e-3, "weight_decay": 5e-4},
    }

    def __init__(
        self,
        *,
        python: str = "",
        epochs: int = 20,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        weight_decay: float = 5e-4,
        hidden: int = 64,
        decoder_hidden: int = 16,
        direction_weight: float = 0.1,
        device: str = "cpu",
    ) -> None:
        self.python, self.epochs, self.batch_size = python, epochs, batch_size
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.hidden, self.decoder_hidden, self.direction_weight = hidden, decoder_hidden, direction_weight
        self.device = device

    def _unfit(self, data: TrainingData) -> str | None:
        conditions = data.perturbed.conditions
        if len({c.context for c in (*conditions, *data.controls.conditions)}) > 1:
            return "cell-gears knows no contexts, and this screen has several"
        if len({(t, d) for c in conditions for t, d in zip(c.targets, c.doses, strict=False)}) > len(
            {t for c in conditions if c.doses for t in c.targets}
        ):
            return "cell-gears knows no doses, and this screen has several for a target"
        return "cell-gears knows no times, and this screen has several" if len({c.time for c in conditions}) > 1 else None

    def _roles(self, data: TrainingData, seed: int) -> tuple[tuple[Condition, ...], tuple[Condition, ...]]:
        table = resource(data, "go")

        def usable(condition: Condition) -> bool:
            row = data.perturbed.row(condition)
            cells = 2 if row is None else int(data.perturbed.n_cells[row])
            return cells > 1 and len(condition.targets) <= 2 and not table.missing(condition.targets)

        kept, watched = held_out(data, seed=seed, predictable=lambda c, _: usable(c))
        return tuple(filter(usable, kept)), watched.conditions

    def _side_files(self, folder: Path, data: TrainingData) -> None:
        graph = Graph.of(resource(data, "go"))
        if not len(graph.source):
            raise UsageError("'gears-official' needs a gene graph, and that of the resource 'go' has no edges.")
        graph.write(folder / "graph.npz")
        self.nodes_ = frozenset(graph.names.tolist())

    def _question(self, condition: Condition) -> dict[str, Any] | str:
        missing = [t for t in condition.targets if token(t) not in self.nodes_]
        return f"resource: {missing[0]} is not in the gene graph" if missing else {}
