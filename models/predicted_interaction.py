"""The genetic interaction that a model predicts for two genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bench.kernels.interaction import InteractionScores, expressed_genes, interaction_class, interaction_scores

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PredictedInteraction:
    """What is predicted of two genes and of both together.

    Parameters
    ----------
    first, second, double
        (G,) predicted changes.
    scores
        Scores of the interaction; magnitude √2 is additive.
    label
        Its class, a member of `bench.kernels.interaction.CLASSES`.
    """

    first: Array
    second: Array
    double: Array
    scores: InteractionScores
    label: str


def predicted_interaction(
    first: Array, second: Array, double: Array, control: Array, targets: tuple[int, ...] = ()
) -> PredictedInteraction:
    """Score (G,) predicted changes of two singles and their double on the 1,000 most expressed genes, less the targets.

    Parameters
    ----------
    control
        (G,) control mean.
    targets
        Positions of the targets among the genes.
    """
    used = expressed_genes(control, targets)
    scores = interaction_scores(first[used], second[used], double[used])
    return PredictedInteraction(first, second, double, scores, interaction_class(scores))
