"""Whether perturbations that are alike in truth are alike in prediction.

Distances are between changes against control of the conditions of one context, target genes of the context left out, as in
retrieval. Here predictions are compared with predictions and truths with truths. An agreement of clusterings is left out on
purpose: it is noisy with few conditions, and the usual choice of the best of several resolutions flatters every model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..bench.contracts.metric import Comparison, MetricInfo, Values
from ..bench.contracts.truth import Truth
from .change import ContextChanges, context_changes, cosine_of, norm, true_changes
from .effect import rank_correlation

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Among:
    """Distances among the truths, and among the predictions, of the conditions of each context that have both."""

    distance: str

    def __call__(self, comparison: Comparison) -> list[tuple[Array, Array, Array]]:
        """(rows, distances among truths, distances among predictions), m, (m, m) and (m, m), a tuple a context."""
        from ..bench.kernels.distances import distances_among

        out = []
        for changes in comparison.once(context_changes):
            both = _both(changes, comparison.present[changes.rows], self.distance)
            true, guess = (distances_among(m[both], self.distance) for m in (changes.true, changes.guess))
            out.append((changes.rows[both], true, guess))
        return out


def _both(changes: ContextChanges, present: Array, distance: str) -> Array:
    if not changes.n_genes:
        return np.zeros(len(present), dtype=bool)
    if distance != "cosine":
        return present
    return present & (norm(changes.true) > 0) & (norm(changes.guess) > 0)


def mantel(comparison: Comparison, *, distance: str) -> Values:
    """Spearman correlation over pairs of conditions of true and predicted distance; (1,), the mean over contexts.

    Reasons: ``absent`` without any prediction; ``too_few_conditions`` with fewer than 3 predicted ones in every context;
    ``too_few_genes`` where nothing but target genes is measured; ``zero_variance`` where all distances are equal, as those of
    a constant prediction are, or where the cosine meets too many zero changes.
    """
    from ..bench.kernels.distances import ROUNDING

    found = []
    for rows, true, guess in comparison.once(_Among(distance)):
        if len(rows) >= 3:
            pairs = np.triu_indices(len(rows), 1)
            a, b = true[pairs], guess[pairs]
            scale = 1.0 if distance == "cosine" else max(a.max(), b.max())
            found.append(rank_correlation(a, b, ROUNDING * scale))
    defined = [value for value in found if not np.isnan(value)]
    return Values.of(np.array([np.mean(defined) if defined else np.nan]), _reason(comparison))


def _reason(comparison: Comparison) -> str:
    """Why no context has a value."""
    predicted = [(comparison.present[c.rows].sum(), c.n_genes) for c in comparison.once(context_changes)]
    if not comparison.present.any():
        return "absent"
    if not any(count >= 3 for count, _ in predicted):
        return "too_few_conditions"
    return "zero_variance" if any(genes for _, genes in predicted) else "too_few_genes"


def neighbours(comparison: Comparison, *, k: int, distance: str) -> Values:
    """Share of the k true nearest neighbours of each condition that are among its k predicted ones.

    Ties at the edge of the predicted neighbourhood are broken in expectation: a constant prediction scores k / (m - 1).

    Returns
    -------
    Values
        Reasons: ``absent``; ``zero_variance`` where the cosine meets a zero change, and where true distances tie at the edge;
        ``too_few_conditions`` where the context has k + 1 comparable conditions or fewer; ``too_few_genes``.
    """
    n = len(comparison.truth.conditions)
    value, reason = np.full(n, np.nan), np.full(n, "zero_variance", dtype=object)
    for changes, (rows, true, guess) in zip(comparison.once(context_changes), comparison.once(_Among(distance)), strict=True):
        if not changes.n_genes:
            reason[changes.rows] = "too_few_genes"
        elif len(rows) < k + 2:
            reason[rows] = "too_few_conditions"
        else:
            own, predicted = (_membership(d, k, distance) for d in (true, guess))
            value[rows] = np.where(np.isin(own, (0.0, 1.0)).all(axis=1), np.sum(own * predicted, axis=1) / k, np.nan)
    reason[~comparison.present] = "absent"
    return Values(value, np.where(np.isnan(value), reason, "").astype(object))


def _membership(between: Array, k: int, distance: str) -> Array:
    """(m, m) probability that j is among the k nearest of i, ties at the edge broken by chance; i is not its own neighbour."""
    from ..bench.kernels.distances import tolerance

    between = between.copy()
    np.fill_diagonal(between, np.inf)
    edge = np.partition(between, k - 1, axis=1)[:, k - 1 : k]
    within = tolerance(edge, distance)
    nearer, tied = between < edge - within, np.abs(between - edge) <= within
    left = k - nearer.sum(axis=1, keepdims=True)
    return nearer + tied * (left / tied.sum(axis=1, keepdims=True))


def truth_systematic_variation(comparison: Comparison) -> Values:
    """Mean cosine of the true changes of a context with their mean; (1,), the mean over contexts; of the truth alone."""
    value = comparison.truth.once(_systematic_variation)
    return Values.of(np.array([value]), "zero_variance" if len(comparison.truth.conditions) else "too_few_conditions")


def _systematic_variation(truth: Truth) -> float:
    found = []
    for _, _, true in truth.once(true_changes):
        cosines = cosine_of(true, np.broadcast_to(true.mean(axis=0), true.shape))
        if not np.isnan(cosines).all():
            found.append(np.nanmean(cosines))
    return float(np.mean(found)) if found else float("nan")


_K = 5
_FEW = "Undefined where a context has too few conditions that can be compared."
_DISTANCE_CAVEAT = {
    "cosine": "Angles hide how large changes are.",
    "l2": "Noise adds to the distances of conditions with few cells, and large effects are far from everything, so that sizes alone can make "
    "the value high.",
}

METRICS: tuple[MetricInfo, ...] = (
    *(
        MetricInfo(
            id=f"mantel@all~ctrl#{distance}",
            version=1,
            direction="up",
            lower=-1.0,
            upper=1.0,
            perfect=1.0,
            function=partial(mantel, distance=distance),
            summary=f"Spearman correlation over the pairs of conditions of a context of the {distance} distance of their true and of their "
            "predicted changes against control, target genes of the context left out, mean over contexts.",
            reference="Mantel 1967, Cancer Research",
            level="dataset",
            caveats=f"One number for a data set: pairs share conditions, so their number says nothing about precision. {_DISTANCE_CAVEAT[distance]} "
            f"{_FEW}",
        )
        for distance in ("cosine", "l2")
    ),
    MetricInfo(
        id=f"neighbours.k{_K}@all~ctrl#cosine",
        version=1,
        direction="up",
        lower=0.0,
        upper=1.0,
        perfect=1.0,
        function=partial(neighbours, k=_K, distance="cosine"),
        summary=f"Share of the {_K} nearest conditions of the context by cosine distance of true changes that are among the {_K} nearest by "
        "predicted changes, target genes of the context left out; chance and a constant prediction give "
        f"{_K} / (N - 1).",
        reference="k nearest neighbour overlap, compare Venna and Kaski 2001",
        caveats=f"Chance depends on the number N of conditions, so values of data sets of different size cannot be compared. With weak effects the "
        f"true neighbours are noise and even a perfect model of the means is far from 1. {_FEW}",
    ),
    MetricInfo(
        id="truth_systematic_variation@all~ctrl",
        version=1,
        direction="target",
        lower=-1.0,
        upper=1.0,
        perfect=0.0,
        function=truth_systematic_variation,
        summary="Mean over the conditions of a context of the cosine of the true change against control and of the mean of these changes, target "
        "genes of the context left out, mean over contexts.",
        reference="Systema, Nature Biotechnology 2025",
        level="dataset",
        caveats="A property of the truth and the same for every model: never rank on it. Where it is high, metrics against control reward a response "
        "that all perturbations share; noise of the controls, which all changes have in common, raises it too.",
    ),
)
