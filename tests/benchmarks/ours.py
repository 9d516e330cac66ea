"""The tasks that are timed, as this package does them. Each prepares and returns what is timed; see measure.py."""

from __future__ import annotations

import numpy as np

DELTAS = ("pearson_delta", "spearman_delta", "cosine_delta", "r2_delta", "magnitude_ratio")
MEAN_LEVEL = (*(f"{family}@all~ctrl" for family in DELTAS), "retrieval.truths@all~ctrl#l1")
PERMUTATIONS = 1000


def cells_of(screen, matrix):
    """The statistics of all groups, from one pass over the cells."""
    from pbench.bench.contracts.condition import Condition, parse_label
    from pbench.bench.engine.statistics import group_sums

    conditions = tuple(Condition(parse_label(str(name))) for name in screen.names)
    sums = group_sums(matrix, screen.codes, len(screen.names), scale="log1p_1e4")
    return sums.pool([[g] for g in range(len(screen.names))], conditions)


def comparison(screen, truth, predicted):
    """Truth and prediction by group, control apart, from the statistics of both."""
    from pbench.bench.contracts.condition import Condition
    from pbench.bench.contracts.metric import Comparison
    from pbench.bench.contracts.training import Profiles
    from pbench.bench.contracts.truth import Truth

    rows = np.flatnonzero(np.arange(len(screen.names)) != screen.control)
    profiles = Profiles(tuple(truth.conditions[i] for i in rows), truth.mean[rows], truth.var[rows], truth.n_cells[rows])
    own = [screen.control]
    controls = Profiles((Condition(),), truth.mean[own], truth.var[own], truth.n_cells[own])
    ctrl = np.repeat(controls.mean.astype(np.float64), len(rows), axis=0)
    order = np.zeros((len(rows), 100), dtype=np.int64)
    complete = Truth(screen.genes, profiles, controls, {"ctrl": ctrl}, order, ((),) * len(rows), (profiles, profiles))
    return Comparison(complete, predicted.mean[rows].astype(np.float64))


def pseudobulk_metrics(screen):
    """Pseudobulks of truth and prediction, five metrics of changes and L1 discrimination."""
    from pbench.metrics import CATALOGUE

    def run():
        found = comparison(screen, *(cells_of(screen, matrix) for matrix in (screen.X, screen.predicted)))
        return np.stack([CATALOGUE[metric](found).value for metric in MEAN_LEVEL])

    return run


def mann_whitney(screen):
    """p of every gene of every group against control."""
    from pbench.bench.kernels.rank_sum import rank_sum

    return lambda: rank_sum(screen.X, screen.codes, len(screen.names), screen.control, continuity=False).p


def mann_whitney_with_continuity(screen):
    from pbench.bench.kernels.rank_sum import rank_sum

    return lambda: rank_sum(screen.X, screen.codes, len(screen.names), screen.control).p


def welch(screen):
    """t and p of every gene of every group against control, from cells."""
    from pbench.models.welch import welch_p

    def run():
        found = cells_of(screen, screen.X)
        truth = comparison(screen, found, found).truth
        return welch_p(truth.profiles, truth.controls)

    return run


def energy_to_control(screen):
    from pbench.bench.kernels.pairwise import energy_distances

    return lambda: energy_distances(screen.points, screen.codes, len(screen.names), screen.control)


def energy_of_all_pairs(screen):
    from pbench.bench.kernels.pairwise import energy_matrix

    return lambda: energy_matrix(screen.points, screen.codes, len(screen.names))


def bandwidth(screen):
    """A fixed length near the median distance, so that everyone computes the same kernel."""
    return float(np.sqrt(2 * screen.points.var(axis=0, dtype=np.float64).sum()))


def kernel_discrepancy(screen):
    from pbench.bench.kernels.pairwise import mmd_to_control

    length = bandwidth(screen)
    return lambda: mmd_to_control(screen.points, screen.codes, len(screen.names), screen.control, length)


def energy_test(screen):
    """All groups, a thousand permutations each."""
    from pbench.bench.kernels.energy_test import energy_test

    return lambda: energy_test(screen.points, screen.codes, len(screen.names), screen.control, PERMUTATIONS, 0)


for task in (energy_to_control, energy_of_all_pairs, kernel_discrepancy, energy_test):
    task.needs_cells = False
