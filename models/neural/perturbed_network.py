"""The network of PerturbedVAE: a part of the latent space that perturbations move, and one that they must leave alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from .cell_batches import Batch
from .expression import Expression, ExpressionHead
from .generation import Scene
from .layers import draw, gaussian_divergence, perceptron
from .linear_gaussian import Mechanisms


class MechanismNetwork(nn.Module):
    """Λ(u), D(u), μ(u) and log β(u) of `Mechanisms`, each a network of what was done.

    Parameters
    ----------
    n_told
        Size of u.
    latent, outside
        d and e of `Mechanisms`.
    width
        Units of the hidden layer of each network; with 0 they are linear in u.
    """

    position: torch.Tensor

    def __init__(self, n_told: int, latent: int, outside: int, *, width: int) -> None:
        super().__init__()
        self.latent, self.outside = latent, outside
        row, column = torch.tril_indices(latent, latent, -1)
        self.register_buffer("position", row * latent + column, persistent=False)
        sizes = {"weights": len(row), "inputs": latent * outside, "shift": latent, "log_noise": latent}
        self.parts = nn.ModuleDict(
            {name: perceptron(n_told, width, n, hidden=1 if width else 0, norm="none") for name, n in sizes.items()}
        )
        # At first z_ν | z_ι, u is close to N(small, I), whatever u is.
        with torch.no_grad():
            for part in self.parts.values():
                last = part[-1]  # type: ignore[index]
                last.weight.mul_(0.1)
                last.bias.zero_()

    def forward(self, told: torch.Tensor) -> Mechanisms:
        """Mechanisms of m environments, told (m, n_told)."""
        m, d = len(told), self.latent
        flat = told.new_zeros(m, d * d).index_copy(1, self.position, self.parts["weights"](told))
        return Mechanisms(
            weights=flat.view(m, d, d),
            inputs=self.parts["inputs"](told).view(m, d, self.outside),
            shift=self.parts["shift"](told),
            log_noise=self.parts["log_noise"](told).clamp(-8, 8),
        )


@dataclass(frozen=True)
class PerturbedWeights:
    """What the terms of the loss weigh.

    Parameters
    ----------
    variant, invariant
        β_ν and β_ι of the two divergences.
    alignment
        α.
    kind
        ``random_pairs``, ``centroid`` or ``none``.
    reconstruction
        ``error`` or ``likelihood``.
    warmup
        Share of the epochs in which the divergences' weights rise from zero.
    """

    variant: float
    invariant: float
    alignment: float
    kind: str
    reconstruction: str
    warmup: float


def random_pairs(perturbed: torch.Tensor, control: torch.Tensor) -> torch.Tensor:
    """Mean over cells of |a − b|² for rows a of perturbed and b of control (n, d).

    Its expectation is |difference of the means|² + tr Cov(a) + tr Cov(b): it shrinks the spread of both, too.
    """
    return ((perturbed - control) ** 2).sum(dim=1).mean()


def centroid_gap(perturbed: torch.Tensor, control: torch.Tensor) -> torch.Tensor:
    """Unbiased estimate of |difference of the means|² from rows (n, d) and (m, d), n and m at least 2.

    The squared gap of the sample means exceeds that of the means by tr Cov(a)/n + tr Cov(b)/m on average, which is taken off; so
    the estimate can be negative.
    """
    gap = ((perturbed.mean(dim=0) - control.mean(dim=0)) ** 2).sum()
    return gap - perturbed.var(dim=0).sum() / len(perturbed) - control.var(dim=0).sum() / len(control)


class PerturbedNetwork(nn.Module):
    """q(z_ι | x), q(z_ν | x, u), p(z_ν | z_ι, u), p(x | z_ν, z_ι).

    Parameters
    ----------
    scene
        Sizes, and u of each condition: its targets, then contexts and times where there are several.
    variant, invariant
        d_ν and d_ι.
    width, hidden
        Units and number of hidden layers of trunk and decoder.
    mechanism_width
        Of `MechanismNetwork`.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        variant: int,
        invariant: int,
        width: int,
        hidden: int,
        mechanism_width: int,
        weights: PerturbedWeights,
    ) -> None:
        super().__init__()
        n_told = scene.n_targets + scene.n_covariates
        self.trunk = nn.Sequential(perceptron(scene.n_genes, width, width, hidden=hidden - 1), nn.LayerNorm(width), nn.ReLU())
        self.to_invariant = nn.Linear(width, 2 * invariant)
        self.to_variant = perceptron(width + n_told, width, 2 * variant, hidden=1)
        self.mechanisms = MechanismNetwork(n_told, variant, invariant, width=mechanism_width)
        self.decoder = nn.Sequential(
            perceptron(variant + invariant, width, width, hidden=hidden - 1), nn.LayerNorm(width), nn.ReLU()
        )
        self.head = ExpressionHead(width, scene.n_genes, scene.kind)
        self.head.start_at(scene.mean, scene.variance)
        self.u = torch.cat([scene.told, scene.covariates], dim=1)
        self.perturbed = scene.told.any(dim=1)
        self.weights, self.heat = weights, 1.0

    def at_epoch(self, epoch: int, epochs: int) -> None:
        """Set the share of the divergences' weights that counts in an epoch."""
        rise = self.weights.warmup * epochs
        self.heat = min(1.0, epoch / rise) if rise else 1.0

    def encoded(self, cells: torch.Tensor, u: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
        """Mean and log variance of q(z_ν | x, u), (n, d_ν) each, and of q(z_ι | x), (n, d_ι) each."""
        h = self.trunk(cells)
        variant = self.to_variant(torch.cat([h, u], dim=1)).chunk(2, dim=1)
        invariant = self.to_invariant(h).chunk(2, dim=1)
        return (variant[0], variant[1].clamp(-10, 10)), (invariant[0], invariant[1].clamp(-10, 10))

    def decoded(self, variant: torch.Tensor, invariant: torch.Tensor, depth: torch.Tensor | None) -> Expression:
        """Expression of latents; u is not looked at."""
        return self.head(self.decoder(torch.cat([variant, invariant], dim=1)), depth)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Reconstruction + β_ν KL(q(z_ν) ‖ p(z_ν | z_ι, u)) + β_ι KL(q(z_ι) ‖ N(0, I)) + α alignment, a mean over cells."""
        variant, invariant = self.encoded(batch.cells, self.u[batch.codes])
        z_invariant = draw(*invariant)
        # What the mechanisms are is worked out once for each condition of the batch.
        distinct, environment = batch.codes.unique(return_inverse=True)
        prior = self.mechanisms(self.u[distinct]).given(z_invariant, environment)
        expression = self.decoded(draw(*variant), z_invariant, batch.depth)
        loss = self.reconstruction(expression, batch)
        loss = loss + self.heat * self.weights.variant * prior.divergence(*variant).mean()
        loss = loss + self.heat * self.weights.invariant * gaussian_divergence(*invariant).mean()
        if self.weights.kind != "none":
            loss = loss + self.weights.alignment * self.alignment(invariant[0], batch)
        return loss

    def reconstruction(self, expression: Expression, batch: Batch) -> torch.Tensor:
        """Mean over cells and genes of the squared error, or of minus the log likelihood."""
        if self.weights.reconstruction == "likelihood":
            return -expression.log_likelihood(batch).mean() / batch.cells.shape[1]
        # The variance of each gene is fitted beside it: its gradient reaches nothing but itself.
        fixed = Expression(expression.mean.detach(), expression.spread)
        fitted = -fixed.log_likelihood(batch).mean() / batch.cells.shape[1]
        return ((batch.cells - expression.mean) ** 2).mean() + fitted

    def alignment(self, invariant: torch.Tensor, batch: Batch) -> torch.Tensor:
        """How far posterior means of z_ι (n, d_ι) of perturbed cells are from those of control cells, a mean over perturbed cells."""
        assert batch.controls is not None
        own = torch.nonzero(self.perturbed[batch.codes])[:, 0]
        if not len(own):
            return invariant.new_zeros(())
        control = self.to_invariant(self.trunk(batch.controls[own])).chunk(2, dim=1)[0]
        cells, codes = invariant[own], batch.codes[own]
        if self.weights.kind == "random_pairs":
            return random_pairs(cells, control)
        total = invariant.new_zeros(())
        for code in codes.unique():
            rows = torch.nonzero(codes == code)[:, 0]
            if len(rows) > 1:
                total = total + len(rows) / len(own) * centroid_gap(cells[rows], control[rows])
        # Never below zero, or training would be paid for spread: pieces are drawn without replacement from finitely many cells, so
        # that what is taken off for chance is a little too much.
        return total.clamp(min=0)

    def imagine(self, cells: torch.Tensor, depth: torch.Tensor, told: torch.Tensor, covariates: torch.Tensor) -> Expression:
        """z_ι from control cells, z_ν from its prior at u, decoded."""
        distinct, environment = torch.cat([told, covariates], dim=1).unique(dim=0, return_inverse=True)
        mean, log_variance = self.to_invariant(self.trunk(cells)).chunk(2, dim=1)
        invariant = draw(mean, log_variance.clamp(-10, 10))
        variant = self.mechanisms(distinct).given(invariant, environment).sample()
        return self.decoded(variant, invariant, depth if self.head.kind == "counts" else None)

    def latents(self, cells: torch.Tensor, told: torch.Tensor, covariates: torch.Tensor) -> dict[str, torch.Tensor]:
        """Posterior means: ``responsive`` of z_ν and ``invariant`` of z_ι."""
        variant, invariant = self.encoded(cells, torch.cat([told, covariates], dim=1))
        return {"responsive": variant[0], "invariant": invariant[0]}
