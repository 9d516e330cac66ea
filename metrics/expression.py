"""Whether a prediction names the genes that are differentially expressed, in the right direction and order.

S are the genes that the truth calls at a false discovery rate of 0.05 (Mann-Whitney test of its cells against control), the
perturbed genes left out. What the prediction says comes from one of two sources, named after ``#``:

``score``
    The predicted means alone: genes ranked by \\|predicted change\\| over their standard deviation among control cells.
``cells``
    The predicted cells, tested like the truth against the *true* control cells, no more of them than the truth has.

``welch`` needs no cells at all: S is called by Welch's test of the profiles, and genes are ranked by the p-value that this test
would give if the truth had the predicted means.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..bench.contracts.metric import Comparison, MetricInfo, Values
from .delta import average_ranks
from .expression_calls import (
    control_sd,
    predicted_by_cells,
    predicted_change,
    predicted_welch_evidence,
    predicted_welch_t,
    true_by_mann_whitney,
    true_by_welch,
    true_change,
    true_welch_evidence,
    untargeted,
)
from .expression_case import (
    Case,
    Result,
    auprc,
    auroc,
    count_ratio,
    f1,
    jaccard,
    lfc_spearman,
    overlap,
    precision,
    ranking_precision,
    recall,
    sign_agreement,
)
from .gene_ranking import top_share

Array = np.ndarray[Any, Any]


def per_case(comparison: Comparison, *, source: str, statistic: Callable[[Case], Result]) -> Values:
    """Score each condition by itself.

    Parameters
    ----------
    source
        ``score``, ``cells`` or ``welch``.
    statistic
        Gets a `Case` whose S is not empty; returns its value, or the reason why there is none.

    Returns
    -------
    Values
        Reasons, the first that applies: ``absent``; those of `CellCalls`; ``no_deg`` where S is empty; the statistic's own.
    """
    truth = comparison.truth
    positive = truth.once(true_by_welch if source == "welch" else true_by_mann_whitney)
    genes, true, guess = truth.once(untargeted), truth.once(true_change), comparison.once(predicted_change)
    calls = comparison.once(predicted_by_cells) if source == "cells" else None
    reason = np.where(positive.any(axis=1), "", "no_deg").astype(object)
    if calls is not None:
        reason[calls.reason != ""] = calls.reason[calls.reason != ""]
    reason[~comparison.present] = "absent"
    value = np.full(len(reason), np.nan)
    for i in np.flatnonzero(reason == ""):
        keep = genes[i]
        a, b = true[i, keep], guess[i, keep]
        if source == "welch":
            true_rank, rank = truth.once(true_welch_evidence)[i, keep], comparison.once(predicted_welch_evidence)[i, keep]
            case = Case(positive[i, keep], np.ones(len(a), dtype=bool), a, b, true_rank, rank, rank)
        elif calls is None:
            sd = truth.once(control_sd)[i, keep]
            rank = np.abs(b) / sd
            case = Case(positive[i, keep], np.ones(len(a), dtype=bool), a, b, np.abs(a) / sd, rank, rank)
        else:
            case = Case(positive[i, keep], calls.significant[i, keep], a, b, np.abs(a), np.abs(b), calls.evidence[i, keep])
        result = statistic(case)
        if isinstance(result, str):
            reason[i] = result
        else:
            value[i] = result
    return Values(value, reason)


def top_shared(comparison: Comparison, *, k: int) -> Values:
    """Share of the k genes with the largest true Welch t that are among the k with the largest predicted one.

    Significance does not enter, so every condition with k untargeted genes is defined. Reasons: ``absent``, ``too_few_genes``,
    ``zero_variance`` where no predicted gene can be tested.
    """
    truth = comparison.truth
    genes, evidence = truth.once(untargeted), comparison.once(predicted_welch_t)
    value, reason = np.full(len(genes), np.nan), np.full(len(genes), "", dtype=object)
    for i, top in enumerate(truth.de_order[:, :k]):
        if not comparison.present[i]:
            reason[i] = "absent"
        elif len(top) < k or (top < 0).any():
            reason[i] = "too_few_genes"
        elif not evidence[i, genes[i]].any():
            reason[i] = "zero_variance"
        else:
            value[i] = top_share(np.where(genes[i], evidence[i], -np.inf), k)[top].sum() / k
    return Values(value, reason)


def count_spearman(comparison: Comparison) -> Values:
    """Rank correlation over conditions of the number of genes called by the truth and by the predicted cells."""
    calls = comparison.once(predicted_by_cells)
    ready = comparison.present & (calls.reason == "")
    if ready.sum() < 3:
        return Values.of(np.array([np.nan]), "too_few_conditions")
    counts = [c.sum(axis=1)[ready] for c in (comparison.truth.once(true_by_mann_whitney), calls.significant)]
    ranks = average_ranks(np.stack(counts).astype(np.float64)) - (ready.sum() + 1) / 2
    squares = np.sum(ranks**2, axis=1)
    if not squares.all():
        return Values.of(np.array([np.nan]), "zero_variance")
    return Values.of(np.clip(ranks[0] @ ranks[1] / np.sqrt(squares.prod(keepdims=True)), -1, 1))


_TRUTH = "S the genes that the truth calls (Mann-Whitney, BH 0.05, targets left out)"
_SOURCES = {
    "score": (
        ("means", "de"),
        f"{_TRUTH}, the prediction ranked by abs(dhat) / s with s the control standard deviation",
        "Calls depend on more than the mean, so even the true means do not reach 1: compare with the positive controls. "
        "Chance grows with the number of called genes, and the genes that most perturbations share are easy.",
    ),
    "cells": (
        ("cells", "de"),
        f"{_TRUTH}, Shat the same from at most as many predicted cells against the true controls, ranked by abs(dhat)",
        "Cells that spread too little make every gene significant, cells that spread too much none: read beside "
        "de_count_ratio. A gene without predicted variance counts as not significant.",
    ),
    "welch": (
        ("means",),
        "S the genes that Welch's test of the true profile calls (BH 0.05, targets left out), the prediction ranked by the p-value "
        "of the same test of its means, with variances and cell numbers of the truth",
        "Chance grows with the number of called genes, and the genes that most perturbations share are easy. The truth's variances "
        "help every prediction alike.",
    ),
}
_CELL_EVAL = "cell-eval 0.8.2"


def _metric(name: str, statistic: Callable[..., Result], source: str, formula: str, reference: str, **facts: Any) -> MetricInfo:
    needs, sides, caveats = _SOURCES[source]
    facts = {"direction": "up", "upper": 1.0, "needs": needs, "caveats": caveats} | facts
    return MetricInfo(
        id=f"{name}@all~ctrl#{source}",
        version=1,
        lower=0.0,
        perfect=1.0,
        function=partial(per_case, source=source, statistic=statistic),
        summary=f"{formula}; {sides}.",
        reference=reference,
        **facts,
    )


def _on_called_genes(name: str, statistic: Callable[..., Result], formula: str, lower: float, caveats: str) -> MetricInfo:
    return MetricInfo(
        id=f"{name}@deg~ctrl",
        version=1,
        direction="up",
        lower=lower,
        upper=1.0,
        perfect=1.0,
        function=partial(per_case, source="score", statistic=statistic),
        summary=f"{formula}; {_TRUTH}.",
        reference=_CELL_EVAL,
        needs=("means", "de"),
        caveats=caveats,
    )


METRICS: tuple[MetricInfo, ...] = (
    *(
        _metric(
            "de_overlap.n",
            overlap,
            source,
            "Share of S that is among the size(S) strongest predicted genes",
            f"{_CELL_EVAL} overlap_at_N, the DES of the Virtual Cell Challenge 2025",
        )
        for source in _SOURCES
    ),
    *(
        _metric(
            "de_overlap.k50",
            partial(overlap, k=50),
            source,
            "Share of the k strongest genes of S that are among the k strongest predicted genes, k = min(50, size(S))",
            f"{_CELL_EVAL} overlap_at_50",
        )
        for source in _SOURCES
    ),
    *(
        _metric(
            "de_jaccard.k20",
            partial(jaccard, k=20),
            source,
            "Genes in both over genes in either of two lists, the k strongest genes of S and the k strongest predicted genes, "
            "k = min(20, size(S))",
            "GEARS, Nature Biotechnology 2024, and Systema, Nature Biotechnology 2025",
        )
        for source in ("score", "cells")
    ),
    *(
        _metric(
            "de_precision.k50",
            partial(statistic, k=50),
            source,
            f"Share of the k strongest predicted genes that are in S, k = min(50, size({size}))",
            f"{_CELL_EVAL} precision_at_50, here against all of S",
        )
        for source, statistic, size in (("score", ranking_precision, "S"), ("cells", precision, "Shat"))
    ),
    _metric(
        "de_precision", precision, "cells", "Share of Shat that is in S", f"{_CELL_EVAL} precision_at_N, here against all of S"
    ),
    _metric(
        "de_recall",
        recall,
        "cells",
        "Share of S that is in Shat",
        _CELL_EVAL,
        caveats="Calling every gene is worth 1: read with de_precision, never alone.",
    ),
    _metric("de_f1", f1, "cells", "2 * size(S and Shat) / (size(S) + size(Shat))", "van Rijsbergen 1979"),
    *(
        _metric(
            "de_auprc",
            auprc,
            source,
            f"Average precision for S of all genes ranked by {evidence}, ties entering together",
            f"{_CELL_EVAL} pr_auc and scPertEval de_auprc, here without clipped p-values",
        )
        for source, evidence in (
            ("score", "abs(dhat) / s"),
            ("cells", "their predicted p-value"),
            ("welch", "their Welch p-value"),
        )
    ),
    *(
        _metric(
            "de_auroc",
            auroc,
            source,
            f"Probability that a gene of S ranks before one outside it by {evidence}, ties one half",
            f"{_CELL_EVAL} roc_auc, here without clipped p-values",
        )
        for source, evidence in (("score", "abs(dhat) / s"), ("cells", "its predicted p-value"))
    ),
    _metric(
        "de_count_ratio",
        count_ratio,
        "cells",
        "size(Shat) / size(S); 1 is best",
        f"{_CELL_EVAL} de_nsig_counts",
        direction="target",
        upper=float("inf"),
        caveats="A diagnostic of the spread of the predicted cells, to be read beside the overlaps. As many false calls as missed ones also give 1.",
    ),
    MetricInfo(
        id="de_count_spearman@all~ctrl#cells",
        version=1,
        direction="up",
        lower=-1.0,
        upper=1.0,
        perfect=1.0,
        function=count_spearman,
        summary=f"Spearman correlation over conditions of size(S) and size(Shat); {_SOURCES['cells'][1]}.",
        reference=f"{_CELL_EVAL} de_spearman_sig",
        level="dataset",
        needs=("cells", "de"),
        caveats="Follows the number of cells of each condition as much as its effect. Undefined for fewer than three conditions.",
    ),
    MetricInfo(
        id="de_top.k20@all~ctrl#welch",
        version=1,
        direction="up",
        lower=0.0,
        upper=1.0,
        perfect=1.0,
        function=partial(top_shared, k=20),
        summary="Share of the 20 genes with the largest absolute Welch t of truth against control that are among the 20 with the "
        "largest t of the predicted mean, with variances and cell numbers of the truth; targets left out.",
        reference="Wu et al. 2025, PerturBench, DEG recall; Systema, Nature Biotechnology 2025",
        caveats="Defined without any significant gene, where the 20 are noise: read beside de_overlap. Chance is 20 over the number of "
        "genes, and genes that most perturbations move are easy.",
    ),
    _on_called_genes(
        "de_sign_agreement",
        sign_agreement,
        "Share of S with sign(dhat) = sign(d); no predicted change counts 0.5, no true change is left out",
        0.0,
        "A change that all perturbations share gives far more than 0.5 to the mean of the training data.",
    ),
    _on_called_genes(
        "de_lfc_spearman",
        lfc_spearman,
        "Spearman correlation over S of the true and predicted difference d and dhat of mean log1p (natural log) against control",
        -1.0,
        "Where S holds genes of both directions the two clusters alone give a high value. Undefined for fewer than three genes.",
    ),
)
