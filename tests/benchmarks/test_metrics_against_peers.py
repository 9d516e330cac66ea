"""Speed and memory of the metrics and tests beside the packages that people use for them now.

    pytest tests/benchmarks/test_metrics_against_peers.py --benchmark-only -o addopts=--import-mode=importlib

Ours runs three times, a peer as often as `ROWS` says, all in this run on the same arrays, loaded beforehand and with
everything compiled; a median is reported. Each peer and the memory of ours are measured in processes of their own
(measure.py). What is not installed is left out and named. A peer that needs another interpreter, such as a pertpy that needs
Python 3.12, runs in the one that ``PBENCH_PEER_PYTHON`` names. ``PBENCH_BENCH_SCALE=tenth`` takes a tenth of the cells.

Every peer's numbers are compared with ours: a fast answer to another question is no speed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
TIMEOUT = 3600


@dataclass(frozen=True)
class Peer:
    """A package's way to do a task.

    Parameters
    ----------
    task
        Function of peers.py.
    package
        Distribution and its import name.
    goal
        Times faster that ours should be.
    rounds
        Of the peer; one where it takes minutes.
    same
        Compares its result with ours: a number that should be 1.
    elsewhere
        Whether it runs in ``PBENCH_PEER_PYTHON``.
    work
        Share of our work that it is given.
    beyond
        Cells beyond which it is not run.
    note
        What of it is meant, for the table.
    """

    task: str
    package: tuple[str, str]
    goal: float | None = None
    rounds: int = 1
    same: str = "correlation"
    elsewhere: bool = False
    work: float = 1.0
    beyond: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A task: ours, as ``module.function``, its peers, and what else of ours a peer's numbers are compared with."""

    title: str
    ours: str
    peers: tuple[Peer, ...]
    check: str = ""


CELL_EVAL, SCANPY, SCPERTURB = ("cell-eval", "cell_eval"), ("scanpy", "scanpy"), ("scperturb", "scperturb")
PERTPY = ("pertpy", "pertpy")
SHARE = "10 groups, 100 permutations; ratio for a group and permutation"
ROWS = (
    Row(
        "pseudobulks, five delta metrics, L1 discrimination",
        "ours.pseudobulk_metrics",
        (Peer("cell_eval_metric", CELL_EVAL, 12, 3, "first", note="one metric"),),
    ),
    Row("Welch test of every gene", "ours.welch", (Peer("scanpy_t_test", SCANPY, None, 3, "p"),)),
    Row(
        "Mann-Whitney test of every gene",
        "ours.mann_whitney",
        (
            Peer("scanpy_wilcoxon", SCANPY, 50, 1, "p"),
            Peer("pdex", ("pdex", "pdex"), 15, 1, "p_continuity"),
            Peer("illico", ("illico", "illico"), 2, 3, "p_continuity"),
        ),
        "ours.mann_whitney_with_continuity",
    ),
    Row(
        "energy distance to control",
        "ours.energy_to_control",
        (
            Peer("pertpy_energy_to_control", PERTPY, 5, 3, elsewhere=True),
            Peer("pertpy_energy_to_control", PERTPY, 15, 1),
            Peer("scperturb_energy_to_control", SCPERTURB, 6, 3),
        ),
    ),
    Row(
        "energy distance, all pairs",
        "ours.energy_of_all_pairs",
        (
            Peer("pertpy_energy_of_all_pairs", PERTPY, 3, 1, elsewhere=True),
            Peer("pertpy_energy_of_all_pairs", PERTPY, 10, 1, beyond=20_000),
            Peer("scperturb_energy_of_all_pairs", SCPERTURB, None, 1, beyond=20_000),
        ),
    ),
    Row(
        "RBF MMD to control",
        "ours.kernel_discrepancy",
        (
            Peer("pertpy_kernel_discrepancy", PERTPY, 6, 3, elsewhere=True),
            Peer("pertpy_kernel_discrepancy", PERTPY, 20, 1),
        ),
    ),
    Row(
        "energy test, 236 groups, 1,000 permutations",
        "ours.energy_test",
        (
            Peer("pertpy_energy_test", PERTPY, 10, 1, "test", elsewhere=True, work=10 * 100 / (236 * 1000), note=SHARE),
            Peer("pertpy_energy_test", PERTPY, None, 1, "test", work=10 * 100 / (236 * 1000), beyond=20_000, note=SHARE),
        ),
    ),
    Row(
        "the seven metrics of cell-eval's minimal profile, from cells",
        "scoring.minimal",
        (Peer("cell_eval_minimal", CELL_EVAL, 20, 1, "first", note="minimal"),),
    ),
    Row(
        "every metric of the catalogue, from cells",
        "scoring.full",
        (
            Peer("cell_eval_minimal", CELL_EVAL, 20, 1, "first", note="minimal"),
            Peer("cell_eval_full", CELL_EVAL, 20, 1, "first", beyond=20_000, note="full"),
        ),
    ),
)


