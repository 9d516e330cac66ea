"""Which genes are differentially expressed: according to the truth, and according to a prediction.

All calls are per condition at a false discovery rate of 0.05 (Benjamini and Hochberg) over the genes that the condition does
not target. Changes are differences of mean log1p (natural logarithm) against the control of the context.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

import numpy as np

from ..bench.contracts.identity import derived_seed
from ..bench.contracts.metric import Comparison
from ..bench.contracts.stored_rows import StoredRows
from ..bench.contracts.truth import Truth
from .change import ROUNDING, change

Array = np.ndarray[Any, Any]

ALPHA = 0.05
# Rows that are tested at a time.
_ROWS = 64


@dataclass(frozen=True)
class CellCalls:
    """What the predicted cells of n conditions say.

    Parameters
    ----------
    significant
        (n, G) bool.
    evidence
        (n, G) float64 -log10 of the p-value before adjustment, 0 for a gene that could not be tested; p-values that
        underflow are followed by the distance of U / (n m) from one half.
    reason
        (n,) why there are no calls: ``no_cells``, ``no_controls``, ``zero_variance``, or empty.
    """

    significant: Array
    evidence: Array
    reason: Array


def untargeted(truth: Truth) -> Array:
    """(n, G) bool: genes that the condition does not target."""
    out = np.ones((len(truth.conditions), len(truth.genes)), dtype=bool)
    for row, targets in zip(out, truth.target_genes, strict=True):
        row[list(targets)] = False
    return out


def significant(p: Array, genes: Array) -> Array:
    """(n, G) bool: adjusted p below 0.05 among `genes`; NaN is not tested."""
    from ..bench.kernels.p_values import benjamini_hochberg

    return benjamini_hochberg(np.where(genes, p, np.nan), axis=1) < ALPHA


def true_by_mann_whitney(truth: Truth) -> Array:
    """(n, G) bool: significant Mann-Whitney test of the truth's cells against control cells."""
    assert truth.cells is not None, "a metric that needs 'de' is not called without"
    return significant(truth.cells.p, truth.once(untargeted))


def true_by_welch(truth: Truth) -> Array:
    """(n, G) bool: significant Welch test of the truth's profile against that of the controls."""
    return truth.once(_true_welch)[0]


def true_welch_evidence(truth: Truth) -> Array:
    """(n, G) float64 -log10 of the Welch p-value of the truth; see `predicted_welch_evidence`."""
    return truth.once(_true_welch)[1]


def _true_welch(truth: Truth) -> tuple[Array, Array]:
    """Which genes are significant, and their evidence, from the same p-values."""
    genes = truth.once(untargeted)
    called, evidence = np.empty(genes.shape, dtype=bool), np.empty(genes.shape)

    def work(rows: slice) -> None:
        t, p = _welch(truth, truth.profiles.mean, rows)
        called[rows], evidence[rows] = significant(p, genes[rows]), _evidence(t, p)

    _by_rows(work, len(genes))
    return called, evidence


def predicted_welch_evidence(comparison: Comparison) -> Array:
    """(n, G) float64 -log10 of the p-value that Welch's test would give if the truth had the predicted means.

    Variances and numbers of cells are those of the truth, so that the truth's own means give the truth's own p-values. 0 where
    there is nothing to test; p-values that underflow are followed by the size of t.
    """
    truth, out = comparison.truth, np.empty(comparison.predicted.shape)

    def work(rows: slice) -> None:
        out[rows] = _evidence(*_welch(truth, comparison.predicted, rows))

    _by_rows(work, len(out))
    return out


def predicted_welch_t(comparison: Comparison) -> Array:
    """(n, G) float64 absolute value of the t of that test, 0 where there is nothing to test."""
    from ..bench.kernels.p_values import welch_t

    truth, out = comparison.truth, np.empty(comparison.predicted.shape)

    def work(rows: slice) -> None:
        t = welch_t(*_samples(truth, comparison.predicted, rows))[0]
        t[_untested(truth, rows)] = np.nan
        out[rows] = np.nan_to_num(np.abs(t), nan=0.0, posinf=np.inf)

    _by_rows(work, len(out))
    return out


def _by_rows(work: Callable[[slice], None], n: int) -> None:
    """`work` on blocks of rows, in threads: p-values of a whole screen at once would be many times as large as the result."""
    from ..bench.kernels.distance_sums import in_threads

    in_threads([partial(work, slice(i, min(i + _ROWS, n))) for i in range(0, n, _ROWS)])


def _welch(truth: Truth, mean: Array, rows: slice) -> tuple[Array, Array]:
    from ..bench.kernels.p_values import welch

    (t, p), untested = welch(*_samples(truth, mean, rows)), _untested(truth, rows)
    t[untested] = p[untested] = np.nan
    return t, p


