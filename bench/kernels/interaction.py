r"""The genetic interaction of two perturbations: a linear model of the double's change by those of its singles.

.. math:: \delta_{ab} \approx c_1 \delta_a + c_2 \delta_b

The model and its scores are those of Norman et al. (Science 2019) and of GEARS (Roohani et al., Nature Biotechnology 2024,
``gears.utils.get_coeffs``). Exact additivity has :math:`c_1 = c_2 = 1`, so its magnitude is :math:`\sqrt 2` and not 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .compiled import compiled

Array = np.ndarray[Any, Any]

#: Gene pairs of the robust fit: all of them up to 317 genes, a balanced selection beyond.
PAIRS = 50_000

#: Cut-offs of the figure code of the GEARS paper, of which the published text gives none. GEARS also calls a double
#: synergistic above a magnitude of 1.15, suppressed below 1 and additive within 0.25 of 1: see `interaction_class`.
NEOMORPHIC, EPISTATIC, DOMINANT, REDUNDANT, ADDITIVE = 0.88, 0.28, 0.35, 0.85, 0.25

UNDETERMINED = "undetermined"
CLASSES = ("additive", "synergistic", "suppressive", "redundant", "epistatic", "neomorphic", UNDETERMINED)


@dataclass(frozen=True)
class InteractionScores:
    """What the linear model says of a double; NaN where a score is undefined.

    Parameters
    ----------
    c1, c2
        Coefficients of the two singles.
    magnitude
        :math:`\\sqrt{c_1^2 + c_2^2}`: :math:`\\sqrt 2` is additive, more is synergistic, less suppressive.
    dominance
        :math:`|\\log_{10}|c_1 / c_2||`: 0 where both singles count alike. GEARS has no absolute value inside, and so
        no score where the signs differ.
    model_fit
        Distance correlation of the double and its fit: low is neomorphic.
    similarity
        Distance correlation of the two singles, as points of the plane, and the double: high is redundant.
    equality
        The lesser over the greater distance correlation of a single and the double: low is epistatic.
    singles
        Distance correlation of the two singles.
    """

    c1: float
    c2: float
    magnitude: float
    dominance: float
    model_fit: float
    similarity: float
    equality: float
    singles: float


def interaction_scores(delta_a: Array, delta_b: Array, delta_ab: Array) -> InteractionScores:
    """Scores of a double from (n,) changes of n genes against control.

    Time and not memory is quadratic in n: 3 ms for 1,000 genes, so choose them with `expressed_genes`.

    Raises
    ------
    ValueError
        Where the three are not vectors of one length.
    """
    a, b, ab = (np.ascontiguousarray(d, dtype=np.float64) for d in (delta_a, delta_b, delta_ab))
    if a.ndim != 1 or not a.shape == b.shape == ab.shape:
        raise ValueError(f"changes must be vectors of one length, not of shapes {a.shape}, {b.shape} and {ab.shape}")
    c1, c2 = robust_fit(a, b, ab)
    fit, similarity, first, second, singles = _distance_correlations(a, b, ab, c1 * a + c2 * b)
    return InteractionScores(
        c1=c1,
        c2=c2,
        magnitude=math.hypot(c1, c2),
        dominance=abs(math.log10(abs(c1 / c2))) if c1 and c2 else math.nan,
        model_fit=fit,
        similarity=similarity,
        # A max over NaN is not NaN in Python.
        equality=min(first, second) / max(first, second) if first + second > 0 else math.nan,
        singles=singles,
    )


def interaction_class(scores: InteractionScores) -> str:
    r"""The class of a double, a member of `CLASSES`; the first that applies:

    - ``undetermined``: a score is undefined, as for a single without any effect;
    - ``neomorphic``: model fit below 0.88, so the coefficients describe little;
    - ``epistatic``: equality of contribution below 0.28, or dominance above 0.35;
    - ``redundant``: less than additive (below), and both similarities, of the singles to the double and to each other,
      above 0.85;
    - ``additive``: magnitude within 25 % of :math:`\sqrt 2`;
    - ``synergistic`` above that and ``suppressive`` below.

    The cut-offs for fit, equality, dominance and similarity, and the width of 25 %, are those of the GEARS figure code,
    which tests each class by itself: the order here is ours. So is the centre: that code's additive magnitude of 1 would
    call exact additivity synergy. All were chosen on one screen and one gene set, and noise lowers every correlation:
    a double of few cells tends to look neomorphic.
    """
    needed = (scores.magnitude, scores.model_fit, scores.similarity, scores.equality, scores.singles)
    if not np.isfinite(needed).all():
        return UNDETERMINED
    if scores.model_fit < NEOMORPHIC:
        return "neomorphic"
    # An undefined dominance has a coefficient of zero, so nothing is more dominant.
    if scores.equality < EPISTATIC or not scores.dominance <= DOMINANT:
        return "epistatic"
    relative = scores.magnitude / math.sqrt(2)
    if relative < 1 - ADDITIVE:
        return "redundant" if min(scores.similarity, scores.singles) > REDUNDANT else "suppressive"
    return "additive" if relative <= 1 + ADDITIVE else "synergistic"


def expressed_genes(control: Array, targets: tuple[int, ...] = (), size: int = 1000) -> Array:
    """Sorted indices of the `size` genes with the highest (G,) control mean, less `targets`.

    High expression, as GEARS and Ahlmann-Eltze et al. (Nature Methods 2025) choose genes, is no statement on the double.
    Genes tied with the last one are all taken, genes without any expression only where there are no others.
    """
    chosen = np.ones(len(control), dtype=bool)
    if len(control) > size:
        last = np.partition(control, -size)[-size]
        chosen = control >= last if last != 0 else control > 0
        if not chosen.any():
            chosen[:] = True
    chosen[list(targets)] = False
    return np.flatnonzero(chosen)


def robust_fit(a: Array, b: Array, ab: Array, pairs: int = PAIRS) -> tuple[float, float]:
    r"""Coefficients :math:`(c_1, c_2)` of ``ab = c1 a + c2 b``: the spatial median of the solutions for pairs of genes.

    This is the Theil-Sen estimator of Dang et al. (2008) without an intercept, as GEARS takes it from scikit-learn, but
    the same on every call. scikit-learn draws 100,000 pairs at random; here all pairs are used if they are no more
    than `pairs`, or else the pairs at evenly spread distances in a circle of genes sorted by the angle of (a, b): every
    gene occurs equally often, and nothing depends on the order of genes. Pairs whose system is singular are left out
    (scikit-learn takes their solution of least norm, which pulls towards zero). Where all are singular, as for one
    single without effect or two proportional ones, the solution of least norm by the median of ratios is taken.

    Returns
    -------
    tuple of float
        NaN where both singles have no effect at all.
    """
    informative = (a != 0) | (b != 0)
    a, b, ab = a[informative], b[informative], ab[informative]
    n = len(a)
    if not n:
        return math.nan, math.nan
    angle = np.arctan2(b, a)
    order = np.lexsort((ab, b, a, np.where(angle < 0, angle + np.pi, angle)))
    half = n // 2
    lags = np.arange(1, half + 1) if n * half <= pairs else np.unique(np.linspace(1, half, max(1, pairs // n)).round())
    first, second = _solutions(a[order], b[order], ab[order], lags.astype(np.int64))
    if len(first):
        return _spatial_median(first, second, np.median(first), np.median(second))
    # Rows are multiples of one direction: only the coefficient along it is known.
    direction = np.linalg.eigh(np.array([[a @ a, a @ b], [a @ b, b @ b]]))[1][:, 1]
    along = a * direction[0] + b * direction[1]
    c = np.median(ab[along != 0] / along[along != 0]) * direction
    return float(c[0]), float(c[1])


@compiled
def _solutions(a: Array, b: Array, ab: Array, lags: Array) -> tuple[Array, Array]:
    """Solutions of the 2 x 2 systems of genes i and i + lag, around the circle."""
    n = len(a)
    first, second = np.empty(n * len(lags)), np.empty(n * len(lags))
    found = 0
    for lag in lags:
        for i in range(lag if 2 * lag == n else n):  # opposite genes meet twice
            j = (i + lag) % n
            p, q = a[i] * b[j], a[j] * b[i]
            # A difference of no more than rounding is no second equation.
            if abs(p - q) > 1e-12 * (abs(p) + abs(q)):
                first[found] = (ab[i] * b[j] - ab[j] * b[i]) / (p - q)
                second[found] = (a[i] * ab[j] - a[j] * ab[i]) / (p - q)
                found += 1
    return first[:found], second[:found]


@compiled
def _spatial_median(x: Array, y: Array, cx: float, cy: float) -> tuple[float, float]:
    """The point with the least sum of distances to (x, y), by Newton steps; a Weiszfeld step where one does not descend."""
    # Distances are softened below the precision that matters, for points that coincide with the median.
    soft = (1e-9 * (1.0 + abs(cx) + abs(cy))) ** 2
    best = np.inf
    wx, wy = cx, cy  # the Weiszfeld step from the last point that was accepted
    for _ in range(200):
        total = gx = gy = hxx = hxy = hyy = weight = 0.0
        for i in range(len(x)):
            dx, dy = cx - x[i], cy - y[i]
            r = math.sqrt(dx * dx + dy * dy + soft)
            w = 1.0 / r
            u = w * w * w
            total += r
            weight += w
            gx += dx * w
            gy += dy * w
            hxx += w - dx * dx * u
            hxy -= dx * dy * u
            hyy += w - dy * dy * u
        if total > best and (cx != wx or cy != wy):
            cx, cy = wx, wy
            continue
        best = total
        wx, wy = cx - gx / weight, cy - gy / weight
        det = hxx * hyy - hxy * hxy
        nx, ny = wx, wy
        if det > 1e-12 * hxx * hyy:
            nx, ny = cx - (hyy * gx - hxy * gy) / det, cy - (hxx * gy - hxy * gx) / det
        moved = abs(nx - cx) + abs(ny - cy)
        cx, cy = nx, ny
        if moved <= 1e-11 * (1.0 + abs(cx) + abs(cy)):
            break
    return cx, cy


def _distance_correlations(a: Array, b: Array, ab: Array, fit: Array) -> tuple[float, float, float, float, float]:
    """Distance correlations (fit, ab), ([a, b], ab), (a, ab), (b, ab) and (a, b); Szekely, Rizzo and Bakirov 2007.

    With D the distances within a variable, the squared covariance of X and Y is the mean of the products of their
    double-centred distances, mean(Dx Dy) - 2 mean_i(mean_j Dx mean_j Dy) + mean(Dx) mean(Dy).
    """
    n = len(a)
    if n < 2:
        return math.nan, math.nan, math.nan, math.nan, math.nan
    fit_ab, joint_ab, a_ab, b_ab, a_b, joint = _products(a, b, ab, fit)
    rows = {name: _mean_distances(x) for name, x in (("a", a), ("b", b), ("ab", ab), ("fit", fit))} | {"joint": joint / n}
    squares = {name: 2.0 * x.var() for name, x in (("a", a), ("b", b), ("ab", ab), ("fit", fit))}
    squares["joint"] = squares["a"] + squares["b"]

    def covariance(x: str, y: str, mean_product: float) -> float:
        return max(0.0, mean_product - 2.0 * np.mean(rows[x] * rows[y]) + rows[x].mean() * rows[y].mean())

    def correlation(x: str, y: str, total: float) -> float:
        spread = covariance(x, x, squares[x]), covariance(y, y, squares[y])
        # Where the spread is rounding there is no variance.
        if not (spread[0] > 1e-12 * rows[x].mean() ** 2 and spread[1] > 1e-12 * rows[y].mean() ** 2):
            return math.nan
        return min(1.0, math.sqrt(covariance(x, y, 2.0 * total / n**2) / math.sqrt(spread[0] * spread[1])))

    return (
        correlation("fit", "ab", fit_ab),
        correlation("joint", "ab", joint_ab),
        correlation("a", "ab", a_ab),
        correlation("b", "ab", b_ab),
        correlation("a", "b", a_b),
    )


def _mean_distances(x: Array) -> Array:
    """(n,) mean distance of each value to all, from the sorted values: no n x n work."""
    n = len(x)
    order = np.argsort(x, kind="stable")
    ordered = x[order]
    below = np.cumsum(ordered)
    rank = np.arange(1, n + 1)
    out = np.empty(n)
    out[order] = (ordered * (2 * rank - n) - 2.0 * below + below[-1]) / n
    return out


@compiled(fastmath={"reassoc", "contract", "nsz"})
def _products(a: Array, b: Array, ab: Array, fit: Array) -> tuple[float, float, float, float, float, Array]:
    """Sums over pairs of the products of two distances, and the row sums of the distances of points (a, b)."""
    n = len(a)
    joint = np.zeros(n)
    fit_ab = joint_ab = a_ab = b_ab = a_b = 0.0
    for i in range(n):
        own = 0.0
        for j in range(i):
            da, db = abs(a[i] - a[j]), abs(b[i] - b[j])
            dab = abs(ab[i] - ab[j])
            dj = math.sqrt(da * da + db * db)
            own += dj
            joint[j] += dj
            fit_ab += abs(fit[i] - fit[j]) * dab
            joint_ab += dj * dab
            a_ab += da * dab
            b_ab += db * dab
            a_b += da * db
        joint[i] += own
    return fit_ab, joint_ab, a_ab, b_ab, a_b, joint
