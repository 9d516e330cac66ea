"""What one condition's called genes and their predicted ranking say: the statistics of the expression family.

Every statistic gets a `Case` whose S is not empty, and returns its value or the reason why there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .delta import average_ranks
from .gene_ranking import area_under_roc, average_precision, top_share

Array = np.ndarray[Any, Any]
Result = float | str


@dataclass(frozen=True)
class Case:
    """One condition over its g genes that are not perturbed.

    Parameters
    ----------
    positive
        (g,) bool: S.
    called
        (g,) bool: genes that the prediction calls; all where it gives a ranking only.
    change, guess
        (g,) true and predicted change against control.
    true_rank, rank
        (g,) what orders the genes of S, and the called genes, in lists of the top k: \\|change\\|, over the control
        standard deviation for ``score``; -log10 of p for ``welch``.
    evidence
        (g,) what orders all genes in the areas under curves.
    """

    positive: Array
    called: Array
    change: Array
    guess: Array
    true_rank: Array
    rank: Array
    evidence: Array

    def shared(self, k: int) -> float:
        """Genes that the top k of S and the top k of the called genes share, where k is at most the size of S.

        Genes of S that tie for the k-th place all count as found, so that the truth itself shares k.
        """
        listed = top_share(np.where(self.positive, self.true_rank, -np.inf), k) > 0
        return float(top_share(np.where(self.called, self.rank, -np.inf), k) @ listed)


def overlap(case: Case, k: int | None = None) -> Result:
    r"""Shared genes of the top k' of S and of the called genes, over k' = min(k, \|S\|); k' = \|S\| without k."""
    k = min(k or len(case.positive), int(case.positive.sum()))
    return case.shared(k) / k


def jaccard(case: Case, k: int) -> Result:
    """Shared genes over all genes of the two lists of `overlap`; tied genes count their expected overlap."""
    k = min(k, int(case.positive.sum()))
    shared = case.shared(k)
    return shared / (k + min(k, int(case.called.sum())) - shared)


def precision(case: Case, k: int | None = None) -> Result:
    """Share of the top k called genes that are in S; of all called genes without k or where fewer are called."""
    called = int(case.called.sum())
    if called == 0:
        return "none_called"
    k = min(k or called, called)
    return float(top_share(np.where(case.called, case.rank, -np.inf), k) @ case.positive) / k


def ranking_precision(case: Case, k: int) -> Result:
    r"""Share of the first k' = min(k, \|S\|) genes that are in S, for a prediction that ranks and does not call."""
    k = min(k, int(case.positive.sum()))
    return float(top_share(case.rank, k) @ case.positive) / k


def recall(case: Case) -> Result:
    """Share of S that is called."""
    return float((case.positive & case.called).sum() / case.positive.sum())


def f1(case: Case) -> Result:
    """Harmonic mean of precision and recall; 0 where nothing is called."""
    return float(2 * (case.positive & case.called).sum() / (case.positive.sum() + case.called.sum()))


def auprc(case: Case) -> Result:
    """Average precision of the evidence for S."""
    return "single_class" if case.positive.all() else average_precision(case.positive, case.evidence)


def auroc(case: Case) -> Result:
    """Area under the ROC curve of the evidence for S."""
    return "single_class" if case.positive.all() else area_under_roc(case.positive, case.evidence)


def sign_agreement(case: Case) -> Result:
    """Share of S that changes in the predicted direction; no predicted change counts one half, no true one is left out."""
    true = np.sign(case.change[case.positive])
    moved = true != 0
    return float(np.mean(0.5 * (1 + true * np.sign(case.guess[case.positive]))[moved])) if moved.any() else "zero_variance"


def lfc_spearman(case: Case) -> Result:
    """Rank correlation of true and predicted change over S; undefined for fewer than three genes or a constant side."""
    true, guess = case.change[case.positive], case.guess[case.positive]
    if len(true) < 3:
        return "too_few_genes"
    ranks = average_ranks(np.stack([true, guess])) - (len(true) + 1) / 2
    squares = np.sum(ranks**2, axis=1)
    return float(np.clip(ranks[0] @ ranks[1] / np.sqrt(squares.prod()), -1, 1)) if squares.all() else "zero_variance"


def count_ratio(case: Case) -> Result:
    """Number of called genes over the number of genes in S."""
    return float(case.called.sum() / case.positive.sum())
