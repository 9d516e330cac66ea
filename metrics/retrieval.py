"""Whether a prediction can be told apart: is it nearer to its own perturbation than to the others?

With D_ij the distance between the predicted change of i and the true change of j among the N conditions of a context,
``closer`` the number of rivals nearer than one's own and ``tied`` the number as near,

    value_i = 1 - (closer + 0.5 tied) / (N - 1),

so that 1 is own first, 0 own last. Mid-ranks make a constant prediction worth exactly 0.5: in the mean over conditions
where truths are ranked, for every condition where predictions are ranked. Distances that differ by rounding alone are tied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..bench.contracts.metric import Comparison, MetricInfo, Values
from .change import ContextChanges, context_changes, norm

Array = np.ndarray[Any, Any]

DISTANCES = ("cosine", "l2", "l1")
# Distances that are in memory at a time: 64 MB, beside two temporaries of the same size.
_BLOCK_DISTANCES = 2**23


@dataclass(frozen=True)
class Standing:
    """Where each of n conditions stands among its rivals: in `closer`, `tied` and `candidates` (n,), NaN where undefined.

    `candidates` counts the condition itself, `tied` does not; `reason` says why a condition has no standing.
    """

    closer: Array
    tied: Array
    candidates: Array
    reason: Array

    @classmethod
    def undefined(cls, n: int) -> Standing:
        return cls(np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan), np.full(n, "", dtype=object))


@dataclass(frozen=True)
class Standings:
    """Standings by one distance, in both orientations from the same distances; equal ones are one computation.

    Parameters
    ----------
    distance
        ``cosine``, ``l2`` or ``l1``, between changes against control. Measured target genes of *any* condition in the
        context are dropped first, so that the perturbed gene itself does not give the answer away.
    """

    distance: str

    def __call__(self, comparison: Comparison) -> dict[str, Standing]:
        """``truths``: for the prediction of i, all truths of the context are ranked, also those without a prediction.
        ``predictions``: for the truth of i, the predictions that are present are ranked."""
        n = len(comparison.truth.conditions)
        out = {ranked: Standing.undefined(n) for ranked in ("truths", "predictions")}
        for changes in comparison.once(context_changes):
            self._within(changes, comparison.present[changes.rows], out)
        return out

    def _within(self, changes: ContextChanges, present: Array, out: dict[str, Standing]) -> None:
        """Standings of the conditions of one context, written into `out`."""
        from ..bench.kernels.distances import distances, paired_distances, tolerance

        rows = changes.rows
        has_truth, has_guess = np.ones(len(rows), dtype=bool), present
        if self.distance == "cosine":
            has_truth, has_guess = norm(changes.true) > 0, present & (norm(changes.guess) > 0)
        own = has_truth & has_guess
        for ranked, among in (("truths", has_truth), ("predictions", has_guess)):
            reason = np.where(own, "", "zero_variance").astype(object)
            if among.sum() < 2:
                reason[own] = "too_few_conditions"
            if not changes.n_genes:
                reason[:] = "too_few_genes"
            reason[~present] = "absent"
            out[ranked].reason[rows] = reason
        if not changes.n_genes or not own.any():
            return
        true, guess = changes.true[has_truth], changes.guess[has_guess]
        # Of each truth and of each prediction, the distance to its own counterpart; NaN, which is never closer, without one.
        mine_of_true, mine_of_guess = np.full(len(true), np.nan), np.full(len(guess), np.nan)
        of_true, of_guess = own[has_truth], own[has_guess]
        mine_of_true[of_true] = mine_of_guess[of_guess] = paired_distances(true[of_true], guess[of_guess], self.distance)
        by_truths, by_predictions = np.zeros((2, len(guess))), np.zeros((2, len(true)))
        step = max(64, _BLOCK_DISTANCES // len(true))
        for start in range(0, len(guess), step):
            block = slice(start, start + step)
            between = distances(guess[block], true, self.distance)
            within = tolerance(between, self.distance)
            for mine, axis, total in (
                (mine_of_guess[block, None], 1, by_truths[:, block]),
                (mine_of_true[None, :], 0, by_predictions),
            ):
                lead = mine - between
                total[0] += (lead > within).sum(axis=axis)
                total[1] += (np.abs(lead, out=lead) <= within).sum(axis=axis)
        for ranked, (closer, tied), mine, among in (
            ("truths", by_truths, of_guess, has_truth),
            ("predictions", by_predictions, of_true, has_guess),
        ):
            standing = out[ranked]
            standing.closer[rows[own]] = closer[mine]
            standing.tied[rows[own]] = tied[mine] - 1  # the condition is as near as itself
            standing.candidates[rows[own]] = among.sum()


def mid_rank(standing: Standing) -> Array:
    """(n,) score 1 - (closer + 0.5 tied) / (N - 1): 1 for own first, 0 for own last, 0.5 by chance."""
    rivals = standing.candidates - 1
    return 1.0 - np.divide(standing.closer + 0.5 * standing.tied, rivals, out=np.full(len(rivals), np.nan), where=rivals > 0)


def hit(standing: Standing, k: int) -> Array:
    """(n,) probability that one's own is among the k nearest where ties are broken by chance; undefined with k candidates or fewer."""
    share = np.clip((k - standing.closer) / (standing.tied + 1), 0.0, 1.0)
    return np.where(standing.candidates > k, share, np.nan)


