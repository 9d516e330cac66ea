"""A prior over sequences from a transition that is learned backwards: what is left of each variable when its past is known."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn

#: Slope of the activation for negative values.
SLOPE = 0.2


class ModularPerceptrons(nn.Module):
    """d perceptrons beside each other, f_i(shared, own_i), with the derivative of each by its own input.

    Parameters
    ----------
    d
        Number of perceptrons.
    n_shared
        Inputs that all of them see.
    width, hidden
        Units and number of hidden layers of each.
    """

    def __init__(self, d: int, n_shared: int, *, width: int, hidden: int) -> None:
        super().__init__()
        sizes = [n_shared + 1, *[width] * hidden, 1]
        self.weights = nn.ParameterList(torch.randn(d, n, m) / math.sqrt(m) for m, n in pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(d, n) for n in sizes[1:])
        with torch.no_grad():
            # At first f_i grows with its own input: a derivative near zero would make the density of everything tiny.
            for weight in self.weights:
                weight[:, :, -1] = weight[:, :, -1].abs()

    def forward(self, shared: torch.Tensor, own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Values and derivatives (n, d) from (n, n_shared) and (n, d); derivatives are carried along from layer to layer."""
        d = own.shape[1]
        value = torch.cat([shared[:, None].expand(-1, d, -1), own[:, :, None]], dim=2)
        slope = torch.zeros_like(value)
        slope[:, :, -1] = 1.0
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            value = torch.einsum("ndm,dkm->ndk", value, weight) + bias
            slope = torch.einsum("ndm,dkm->ndk", slope, weight)
            if i < last:
                up = torch.where(value > 0, 1.0, SLOPE)
                value, slope = value * up, slope * up
        return value[:, :, 0], slope[:, :, 0]


class TransitionPrior(nn.Module):
    """log p(z_1 … z_L | domain): residuals ε_ti = f_i(z_{t−1} … z_{t−lag}, domain, z_ti) are independent and standard normal.

    log p(z_t | past) = Σᵢ log N(ε_ti; 0, 1) + log |∂f_i/∂z_ti|; the Jacobian is triangular, as f_i sees no other variable of its own
    time. The first ``lag`` states are N(0, I). Yao, Chen & Zhang, NeurIPS 2022 (TDRL).

    Parameters
    ----------
    d, lag
        Variables, and how many states back they look.
    n_domains, embedding
        Sizes of what is told of the domain, and of its learned linear embedding.
    width, hidden
        Of `ModularPerceptrons`.
    """

    def __init__(self, d: int, *, lag: int, n_domains: int, embedding: int, width: int, hidden: int) -> None:
        super().__init__()
        self.lag = lag
        self.embed = nn.Linear(n_domains, embedding)
        self.residuals = ModularPerceptrons(d, lag * d + embedding, width=width, hidden=hidden)

    def start(self, z: torch.Tensor) -> torch.Tensor:
        """(b,) log density of the first states of z (b, L, d)."""
        return -0.5 * (z[:, : self.lag] ** 2 + math.log(2 * math.pi)).sum(dim=(1, 2))

    def residual(self, z: torch.Tensor, domain: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Residuals and log |∂f/∂z| (b, L − lag, d) of z (b, L, d), domain (b, L, k) acting until each state."""
        b, length, d = z.shape
        n = length - self.lag
        past = torch.cat([z[:, self.lag - back : length - back] for back in range(1, self.lag + 1)], dim=2)
        shared = torch.cat([past, self.embed(domain[:, self.lag :])], dim=2).reshape(b * n, -1)
        value, slope = self.residuals(shared, z[:, self.lag :].reshape(b * n, d))
        return value.view(b, n, d), torch.log(slope.abs() + 1e-8).view(b, n, d)

    def later(self, z: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        """(b,) log density of the states after the first ones."""
        value, log_slope = self.residual(z, domain)
        return (log_slope - 0.5 * value**2 - 0.5 * math.log(2 * math.pi)).sum(dim=(1, 2))
