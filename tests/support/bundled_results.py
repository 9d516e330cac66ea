"""Real results of a small screen in a file, and the command line in this process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from pbench.bench.cli.main import main
from pbench.bench.contracts.identity import canonical_json, content_id, file_sha256

TARGETS = tuple(f"G{i:02d}" for i in range(6))
METRICS = "l2@all,cosine_delta@all~ctrl,mantel@all~ctrl#cosine,de_overlap.n@all~ctrl#score,variance_error@all,ks@all"
FILE = ("--scale", "counts", "--control-label", "control")


def typed(*arguments, **environment) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``pbench``, as a user types it."""
    out, err = io.StringIO(), io.StringIO()
    kept = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    argv, sys.argv = sys.argv, ["pbench", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        return int(end.code or 0), out.getvalue(), err.getvalue()
    finally:
        sys.argv = argv
        for name, value in kept.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    raise AssertionError("main always exits")


def write_screen(path: Path) -> Path:
    """Counts of 40 genes in cells of six single and five double perturbations, which are not quite additive."""
    rng = np.random.default_rng(0)
    effect = {t: rng.normal(0, 0.8, 40) for t in TARGETS} | {"control": np.zeros(40)}
    labels = ["control", *TARGETS, *(f"{a}+{b}" for a, b in zip(TARGETS, TARGETS[1:], strict=False))]
    rates = [np.exp(0.5 + sum(effect[t] for t in label.split("+"))) * rng.lognormal(0, 0.1, 40) for label in labels]
    X = np.concatenate([rng.poisson(r, (24, 40)) for r in rates]).astype(np.float32)
    obs = pd.DataFrame({"perturbation": np.repeat(labels, 24)}, index=[f"c{i}" for i in range(len(X))])
    AnnData(sparse.csr_matrix(X), obs=obs, var=pd.DataFrame(index=[f"G{i:02d}" for i in range(40)])).write_h5ad(path)
    return path


PLUGIN = '''
"""Models that are unlike each other in what they give."""

import numpy as np
from pbench import Capabilities, Model, Prediction


class Noisy(Model):
    """Control and noise, another one for each seed; one condition is not answered."""

    capabilities = Capabilities(stochastic=True)

    def fit(self, data, *, seed):
        self.seed_ = seed
        return self

    def predict(self, conditions, controls):
        there = conditions[1:]
        rng = np.random.default_rng(self.seed_)
        mean = controls.control_mean(there) + rng.normal(0, 0.1, (len(there), controls.mean.shape[1]))
        return Prediction(there, mean, fallback=[True] + [False] * (len(there) - 1), absent={conditions[0]: "resource: none"})


class Spread(Noisy):
    """Means with variances."""

    capabilities = Capabilities()

    def predict(self, conditions, controls):
        mean = controls.control_mean(conditions)
        return Prediction(tuple(conditions), mean, variance=np.full(mean.shape, 0.5))


class WithCells(Noisy):
    """Cells too."""

    capabilities = Capabilities()

    def predict(self, conditions, controls):
        mean = controls.control_mean(conditions)
        rng = np.random.default_rng(0)
        cells = {c: np.abs(m + rng.normal(0, 0.2, (10, len(m)))).astype(np.float32) for c, m in zip(conditions, mean)}
        return Prediction(tuple(conditions), np.array([cells[c].mean(axis=0) for c in conditions]), cells=cells)


class Broken(Noisy):
    """Fails."""

    capabilities = Capabilities()

    def predict(self, conditions, controls):
        raise RuntimeError("it broke <b>here</b>")


NOISY, SPREAD, WITH_CELLS, BROKEN = Noisy, Spread, WithCells, Broken
'''


def make_results(pbench, folder: Path) -> Path:
    """`folder` with the screen, the plugin and the results of a run in a process of its own; returns the results."""
    write_screen(folder / "small.h5ad")
    (folder / "unlike.py").write_text(PLUGIN)
    models = "additive,train-mean,no-change,technical-duplicate,noisy,spread,with-cells,broken"
    asked = ("--models", models, "--split", "doubles", "--metrics", METRICS, "--seeds", 2, "--jobs", 2)
    done = pbench("run", "--dataset", "small.h5ad", *FILE, *asked, "--plugin", "unlike.py", "--quiet", cwd=folder, timeout=300)
    assert done.returncode == 1, done.stderr
    assert "it broke" in done.stderr, done.stderr
    return folder / "results"


def seal(folder, **changed):
    """What somebody who tampers would do: hashes and id as they must be."""
    meta = json.loads((folder / "bundle.json").read_text())
    names = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "bundle.json"]
    meta = meta | {"files": {n: file_sha256(folder / n) for n in names}} | changed
    del meta["id"]
    (folder / "bundle.json").write_text(json.dumps(meta | {"id": content_id(meta)}))
    return folder


def cards_of(folder):
    """The cards of a bundle."""
    return [json.loads(line) for line in (folder / "cards.jsonl").read_text().splitlines()]


def write_cards(folder, cards):
    """Put other cards in their place and seal the bundle again."""
    (folder / "cards.jsonl").write_text("".join(canonical_json(c) + "\n" for c in cards))
    return seal(folder)
