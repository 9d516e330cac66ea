"""Mann-Whitney tests of one group of cells at a time against controls that are sorted once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .gene_major import GeneRange, for_each_range
from .rank_loops import merge, sorted_keys

Array = np.ndarray[Any, Any]


class ControlRanks:
    """Control cells with the values of each gene sorted, to test any number of groups that arrive one by one.

    Gives the numbers of `rank_sum`; the controls' non-zero values are kept, at 4 bytes each.

    Parameters
    ----------
    X
        m x G control cells, as in `rank_sum`.
    transform, threads, memory_bytes
        As in `rank_sum`.

    Raises
    ------
    ValueError
        If X holds NaN.
    """

    def __init__(
        self,
        X: Any,
        *,
        transform: Callable[[Any], Any] | None = None,
        threads: int | None = None,
        memory_bytes: int = 2**30,
    ) -> None:
        parts: dict[int, tuple[Array, Array]] = {}
        self.ties = np.zeros(X.shape[1])

        def work(piece: GeneRange) -> None:
            keys = sorted_keys(piece.start, piece.stop, piece.entries, piece.first, self.ties)
            parts[piece.first] = piece.stop - piece.start, keys

        codes = np.zeros(X.shape[0], dtype=np.int64)
        for_each_range(X, codes, work, transform=transform, threads=threads, memory_bytes=memory_bytes)
        ordered = [parts[first] for first in sorted(parts)]
        self.n_cells = X.shape[0]
        self.keys = np.concatenate([keys for _, keys in ordered] or [np.empty(0, dtype=np.uint32)])
        self.bounds = np.concatenate([[0], *(n for n, _ in ordered)]).astype(np.int64).cumsum()

    def test(
        self,
        X: Any,
        *,
        transform: Callable[[Any], Any] | None = None,
        continuity: bool = True,
        threads: int | None = None,
        memory_bytes: int = 2**30,
    ) -> tuple[Array, Array]:
        """Test a group of cells against the controls, for each gene.

        Parameters
        ----------
        X
            n x G cells of the group.

        Returns
        -------
        auc
            (G,) float32 U / (n m), NaN where a side has no cells.
        p
            (G,) float64 two-sided p-value, NaN also where all values are tied.

        Raises
        ------
        ValueError
            If X holds NaN or has other genes.
        """
        n_genes = len(self.bounds) - 1
        if X.shape[1] != n_genes:
            raise ValueError(f"{X.shape[1]} genes, but the controls have {n_genes}")
        auc, p = np.full(n_genes, np.nan, dtype=np.float32), np.full(n_genes, np.nan)
        n, m = X.shape[0], self.n_cells

        def work(piece: GeneRange) -> None:
            arrays = piece.start, piece.stop, piece.entries, piece.first
            merge(*arrays, n, m, self.keys, self.bounds, self.ties, continuity, auc, p)

        if n and m:
            codes = np.zeros(n, dtype=np.int64)
            for_each_range(X, codes, work, transform=transform, threads=threads, memory_bytes=memory_bytes)
        return auc, p
