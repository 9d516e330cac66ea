"""CITE-VAE on snapshots: each cell is seen once, and the states before it are integrated out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from .cell_batches import Batch
from .cite_alignment import alignment
from .cite_coder import Coder, Lens, Shape
from .cite_edits import EditTables
from .deviation_chain import AffineLaw, deviation_laws, weight_variant_laws
from .expression import Expression
from .generation import Scene
from .layers import draw, gaussian_divergence
from .perturbed_network import MechanismNetwork


@dataclass(frozen=True)
class Terms:
    """What the terms of the loss weigh.

    Parameters
    ----------
    responsive, invariant
        β_ν and β_ι of the divergences; with 1 the loss is minus the evidence bound and penalties.
    alignment, kind
        α, and ``centroid``, ``mmd``, ``random_pairs`` or ``none``.
    sparsity, graph
        Of edits and of effects of responsive variables on each other, in nats for each cell.
    warmup
        Share of the epochs in which the divergences' weights rise from zero.
    settle
        Share of the epochs in which all gates stand open, and sparsity is a matter of the sizes of edits alone.
    """

    responsive: float
    invariant: float
    alignment: float
    kind: str
    sparsity: float
    graph: float
    warmup: float
    settle: float

    def heat(self, epoch: int, epochs: int) -> float:
        """The share of the divergences' weights that counts in an epoch."""
        rise = self.warmup * epochs
        return min(1.0, (epoch + 1) / rise) if rise else 1.0


