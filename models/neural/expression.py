"""What a generative network says of expression: normal values on the scale of the profiles, or negative binomial counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ...bench.contracts.errors import UsageError
from .cell_batches import Batch

Array = np.ndarray[Any, Any]
#: Values of a matrix that are worked on at a time, so that a large batch needs little memory beyond itself.
AT_A_TIME = 2**22


@dataclass(frozen=True)
class Expression:
    """A distribution for each of n cells and G genes.

    Parameters
    ----------
    mean
        (n, G): of the values, or expected counts.
    spread
        (G,) or (n, G): log variance of normal values; (G,) log inverse dispersion log θ of counts.
    depth
        (n,) totals that expected counts are for; None for normal values.
    """

    mean: torch.Tensor
    spread: torch.Tensor
    depth: torch.Tensor | None = None

    def log_likelihood(self, batch: Batch) -> torch.Tensor:
        """(n,) log density of cells, summed over genes; that of counts without the term log x!, which no parameter changes."""
        if self.depth is None:
            error = (batch.cells - self.mean) ** 2 * torch.exp(-self.spread)
            return -0.5 * (error + self.spread + math.log(2 * math.pi)).sum(dim=1)
        assert batch.counts is not None
        return count_log_likelihood(batch.counts, self.mean, self.spread)

    def moments(self) -> tuple[Array, Array]:
        """(G,) mean and variance over the cells and their noise, float64, on the scale of the profiles."""
        mean = self.mean.detach().double().cpu().numpy()
        if self.depth is None:
            noise = torch.exp(self.spread).double().expand(self.mean.shape).mean(dim=0).cpu().numpy()
            return mean.mean(axis=0), mean.var(axis=0) + noise
        from ...bench.kernels.count_moments import log_count_moments

        # An empty cell has expected counts of zero, whatever they are multiplied by.
        scale = 1e4 / np.maximum(self.depth.double().cpu().numpy(), 1e-6)
        first, second = log_count_moments(mean, torch.exp(self.spread).double().cpu().numpy(), scale)
        return first, np.maximum(second - first**2, 0.0)

    def draws(self, rng: np.random.Generator, *, positive: bool = True) -> Array:
        """(n, G) float32 a cell for each row, on the scale of the profiles; normal values are cut at zero where they must be."""
        mean = self.mean.detach().double().cpu().numpy()
        if self.depth is None:
            deviation = torch.exp(0.5 * self.spread).double().cpu().numpy()
            drawn = mean + deviation * rng.standard_normal(mean.shape)
            return (np.maximum(drawn, 0) if positive else drawn).astype(np.float32)
        theta = torch.exp(self.spread).double().cpu().numpy()
        counts = rng.poisson(rng.gamma(theta, mean / theta)).astype(np.float64)
        total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return np.log1p(counts * (1e4 / total)).astype(np.float32)


def count_log_likelihood(counts: torch.Tensor, mean: torch.Tensor, log_theta: torch.Tensor) -> torch.Tensor:
    """(n,) log of the negative binomial without its term log x!, summed over genes.

    With t = log(1 + μ/θ): −(θ + x) t + [x > 0] (x log(μ/θ) + log Γ(x+θ) − log Γ(θ)); only counts that are not zero need the gamma
    function, and most are zero. Gradients are closed forms, once differentiable.

    Parameters
    ----------
    counts, mean
        (n, G) x and μ > 0.
    log_theta
        (G,).
    """
    return _CountLogLikelihood.apply(counts, mean, log_theta)  # type: ignore[no-any-return]


def _nonzero(values: torch.Tensor) -> torch.Tensor:
    """Positions in the flattened matrix; numpy finds them several times faster than torch does on a CPU."""
    if values.device.type != "cpu":
        return values.reshape(-1).nonzero().squeeze(1)
    return torch.from_numpy(np.flatnonzero((values != 0).numpy()))


class _CountLogLikelihood(torch.autograd.Function):
    """With u = exp(−t) = θ/(θ + μ): ∂/∂μ = u (x/μ − 1), ∂/∂log θ = θ (1 − u − t) − x u + θ (ψ(x + θ) − ψ(θ)).

    Values and slopes are worked out together, some rows at a time; counts that are not zero add to them in a second step.
    """

    @staticmethod
    def forward(ctx: Any, counts: torch.Tensor, mean: torch.Tensor, log_theta: torch.Tensor) -> torch.Tensor:
        theta = torch.exp(log_theta)
        log_gamma, digamma = torch.lgamma(theta), torch.digamma(theta)
        value = torch.empty(len(counts), dtype=mean.dtype, device=mean.device)
        slopes = (torch.empty_like(mean), torch.empty_like(mean)) if any(ctx.needs_input_grad[1:]) else None
        step = len(counts) if mean.device.type != "cpu" else max(1, AT_A_TIME // max(mean.shape[1], 1))
        for start in range(0, len(counts), step):
            rows = slice(start, start + step)
            ratio = mean[rows] / theta
            t, u = torch.log1p(ratio), ratio.add_(1).reciprocal_()
            at = _nonzero(counts[rows])
            row, gene = at.div(counts.shape[1], rounding_mode="floor"), at.remainder(counts.shape[1])
            # Shares of a total may underflow to zero.
            x, own, mu = counts[rows].take(at), theta.take(gene), mean[rows].take(at).clamp_min_(1e-8)
            sum_ = x + own
            more = x * (torch.log(mu / own) - t.take(at)) + torch.lgamma(sum_) - log_gamma.take(gene)
            torch.mv(t, theta, out=value[rows]).neg_().index_add_(0, row, more)
            if slopes:
                here = u.take(at).mul_(x)
                of_mean, of_theta = slopes[0][rows], slopes[1][rows]
                torch.neg(u, out=of_mean).view(-1).index_add_(0, at, here / mu)
                torch.sub(1 - u, t, out=of_theta).mul_(theta)
                of_theta.view(-1).index_add_(0, at, torch.digamma(sum_).sub_(digamma.take(gene)).mul_(own).sub_(here))
        if slopes:
            ctx.save_for_backward(*slopes)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, weight: torch.Tensor) -> tuple[None, torch.Tensor, torch.Tensor]:  # type: ignore[override]
        of_mean, of_theta = ctx.saved_tensors
        return None, of_mean * weight[:, None], weight @ of_theta


class ExpressionHead(nn.Module):
    """The last layer of a decoder: from hidden units to an `Expression`.

    Normal: mean W h + b and a variance for each gene. Counts: μ = depth · softmax(W h + b) and a dispersion for each gene.

    Parameters
    ----------
    kind
        ``normal`` or ``counts``.
    """

    def __init__(self, n_in: int, n_genes: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.linear = nn.Linear(n_in, n_genes)
        self.spread = nn.Parameter(torch.zeros(n_genes))

    def forward(self, hidden: torch.Tensor, depth: torch.Tensor | None = None) -> Expression:
        out = self.linear(hidden)
        if self.kind == "counts":
            assert depth is not None
            return Expression(depth[:, None] * torch.softmax(out, dim=1), self.spread.clamp(-10, 10), depth)
        return Expression(out, self.spread.clamp(-10, 10))

    @torch.no_grad()
    def start_at(self, mean: Array, variance: Array) -> None:
        """Begin with the mean and variance of the training cells: logits of mean shares for counts, moments for normal values."""
        value = np.log(mean + 1e-6) if self.kind == "counts" else mean
        self.linear.bias.copy_(torch.as_tensor(value, dtype=torch.float32))
        if self.kind == "normal":
            self.spread.copy_(torch.as_tensor(np.log(np.maximum(variance, 1e-4)), dtype=torch.float32))


def likelihood_of(name: str, scale: str) -> str:
    """``normal`` or ``counts`` for a model's parameter and a screen's scale; ``auto`` is counts where there are counts.

    Raises
    ------
    UsageError
        If counts are asked for on a screen that has none.
    """
    if name not in ("auto", "normal", "counts"):
        raise UsageError(f"likelihood={name!r} is unknown; use auto, normal or counts.")
    if name == "counts" and scale != "counts":
        raise UsageError(f"likelihood=counts needs a screen of counts, and this one is {scale}; use likelihood=normal.")
    if name == "auto":
        return "counts" if scale == "counts" else "normal"
    return name
