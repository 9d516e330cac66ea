"""Training a GEARS network on a screen, and asking it afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...bench.contracts.condition import Condition
from ...bench.contracts.training import Profiles, TrainingData
from .cell_batches import CellBatches
from .change_moments import ExactChanges, SampledChanges
from .fitting import History, Settings, seeded, train
from .gears_network import GearsNetwork, Told
from .gears_objective import AdamDescent, GearsObjective, LossTerms
from .gene_graphs import GeneGraph
from .held_out import mean_error

Array = np.ndarray[Any, Any]
#: Steps and passes over the conditions of an epoch with exact moments, at least.
STEPS, PASSES = 20, 3


@dataclass(frozen=True)
class GearsSettings:
    """The parameters of the same names of `models.gears.Gears`."""

    hidden: int
    gamma: int
    direction: str
    direction_weight: float
    nonzero_only: bool
    uncertainty: bool
    uncertainty_weight: float
    perturbations: int
    batch_size: int
    epochs: int
    learning_rate: float
    weight_decay: float
    decay: str
    clip: float
    patience: int


class ShiftReader:
    """What a trained network says, condition by condition, so that no answer depends on what else is asked."""

    def __init__(self, network: GearsNetwork, graph: GeneGraph, device: torch.device) -> None:
        self.network, self.graph, self.device = network, graph, device

    @torch.no_grad()
    def __call__(self, conditions: Sequence[Condition]) -> tuple[Array, Array | None]:
        """(n, G) float64 shifts of conditions that are all in the graph, and log variances where there are such."""
        self.network.eval()
        one = torch.ones(1, device=self.device)
        genes = self.network.genes(one)
        taken = torch.from_numpy(self.graph.taken(conditions).toarray()).to(self.device)
        shifts, spread = np.empty((len(conditions), len(genes))), np.empty((len(conditions), len(genes)))
        found = None
        for i, condition in enumerate(conditions):
            told = Told(taken[i : i + 1], one * len(condition.targets), one)
            shift, found = self.network(told, genes)
            shifts[i] = shift[0].cpu().numpy()
            if found is not None:
                spread[i] = found[0].cpu().numpy()
        return shifts, spread if found is not None else None


class GearsTraining:
    """A screen, made ready for training networks on some of its conditions.

    Parameters
    ----------
    conditions
        Those that may be trained on, all in the graph.
    graph, coexpression
        Over the perturbed genes, and over the measured ones.
    """

    def __init__(
        self,
        data: TrainingData,
        conditions: Sequence[Condition],
        graph: GeneGraph,
        coexpression: GeneGraph,
        settings: GearsSettings,
        device: torch.device,
    ) -> None:
        self.data, self.graph, self.coexpression, self.settings, self.device = data, graph, coexpression, settings, device
        self.exact = None if settings.batch_size else ExactChanges.of(data.cells, conditions, device)

    def __call__(
        self, conditions: Sequence[Condition], watched: Profiles | None, *, epochs: int, seed: int
    ) -> tuple[ShiftReader, History]:
        """Train a new network on some of the conditions; on the watched ones is seen when to stop."""
        wanted = self.settings
        changes = self._changes(conditions)
        settings = Settings(
            epochs, wanted.learning_rate, wanted.weight_decay, wanted.patience, clip=wanted.clip, decay=wanted.decay
        )
        with seeded(seed, self.device):
            network = GearsNetwork(
                self.coexpression.adjacency, len(self.graph.names), hidden=wanted.hidden, uncertainty=wanted.uncertainty
            ).to(self.device)
            descent = AdamDescent(self._objective(network, conditions), settings)
            reader = ShiftReader(network, self.graph, self.device)
            score = self._score(reader, watched) if watched is not None and len(watched) else None
            return reader, train(network, changes.epoch, descent, settings, seed=seed, score=score, at_epoch=descent.at_epoch)

    def _score(self, reader: ShiftReader, watched: Profiles) -> Callable[[], float]:
        start = self.data.controls.control_mean(watched.conditions)
        return lambda: mean_error(start + reader(watched.conditions)[0], watched)

    def _changes(self, conditions: Sequence[Condition]) -> Any:
        if self.exact is not None:
            return self.exact.batches(conditions, self.settings.perturbations, steps=STEPS, passes=PASSES)
        return SampledChanges(
            CellBatches(
                self.data.cells,
                conditions,
                self.settings.batch_size,
                self.device,
                partners=True,
                groups=self.settings.perturbations,
            )
        )

    def _objective(self, network: GearsNetwork, conditions: Sequence[Condition]) -> GearsObjective:
        data, wanted = self.data, self.settings
        position = {c: i for i, c in enumerate(data.perturbed.conditions)}
        rows = [position[c] for c in conditions]
        cells = dict(zip(data.cells.conditions, np.bincount(data.cells.codes, minlength=len(data.cells.conditions)), strict=True))
        return GearsObjective(
            network,
            self.graph,
            conditions,
            changes=data.shifts[rows],
            controls=data.controls.control_mean(conditions),
            kept=(data.perturbed.mean[rows] != 0) | (not wanted.nonzero_only),
            control_share=float(sum(n for c, n in cells.items() if c.is_control) / sum(cells[c] for c in conditions)),
            terms=LossTerms(wanted.gamma, wanted.direction, wanted.direction_weight, wanted.uncertainty_weight),
            device=self.device,
        )
