"""Cells a second of training GEARS-style on a screen of the shape of Norman 2019, loader included, and memory beyond the data.

Skipped by default. Run on quiet cores with two threads:
OMP_NUM_THREADS=2 pytest tests/benchmarks/test_gears_speed.py --benchmark-only -s -o addopts=--import-mode=importlib
With ``PBENCH_GEARS_PYTHON`` naming an interpreter that has cell-gears, the official code is timed in the same run.
"""

from __future__ import annotations

import os
import threading
import time
from itertools import chain

import numpy as np
import official_speed
import pytest
from scipy import sparse

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.training import Cells, Profiles, TrainingData

N_GENES, N_CELLS, N_CONTROLS, N_SINGLES, N_DOUBLES, DENSITY, N_NODES = 5_000, 20_000, 2_000, 105, 131, 0.2, 9_853


@pytest.fixture(scope="module")
def screen():
    """20,000 cells of 236 perturbations, a fifth of the values not zero; values without any meaning."""
    rng = np.random.default_rng(0)
    genes = np.array([f"G{i:04d}" for i in range(N_GENES)])
    targets = rng.choice(genes, N_SINGLES, replace=False)
    first, second = np.triu_indices(N_SINGLES, k=1)
    pairs = rng.choice(len(first), N_DOUBLES, replace=False)
    conditions = [Condition((str(t),)) for t in targets]
    conditions += [Condition((str(targets[first[p]]), str(targets[second[p]]))) for p in pairs]
    blocks = []
    for start in range(0, N_CELLS, 1000):
        mask = rng.random((min(1000, N_CELLS - start), N_GENES), dtype=np.float32) < DENSITY
        blocks.append(sparse.csr_matrix(mask * rng.gamma(4, 0.25, mask.shape).astype(np.float32)))
    X = sparse.vstack(blocks, format="csr")
    codes = np.concatenate([np.zeros(N_CONTROLS, np.int64), rng.integers(1, len(conditions) + 1, N_CELLS - N_CONTROLS)])
    cells = Cells(X, codes, (Condition(), *conditions), "log1p_1e4")
    member = sparse.csr_matrix((np.ones(N_CELLS, np.float32), (codes, np.arange(N_CELLS))))
    n = np.bincount(codes)
    mean = (member @ X).toarray() / n[:, None].astype(np.float32)

    def profiles(rows):
        return Profiles(tuple(cells.conditions[r] for r in rows), mean[rows], np.zeros_like(mean[rows]), n[rows])

    rows = range(1, len(n))
    return TrainingData(genes, profiles(rows), profiles([0]), profiles([]), load_cells=lambda role: cells)


@pytest.fixture(scope="module")
def official():
    """Cells a second of cell-gears at its own batch size, with its loader; None where it is not there."""
    python = os.environ.get("PBENCH_GEARS_PYTHON")
    if not python:
        return None
    speed = official_speed.measure(python, N_GENES, 32)
    print(f"GEARS, cell-gears with its loader, batch 32: {speed:,.1f} cells/s")
    return speed


def resident_mb():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


class Peak(threading.Thread):
    """The most memory that this process holds, looked at every 20 ms."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.running = 0.0, True

    def run(self):
        while self.running:
            self.most = max(self.most, resident_mb())
            time.sleep(0.02)


@pytest.mark.parametrize("batch_size", [512, 2048, 0])
def test_training_step(benchmark, screen, batch_size, official):
    """batch_size=0: all cells of 32 conditions a step, through their moments."""
    import torch

    from pbench.models.gears import Gears
    from pbench.models.neural.fitting import Settings
    from pbench.models.neural.gears_network import GearsNetwork
    from pbench.models.neural.gears_objective import AdamDescent
    from pbench.models.neural.gears_training import GearsSettings, GearsTraining
    from pbench.models.neural.gene_graphs import GeneGraph, normalised, random_edges

    names = (*map(str, screen.genes), *(f"N{i}" for i in range(N_NODES - N_GENES)))
    nodes = GeneGraph(names, normalised(random_edges(N_NODES, seed=0), N_NODES))
    genes = GeneGraph(tuple(map(str, screen.genes)), normalised(random_edges(N_GENES, seed=1), N_GENES))
    model = Gears(batch_size=batch_size, perturbations=32)
    settings = GearsSettings(**{name: getattr(model, name) for name in GearsSettings.__dataclass_fields__})
    conditions = screen.perturbed.conditions
    before, peak = resident_mb(), Peak()
    peak.start()
    start = time.perf_counter()
    training = GearsTraining(screen, conditions, nodes, genes, settings, torch.device("cpu"))
    prepared = time.perf_counter() - start
    torch.manual_seed(0)
    network = GearsNetwork(genes.adjacency, N_NODES).train()
    step = AdamDescent(training._objective(network, conditions), Settings(1, 1e-3, 5e-4, clip=1.0))
    rng, changes = np.random.default_rng(0), training._changes(conditions)
    batches = chain.from_iterable(changes.epoch(rng) for _ in range(100))
    cells = []

    def one():
        moments = next(batches)
        cells.append(len(moments))
        return step(moments)

    assert np.isfinite(benchmark.pedantic(one, rounds=5, warmup_rounds=1))
    peak.running = False
    peak.join()
    benchmark.extra_info |= {
        "cells_per_second": round(float(np.mean(cells)) / benchmark.stats.stats.median),
        "cells_per_step": round(float(np.mean(cells))),
        "seconds_to_prepare": round(prepared, 2),
        "mb_beyond_data": round(peak.most - before),
        "threads": torch.get_num_threads(),
    }
    speed = benchmark.extra_info["cells_per_second"]
    beside = f" ({speed / official:.0f} times)" if official else ""
    print(
        f"GEARS-style, batch {batch_size or 'of conditions'}: {speed:,} cells/s{beside}, {benchmark.extra_info['mb_beyond_data']} MB"
    )
