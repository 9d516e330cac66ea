"""Changes of expression against a reference, with the noise of float32 rounding taken out.

Predictions and profiles are stored as float32 while references are float64, so a model that predicts *no change*
differs from the reference by up to 6e-8 of each gene's value. Correlating or ranking that noise would give such a model
an arbitrary score where it has none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: Relative size up to which a change is rounding: more than 100 float32 roundings, and far less than the sampling error
#: of a mean over any number of cells that a screen has.
ROUNDING = 1e-5


def change(profile: Array, reference: Array) -> Array:
    r"""Change of each row against its reference, exactly zero where it is no more than rounding.

    Parameters
    ----------
    profile, reference
        (n, k) mean log1p.

    Returns
    -------
    Array
        (n, k) :math:`\Delta_g = x_g - r_g`, with :math:`\Delta_g = 0` where :math:`|\Delta_g| \le 10^{-5}|r_g|`, and the
        whole row zero where :math:`\lVert\Delta\rVert \le 10^{-5}\lVert r\rVert`.
    """
    delta = profile - reference
    delta[np.abs(delta) <= ROUNDING * np.abs(reference)] = 0.0
    delta[norm(delta) <= ROUNDING * norm(reference)] = 0.0
    return delta


def centred(delta: Array, reference: Array) -> Array:
    r"""Each row of `delta` less its mean over genes; exactly zero where the row is constant up to rounding.

    Constant means :math:`\lVert\Delta - \bar\Delta\rVert \le 10^{-5}(\lVert r\rVert + \lVert\Delta\rVert)`: the second
    term bounds the rounding where the reference is zero.
    """
    out = delta - delta.mean(axis=1, keepdims=True)
    out[norm(out) <= ROUNDING * (norm(reference) + norm(delta))] = 0.0
    return out


def norm(rows: Array) -> Array:
    """(n,) Euclidean norm of each row."""
    return np.sqrt(np.einsum("ij,ij->i", rows, rows))
