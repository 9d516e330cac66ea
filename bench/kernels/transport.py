r"""Debiased Sinkhorn divergence of two samples: optimal transport with entropy, without the bias that entropy brings.

Cost ``|x - y|^2 / 2``, uniform weights a and b:

.. math::
    OT_\epsilon(a, b) = \min_\pi \langle \pi, C\rangle + \epsilon\,KL(\pi \,|\, a\otimes b)
                      = \max_{f,g}\langle a, f\rangle + \langle b, g\rangle
                        - \epsilon\langle a\otimes b, e^{(f\oplus g - C)/\epsilon} - 1\rangle

and :math:`S_\epsilon(a, b) = OT_\epsilon(a, b) - OT_\epsilon(a, a)/2 - OT_\epsilon(b, b)/2`, which is not negative and 0 only
for equal samples (Feydy et al. 2019). It is what geomloss computes for ``p=2`` and ``blur = sqrt(eps)``; without
the two corrections the value is positive for equal samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: Largest error of a marginal, relative to its weights, at which the iteration stops, and the most iterations it may take.
TOLERANCE = 1e-5
MAX_ITERATIONS = 2000
_INNER = 20  # matrix-vector iterations between two in the log domain, which keep the scaling vectors near one


def sinkhorn_divergence(x: Array, y: Array, eps: float, *, tolerance: float = TOLERANCE) -> float:
    """Debiased Sinkhorn divergence of two samples with the cost |x - y|^2 / 2.

    Parameters
    ----------
    x, y
        (n, d) and (m, d) points of equal weight.
    eps
        Strength of the entropy in squared units of the points; its root is the length below which details blur.
    tolerance
        Largest relative error of a marginal at which the iteration stops.

    Returns
    -------
    float
        In squared units; not clipped, so rounding may leave a value just below 0. ``sqrt(2 * value)`` approaches the
        2-Wasserstein distance for small `eps`. NaN where a sample is empty.

    Raises
    ------
    ValueError
        Where `eps` is not positive.
    """
    if not eps > 0:
        raise ValueError(f"eps must be positive, not {eps}.")
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if not len(x) or not len(y):
        return float("nan")
    if x.shape == y.shape and np.array_equal(x, y):
        return 0.0
    own = self_transport(x, eps, tolerance=tolerance) + self_transport(y, eps, tolerance=tolerance)
    return transport(x, y, eps, tolerance=tolerance) - own / 2


def transport(x: Array, y: Array, eps: float, *, tolerance: float = TOLERANCE) -> float:
    """Entropic transport cost between two samples, from potentials that meet the marginals to `tolerance`.

    Where `MAX_ITERATIONS` are not enough, since `eps` is small for the spread of the points, the value is the lower bound
    that was reached: each iteration raises it.
    """
    cost = half_squared_distances(x, y)
    f, g = np.zeros(len(x)), np.zeros(len(y))
    taken = 0
    for level in _annealed(cost, eps):
        while True:
            # In the log domain: g meets the columns, then f the rows exactly.
            g = _soft_minimum(cost.T, f, level)
            f = _soft_minimum(cost, g, level)
            plan = np.exp((f[:, None] + g - cost) / level)  # relative to a x b: means over rows and columns are one
            error = np.abs(plan.mean(axis=0) - 1).max()
            taken += 1
            if error <= (tolerance if level == eps else 0.1) or taken > MAX_ITERATIONS:
                break
            u, v = np.ones(len(x)), np.ones(len(y))
            for _ in range(_INNER):
                with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                    new_v = len(x) / (u @ plan)
                    new_u = len(y) / (plan @ new_v)
                if not (_usable(new_u) and _usable(new_v)):
                    break
                u, v = new_u, new_v
                taken += 1
            f, g = f + level * np.log(u), g + level * np.log(v)
    return float(f.mean() + g.mean())


def self_transport(x: Array, eps: float, *, tolerance: float = TOLERANCE) -> float:
    """Entropic transport cost of a sample to itself: one potential, and averaged steps that converge in a few dozen."""
    cost = half_squared_distances(x, x)
    f = np.zeros(len(x))
    for level in _annealed(cost, eps):
        for _ in range(MAX_ITERATIONS):
            new = _soft_minimum(cost, f, level)
            error = np.abs(np.expm1((f - new) / level)).max()  # of the marginal that f and f give
            f = (f + new) / 2
            if error <= (tolerance if level == eps else 0.1):
                break
    # Where f and f leave an error r in the marginal, the dual value is wrong by the order of r^2.
    return float(2 * f.mean() - eps * (np.exp((f[:, None] + f - cost) / eps).mean() - 1))


def half_squared_distances(x: Array, y: Array) -> Array:
    """(n, m) float64 costs |x - y|^2 / 2, exactly 0 for equal points."""
    from scipy.spatial.distance import cdist

    return cdist(x, y, "sqeuclidean") / 2


def _annealed(cost: Array, eps: float) -> list[float]:
    """Strengths down to `eps`, each a quarter of the one before; `eps` alone unless it is small against the costs."""
    levels = [eps]
    while levels[-1] * 50 < cost.max():
        levels.append(levels[-1] * 4)
    return levels[::-1]


def _soft_minimum(cost: Array, potential: Array, eps: float) -> Array:
    """(n,) -eps log mean over j of exp((potential_j - cost_ij) / eps)."""
    exponent = (potential - cost) / eps
    largest = exponent.max(axis=1)
    return -eps * (largest + np.log(np.exp(exponent - largest[:, None]).mean(axis=1)))


def _usable(scaling: Array) -> bool:
    return bool(np.isfinite(scaling).all() and scaling.min() > 1e-100 and scaling.max() < 1e100)
