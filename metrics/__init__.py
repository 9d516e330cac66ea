"""The scores. One file a family; every score is a pure function of a `Comparison`.

Ids follow ``family[.variant][@genes][~reference][#representation]``: ``pearson_delta@de20~pert`` is the Pearson
correlation of changes against the training mean over the 20 genes that the truth says are affected most.
"""

from __future__ import annotations

from ..bench.contracts.metric import MetricInfo
from . import (
    delta,
    distribution,
    effect,
    expression,
    interaction,
    legacy,
    marginal,
    pointwise,
    retrieval,
    specificity,
    structure,
    uncertainty,
    weighted,
)
from .identification import FAMILIES as OF_LATENTS

#: Metrics by family, in the order in which a reader meets them; each family has a page in the docs.
FAMILIES: dict[str, tuple[MetricInfo, ...]] = {
    "pointwise": pointwise.METRICS,
    "weighted": weighted.METRICS,
    "delta": delta.METRICS,
    "effect": effect.METRICS,
    "retrieval": retrieval.METRICS,
    "specificity": specificity.METRICS,
    "structure": structure.METRICS,
    "expression": expression.METRICS,
    "distribution": distribution.METRICS,
    "marginal": marginal.METRICS,
    "interaction": interaction.METRICS,
    "uncertainty": uncertainty.METRICS,
    "legacy": legacy.METRICS,
    **OF_LATENTS,
}

#: Every built-in metric by id.
CATALOGUE: dict[str, MetricInfo] = {m.id: m for metrics in FAMILIES.values() for m in metrics}

#: Named selections of ids: ``headline`` is the leaderboard's first table, ``full`` is every score of predictions and
#: ``identifiability`` every one of latent variables, the others hold the scores that a benchmark or a line of papers reports, as
#: far as they are defined here (the pages of the metrics say what differs).
PROFILES: dict[str, tuple[str, ...]] = {
    "headline": tuple(name for name, metric in CATALOGUE.items() if metric.headline and not metric.of_latents),
    "full": tuple(name for name, metric in CATALOGUE.items() if not metric.of_latents),
    "identifiability": tuple(name for name, metric in CATALOGUE.items() if metric.of_latents),
    # The differential expression score, the perturbation discrimination score and the mean absolute error, each beside its
    # variant for models without cells.
    "vcc": ("de_overlap.n@all~ctrl#cells", "de_overlap.n@all~ctrl#score", "retrieval.truths@all~ctrl#l1", "mae@all"),
    "gears": (
        "mse@all",
        "mse@de20",
        "nmse@de20",
        "pearson_delta@all~ctrl",
        "pearson_delta@de20~ctrl",
        "opposite_direction@de20~ctrl",
        "frac_sigma@de20",
        "frac_in_range@de20",
        "de_jaccard.k20@all~ctrl#score",
        "gi_magnitude_pearson@expressed1000~ctrl",
        "gi_precision.k10@expressed1000~ctrl",
    ),
    "perturbench": (
        "rmse@all",
        "cosine_logfc@all~ctrl",
        "retrieval.predictions@all~ctrl#l2",
        "retrieval.predictions@all~ctrl#cosine",
        "de_top.k20@all~ctrl#welch",
        "mmd@all#pca",
    ),
    "legacy": tuple(m.id for m in legacy.METRICS),
}
