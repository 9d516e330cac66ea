"""What makes invariant codes the same with and without a perturbation."""

from __future__ import annotations

import torch

from .maximum_mean_discrepancy import median_bandwidth, squared_distances
from .perturbed_network import centroid_gap, random_pairs

#: Factors of the median squared distance that kernels of the discrepancy use as bandwidths.
BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def unbiased_discrepancy(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Squared maximum mean discrepancy of rows (n, d) and (m, d), n and m at least 2, without pairs of a row with itself.

    Expectation zero where both have one distribution, whatever its spread (Gretton et al. 2012, equation 3); kernels are Gaussian,
    their bandwidths multiples of the median squared distance, through which no gradient flows.
    """
    both = torch.cat([a, b])
    n, m = len(a), len(b)
    scaled = squared_distances(both, both) / median_bandwidth(both.detach())
    kernel = torch.stack([torch.exp(-scaled / factor) for factor in BANDWIDTHS]).mean(dim=0)
    own, other = kernel[:n, :n], kernel[n:, n:]
    within = (own.sum() - own.diagonal().sum()) / (n * (n - 1)) + (other.sum() - other.diagonal().sum()) / (m * (m - 1))
    return within - 2 * kernel[:n, n:].mean()


def gap(kind: str, perturbed: torch.Tensor, control: torch.Tensor) -> torch.Tensor:
    """How far codes of perturbed cells (n, d) are from those of control cells (m, d).

    ``centroid``: squared distance of the means, unbiased; ``mmd``: `unbiased_discrepancy`; ``random_pairs``: mean squared distance
    of a perturbed cell and a control cell, row by row (m = n), which also shrinks the spread of both.
    """
    if kind == "centroid":
        return centroid_gap(perturbed, control)
    return unbiased_discrepancy(perturbed, control) if kind == "mmd" else random_pairs(perturbed, control)


def alignment(kind: str, codes: torch.Tensor, perturbed: torch.Tensor, control: torch.Tensor) -> torch.Tensor:
    """`gap` of each perturbation with two cells or more, a mean over cells and never below zero.

    Parameters
    ----------
    codes
        (n,) perturbation of each cell.
    perturbed, control
        (n, d) invariant codes of perturbed cells, and of a control cell beside each.
    """
    total = perturbed.new_zeros(())
    if kind == "none" or not len(codes):
        return total
    if kind == "random_pairs":
        return random_pairs(perturbed, control)
    for code in codes.unique():
        rows = torch.nonzero(codes == code)[:, 0]
        if len(rows) > 1:
            total = total + len(rows) / len(codes) * gap(kind, perturbed[rows], control[rows])
    # Below zero it would pay for spread: see `PerturbedNetwork.alignment`.
    return total.clamp(min=0)
