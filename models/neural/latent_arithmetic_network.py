"""The variational auto-encoder of scGen: it is told nothing but the cell."""

from __future__ import annotations

import torch
from torch import nn

from .cell_batches import Batch
from .expression import Expression, ExpressionHead
from .generation import Scene
from .layers import draw, gaussian_divergence, perceptron


class LatentArithmeticNetwork(nn.Module):
    """Encoder to the mean and log variance of z, decoder to the mean of expression.

    The squared error is weighed against the divergence as if each gene had variance 1; the variance of each gene around its
    decoded mean is learned beside, for the cells that are generated, and moves nothing else.
    """

    def __init__(self, scene: Scene, *, width: int, hidden: int, latent: int, dropout: float, kl_weight: float) -> None:
        super().__init__()
        self.kl_weight = kl_weight
        sizes = {"hidden": hidden - 1, "dropout": dropout, "norm": "batch", "activation": "leaky"}
        self.encoder = nn.Sequential(
            perceptron(scene.n_genes, width, width, **sizes), nn.BatchNorm1d(width), nn.LeakyReLU(0.2), nn.Dropout(dropout)
        )
        self.mean = nn.Linear(width, latent)
        self.log_variance = nn.Linear(width, latent)
        self.decoder = nn.Sequential(
            perceptron(latent, width, width, **sizes), nn.BatchNorm1d(width), nn.LeakyReLU(0.2), nn.Dropout(dropout)
        )
        self.head = ExpressionHead(width, scene.n_genes, "normal")
        self.head.start_at(scene.mean, scene.variance)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Mean over cells of half the squared error, the divergence, and the fit of the variances."""
        hidden = self.encoder(batch.cells)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden).clamp(-10, 10)
        expression = self.head(self.decoder(draw(mean, log_variance)))
        error = 0.5 * ((batch.cells - expression.mean) ** 2).sum(dim=1)
        beside = Expression(expression.mean.detach(), expression.spread).log_likelihood(batch)
        return (error + self.kl_weight * gaussian_divergence(mean, log_variance) - beside).mean()

    def encode(self, cells: torch.Tensor) -> torch.Tensor:
        return self.mean(self.encoder(cells))

    def decode(self, latent: torch.Tensor) -> Expression:
        return self.head(self.decoder(latent))

    def latents(self, cells: torch.Tensor, told: torch.Tensor, covariates: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"latent": self.encode(cells)}
