"""Predictions summed by condition in one pass over their file, and their cells grouped by condition: what jobs read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from ..contracts.condition import Condition
from ..contracts.errors import DataError, UsageError
from .prepare import PreparedScreen
from .row_blocks import allocate, scatter
from .statistics import on_profile_scale
from .submission_files import Predictions
from .submission_join import Joined, advice, first
from .submission_layouts import Reading
from .submission_scale import Span, check_declared, check_level

Array = np.ndarray[Any, Any]
#: Rows of a perturbation, at the median, below which they may well be replicates and nobody takes them for cells unasked.
FEW_ROWS = 10


@dataclass(frozen=True)
class Summing:
    """One open file of predictions on its way to what jobs read.

    Parameters
    ----------
    predictions, joined
        The file, and where its rows and columns belong.
    perturbed
        Perturbed conditions of the truth, to which ``joined.codes`` points.
    screen
        The prepared truth.
    reading
        What the user has declared.
    where
        Name of the file, for messages.
    """

    predictions: Predictions
    joined: Joined
    perturbed: tuple[Condition, ...]
    screen: PreparedScreen
    reading: Reading
    where: str

    @cached_property
    def counts(self) -> Array:
        """(n,) rows of each condition.

        Raises
        ------
        DataError
            If what holds one row a perturbation holds two of one, and the user has not said what rows are.
        """
        labels, codes = self.predictions.labels, self.joined.codes
        counts = np.bincount(codes[codes >= 0], minlength=len(self.perturbed))
        single = self.predictions.table or len(labels.codes) == len(labels.stated)
        if single and self.reading.rows is None and (counts > 1).any():
            i = int(np.flatnonzero(counts > 1)[0])
            names = [labels.written[labels.codes[row]] for row in np.flatnonzero(codes == i)]
            raise DataError(
                f"{self.where} holds {int((counts > 1).sum())} perturbation(s) more than once (first: {self.perturbed[i].key!r}, as "
                f"{first(map(repr, names))}); means have one row for each, and cells belong in an .h5ad. To average the rows of a "
                "perturbation, declare --rows means."
            )
        return counts

    @cached_property
    def few(self) -> float:
        """Rows of a perturbation at the median, where some have several and that is fewer than `FEW_ROWS`; else 0."""
        counts = self.counts[self.counts > 0]
        median = float(np.median(counts))
        return median if counts.max() > 1 and median < FEW_ROWS else 0.0

    @cached_property
    def means(self) -> bool:
        """Whether rows are means: declared, or because no perturbation has a second one.

        Raises
        ------
        UsageError
            If perturbations have several rows, but few, and the user has not said what they are.
        """
        if self.predictions.table or self.reading.rows is not None:
            return self.predictions.table or self.reading.rows == "means"
        if self.few:
            apart = self.predictions.apart(self.joined.codes)
            raise UsageError(
                f"{self.where} has {self.few:g} row(s) a perturbation at the median, and from so few it cannot be told whether a row is "
                "a cell or the mean of a replicate. Say it with --rows cells or --rows means; several means of a perturbation are "
                "averaged."
                + (f" Columns of obs that tell such rows apart and are not declared: {first(apart)}." if apart else "")
            )
        return not (self.counts > 1).any()

    @cached_property
    def scale(self) -> str:
        """The declared scale, once it is one that can be brought to the truth's.

        Raises
        ------
        DataError
            If it cannot.
        """
        if self.predictions.scale is not None:
            return "raw" if self.screen.scale == "raw" else "log1p_1e4"
        declared = self.reading.scale or ""
        check_declared(self.screen.scale, declared, means=self.means)
        return declared

    def blocks(self) -> Iterator[tuple[Array, Array, Any]]:
        """Row numbers, codes and values of the rows that are used, block by block; genes in the truth's order."""
        columns = self.joined.columns
        straight = len(columns) == len(self.predictions.genes) and bool((np.diff(columns) == 1).all())
        for rows, values in self.predictions.rows:
            codes = self.joined.codes[rows]
            keep = np.flatnonzero(codes >= 0)
            if len(keep) < len(codes):
                values = values[keep]
            if not straight:
                values = values[:, columns]
            yield keep + rows.start, codes[keep], values

    def write(self, folder: Path) -> None:
        """Write means, variances over cells and what was found.

        Raises
        ------
        DataError
            If values are not finite or not on the declared scale.
        """
        shape = (len(self.perturbed), len(self.screen.genes))
        total, squares = np.zeros(shape), np.zeros((0, 0) if self.means else shape)
        span = Span()
        for _, codes, raw in self.blocks():
            self._check_finite(raw, codes)
            span.add(raw)
            if self.scale == "counts":
                # Before their logarithm is taken.
                span.check(self.scale, self.where)
            block = on_profile_scale(raw, self.scale).astype(np.float64)
            present, local = np.unique(codes, return_inverse=True)
            onehot = sparse.csr_matrix((np.ones(len(codes)), (local, np.arange(len(codes)))), shape=(len(present), len(codes)))
            total[present] += _dense(onehot @ block)
            if not self.means:
                squares[present] += _dense(onehot @ (block.power(2) if sparse.issparse(block) else block**2))
        span.check(self.scale, self.where)
        there = np.flatnonzero(self.counts)
        n = self.counts[there].astype(np.float64)[:, None]
        mean = total[there] / n
        conditions = tuple(self.perturbed[i] for i in there)
        truth, control = self._profiles(conditions)
        check_level(mean + control if self.scale == "delta" else mean, truth, control, self.scale, self.where)
        np.save(folder / "mean.npy", mean)
        if not self.means and (n > 1).all():
            np.save(folder / "variance.npy", np.maximum(squares[there] - n * mean**2, 0) / (n - 1))
        if (given := self._given_variance(there)) is not None:
            np.save(folder / "variance.npy", given)
        labels = self.predictions.labels
        facts = {
            "conditions": [c.to_dict() for c in conditions],
            "n_rows": self.counts[there].tolist(),
            "cells": not self.means,
            "few_rows": bool(self.few),
            "rows_apart": list(self.predictions.apart(self.joined.codes)) if self.few else [],
            "scale": "log1p_1e4" if self.scale == "counts" else self.scale,
            "declared_scale": self.scale,
            "layout": labels.layout,
            "controls_ignored": self.joined.controls,
            "genes_ignored": self.joined.extra_genes,
            "unknown": list(self.joined.unknown),
            "advice": advice(labels, self.perturbed) if self.joined.unknown else "",
        }
        (folder / "submission.json").write_text(json.dumps(facts))

    def _given_variance(self, there: Array) -> Array | None:
        """Variances that a file gives beside its means, where it gives them for every condition."""
        variance = self.predictions.variance
        if variance is None:
            return None
        row = {code: i for i, code in enumerate(self.joined.codes.tolist())}
        own = variance[[row[i] for i in there.tolist()]][:, self.joined.columns]
        return own if np.isfinite(own).all() else None

    def _check_finite(self, block: Any, codes: Array) -> None:
        if not np.isfinite(block.data if sparse.issparse(block) else block).all():
            row, column = np.argwhere(~np.isfinite(_dense(block)))[0]
            raise DataError(
                f"{self.where} holds NaN or infinite values (first: {self.screen.genes[column]} of "
                f"{self.perturbed[codes[row]].key!r}); every gene of a predicted perturbation needs a number. Leave out perturbations "
                "that are not predicted."
            )

    def _profiles(self, conditions: tuple[Condition, ...]) -> tuple[Array, Array]:
        """(n, G) true means of some conditions and control means of their contexts."""
        position = {c: i for i, c in enumerate(self.screen.conditions)}

        def pool(wanted: tuple[Condition, ...]) -> Any:
            return self.screen.sums.pool([[2 * position[c], 2 * position[c] + 1] for c in wanted], wanted)

        controls = pool(tuple(c for c in self.screen.conditions if c.is_control))
        return pool(conditions).mean.astype(np.float64), controls.control_mean(conditions)

    def write_cells(self, folder: Path) -> None:
        """Write the cells by condition, float32 on the scale of the profiles: those of a condition are one stretch."""
        codes = self.joined.codes
        kept = np.flatnonzero(codes >= 0)
        place = np.full(len(codes), -1, dtype=np.int64)
        place[kept[np.argsort(codes[kept], kind="stable")]] = np.arange(len(kept))
        np.save(folder / "starts.npy", np.concatenate([[0], np.cumsum(self.counts[self.counts > 0])]))
        length = np.zeros(len(kept), dtype=np.int64)
        dense = False
        for rows, _, block in self.blocks():
            if not sparse.issparse(block):
                dense = True
                break
            length[place[rows]] = np.diff(block.indptr)
        indptr = np.concatenate([[0], np.cumsum(length)])
        n_values = int(indptr[-1])
        if dense:
            allocate(folder / "dense.npy", (len(kept), len(self.joined.columns)), np.float32)
        else:
            np.save(folder / "indptr.npy", indptr)
            allocate(folder / "data.npy", (n_values,), np.float32)
            allocate(folder / "indices.npy", (n_values,), np.int32)
        for rows, _, raw in self.blocks():
            block = on_profile_scale(raw, self.scale)
            if dense:
                scatter(folder / "dense.npy", place[rows], block)
                continue
            to = np.repeat(indptr[place[rows]] - block.indptr[:-1], np.diff(block.indptr)) + np.arange(len(block.data))
            scatter(folder / "data.npy", to, block.data)
            scatter(folder / "indices.npy", to, block.indices)


def _dense(block: Any) -> Array:
    return block.toarray() if sparse.issparse(block) else block
