"""Predicted and true cells of the same condition side by side, and fair samples of them.

A sample of the truth has a size that no prediction can change, and a prediction is heard with at most as many cells: more
cells than the truth has, or copies of cells, gain nothing. Cells are thinned at equal steps after sorting by their
principal coordinates, so no random number is drawn and neither the order nor copies of cells matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..bench.contracts.metric import Comparison, Values

Array = np.ndarray[Any, Any]
Pair = tuple[Array, Array]

#: Coordinates are cut here: an absurd prediction is absurdly far away, and squares of float32 stay finite.
FAR = 1e15


def reasons(comparison: Comparison, *, at_least: int = 2) -> Array:
    """(n,) why a condition has no two samples to compare, the first that applies; an empty string where it has.

    ``absent``, ``no_cells`` (the model predicted its mean only), ``too_few_cells`` (fewer than `at_least` on either side).
    """
    out = np.full(len(comparison.truth.conditions), "", dtype=object)
    for i in range(len(out)):
        if not comparison.present[i]:
            out[i] = "absent"
        elif i not in comparison.cells:
            out[i] = "no_cells"
        elif min(len(side) for side in comparison.once(coordinates)[i]) < at_least:
            out[i] = "too_few_cells"
    return out


def coordinates(comparison: Comparison) -> dict[int, Pair]:
    """Principal coordinates of predicted cells (m, d) and of the truth's (n, d), by condition; for `Comparison.once`."""
    truth = comparison.truth.cells
    assert truth is not None
    out = {}
    for i in sorted(comparison.cells):
        with np.errstate(over="ignore", invalid="ignore"):
            predicted = truth.embed(comparison.cells[i])
        predicted = np.nan_to_num(np.clip(predicted, -FAR, FAR), nan=FAR)
        out[i] = predicted, np.asarray(truth.embedded(i))
    return out


def fair(predicted: Array, true: Array, most: int) -> Pair:
    """Rows of two samples, in sorted order: of the truth at most `most`, of the prediction at most as many as of the truth.

    Parameters
    ----------
    predicted, true
        Principal coordinates (m, d) and (n, d).
    """
    from ..bench.kernels.pairwise import spread

    size = min(len(true), most)
    return spread(predicted, size), spread(true, size)


def each(comparison: Comparison, statistic: Callable[[Array, Array], float], *, at_least: int = 2) -> Values:
    """A statistic of predicted and true coordinates for each condition, conditions shared among threads.

    Where the statistic is NaN the reason is ``zero_variance``.
    """
    from ..bench.kernels.distance_sums import in_threads

    reason = reasons(comparison, at_least=at_least)
    value = np.full(len(reason), np.nan)
    ready = np.flatnonzero(reason == "")
    pairs = comparison.once(coordinates)
    value[ready] = in_threads([lambda pair=pairs[i]: statistic(*pair) for i in ready.tolist()])
    reason[ready] = np.where(np.isnan(value[ready]), "zero_variance", "")
    return Values(value, reason)
