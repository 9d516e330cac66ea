"""A toy screen through the engine, and predictions of it that are right, wrong and odd, for the checks of metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from ..contracts.cell_truth import CellTruth
from ..contracts.condition import sort_key
from ..contracts.identity import content_id
from ..contracts.metric import Comparison
from ..contracts.screen import Dataset, Screen
from ..contracts.split import SplitManifest
from ..contracts.training import Profiles
from ..contracts.truth import Truth
from .assemble import Assembly
from .fingerprint import COMPILED, code_id, environment
from .prepare import prepare
from .toy_screen import toy_screen

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Stage:
    """Comparisons that a metric is tried on.

    Parameters
    ----------
    perfect
        Says what is true.
    middling
        Is neither right nor wrong: the truth with noise.
    wrong
        Predictions by name that know nothing about the single condition.
    moved
        `middling` with its rows and genes (its cells, for latent variables) in another order.
    order
        Which values of `middling` those of `moved` are; None where there is one for each latent variable.
    odd
        Comparisons on which a metric may well be undefined, and must not fail.
    bare
        A comparison with only what a metric's `needs` and `reads` name.
    """

    perfect: Comparison
    middling: Comparison
    wrong: Mapping[str, Comparison]
    moved: Comparison
    order: Array | None
    odd: Mapping[str, Comparison]
    bare: Callable[[Comparison, tuple[str, ...]], Comparison]


def stage_of_predictions() -> Stage:
    """Eleven scored conditions of a screen of 64 genes, with cells."""
    truth = truth_of(toy_screen())
    n = len(truth.conditions)
    assert truth.cells is not None
    rng = np.random.default_rng(1)
    own = {i: truth.cells.load(i) for i in range(n)}
    control = {i: truth.cells.load_controls(int(truth.control_rows[i])).toarray()[:24] for i in range(n)}
    mean = truth.profiles.mean.astype(np.float64)
    perfect = Comparison(truth, mean, truth.profiles.var.astype(np.float64), own)
    noise = rng.normal(0, 0.3, mean.shape)
    middling = _sampled(truth, {i: np.maximum(x.toarray() + noise[i], 0) for i, x in own.items()})
    following = np.roll(np.arange(n), 1)
    shift = truth.references["pert"] - truth.references["ctrl"]
    wrong = {
        "the control cells": _sampled(truth, control),
        "the training mean": _sampled(truth, {i: np.maximum(x + shift[i], 0) for i, x in control.items()}),
        "the truth of another condition": _sampled(truth, {i: own[int(j)].toarray() for i, j in enumerate(following)}),
    }
    rows, columns = rng.permutation(n), rng.permutation(mean.shape[1])
    middling_cells = {i: sparse.csr_matrix(x.astype(np.float32)) for i, x in middling.cells.items()}
    middling = replace(middling, cells=middling_cells)
    nothing = toy_screen(effect=0.0, seed=2)
    flat = truth_of(nothing)
    return Stage(
        perfect,
        middling,
        wrong,
        reordered(middling, rows, columns),
        rows,
        {
            "one condition": reordered(middling, rows[:1], np.arange(mean.shape[1])),
            "one gene": reordered(middling, np.arange(n), columns[:1]),
            "a prediction of nothing": Comparison(truth, np.full_like(mean, np.nan), np.full_like(mean, np.nan)),
            "a prediction of half of the conditions": _halved(middling),
            "a screen in which nothing happens": Comparison(flat, flat.references["ctrl"].copy()),
            "a prediction of zero": Comparison(truth, np.zeros_like(mean), np.zeros_like(mean)),
            "one predicted cell each": _sampled(truth, {i: x[:1].toarray() for i, x in own.items()}),
        },
        _bare,
    )


def truth_of(screen: Screen) -> Truth:
    """The truth of a toy screen of which the last doubles and two singles are test; kept in the cache."""
    unseen = {t for c in screen.perturbed[:2] for t in c.targets}
    doubles = [c for c in screen.perturbed if len(c.targets) == 2]
    test = {*screen.perturbed[:2], *doubles[len(doubles) // 2 :]}
    roles = {c: "test" if c in test else "excluded" if unseen & set(c.targets) else "train" for c in screen.perturbed}
    seen = {c.targets[0] for c, role in roles.items() if role == "train" and len(c.targets) == 1}
    X = sparse.csr_matrix(screen.adata.X)
    data_id = content_id([X.data.tolist(), X.indices.tolist(), [c.key for c in screen.conditions]])
    manifest = SplitManifest(
        dataset=screen.card.name,
        data_id=data_id,
        split="toy",
        params={},
        fold="1/1",
        generator_version=1,
        roles=roles,
        reasons={c: "contains a held-out target" for c, role in roles.items() if role == "excluded"},
        subgroups={c: {"seen_k": str(len(seen & set(c.targets)))} for c in sorted(test, key=sort_key)},
        declared={"controls": "shared by training and truth reference"},
    )
    prepared = prepare(Dataset(screen.card, lambda: data_id, lambda: screen), data_id=data_id, cells=True, loaded=lambda: screen)
    assembly = Assembly(prepared, manifest)
    made_with = content_id([manifest.id, code_id("pbench.bench.engine.assemble"), environment(COMPILED)])
    folder = prepared.folder.with_name(f"{prepared.folder.name}-truth-{made_with[:16]}")
    if not folder.exists():
        assembly.write_cell_truth(folder)
    return assembly.truth(folder)


def _sampled(truth: Truth, cells: Mapping[int, Array]) -> Comparison:
    """A prediction by cells, on the grid of float32 on which answers are kept."""
    mean = np.stack([x.mean(axis=0) for x in cells.values()]).astype(np.float32).astype(np.float64)
    enough = all(len(x) > 1 for x in cells.values())
    variance = np.stack([x.var(axis=0, ddof=1) for x in cells.values()]) if enough else np.full_like(mean, np.nan)
    return Comparison(truth, mean, variance, dict(cells))


def _halved(comparison: Comparison) -> Comparison:
    mean, variance = comparison.predicted.copy(), np.array(comparison.variance)
    mean[::2], variance[::2] = np.nan, np.nan
    return Comparison(comparison.truth, mean, variance, {i: x for i, x in comparison.cells.items() if i % 2})


def _bare(comparison: Comparison, names: tuple[str, ...]) -> Comparison:
    known = bool({"truth_cells", "de"} & set(names))
    truth = comparison.truth if known else replace(comparison.truth, cells=None, half_cells=None)
    return Comparison(
        truth,
        comparison.predicted,
        comparison.variance if "variance" in names else None,
        comparison.cells if "cells" in names else {},
    )


def reordered(comparison: Comparison, rows: Array, columns: Array) -> Comparison:
    """The same comparison of some conditions and genes, in another order."""
    truth = comparison.truth
    position = np.full(len(truth.genes), -1)
    position[columns] = np.arange(len(columns))

    def ordered(order: Array | None) -> Array | None:
        """Genes that are left, by their new numbers, in the same order; -1 fills the rows."""
        if order is None:
            return None
        new = np.where(order < 0, -1, position[order])[rows]
        return np.take_along_axis(new, np.argsort(new < 0, axis=1, kind="stable"), axis=1)

    def genes(p: Profiles, chosen: Array) -> Profiles:
        return Profiles(
            tuple(p.conditions[int(i)] for i in chosen),
            p.mean[np.ix_(chosen, columns)],
            p.var[np.ix_(chosen, columns)],
            p.n_cells[chosen],
        )

    def every(p: Profiles) -> Profiles:
        return genes(p, np.arange(len(p)))

    def cells(known: CellTruth | None) -> CellTruth | None:
        if known is None:
            return None
        return CellTruth(
            load=lambda i: known.load(int(rows[i]))[:, columns],
            load_controls=lambda row: known.load_controls(row)[:, columns],
            p=known.p[np.ix_(rows, columns)],
            auc=known.auc[np.ix_(rows, columns)],
            pca_mean=known.pca_mean[columns],
            pca_components=known.pca_components[:, columns],
            bandwidth=known.bandwidth,
            coordinates=lambda i: known.coordinates(int(rows[i])),
        )

    chosen = [int(i) for i in rows]
    de = ordered(truth.de_order)
    assert de is not None
    moved = replace(
        truth,
        genes=truth.genes[columns],
        profiles=genes(truth.profiles, rows),
        controls=every(truth.controls),
        references={name: r[np.ix_(rows, columns)] for name, r in truth.references.items()},
        de_order=de,
        half_de_order=ordered(truth.half_de_order),
        target_genes=tuple(tuple(int(position[g]) for g in truth.target_genes[i] if position[g] >= 0) for i in chosen),
        halves=(genes(truth.halves[0], rows), genes(truth.halves[1], rows)),
        subgroups=tuple(truth.subgroups[i] for i in chosen),
        single_shifts=tuple(None if (s := truth.single_shifts[i]) is None else s[:, columns] for i in chosen),
        training=None if truth.training is None else every(truth.training),
        cells=cells(truth.cells),
        half_cells=cells(truth.half_cells),
        load_cells=None,
    )
    old = {i: k for k, i in enumerate(chosen)}
    return Comparison(
        moved,
        comparison.predicted[np.ix_(rows, columns)],
        None if comparison.variance is None else comparison.variance[np.ix_(rows, columns)],
        {old[i]: comparison.cells[i][:, columns] for i in sorted(comparison.cells) if i in old},
    )
