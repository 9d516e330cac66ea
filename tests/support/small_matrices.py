"""Matrices of small jobs for tests of where they run, and records without what the machine and the clock put into them."""

from __future__ import annotations

import json
from pathlib import Path

from pbench.bench.cli.progress import Silent
from pbench.bench.contracts import registry
from pbench.bench.engine.plan import Request
from pbench.bench.engine.run import Matrix
from pbench.bench.engine.sealed import read_arrays
from pbench.bench.engine.stage import DatasetRequest

#: What differs between two runs of the same job.
OF_THE_RUN = ("seconds", "started", "peak_memory_mb", "machine", "rows_file", "sha256")

MODELS = """
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np

from pbench import Capabilities, Model, Prediction
from pbench.bench.contracts.errors import TrainingFailed


class Steady(Model):
    capabilities = Capabilities(unseen_targets=True)
    name = "steady"

    def __init__(self, *, scale=1.0, where=""):
        self.scale, self.where = scale, where

    def fit(self, data, *, seed):
        self.shift_ = self.scale * data.mean_shift
        return self

    def predict(self, conditions, controls):
        return Prediction(tuple(conditions), controls.control_mean(conditions) + self.shift_)


class Shaken(Steady):
    capabilities = Capabilities(unseen_targets=True, stochastic=True)
    name = "shaken"

    def fit(self, data, *, seed):
        rng = np.random.default_rng(seed)
        # Products whose last bits depend on how they are split among threads.
        a = rng.normal(size=(200, len(data.genes)))
        self.shift_ = data.mean_shift + 1e-3 * np.linalg.solve(a.T @ a, data.mean_shift)
        return self


class Failing(Steady):
    name = "failing"

    def fit(self, data, *, seed):
        raise ValueError("nothing can be learned from this")


class Sleeping(Steady):
    name = "sleeping"

    def fit(self, data, *, seed):
        if self.where:
            (Path(self.where) / f"{os.getpid()}").touch()
        time.sleep(600)


class Killed(Steady):
    name = "killed"

    def fit(self, data, *, seed):
        os.kill(os.getpid(), signal.SIGKILL)


class Treacherous(Steady):
    \"\"\"Takes with it, the first time, the process that has started its own.\"\"\"

    name = "treacherous"

    def fit(self, data, *, seed):
        done = Path(self.where) / "done"
        if not done.exists():
            done.touch()
            os.kill(multiprocessing.parent_process().pid, signal.SIGKILL)
            time.sleep(60)
        return super().fit(data, seed=seed)


class Diverging(Steady):
    name = "diverging"

    def fit(self, data, *, seed):
        raise TrainingFailed("the loss is no number.", {"w": np.ones(3)})


class Greedy(Steady):
    capabilities = Capabilities(unseen_targets=True, gpus=16)
    name = "greedy"
"""


def registered(*files):
    """Register plugin files in this process; returns a function that forgets them."""
    before = {name: (dict(r.entries()), dict(r._objects)) for name, r in registry.REGISTRIES.items()}
    for file in files:
        registry.load_plugin_file(file)

    def forget():
        for name, (entries, objects) in before.items():
            registry.REGISTRIES[name]._entries, registry.REGISTRIES[name]._objects = entries, objects

    return forget


def small_matrix(out, models, plugins, *, seeds=(0,), metrics=("l2@all",), **options):
    """Models, ``name`` or ``(name, parameters)``, on the toy screen."""
    requests = [Request(m) if isinstance(m, str) else Request(*m) for m in models]
    split, data = [Request("doubles")], [DatasetRequest("toy-screen")]
    return Matrix(requests, data, split, seeds, metrics, Path(out), plugins=tuple(map(str, plugins)), jobs=2, **options)


def records(out):
    """What the records and predictions of a results folder say: cards, checksums of rows, and arrays as bytes."""
    found = {}
    for path in sorted((out / "records").glob("*.json")):
        card = json.loads(path.read_text())
        assert (path.parent / card["rows_file"]).is_file() if card["status"] == "ok" else "rows_file" not in card
        found[path.name] = {k: v for k, v in card.items() if k not in OF_THE_RUN}
    for path in sorted((out / "predictions").glob("*.npz")):
        found[path.name] = {k: v.tobytes() for k, v in read_arrays(path).items() if k != "facts"}
    return found


class Told(Silent):
    """Notes what a run says."""

    def __init__(self):
        self.begun, self.ended = [], []

    def started(self, title):
        self.begun.append(title)

    def finished(self, title, status, reason, seconds):
        self.ended.append((title, status, reason))
