"""How responsive variables go from one frame of a unit to the next, and how perturbations edit that."""

from __future__ import annotations

import math

import torch
from torch import nn

from .cite_edits import EditTables

UNITS = 16


class Transition(nn.Module):
    """Modular transition with Gaussian noise: z_ti = a_i z_{t−1,i} + e^κ_i(u) h_i(z_{t−1}) + (C z_t)_i + (D y)_i + b_i + μ_i(u) + ε_ti.

    ε_ti ~ N(0, σ_i² e^{2 ν_i(u)}): a location and a scale for each variable, so that what is left, (z_t − mean) / scale, has the
    closed-form Jacobian 1 / scale, and the process can be sampled. h is linear, or with ``mlp`` linear plus a small network
    for each variable. The invariant variables y come in additively: were they arguments of h, a shift of z by a function of y
    would leave the likelihood as it is.

    Parameters
    ----------
    n_targets, responsive, invariant
        k, d and e.
    kind
        ``linear`` or ``mlp``.
    gates
        Of `EditTables`.
    instantaneous
        Whether there is C, strictly lower triangular; with it noise is not independent in every basis that fits.
    memory
        Whether a frame depends on the one before; without it frames are a static model of y and u.
    """

    def __init__(
        self, n_targets: int, responsive: int, invariant: int, *, kind: str, gates: bool, instantaneous: bool, memory: bool = True
    ) -> None:
        super().__init__()
        d, e = responsive, invariant
        self.network, self.instantaneous, self.memory = kind == "mlp", instantaneous, memory
        self.edits = EditTables(n_targets, d, e, rank=0, gates=gates)
        self.keep, self.bias = nn.Parameter(torch.full((d,), 0.5)), nn.Parameter(torch.zeros(d))
        self.lagged, self.instant = nn.Parameter(torch.zeros(d, d)), nn.Parameter(torch.zeros(d, d), requires_grad=instantaneous)
        self.inputs, self.log_scale = nn.Parameter(torch.zeros(d, e)), nn.Parameter(torch.zeros(d))
        self.first_mean, self.first_log_scale = nn.Parameter(torch.zeros(d)), nn.Parameter(torch.zeros(d))
        self.first_inputs, self.first_shift = nn.Parameter(torch.zeros(d, e)), nn.Parameter(torch.zeros(n_targets, d))
        if self.network:
            self.into = nn.Parameter(torch.randn(d, UNITS, d) / math.sqrt(d))
            self.at = nn.Parameter(torch.zeros(d, UNITS))
            self.out = nn.Parameter(0.1 * torch.randn(d, UNITS) / math.sqrt(UNITS))

    def influence(self, past: torch.Tensor) -> torch.Tensor:
        """(…, d) h of the past (…, d)."""
        off = self.lagged - torch.diag(self.lagged.diagonal())
        straight = past @ off.T
        if not self.network:
            return straight
        return straight + (torch.tanh(torch.einsum("...j,ihj->...ih", past, self.into) + self.at) * self.out).sum(dim=-1)

    def step(self, past: torch.Tensor, invariant: torch.Tensor, told: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean without what acts in the same instant, and log scale of the noise; (…, d) each, from z (…, d), y (…, e), u (…, k)."""
        tables = self.edits
        past = past if self.memory else torch.zeros_like(past)
        gate = tables.gate()
        damping, noise = told @ (gate * tables.damping), told.abs() @ (gate * tables.noise)
        mean = self.keep * past + torch.exp(damping.clamp(-6, 3)) * self.influence(past) + invariant @ self.inputs.T + self.bias
        return mean + told @ (gate * tables.shift), (self.log_scale + noise).clamp(-5, 3)

    def log_density(self, z: torch.Tensor, invariant: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """(b,) log density of the states z (b, L, d) of units, given y (b, e) and what was done until each frame, u (b, L, k)."""
        y = invariant[:, None].expand(-1, z.shape[1], -1)
        mean, log_scale = self.step(z[:, :-1], y[:, 1:], told[:, 1:])
        if self.instantaneous:
            mean = mean + z[:, 1:] @ torch.tril(self.instant, -1).T
        first = self.first_mean + invariant @ self.first_inputs.T + told[:, 0] @ self.first_shift
        return normal_log(z[:, 1:], mean, log_scale).sum(dim=1) + normal_log(z[:, 0], first, self.first_log_scale.clamp(-5, 3))

    def walk(self, start: torch.Tensor, invariant: torch.Tensor, told: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """(n, d) states after some steps (n,), from z (n, d), with noise; between two whole steps a state is interpolated."""
        z = start
        d = z.shape[1]
        lower = torch.eye(d, device=z.device) - torch.tril(self.instant, -1)
        for t in range(int(torch.ceil(steps).max())):
            mean, log_scale = self.step(z, invariant, told)
            alone = mean + torch.exp(log_scale) * torch.randn_like(z)
            following = torch.linalg.solve_triangular(lower, alone.T, upper=False, unitriangular=True).T
            z = torch.lerp(z, following, (steps - t).clamp(0, 1)[:, None])
        return z

    def penalty(self, edits: float, graph: float) -> torch.Tensor:
        """Open gates with the sizes of their edits, and effects of variables on each other, everything in units of the noise."""
        scale = torch.exp(self.log_scale.clamp(-5, 3))
        effects = (self.lagged - torch.diag(self.lagged.diagonal())).abs() + torch.tril(self.instant, -1).abs()
        total = graph * (effects * scale / scale[:, None]).sum()
        if not self.edits.gated:
            return total
        tables, sizes = self.edits, self.sizes()
        # As long as gates stand open nothing speaks for closing them, and their probability would only fall.
        counted = sizes if tables.settling else tables.probability * (1 + sizes)
        return total + edits * (counted.sum() + (self.first_shift.abs() / scale).sum())

    def sizes(self) -> torch.Tensor:
        """(k, d) size of the edits of each target, shifts in units of the noise."""
        tables, scale = self.edits, torch.exp(self.log_scale.clamp(-5, 3))
        return tables.shift.abs() / scale + tables.damping.abs() + tables.noise.abs()

    def slopes(self, past: torch.Tensor) -> torch.Tensor:
        """(d, d) root mean square over past states (n, d) of the derivative of the mean of the row by the variable of the column."""
        if not self.memory:
            return torch.zeros_like(self.lagged)
        if not self.network:
            return torch.diag(self.keep) + self.lagged - torch.diag(self.lagged.diagonal())
        bent = 1 - torch.tanh(torch.einsum("nj,ihj->nih", past, self.into) + self.at) ** 2
        own = torch.einsum("nih,ih,ihj->nij", bent, self.out, self.into)
        own = own + torch.diag(self.keep) + self.lagged - torch.diag(self.lagged.diagonal())
        return (own**2).mean(dim=0).sqrt()


def normal_log(value: torch.Tensor, mean: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """Log density of independent normal values, summed over the last dimension."""
    error = (value - mean) * torch.exp(-log_scale)
    return -(0.5 * error**2 + log_scale + 0.5 * math.log(2 * math.pi)).sum(dim=-1)
