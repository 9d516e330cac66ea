"""Truths built by hand, without the engine."""

from __future__ import annotations

import numpy as np
import pytest

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.metric import Comparison
from pbench.bench.contracts.training import Profiles
from pbench.bench.contracts.truth import Truth
from pbench.metrics import CATALOGUE


def _truth(mean, ctrl, *, pert=None, conditions=None, targets=None, de_order=None):
    """A Truth of float32 means; `ctrl` is (G,) or (n, G), `pert` defaults to the mean of the rows."""
    mean = np.asarray(mean, dtype=np.float32)
    n, n_genes = mean.shape
    ctrl = np.broadcast_to(np.asarray(ctrl, dtype=np.float32).astype(np.float64), mean.shape)
    shift = mean - ctrl
    pert = ctrl + shift.mean(axis=0) if pert is None else np.broadcast_to(np.asarray(pert, dtype=np.float64), mean.shape)
    loo = ctrl + (shift.sum(axis=0) - shift) / (n - 1) if n > 1 else np.full(mean.shape, np.nan)
    conditions = conditions or tuple(Condition((f"P{i:03d}",)) for i in range(n))
    targets = targets or ((),) * n
    if de_order is None:
        score = np.abs(shift)
        for row, own in enumerate(targets):
            score[row, list(own)] = -1.0
        de_order = np.argsort(-score, axis=1, kind="stable")
        de_order = np.where(np.take_along_axis(score, de_order, axis=1) >= 0, de_order, -1)[:, :100]
    profiles = Profiles(conditions, mean, np.ones_like(mean), np.full(n, 50))
    controls = Profiles((Condition(),), ctrl[:1].astype(np.float32), np.ones((1, n_genes), np.float32), np.array([100]))
    genes = np.array([f"gene{i:04d}" for i in range(n_genes)])
    return Truth(genes, profiles, controls, {"ctrl": ctrl, "pert": pert, "loo": loo}, de_order, targets, (profiles, profiles))


@pytest.fixture(scope="session")
def make_truth():
    return _truth


@pytest.fixture(scope="session")
def score():
    """Values of a metric by id."""

    def run(metric, truth, predicted):
        return CATALOGUE[metric](Comparison(truth, np.asarray(predicted)))

    return run


@pytest.fixture(scope="session")
def random_screen():
    """A random truth and a noisy prediction of it; every gene set has enough genes from 60 genes on."""

    def build(seed, n=6, n_genes=60, n_contexts=1):
        rng = np.random.default_rng(seed)
        context = np.arange(n) % n_contexts
        ctrl = rng.gamma(1.0, 1.0, size=(n_contexts, n_genes))[context]
        effect = rng.normal(size=(n, n_genes)) * rng.lognormal(size=(n, 1)) + rng.normal(size=n_genes)
        names = [None] if n_contexts == 1 else [f"line{i}" for i in range(n_contexts)]
        conditions = tuple(Condition((f"P{i:03d}",), context=names[context[i]]) for i in range(n))
        targets = tuple((int(rng.integers(n_genes)),) if rng.random() < 0.7 else () for _ in range(n))
        truth = _truth(ctrl + effect, ctrl, conditions=conditions, targets=targets)
        predicted = truth.profiles.mean + rng.normal(size=(n, n_genes)) * 0.7
        return truth, predicted.astype(np.float32).astype(np.float64)

    return build
