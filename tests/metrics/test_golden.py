"""Every metric on one fixed screen and prediction against the values it had when its version was set.

A failure here means that a definition has changed: raise the metric's ``version``, so that old results keep theirs, say so in
the changelog, and write the new values with ``PBENCH_GOLDEN=write pytest tests/metrics/test_golden.py``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.latents import Encoding, GroundTruth, LatentComparison
from pbench.bench.contracts.metric import Comparison
from pbench.bench.contracts.screen import Dataset, DatasetCard, Screen, validate
from pbench.bench.contracts.split import SplitManifest
from pbench.bench.engine.assemble import Assembly
from pbench.bench.engine.prepare import prepare
from pbench.metrics import CATALOGUE

FILE = Path(__file__).with_name("golden.json")
N_GENES, N_CELLS, N_TARGETS = 120, 20, 24
#: Of the true means: the screen itself must not move.
SUM = 6526.375


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """Twelve single and 23 double test conditions with interactions, and cells predicted for them that are right in part."""
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    # Sums of halves and quarters are exact and PCG64 is the same everywhere, so the screen is the same to the last bit.
    rng = np.random.Generator(np.random.PCG64(20260101))
    names = [f"G{i:03d}" for i in range(N_GENES)]
    base = rng.integers(0, 12, N_GENES) / 4
    effect = {t: rng.integers(-8, 9, N_GENES) / 4 * (rng.random(N_GENES) < 0.3) for t in names[:N_TARGETS]}
    doubles = [f"{a}+{b}" for a, b in zip(names[: N_TARGETS - 1], names[1:N_TARGETS], strict=True)]
    beyond = {d: rng.integers(-8, 9, N_GENES) / 4 * (rng.random(N_GENES) < 0.15) for d in doubles}
    labels = ["control", *names[:N_TARGETS], *doubles]

    def cells(label, n, share=1.0):
        shift = sum((effect[t] for t in label.split("+") if t in effect), beyond.get(label, np.zeros(N_GENES)))
        drawn = base + share * shift + rng.integers(-6, 7, (n, N_GENES)) / 4
        return np.clip(drawn, 0, 8).astype(np.float32)

    blocks = [cells(label, 3 * N_CELLS if label == "control" else N_CELLS) for label in labels]
    obs = pd.DataFrame(
        {"perturbation": np.repeat(labels, [len(b) for b in blocks])}, index=[f"c{i:04d}" for i in range(sum(map(len, blocks)))]
    )
    card = DatasetCard("golden", "a fixed screen", "made by a test", "CC0", "log1p_1e4", "control", simulated=True)
    adata = AnnData(sparse.csr_matrix(np.concatenate(blocks)), obs=obs, var=pd.DataFrame(index=names))
    screen = validate(Screen(adata, card), source="golden")
    test = {c for i, c in enumerate(screen.perturbed) if i % 2 == 0 or len(c.targets) == 2}
    roles = {c: "test" if c in test else "train" for c in screen.perturbed}
    manifest = SplitManifest("golden", "golden", "golden", {}, "1/1", 1, roles)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        prepared = prepare(Dataset(card, lambda: "golden", lambda: screen), data_id="golden", cells=True)
        assembly = Assembly(prepared, manifest)
        assembly.write_cell_truth(folder := tmp_path_factory.mktemp("truth") / "cells")
        truth = assembly.truth(folder)
        predicted = {i: cells(c.label, 25, share=0.6) for i, c in enumerate(truth.conditions)}
        mean = np.stack([c.mean(axis=0, dtype=np.float64) for c in predicted.values()])
        variance = np.stack([c.var(axis=0, ddof=1, dtype=np.float64) for c in predicted.values()])
        yield Comparison(truth, mean, variance, predicted, latents())


def latents():
    """Trajectories of two responsive variables and an invariant one, and codes that mix them a little and know a perturbation."""
    rng = np.random.Generator(np.random.PCG64(20261125))
    n, times, labels = 120, 3, ("control", "A", "B", "A+B")
    unit, time = np.repeat(np.arange(4 * n), times), np.tile(np.arange(times, dtype=float), 4 * n)
    perturbation = np.repeat(np.arange(4), n * times)
    targets = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=bool)
    z = rng.integers(-8, 9, (len(unit), 3)) / 4
    z[:, 2] = (rng.integers(-8, 9, 4 * n) / 4)[unit]
    z[:, :2] += np.where(time[:, None] > 0, 1.5 * targets[perturbation, :2], 0)
    noise = rng.integers(-8, 9, (len(unit), 3)) / 16
    responsive = np.stack([z[:, 1] + z[:, 0] / 4, z[:, 0] ** 3 / 8], axis=1) + noise[:, :2]
    truth = GroundTruth(
        z,
        ("r1", "r2", "i"),
        ("responsive", "responsive", "invariant"),
        ("continuous",) * 3,
        labels,
        targets,
        np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0]], dtype=bool),
        np.zeros((0, 3, 3), dtype=bool),
    )
    blind = {"responsive": responsive - perturbation[:, None] / 8, "invariant": z[:, 2:] + noise[:, 2:]}
    encoding = Encoding(
        {"responsive": responsive, "invariant": blind["invariant"] + perturbation[:, None] / 8},
        blind,
        {"A": np.array([0.25, 1.0]), "B": np.array([1.0, 0.125])},
        np.array([[0.0, 0.5], [0.25, 0.0]]),
    )
    return LatentComparison(truth, encoding, unit % 2 == 0, perturbation, unit, time, "permutation")


@pytest.fixture(scope="module")
def golden():
    return json.loads(FILE.read_text())


def found(metric, comparison):
    values = metric(comparison)
    defined = values.value[~np.isnan(values.value)]
    return {
        "version": metric.version,
        "mean": float(np.sort(defined).mean()) if len(defined) else None,
        "first": float(defined[0]) if len(defined) else None,
        "defined": len(defined),
    }


def test_every_metric_has_values(golden):
    assert set(golden) == set(CATALOGUE)
    # Metrics that this screen leaves undefined are not guarded by it.
    assert sum(value["defined"] == 0 for value in golden.values()) <= 3


@pytest.mark.parametrize("name", CATALOGUE)
def test_values_are_those_of_the_version(name, comparison, golden):
    now, then = found(CATALOGUE[name], comparison), golden[name]
    assert (now["version"], now["defined"]) == (then["version"], then["defined"])
    # What is fitted to codes passes through decompositions that differ between libraries of linear algebra.
    tolerance = {"rel": 1e-3, "abs": 1e-3} if CATALOGUE[name].of_latents else {"rel": 1e-5, "abs": 1e-6}
    for key in ("mean", "first"):
        assert now[key] == pytest.approx(then[key], **tolerance) if then[key] is not None else now[key] is None


@pytest.mark.skipif(os.environ.get("PBENCH_GOLDEN") != "write", reason="writes the values; set PBENCH_GOLDEN=write")
def test_write(comparison):
    values = {name: found(metric, comparison) for name, metric in CATALOGUE.items()}
    FILE.write_text(json.dumps(values, indent=1) + "\n")


def test_the_screen_itself_is_fixed(comparison):
    truth = comparison.truth
    assert truth.conditions[0] == Condition(("G000",)) and len(truth.conditions) == 35
    assert float(truth.profiles.mean.sum(dtype=np.float64)) == pytest.approx(SUM, abs=0.01)
