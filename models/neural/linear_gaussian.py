"""Linear-Gaussian causal models of latent variables whose weights depend on what was done to a cell."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Mechanisms:
    """z = Λ z + D y + μ + n, n ~ N(0, diag β), for m environments; variables in causal order.

    Parameters
    ----------
    weights
        (m, d, d) Λ, strictly lower triangular: from the variable of the column to that of the row.
    inputs
        (m, d, e) D, weights of what comes from outside, y.
    shift
        (m, d) μ.
    log_noise
        (m, d) log β.
    """

    weights: torch.Tensor
    inputs: torch.Tensor
    shift: torch.Tensor
    log_noise: torch.Tensor

    def given(self, outside: torch.Tensor, environment: torch.Tensor) -> LinearGaussian:
        """The distribution of the variables of n cells.

        Parameters
        ----------
        outside
            (n, e) y of each cell.
        environment
            (n,) int64 environment of each cell.
        """
        offset = self.shift[environment] + torch.einsum("nde,ne->nd", self.inputs[environment], outside)
        return LinearGaussian(offset, self.weights, self.log_noise, environment)


@dataclass(frozen=True)
class LinearGaussian:
    """N(A⁻¹ o, A⁻¹ diag β A⁻ᵀ) for n cells, A = I − Λ unit lower triangular, never inverted.

    Parameters
    ----------
    offset
        (n, d) o, what each equation adds to its variable from outside.
    weights, log_noise
        (m, d, d) Λ and (m, d) log β of the environments.
    environment
        (n,) int64 environment of each cell.
    """

    offset: torch.Tensor
    weights: torch.Tensor
    log_noise: torch.Tensor
    environment: torch.Tensor

    def _solved(self, right: torch.Tensor) -> torch.Tensor:
        """(n, d) A⁻¹ b of each row b."""
        lower = (torch.eye(right.shape[1], device=right.device, dtype=right.dtype) - self.weights)[self.environment]
        return torch.linalg.solve_triangular(lower, right[:, :, None], upper=False, unitriangular=True)[:, :, 0]

    def _noise(self, z: torch.Tensor) -> torch.Tensor:
        """(n, d) n = A z − o, what the equations leave unexplained."""
        return z - torch.einsum("nij,nj->ni", self.weights[self.environment], z) - self.offset

    def mean(self) -> torch.Tensor:
        """(n, d)."""
        return self._solved(self.offset)

    def covariance(self) -> torch.Tensor:
        """(m, d, d) covariance of each environment."""
        d = self.weights.shape[1]
        identity = torch.eye(d, device=self.weights.device, dtype=self.weights.dtype)
        root = torch.diag_embed(torch.exp(0.5 * self.log_noise))
        half = torch.linalg.solve_triangular(identity - self.weights, root, upper=False, unitriangular=True)
        return half @ half.mT

    def sample(self) -> torch.Tensor:
        """(n, d) a draw for each cell, through which gradients flow."""
        noise = torch.exp(0.5 * self.log_noise)[self.environment] * torch.randn_like(self.offset)
        return self._solved(self.offset + noise)

    def log_density(self, z: torch.Tensor) -> torch.Tensor:
        """(n,) log density of z (n, d); A has determinant 1, so it is that of the noise."""
        log_noise = self.log_noise[self.environment]
        return -0.5 * (self._noise(z) ** 2 * torch.exp(-log_noise) + log_noise + math.log(2 * math.pi)).sum(dim=1)

    def divergence(self, mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
        """(n,) Kullback-Leibler divergence of N(mean, diag exp(log_variance)) from this distribution.

        ½ Σᵢ [((A m − o)ᵢ² + Σⱼ Aᵢⱼ² sⱼ) / βᵢ + log βᵢ − log sᵢ − 1]: the inverse covariance is Aᵀ diag(1/β) A, so that nothing
        needs to be solved.
        """
        variance = torch.exp(log_variance)
        # A has ones on its diagonal and −Λ below.
        spread = variance + torch.einsum("nij,nj->ni", self.weights[self.environment] ** 2, variance)
        log_noise = self.log_noise[self.environment]
        scaled = (self._noise(mean) ** 2 + spread) * torch.exp(-log_noise)
        return 0.5 * (scaled + log_noise - log_variance - 1).sum(dim=1)
