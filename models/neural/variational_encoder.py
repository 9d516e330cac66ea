"""Variational autoencoders that are used for their codes: with a standard normal prior, or one that follows from labels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from .layers import draw, gaussian_divergence, perceptron

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Rows:
    """b cells: features (b, p), and what is told of each (b, k)."""

    x: torch.Tensor
    told: torch.Tensor

    def __len__(self) -> int:
        return len(self.x)


class RowBatches:
    """Batches of cells in a new random order each epoch; a rest of one cell is left out.

    Parameters
    ----------
    x, told
        (n, p) features and (n, k) labels, float32.
    """

    def __init__(self, x: Array, told: Array, batch_size: int, device: Any = "cpu") -> None:
        self.x, self.told = (torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in (x, told))
        self.batch_size = batch_size

    def epoch(self, rng: np.random.Generator) -> Iterator[Rows]:
        """All cells once."""
        order = torch.from_numpy(rng.permutation(len(self.x))).to(self.x.device)
        for chosen in order.split(self.batch_size):
            if len(chosen) > 1:
                yield Rows(self.x[chosen], self.told[chosen])


class NormalPrior(nn.Module):
    """N(0, I), whatever is told."""

    def forward(self, told: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
        """(n,) divergence of N(mean, exp(log_variance)) from the prior."""
        return gaussian_divergence(mean, log_variance)


class ConditionalPrior(nn.Module):
    """p(z | u), normal with independent coordinates whose means and variances are networks of u.

    Parameters
    ----------
    n_told
        Size of u.
    means
        Whether means depend on u; else they are zero.
    """

    def __init__(self, n_told: int, latent: int, *, width: int, hidden: int, means: bool = True) -> None:
        super().__init__()
        self.network = perceptron(n_told, width, 2 * latent, hidden=hidden, norm="none", activation="leaky")
        self.means = means

    def moments(self, told: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, d) mean and log variance."""
        mean, log_variance = self.network(told).chunk(2, dim=1)
        return mean if self.means else torch.zeros_like(mean), log_variance.clamp(-10, 10)

    def forward(self, told: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
        """(n,) divergence of N(mean, exp(log_variance)) from the prior: that from N(0, I) once the prior is standardised."""
        centre, log_spread = self.moments(told)
        return gaussian_divergence((mean - centre) * torch.exp(-0.5 * log_spread), log_variance - log_spread)


class VariationalNetwork(nn.Module):
    """q(z | x, u), a prior and p(x | z), which is normal with a learned variance for each feature.

    Parameters
    ----------
    n_features, n_told, latent
        Sizes of x, of what the encoder is told beside it, and of z.
    width, hidden
        Units and number of hidden layers of encoder and decoder.
    prior
        Gives the divergence from what is told and the posterior's moments.
    beta
        Weight of the divergence.
    told
        Whether the encoder sees u.
    """

    def __init__(
        self,
        n_features: int,
        n_told: int,
        latent: int,
        *,
        width: int,
        hidden: int,
        prior: nn.Module,
        beta: float = 1.0,
        told: bool = False,
    ) -> None:
        super().__init__()
        n_in = n_features + (n_told if told else 0)
        self.encoder = perceptron(n_in, width, 2 * latent, hidden=hidden, norm="none", activation="leaky")
        self.decoder = perceptron(latent, width, n_features, hidden=hidden, norm="none", activation="leaky")
        self.log_noise = nn.Parameter(torch.zeros(n_features))
        self.prior, self.beta, self.told = prior, beta, told

    def encode(self, x: torch.Tensor, told: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, d) mean and log variance of q."""
        mean, log_variance = self.encoder(torch.cat([x, told], dim=1) if self.told else x).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 10)

    def log_likelihood(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """(n,) log density of x given z."""
        log_noise = self.log_noise.clamp(-10, 10)
        return -0.5 * ((x - self.decoder(z)) ** 2 * torch.exp(-log_noise) + log_noise + math.log(2 * math.pi)).sum(dim=1)

    def loss(self, rows: Rows) -> torch.Tensor:
        """Mean over cells of − log p(x | z) + β KL(q(z | x, u) ‖ p(z | u)), with one draw of z."""
        mean, log_variance = self.encode(rows.x, rows.told)
        divergence = self.prior(rows.told, mean, log_variance)
        return (self.beta * divergence - self.log_likelihood(rows.x, draw(mean, log_variance))).mean()
