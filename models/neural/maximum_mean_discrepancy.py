"""How far two sets of cells are apart, as something that a network can minimise."""

from __future__ import annotations

import torch


def squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(n, m) squared Euclidean distances between the rows of a (n, G) and b (m, G)."""
    # Centred first: what is left of |a|² + |b|² − 2ab after the large terms cancel is then exact enough in float32.
    centre = b.detach().mean(dim=0)
    a, b = a - centre, b - centre
    return ((a**2).sum(dim=1)[:, None] + (b**2).sum(dim=1)[None, :] - 2 * a @ b.T).clamp(min=0)


def maximum_mean_discrepancy(a: torch.Tensor, b: torch.Tensor, *, bandwidth: float, kernels: int = 10) -> torch.Tensor:
    """Squared discrepancy, a scalar: mean k(a, a') + mean k(b, b') − 2 mean k(a, b), pairs of a cell with itself included.

    k(a, b) = Σᵢ exp(−|a − b|² / (bandwidth · 2^(i − kernels // 2))), i = 0 … kernels − 1: a sum and not a mean, so that the
    largest value is 2 · kernels. Gretton et al. 2012, equation 5; the family of bandwidths of Long et al. 2015.

    Parameters
    ----------
    a, b
        (n, G) and (m, G) cells, n and m at least 1.
    bandwidth
        In squared distance.
    """
    both = torch.cat([a, b])
    n = len(a)
    scaled = squared_distances(both, both) / bandwidth
    factors = 2.0 ** (kernels // 2 - torch.arange(kernels, device=a.device, dtype=a.dtype))
    kernel = torch.exp(-scaled * factors[:, None, None]).sum(dim=0)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


def median_bandwidth(cells: torch.Tensor) -> float:
    """Median squared distance between different rows of (n, G); 1 where all rows are equal or there is one."""
    n = len(cells)
    if n < 2:
        return 1.0
    row, column = torch.triu_indices(n, n, 1)
    median = float(squared_distances(cells, cells)[row, column].median())
    return median if median > 0 else 1.0
