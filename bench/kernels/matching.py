r"""Which code stands for which true variable, and how well: the mean correlation coefficient (MCC) and its relatives.

Each variable is assigned a code of its own so that the absolute correlations add up to the most (Hungarian method). The choice,
and the sign of each pair, are made on one half of the cells and the correlations are taken on the other: chosen and reported on
the same cells they are above zero for pure noise (0.07 for 5 variables and 10 codes of 1,000 cells), across halves their
expectation is zero. Means are over all variables, so that one without a code counts as zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: A code is dead where its standard deviation is below this share of the median over codes, …
COLLAPSED = 1e-3
#: … or below this share of the largest one, or of the size of its own mean: in single precision that is rounding.
ROUNDING = 1e-6
#: Cosines of a variable's rank that `elementwise` looks for functions in.
WAVES = 8


@dataclass(frozen=True)
class Matching:
    """The code of each true variable.

    Parameters
    ----------
    code
        (d,) int64 column of the code, -1 for a variable without one.
    sign
        (d,) float64 sign of their correlation, 0 for a variable without a code.
    """

    code: Array
    sign: Array

    def columns(self, values: Array) -> Array:
        """(…, d) values of each variable's code from (…, m) values of codes; zero for a variable without one."""
        if not values.shape[-1]:
            return np.zeros((*values.shape[:-1], len(self.code)))
        return np.where(self.code >= 0, values[..., np.maximum(self.code, 0)], 0.0)


def dead_codes(h: Array) -> Array:
    """(m,) bool: codes that do not vary, of (n, m); see `COLLAPSED` and `ROUNDING`.

    Floating point correlates also a code that varies in its ninth digit, perfectly if those digits are copied from a variable.
    """
    if not h.size:
        return np.ones(h.shape[1], dtype=bool)
    sd, mean = h.std(axis=0), np.abs(h.mean(axis=0))
    return (sd <= 0) | (sd < COLLAPSED * np.median(sd)) | (sd < ROUNDING * sd.max()) | (sd < ROUNDING * mean)


def correlations(z: Array, h: Array, *, ranks: bool = False) -> Array:
    """(d, m) Pearson correlations of the columns of (n, d) and (n, m); Spearman's of `ranks`; 0 where one is constant."""
    return _standardised(z, ranks=ranks).T @ _standardised(h, ranks=ranks)


def _standardised(x: Array, *, ranks: bool = False) -> Array:
    """Columns of mean zero and length one; a column that is constant but for rounding becomes zero."""
    if ranks:
        from scipy.stats import rankdata

        x = rankdata(x, axis=0)
    centred = x - x.mean(axis=0)
    length = np.sqrt(np.einsum("ij,ij->j", centred, centred))
    varies = length > 1e-12 * np.sqrt(np.einsum("ij,ij->j", x, x))
    return np.where(varies, centred / np.where(varies, length, 1.0), 0.0)


def _paired(a: Array, b: Array) -> Array:
    """Correlations of equal columns of what `_standardised` gives; rounding beyond 1 is cut off."""
    return np.clip(np.einsum("ij,ij->j", a, b), -1.0, 1.0)