@pytest.fixture(scope="session")
def scripts():
    """Finds a function of the modules beside this file by ``module.function``."""
    sys.path.insert(0, str(HERE))

    def find(name):
        module, _, function = name.rpartition(".")
        return getattr(importlib.import_module(module), function)

    yield find
    sys.path.remove(str(HERE))


@pytest.fixture(scope="session")
def screen(scripts, norman_shaped, tmp_path_factory):
    """The screen in memory and its folder of arrays; predictions are off by a factor for each gene and perturbation."""
    _, adata = norman_shaped
    X = adata.X
    names, codes = np.unique(adata.obs["perturbation"].to_numpy(str), return_inverse=True)
    rng = np.random.default_rng(1)
    factor = rng.lognormal(0, 0.1, (len(names), X.shape[1])).astype(np.float32)
    factor[names == "control"] = 1
    predicted = X.copy()
    predicted.data *= factor[np.repeat(codes, np.diff(X.indptr)), X.indices]
    found = scripts("measure.Screen")(X, predicted, codes, names, adata.var_names.to_numpy(str), principal_components(X, 50))
    folder = tmp_path_factory.mktemp("screen")
    found.save(folder)
    return found, folder


def principal_components(X, d):
    """Coordinates of the cells on about the first `d` principal components, by a random projection and one iteration."""
    rng = np.random.default_rng(2)
    mean = np.asarray(X.mean(axis=0), dtype=np.float32)
    sketch = X @ (X.T @ (X @ rng.normal(size=(X.shape[1], d + 10)).astype(np.float32)))
    basis = np.linalg.qr(sketch - sketch.mean(axis=0))[0].astype(np.float32)
    inner = np.asarray((X.T @ basis).T) - np.outer(basis.sum(axis=0), mean)
    components = np.linalg.svd(inner, full_matrices=False)[2][:d]
    return np.ascontiguousarray((X @ components.T - mean @ components.T).astype(np.float32))


def in_a_process(python, task, folder, out, rounds):
    """The report of measure.py, with the result of the task."""
    command = [python, str(HERE / "measure.py"), task, str(folder), str(out), str(rounds)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, f"{task}: {done.stderr[-3000:]}"
    return json.loads(done.stdout), np.load(out)


def why_not(peer, n_cells):
    """Why a peer is not run here, with its version otherwise: (reason, interpreter, version)."""
    if peer.beyond is not None and n_cells > peer.beyond:
        return f"not run beyond {peer.beyond:,} cells", "", ""
    distribution, module = peer.package
    if not peer.elsewhere:
        if importlib.util.find_spec(module) is None:
            return f"{distribution} is not installed", "", ""
        python = sys.executable
    elif not (python := os.environ.get("PBENCH_PEER_PYTHON", "")):
        return "PBENCH_PEER_PYTHON names no interpreter", "", ""
    command = [python, "-c", f"from importlib.metadata import version; print(version({distribution!r}))"]
    found = subprocess.run(command, capture_output=True, text=True)
    return "" if found.returncode == 0 else f"{distribution} is not installed in {python}", python, found.stdout.strip()


def agreement(kind, ours, theirs, checked, control):
    """A number that is 1, or nearly, where two results say the same."""
    if kind == "first":
        return 1 - np.abs(ours[0] - theirs).max()
    if kind == "test":
        # The control is not among the groups that the peer was given.
        return np.corrcoef(np.delete(ours[0], control)[: len(theirs)], theirs)[0, 1]
    if kind in ("p", "p_continuity"):
        ours = ours if kind == "p" else checked
        ours = np.delete(ours, control, axis=0) if len(ours) > len(theirs) else ours
        return np.isclose(np.nan_to_num(ours, nan=1.0), np.nan_to_num(theirs, nan=1.0), rtol=1e-3, atol=1e-6).mean()
    return np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.ours)
