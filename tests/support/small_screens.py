"""Small training data for tests of networks: made up, or from dense cells by condition."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.training import Cells, Profiles, TrainingData
from pbench.bench.engine.statistics import group_sums


def made_up(conditions, *, scale="counts", seed=0, n=12, genes=15):
    """Training data with `n` cells a condition and control cells of each of their contexts."""
    rng = np.random.default_rng(seed)
    controls = [Condition(context=c) for c in sorted({c.context for c in conditions}, key=str)]
    every = (*controls, *conditions)
    codes = np.repeat(np.arange(len(every)), n)
    rates = np.exp(rng.normal(1, 1, genes) + rng.normal(0, 0.5, (len(every), genes)))
    X = rng.poisson(rates[codes]).astype(np.float32)
    X = X if scale == "counts" else np.log1p(X)
    sums = group_sums(sparse.csr_matrix(X), codes, len(every), scale=scale)
    perturbed = sums.pool([[i] for i in range(len(controls), len(every))], tuple(conditions))
    return TrainingData(
        np.array([f"G{i:02d}" for i in range(genes)]),
        perturbed,
        sums.pool([[i] for i in range(len(controls))], tuple(controls)),
        perturbed.select(lambda c: False),
        scale=scale,
        load_cells=lambda role: Cells(sparse.csr_matrix(X), codes, every, scale),
    )


def training_data(blocks, *, scale="raw"):
    """`TrainingData` of dense cells by condition, controls among them."""
    conditions = tuple(blocks)
    X = np.concatenate(list(blocks.values())).astype(np.float32)
    codes = np.repeat(np.arange(len(blocks)), [len(b) for b in blocks.values()])

    def profiles(own):
        parts = [
            np.log1p(1e4 * blocks[c] / blocks[c].sum(axis=1, keepdims=True)) if scale == "counts" else blocks[c] for c in own
        ]
        mean, var = ([getattr(p, name)(axis=0) for p in parts] for name in ("mean", "var"))
        return Profiles(tuple(own), np.float32(mean), np.float32(var), np.array([len(p) for p in parts]))

    perturbed = profiles([c for c in conditions if c.targets])
    return TrainingData(
        genes=np.array([f"g{i:02d}" for i in range(X.shape[1])]),
        perturbed=perturbed,
        controls=profiles([c for c in conditions if not c.targets]),
        validation=perturbed.select(lambda c: False),
        scale=scale,
        load_cells=lambda role: Cells(sparse.csr_matrix(X), codes, conditions, scale),
    )
