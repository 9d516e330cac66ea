"""Whether a prediction can be told apart: is it nearer to its own perturbation than to the others?

With D_ij the distance between the predicted change of i and the true change of j among the N conditions of a context,

    value_i = 1 - (#{closer than own} + 0.5 #{tied with own}) / (N - 1),

so that 1 is own first, 0 own last. Mid-ranks make a constant prediction worth exactly 0.5: in the mean over conditions
where truths are ranked, for every condition where predictions are ranked.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np

from ..bench.contracts.metric import Comparison, MetricInfo, Values
from .change import change, norm

Array = np.ndarray[Any, Any]

_DISTANCES: dict[str, Literal["cosine", "euclidean", "cityblock"]] = {"cosine": "cosine", "l2": "euclidean", "l1": "cityblock"}


def score(comparison: Comparison, *, ranked: str, distance: str) -> Values:
    """Mid-rank retrieval score of each condition among those of its context.

    Parameters
    ----------
    ranked
        ``truths``: for the prediction of i, all truths of the context are ranked, also those without a prediction.
        ``predictions``: for the truth of i, the predictions that are present are ranked.
    distance
        ``cosine``, ``l2`` or ``l1``, between changes against control. Measured target genes of *any* condition in the
        context are dropped first, so that the perturbed gene itself does not give the answer away.

    Returns
    -------
    Values
        Reasons: ``absent``; ``too_few_genes`` where nothing but target genes is measured; ``zero_variance`` where the
        cosine meets a zero change (which is no candidate for others either); ``too_few_conditions`` where N < 2.
    """
    conditions = comparison.truth.conditions
    value = np.full(len(conditions), np.nan)
    reason = np.full(len(conditions), "", dtype=object)
    groups: dict[str | None, list[int]] = {}
    for i, condition in enumerate(conditions):
        groups.setdefault(condition.context, []).append(i)
    for members in groups.values():
        rows = np.array(members)
        value[rows], reason[rows] = _within(comparison, rows, ranked, distance)
    return Values(value, reason)


def _within(comparison: Comparison, rows: Array, ranked: str, distance: str) -> tuple[Array, Array]:
    """Values and reasons of the conditions `rows` of one context."""
    from scipy.spatial.distance import cdist

    present = comparison.present[rows]
    true, guess = _changes(comparison, rows)
    has_truth, has_guess = np.ones(len(rows), dtype=bool), present
    if distance == "cosine":
        has_truth, has_guess = norm(true) > 0, present & (norm(guess) > 0)
    own = has_truth & has_guess
    candidates = has_truth if ranked == "truths" else has_guess
    value, reason = np.full(len(rows), np.nan), np.full(len(rows), "", dtype=object)
    if true.shape[1] == 0:
        reason[:] = "too_few_genes"
    else:
        reason[~own] = "zero_variance"
        if candidates.sum() < 2:
            reason[own] = "too_few_conditions"
        else:
            query, answer = (guess, true) if ranked == "truths" else (true, guess)
            # cdist goes pair by pair, so equal rows have equal distances to the last bit; a matrix product has not.
            distances = cdist(query[own], answer[candidates], _DISTANCES[distance])
            value[own] = _mid_rank(distances, (np.cumsum(candidates) - 1)[own])
    reason[~present] = "absent"
    return value, reason


def _changes(comparison: Comparison, rows: Array) -> tuple[Array, Array]:
    """True and predicted changes of `rows` against control over the genes that no condition of the context targets."""
    targets = [gene for i in rows for gene in comparison.truth.target_genes[i]]
    untouched = np.setdiff1d(np.arange(len(comparison.truth.genes)), targets)
    block = np.ix_(rows, untouched)
    control = comparison.reference("ctrl")[block]
    return change(comparison.expected[block], control), change(comparison.predicted[block], control)


def _mid_rank(distances: Array, own: Array) -> Array:
    """Score of each row whose own candidate is in column `own`."""
    mine = np.take_along_axis(distances, own[:, None], axis=1)
    closer, tied = (distances < mine).sum(axis=1), (distances == mine).sum(axis=1) - 1
    return 1.0 - (closer + 0.5 * tied) / (distances.shape[1] - 1)


_RANKED = {
    "truths": (
        "the prediction of each condition ranks all truths of its context",
        "cell-eval discrimination score and Systema centroid accuracy, here with mid-ranks",
    ),
    "predictions": (
        "the truth of each condition ranks all predictions of its context",
        "Wu et al. 2025, PerturBench rank, here with mid-ranks and 1 as best",
    ),
}

METRICS: tuple[MetricInfo, ...] = tuple(
    MetricInfo(
        id=f"retrieval.{ranked}@all~ctrl#{distance}",
        version=1,
        direction="up",
        lower=0.0,
        upper=1.0,
        perfect=1.0,
        function=partial(score, ranked=ranked, distance=distance),
        summary=f"Retrieval score 1 - (number closer + 0.5 * number tied) / (N - 1), where {orientation} "
        f"by {distance} distance of changes against control, target genes of the context left out; "
        "chance and a constant prediction give 0.5.",
        reference=source,
        headline=(ranked, distance) == ("truths", "cosine"),
    )
    for ranked, (orientation, source) in _RANKED.items()
    for distance in _DISTANCES
)