def test_speed(benchmark, row, screen, scripts, scale, tmp_path, report):
    data, folder = screen
    prepare = scripts(row.ours)
    prepare(data.part(4, cells=30, genes=300))()
    run = prepare(data)
    result = np.asarray(benchmark.pedantic(run, rounds=3))
    seconds = benchmark.stats.stats.median
    memory, again = in_a_process(sys.executable, row.ours, folder, tmp_path / "ours.npy", 1)
    np.testing.assert_allclose(again, result, rtol=1e-6, atol=1e-9)
    matrix_mb = (data.X.data.nbytes + data.X.indices.nbytes + data.X.indptr.nbytes) / 2**20
    benchmark.extra_info |= {"scale": scale, "matrix_mb": round(matrix_mb), "peak_mb": memory["peak_mb"]}
    benchmark.extra_info["beyond_data_mb"] = memory["extra_mb"]
    checked = np.asarray(scripts(row.check)(data)()) if row.check else None
    lines = [(row.title, "ours", seconds, memory, None, None)]
    for peer in row.peers:
        reason, python, release = why_not(peer, len(data.codes))
        name = f"{peer.package[0]} {release}".strip() + (f" ({peer.note})" if peer.note else "")
        if reason:
            benchmark.extra_info[f"{peer.task} {name}"] = f"skipped: {reason}"
            lines.append((row.title, f"{name}: {reason}", None, None, None, peer.goal))
            continue
        found, theirs = in_a_process(python, f"peers.{peer.task}", folder, tmp_path / "theirs.npy", peer.rounds)
        same = float(agreement(peer.same, result, theirs, checked, data.control))
        median = float(np.median(found["seconds"]))
        ratio = median / (seconds * peer.work)
        benchmark.extra_info[f"{peer.task} {name}"] = found | {"ratio": round(ratio, 1), "goal": peer.goal, "same": same}
        lines.append((row.title, name, median, found, ratio, peer.goal))
        assert same > 0.99, f"{name} computes something else: agreement {same:.4f}"
    report += lines


def test_many_centroids(benchmark, screen, scripts, tmp_path, report):
    """2,000 conditions of 8,000 genes, every metric that needs means only: memory within a fixed number of copies."""
    data, folder = screen
    prepare = scripts("scoring.many_centroids")
    prepare(data.part(4))()
    values = benchmark.pedantic(prepare(data), rounds=1)
    assert np.isfinite(values).mean() > 0.9
    memory, again = in_a_process(sys.executable, "scoring.many_centroids", folder, tmp_path / "many.npy", 1)
    np.testing.assert_allclose(again, values, rtol=1e-6, atol=1e-9)
    title = f"{len(values)} metrics of 2,000 x 8,000 means"
    benchmark.extra_info |= memory
    report.append((title, "ours", benchmark.stats.stats.median, memory, None, None))
    # Twenty float64 matrices of this size: changes against three references, ranks, tests; all distances are a quarter of one.
    assert memory["extra_mb"] < 20 * 2000 * 8000 * 8 / 2**20


