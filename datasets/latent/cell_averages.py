"""The profile that infinitely many simulated cells would have when no two of them are in the same state."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SCALE = 1e4
#: Distance of the points, in the logarithm of a gene's share, between which its profile is interpolated by a cubic.
STEP = 0.25


class GeneProfiles:
    r"""Mean log1p of counts per 10,000 of each gene as a function of the logarithm of its expected share of the library.

    The mean is over negative binomial counts x_g with mean :math:`L\rho_g`, over those of the other genes, which only matter
    through the total, and over the library size L. With :math:`\varphi_j(s) = (1 + L\rho_j(1 - e^{-s})/\theta_j)^{-\theta_j}`,
    Frullani's integral of the logarithm gives

    .. math:: E_L \int_0^\infty \prod_{j \ne g} \varphi_j(s) \, \big(\varphi_g(s) - \varphi_g(10001\,s)\big) \frac{ds}{s}

    Here the other genes are in the proportions of a typical cell, and together make up what gene g leaves. That is exact in
    the mean of the total and takes its small variance from the typical cell. Among cells of one perturbation with 500 genes, a
    gene of one cell is off by less than .003 and its mean over cells by less than .0005; with 30 genes these are .02 and .002.

    Parameters
    ----------
    typical
        (G,) expected shares of the typical cell, which sum to 1.
    dispersion
        (G,) inverse dispersions theta.
    library_median, library_sd
        Median library size and standard deviation of its logarithm.
    low, high
        (G,) range of the logarithms of the shares that will be asked for.
    """

    def __init__(
        self, typical: Array, dispersion: Array, *, library_median: float, library_sd: float, low: Array, high: Array
    ) -> None:
        self._low = low - 2 * STEP
        points = int(np.ceil((high - low).max() / STEP)) + 5
        shares = np.exp(self._low[:, None] + STEP * np.arange(points))
        self._table = np.zeros_like(shares)
        left = (1 - np.minimum(shares, 0.999)) / (1 - typical[:, None])
        theta = dispersion[:, None]
        nodes, weights = np.polynomial.hermite_e.hermegauss(5)
        step = 1.0
        for library, weight in zip(library_median * np.exp(library_sd * nodes), weights / weights.sum(), strict=True):
            # The integrand is at most 1e4 s L below the first point, and vanishes where a total of 0 is certain not to occur.
            for s in np.exp(np.arange(np.log(1e-5 / (SCALE * library)), 4.0, step)):
                every = dispersion * np.log1p(library * typical / dispersion * -np.expm1(-s))
                if every.sum() > 60:
                    break
                others = (every.sum() - every)[:, None] * left
                own = theta * np.log1p(library * shares / theta * -np.expm1(-s))
                lifted = theta * np.log1p(library * shares / theta * -np.expm1(-(SCALE + 1) * s))
                self._table -= weight * step * np.exp(-others - own) * np.expm1(own - lifted)

    def __call__(self, log_shares: Array) -> Array:
        """(n, G) mean log1p profiles of n cells; cubic interpolation (Catmull and Rom)."""
        position = (log_shares - self._low) / STEP
        at = np.clip(position.astype(int), 1, self._table.shape[1] - 3)
        t = position - at
        gene = np.arange(self._table.shape[0])
        before, here, next_, after = (self._table[gene, at + k] for k in (-1, 0, 1, 2))
        slope, slope_next = (next_ - before) / 2, (after - here) / 2
        rise = next_ - here
        return here + t * (slope + t * (3 * rise - 2 * slope - slope_next + t * (slope + slope_next - 2 * rise)))


def normal_points(seed: int, n: int, d: int) -> Array:
    """(n, d) points that fill the standard normal distribution evenly (a scrambled Sobol sequence); n is a power of 2."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    # scipy 1.15 renamed the parameter and keeps the old name, which is the only one that older releases know.
    sobol: Any = qmc.Sobol
    points = sobol(d, scramble=True, seed=np.random.default_rng(seed)).random(n)
    return ndtri(np.clip(points, 1e-9, 1 - 1e-9))
