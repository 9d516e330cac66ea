"""Toy screens, an empty cache and data folder for every test, and the command line as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from toy_plugins import TOY_SCREEN

from pbench.bench.contracts.screen import Dataset, DatasetCard, Screen, validate

TARGETS = tuple(f"G{i:02d}" for i in range(8))
ENTRY = "from pbench.bench.cli.main import main; main()"


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """Derived data that tests may share; nothing ever reaches the user's cache."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def isolated(tmp_path, shared_cache, monkeypatch):
    """No test reads the user's folders or writes into the repository."""
    monkeypatch.setenv("PBENCH_CACHE", str(shared_cache))
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path / "no-data"))
    monkeypatch.chdir(tmp_path)


def _counts(seed=0, n_genes=60, contexts=(None,), n_cells=24, n_control=60):
    """Counts, canonical labels and contexts of singles of eight targets and seven doubles with additive effects."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(-1.0, 1.5, n_genes)
    effect = {t: rng.normal(0, 1, n_genes) * (rng.random(n_genes) < 0.4) for t in TARGETS}
    asked = ["control", *TARGETS, *(f"{a}+{b}" for a, b in zip(TARGETS, TARGETS[1:], strict=False))]
    blocks, labels, where = [], [], []
    for k, context in enumerate(contexts):
        for label in asked:
            n = n_control if label == "control" else n_cells
            shift = sum((effect[t] for t in label.split("+") if label != "control"), np.zeros(n_genes))
            rate = np.exp(base + 0.3 * k * np.sin(np.arange(n_genes)) + shift)
            blocks.append(rng.poisson(rate * rng.lognormal(0, 0.3, (n, 1))))
            labels += [label] * n
            where += [context] * n
    return np.concatenate(blocks).astype(np.float32), labels, where


def _screen(seed=0, *, kind=sparse.csr_matrix, scale="counts", contexts=(None,), name="toy", order=None, genes=None, **sizes):
    """A toy `Screen`; `order` permutes the cells and `genes` the genes, without changing what the screen says."""
    import pandas as pd
    from anndata import AnnData

    X, labels, where = _counts(seed, contexts=contexts, **sizes)
    if scale == "log1p_1e4":
        depth = X.sum(axis=1, keepdims=True, dtype=np.float64)
        X = np.log1p(1e4 * X / np.where(depth > 0, depth, 1)).astype(np.float32)
    obs = pd.DataFrame({"perturbation": labels}, index=[f"cell{i:05d}" for i in range(len(labels))])
    if contexts != (None,):
        obs["context"] = where
    var = pd.DataFrame(index=[f"G{i:02d}" for i in range(X.shape[1])])
    rows = np.arange(len(obs)) if order is None else np.asarray(order)
    columns = np.arange(len(var)) if genes is None else np.asarray(genes)
    adata = AnnData(kind(X[rows][:, columns]), obs=obs.iloc[rows], var=var.iloc[columns])
    card = DatasetCard(name, "a toy", "made by a test", "CC0", scale, "control", simulated=True, default_split="doubles")
    return validate(Screen(adata, card), source=name)


@pytest.fixture(scope="session")
def make_screen():
    return _screen


@pytest.fixture(scope="session")
def make_dataset():
    """A screen as a registered data set would offer it."""

    def make(screen, data_id):
        return Dataset(card=screen.card, data_id=lambda: data_id, load=lambda: screen)

    return make


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("PBENCH_CACHE", str(folder))
    return folder


def _environment(cache, extra):
    own = {k: v for k, v in os.environ.items() if not k.startswith("PBENCH")}
    return {**own, "PBENCH_CACHE": str(cache), "PBENCH_DATA": "/nonexistent", "OMP_NUM_THREADS": "1", **extra}


def _typed(arguments):
    """Arguments as strings; a run without the controls, which would only take time, unless a test asks for them."""
    typed = [str(a) for a in arguments]
    plain = typed[:1] == ["run"] and "--controls" not in typed and "--no-controls" not in typed
    return typed + ["--no-controls"] if plain else typed


@pytest.fixture(scope="session")
def pbench(shared_cache):
    """The command line in a process of its own; returns the finished process."""

    def call(*arguments, cwd, cache=shared_cache, timeout=120, **env):
        return subprocess.run(
            [sys.executable, "-c", ENTRY, *_typed(arguments)],
            cwd=cwd,
            env=_environment(cache, env),
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return call


@pytest.fixture(scope="session")
def start_pbench(shared_cache):
    """The command line, started and not waited for."""

    def call(*arguments, cwd, cache=shared_cache, **env):
        return subprocess.Popen(
            [sys.executable, "-c", ENTRY, *_typed(arguments)],
            cwd=cwd,
            env=_environment(cache, env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell without job control starts its background commands, and so this test run perhaps, deaf to Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    return call


@pytest.fixture(scope="session")
def run_json(pbench):
    """``pbench run --json`` on the toy data set: the report and the exit code."""

    def call(*arguments, cwd, **env):
        done = pbench("run", "--json", *arguments, cwd=cwd, **env)
        assert done.stdout, done.stderr
        return json.loads(done.stdout), done.returncode

    return call


@pytest.fixture(scope="session")
def alive():
    """Whether a process exists and is no zombie."""

    def check(pid):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        return state not in "ZX"

    return check


@pytest.fixture(scope="session")
def toy_plugin(tmp_path_factory):
    """A plugin file with the data set ``toy-screen``."""
    path = tmp_path_factory.mktemp("plugins") / "toy_screen.py"
    path.write_text(TOY_SCREEN)
    return path