def test_score_command(benchmark, norman_shaped, screen, tmp_path, report):
    """From two files to the leaderboard: reading, the statistics of the truth, every metric, four controls beside the model."""
    path, _ = norman_shaped
    data, _ = screen
    predicted = data.anndata(data.predicted)
    del predicted.obsm["X_pca"]
    predicted.write_h5ad(tmp_path / "predicted.h5ad")
    command = [sys.executable, "-c", "from pbench.bench.cli.main import main; main()", "score", str(tmp_path / "predicted.h5ad")]
    command += ["--truth", str(path), "--scale", "log1p_1e4", "--prediction-scale", "log1p_1e4", "--profile", "full", "--json"]
    command += ["-j", "2", "--out", str(tmp_path / "results")]
    environment = {**os.environ, "PBENCH_CACHE": str(tmp_path / "cache"), "PBENCH_DATA": str(tmp_path / "data")}

    def run():
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=TIMEOUT)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)["jobs"]

    jobs = benchmark.pedantic(run, rounds=1)
    assert {job["status"] for job in jobs} == {"ok"}
    own = next(job for job in jobs if job["model"] == "predicted")
    benchmark.extra_info["seconds_by_row"] = {job["model"]: job["seconds"]["total"] for job in jobs}
    benchmark.extra_info["largest_process_mb"] = max(job["peak_memory_mb"] for job in jobs)
    memory = {"extra_mb": f"{benchmark.extra_info['largest_process_mb']:.0f} in all"}
    title = f"`pbench score`, from files, {len(jobs)} rows"
    report.append((title, "ours", benchmark.stats.stats.median, memory, None, None))
    report.append((f"{title}: the model alone", "ours", own["seconds"]["total"], None, None, None))


#: Buffers of the rank tests are bounded by 1 GiB; the rest is blocks of rows and results.
BACKED_MB = 1024 + 512


def test_backed_file(benchmark, norman_shaped, screen, scripts, tmp_path, report, monkeypatch):
    """A file of ten times the size that stays on disk: the same numbers within a fixed memory bound."""
    tiles = int(os.environ.get("PBENCH_BENCH_TILES", "10"))
    _, adata = norman_shaped
    data, folder = screen
    found = {}
    for times in (1, tiles):
        path = tmp_path / f"tiled{times}.h5ad"
        write_tiled(adata, path, times)
        monkeypatch.setenv("PBENCH_BACKED_FILE", str(path))
        arguments = (sys.executable, "scoring.backed", folder, tmp_path / "backed.npy", 1)
        if times == tiles:
            found[times] = benchmark.pedantic(in_a_process, arguments, rounds=1)
        else:
            found[times] = in_a_process(*arguments)
        gigabytes = path.stat().st_size / 2**30
        path.unlink()
        report.append(
            (f"means and rank tests of a backed file of {gigabytes:.2f} GiB", "ours", *_seconds_and(found[times][0]), None, None)
        )
    in_memory = scripts("ours.cells_of")(data, data.X).mean
    for report_, (means, superiority) in found.values():
        np.testing.assert_allclose(means, in_memory, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(superiority, found[1][1][1], rtol=1e-5, atol=1e-6)
        assert report_["extra_mb"] < BACKED_MB
    benchmark.extra_info |= {f"{times} x": values for times, (values, _) in found.items()}


def _seconds_and(memory):
    return memory["seconds"][0], memory


def write_tiled(adata, path, times):
    """The cells `times` over, written block by block."""
    import h5py
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    X, n = adata.X, adata.n_obs
    obs = pd.DataFrame({"perturbation": pd.Categorical(np.tile(adata.obs["perturbation"].to_numpy(str), times))})
    obs.index = [f"cell{i:08d}" for i in range(n * times)]
    AnnData(csr_matrix((n * times, adata.n_vars), dtype=np.float32), obs=obs, var=adata.var).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        group = file["X"]
        for name, source in (("data", X.data), ("indices", X.indices.astype(np.int32))):
            del group[name]
            target = group.create_dataset(name, (X.nnz * times,), dtype=source.dtype)
            for t in range(times):
                target[t * X.nnz : (t + 1) * X.nnz] = source
        del group["indptr"]
        ends = [X.indptr[1:].astype(np.int64) + t * X.nnz for t in range(times)]
        group.create_dataset("indptr", data=np.concatenate([[0], *ends]))


@pytest.fixture(scope="session")
def report(request):
    """Lines for the table that is printed at the end."""
    return request.config.stash.setdefault(request.config._peer_lines, [])
