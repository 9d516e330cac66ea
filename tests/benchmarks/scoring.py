"""A whole profile on one model, from cells in memory to the value of every metric; see measure.py."""

from __future__ import annotations

import numpy as np
from ours import cells_of

#: What cell-eval's profile ``minimal`` computes; the first is compared.
MINIMAL = (
    "pearson_delta@all~ctrl",
    "mse@all",
    "mae@all",
    "retrieval.truths@all~ctrl#l1",
    "de_overlap.n@all~ctrl#cells",
    "de_precision@all~ctrl#cells",
    "de_count_ratio@all~ctrl#cells",
)
FIT_CELLS, COMPONENTS = 5000, 50


def truth_of(screen, found, *, pca):
    """The truth of a screen of which everything is test, with what its cells say; `found` are the profiles of all groups."""
    from pbench.bench.contracts.condition import Condition
    from pbench.bench.contracts.training import Profiles
    from pbench.bench.contracts.truth import Truth
    from pbench.bench.engine.assemble import de_order

    rows = np.delete(np.arange(len(screen.names)), screen.control)
    conditions = tuple(found.conditions[i] for i in rows)
    profiles = Profiles(conditions, found.mean[rows], found.var[rows], found.n_cells[rows])
    own = [screen.control]
    controls = Profiles((Condition(),), found.mean[own], found.var[own], found.n_cells[own])
    ctrl = controls.control_mean(conditions)
    shift = profiles.mean - ctrl
    index = {gene: i for i, gene in enumerate(screen.genes)}
    targets = tuple(tuple(index[t] for t in c.targets if t in index) for c in conditions)
    singles = {c.targets[0]: s for c, s in zip(conditions, shift, strict=True) if len(c.targets) == 1}
    parts = (tuple(singles.get(t) for t in c.targets) if len(c.targets) > 1 else (None,) for c in conditions)
    return Truth(
        genes=screen.genes,
        profiles=profiles,
        controls=controls,
        references={
            "ctrl": ctrl,
            "pert": ctrl + shift.mean(axis=0),
            "loo": ctrl + (shift.sum(axis=0) - shift) / max(1, len(rows) - 1),
        },
        de_order=de_order(profiles, controls, np.zeros(len(rows), dtype=np.int64), targets),
        target_genes=targets,
        halves=(profiles, profiles),
        single_shifts=tuple(None if any(s is None for s in own) else np.stack(own) for own in parts),
        cells=cell_truth(screen, rows, pca=pca),
    )


def cell_truth(screen, rows, *, pca):
    """Rank tests of every group, and coordinates of its cells where the profile asks for them."""
    from pbench.bench.contracts.cell_truth import CellTruth, embed
    from pbench.bench.kernels.pairwise import median_distance
    from pbench.bench.kernels.rank_sum import rank_sum

    tests = rank_sum(screen.X, screen.codes, len(screen.names), screen.control)
    members = [np.flatnonzero(screen.codes == g) for g in rows]
    mean, components = principal_components(screen.X) if pca else (np.zeros(len(screen.genes)), np.zeros((1, len(screen.genes))))
    points = embed(screen.X, mean, components) if pca else np.zeros((len(screen.codes), 1), np.float32)
    return CellTruth(
        load=lambda i: screen.X[members[i]],
        load_controls=lambda _: screen.X[np.flatnonzero(screen.codes == screen.control)],
        p=tests.p[rows],
        auc=tests.auc[rows],
        pca_mean=mean,
        pca_components=components,
        bandwidth=median_distance(points) if pca else 1.0,
        coordinates=lambda i: points[members[i]],
    )


