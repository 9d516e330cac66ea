"""The networks of PerturBench's three references: linear-additive, latent-additive, decoder-only."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from .layers import perceptron


class ExpressionRegression(nn.Module, ABC):
    """Base: what a network computes is made positive where the screen is, by softplus.

    `positive` is set by who trains the network.
    """

    positive = True

    def forward(self, controls: torch.Tensor, told: torch.Tensor, covariates: torch.Tensor) -> torch.Tensor:
        out = self.value(controls, torch.cat([told, covariates], dim=1))
        return nn.functional.softplus(out) if self.positive else out

    @abstractmethod
    def value(self, controls: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """(b, G), of any sign."""


class LinearAdditiveNetwork(ExpressionRegression):
    """x + W u, with W zero at first."""

    def __init__(self, n_genes: int, n_told: int) -> None:
        super().__init__()
        self.effect = nn.Linear(n_told, n_genes)
        nn.init.zeros_(self.effect.weight)
        nn.init.zeros_(self.effect.bias)

    def value(self, controls: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        return controls + self.effect(told)


class LatentAdditiveNetwork(ExpressionRegression):
    """Dec(Enc_x(x) + Enc_p(u))."""

    def __init__(self, n_genes: int, n_told: int, *, width: int, latent: int, hidden: int, dropout: float) -> None:
        super().__init__()
        sizes = {"hidden": hidden, "dropout": dropout}
        self.cell = perceptron(n_genes, width, latent, **sizes)
        self.perturbation = perceptron(n_told, width, latent, **sizes)
        self.decoder = perceptron(latent, width, n_genes, **sizes)

    def value(self, controls: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.cell(controls) + self.perturbation(told))


class DecoderOnlyNetwork(ExpressionRegression):
    """Dec(u): the control cell is not looked at."""

    def __init__(self, n_genes: int, n_told: int, *, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.decoder = perceptron(n_told, width, n_genes, hidden=hidden, dropout=dropout)

    def value(self, controls: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        return self.decoder(told)
