"""Three nodes, one of which is killed in the middle: the run ends complete, with the records of a local run.

``PBENCH_CLUSTER_JOBS=500 pytest tests/bench/test_ray_cluster.py -m slow``; without the variable there are 24 jobs.
"""

from __future__ import annotations

import os
import time

import pytest
from small_matrices import MODELS, Told, records, registered, small_matrix

from pbench.bench.engine.ray_executor import RayExecutor
from pbench.bench.engine.run import run_matrix

pytest.importorskip("ray", reason="ray is not installed: pip install 'pbench[ray]'")
JOBS = int(os.environ.get("PBENCH_CLUSTER_JOBS", "24"))
MODEL_NAMES = ["shaken", ("shaken", {"scale": 0.5}), "steady", ("steady", {"scale": 0.5})]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head and two more nodes, of one core each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cache = tmp_path_factory.mktemp("cache-of-nodes")
        patch.setenv("PBENCH_CACHE", str(cache))
        node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=node)
        made.cache = cache
        made.others = [made.add_node(**node) for _ in range(2)]
    yield made
    made.shutdown()


class Killer(Told):
    """Ends a node, without a word to anybody, once a part of the jobs has come back."""

    def __init__(self, cluster, after):
        super().__init__()
        self.cluster, self.after, self.killed_at = cluster, after, None

    def finished(self, title, status, reason, seconds):
        super().finished(title, status, reason, seconds)
        if len(self.ended) >= self.after and self.killed_at is None:
            self.killed_at = len(self.ended)
            self.cluster.remove_node(self.cluster.others.pop(), allow_graceful=False)


@pytest.mark.slow
def test_a_node_that_dies_in_the_middle_costs_nothing(cluster, toy_plugin, tmp_path, monkeypatch, record_property):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = tmp_path / "small_models.py"
    file.write_text(MODELS)
    forget = registered(toy_plugin, file)
    try:

        def matrix(out):
            # Two deterministic models run once, two stochastic ones with every seed.
            seeds = range((JOBS - 2) // 2)
            return small_matrix(tmp_path / out, MODEL_NAMES, (toy_plugin, file), seeds=tuple(seeds))

        told, began = Killer(cluster, JOBS // 2), time.monotonic()
        # Nothing is read where it lies here, and each node has a folder of its own: as if there were three machines.
        with RayExecutor(cluster.address, shared=False, apart=True) as run_jobs:
            summary = run_matrix(matrix("cluster"), told, run_jobs=run_jobs)
        record_property("seconds_on_the_cluster", round(time.monotonic() - began, 1))
        assert told.killed_at == JOBS // 2
        assert len(summary.cards) == summary.computed == JOBS and not summary.failed
        assert {status for _, status, _ in told.ended} == {"ok"} and len(told.begun) == JOBS
        workers = len(list((cluster.cache / "shipped").iterdir()))
        record_property("nodes_that_worked", workers)
        # A few jobs may be over before all nodes have started.
        assert workers == 3 or JOBS < 100
        began = time.monotonic()
        run_matrix(matrix("home"), Told())
        record_property("seconds_at_home", round(time.monotonic() - began, 1))
        found = records(tmp_path / "cluster")
        assert len(found) == 2 * JOBS and found == records(tmp_path / "home")
    finally:
        forget()
