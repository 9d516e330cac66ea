"""Layers that several networks share."""

from __future__ import annotations

import torch
from torch import nn


def perceptron(
    n_in: int, width: int, n_out: int, *, hidden: int, dropout: float = 0.0, norm: str = "layer", activation: str = "relu"
) -> nn.Sequential:
    """Linear layers with a norm, an activation and dropout after each but the last; `hidden` of them have `width` units.

    Parameters
    ----------
    norm
        ``layer``, ``batch`` or ``none``.
    activation
        ``relu``, ``leaky`` (slope 0.2) or ``gelu``.
    """
    norms = {"layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
    activations = {"relu": nn.ReLU, "gelu": nn.GELU, "leaky": lambda: nn.LeakyReLU(0.2)}
    layers: list[nn.Module] = []
    for i in range(hidden):
        layers.append(nn.Linear(n_in if i == 0 else width, width))
        if norm != "none":
            layers.append(norms[norm](width))
        layers.append(activations[activation]())
        if dropout:
            layers.append(nn.Dropout(dropout))
    layers.append(nn.Linear(width if hidden else n_in, n_out))
    return nn.Sequential(*layers)


def gaussian_divergence(mean: torch.Tensor, log_variance: torch.Tensor, prior_mean: torch.Tensor | float = 0.0) -> torch.Tensor:
    """(n,) Kullback-Leibler divergence of N(mean, exp(log_variance)) from N(prior_mean, 1), summed over the last dimension."""
    return 0.5 * (log_variance.exp() + (mean - prior_mean) ** 2 - 1 - log_variance).sum(dim=-1)


def draw(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """A draw of N(mean, exp(log_variance)) through which gradients flow."""
    return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
