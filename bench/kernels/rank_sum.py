"""Mann-Whitney tests of many groups of cells against their controls, for every gene at once.

For each gene the values of all groups that are not zero are sorted together once. A sweep over the sorted values keeps
the number of smaller values of every group, which gives U of each group against its own control and the exact tie term
of each pair of samples. Zeros, four fifths of a screen or more, are one block of ties and are never touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .gene_major import GeneRange, for_each_range
from .rank_loops import sweep

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class RankSum:
    """Tests of g groups and G genes; NaN where a group is its own control or has none, or a side has no cells.

    Parameters
    ----------
    auc
        (g, G) float32 U / (n m): the share of pairs of a cell of the group and a control in which the cell's value is
        larger, ties counting one half. 0.5 is no difference.
    p
        (g, G) float64 two-sided p-value of the normal approximation with tie correction; NaN also where all values are
        tied.
    """

    auc: Array
    p: Array


def rank_sum(
    X: Any,
    codes: Array,
    n_groups: int,
    control: int | Array,
    *,
    transform: Callable[[Any], Any] | None = None,
    continuity: bool = True,
    threads: int | None = None,
    memory_bytes: int = 2**30,
) -> RankSum:
    r"""Mann-Whitney test of each group's cells against the cells of its control, for each gene.

    With U the number of pairs in which the cell of the group is larger (ties one half), N = n + m and t the sizes of the
    blocks of ties in the two samples together,
    :math:`z = (|U - nm/2| - c) / \sqrt{\frac{nm}{12}(N + 1 - \frac{\sum(t^3 - t)}{N(N - 1)})}` with c = 0.5 for the
    continuity correction, and p = min(1, 2 (1 - \Phi(z))).

    Parameters
    ----------
    X
        cells x genes: scipy CSR or CSC or an array (in memory or mapped), or anything whose row slices are one, such as
        ``X`` of a backed AnnData. Values are compared as float32 and may be negative.
    codes
        (n,) group of each cell in ``range(n_groups)``; cells with a negative code are left out.
    control
        The control group, or (n_groups,) the control group of each group, negative for none.
    transform
        Applied to each block of rows, such as a normalisation of counts.
    continuity
        Whether to apply the continuity correction.
    threads
        At most this many threads; results do not depend on it.
    memory_bytes
        Bound on the buffers of transposed values.

    Returns
    -------
    RankSum

    Raises
    ------
    ValueError
        If a code or a control is not below `n_groups`, X and codes differ in length, or X holds NaN.

    References
    ----------
    Mann and Whitney 1947; the same numbers as ``scipy.stats.mannwhitneyu(method="asymptotic")``.

    Examples
    --------
    >>> X = np.array([[0.0], [0.0], [1.0], [2.0]], dtype=np.float32)
    >>> rank_sum(X, np.array([0, 0, 1, 1]), 2, 0).auc[1]
    array([1.], dtype=float32)
    """
    codes = np.asarray(codes)
    controls = np.full(n_groups, control, dtype=np.int64) if np.ndim(control) == 0 else np.asarray(control, dtype=np.int64)
    if len(controls) != n_groups or (codes.size and codes.max() >= n_groups) or (controls >= n_groups).any():
        raise ValueError(f"codes and controls must be below n_groups = {n_groups}, with a control for each group")
    sizes = np.bincount(codes[codes >= 0], minlength=n_groups).astype(np.int64)
    auc = np.full((n_groups, X.shape[1]), np.nan, dtype=np.float32)
    p = np.full((n_groups, X.shape[1]), np.nan)

    def work(piece: GeneRange) -> None:
        sweep(piece.start, piece.stop, piece.entries, controls, sizes, continuity, piece.first, auc, p)

    for_each_range(X, codes, work, transform=transform, threads=threads, memory_bytes=memory_bytes)
    return RankSum(auc, p)
