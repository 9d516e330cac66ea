"""Encoder and decoder of CITE-VAE: features of cells, a responsive and an invariant code, and the basis that mechanisms act in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from .expression import Expression, ExpressionHead
from .layers import perceptron

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Shape:
    """Sizes of the networks.

    Parameters
    ----------
    responsive, invariant
        d and e.
    width, hidden
        Units and number of hidden layers of encoder and decoder.
    basis
        Whether mechanisms act in a learned linear basis of the responsive code.
    noise
        Variance of the standardised features around what is decoded, at first, where they are normal.
    fixed_noise
        Whether it stays so.
    """

    responsive: int
    invariant: int
    width: int
    hidden: int
    basis: bool
    noise: float
    fixed_noise: bool


class Lens(nn.Module):
    """Cells (n, G) as features (n, p), standardised genes or principal components of these, and back.

    Parameters
    ----------
    centre, spread
        (G,) that genes are centred at and divided by.
    axes, unit
        (G, p) orthonormal columns and what scores are divided by; None for the genes themselves.
    """

    centre: torch.Tensor
    spread: torch.Tensor
    axes: torch.Tensor
    rest: torch.Tensor

    def __init__(self, centre: Array, spread: Array, axes: Array | None = None, unit: float = 1.0) -> None:
        super().__init__()
        self.projects, self.unit = axes is not None, unit
        self.register_buffer("centre", torch.as_tensor(centre, dtype=torch.float32))
        self.register_buffer("spread", torch.as_tensor(spread, dtype=torch.float32))
        self.register_buffer("axes", torch.as_tensor(np.zeros((0, 0)) if axes is None else axes, dtype=torch.float32))
        # Variance of genes around what features say of them.
        self.register_buffer("rest", torch.ones(len(centre)))

    @property
    def width(self) -> int:
        return self.axes.shape[1] if self.projects else len(self.centre)

    def features(self, cells: torch.Tensor) -> torch.Tensor:
        """(n, p)."""
        standard = (cells - self.centre) / self.spread
        return standard @ self.axes / self.unit if self.projects else standard

    def genes(self, features: torch.Tensor) -> torch.Tensor:
        """(n, G), the part outside the axes being zero."""
        return self.centre + self.spread * (self.unit * features @ self.axes.T if self.projects else features)


class Coder(nn.Module):
    """q(z_ν | x, u), q(z_ι | x) and p(x | z_ν, z_ι); base of the networks for snapshots and for sequences.

    The encoder gives a raw responsive code e, and z_ν = R e + Q z_ι with an invertible matrix R. What is decoded is e, a linear
    function of both, so that the basis in which mechanisms are simple can be found without changing what is reconstructed.

    Parameters
    ----------
    n_informed
        Size of what the encoder of z_ν is told beside the cell.
    kind
        ``normal`` or ``counts``.
    mean, variance
        (G,) that the decoder of counts begins with.
    """

    def __init__(self, shape: Shape, lens: Lens, n_informed: int, kind: str, mean: Array, variance: Array) -> None:
        super().__init__()
        d, e, width = shape.responsive, shape.invariant, shape.width
        self.shape, self.lens, self.kind = shape, lens, kind
        # Rectified counts have long tails, which a norm tames; on smooth features it would throw away their length.
        norm = "layer" if kind == "counts" else "none"
        self.trunk = nn.Sequential(perceptron(lens.width, width, width, hidden=shape.hidden - 1, norm=norm, activation="leaky"))
        self.trunk.extend([nn.LayerNorm(width)] if norm == "layer" else []).append(nn.LeakyReLU(0.2))
        self.to_invariant = nn.Linear(width, 2 * e)
        informed = perceptron(width + n_informed, width, 2 * d, hidden=1, norm=norm, activation="leaky")
        self.to_responsive = informed if n_informed else nn.Linear(width, 2 * d)
        self.straight = nn.Linear(lens.width, d + e)
        if kind == "counts":
            body = perceptron(d + e, width, width, hidden=shape.hidden - 1, norm=norm, activation="leaky")
            self.decoder = nn.Sequential(body, nn.LayerNorm(width), nn.LeakyReLU(0.2))
            self.head = ExpressionHead(width, len(mean), kind)
            self.head.start_at(mean, variance)
        else:
            self.decoder = perceptron(d + e, width, lens.width, hidden=shape.hidden, norm=norm, activation="leaky")
            self.through = nn.Linear(d + e, lens.width)
            level = torch.full((lens.width,), math.log(shape.noise))
            self.noise = nn.Parameter(level, requires_grad=not shape.fixed_noise)
        self.basis = nn.Parameter(torch.eye(d), requires_grad=shape.basis)
        self.mixed_in = nn.Parameter(torch.zeros(d, e), requires_grad=shape.basis)

    def raw_codes(
        self, features: torch.Tensor, informed: torch.Tensor | None = None
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """Mean and log variance of e (…, d) and of z_ι (…, e) from features (…, p)."""
        h = self.trunk(features)
        d = self.shape.responsive
        own = self.to_responsive(h if informed is None else torch.cat([h, informed], dim=-1)).chunk(2, dim=-1)
        invariant = self.to_invariant(h).chunk(2, dim=-1)
        straight = self.straight(features)
        return (own[0] + straight[..., :d], own[1].clamp(-10, 5)), (invariant[0] + straight[..., d:], invariant[1].clamp(-10, 5))

    def turned(self, raw: torch.Tensor, invariant: torch.Tensor) -> torch.Tensor:
        """(…, d) z_ν = R e + Q z_ι."""
        return raw @ self.basis.T + invariant @ self.mixed_in.T

    def turned_back(self, responsive: torch.Tensor, invariant: torch.Tensor) -> torch.Tensor:
        """(n, d) e = R⁻¹ (z_ν − Q z_ι)."""
        return torch.linalg.solve(self.basis, (responsive - invariant @ self.mixed_in.T).T).T

    def _noise(self) -> torch.Tensor:
        return self.noise.clamp(-8, 3)

    def log_likelihood(
        self, raw: torch.Tensor, invariant: torch.Tensor, features: torch.Tensor, batch: Any, depth: torch.Tensor | None
    ) -> torch.Tensor:
        """(…) log likelihood of cells, summed over features: standardised where normal, counts otherwise."""
        z = torch.cat([raw, invariant], dim=-1)
        if self.kind == "counts":
            return self.head(self.decoder(z), depth).log_likelihood(batch)
        error, level = features - (self.decoder(z) + self.through(z)), self._noise()
        return -0.5 * (error**2 * torch.exp(-level) + level + math.log(2 * math.pi)).sum(dim=-1)

    def expression(self, raw: torch.Tensor, invariant: torch.Tensor, depth: torch.Tensor | None) -> Expression:
        """Expression of codes (n, d) and (n, e), on the scale of the profiles; of a perturbation nothing is seen here."""
        z = torch.cat([raw, invariant], dim=-1)
        if self.kind == "counts":
            return self.head(self.decoder(z), depth)
        mean = self.lens.genes(self.decoder(z) + self.through(z))
        level = torch.log(self.lens.rest) if self.lens.projects else self._noise() + 2 * torch.log(self.lens.spread)
        return Expression(mean, level)

    def mechanisms_of(self) -> list[nn.Parameter]:
        """Parameters that are learned faster than encoder and decoder: basis and mechanisms."""
        return [self.basis, self.mixed_in]
