"""Laws of latent variables along a chain of perturbed states, with everything between start and observation integrated out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .linear_gaussian import Mechanisms

#: Largest spectral norm of what a step does to a deviation, so that deviations die out.
STABLE = 0.98
#: Added to variances before a root is taken of a covariance.
JITTER = 1e-6


@dataclass(frozen=True)
class AffineLaw:
    """z | y ~ N(offset + inputs y, covariance) for m environments.

    Parameters
    ----------
    offset
        (m, d).
    inputs
        (m, d, e) weights of what comes from outside, y.
    covariance
        (m, d, d).
    """

    offset: torch.Tensor
    inputs: torch.Tensor
    covariance: torch.Tensor

    def between(self, other: AffineLaw, share: torch.Tensor) -> AffineLaw:
        """The law whose moments lie a share (m,) of the way from this law's to those of another."""
        w = share[:, None]
        return AffineLaw(
            torch.lerp(self.offset, other.offset, w),
            torch.lerp(self.inputs, other.inputs, w[:, :, None]),
            torch.lerp(self.covariance, other.covariance, w[:, :, None]),
        )

    def where(self, chosen: torch.Tensor, other: AffineLaw) -> AffineLaw:
        """This law in the environments that are chosen (m,), the other one elsewhere."""
        c = chosen[:, None]
        return AffineLaw(
            torch.where(c, self.offset, other.offset),
            torch.where(c[:, :, None], self.inputs, other.inputs),
            torch.where(c[:, :, None], self.covariance, other.covariance),
        )

    def given(self, outside: torch.Tensor, environment: torch.Tensor) -> FullGaussian:
        """The distribution of the variables of n cells, from y (n, e) and the environment (n,) of each."""
        mean = self.offset[environment] + torch.einsum("nde,ne->nd", self.inputs[environment], outside)
        d = self.offset.shape[1]
        ridge = JITTER * torch.eye(d, device=mean.device, dtype=mean.dtype)
        return FullGaussian(mean, torch.linalg.cholesky(self.covariance + ridge), environment)


@dataclass(frozen=True)
class FullGaussian:
    """N(mean, L Lᵀ) for n cells, L that of the environment of each.

    Parameters
    ----------
    mean
        (n, d).
    root
        (m, d, d) lower triangular L.
    environment
        (n,) int64.
    """

    mean: torch.Tensor
    root: torch.Tensor
    environment: torch.Tensor

    def sample(self) -> torch.Tensor:
        """(n, d) a draw for each cell, through which gradients flow."""
        return self.mean + torch.einsum("nij,nj->ni", self.root[self.environment], torch.randn_like(self.mean))

    def divergence(self, mean: torch.Tensor, log_variance: torch.Tensor, basis: torch.Tensor | None = None) -> torch.Tensor:
        """(n,) Kullback-Leibler divergence of N(mean, F diag exp(log_variance) Fᵀ) from this distribution.

        ½ [Σⱼ sⱼ |L⁻¹ fⱼ|² + |L⁻¹ (m − μ)|² − d + log det L Lᵀ − log det F diag(s) Fᵀ], fⱼ the columns of F.

        Parameters
        ----------
        mean, log_variance
            (n, d).
        basis
            (d, d) F; the identity where it is None.
        """
        d = mean.shape[1]
        identity = torch.eye(d, device=mean.device, dtype=mean.dtype)
        inverse = torch.linalg.solve_triangular(self.root, identity.expand_as(self.root), upper=False)
        turned = inverse if basis is None else inverse @ basis
        trace = torch.einsum("nij,nj->n", (turned**2)[self.environment], torch.exp(log_variance))
        error = torch.einsum("nij,nj->ni", inverse[self.environment], mean - self.mean)
        log_det = 2 * torch.log(torch.diagonal(self.root, dim1=1, dim2=2)).sum(dim=1)[self.environment]
        own = log_variance.sum(dim=1) + (0.0 if basis is None else 2 * torch.linalg.slogdet(basis)[1])
        return 0.5 * (trace + (error**2).sum(dim=1) - d + log_det - own)

    def log_density(self, z: torch.Tensor) -> torch.Tensor:
        """(n,) log density of z (n, d)."""
        root = self.root[self.environment]
        error = torch.linalg.solve_triangular(root, (z - self.mean)[:, :, None], upper=False)[:, :, 0]
        log_root = torch.log(torch.diagonal(root, dim1=1, dim2=2))
        return -(0.5 * error**2 + log_root + 0.5 * math.log(2 * math.pi)).sum(dim=1)


@dataclass(frozen=True)
class Edits:
    """What a perturbation does to the equations of the responsive variables, for m environments; zeros where nothing is done.

    Parameters
    ----------
    shift
        (m, d) μ, added at every step.
    inputs
        (m, d, e) D, weights of the invariant variables.
    damping
        (m, d) κ, weight of the reference state.
    noise
        (m, d) β ≥ 0, variance that is added at every step.
    """

    shift: torch.Tensor
    inputs: torch.Tensor
    damping: torch.Tensor
    noise: torch.Tensor


