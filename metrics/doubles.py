"""The doubles of a truth: their changes, the interaction in them, and GEARS' scores of it, in truth and in prediction."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bench.contracts.metric import Comparison
from ..bench.contracts.truth import Truth
from .change import ROUNDING, change

if TYPE_CHECKING:
    from ..bench.kernels.detection import EmpiricalNull
    from ..bench.kernels.interaction import InteractionScores

Array = np.ndarray[Any, Any]

#: Residuals below which the normal at the centre of their distribution cannot be fitted.
MIN_RESIDUALS = 100


@dataclass(frozen=True)
class Doubles:
    """The p doubles of a truth whose singles were both measured.

    Parameters
    ----------
    rows
        (p,) rows of the truth.
    first, second, double
        (p, G) true changes against control.
    residual
        (p, G) additive residual, zero where it is no more than rounding.
    measured
        (p, G) bool: all genes but the targets of the double.
    expressed
        (p, G) bool: of these the 1,000 with the highest control mean.
    """

    rows: Array
    first: Array
    second: Array
    double: Array
    residual: Array
    measured: Array
    expressed: Array


def doubles(truth: Truth) -> Doubles:
    """The doubles with measured singles, and their true interactions; derived once for a truth by ``truth.once``."""
    from ..bench.kernels.interaction import expressed_genes

    singles = truth.single_shifts or (None,) * len(truth.conditions)
    rows = [i for i, c in enumerate(truth.conditions) if len(c.targets) == 2 and _known(singles[i])]
    n_genes = truth.profiles.mean.shape[1]
    pairs = np.array([singles[i] for i in rows], dtype=np.float64).reshape(-1, 2, n_genes)
    control = truth.references["ctrl"][rows]
    measured, expressed = np.ones((len(rows), n_genes), dtype=bool), np.zeros((len(rows), n_genes), dtype=bool)
    for k, i in enumerate(rows):
        measured[k, list(truth.target_genes[i])] = False
        expressed[k, expressed_genes(control[k], truth.target_genes[i])] = True
    double, residual = _interaction(truth.profiles.mean[rows].astype(np.float64), control, pairs[:, 0], pairs[:, 1])
    return Doubles(np.array(rows, dtype=np.int64), pairs[:, 0], pairs[:, 1], double, residual, measured, expressed)


def _known(shifts: Array | None) -> bool:
    return shifts is not None and not np.isnan(shifts).any()


def _interaction(profile: Array, control: Array, first: Array, second: Array) -> tuple[Array, Array]:
    """Change and additive residual of doubles, rounding of float32 taken out; where there is no residual they agree exactly."""
    double = change(profile.copy(), control)
    additive = first + second
    residual = double - additive
    residual[np.abs(residual) <= ROUNDING * (np.abs(control) + np.abs(first) + np.abs(second))] = 0.0
    return np.where(residual == 0, additive, double), residual


def predicted(comparison: Comparison) -> tuple[Array, Array]:
    """Predicted change and additive residual of each of `doubles`, (p, G) each, NaN where absent."""
    true = comparison.truth.once(doubles)
    control = comparison.truth.references["ctrl"][true.rows]
    return _interaction(comparison.predicted[true.rows].astype(np.float64), control, true.first, true.second)


def null(truth: Truth) -> EmpiricalNull | None:
    """The empirical null of the true residuals of all doubles over expressed genes; None for fewer than `MIN_RESIDUALS`."""
    from ..bench.kernels.detection import empirical_null

    true = truth.once(doubles)
    values = true.residual[true.expressed]
    return empirical_null(values) if len(values) >= MIN_RESIDUALS else None


def true_scores(truth: Truth) -> tuple[InteractionScores, ...]:
    """GEARS' scores of each true double, over expressed genes."""
    return _scores(truth.once(doubles), truth.once(doubles).double)


def predicted_scores(comparison: Comparison) -> tuple[InteractionScores, ...]:
    """GEARS' scores of each predicted double with the true singles, over expressed genes; NaN where absent."""
    return _scores(comparison.truth.once(doubles), comparison.once(predicted)[0])


def _scores(true: Doubles, double: Array) -> tuple[InteractionScores, ...]:
    from ..bench.kernels.interaction import InteractionScores, interaction_scores

    nothing = InteractionScores(*(np.nan for _ in fields(InteractionScores)))
    return tuple(
        nothing if np.isnan(ab).any() else interaction_scores(a[genes], b[genes], ab[genes])
        for a, b, ab, genes in zip(true.first, true.second, double, true.expressed, strict=True)
    )


def reasons(comparison: Comparison) -> Array:
    """(n,) why a condition has no interaction to score, an empty string where it has."""
    truth = comparison.truth
    reason = np.array(["no_singles" if len(c.targets) == 2 else "not_a_double" for c in truth.conditions], dtype=object)
    reason[truth.once(doubles).rows] = ""
    reason[~comparison.present] = "absent"
    return reason


def kept(comparison: Comparison) -> Array:
    """(p,) bool: doubles that are present."""
    return comparison.present[comparison.truth.once(doubles).rows]


def why_none(comparison: Comparison) -> str:
    """The reason of a score over all doubles where none is present."""
    if len(comparison.truth.once(doubles).rows):
        return "absent"
    return "no_singles" if any(len(c.targets) == 2 for c in comparison.truth.conditions) else "not_a_double"
