"""Small made-up screens: what `fit` sees, and the truth of some test conditions."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from scipy import sparse

from pbench.bench.contracts.condition import Condition, sort_key
from pbench.bench.contracts.resource import FeatureTable
from pbench.bench.contracts.training import Cells, Profiles, TrainingData
from pbench.bench.contracts.truth import Truth
from pbench.models import CATALOGUE

N_GENES = 30
GENES = tuple(f"G{i:02d}" for i in range(N_GENES))


def summarise(conditions, cells):
    """Profiles of a list of dense cell matrices."""
    return Profiles(
        tuple(conditions),
        np.array([x.mean(axis=0) for x in cells], dtype=np.float32).reshape(len(cells), -1),
        np.array([x.var(axis=0, ddof=1) if len(x) > 1 else np.zeros(x.shape[1]) for x in cells], dtype=np.float32).reshape(
            len(cells), -1
        ),
        np.array([len(x) for x in cells], dtype=np.int64),
    )


def draw_cells(rng, n, shift=0.0):
    level = np.linspace(0.2, 3, N_GENES)
    return np.maximum(rng.normal(level + shift, 0.5, size=(n, N_GENES)), 0)


@pytest.fixture(scope="session")
def make_data():
    """Build `TrainingData` for some conditions; the gene order, the effects and the cell numbers follow from the seed."""

    def make(conditions, *, seed=0, contexts=None, resources=True):
        rng = np.random.default_rng(seed)
        conditions = sorted(conditions, key=sort_key)
        contexts = sorted({c.context for c in conditions}, key=str) if contexts is None else contexts
        effect = {g: rng.normal(0, 0.4, N_GENES) for g in GENES}
        offset = {context: rng.normal(0, 0.3, N_GENES) for context in contexts}
        none = np.zeros(N_GENES)
        cells = [
            draw_cells(
                rng, int(rng.integers(5, 30)), offset[c.context] + sum((effect.get(t, none) for t in c.targets), none + 0.1)
            )
            for c in conditions
        ]
        controls = [draw_cells(rng, 50, offset[context]) for context in contexts]
        of_controls = [Condition(context=context) for context in contexts]

        def load_cells(role):
            X = sparse.csr_matrix(np.concatenate([*controls, *cells]).astype(np.float32))
            sizes = [len(x) for x in (*controls, *cells)]
            return Cells(X, np.repeat(np.arange(len(sizes)), sizes), (*of_controls, *conditions), "log1p_1e4")

        empty = Profiles((), np.empty((0, N_GENES), np.float32), np.empty((0, N_GENES), np.float32), np.empty(0, np.int64))
        table = FeatureTable((*GENES, "drug"), rng.normal(size=(N_GENES + 1, 16)).astype(np.float32), "made up")
        return TrainingData(
            genes=np.array(GENES),
            perturbed=summarise(conditions, cells) if conditions else empty,
            controls=summarise(of_controls, controls),
            validation=empty,
            resources={"go": table, "embedding": table} if resources else {},
            load_cells=load_cells,
        )

    return make


@pytest.fixture(scope="session")
def make_truth():
    """Build a `Truth` whose cells are made up, for conditions and the controls of training data."""

    def make(conditions, data, *, seed=1, n_cells=20):
        rng = np.random.default_rng(seed)
        conditions = sorted(conditions, key=sort_key)
        cells = {c: draw_cells(rng, n_cells, rng.normal(0, 0.4, N_GENES)) for c in conditions}
        return Truth(
            genes=data.genes,
            profiles=summarise(conditions, list(cells.values())),
            controls=data.controls,
            references={},
            de_order=np.zeros((len(conditions), 0), dtype=np.int64),
            target_genes=((),) * len(conditions),
            halves=(
                summarise(conditions, [x[0::2] for x in cells.values()]),
                summarise(conditions, [x[1::2] if n_cells > 1 else np.zeros((1, N_GENES)) for x in cells.values()]),
            ),
            load_cells=lambda c: sparse.csr_matrix(cells[c].astype(np.float32)),
        )

    return make


@pytest.fixture(scope="session")
def load():
    """The class of a registered name."""

    def get(name):
        module, _, attribute = CATALOGUE[name][0].partition(":")
        return getattr(importlib.import_module(f"pbench.models.{module}"), attribute)

    return get


@pytest.fixture(scope="session")
def screen(make_data):
    """One context: twelve singles and four doubles, of which G10+G11 has no training single."""
    singles = [Condition((g,)) for g in GENES[:10]] + [Condition(("drug",))]
    doubles = [Condition(("G00", "G01")), Condition(("G02", "G03")), Condition(("G03", "G10")), Condition(("G10", "G11"))]
    return make_data([*singles, *doubles])


@pytest.fixture(scope="session")
def two_contexts(make_data):
    """G00 in both contexts, G01 only in a, G02 only in b; control cells in c only."""
    conditions = [Condition(("G00",), context=c) for c in "ab"]
    conditions += [Condition(("G01",), context="a"), Condition(("G02",), context="b"), Condition(("G00", "G02"), context="b")]
    return make_data(conditions, seed=3, contexts=["a", "b", "c"])
