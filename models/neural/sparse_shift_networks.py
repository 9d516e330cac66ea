"""Autoencoders in whose latent space each target shifts a few coordinates, which ones being learned: SAMS-VAE and sVAE+."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from .cell_batches import Batch
from .expression import Expression, ExpressionHead
from .generation import Scene
from .layers import draw, gaussian_divergence, perceptron

Array = np.ndarray[Any, Any]


def relaxed_bernoulli(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Draws of 0 or 1 with P(1) = σ(logits), through which gradients flow as through the relaxed draw.

    y = σ((logits + log u − log(1 − u)) / temperature) with u uniform; the value is 1 where y > ½, the derivative is that of y
    (Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017, the straight-through form).
    """
    u = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
    soft = torch.sigmoid((logits + torch.log(u) - torch.log1p(-u)) / temperature)
    return (soft > 0.5).to(soft.dtype) + soft - soft.detach()


def bernoulli_divergence(logits: torch.Tensor, prior: float) -> torch.Tensor:
    """Kullback-Leibler divergence of Bernoulli(σ(logits)) from Bernoulli(prior), element by element."""
    p = torch.sigmoid(logits)
    inside = nn.functional.logsigmoid(logits) - math.log(prior)
    outside = nn.functional.logsigmoid(-logits) - math.log1p(-prior)
    return p * inside + (1 - p) * outside


def beta_log_density(logits: torch.Tensor, penalty: float) -> torch.Tensor:
    """Log density of Beta(1, penalty) at σ(logits), element by element: log K + (K − 1) log(1 − p)."""
    return math.log(penalty) + (penalty - 1) * nn.functional.logsigmoid(-logits)


