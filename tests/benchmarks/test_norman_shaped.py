"""How long and how much memory a screen of the size of Norman 2019 takes, from the file to the leaderboard.

Skipped by default. Run with: pytest tests/benchmarks --benchmark-only -o addopts="--import-mode=importlib"
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np


class Memory(threading.Thread):
    """Samples a process and its descendants: the largest resident set of one, and the sum of what they own together (PSS)."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.largest, self.together, self.running = pid, 0, 0, True

    def run(self):
        while self.running:
            found = [_memory(pid) for pid in _tree(self.pid)]
            self.largest = max(self.largest, *(rss for rss, _ in found), 0)
            self.together = max(self.together, sum(pss for _, pss in found))
            time.sleep(0.2)


def _tree(root):
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [root]
    while queue:
        found.append(queue.pop())
        queue += children.get(found[-1], [])
    return found


def _memory(pid):
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    return kilobytes["Rss"] / 1024, kilobytes["Pss"] / 1024


def test_group_sums(benchmark, norman_shaped):
    from pbench.bench.engine.statistics import group_sums

    _, adata = norman_shaped
    codes = adata.obs["perturbation"].cat.codes.to_numpy().astype(np.int64)
    sums = benchmark.pedantic(group_sums, (adata.X, codes, codes.max() + 1), {"scale": "log1p_1e4"}, rounds=2)
    benchmark.extra_info["density"] = round(adata.X.nnz / (adata.n_obs * adata.n_vars), 3)
    assert sums.n.sum() == adata.n_obs


def test_all_models_and_metrics_from_file_to_leaderboard(benchmark, norman_shaped, tmp_path):
    path, _ = norman_shaped
    command = [sys.executable, "-c", "from pbench.bench.cli.main import main; main()", "run", "--json", "--models", "all"]
    command += [
        "--dataset",
        str(path),
        "--scale",
        "log1p_1e4",
        "--split",
        "doubles",
        "--out",
        str(tmp_path / "results"),
        "-j",
        "2",
    ]
    for name in ("go", "embedding"):
        command += ["--resource", f"{name}={path.with_name('features.npz')}"]
    environment = {**os.environ, "PBENCH_CACHE": str(tmp_path / "cache"), "PBENCH_DATA": str(tmp_path / "data")}

    def run():
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
        memory = Memory(process.pid)
        memory.start()
        output, errors = process.communicate()
        memory.running = False
        memory.join()
        assert process.returncode == 0, errors
        return json.loads(output), memory

    report, memory = benchmark.pedantic(run, rounds=1)
    status = {card["model"]: card["status"] for card in report["jobs"]}
    benchmark.extra_info |= {
        "largest_process_mb": round(memory.largest),
        "all_processes_mb": round(memory.together),
        "seconds_by_model": {card["model"]: card["seconds"]["total"] for card in report["jobs"] if "seconds" in card},
        "status": status,
    }
    assert status["additive"] == "ok"
    assert set(status.values()) == {"ok"}