class SnapshotNetwork(Coder):
    """The network for one observation of each cell; covariates of a scene are contexts, one-hot, and the step last.

    Parameters
    ----------
    informed
        Whether the encoder of z_ν is told what was done and when.
    transition
        ``deviation`` or ``weight-variant``.
    steps
        T, the largest number of steps.
    rank, gates
        Of `EditTables`.
    mechanism_width
        Of `MechanismNetwork`.
    """

    def __init__(
        self,
        scene: Scene,
        shape: Shape,
        lens: Lens,
        terms: Terms,
        *,
        informed: bool,
        transition: str,
        steps: int,
        rank: int,
        gates: bool,
        mechanism_width: int,
    ) -> None:
        n_told = scene.n_targets + scene.n_covariates
        super().__init__(shape, lens, n_told if informed else 0, scene.kind, scene.mean, scene.variance)
        d, e = shape.responsive, shape.invariant
        self.terms, self.informed, self.steps, self.heat = terms, informed, steps, 1.0
        self.told, self.covariates = scene.told, scene.covariates
        self.perturbed = scene.told.any(dim=1)
        n_contexts = scene.n_covariates - 1
        self.by_context = nn.Parameter(torch.zeros(n_contexts, e))
        self.mean, self.log_variance = nn.Parameter(torch.zeros(d)), nn.Parameter(torch.zeros(d))
        self.inputs = nn.Parameter(torch.zeros(d, e))
        # What depends on z_ι in the reference state does so through its own weights.
        self.mixed_in.requires_grad_(False)
        self.lagged, self.instant = nn.Parameter(0.5 * torch.eye(d)), nn.Parameter(torch.zeros(d, d))
        self.deviates = transition == "deviation"
        if self.deviates:
            self.edits = EditTables(scene.n_targets, d, e, rank=rank, gates=gates)
        else:
            self.weights = MechanismNetwork(scene.n_targets + n_contexts, d, e, width=mechanism_width)
            # One step after a start that nothing is known of needs no memory: the static model.
            self.memory = nn.Linear(scene.n_targets + n_contexts, d * d) if steps > 1 else None

    def at_epoch(self, epoch: int, epochs: int) -> None:
        self.heat = self.terms.heat(epoch, epochs)
        if self.deviates:
            self.edits.settling = epoch < self.terms.settle * epochs

    def mechanisms_of(self) -> list[nn.Parameter]:
        """Parameters that are learned faster: basis, reference state, tables and graph."""
        own = [self.mean, self.log_variance, self.inputs, self.by_context]
        return [*super().mechanisms_of(), *own, *((*self.edits.parameters(), self.lagged, self.instant) if self.deviates else ())]

    def laws(self, told: torch.Tensor, covariates: torch.Tensor) -> AffineLaw:
        """p(z_ν | z_ι) of m environments."""
        step, reference = covariates[:, -1], self.reference()
        if self.deviates:
            return deviation_laws(self.lagged, torch.tril(self.instant, -1), reference, self.edits(told), step)
        u = torch.cat([told, covariates[:, :-1]], dim=1)
        lagged = None if self.memory is None else self.memory(u).view(len(u), *self.lagged.shape)
        # Control cells are in the reference state, whatever the networks say of no target.
        return weight_variant_laws(self.weights(u), lagged, reference, torch.where(told.any(dim=1), step, 0.0))

    def reference(self) -> AffineLaw:
        """p(z_ν | z_ι) of control cells: independent coordinates given z_ι."""
        variance = torch.exp(self.log_variance.clamp(-6, 6))
        return AffineLaw(self.mean[None], self.inputs[None], torch.diag(variance)[None])

    def told_of(self, told: torch.Tensor, covariates: torch.Tensor) -> torch.Tensor | None:
        """What the encoder of z_ν is told: targets, contexts and the share of all steps."""
        if not self.informed:
            return None
        return torch.cat([told, covariates[:, :-1], covariates[:, -1:] / max(self.steps, 1)], dim=1)

    def loss(self, batch: Batch) -> torch.Tensor:
        """(−ELBO with weights β + penalties) / number of features + α alignment, a mean over cells."""
        told, covariates = self.told[batch.codes], self.covariates[batch.codes]
        features = self.lens.features(batch.cells)
        raw, invariant = self.raw_codes(features, self.told_of(told, covariates))
        z_invariant, e = draw(*invariant), draw(*raw)
        distinct, environment = batch.codes.unique(return_inverse=True)
        prior = self.laws(self.told[distinct], self.covariates[distinct]).given(z_invariant, environment)
        nats = -self.log_likelihood(e, z_invariant, features, batch, batch.depth).mean()
        turned = prior.divergence(self.turned(raw[0], z_invariant), raw[1], self.basis if self.shape.basis else None)
        nats = nats + self.heat * self.terms.responsive * turned.mean()
        expected = covariates[:, :-1] @ self.by_context if self.by_context.numel() else 0.0
        nats = nats + self.heat * self.terms.invariant * gaussian_divergence(*invariant, expected).mean()
        nats = nats + self.heat * self.penalty()
        loss = nats / batch.cells.shape[1] if self.kind == "counts" else nats / self.lens.width
        if self.terms.kind != "none" and batch.controls is not None:
            own = torch.nonzero(self.perturbed[batch.codes])[:, 0]
            control = self.raw_codes(self.lens.features(batch.controls[own]), self.told_of(told[own], covariates[own]))[1][0]
            loss = loss + self.terms.alignment * alignment(self.terms.kind, batch.codes[own], invariant[0][own], control)
        return loss

    def penalty(self) -> torch.Tensor:
        """Open gates with the sizes of their edits, and effects of responsive variables on each other."""
        if not self.deviates:
            return self.mean.new_zeros(())
        total = self.terms.graph * self.effects().sum()
        if not self.edits.gated:
            return total
        sizes = self.edits.sizes(self.scale())
        counted = sizes if self.edits.settling else self.edits.probability * (1 + sizes)
        return total + self.terms.sparsity * counted.sum()

    def scale(self) -> torch.Tensor:
        """(d,) standard deviations of the reference state given the invariant variables."""
        return torch.exp(0.5 * self.log_variance.clamp(-6, 6))

    def sizes(self) -> torch.Tensor:
        """(k, d) how strongly a target acts on a variable; of networks, how far weights, inputs, shift and noise of it change."""
        if self.deviates:
            return self.edits.probability * self.edits.sizes(self.scale())
        own, none = self.weights(self.singles), self.weights(0 * self.singles[:1])
        parts = [(own.weights - none.weights).norm(dim=2), (own.inputs - none.inputs).norm(dim=2)]
        return parts[0] + parts[1] + (own.shift - none.shift).abs() / self.scale() + (own.log_noise - none.log_noise).abs()

    @property
    def singles(self) -> torch.Tensor:
        """(k, k + c) what the networks are told of each target alone, in the first context."""
        n_targets, n_contexts = self.told.shape[1], self.covariates.shape[1] - 1
        u = torch.eye(n_targets, n_targets + n_contexts, device=self.told.device)
        u[:, n_targets : n_targets + 1] = 1.0
        return u

    def incoming(self, told: torch.Tensor, covariates: torch.Tensor) -> torch.Tensor:
        """(m, d) norm of the instantaneous weights into each variable, in m environments; none act in the reference state."""
        acts = told.any(dim=1)[:, None]
        if self.deviates:
            return acts * torch.tril(self.instant, -1).norm(dim=1)
        return acts * self.weights(torch.cat([told, covariates[:, :-1]], dim=1)).weights.norm(dim=2)

    def effects(self, past: torch.Tensor | None = None) -> torch.Tensor:
        """(2, d, d) lagged effects without those of a variable on itself, and instantaneous ones, in units of the variables.

        Of networks, the mean over targets.
        """
        lagged, instant = self.lagged, torch.tril(self.instant, -1)
        if not self.deviates:
            instant = self.weights(self.singles).weights.abs().mean(dim=0)
            lagged = (
                torch.zeros_like(instant)
                if self.memory is None
                else self.memory(self.singles).view(-1, *instant.shape).abs().mean(dim=0)
            )
        both = torch.stack([lagged - torch.diag(lagged.diagonal()), instant]).abs()
        return both * self.scale() / self.scale()[:, None]

    def imagine(self, cells: torch.Tensor, depth: torch.Tensor, told: torch.Tensor, covariates: torch.Tensor) -> Expression:
        """z_ι from control cells, z_ν from its law, decoded."""
        both = torch.cat([told, covariates], dim=1)
        distinct, environment = both.unique(dim=0, return_inverse=True)
        invariant = draw(*self.raw_codes(self.lens.features(cells), self.told_of(0 * told, covariates * 0))[1])
        law = self.laws(distinct[:, : told.shape[1]], distinct[:, told.shape[1] :])
        responsive = law.given(invariant, environment).sample()
        return self.expression(self.turned_back(responsive, invariant), invariant, depth if self.kind == "counts" else None)

    def latents(self, cells: torch.Tensor, told: torch.Tensor, covariates: torch.Tensor) -> dict[str, torch.Tensor]:
        """Posterior means of z_ν and z_ι."""
        raw, invariant = self.raw_codes(self.lens.features(cells), self.told_of(told, covariates))
        return {"responsive": self.turned(raw[0], invariant[0]), "invariant": invariant[0]}
