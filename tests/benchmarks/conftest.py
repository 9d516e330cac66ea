"""The synthetic screen of the size of Norman 2019 that all benchmarks share.

``PBENCH_BENCH_SCALE=tenth`` makes it a tenth as large, with as many perturbations and genes.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

SCALES = {"full": 1, "tenth": 10}
N_CELLS, N_GENES, N_CONTROLS, N_SINGLES, N_DOUBLES = 90_000, 5_000, 8_000, 105, 131


@pytest.fixture(scope="session")
def scale():
    name = os.environ.get("PBENCH_BENCH_SCALE", "full")
    assert name in SCALES, f"PBENCH_BENCH_SCALE is one of {sorted(SCALES)}, not {name!r}"
    return name


@pytest.fixture(scope="session")
def norman_shaped(tmp_path_factory, scale):
    """An uncompressed .h5ad of log-normalised CSR float32 with additive effects of single and double perturbations."""
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    n_cells, n_controls = N_CELLS // SCALES[scale], N_CONTROLS // SCALES[scale]
    rng = np.random.default_rng(0)
    genes = np.array([f"GENE{i:04d}" for i in range(N_GENES)])
    targets = rng.choice(genes, N_SINGLES, replace=False)
    first, second = np.triu_indices(N_SINGLES, k=1)
    pairs = rng.choice(len(first), N_DOUBLES, replace=False)
    conditions = [()] + [(i,) for i in range(N_SINGLES)] + [(first[p], second[p]) for p in pairs]
    effect = rng.normal(0, 0.8, (N_SINGLES, N_GENES)) * (rng.random((N_SINGLES, N_GENES)) < 0.05)
    base = rng.gamma(0.35, 0.9, N_GENES)
    sizes = np.full(len(conditions), (n_cells - n_controls) // (len(conditions) - 1))
    sizes[0] = n_cells - sizes[1:].sum()
    blocks = []
    for condition, size in zip(conditions, sizes, strict=True):
        rate = base * np.exp(sum((effect[t] for t in condition), np.zeros(N_GENES)))
        counts = rng.poisson(np.broadcast_to(rate, (size, N_GENES))).astype(np.float32)
        depth = np.maximum(counts.sum(axis=1, keepdims=True), 1)
        blocks.append(sparse.csr_matrix(np.log1p(1e4 * counts / depth, dtype=np.float32)))
    labels = ["+".join(sorted(targets[list(c)])) or "control" for c in conditions]
    obs = pd.DataFrame(
        {"perturbation": np.repeat(labels, sizes)}, index=[f"AAAC{i:06d}-1" for i in range(n_cells)], dtype="category"
    )
    adata = AnnData(sparse.vstack(blocks, format="csr"), obs=obs, var=pd.DataFrame(index=genes))
    path = tmp_path_factory.mktemp("norman") / "norman_shaped.h5ad"
    adata.write_h5ad(path)
    np.savez(path.with_name("features.npz"), names=targets, values=rng.normal(size=(N_SINGLES, 64)).astype(np.float32))
    return path, adata


LINES = pytest.StashKey[list]()
STEP_LINES = pytest.StashKey[list]()


def pytest_configure(config):
    config._peer_lines = LINES
    config._step_lines = STEP_LINES


def pytest_terminal_summary(terminalreporter, config):
    """The measured table as markdown, as docs/performance.md shows it."""
    steps = config.stash.get(STEP_LINES, [])
    if steps:
        terminalreporter.section("steps of training")
        terminalreporter.line(
            "| model | batch | cells/s | MFLOP a cell | GFLOP/s | of the machine's |\n|---|---|---|---|---|---|"
        )
    for name, batch_size, speed, per_cell, achieved, rate, share in steps:
        terminalreporter.line(
            f"| {name} | {batch_size} | {speed:,.0f} | {per_cell:.1f} | {achieved:.1f} | {100 * share:.0f} % of {rate:.0f} |"
        )
    lines = config.stash.get(LINES, [])
    if not lines:
        return
    terminalreporter.section("beside peers")
    terminalreporter.line(
        "| task | who | median, s | memory beyond the data, MB | peer / ours | goal |\n|---|---|---|---|---|---|"
    )
    for title, who, seconds, memory, ratio, goal in lines:
        cells = [title, who, "" if seconds is None else f"{seconds:.3g}", "" if memory is None else str(memory["extra_mb"])]
        cells += ["" if ratio is None else f"{ratio:.1f}", "" if goal is None else f"{goal:g}"]
        terminalreporter.line("| " + " | ".join(cells) + " |")
