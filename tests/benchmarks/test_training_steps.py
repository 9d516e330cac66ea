"""Cells a second of every network's training beside what the machine could multiply.

``pytest tests/benchmarks/test_training_steps.py --benchmark-only -o addopts=--import-mode=importlib``
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch
from norman_training import norman_training
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from pbench.bench.contracts.model import build
from pbench.bench.contracts.registry import models

#: Models that train on cells, with what makes their steps comparable; other parameters are those of `standard`.
STEPS = {
    name: {"epochs": 1, "patience": 0}
    for name in models
    if models.entry(name).group == ""
    and "torch" in models.get(name).capabilities.packages
    and models.get(name).capabilities.needs_cells
}
BATCHES = (128, 512)
N_CELLS = int(os.environ.get("PBENCH_BENCH_CELLS", "8000"))


@pytest.fixture(scope="module")
def screens():
    return {scale: norman_training(N_CELLS, scale=scale) for scale in ("counts", "log1p_1e4")}


@pytest.fixture(scope="module")
def rate():
    """GFLOP a second of the multiplications of a layer of 512 units on a batch of 512 cells of 5,000 genes, forward and backward."""
    x, w, g = torch.randn(512, 5000), torch.randn(512, 5000), torch.randn(512, 512)
    products = [lambda: x @ w.T, lambda: g.T @ x, lambda: g @ w]
    times = []
    for _ in range(15):
        start = time.perf_counter()
        for product in products:
            product()
        times.append(time.perf_counter() - start)
    return 3 * 2 * 512 * 512 * 5000 / np.median(times) / 1e9


@pytest.fixture(autouse=True)
def all_is_trained_on(monkeypatch):
    """No perturbation is watched, so that nothing but training is done."""
    monkeypatch.setattr("pbench.models.neural.held_out.SHARE", 0.0)


class Products(TorchDispatchMode):
    """Counts FLOP of dense products. torch's own counter follows modules too, which a gradient inside a loss (CPA's penalty) breaks."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        count = flop_registry.get(function._overloadpacket)
        self.total += count(*args, **(kwargs or {}), out_val=out) if count else 0
        return out


def work(model, data):
    """FLOP of the products of one epoch: what two epochs take more than one."""
    total = []
    for epochs in (1, 2):
        model.epochs = epochs
        with Products() as counter:
            model.fit(data, seed=0)
        total.append(counter.total)
    model.epochs = 1
    return total[1] - total[0]


@pytest.mark.parametrize("batch_size", BATCHES)
@pytest.mark.parametrize("name", STEPS)
def test_step(name, batch_size, screens, rate, benchmark, request):
    cls = models.get(name)
    known = build(cls, {}, name=name).get_params()
    given = {k: v for k, v in {**STEPS[name], "batch_size": batch_size}.items() if k in known}
    model = build(cls, given, name=name)
    data = screens["counts"]
    n = len(data.cells.codes)
    speeds = []

    def run():
        model.fit(data, seed=0)
        speeds.append(model.history_.cells_per_second)

    benchmark.pedantic(run, rounds=3, warmup_rounds=0)
    speed = float(np.median(speeds))
    per_cell = work(model, data) / n
    achieved = speed * per_cell / 1e9
    line = (name, batch_size, speed, per_cell / 1e6, achieved, rate, achieved / rate)
    request.config.stash.setdefault(request.config._step_lines, []).append(line)
