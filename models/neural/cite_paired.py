"""CITE-VAE on sequences: the same units are seen at several times."""

from __future__ import annotations

import math

import torch

from .cite_alignment import alignment
from .cite_coder import Coder, Lens, Shape
from .cite_snapshot import Terms
from .cite_transition import Transition
from .expression import Expression
from .generation import Scene
from .layers import draw, gaussian_divergence
from .sequences import SequenceBatch


class PairedNetwork(Coder):
    """The network for units that are seen at several times; covariates of a scene are contexts, one-hot, and the step last.

    q(z_ι | x_1 … x_L) ∝ N(0, I) Π q(z_ι | x_l): what the frames of a unit say of its invariant state is multiplied, so that the
    code is one for all of them. q(z_ν | x_l) sees its frame alone, and never what was done.

    Parameters
    ----------
    transition
        ``linear`` or ``mlp``, of `Transition`.
    gates, instantaneous, memory
        Of `Transition`.
    """

    def __init__(
        self,
        scene: Scene,
        shape: Shape,
        lens: Lens,
        terms: Terms,
        *,
        transition: str,
        gates: bool,
        instantaneous: bool,
        memory: bool,
    ) -> None:
        super().__init__(shape, lens, 0, scene.kind, scene.mean, scene.variance)
        self.terms, self.heat = terms, 1.0
        self.told, self.covariates = scene.told, scene.covariates
        self.perturbed = scene.told.any(dim=1)
        self.transition = Transition(
            scene.n_targets,
            shape.responsive,
            shape.invariant,
            kind=transition,
            gates=gates,
            instantaneous=instantaneous,
            memory=memory,
        )

    def at_epoch(self, epoch: int, epochs: int) -> None:
        self.heat = self.terms.heat(epoch, epochs)
        self.transition.edits.settling = epoch < self.terms.settle * epochs

    def mechanisms_of(self) -> list[torch.nn.Parameter]:
        """Parameters that are learned faster: basis and transition."""
        return [*super().mechanisms_of(), *self.transition.parameters()]

    @staticmethod
    def pooled(mean: torch.Tensor, log_variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance (b, e) of the product of the frames' Gaussians (b, L, e) and N(0, I)."""
        precision = torch.exp(-log_variance)
        total = 1 + precision.sum(dim=1)
        return (precision * mean).sum(dim=1) / total, -torch.log(total)

    def loss(self, batch: SequenceBatch) -> torch.Tensor:
        """(−ELBO with weights β + penalties) / number of features + α alignment, a mean over frames.

        β_ν weighs log q(z_ν) − log p(z_ν | z_ι, u) over all frames of a unit, at one draw; β_ι the divergence of its z_ι.
        """
        told = self.told[batch.codes]
        n_frames = batch.codes.shape[1]
        features = self.lens.features(batch.cells)
        raw, invariant = self.raw_codes(features)
        invariant = self.pooled(*invariant)
        y, e = draw(*invariant), draw(*raw)
        every = y[:, None].expand(-1, n_frames, -1)
        if self.kind == "counts":
            assert batch.depth is not None and batch.counts is not None
            flat = SequenceBatch(
                batch.cells.flatten(0, 1), batch.codes.flatten(), batch.counts.flatten(0, 1), batch.depth.flatten()
            )
            rebuilt = self.log_likelihood(e.flatten(0, 1), every.flatten(0, 1), features.flatten(0, 1), flat, flat.depth)
        else:
            rebuilt = self.log_likelihood(e, every, features, batch, None)
        nats = -rebuilt.mean()
        entropy = 0.5 * (raw[1] + 1 + math.log(2 * math.pi)).sum(dim=(1, 2)) + n_frames * torch.linalg.slogdet(self.basis)[1]
        own = -entropy - self.transition.log_density(self.turned(e, every), y, told)
        nats = nats + self.heat * self.terms.responsive * own.mean() / n_frames
        nats = nats + self.heat * self.terms.invariant * gaussian_divergence(*invariant).mean() / n_frames
        nats = nats + self.heat * self.transition.penalty(self.terms.sparsity, self.terms.graph)
        loss = nats / (batch.cells.shape[-1] if self.kind == "counts" else self.lens.width)
        if self.terms.kind != "none":
            loss = loss + self.terms.alignment * self.aligned(invariant[0], batch.codes[:, -1])
        return loss

    def aligned(self, invariant: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """`alignment` of the codes (b, e) of units, by the perturbation of each, with random control units of the batch."""
        perturbed = self.perturbed[codes]
        own, control = torch.nonzero(perturbed)[:, 0], torch.nonzero(~perturbed)[:, 0]
        if len(control) < 2:
            return invariant.new_zeros(())
        beside = control[torch.randint(len(control), (len(own),), device=codes.device)]
        # One code for a perturbation at all its times.
        _, by_target = self.told[codes[own]].unique(dim=0, return_inverse=True)
        return alignment(self.terms.kind, by_target, invariant[own], invariant[beside])

    def effects(self, past: torch.Tensor) -> torch.Tensor:
        """(2, d, d) lagged and instantaneous effects of the variable of the column on that of the row, at states z (n, d)."""
        return torch.stack([self.transition.slopes(past).abs(), torch.tril(self.transition.instant, -1).abs()])

    def sizes(self) -> torch.Tensor:
        """(k, d) how strongly a target acts on a variable."""
        tables = self.transition.edits
        return tables.probability * self.transition.sizes()

    def incoming(self, told: torch.Tensor, covariates: torch.Tensor) -> torch.Tensor:
        """(m, d) norm of the instantaneous weights into each variable, in m environments."""
        return torch.tril(self.transition.instant, -1).norm(dim=1).expand(len(told), -1)

    def imagine(self, cells: torch.Tensor, depth: torch.Tensor, told: torch.Tensor, covariates: torch.Tensor) -> Expression:
        """z_ι and z_ν of control cells, the latter moved on by the process of what was done, decoded."""
        raw, invariant = self.raw_codes(self.lens.features(cells))
        y = draw(*self.pooled(invariant[0][:, None], invariant[1][:, None]))
        z = self.transition.walk(self.turned(draw(*raw), y), y, told, covariates[:, -1])
        return self.expression(self.turned_back(z, y), y, depth if self.kind == "counts" else None)

    def unit_latents(self, cells: torch.Tensor) -> dict[str, torch.Tensor]:
        """Posterior means of z_ν (b, L, d) and of z_ι (b, L, e), the same in all frames of a unit, from cells (b, L, G)."""
        raw, invariant = self.raw_codes(self.lens.features(cells))
        y = self.pooled(*invariant)[0][:, None].expand(-1, cells.shape[1], -1)
        return {"responsive": self.turned(raw[0], y), "invariant": y}

    def latents(self, cells: torch.Tensor, told: torch.Tensor, covariates: torch.Tensor) -> dict[str, torch.Tensor]:
        """`unit_latents` of cells (n, G) that are a unit each."""
        return {name: value[:, 0] for name, value in self.unit_latents(cells[:, None]).items()}
