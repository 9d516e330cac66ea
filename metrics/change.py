"""Changes of expression against a reference, with the noise of float32 rounding taken out.

Predictions and profiles are stored as float32 while references are float64, so a model that predicts *no change*
differs from the reference by up to 6e-8 of each gene's value. Correlating or ranking that noise would give such a model
an arbitrary score where it has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bench.contracts.metric import Comparison
from ..bench.contracts.truth import Truth

Array = np.ndarray[Any, Any]

#: Relative size up to which a change is rounding: more than 100 float32 roundings, and far less than the sampling error
#: of a mean over any number of cells that a screen has.
ROUNDING = 1e-5
# Rows that are turned into changes at a time, so that temporaries stay small beside the result.
_ROWS = 64


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


def ratio(above: Array, below: Array) -> Array:
    """`above` over `below`, NaN where `below` is not positive."""
    return np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)


def cosine_of(a: Array, b: Array) -> Array:
    """(n,) cosine of each pair of rows, NaN where one of them is zero."""
    # One after the other: the product of two small norms could underflow.
    unit = a * ratio(np.ones(len(a)), norm(a))[:, None]
    return np.clip(ratio(np.einsum("ij,ij->i", unit, b), norm(b)), -1.0, 1.0)


@dataclass(frozen=True)
class ContextChanges:
    """Changes against control of the m conditions of one context, over the genes that none of them targets.

    Parameters
    ----------
    rows
        (m,) rows of the conditions in the truth.
    true, guess
        (m, G) float64; zero in the genes that a condition of the context targets, which takes these genes out of every
        distance and every angle. A row of NaN where the model is absent.
    n_genes
        Number of genes that are left.
    """

    rows: Array
    true: Array
    guess: Array
    n_genes: int


def contexts(truth: Truth) -> list[Array]:
    """Rows of the conditions of each context, contexts in the order of their first condition."""
    groups: dict[str | None, list[int]] = {}
    for i, condition in enumerate(truth.conditions):
        groups.setdefault(condition.context, []).append(i)
    return [np.array(members) for members in groups.values()]


def context_changes(comparison: Comparison) -> list[ContextChanges]:
    """Changes of every context, for `Comparison.once`: those of the truth are shared by all models."""
    out = []
    for rows, kept, true in comparison.truth.once(true_changes):
        guess = _changes(comparison.predicted, comparison.reference("ctrl"), rows, kept)
        out.append(ContextChanges(rows, true, guess, int(kept.sum())))
    return out


def true_changes(truth: Truth) -> list[tuple[Array, Array, Array]]:
    """Rows, genes that are kept and true changes of every context as in `ContextChanges`, for `Truth.once`."""
    out = []
    for rows in contexts(truth):
        kept = np.ones(len(truth.genes), dtype=bool)
        kept[[gene for i in rows for gene in truth.target_genes[i]]] = False
        out.append((rows, kept, _changes(truth.profiles.mean, truth.references["ctrl"], rows, kept)))
    return out


def _changes(profile: Array, reference: Array, rows: Array, kept: Array) -> Array:
    out = np.empty((len(rows), profile.shape[1]))
    for start in range(0, len(rows), _ROWS):
        block = rows[start : start + _ROWS]
        out[start : start + _ROWS] = change(profile[block] * kept, reference[block] * kept)
    return out
