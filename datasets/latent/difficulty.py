"""How hard a screen with known latent variables is: what supervision finds, and what finding nothing scores."""

from __future__ import annotations

import hashlib
from math import isfinite
from typing import Any

import numpy as np

from ...bench.contracts.errors import DataError
from ...bench.contracts.latents import BLOCKS, GroundTruth
from ...bench.contracts.screen import Screen

Array = np.ndarray[Any, Any]

#: Share of the units on which probes are scored, and the number of cells up to which all cells are read.
HELD_OUT, CELLS = 0.35, 6_000
#: Screens with more measured variables are reduced to as many principal components first.
COMPONENTS = 100


def difficulty(screen: Screen, *, seed: int = 0) -> dict[str, Any]:
    """Facts about a screen beside which the scores of models on it can be read.

    Probes are told the latent variables of 65 % of the units and predict those of the others from what was measured; a model
    that is not told can hardly do better. Counts are first brought to log1p of counts per 10,000, and more than 100 measured
    variables reduced to as many principal components of the first 65 %. Of large screens about 6,000 cells are read.

    Parameters
    ----------
    screen
        With a `GroundTruth`.
    seed
        Of the choice of units and of the random rotations.

    Returns
    -------
    dict
        Ready for JSON, None where a value is not defined: ``cells``, ``units``, ``features``,
        ``perturbations``, ``latents`` (number by block), ``edges`` (``same instant``, and
        ``earlier`` without those from a variable to itself), ``linear_r2`` and ``kernel_r2`` (by
        latent variable; ridge in the measurements, and in Nystroem features of a Gaussian kernel as well), ``pca_mcc`` (of as
        many principal components as latent variables), ``rotation_floor`` (mean MCC of random rotations of the
        latent variables) and ``largest_correlation`` (of two of them), all three over continuous variables, and
        ``varsortability`` (of control cells, see there).

    Raises
    ------
    DataError
        If the latent variables of the screen are not known.
    """
    from ...bench.kernels import latent_regression as regression
    from ...bench.kernels.matching import correlations, matched, rotation_floor

    truth = screen.ground_truth
    if truth is None:
        raise DataError(f"the latent variables of data set '{screen.card.name}' are not known; their difficulty is not defined.")
    unit = _units(screen)
    part = _parts(unit, seed)
    rows = np.flatnonzero(part >= 0)
    known, held_out = truth.at(rows), part[rows] == 1
    x = _measured(screen, rows, ~held_out)
    probe = regression.Rows(x[~held_out], x[held_out], regression.folds(unit[rows][~held_out], seed))
    columns = [_columns(known, i) for i in range(truth.d)]
    width = np.cumsum([c.shape[1] for c in columns])[:-1]
    y = np.concatenate(columns, axis=1)

    def scores(predicted: Array) -> dict[str, float | None]:
        pairs = zip(np.split(y[held_out], width, axis=1), np.split(predicted, width, axis=1), strict=True)
        return {name: _rounded(regression.r2(a, b)) for name, (a, b) in zip(truth.names, pairs, strict=True)}

    number = np.array(truth.kinds) == "continuous"
    z = known.values[:, number]
    components = (x - x[~held_out].mean(axis=0)) @ _directions(x[~held_out], min(truth.d, x.shape[1]))
    between = np.abs(correlations(z, z)) - np.eye(z.shape[1])
    earlier = truth.lagged.sum(axis=(1, 2)) - np.trace(truth.lagged, axis1=1, axis2=2)
    control = np.array([c.is_control for c in screen.conditions])[screen.codes]
    return {
        "cells": int(screen.adata.n_obs),
        "units": len(np.unique(unit)),
        "features": int(screen.adata.n_vars),
        "perturbations": len({c.label for c in screen.perturbed}),
        "latents": {block: len(truth.block(block)) for block in BLOCKS},
        "edges": {"same instant": int(truth.graph.sum()), "earlier": int(earlier.sum())},
        "linear_r2": scores(regression.linear(probe, y[~held_out])),
        "kernel_r2": scores(regression.kernel(probe, y[~held_out], seed=seed)),
        "pca_mcc": _rounded(matched(z, components, held_out).mean()) if z.shape[1] else None,
        "rotation_floor": _rounded(rotation_floor(z, seed=seed)) if z.shape[1] else None,
        "largest_correlation": _rounded(between.max(initial=0.0)),
        "varsortability": _rounded(varsortability(truth.values[control], truth.graph)),
    }