def _samples(truth: Truth, mean: Array, rows: slice) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Means, variances and numbers of cells of both sides of the test of some rows."""
    a, b, own = truth.profiles, truth.controls, truth.control_rows[rows]
    return mean[rows], a.var[rows], a.n_cells[rows, None], b.mean[own], b.var[own], b.n_cells[own, None]


def _untested(truth: Truth, rows: slice) -> Array:
    # A gene that nobody expresses is not tested, however little a dense prediction puts there.
    a, b, own = truth.profiles, truth.controls, truth.control_rows[rows]
    out = (a.var[rows] == 0) & (b.var[own] == 0) & (a.mean[rows] == b.mean[own])
    out[own < 0] = True
    return out


def _evidence(t: Array, p: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.where(p > 0, -np.log10(p), np.where(p == 0, 400.0 + np.log1p(np.abs(t)), 0.0))


def control_sd(truth: Truth) -> Array:
    """(n, G) standard deviation over control cells; where it is 0, the smallest of the context that is not, or 1.

    A gene that no control expresses then counts as the least variable one, and its changes still have an order.
    """
    sd = np.sqrt(truth.controls.var.astype(np.float64))
    for row in sd:
        row[row == 0] = row[row > 0].min() if (row > 0).any() else 1.0
    return sd[truth.control_rows]


def true_change(truth: Truth) -> Array:
    """(n, G) true change against control, zero where it is rounding."""
    return change(truth.profiles.mean.astype(np.float64), truth.references["ctrl"])


def predicted_change(comparison: Comparison) -> Array:
    """(n, G) predicted change against the true control, zero where it is rounding; NaN rows where the model is absent."""
    return change(comparison.predicted.astype(np.float64), comparison.reference("ctrl"))


def predicted_by_cells(comparison: Comparison) -> CellCalls:
    """Mann-Whitney tests of the predicted cells against the *true* controls.

    At most as many cells are tested as the truth has, chosen by their content (`representative`), so that a model gains
    nothing from more or repeated cells. A gene without variance over the predicted cells counts as tested and not
    significant, unless all of the truth's cells have that same value; a condition without variance in any gene is
    undefined.
    """
    from ..bench.kernels.control_ranks import ControlRanks
    from ..bench.kernels.distance_sums import in_threads
    from ..bench.kernels.extremes import extremes

    truth = comparison.truth
    assert truth.cells is not None, "a metric that needs 'de' is not called without"
    shape = len(truth.conditions), len(truth.genes)
    p, auc = np.full(shape, np.nan), np.full(shape, np.nan)
    reason = np.full(shape[0], "", dtype=object)
    reason[truth.control_rows < 0] = "no_controls"
    reason[[i not in comparison.cells for i in range(shape[0])]] = "no_cells"
    genes = truth.once(untargeted)
    reading = Lock()  # a model's mapping may read a file on each access

    def test(controls: ControlRanks, threads: int | None, i: int) -> None:
        with reading:
            cells = representative(comparison.cells[i], truth, i)
        if cells.shape[0] == 0:
            reason[i] = "no_cells"
            return
        low, high = extremes(cells)
        constant = low == high
        if constant[genes[i]].all():
            reason[i] = "zero_variance"
            return
        auc[i], p[i] = controls.test(cells, threads=threads)
        mean = truth.profiles.mean[i]
        right = (truth.profiles.var[i] == 0) & (np.abs(low - mean) <= ROUNDING * np.abs(mean))
        p[i, constant & ~right] = 1.0

    # Context by context, so that the sorted controls of one are held at a time.
    for context in np.unique(truth.control_rows[reason == ""]):
        rows = np.flatnonzero((truth.control_rows == context) & (reason == "")).tolist()
        cells = truth.cells.load_controls(int(context))
        room: dict[str, Any] = {}
        if isinstance(cells, StoredRows):
            cells.require(4 * cells.nnz, f"the sorted values of {cells.shape[0]:,} control cells")
            room = {} if cells.room is None else {"memory_bytes": cells.room}
        controls = ControlRanks(cells, **room)
        # A condition has few cells: a thread for each of many takes less time than threads within one after the other.
        threads = 1 if len(rows) > 1 else None
        in_threads([partial(test, controls, threads, i) for i in rows])
    with np.errstate(divide="ignore"):
        evidence = np.where(p > 0, -np.log10(p), np.where(p == 0, 400.0 + np.abs(auc - 0.5), 0.0))
    return CellCalls(significant(p, genes), evidence, reason)


def representative(cells: Any, truth: Truth, i: int) -> Any:
    """At most as many of a condition's predicted cells as the truth has, as float32.

    Cells are taken in the order of a hash of their content with a seed of the condition, each different cell before the
    second copy of any, and no more copies than the truth's own cells hold.
    """
    from ..bench.kernels.row_keys import first_occurrences_first, row_keys

    assert truth.cells is not None
    cells = cells.astype(np.float32, copy=False)
    seed = np.uint64(derived_seed("de-cells", truth.conditions[i].key))
    keys = truth.once(_gene_keys) ^ seed
    order, different = first_occurrences_first(row_keys(cells, keys))
    n = int(truth.profiles.n_cells[i])
    if different < min(n, len(order)):
        own = row_keys(truth.cells.load(i), keys)
        n = min(n, different + len(own) - len(np.unique(own)))
    return cells if n >= len(order) else cells[np.sort(order[:n])]


def _gene_keys(truth: Truth) -> Array:
    seeds = [derived_seed("de-cells", str(gene)) for gene in truth.genes]
    return np.array(seeds, dtype=np.uint64) << np.uint64(32)
