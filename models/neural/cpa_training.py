"""The training of CPA, which alternates between the autoencoder and its adversaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .cell_batches import Batch
from .cpa_adversary import Adversary, Tally
from .cpa_network import Blend, CpaNetwork, looked_up
from .fitting import Settings, optimiser


@dataclass(frozen=True)
class Schedule:
    """When and how strongly adversaries act.

    Parameters
    ----------
    pretraining
        Epochs in which the autoencoder does not hear of the adversaries, which learn all the same.
    warm_up
        Epochs after that in which their weight rises to `strength`.
    strength
        Weight of the adversaries' loss in that of the autoencoder, which wants it large.
    steps
        Of so many batches the first trains the autoencoder and the others the adversaries; with 1 each batch trains both.
    penalty
        Weight of the adversaries' gradient penalty.
    learning_rate, weight_decay
        Of the adversaries.
    mixup
        Both parameters of the beta distribution of the share of a cell that is mixed with another one; 0 mixes none.
    """

    pretraining: int
    warm_up: int
    strength: float
    steps: int
    penalty: float
    learning_rate: float
    weight_decay: float
    mixup: float

    def weight(self, epoch: int) -> float:
        """Of the adversaries in an epoch."""
        return self.strength * min(1.0, max(0.0, (epoch + 1 - self.pretraining) / max(self.warm_up, 1)))

    def mixing(self, epoch: int) -> float:
        """Parameter of the beta distribution in an epoch: it rises as the adversaries' weight does, from the first epoch on."""
        return self.mixup * min(1.0, (epoch + 1) / max(self.warm_up, 1))


class Alternation:
    """A step for each batch: of the autoencoder, of the adversaries, or of both, with one pass through the encoder.

    Parameters
    ----------
    network
        The autoencoder.
    adversary
        None for an autoencoder alone.
    names
        Of covariates, for `logged`.
    rng
        For the shares of mixed cells.
    """

    def __init__(
        self,
        network: CpaNetwork,
        adversary: Adversary | None,
        settings: Settings,
        schedule: Schedule,
        names: Sequence[str],
        rng: np.random.Generator,
    ) -> None:
        self.network, self.adversary, self.settings, self.schedule, self.rng = network, adversary, settings, schedule, rng
        self.names = ("", *(f"{name} " for name in names))
        self.optimiser = optimiser(network.parameters(), settings.learning_rate, settings.weight_decay)
        present = (network.told != 0).to(network.told.dtype)
        self.labels = [present]
        if adversary:
            self.opponent = optimiser(adversary.parameters(), schedule.learning_rate, schedule.weight_decay)
            self.labels += network.known_covariates.split(adversary.sizes[1:], dim=1) if adversary.sizes[1:] else ()
        self.logged: dict[str, list[float]] = {}
        self.epoch, self.turn, self.last, self.tally = 0, 0, 0.0, None

    def __call__(self, batch: Batch) -> float:
        """Take a step; returns the autoencoder's loss, without the adversaries' part."""
        blend = None
        if alpha := self.schedule.mixing(self.epoch):
            batch, blend = Blend.of(batch, float(self.rng.beta(alpha, alpha)))
        together = self.epoch < self.schedule.pretraining or self.schedule.steps == 1
        own = together or self.turn % self.schedule.steps == 0
        self.turn += 1
        labels = [looked_up(table, batch.codes, blend) for table in self.labels] if self.adversary else []
        if self.adversary is None or own:
            basal = self.train_network(batch, blend, labels)
        else:
            with torch.no_grad():
                basal, _ = self.network.sample(batch.cells)
        if self.adversary is not None and (together or not own):
            value = self.train_adversary(basal, labels)
            return self.last if np.isfinite(value) else value
        return self.last

    def train_network(self, batch: Batch, blend: Blend | None, labels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Step the autoencoder against the adversaries as they are; returns the basal states from before the step."""
        self.optimiser.zero_grad(set_to_none=True)
        loss, basal = self.network.reconstruct(batch, blend)
        self.last = float(loss.detach())
        weight = self.schedule.weight(self.epoch) if self.adversary else 0.0
        if self.adversary and weight:
            frozen = list(self.adversary.parameters())
            for p in frozen:
                p.requires_grad_(False)
            loss = loss - weight * self.adversary.loss(self.adversary(basal), labels)
            for p in frozen:
                p.requires_grad_(True)
        loss.backward()
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.optimiser.step()
        return basal.detach()

    def train_adversary(self, basal: torch.Tensor, labels: Sequence[torch.Tensor]) -> float:
        """Step the adversaries on given basal states; returns their loss. What they call is counted before they learn."""
        assert self.adversary
        self.opponent.zero_grad(set_to_none=True)
        basal = basal.detach().requires_grad_()
        logits = self.adversary(basal)
        if self.tally is None:
            self.tally = Tally(self.adversary.sizes)
        self.tally.add(logits, labels)
        loss = self.adversary.loss(logits, labels)
        if self.schedule.penalty:
            loss = loss + self.schedule.penalty * self.adversary.penalty(logits, basal)
        loss.backward()
        self.opponent.step()
        return float(loss.detach())

    def at_epoch(self, epoch: int) -> None:
        """Note the accuracies of the epoch that ended, and begin the next one."""
        self.close_epoch()
        self.epoch, self.turn = epoch, 0
        if self.adversary:
            self.adversary.train()

    def close_epoch(self) -> None:
        """Append what was tallied to `logged`."""
        if self.tally is None:
            return
        for name, (accuracy, chance) in zip(self.names, self.tally.accuracies(), strict=True):
            self.logged.setdefault(f"adversary_{name.replace(' ', '_')}accuracy", []).append(accuracy)
            self.logged.setdefault(f"{name.replace(' ', '_')}chance", []).append(chance)
        self.tally = None
