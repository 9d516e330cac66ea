"""Training data of the size of Norman 2019 without a file: what steps of training are timed on."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from pbench.bench.contracts.condition import Condition, sort_key
from pbench.bench.contracts.resource import FeatureTable
from pbench.bench.contracts.training import Cells, TrainingData
from pbench.bench.engine.statistics import group_sums


def norman_training(n_cells=20_000, n_genes=5_000, n_singles=105, n_doubles=131, *, scale="counts", seed=0):
    """Counts or log1p cells with a fifth of the values not zero, singles and doubles, and a resource ``go``."""
    rng = np.random.default_rng(seed)
    genes = np.array([f"GENE{i:04d}" for i in range(n_genes)])
    targets = sorted(rng.choice(genes, n_singles, replace=False))
    first, second = np.triu_indices(n_singles, k=1)
    pairs = rng.choice(len(first), n_doubles, replace=False)
    singles = [Condition((t,)) for t in targets]
    doubles = [Condition((targets[first[p]], targets[second[p]])) for p in pairs]
    conditions = (Condition(), *sorted([*singles, *doubles], key=sort_key))
    effect = {t: rng.normal(0, 0.8, n_genes) * (rng.random(n_genes) < 0.05) for t in targets}
    base = rng.gamma(0.35, 0.9, n_genes)
    codes = np.sort(rng.integers(0, len(conditions), n_cells))
    blocks = []
    for i, condition in enumerate(conditions):
        rate = base * np.exp(sum((effect[t] for t in condition.targets), np.zeros(n_genes)))
        blocks.append(
            sparse.csr_matrix(rng.poisson(np.broadcast_to(rate, (int((codes == i).sum()), n_genes))).astype(np.float32))
        )
    X = sparse.vstack(blocks, format="csr")
    if scale != "counts":
        depth = np.asarray(X.sum(axis=1)).ravel()
        X.data = np.log1p(X.data * np.repeat(1e4 / depth, np.diff(X.indptr))).astype(np.float32)
    sums = group_sums(X, codes, len(conditions), scale=scale)
    table = FeatureTable(tuple(targets), rng.normal(size=(n_singles, 64)).astype(np.float32), "made up")
    return TrainingData(
        genes=genes,
        perturbed=sums.pool([[i] for i in range(1, len(conditions))], conditions[1:]),
        controls=sums.pool([[0]], conditions[:1]),
        validation=sums.pool([], ()),
        scale=scale,
        resources={"go": table, "embedding": table},
        load_cells=lambda role: Cells(X, codes, conditions, scale),
    )
