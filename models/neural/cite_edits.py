"""Which responsive variables a target acts on and how, learned as tables: sparse edits of mechanisms, additive over targets."""

from __future__ import annotations

import torch
from torch import nn

from .deviation_chain import Edits
from .sparse_shift_networks import relaxed_bernoulli


class EditTables(nn.Module):
    """Gates and sizes of the edits of k targets on d responsive variables.

    A target edits variable i only where its gate is open. The edits of a combination are the sums over its targets, each times its
    dose: shift μ, damping κ, weights of the invariant variables D = Σ a bᵀ of low rank, and noise, whose size the caller gives a
    meaning to. Gates are drawn in training (straight-through) and open where their probability exceeds one half otherwise.

    Parameters
    ----------
    n_targets, responsive, invariant
        k, d and e.
    rank
        Of D; 0 for none.
    gates
        Whether there are gates; without them every target may edit every variable.
    logit
        Log odds of an open gate at the beginning.
    temperature
        Of the relaxed gates.
    """

    def __init__(
        self,
        n_targets: int,
        responsive: int,
        invariant: int,
        *,
        rank: int,
        gates: bool,
        logit: float = 2.0,
        temperature: float = 0.5,
    ) -> None:
        super().__init__()
        k, d = n_targets, responsive
        self.gated, self.temperature, self.settling = gates, temperature, False
        self.logits = nn.Parameter(torch.full((k, d), logit), requires_grad=gates)
        self.shift = nn.Parameter(0.1 * torch.randn(k, d))
        self.damping = nn.Parameter(torch.zeros(k, d))
        self.noise = nn.Parameter(torch.zeros(k, d))
        self.left = nn.Parameter(0.1 * torch.randn(k, d, rank))
        self.right = nn.Parameter(0.1 * torch.randn(k, rank, invariant))

    @property
    def probability(self) -> torch.Tensor:
        """(k, d) probability that a gate is open; ones without gates."""
        return torch.sigmoid(self.logits) if self.gated else torch.ones_like(self.logits)

    def gate(self) -> torch.Tensor:
        """(k, d) zeros and ones."""
        if not self.gated or (self.settling and self.training):
            return torch.ones_like(self.logits)
        if self.training:
            return relaxed_bernoulli(self.logits, self.temperature)
        return (self.logits > 0).to(self.logits.dtype)

    def forward(self, told: torch.Tensor) -> Edits:
        """Edits of m environments from doses (m, k); noise is a sum of softplus(b) over absolute doses, so none without a target."""
        gate = self.gate()
        return Edits(
            shift=told @ (gate * self.shift),
            inputs=torch.einsum("mk,kd,kdr,kre->mde", told, gate, self.left, self.right),
            damping=told @ (gate * self.damping),
            noise=told.abs() @ (gate * nn.functional.softplus(self.noise - 3)),
        )

    def sizes(self, scale: torch.Tensor) -> torch.Tensor:
        """(k, d) how strongly a target acts on a variable if the gate is open, shifts in units of a scale (d,)."""
        low_rank = torch.einsum("kdr,kre->kde", self.left, self.right)
        return (
            self.shift.abs() / scale
            + self.damping.abs()
            + low_rank.norm(dim=2)
            + nn.functional.softplus(self.noise - 3) / scale**2
        )