class SparseShiftNetwork(nn.Module):
    """Encoder, decoder and, for each target, inclusion logits and effects on the latents; base of the two models.

    Doses are divided by the largest absolute dose of the target in training, so that an effect is that of the strongest dose
    and a shift is linear in the dose.

    Parameters
    ----------
    moments
        (G,) mean and standard deviation of the cells on the scale of the profiles, by which the encoder's input is standardised.
    n_told
        Further inputs of the encoder.
    logit
        Of inclusion, at first.
    warmup
        Epochs over which the weight of divergences rises to 1.
    """

    told: torch.Tensor
    covariates: torch.Tensor
    unit: torch.Tensor
    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        scene: Scene,
        moments: tuple[Array, Array],
        *,
        width: int,
        hidden: int,
        decoder_width: int,
        decoder_hidden: int,
        latent: int,
        n_told: int,
        temperature: float,
        logit: float,
        warmup: int,
    ) -> None:
        super().__init__()
        self.temperature, self.warmup, self.n_cells, self.weight = temperature, warmup, scene.n_cells, 1.0
        self.register_buffer("told", scene.told, persistent=False)
        self.register_buffer("covariates", scene.covariates, persistent=False)
        strongest = scene.told.abs().amax(dim=0)
        self.register_buffer("unit", torch.where(strongest > 0, strongest, torch.ones_like(strongest)))
        for name, value in zip(("centre", "scale"), moments, strict=True):
            self.register_buffer(name, torch.as_tensor(np.asarray(value), dtype=torch.float32))
        self.encoder = perceptron(scene.n_genes + n_told, width, 2 * latent, hidden=hidden)
        # Without its last linear layer, which the head is.
        self.trunk = perceptron(latent + scene.n_covariates, decoder_width, decoder_width, hidden=decoder_hidden, norm="none")[
            :-1
        ]
        self.head = ExpressionHead(decoder_width if decoder_hidden else latent + scene.n_covariates, scene.n_genes, scene.kind)
        self.head.start_at(scene.mean, scene.variance)
        shape = (scene.n_targets, latent)
        self.inclusion = nn.Parameter(torch.full(shape, float(logit)))
        self.effect = nn.Parameter(0.1 * torch.randn(shape))

    def at_epoch(self, epoch: int, epochs: int) -> None:
        self.weight = min(1.0, (epoch + 1) / self.warmup) if self.warmup else 1.0

    def tables(self) -> list[nn.Parameter]:
        """Parameters with a row for each target."""
        return [self.inclusion, self.effect]

    def encode(self, cells: torch.Tensor, *told: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, d) mean and log variance of the approximate posterior."""
        mean, log_variance = self.encoder(torch.cat([(cells - self.centre) / self.scale, *told], dim=1)).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 10)

    def decode(self, latent: torch.Tensor, covariates: torch.Tensor, depth: torch.Tensor | None) -> Expression:
        return self.head(self.trunk(torch.cat([latent, covariates], dim=1)), depth)

    def expected_shift(self, told: torch.Tensor) -> torch.Tensor:
        """(n, d) mean shift of conditions: the sum over targets of relative dose · P(inclusion) · effect."""
        return (told / self.unit) @ (torch.sigmoid(self.inclusion) * self.effect)


class AdditiveShiftNetwork(SparseShiftNetwork):
    """SAMS-VAE: z = z_basal + Σ_g d_g (E_g ⊙ M_g).

    E ~ N(0, 1), M ~ Bernoulli(prior), z_basal ~ N(0, I). The guide is a relaxed Bernoulli for M, a normal for E, and
    q(z_basal | x, shift, covariates). With the correlated guide q(E | M), E has its own normal where M = 1 and the prior where
    M = 0. There the likelihood does not see E, so that the prior is the best guide, and the divergence of E counts as often
    as M is 1.

    Parameters
    ----------
    prior
        P(M = 1).
    correlated
        Whether E is conditional on M.
    particles
        Draws of all latents over which the bound is averaged in a step.
    """

    of_controls: torch.Tensor

    def __init__(
        self, scene: Scene, moments: tuple[Array, Array], *, prior: float, correlated: bool, particles: int, **sizes: Any
    ) -> None:
        super().__init__(scene, moments, n_told=sizes["latent"] + scene.n_covariates, **sizes)
        self.prior, self.correlated, self.particles = prior, correlated, particles
        self.effect_spread = nn.Parameter(torch.full_like(self.effect, -4.0))
        # Control cells have a context and no time: the covariates that the encoder may read from them.
        controls = scene.covariates[(scene.told == 0).all(dim=1)]
        of_controls = controls.amax(dim=0) if len(controls) else torch.ones(scene.n_covariates)
        self.register_buffer("of_controls", of_controls.to(scene.covariates))

    def tables(self) -> list[nn.Parameter]:
        return [*super().tables(), self.effect_spread]

    def global_divergence(self) -> torch.Tensor:
        """Divergence of the guides of all M and E from their priors, in nats."""
        of_effect = 0.5 * (self.effect_spread.exp() + self.effect**2 - 1 - self.effect_spread)
        if self.correlated:
            of_effect = torch.sigmoid(self.inclusion) * of_effect
        return (of_effect + bernoulli_divergence(self.inclusion, self.prior)).sum()

    def loss(self, batch: Batch) -> torch.Tensor:
        """Negative evidence lower bound for each cell, the global divergence shared by all training cells.

        Only the global divergence is warmed up. A basal state that costs little at first learns the perturbations, and leaves
        nothing to the shifts.
        """
        told, covariates = self.told[batch.codes] / self.unit, self.covariates[batch.codes]
        total = torch.zeros((), device=told.device)
        for _ in range(self.particles):
            shift = told @ (relaxed_bernoulli(self.inclusion, self.temperature) * draw(self.effect, self.effect_spread))
            mean, log_variance = self.encode(batch.cells, shift, covariates)
            expression = self.decode(draw(mean, log_variance) + shift, covariates, batch.depth)
            divergence = gaussian_divergence(mean, log_variance)
            total = total + (divergence - expression.log_likelihood(batch)).mean()
        return total / self.particles + self.weight * self.global_divergence() / self.n_cells

    def imagine(self, cells: torch.Tensor, depth: torch.Tensor, told: torch.Tensor, covariates: torch.Tensor) -> Expression:
        """Decode the basal states of control cells plus the expected shift."""
        shift = self.expected_shift(told)
        basal = draw(*self.encode(cells, torch.zeros_like(shift), covariates * self.of_controls))
        return self.decode(basal + shift, covariates, depth)

    def latents(self, cells: torch.Tensor, told: torch.Tensor, covariates: torch.Tensor) -> dict[str, torch.Tensor]:
        """``invariant``: basal states; ``responsive``: with the expected shift of their own condition added."""
        shift = self.expected_shift(told)
        basal = self.encode(cells, shift, covariates)[0]
        return {"invariant": basal, "responsive": basal + shift}


class MechanismShiftNetwork(SparseShiftNetwork):
    """sVAE+: p(z | a) = N(mask_a ⊙ μ_a, I), with the mean of a combination the sum over its targets.

    q(z | x) does not see the condition. Each cell draws the masks of its own targets; their probabilities have the prior
    Beta(1, penalty), of which the posterior mode is sought.

    Parameters
    ----------
    penalty
        K of the prior; 1 is the uniform distribution.
    """

    def __init__(self, scene: Scene, moments: tuple[Array, Array], *, penalty: float, **sizes: Any) -> None:
        super().__init__(scene, moments, n_told=0, **sizes)
        self.penalty = penalty

    def drawn_shift(self, told: torch.Tensor) -> torch.Tensor:
        """(n, d) prior means with masks drawn for each cell and each of its targets."""
        cell, target = torch.nonzero(told, as_tuple=True)
        mask = relaxed_bernoulli(self.inclusion[target], self.temperature)
        parts = (told / self.unit)[cell, target, None] * mask * self.effect[target]
        return torch.zeros(len(told), self.effect.shape[1], device=told.device).index_add(0, cell, parts)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Negative evidence lower bound for each cell and the log prior of the masks shared by all training cells."""
        mean, log_variance = self.encode(batch.cells)
        expression = self.decode(draw(mean, log_variance), self.covariates[batch.codes], batch.depth)
        divergence = gaussian_divergence(mean, log_variance, self.drawn_shift(self.told[batch.codes]))
        local = (self.weight * divergence - expression.log_likelihood(batch)).mean()
        return local - self.weight * beta_log_density(self.inclusion, self.penalty).sum() / self.n_cells

    def imagine(self, cells: torch.Tensor, depth: torch.Tensor, told: torch.Tensor, covariates: torch.Tensor) -> Expression:
        """Decode draws of the prior of the condition; of the control cells only their totals are used."""
        shift = self.expected_shift(told)
        return self.decode(shift + torch.randn_like(shift), covariates, depth)

    def latents(self, cells: torch.Tensor, told: torch.Tensor, covariates: torch.Tensor) -> dict[str, torch.Tensor]:
        """``latent``: what the encoder makes of cells; ``perturbation``: the prior mean of their own condition."""
        return {"latent": self.encode(cells)[0], "perturbation": self.expected_shift(told)}
