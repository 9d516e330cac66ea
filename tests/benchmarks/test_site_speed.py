"""Seconds from records to boards and from boards to the site, for 100 models on 20 boards of 500 perturbations.

``OMP_NUM_THREADS=1 pytest tests/benchmarks/test_site_speed.py --benchmark-only -o addopts=--import-mode=importlib``; other sizes with
``PBENCH_BENCH_SITE=10x2x50``. How fast a browser loads and sorts such a site is in ``test_site_browser_speed.py``.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from synthetic_records import published, synthetic_records

from pbench.bench.engine.ranks import pairwise_tests
from pbench.leaderboards.site.build import build

N_MODELS, N_BOARDS, N_PERTURBATIONS = map(int, os.environ.get("PBENCH_BENCH_SITE", "100x20x500").split("x"))
#: Genes a condition in the scatter.
N_GENES = 30


def once(benchmark, function):
    """One run, and the seconds of the processor in it, which other work on the machine does not lengthen."""
    spent = []

    def run():
        start = time.process_time()
        found = function()
        spent.append(time.process_time() - start)
        return found

    found = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info["processor_seconds"] = round(spent[0], 2)
    return found


@pytest.fixture(scope="module")
def records():
    return synthetic_records(N_MODELS, N_BOARDS, N_PERTURBATIONS, n_genes=N_GENES)


@pytest.fixture(scope="module")
def made():
    """What the first of two tests made, for the second."""
    return {}


def test_all_pairs(benchmark):
    """The tests between all pairs of models on one board, Holm over all of them."""
    rng = np.random.default_rng(0)
    level = 0.25 + 0.6 * np.round(rng.random(N_MODELS) * 12) / 12
    table = rng.lognormal(0, 0.35, (N_PERTURBATIONS, 1)) * level * np.exp(rng.normal(0, 0.3, (N_PERTURBATIONS, N_MODELS)))
    values = {f"m{i:03d}": column for i, column in enumerate(table.T)}
    found = once(benchmark, lambda: pairwise_tests(values, direction="down", perfect=0.0))
    assert len(found.p) == N_MODELS * (N_MODELS - 1) // 2


def test_boards(benchmark, records, made):
    """Everything that is computed from the records: intervals, controls, scores, tests, ranks, strata."""
    benchmark.extra_info["rows"] = len(records.rows)
    found = once(benchmark, lambda: published(records))
    assert len(found.boards) == N_BOARDS
    made["content"] = found


def test_site(benchmark, records, made, tmp_path):
    """Writing the site of these boards."""
    pytest.importorskip("itables", reason="the packages of pbench[site] are not installed")
    pytest.importorskip("plotly", reason="the packages of pbench[site] are not installed")
    content = made.get("content") or published(records)
    once(benchmark, lambda: build(content, tmp_path / "site"))
    sizes = {p.relative_to(tmp_path / "site").as_posix(): p.stat().st_size for p in (tmp_path / "site").rglob("*.js")}
    largest = {
        part: max(s for name, s in sizes.items() if name.startswith(part)) for part in ("data/index", "data/board", "data/model")
    }
    benchmark.extra_info["largest_kb"] = {part: round(size / 1e3) for part, size in largest.items()}
    benchmark.extra_info["all_mb"] = round(sum(sizes.values()) / 1e6)
