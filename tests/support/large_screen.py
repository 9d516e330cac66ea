"""A synthetic screen of any number of cells, written block by block: for measurements of data that do not fit into memory.

``python tests/support/large_screen.py FILE --cells 2000000 --genes 5000``
"""

import argparse
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem
from numba import njit

#: Cells that are drawn and written at a time.
BLOCK = 2_000
#: Sequencing depths, relative to the mean; each cell has one of them.
DEPTHS = (0.6, 0.9, 1.1, 1.4)


def write_large_screen(
    path,
    *,
    n_cells=2_000_000,
    n_genes=5_000,
    n_perturbations=400,
    n_doubles=0,
    controls=0.05,
    seed=0,
    density=0.2,
    compression=None,
):
    """Write counts of perturbations as CSR (float32 values, int32 indices, int64 indptr); the same seed, the same bytes.

    A target is knocked down to a third, and a perturbation shifts programs of genes. Each value is a Poisson count.

    Parameters
    ----------
    n_doubles
        Pairs of perturbations that were made together, beside the single ones; their effects add up.
    density
        Share of values that are not zero, about.
    compression
        Of values and indices: None or ``lzf``.
    """
    rng = np.random.default_rng(seed)
    n_perturbations = min(n_perturbations, n_genes)
    genes = np.array([f"G{i:05d}" for i in range(n_genes)])
    targets = np.sort(rng.choice(n_genes, n_perturbations, replace=False))
    rates = _rates(rng, n_genes, targets, density)
    n_conditions = n_perturbations + n_doubles
    labels = np.where(rng.random(n_cells) < controls, 0, rng.integers(1, n_conditions + 1, n_cells))
    # Each condition has cells, however few cells there are.
    labels[: n_conditions + 1] = np.arange(n_conditions + 1)[:n_cells]
    names = ["control", *genes[targets]]
    if n_doubles:
        pairs = np.argwhere(np.triu(np.ones((n_perturbations, n_perturbations), dtype=bool), 1))
        pairs = pairs[np.sort(rng.choice(len(pairs), n_doubles, replace=False))] + 1
        names += [f"{names[a]}+{names[b]}" for a, b in pairs]
        rates = np.vstack([rates, rates[pairs[:, 0]] * rates[pairs[:, 1]] / rates[0]])
    with h5py.File(path, "w") as f:
        f.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        _write_labels(f, labels, names, genes)
        _write_counts(f.create_group("X"), labels, rates, n_genes, seed, compression)
    return Path(path)


def _rates(rng, n_genes, targets, density):
    """(conditions, G) expected counts at depth 1; row 0 is control."""
    log_rate = rng.normal(-2.6, 1.8, n_genes)
    # Bisection: the share of genes that are expressed rises with every rate.
    low, high = -20.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        found = np.mean([1 - np.exp(-depth * np.exp(log_rate + middle)) for depth in DEPTHS])
        low, high = (middle, high) if found < density else (low, middle)
    programs = rng.normal(0, 0.6, (12, n_genes)) * (rng.random((12, n_genes)) < 0.1)
    strengths = rng.normal(0, 1, (len(targets), 12)) * (rng.random((len(targets), 12)) < 0.25)
    shift = np.vstack([np.zeros(n_genes), np.clip(strengths @ programs, -2, 2)])
    shift[np.arange(1, len(targets) + 1), targets] -= np.log(3)
    return np.exp(log_rate + low + shift)


def _write_labels(f, labels, names, genes):
    barcodes = pd.Index([f"cell-{i}" for i in range(len(labels))])
    obs = pd.DataFrame({"perturbation": pd.Categorical.from_codes(labels, categories=list(names))}, index=barcodes)
    write_elem(f, "obs", obs)
    write_elem(f, "var", pd.DataFrame(index=pd.Index(genes.astype(object))))


def _write_counts(group, labels, rates, n_genes, seed, compression):
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (len(labels), n_genes)})
    kinds = {"data": np.float32, "indices": np.int32}
    parts = {
        name: group.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(2**18,), compression=compression)
        for name, kind in kinds.items()
    }
    no_count = _no_counts(rates)
    room = np.empty(BLOCK * n_genes, np.float32), np.empty(BLOCK * n_genes, np.int32)
    indptr = np.zeros(len(labels) + 1, dtype=np.int64)
    for start in range(0, len(labels), BLOCK):
        some = labels[start : start + BLOCK]
        ends = indptr[start + 1 : start + 1 + len(some)]
        _draw(some, start, rates, np.array(DEPTHS), no_count, np.uint64(seed), *room, ends)
        before, n = int(indptr[start]), int(ends[-1])
        ends += before
        for name, values in zip(("data", "indices"), room, strict=True):
            parts[name].resize((before + n,))
            parts[name][before:] = values[:n]
    group.create_dataset("indptr", data=indptr)


def _no_counts(rates):
    """(conditions, depths, G) share of draws without a count, of 2**32."""
    expected = rates[:, None, :] * np.array(DEPTHS)[None, :, None]
    return np.minimum(np.exp(-expected) * 2.0**32, 2.0**32 - 1).astype(np.uint32)


@njit(nogil=True)
def _draw(labels, start, rates, depths, no_count, seed, data, indices, ends):
    place = 0
    for row in range(len(labels)):
        # splitmix64, from a state of the cell's own: blocks do not matter.
        state = (np.uint64(start + row) + np.uint64(1)) * np.uint64(0xD1342543DE82EF95) + seed * np.uint64(0xDA942042E4DD58B5)
        depth = np.int64((state >> np.uint64(33)) % np.uint64(len(depths)))
        none, rate = no_count[labels[row], depth], rates[labels[row]]
        first = place
        for gene in range(len(none)):
            state += np.uint64(0x9E3779B97F4A7C15)
            mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed ^= mixed >> np.uint64(31)
            # Written whatever it is, and kept by moving on: no branch that the processor cannot foresee.
            indices[place] = gene
            data[place] = np.float32(mixed & np.uint64(0xFFFFFF)) * np.float32(2.0**-24)
            place += np.int64((mixed >> np.uint64(32)) > none[gene])
        for k in range(first, place):
            # A Poisson count that is known to be at least one, by inversion, from the lower bits of the same draw.
            expected = rate[indices[k]] * depths[depth]
            count, share = 1.0, expected / np.expm1(expected)
            left = data[k] - share
            while left > 0 and count < 1000:
                count += 1.0
                share *= expected / count
                left -= share
            data[k] = count
        ends[row] = place


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--cells", type=int, default=2_000_000)
    parser.add_argument("--genes", type=int, default=5_000)
    parser.add_argument("--perturbations", type=int, default=400)
    parser.add_argument("--doubles", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compression", choices=["lzf"])
    asked = parser.parse_args()
    began = time.perf_counter()
    write_large_screen(
        asked.file,
        n_cells=asked.cells,
        n_genes=asked.genes,
        n_perturbations=asked.perturbations,
        n_doubles=asked.doubles,
        seed=asked.seed,
        compression=asked.compression,
    )
    size = asked.file.stat().st_size / 1e9
    print(f"{asked.file}: {asked.cells} cells x {asked.genes} genes, {size:.2f} GB, in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