def varsortability(values: Array, graph: Array) -> float:
    """Share of direct causes whose variance over (n, d) cells is smaller than that of their effect; .5 tells nothing.

    Variances that differ by less than a fifth count as equal, and equal ones by half, because the sampling error of a thousand
    cells alone would order them. After Reisach, Seiler and Weichwald (NeurIPS 2021), over edges instead of paths of every
    length. NaN without edges.
    """
    effects, causes = np.nonzero(graph)
    variance = values.var(axis=0)
    smaller, larger = (1.2 * variance[a] < variance[b] for a, b in ((causes, effects), (effects, causes)))
    return float((0.5 + 0.5 * smaller - 0.5 * larger).mean()) if len(effects) else float("nan")


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if isfinite(value) else None


def _units(screen: Screen) -> Array:
    """(n,) text: cells with the same one are one unit."""
    obs: Any = screen.adata.obs
    return obs["unit"].astype(str).to_numpy(dtype=str) if "unit" in obs else screen.barcodes


def _parts(unit: Array, seed: int) -> Array:
    """(n,) 0 for cells that are fitted, 1 for those that are scored, -1 for those that are left out; whole units by hash."""
    names, number = np.unique(unit, return_inverse=True)
    ordered = sorted(range(len(names)), key=lambda i: hashlib.sha256(f"{seed}:{names[i]}".encode()).digest())
    read = ordered[: max(2, int(len(names) * min(1.0, CELLS / len(unit))))]
    part = np.full(len(names), -1)
    part[read] = 0
    part[read[: max(1, round(HELD_OUT * len(read)))]] = 1
    return part[number]


def _measured(screen: Screen, rows: Array, fitted: Array) -> Array:
    """(n, m) float64 measurements of some cells, at most `COMPONENTS` of them, which only `fitted` cells decide."""
    from scipy import sparse

    matrix: Any = screen.adata.X
    x = np.asarray(matrix[rows].toarray() if sparse.issparse(matrix) else matrix[rows], dtype=np.float64)
    if screen.card.scale == "counts":
        x = np.log1p(1e4 * x / np.maximum(x.sum(axis=1, keepdims=True), 1.0))
    return x if x.shape[1] <= COMPONENTS else (x - x[fitted].mean(axis=0)) @ _directions(x[fitted], COMPONENTS)


def _directions(x: Array, n: int) -> Array:
    """(m, n) leading principal directions."""
    from scipy.sparse.linalg import eigsh

    centred = x - x.mean(axis=0)
    if len(x) < x.shape[1]:
        return np.linalg.svd(centred, full_matrices=False)[2][:n].T
    covariance = centred.T @ centred
    if n < x.shape[1] // 3:
        return eigsh(covariance, k=n, v0=np.ones(len(covariance)))[1][:, ::-1]
    return np.linalg.eigh(covariance)[1][:, ::-1][:, :n]


def _columns(truth: GroundTruth, i: int) -> Array:
    """(n, q) what a regression predicts of a variable: itself, the point on the circle, or which class it is."""
    value = truth.values[:, i]
    if truth.kinds[i] == "circular":
        return np.stack([np.sin(value), np.cos(value)], axis=1)
    if truth.kinds[i] == "categorical":
        return (value[:, None] == np.unique(value)).astype(float)
    return value[:, None]
