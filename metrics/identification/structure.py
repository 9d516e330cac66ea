"""Whether codes, targets and edges are those of the truth: importances (DCI), targets of perturbations, and the causal graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...bench.contracts.latents import LatentComparison
from ...bench.contracts.metric import MetricInfo
from ...bench.kernels import edges
from ...bench.kernels.detection import average_precision
from ...bench.kernels.latent_regression import r2
from ...bench.kernels.matching import dead_codes
from . import targets
from .correlation import Chosen
from .halves import Score, Undefined, chosen_cells, columns, continuous, info, varying
from .regression import mean_of

Array = np.ndarray[Any, Any]

#: Cells that trees are fitted on.
TREE_CELLS = 2000


def importances(latents: LatentComparison) -> tuple[Array, Array]:
    """(m, d) importances of the live codes for all variables that vary, and the (d,) R2 of the same trees on the reported half."""
    from ...bench.kernels.boosted_trees import boosted

    fit, new, _ = latents.once(chosen_cells)
    fit = fit[np.linspace(0, len(fit) - 1, min(len(fit), TREE_CELLS)).astype(np.int64)]
    codes = latents.code("all")
    found = np.flatnonzero(latents.once(varying))
    parts = [columns(latents, int(i)) for i in found]
    alive = ~dead_codes(codes[fit])
    if not parts or not alive.any():
        raise Undefined("zero_variance")
    trees = [boosted(codes[fit][:, alive], p[fit], codes[new][:, alive]) for p in parts]
    variance = [p[fit].var(axis=0) for p in parts]
    weighted = [t.importance @ (v / v.sum()) for t, v in zip(trees, variance, strict=True)]
    return np.stack(weighted, axis=1), np.array([r2(p[new], t.predicted) for p, t in zip(parts, trees, strict=True)])


def disentanglement(latents: LatentComparison) -> float:
    """How much each code is about one variable only."""
    from ...bench.kernels import boosted_trees

    return boosted_trees.disentanglement(latents.once(importances)[0])


def completeness(latents: LatentComparison) -> float:
    """How much each variable is told by one code only."""
    from ...bench.kernels import boosted_trees

    return boosted_trees.completeness(latents.once(importances)[0])


def informativeness(latents: LatentComparison) -> float:
    """Mean over variables of the R2 of the trees."""
    return mean_of(latents.once(importances)[1])


def graphs(latents: LatentComparison) -> tuple[Array, Array]:
    """(d, d) bool true summary graph of the real responsive variables and (d, d) strengths of the model between their codes.

    An edge is there where a variable is a direct cause of another in the same instant or an earlier one.

    Raises
    ------
    Undefined
        ``no_graph`` where the model gives none, ``no_edges`` where the truth has none.
    """
    if latents.encoding.graph is None:
        raise Undefined("no_graph")
    variables, chosen = continuous(latents, "responsive"), latents.once(Chosen("responsive"))
    true = latents.truth.graph | latents.truth.lagged.any(axis=0)
    true = true[np.ix_(variables, variables)] & ~np.eye(len(variables), dtype=bool)
    if not true.any():
        raise Undefined("no_edges")
    width = latents.code("responsive").shape[1]
    strength = np.zeros((width, width))
    given = np.abs(latents.encoding.graph)[:width, :width]
    strength[: len(given), : len(given)] = given
    return true, chosen.columns(chosen.columns(strength).T).T


def distance(latents: LatentComparison) -> float:
    """Structural Hamming distance of the graph of as many strongest edges over the number of true edges."""
    true, strength = latents.once(graphs)
    return edges.hamming(true, edges.strongest(strength, int(true.sum()))) / int(true.sum())


def directed(latents: LatentComparison) -> float:
    """F1 of the directed edges."""
    true, strength = latents.once(graphs)
    return edges.f1(true, edges.strongest(strength, int(true.sum())))


def undirected(latents: LatentComparison) -> float:
    """F1 of the pairs with an edge either way."""
    true, strength = latents.once(graphs)
    return edges.f1(edges.skeleton(true), edges.skeleton(edges.strongest(strength, int(true.sum()))))


def precision(latents: LatentComparison) -> float:
    """Average precision of the directed edges by strength; ``single_class`` where every pair has both."""
    true, strength = (edges.off_diagonal(matrix) for matrix in latents.once(graphs))
    if true.all():
        raise Undefined("single_class")
    return average_precision(strength, true)


_EASTWOOD = "Eastwood & Williams, ICLR 2018 (DCI), in regression"
_TREES = f"50 boosted trees of depth 3 for each variable on at most {TREE_CELLS:,} cells of one half"
_CORRELATED = (
    "Falls with noise and with the correlation of the variables even for a code that is sorted out perfectly: read it beside the row of "
    "the oracle. Noise gets near 0."
)
_EDGES = (
    "true edges are direct causes among the real responsive variables, in the same instant or an earlier one, self-edges left out; the model's "
    "are as many of its strongest, ties over the last place left out; codes stand for the variables that they are paired with as for "
    "mcc.responsive"
)
_TSAMARDINOS = "Tsamardinos, Brown & Aliferis, Machine Learning 2006; Varici et al., JMLR 2025; Buchholz et al., NeurIPS 2023"


def _dci(name: str, function: Callable[[LatentComparison], float], summary: str, caveats: str, **facts: Any) -> MetricInfo:
    return info(f"dci.{name}", Score(function), summary, caveats, _EASTWOOD, **facts)


METRICS: tuple[MetricInfo, ...] = (
    _dci(
        "disentanglement",
        disentanglement,
        f"Mean over codes, by their share of all importance, of 1 - entropy (base d) of the importances for the d variables; {_TREES}.",
        _CORRELATED,
        headline=True,
    ),
    _dci(
        "completeness",
        completeness,
        f"Mean over variables of 1 - entropy (base m) of the importances of the m live codes; {_TREES}.",
        f"Several codes for one variable lower it, which is no fault of most models. {_CORRELATED}",
    ),
    _dci(
        "informativeness",
        informativeness,
        f"Mean over variables of the R2 of these trees on the reported half; {_TREES}.",
        "So few shallow trees reach about 0.97 where a variable is a code itself, and less where it is a mixture of many.",
        lower=float("-inf"),
    ),
    *targets.METRICS,
    info(
        "graph_shd",
        Score(distance),
        f"Edges to add, to delete or to turn, a turned one counting once, over the number of true edges; {_EDGES}.",
        "The empty graph gets 1, so more than 1 is worse than saying nothing; a random graph with as many edges is above 1.",
        _TSAMARDINOS,
        direction="down",
        upper=float("inf"),
        perfect=0.0,
    ),
    info(
        "graph_f1.directed",
        Score(directed),
        f"2 TP / (2 TP + FP + FN) of the directed edges; {_EDGES}.",
        "Chance is the share of true edges. Orientation and variables are both needed.",
        _TSAMARDINOS,
    ),
    info(
        "graph_f1.skeleton",
        Score(undirected),
        f"2 TP / (2 TP + FP + FN) of the pairs with an edge either way; {_EDGES}.",
        "Symmetric strengths, such as correlations, can be perfect.",
        _TSAMARDINOS,
    ),
    info(
        "graph_auprc",
        Score(precision),
        f"Average precision of the directed edges by strength; {_EDGES}.",
        "Chance is the share of true edges; needs no threshold.",
        _TSAMARDINOS,
    ),
)
