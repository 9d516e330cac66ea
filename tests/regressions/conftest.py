"""A small screen of counts through the whole engine, cells included, and every metric of the catalogue on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from pbench.bench.contracts import registry
from pbench.bench.contracts.metric import Comparison
from pbench.bench.contracts.screen import Dataset, DatasetCard, Screen, validate
from pbench.bench.contracts.training import TrainingData
from pbench.bench.contracts.truth import Truth
from pbench.bench.engine.assemble import Assembly
from pbench.bench.engine.prepare import prepare
from pbench.metrics import CATALOGUE


@dataclass(frozen=True)
class Scene:
    """A screen, what `fit` may see of it, and the truth of its test conditions."""

    screen: Screen
    data: TrainingData
    truth: Truth

    @property
    def cells(self) -> dict[int, Any]:
        """The true cells by row."""
        assert self.truth.cells is not None
        return {i: self.truth.cells.load(i) for i in range(len(self.truth.conditions))}

    def score(self, mean=None, cells: Mapping[int, Any] | None = None, variance=None, names=None):
        """Values by metric id of a prediction; of cells alone the mean and variance are those of the cells."""
        n, genes = len(self.truth.conditions), len(self.truth.genes)
        if cells is not None:
            dense = {i: np.asarray(x.toarray() if sparse.issparse(x) else x, dtype=np.float64) for i, x in cells.items()}
            mean = np.stack([dense[i].mean(axis=0) for i in range(n)]) if mean is None else mean
            if variance is None:
                variance = np.full((n, genes), np.nan)
                for i, x in dense.items():
                    if len(x) > 1:
                        variance[i] = x.var(axis=0, ddof=1)
        comparison = Comparison(self.truth, np.asarray(mean, dtype=np.float64), variance, cells or {})
        return {m: CATALOGUE[m](comparison) for m in (names or CATALOGUE)}


def counts(seed, *, effect, n_genes, n_cells, n_control, contexts, targets, doubles):
    """Counts, labels and contexts: targets act additively on the log rate of some genes, by `effect`."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(-1.0, 2.0, n_genes)
    change = {t: effect * rng.normal(0, 1, n_genes) * (rng.random(n_genes) < 0.35) for t in targets}
    labels = ["control", *targets, *("+".join(pair) for pair in doubles)]
    blocks, names, where = [], [], []
    for k, context in enumerate(contexts):
        for label in labels:
            n = n_control if label == "control" else n_cells
            shift = sum((change[t] for t in label.split("+") if label != "control"), np.zeros(n_genes))
            rate = np.exp(base + 0.3 * k * np.sin(np.arange(n_genes)) + shift)
            blocks.append(rng.poisson(rate * rng.lognormal(0, 0.3, (n, 1))))
            names += [label] * n
            where += [context] * n
    return np.concatenate(blocks).astype(np.float32), names, where


def _build(X, labels, where, genes, *, scale="counts", kind=sparse.csr_matrix):
    """A validated `Screen` of a dense matrix of counts."""
    import pandas as pd
    from anndata import AnnData

    obs = pd.DataFrame({"perturbation": labels}, index=[f"cell{i:05d}" for i in range(len(labels))])
    if any(w is not None for w in where):
        obs["context"] = where
    card = DatasetCard("toy", "a toy", "made by a test", "CC0", scale, "control", simulated=True)
    return validate(Screen(AnnData(kind(X), obs=obs, var=pd.DataFrame(index=list(genes))), card), source="toy")


@pytest.fixture(scope="session")
def build():
    return _build


@pytest.fixture(scope="session")
def assemble(tmp_path_factory):
    """A `Scene` of a screen and the first fold of a split of it."""

    def run(screen, split="doubles"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
            dataset = Dataset(card=screen.card, data_id=lambda: "toy", load=lambda: screen)
            prepared = prepare(dataset, data_id="toy", cells=True, loaded=lambda: screen)
        assembly = Assembly(prepared, registry.splits.get(split)(screen, data_id="toy")[0])
        folder = tmp_path_factory.mktemp("truth") / "cells"
        assembly.write_cell_truth(folder)
        return Scene(screen, assembly.training({}, cells=True), assembly.truth(folder))

    return run


@pytest.fixture(scope="session")
def scene(assemble):
    """A `Scene` of ten singles and sixteen doubles, half of which are test; without an effect it is a null screen."""

    @cache
    def make(
        seed=0,
        *,
        effect=1.0,
        n_genes=60,
        n_cells=24,
        n_control=80,
        contexts=(None,),
        targets=tuple(f"G{i:02d}" for i in range(10)),
        split="doubles",
    ):
        doubles = [*zip(targets, targets[1:], strict=False), *zip(targets, targets[3:], strict=False)]
        sizes = {"effect": effect, "n_genes": n_genes, "n_cells": n_cells, "n_control": n_control}
        X, labels, where = counts(seed, contexts=contexts, targets=targets, doubles=doubles, **sizes)
        genes = [*targets, *(f"X{i:03d}" for i in range(n_genes - len(targets)))]
        return assemble(_build(X, labels, where, genes), split)

    return make
