"""Gradient descent in which mechanisms are learned faster than the networks around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from .fitting import Descent, Settings, optimiser


class RatedDescent(Descent):
    """`Descent` with a multiple of the learning rate for some parameters, whatever the schedule, and no decay of them.

    Tables of targets have few cells each, and a basis turns only as fast as its weights move; a network has many weights that move
    it together.

    Parameters
    ----------
    fast, rate
        The parameters and the multiple.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        loss_of: Callable[[Any], torch.Tensor],
        settings: Settings,
        fast: Iterable[torch.nn.Parameter],
        rate: float,
    ) -> None:
        super().__init__(network, loss_of, settings)
        own = [p for p in fast if p.requires_grad]
        known = {id(p) for p in own}
        rest = [p for p in network.parameters() if p.requires_grad and id(p) not in known]
        self.rates = (1.0, rate)
        groups = [{"params": rest}, {"params": own, "weight_decay": 0.0}]
        self.optimiser = optimiser(groups, settings.learning_rate, settings.weight_decay)
        self.at_epoch(0)

    def at_epoch(self, epoch: int) -> None:
        """Set the learning rates of an epoch."""
        super().at_epoch(epoch)
        decays = self.settings.decay != "none"
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * (group["lr"] if decays else self.settings.learning_rate)
