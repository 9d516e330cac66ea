"""Seconds of the scores of latent variables on 20,000 cells with 50 variables and 50 codes, and of all of them on a quick evaluation.

``OMP_NUM_THREADS=1 pytest tests/benchmarks/test_identification_speed.py --benchmark-only -o addopts=--import-mode=importlib``
"""

from __future__ import annotations

import numpy as np
import pytest

from pbench.bench.contracts.latents import Encoding, GroundTruth, LatentComparison
from pbench.bench.contracts.metric import Comparison
from pbench.metrics.identification import FAMILIES

METRICS = {m.id: m for metrics in FAMILIES.values() for m in metrics}
N_TIMES, N_PERTURBATIONS = 4, 12


def latents(n, d, m):
    """Units seen at four times; codes are a smooth mixture of the variables."""
    rng = np.random.default_rng(0)
    invariant = max(1, d // 4)
    units = n // N_TIMES
    own = rng.integers(0, N_PERTURBATIONS, units)
    targets = np.zeros((N_PERTURBATIONS, d), dtype=bool)
    targets[np.arange(1, N_PERTURBATIONS), np.arange(N_PERTURBATIONS - 1) % (d - invariant)] = True
    z = rng.normal(size=(units, N_TIMES, d)) + targets[own][:, None]
    z[:, :, d - invariant :] = z[:, :1, d - invariant :]
    z = z.reshape(-1, d)
    truth = GroundTruth(
        z,
        tuple(map(str, range(d))),
        ("responsive",) * (d - invariant) + ("invariant",) * invariant,
        ("continuous",) * d,
        ("control", *(f"P{p}" for p in range(1, N_PERTURBATIONS))),
        targets,
        np.zeros((d, d), dtype=bool),
        np.tril(np.ones((1, d, d), dtype=bool)),
    )
    h = np.tanh(0.5 * z @ rng.normal(size=(d, m)) / np.sqrt(d)) + 0.05 * rng.normal(size=(len(z), m))
    part = m - max(1, m // 4)
    encoding = Encoding({"responsive": h[:, :part], "invariant": h[:, part:]}, graph=rng.random((part, part)))
    report = np.repeat(rng.random(units) < 0.5, N_TIMES)
    return LatentComparison(
        truth,
        encoding,
        report,
        np.repeat(own, N_TIMES),
        np.repeat(np.arange(units), N_TIMES),
        np.tile(np.arange(4.0), units),
        "block",
    )


@pytest.fixture(scope="module")
def large():
    return latents(20_000, 50, 50)


def afresh(comparison):
    """Nothing remembered from an earlier round."""
    from dataclasses import replace

    return (Comparison(None, None, latents=replace(comparison)),), {}


@pytest.mark.parametrize(
    "name", ["mcc.pearson", "mcc.spearman", "mcc.elementwise", "r2.linear", "r2.nonlinear", "r2.diagonal", "dci.completeness"]
)
def test_many_variables(benchmark, large, name):
    METRICS[name](*afresh(large)[0])
    values = benchmark.pedantic(METRICS[name], setup=lambda: afresh(large), rounds=3)
    assert np.isfinite(values.value).all()


@pytest.mark.parametrize("m", [7, 30])
def test_everything_of_a_quick_evaluation(benchmark, m):
    small = latents(3000, 7, m)

    def run(comparison):
        return [metric(comparison) for metric in METRICS.values()]

    run(*afresh(small)[0])
    values = benchmark.pedantic(run, setup=lambda: afresh(small), rounds=3)
    assert len(values) == len(METRICS)
