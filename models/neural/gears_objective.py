"""The loss of a batch for a GEARS network, and the step that lowers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...bench.contracts.condition import Condition
from .change_moments import ChangeMoments
from .fitting import Descent, Settings
from .gears_loss import mean_power, over_genes, sign_direction, soft_direction
from .gears_network import GearsNetwork, Told
from .gene_graphs import GeneGraph

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class LossTerms:
    """What the loss is made of, see `gears_loss`.

    Parameters
    ----------
    gamma
        0 or 2.
    direction
        ``surrogate``, ``legacy`` or ``none``.
    direction_weight, uncertainty_weight
        Of the two further terms.
    """

    gamma: int
    direction: str
    direction_weight: float
    uncertainty_weight: float


class GearsObjective:
    """The loss of a batch.

    Control is one more condition in each batch, with the share of cells that it has among all of them: GEARS pairs each control
    cell with itself, so the error of its prediction is the shift of no perturbation.

    Parameters
    ----------
    conditions
        P training conditions, all in the graph; `changes` and `kept` have a row for each.
    changes, controls
        (P, G) mean change of each, and control mean of its context.
    kept
        (P, G) whether a gene is not zero in the mean of the condition; others are left out of its loss.
    control_share
        Control cells for each perturbed cell.
    """

    def __init__(
        self,
        network: GearsNetwork,
        graph: GeneGraph,
        conditions: Sequence[Condition],
        *,
        changes: Array,
        controls: Array,
        kept: Array,
        control_share: float,
        terms: LossTerms,
        device: torch.device,
    ) -> None:
        self.network, self.terms, self.control_share = network, terms, control_share

        def padded(values: Any) -> torch.Tensor:
            """With a last row for control."""
            values = torch.as_tensor(np.asarray(values, dtype=np.float32), device=device)
            return torch.cat([values, torch.zeros_like(values[:1])])

        self.taken = padded(graph.taken(conditions).toarray())
        self.targets = padded([len(c.targets) for c in conditions])
        self.changes, self.controls, self.kept = padded(changes), padded(controls), padded(kept)
        self.kept[-1] = 1

    def __call__(self, moments: ChangeMoments) -> torch.Tensor:
        """() loss, with a gradient."""
        last = torch.full_like(moments.codes[:1], len(self.targets) - 1)
        rows = torch.cat([moments.codes, last])
        n_cells = torch.cat([moments.n_cells, self.control_share * moments.n_cells.sum()[None]])
        shift, log_variance = self.network(Told(self.taken[rows], self.targets[rows], n_cells))
        powers = (moments.mean, moments.second, moments.third, moments.fourth)
        mean, second, third, fourth = (torch.cat([m, torch.zeros_like(m[:1])]) for m in powers)
        own = ChangeMoments(rows, n_cells, mean, second, third, fourth)
        loss = mean_power(shift, own, self.terms.gamma)
        if log_variance is not None:
            loss = loss * (1 + self.terms.uncertainty_weight * torch.exp(-log_variance))
        if self.terms.direction == "surrogate":
            loss = loss + self.terms.direction_weight * soft_direction(shift, self.changes[rows])
        total = over_genes(loss, self.kept[rows])
        if self.terms.direction == "legacy":
            signs = sign_direction(shift[:-1], moments, self.controls[moments.codes])
            signs = torch.cat([signs, torch.zeros_like(signs[:1])])
            total = total + self.terms.direction_weight * over_genes(signs, self.kept[rows])
        return total


class AdamDescent(Descent):
    """One step of Adam for each batch, as GEARS takes it: decay added to the gradient, each of its entries clipped.

    Parameters
    ----------
    objective
        Loss of a batch.
    settings
        Its ``clip`` is the largest absolute value of an entry of the gradient; 0 clips nothing.
    """

    def __init__(self, objective: GearsObjective, settings: Settings) -> None:
        super().__init__(objective.network, objective, settings)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )

    def _clip(self) -> None:
        torch.nn.utils.clip_grad_value_(self.network.parameters(), self.settings.clip)
