"""What the engine costs beyond the work itself: many jobs that do nothing, and a few that take half a minute.

``pytest tests/benchmarks/test_overhead.py --benchmark-only -o addopts=--import-mode=importlib``; ``PBENCH_BENCH_SECONDS`` shortens the
long jobs. Times are only worth something on a machine that does nothing else.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest

CALLS, WORKERS = 1000, 2
#: Of the split, each a job for every seed.
FOLDS = 5
SECONDS = float(os.environ.get("PBENCH_BENCH_SECONDS", "30"))

PLUGIN = """
import time

from pbench import Capabilities, Model, Prediction


class Nothing(Model):
    capabilities = Capabilities(unseen_targets=True, stochastic=True)

    def __init__(self, *, seconds: float = 0) -> None:
        self.seconds = seconds

    def fit(self, data, *, seed):
        time.sleep(self.seconds)
        return self

    def predict(self, conditions, controls):
        return Prediction(conditions, controls.control_mean(conditions))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A screen of 20 perturbations and 100 genes, and a model that only sleeps."""
    import pandas as pd
    from anndata import AnnData

    folder = tmp_path_factory.mktemp("overhead")
    (folder / "nothing.py").write_text(PLUGIN)
    rng = np.random.default_rng(0)
    labels = np.repeat(["control", *(f"G{i}" for i in range(20))], 30)
    X = rng.poisson(2, (len(labels), 100)).astype(np.float32)
    obs = pd.DataFrame({"perturbation": labels}, index=[f"cell{i}" for i in range(len(labels))])
    AnnData(X, obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(100)])).write_h5ad(folder / "small.h5ad")
    return folder


def run(folder, models, seeds, out):
    """Seconds of a whole command, from the shell to the board."""
    command = f"run --plugin nothing.py --models {models} --no-controls --dataset small.h5ad --scale counts --split unseen-single"
    command += f" --metrics l2@all --seeds {seeds} --jobs {WORKERS} --out {out} --json"
    environment = {**os.environ, "PBENCH_CACHE": str(folder / "cache")}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", "from pbench.bench.cli.main import main; main()", *command.split()],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    return seconds, json.loads(done.stdout)


def span(report):
    """Seconds from the first start of a job to the last end."""
    ended = [card["started"] + card["seconds"]["total"] for card in report["jobs"]]
    return max(ended) - min(card["started"] for card in report["jobs"])


#: In a program of its own: processes that are started below pytest import pytest first.
CALLS_ALONE = """
import json, math, multiprocessing, sys, time
from concurrent.futures import ProcessPoolExecutor

from pbench.bench.engine.execute import execute

if __name__ == "__main__":
    calls, workers = map(int, sys.argv[1:])
    list(execute(math.sqrt, [1.0] * workers, workers=workers))
    ours = []
    for _ in range(3):
        began = time.perf_counter()
        list(execute(math.sqrt, [1.0] * calls, workers=workers))
        ours.append(time.perf_counter() - began)
    context = multiprocessing.get_context("forkserver")
    began = time.perf_counter()
    with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
        list(pool.map(math.sqrt, [1.0] * calls))
    print(json.dumps({"ours": ours, "peer": time.perf_counter() - began}))
"""


def test_calls_that_do_nothing(benchmark, tmp_path):
    """Each in a fresh process, beside the standard library's pool with a fresh process for each call."""
    (tmp_path / "calls.py").write_text(CALLS_ALONE)
    command = [sys.executable, str(tmp_path / "calls.py"), str(CALLS), str(WORKERS)]
    said = benchmark.pedantic(lambda: subprocess.run(command, capture_output=True, text=True, check=True).stdout, rounds=1)
    found = json.loads(said)
    ours = statistics.median(found["ours"])
    benchmark.extra_info.update(calls=CALLS, seconds=ours, peer_seconds=found["peer"], peer_over_ours=found["peer"] / ours)


def test_jobs_that_do_nothing(folder, benchmark):
    """Whole jobs: truth, prediction, one metric, three files flushed to disk, and the board of all at the end."""
    run(folder, "nothing", "0-0", "warm")
    seconds, report = benchmark.pedantic(lambda: run(folder, "nothing", f"0-{CALLS // FOLDS - 1}", "many"), rounds=1)
    assert report["computed"] == CALLS
    benchmark.extra_info.update(jobs=CALLS, seconds=seconds, from_first_start_to_last_end=span(report))


def test_jobs_that_take_half_a_minute(folder, benchmark):
    """Shares of the time that are not the jobs' own: of the whole command, and from the first start to the last end.

    The jobs sleep, so that no core is missing.
    """
    run(folder, "nothing", "0-0", "warm")
    n = 2 * FOLDS
    seconds, report = benchmark.pedantic(lambda: run(folder, f"nothing[seconds={SECONDS:g}]", "0-1", "long"), rounds=1)
    assert report["computed"] == n
    work = n / WORKERS * SECONDS
    benchmark.extra_info.update(jobs=n, job_seconds=SECONDS, command=seconds / work - 1, scheduler=span(report) / work - 1)