def assignment(gain: Array) -> Array:
    """(d,) int64 column of each row of (d, m) so that the gains add up to the most, no column twice; -1 for rows without one."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(gain, maximize=True)
    out = np.full(len(gain), -1, dtype=np.int64)
    out[rows] = columns
    return out


def matching(z: Array, h: Array, *, ranks: bool = False) -> Matching:
    """The code of each of d variables by the absolute correlations of (n, d) and (n, m), dead codes left out."""
    found = correlations(z, h, ranks=ranks)
    alive = np.flatnonzero(~dead_codes(h))
    if not len(alive):
        return Matching(np.full(len(found), -1, dtype=np.int64), np.zeros(len(found)))
    code = assignment(np.abs(found[:, alive]))
    code = np.where(code >= 0, alive[code], -1)
    sign = np.sign(found[np.arange(len(code)), code]) * (code >= 0)
    return Matching(np.where(sign != 0, code, -1), sign)


def matched(z: Array, h: Array, report: Array, *, ranks: bool = False) -> Array:
    """(d,) correlation of each variable with its code on the rows of `report`, code and sign chosen on the others.

    Parameters
    ----------
    z, h
        (n, d) variables and (n, m) codes.
    report
        (n,) bool.
    ranks
        Spearman's correlation, both for the choice and for the value; ranks are within each half.
    """
    return values_on(matching(z[~report], h[~report], ranks=ranks), z[report], h[report], ranks=ranks)


def values_on(chosen: Matching, z: Array, h: Array, *, ranks: bool = False) -> Array:
    """(d,) signed correlations of given pairs on other rows; 0 without a code or where one of the two is constant."""
    own, code = (_standardised(x, ranks=ranks) for x in (z, chosen.columns(h)))
    return chosen.sign * _paired(own, code)


def rotation_floor(z: Array, *, seed: int, draws: int = 20) -> float:
    r"""Mean MCC of random rotations of the standardised variables: what a code that keeps everything and sorts out nothing gets.

    With R the correlation matrix of (n, d) and Q a random orthogonal matrix, the correlations of the variables with the columns of
    their rotation are :math:`RQ` over the square roots of the diagonal of :math:`Q^\top R Q`, so no sample is needed. It is 0.72
    for five independent variables and rises as they are correlated; were they whitened first, it would fall, and a
    random projection of correlated variables would seem to have found something.
    """
    r, rng, found = correlations(z, z), np.random.default_rng(seed), []
    for _ in range(draws):
        q, upper = np.linalg.qr(rng.normal(size=r.shape))
        q *= np.sign(np.diag(upper))
        gain = np.abs(r @ q) / np.sqrt(np.maximum(np.einsum("ij,ik,kj->j", q, r, q), 1e-12))
        found.append(gain[np.arange(len(gain)), assignment(gain)].mean())
    return float(np.mean(found))


def canonical(z: Array, h: Array, report: Array) -> Array:
    """(d,) correlations on `report` of the canonical pairs of (n, d) and (n, m) fitted on the other rows, strongest first.

    Zero for directions of the variables that no code is left for, where there are fewer live codes than variables. The second,
    third, … pair are uncorrelated with the earlier ones on the rows of the fit. Hotelling, Biometrika 1936.
    """
    out, h = np.zeros(z.shape[1]), h[:, ~dead_codes(h[~report])]
    left, right = _whitener(z[~report]), _whitener(h[~report])
    own, code = left(z[~report]), right(h[~report])
    if own.shape[1] and code.shape[1]:
        u, _, vt = np.linalg.svd(own.T @ code, full_matrices=False)
        found = _standardised(left(z[report]) @ u), _standardised(right(h[report]) @ vt.T)
        out[: u.shape[1]] = _paired(*found)
    return out


def _whitener(x: Array) -> Callable[[Array], Array]:
    """A map to uncorrelated columns of unit length on the rows of `x`, without directions that hardly vary."""
    mean, sd = x.mean(axis=0), x.std(axis=0)
    scale = np.where(sd > 0, sd, 1.0)
    _, s, vt = np.linalg.svd((x - mean) / scale, full_matrices=False)
    keep = s > 1e-6 * s.max(initial=0.0)
    return lambda new: (new - mean) / scale @ (vt[keep].T / s[keep])


def elementwise(z: Array, h: Array, report: Array) -> Array:
    """(d,) largest correlation of a function of each variable with a function of its code, on the rows of `report`.

    Functions are sums of cosines of the rank (`WAVES`), those of the highest correlation on the other rows, where also each
    variable gets its code. An elementwise map of any shape keeps it near 1, and so does a code that keeps a part of its variable
    such as the sign. After the randomised dependence coefficient of Lopez-Paz et al. 2013, with fixed features.
    """
    out = np.zeros(z.shape[1])
    alive = ~dead_codes(h[~report])
    varies = z[~report].std(axis=0) > 0
    if not alive.any() or not varies.any():
        return out
    own, code = _waves(z[:, varies], report), _waves(h[:, alive], report)
    d, m = int(varies.sum()), int(alive.sum())
    cross = own[0].reshape(-1, d * WAVES).T @ code[0].reshape(-1, m * WAVES)
    u, s, vt = np.linalg.svd(cross.reshape(d, WAVES, m, WAVES).transpose(0, 2, 1, 3))
    chosen = assignment(s[:, :, 0])
    f, g = np.zeros((len(own[1]), d)), np.zeros((len(own[1]), d))
    for i in np.flatnonzero(chosen >= 0):
        j = chosen[i]
        f[:, i], g[:, i] = own[1][:, i] @ u[i, j, :, 0], code[1][:, j] @ vt[i, j, 0]
    out[varies] = _paired(_standardised(f), _standardised(g))
    return out


def _waves(x: Array, report: Array) -> tuple[Array, Array]:
    """Cosines of the ranks among the rows that are not reported, (n, k, WAVES) of either half, uncorrelated on the first."""
    fit, new = x[~report], x[report]
    order = np.sort(fit, axis=0)
    out = np.zeros((len(fit), x.shape[1], WAVES)), np.zeros((len(new), x.shape[1], WAVES))
    for k in range(x.shape[1]):
        both = []
        for side in (fit, new):
            middle = np.searchsorted(order[:, k], side[:, k], "left") + np.searchsorted(order[:, k], side[:, k], "right")
            both.append(np.cos(np.pi * np.arange(1, WAVES + 1) * (middle / (2 * len(fit)))[:, None]))
        whiten = _whitener(both[0])
        for side, wave in zip(out, both, strict=True):
            white = whiten(wave)
            side[:, k, : white.shape[1]] = white
    return out


def agreement(a: Array, b: Array, report: Array) -> float:
    """MCC between two codes of the same cells, of two seeds say: from -1 to 1, 0 for codes without anything in common.

    Parameters
    ----------
    a, b
        (n, m) and (n, k) codes.
    report
        (n,) bool: pairs and signs are chosen on the rows where it is False, correlations are of the others. Dead codes agree
        with nothing, and the sum is divided by the larger of m and k; so the same either way round.
    """
    if not max(a.shape[1], b.shape[1]):
        return 0.0
    a, b = (a, b) if a.shape[1] <= b.shape[1] else (b, a)
    alive = ~dead_codes(a[~report])
    return float(matched(a[:, alive], b, report).sum() / b.shape[1])
