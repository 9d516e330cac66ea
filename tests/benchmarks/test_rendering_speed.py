"""Pictures a second, and the time until a rendered screen is there.

``pytest tests/benchmarks/test_rendering_speed.py --benchmark-only -o addopts=--import-mode=importlib``
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from pbench.datasets.scenes.c3di_lite import C3DI_LITE_STATIC, C3DI_LITE_TEMPORAL
from pbench.datasets.scenes.renderer import render
from pbench.datasets.scenes.scene import VARIABLES, Scenes
from pbench.datasets.scenes.shapes import SHAPES

N_PICTURES = int(os.environ.get("PBENCH_BENCH_PICTURES", "300"))
SIZES = (32, 64, 128)


@pytest.mark.parametrize("size", SIZES)
def test_pictures_a_second(size, benchmark):
    rng = np.random.default_rng(0)
    batch = Scenes(rng.uniform(-1, 1, (N_PICTURES, len(VARIABLES))), rng.integers(0, len(SHAPES), N_PICTURES))
    render(batch[:7], size)
    spent = []

    def run():
        start = time.process_time()
        render(batch, size)
        # Time of the processor, which other work on the machine does not lengthen.
        spent.append(time.process_time() - start)

    benchmark.pedantic(run, rounds=3, warmup_rounds=0)
    benchmark.extra_info["pictures_per_second"] = N_PICTURES / min(spent)


@pytest.mark.parametrize("dataset", [C3DI_LITE_STATIC, C3DI_LITE_TEMPORAL], ids=lambda d: d.card.name)
def test_a_whole_screen(dataset, benchmark):
    screen = benchmark.pedantic(dataset.load, rounds=1, warmup_rounds=0)
    assert screen.adata.n_obs == dataset.card.n_cells