def deviation_laws(lagged: torch.Tensor, instant: torch.Tensor, start: AffineLaw, edits: Edits, steps: torch.Tensor) -> AffineLaw:
    """Laws of the chain z_t = z_0 + d_t, d_t = B d_{t−1} + C d_t + μ + D y + κ ⊙ z_0 + ε_t, d_0 = 0, after some steps.

    With A = (I − C)⁻¹, M = A B, R_t = Σ_{s<t} Mˢ A and z_0 | y ~ N(m_0 + D_0 y, S_0): the mean is
    (I + R_t diag κ) (m_0 + D_0 y) + R_t (μ + D y), the covariance
    (I + R_t diag κ) S_0 (I + R_t diag κ)ᵀ + Σ_{s<t} Mˢ A diag(β) Aᵀ Mˢᵀ. Between two whole steps moments are interpolated.

    Parameters
    ----------
    lagged, instant
        (d, d) B and strictly lower triangular C, from the variable of the column to that of the row.
    start
        Of the reference state z_0, one environment for all.
    edits
        Of m environments.
    steps
        (m,) t ≥ 0 of each environment, whole or not.
    """
    d, last = len(lagged), int(torch.ceil(steps).max()) if len(steps) else 0
    identity = torch.eye(d, device=lagged.device, dtype=lagged.dtype)
    impulse = torch.linalg.solve_triangular(identity - instant, identity, upper=False, unitriangular=True)
    step = impulse @ lagged
    step = step * (STABLE / torch.linalg.matrix_norm(step, ord=2).clamp(min=STABLE))
    reach, noise = [torch.zeros_like(identity)], [edits.noise.new_zeros(len(steps), d, d)]
    for _ in range(last):
        reach.append(reach[-1] + impulse)
        noise.append(noise[-1] + (impulse * edits.noise[:, None, :]) @ impulse.T)
        impulse = step @ impulse
    reached, noises = torch.stack(reach), torch.stack(noise)
    environment = torch.arange(len(steps), device=lagged.device)

    def at(t: torch.Tensor) -> AffineLaw:
        R = reached[t]
        through = identity + R * edits.damping[:, None, :]
        offset = through @ start.offset[0] + torch.einsum("mij,mj->mi", R, edits.shift)
        covariance = through @ start.covariance @ through.mT + noises[t, environment]
        return AffineLaw(offset, through @ start.inputs + R @ edits.inputs, covariance)

    whole = torch.floor(steps)
    return at(whole.long()).between(at(torch.ceil(steps).long()), steps - whole)


def weight_variant_laws(own: Mechanisms, lagged: torch.Tensor | None, start: AffineLaw, steps: torch.Tensor) -> AffineLaw:
    """Laws of the chain z_t = B z_{t−1} + Λ z_t + D y + μ + n_t whose every part depends on the environment, after some steps.

    m_t = M m_{t−1} + A (D y + μ), S_t = M S_{t−1} Mᵀ + A diag(β) Aᵀ with A = (I − Λ)⁻¹ and M = A B; without B it is the static
    model of `Mechanisms` after any number of steps but none.

    Parameters
    ----------
    own
        Λ, D, μ and log β of m environments.
    lagged
        (m, d, d) B; None for no memory.
    start
        Of the state at step 0, one environment for all.
    steps
        (m,) t ≥ 0 of each environment, whole or not.
    """
    m, d = own.shift.shape
    identity = torch.eye(d, device=steps.device, dtype=own.shift.dtype)
    A = torch.linalg.solve_triangular(identity - own.weights, identity.expand(m, d, d), upper=False, unitriangular=True)
    M = torch.zeros_like(A) if lagged is None else A @ lagged
    M = M * (STABLE / torch.linalg.matrix_norm(M, ord=2).clamp(min=STABLE))[:, None, None]
    pushed, driven = torch.einsum("mij,mj->mi", A, own.shift), A @ own.inputs
    fresh = (A * torch.exp(own.log_noise)[:, None, :]) @ A.mT
    law = AffineLaw(start.offset.expand(m, d), start.inputs.expand_as(own.inputs), start.covariance.expand(m, d, d))
    found = law
    for t in range(int(torch.ceil(steps).max()) if m else 0):
        following = AffineLaw(
            torch.einsum("mij,mj->mi", M, law.offset) + pushed, M @ law.inputs + driven, M @ law.covariance @ M.mT + fresh
        )
        inside = (steps > t) & (steps <= t + 1)
        found = law.between(following, (steps - t).clamp(0, 1)).where(inside, found)
        law = following
    return found