def reciprocal_rank(standing: Standing) -> Array:
    """(n,) expectation of 1 / rank where ties are broken by chance, rank 1 for own nearest."""
    most = np.nan_to_num(standing.candidates).max(initial=0)
    # H(closer + tied + 1) - H(closer) is the sum of the reciprocals of the tied ranks.
    harmonic = np.concatenate(([0.0], np.cumsum(1.0 / np.arange(1, most + 1))))
    first, last = (np.nan_to_num(v).astype(int) for v in (standing.closer, standing.closer + standing.tied + 1))
    value = (harmonic[last] - harmonic[first]) / (standing.tied + 1)
    return np.where(standing.candidates > 1, value, np.nan)


def score(comparison: Comparison, *, ranked: str, distance: str, measure: Callable[[Standing], Array] = mid_rank) -> Values:
    """Retrieval score of each condition among those of its context.

    Parameters
    ----------
    ranked, distance
        See `Standings`.
    measure
        Turns standings into values.

    Returns
    -------
    Values
        Reasons: ``absent``; ``too_few_genes`` where nothing but target genes is measured; ``zero_variance`` where the
        cosine meets a zero change (which is no candidate for others either); ``too_few_conditions`` where N < 2, and
        where N <= k of the k nearest.
    """
    standing = comparison.once(Standings(distance))[ranked]
    value = measure(standing)
    reason = np.where(np.isnan(value) & (standing.reason == ""), "too_few_conditions", standing.reason).astype(object)
    return Values(value, reason)


_RANKED = {
    "truths": (
        "the prediction of each condition ranks all truths of its context",
        "cell-eval discrimination score and Systema centroid accuracy, here with mid-ranks",
        "A prediction that lies near a truth in the middle of all others is punished.",
    ),
    "predictions": (
        "the truth of each condition ranks all predictions of its context",
        "Wu et al. 2025, PerturBench rank, here with mid-ranks and 1 as best",
        "A prediction that lies in the middle of all others is near every truth and takes the first place from the right ones.",
    ),
}
_DISTANCE_CAVEAT = {
    "cosine": "The angle hides how large the predicted change is: read it beside magnitude_ratio.",
    "l2": "Depends on the size of the predicted changes: where true sizes differ, shrunk or exaggerated predictions in the right "
    "direction lose.",
    "l1": "Depends on the size of the predicted changes: where true sizes differ, shrunk or exaggerated predictions in the right "
    "direction lose.",
}
_HARDER = "The more conditions a context has, the finer the ranking, and conditions with alike truths cannot be told apart."
_NEAREST = {
    "top1": (partial(hit, k=1), "Probability that the own truth is the nearest of all N truths", "1 / N"),
    "top5": (partial(hit, k=5), "Probability that the own truth is among the 5 nearest of all N truths", "5 / N"),
    "mrr": (
        reciprocal_rank,
        "Reciprocal rank 1 / (1 + number closer) of the own truth among all N truths",
        "(1 + 1/2 + ... + 1/N) / N",
    ),
}

METRICS: tuple[MetricInfo, ...] = (
    *(
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
            headline=(ranked, distance) in (("truths", "cosine"), ("predictions", "l2")),
            caveats=f"{caveat} {_DISTANCE_CAVEAT[distance]} {_HARDER}",
        )
        for ranked, (orientation, source, caveat) in _RANKED.items()
        for distance in DISTANCES
    ),
    *(
        MetricInfo(
            id=f"retrieval.{name}@all~ctrl#cosine",
            version=1,
            direction="up",
            lower=0.0,
            upper=1.0,
            perfect=1.0,
            function=partial(score, ranked="truths", distance="cosine", measure=measure),
            summary=f"{formula} of its context by cosine distance of the predicted change, ties broken in expectation, target genes "
            f"of the context left out; chance and a constant prediction give {chance}.",
            reference="centroid retrieval as in Systema, Nature Biotechnology 2025, with ties in expectation",
            caveats=f"Chance is {chance}, so values of data sets with different N cannot be compared. {_DISTANCE_CAVEAT['cosine']}"
            + (f" Undefined unless N is above {name[-1]}." if name.startswith("top") else ""),
        )
        for name, (measure, formula, chance) in _NEAREST.items()
    ),
)
