"""Batch normalisation of rows that stand for several equal ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

#: Values that are worked on at a time.
_CACHED = 2**18


class WeightedNorm(nn.Module):
    """Batch normalisation in which a slab of rows counts as often as its weight says.

    With x (P, M, C) and weights (P,) it equals ``BatchNorm1d`` (Ioffe and Szegedy 2015) on the rows of x repeated that
    often, running statistics included, without repeating them.

    Parameters
    ----------
    width
        C.
    momentum, eps
        As in torch.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, width: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor, weights: torch.Tensor, *, relu: bool = False) -> torch.Tensor:
        """Normalise x (P, M, C) or (P, C); `relu` sets what is negative afterwards to zero."""
        slabs = x if x.dim() == 3 else x[:, None]
        if self.training:
            share = weights / weights.sum()
            out, mean, variance = _Normalise.apply(slabs, share, self.weight, self.bias, self.eps, relu)  # type: ignore[misc]
            self.update(mean, variance, weights.sum() * slabs.shape[1])
        else:
            scale = self.weight * torch.rsqrt(self.running_var + self.eps)
            out = torch.addcmul(self.bias - self.running_mean * scale, slabs, scale)
            out = torch.relu(out) if relu else out
        return out.view(x.shape)

    def sums(self, rows: torch.Tensor, slabs: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Two parts whose sums are what all sums rows[m] + slabs[p] become.

        The mean of all sums is the sum of the means, and since every row meets every slab, so is the variance: nothing of
        size P x M is needed.

        Parameters
        ----------
        rows
            (M, C), each counted once.
        slabs
            (P, C), counted as `weights` (P,) say.
        """
        if self.training:
            share = (weights / weights.sum())[:, None]
            row_mean, slab_mean = rows.mean(dim=0), (share * slabs).sum(dim=0)
            variance = ((rows - row_mean) ** 2).mean(dim=0) + (share * (slabs - slab_mean) ** 2).sum(dim=0)
            self.update((row_mean + slab_mean).detach(), variance.detach(), weights.sum() * len(rows))
            scale = self.weight * torch.rsqrt(variance + self.eps)
            return (rows - row_mean) * scale + self.bias, (slabs - slab_mean) * scale
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return (rows - self.running_mean) * scale + self.bias, slabs * scale

    @torch.no_grad()
    def update(self, mean: torch.Tensor, variance: torch.Tensor, n: torch.Tensor) -> None:
        """Move the running statistics towards those of n rows; the variance becomes the unbiased one, as in torch."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (n / torch.clamp(n - 1, min=1)), self.momentum)


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, then perhaps max(0, .).

    A few slabs at a time, so that they are still in cache when they are used again; the gradient is that of batch
    normalisation with the share of a row where there is usually one over the number of rows.
    """

    @staticmethod
    def forward(ctx: Any, x: Any, share: Any, weight: Any, bias: Any, eps: float, relu: bool) -> Any:
        per_row = share / x.shape[1]
        mean = per_row @ x.sum(dim=1)
        squares = torch.zeros_like(mean)
        for part in _parts(x):
            deviation = x[part] - mean
            squares += per_row[part] @ deviation.mul_(deviation).sum(dim=1)
        inverse = torch.rsqrt(squares + eps)
        scale = weight * inverse
        offset = bias - mean * scale
        out = torch.empty_like(x)
        for part in _parts(x):
            torch.addcmul(offset, x[part], scale, out=out[part])
            if relu:
                out[part].relu_()
        ctx.relu = relu
        ctx.save_for_backward(x, out if relu else None, per_row, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, squares)
        return out, mean, squares

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, out, per_row, weight, mean, inverse = ctx.saved_tensors
        dx = torch.empty_like(x)
        plain, crossed = torch.zeros_like(mean), torch.zeros_like(mean)
        for part in _parts(x):
            own = torch.mul(gradients[0][part], out[part] > 0, out=dx[part]) if ctx.relu else dx[part].copy_(gradients[0][part])
            plain += own.sum(dim=(0, 1))
            crossed += (x[part] - mean).mul_(own).sum(dim=(0, 1))
        scale = weight * inverse
        slope = crossed * inverse**2 * scale
        # g scale - share (sum of g) scale - share (x - mean) slope
        for part in _parts(x):
            shares = per_row[part, None, None]
            dx[part].mul_(scale).addcmul_(x[part], -shares * slope).sub_(shares * (plain * scale - mean * slope))
        return dx, None, crossed * inverse, plain, None, None


def _parts(x: torch.Tensor) -> list[slice]:
    """Slabs that are worked on together."""
    size = max(1, _CACHED // max(1, x.shape[1] * x.shape[2]))
    return [slice(start, start + size) for start in range(0, len(x), size)]
