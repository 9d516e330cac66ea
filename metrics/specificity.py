"""Whether a prediction looks more like its own perturbation than like the others, on the scale of a correlation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..bench.contracts.metric import Comparison, MetricInfo, Values
from .change import ROUNDING, context_changes, norm, true_changes

Array = np.ndarray[Any, Any]


def excess(comparison: Comparison) -> Values:
    r"""Pearson correlation with the own true change less the mean one with the others, on the scale of the truth itself.

    .. math:: \frac{r_{ii} - \frac{1}{N-1}\sum_{j \ne i} r_{ij}}{1 - \bar\rho}

    with :math:`r_{ij}` the correlation over genes of the predicted change of i with the true change of j, and
    :math:`\bar\rho` the mean correlation of two different true changes, among the N conditions of a context.

    Returns
    -------
    Values
        Reasons: ``absent``; ``too_few_genes`` where fewer than two genes are not targeted; ``zero_variance`` where a change is
        constant over genes, or where all true changes correlate perfectly; ``too_few_conditions`` where N < 2.
    """
    n = len(comparison.truth.conditions)
    value, reason = np.full(n, np.nan), np.full(n, "zero_variance", dtype=object)
    for changes, (rows, kept, _) in zip(comparison.once(context_changes), comparison.truth.once(true_changes), strict=True):
        if changes.n_genes < 2:
            reason[rows] = "too_few_genes"
            continue
        present = comparison.present[rows]
        true, guess = _unit(changes.true[:, kept]), _unit(np.where(present[:, None], changes.guess[:, kept], 0.0))
        has_truth, has_guess = true.any(axis=1), guess.any(axis=1)
        others = int(has_truth.sum()) - 1
        if others < 1:
            reason[rows[has_truth]] = "too_few_conditions"
            continue
        # Rows of zeros correlate with nothing, so sums over all columns are sums over the defined ones.
        room = 1.0 - (np.sum(true.sum(axis=0) ** 2) - has_truth.sum()) / (has_truth.sum() * others)
        correlation = guess @ true.T
        own = np.diag(correlation)
        found = own - (correlation.sum(axis=1) - own) / others
        ready = has_truth & has_guess & (room > ROUNDING)
        value[rows[ready]] = found[ready] / room
    reason[~comparison.present] = "absent"
    return Values(value, np.where(np.isnan(value), reason, "").astype(object))


def _unit(delta: Array) -> Array:
    """Rows less their mean over genes and of length 1; zero where they are constant up to rounding."""
    centred = delta - delta.mean(axis=1, keepdims=True)
    length = norm(centred)
    return centred * np.divide(1.0, length, out=np.zeros(len(length)), where=length > ROUNDING * norm(delta))[:, None]


METRICS: tuple[MetricInfo, ...] = (
    MetricInfo(
        id="pearson_excess@all~ctrl",
        version=1,
        direction="up",
        lower=float("-inf"),
        upper=float("inf"),
        perfect=1.0,
        function=excess,
        summary="Pearson correlation of the predicted with the own true change against control, less its mean correlation with the "
        "true changes of the other conditions of the context, over 1 - the mean correlation of two true changes; targets of the "
        "context left out.",
        reference="defined here; compare Systema, Nature Biotechnology 2025, on what perturbations share",
        headline=True,
        caveats="The mean over all conditions of a context is exactly 0 for every prediction that does not depend on the condition, "
        "and exactly 1 for the truth; a single condition may lie beyond both. Blind to the size of the change. A condition that "
        "resembles many others can score below 0 even when it is predicted well.",
    ),
)
