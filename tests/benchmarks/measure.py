"""Times one task and measures its memory in a process of its own: ``python measure.py MODULE.TASK FOLDER OUT [ROUNDS]``.

A task is a function of a `Screen` that does all preparation and returns what is to be timed. It is first prepared and called
on a tiny screen, so that compilation and imports are not counted. Prints JSON and saves the result of the last round as OUT.

Needs numpy, scipy and what the task imports, so that it also runs in an environment that does not have this package.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Screen:
    """Cells, predicted cells and coordinates of the cells, as arrays.

    Parameters
    ----------
    X, predicted
        (n, G) float32 CSR on the log1p scale, of one sparsity pattern.
    codes, names
        Group of each cell and the groups' names, sorted.
    points
        (n, d) float32.
    """

    X: object
    predicted: object
    codes: np.ndarray
    names: np.ndarray
    genes: np.ndarray
    points: np.ndarray

    @property
    def control(self):
        return int(np.flatnonzero(self.names == "control")[0])

    @classmethod
    def load(cls, folder, *, cells=True):
        from scipy.sparse import csr_matrix

        arrays = {
            p.stem: np.load(p) for p in Path(folder).glob("*.npy") if cells or p.stem in ("codes", "names", "genes", "points")
        }
        X = predicted = None
        if cells:
            shape = (len(arrays["codes"]), len(arrays["genes"]))
            X, predicted = (
                csr_matrix((arrays[key], arrays["indices"], arrays["indptr"]), shape=shape) for key in ("data", "predicted")
            )
        return cls(X, predicted, *(arrays[key] for key in ("codes", "names", "genes", "points")))

    def save(self, folder):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"data": self.X.data, "predicted": self.predicted.data, "indices": self.X.indices, "indptr": self.X.indptr}
        arrays |= {"codes": self.codes, "names": self.names, "genes": self.genes, "points": self.points}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)

    def part(self, groups, *, cells=10**9, genes=10**9):
        """At most so many cells of the control and of the first so many groups, and the first genes."""
        wanted = sorted({self.control, *[g for g in range(len(self.names)) if g != self.control][:groups]})
        rows = np.sort(np.concatenate([np.flatnonzero(self.codes == g)[:cells] for g in wanted]))
        codes = np.searchsorted(wanted, self.codes[rows])
        X, predicted = (None if m is None else m[rows][:, :genes] for m in (self.X, self.predicted))
        return Screen(X, predicted, codes, self.names[wanted], self.genes[:genes], self.points[rows])

    def anndata(self, X=None):
        """The cells as an AnnData, or only their coordinates where there are none."""
        import pandas as pd
        from anndata import AnnData

        X = self.X if X is None else X
        obs = pd.DataFrame({"perturbation": pd.Categorical.from_codes(self.codes, self.names)})
        obs.index = obs.index.astype(str)
        adata = AnnData(X, obs=obs) if X is not None else AnnData(np.zeros((len(obs), 1), np.float32), obs=obs)
        if X is not None:
            adata.var_names = self.genes
        adata.obsm["X_pca"] = self.points
        return adata


def resident(key):
    """``VmRSS`` now or ``VmHWM`` at its highest, in MB; 0 where /proc does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1024
    return 0.0


def measure(task, folder, out, rounds):
    module, _, name = task.rpartition(".")
    prepare = getattr(importlib.import_module(module), name)
    screen = Screen.load(folder, cells=getattr(prepare, "needs_cells", True))
    prepare(screen.part(4, cells=30, genes=300))()
    run = prepare(screen)
    gc.collect()
    before = resident("VmRSS")
    # Resets the high-water mark of this process.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - start)
    peak = resident("VmHWM")
    np.save(out, np.asarray(result, dtype=np.float64))
    return {"seconds": seconds, "peak_mb": round(peak), "extra_mb": round(peak - before)}


if __name__ == "__main__":
    task, folder, out, *rounds = sys.argv[1:]
    # Whatever a peer prints stays off the line that is read.
    answer = os.dup(1)
    os.dup2(2, 1)
    report = measure(task, folder, out, int(rounds[0]) if rounds else 1)
    os.write(answer, json.dumps(report).encode())