def principal_components(X):
    """Mean and components of at most 5,000 cells at equal steps."""
    from sklearn.utils.extmath import randomized_svd

    dense = X[:: max(1, X.shape[0] // FIT_CELLS)][:FIT_CELLS].toarray()
    mean = dense.mean(axis=0)
    return mean, randomized_svd(dense - mean, min(COMPONENTS, *dense.shape), n_iter=4, random_state=0)[2].astype(np.float32)


def _profile(screen, metrics):
    from pbench.bench.contracts.metric import Comparison
    from pbench.metrics import CATALOGUE

    rows = np.delete(np.arange(len(screen.names)), screen.control)
    pca = any("pca" in metric for metric in metrics)

    def run():
        truth = truth_of(screen, cells_of(screen, screen.X), pca=pca)
        predicted = cells_of(screen, screen.predicted)
        cells = {i: screen.predicted[np.flatnonzero(screen.codes == g)] for i, g in enumerate(rows)}
        comparison = Comparison(truth, predicted.mean[rows].astype(np.float64), predicted.var[rows].astype(np.float64), cells)
        values = [CATALOGUE[metric](comparison).value for metric in metrics]
        return np.stack([v for v in values if len(v) == len(rows)])

    return run


def minimal(screen):
    return _profile(screen, MINIMAL)


def full(screen):
    """Every metric of the catalogue."""
    from pbench.metrics import PROFILES

    first = MINIMAL[0]
    return _profile(screen, (first, *(metric for metric in PROFILES["full"] if metric != first)))


MANY_CONDITIONS, MANY_GENES = 2000, 8000


def many_centroids(screen):
    """All metrics that need means only, on 2,000 conditions of 8,000 genes; a tiny screen gets tiny numbers."""
    from pbench.bench.contracts.condition import Condition
    from pbench.bench.contracts.metric import Comparison
    from pbench.bench.contracts.training import Profiles
    from pbench.bench.contracts.truth import Truth
    from pbench.bench.engine.assemble import de_order
    from pbench.metrics import CATALOGUE

    n, n_genes = (MANY_CONDITIONS, MANY_GENES) if len(screen.names) > 10 else (20, 200)
    rng = np.random.default_rng(4)
    control = rng.gamma(1.0, 1.0, n_genes)
    effect = rng.normal(size=(n, n_genes)) * (rng.random((n, n_genes)) < 0.1)
    conditions = tuple(Condition((f"P{i:04d}",)) for i in range(n))
    variance = np.full((n, n_genes), 0.5, dtype=np.float32)
    profiles = Profiles(conditions, (control + effect).astype(np.float32), variance, np.full(n, 50))
    controls = Profiles((Condition(),), control[None].astype(np.float32), variance[:1], np.array([1000]))
    ctrl = np.repeat(controls.mean.astype(np.float64), n, axis=0)
    shift = profiles.mean - ctrl
    references = {"ctrl": ctrl, "pert": ctrl + shift.mean(axis=0), "loo": ctrl + (shift.sum(axis=0) - shift) / (n - 1)}
    order = de_order(profiles, controls, np.zeros(n, dtype=np.int64), ((),) * n)
    genes = np.array([f"G{i:05d}" for i in range(n_genes)])
    truth = Truth(genes, profiles, controls, references, order, ((),) * n, (profiles, profiles))
    predicted = (profiles.mean + rng.normal(0, 0.5, (n, n_genes))).astype(np.float32).astype(np.float64)
    metrics = [metric for metric in CATALOGUE.values() if metric.needs == ("means",) and metric.level == "perturbation"]

    def run():
        from dataclasses import replace

        # Nothing remembered from an earlier round.
        comparison = Comparison(replace(truth), predicted)
        return np.stack([metric(comparison).value for metric in metrics])

    return run


many_centroids.needs_cells = False


def backed(screen):
    """Means and rank tests of a file that is not read into memory, by group: ``PBENCH_BACKED_FILE``."""
    import os

    from anndata import read_h5ad

    from pbench.bench.engine.statistics import group_sums
    from pbench.bench.kernels.rank_sum import rank_sum

    adata = read_h5ad(os.environ["PBENCH_BACKED_FILE"], backed="r")
    names, codes = np.unique(adata.obs["perturbation"].to_numpy(str), return_inverse=True)
    if len(screen.names) <= 10:
        # To compile: the first rows of the file.
        X, codes = adata.X[:200], codes[:200]
    else:
        X = adata.X
    control = int(np.flatnonzero(names == "control")[0])

    def run():
        sums = group_sums(X, codes, len(names), scale="log1p_1e4")
        return np.stack([sums.total / np.maximum(sums.n, 1)[:, None], rank_sum(X, codes, len(names), control).auc])

    return run


backed.needs_cells = False
