"""From a screen to what jobs read: sums by condition on disk, made once for the data bytes and shared by all splits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from ..contracts.condition import Condition
from ..contracts.identity import content_id
from ..contracts.latents import BLOCKS, GroundTruth, ground_truth_of
from ..contracts.resource import FeatureTable, GeneEdges
from ..contracts.screen import Dataset, Screen
from ..contracts.stored_rows import StoredRows
from ..kernels.row_hashes import row_hashes
from .conversion import convert
from .fingerprint import code_id
from .folders import cache_folder, write_folder
from .kept import whole_or_quarantined
from .statistics import GroupSums, group_sums, halves, on_profile_scale

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PreparedScreen:
    """A screen's sums and cells on disk. `GroupSums` rows are ``2 * condition + half``; genes are sorted by name."""

    folder: Path

    @cached_property
    def meta(self) -> dict[str, Any]:
        return json.loads((self.folder / "screen.json").read_text())

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        return tuple(Condition.from_dict(c) for c in self.meta["conditions"])

    @cached_property
    def genes(self) -> Array:
        return self._load("genes")

    @property
    def scale(self) -> str:
        return self.meta["card"]["scale"]

    @cached_property
    def codes(self) -> Array:
        return self._load("codes", mapped=True)

    @cached_property
    def halves(self) -> Array:
        return self._load("halves", mapped=True)

    @cached_property
    def barcodes(self) -> Array:
        return self._load("barcodes", mapped=True)

    @cached_property
    def by_barcode(self) -> Array:
        """(N,) rows of the cells in the order of their barcodes."""
        return self._load("by_barcode", mapped=True)

    @cached_property
    def sums(self) -> GroupSums:
        return GroupSums(self._load("total"), self._load("squares"), self._load("n"))

    @cached_property
    def noise_free(self) -> dict[Condition, Array]:
        if not (self.folder / "noise_free.npy").exists():
            return {}
        keys = [Condition.from_dict(c) for c in self.meta["noise_free"]]
        return dict(zip(keys, self._load("noise_free"), strict=True))

    @cached_property
    def units(self) -> Array | None:
        """(N,) int64 number of each cell's unit; None where the screen does not say."""
        return self._load("unit") if self.meta["unit"] else None

    @cached_property
    def times(self) -> Array | None:
        """(N,) hours at which each cell was observed, controls too; None where the screen does not say."""
        return self._load("time") if self.meta["time"] else None

    @cached_property
    def ground_truth(self) -> GroundTruth | None:
        """The latent variables of all cells, where they are known."""
        if not self.meta["latents"]:
            return None
        with np.load(self.folder / "ground_truth.npz", allow_pickle=False) as f:
            return ground_truth_of(f["values"], {name: f[name] for name in f.files if name != "values"})

    @property
    def row_hashes(self) -> tuple[Array, Array]:
        """(N,) hashes of the cells and (N,) numbers of genes that they express, as `kernels.row_hashes` makes them."""
        return self._load("row_hashes", mapped=True), self._load("expressed", mapped=True)

    def resource(self, name: str) -> FeatureTable | None:
        """Side information that came with the screen."""
        return load_table(self.folder / f"resource-{name}.npz") if name in self.meta["resources"] else None

    @cached_property
    def gene_order(self) -> Array:
        """(G,) column of `matrix` of each gene."""
        return self._load("gene_order")

    @cached_property
    def matrix(self) -> sparse.csr_matrix:
        """(N, G) float32 CSR of all cells over memory maps, genes in the order of the file."""
        return sparse.csr_matrix(self._parts, shape=(len(self.codes), len(self.genes)), copy=False)

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        names = ("data", "indices", "indptr")
        data, indices, indptr = (np.load(self.cells_folder / f"{n}.npy", mmap_mode="r", allow_pickle=False) for n in names)
        return data, indices, indptr

    def cells(self, rows: Array, *, profile_scale: bool = False) -> sparse.csr_matrix:
        """(len(rows), G) float32 CSR of some cells, genes sorted; read from a memory map, so only these rows are copied."""
        return self.stored(rows, profile_scale=profile_scale).tocsr()

    def stored(
        self, rows: Array, *, profile_scale: bool = False, room: int | None = None, bound: int | None = None
    ) -> StoredRows:
        """The same cells, read as they are asked for; `room` and `bound` as there."""
        transform = partial(on_profile_scale, scale=self.scale) if profile_scale and self.scale == "counts" else None
        columns = self.gene_order if (np.diff(self.gene_order) != 1).any() else None
        return StoredRows(self._parts, len(self.genes), rows=rows, columns=columns, transform=transform, room=room, bound=bound)

    def condition_cells(self, condition: Condition) -> sparse.csr_matrix:
        """Cells of a condition on the scale of the profiles, in the order of their barcodes."""
        return self.cells(self.sorted_rows(self.codes == self.conditions.index(condition)), profile_scale=True)

    def sorted_rows(self, keep: Array) -> Array:
        """Rows of the cells that `keep` (N,) marks, in the order of their barcodes: one that does not depend on the file."""
        return self.by_barcode[keep[self.by_barcode]]

    @property
    def cells_folder(self) -> Path:
        """Where the cells lie, apart from the sums: most models never need them."""
        return self.folder.with_name(f"{self.folder.name}-cells")

    @property
    def has_cells(self) -> bool:
        return self.cells_folder.exists()

    def _load(self, name: str, *, mapped: bool = False) -> Array:
        # What has a value for each cell is mapped: it is given up when memory is short, and jobs of means never touch it.
        return np.asarray(np.load(self.folder / f"{name}.npy", mmap_mode="r" if mapped else None, allow_pickle=False))


def prepare(
    dataset: Dataset,
    *,
    data_id: str,
    cells: bool,
    loaded: Callable[[], Screen] | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> PreparedScreen:
    """The prepared form of a data set, from the cache where it is there and whole; what is damaged is put aside and made again.

    Where the matrix of the screen stays in its file, it is read once, for sums and cells alike.

    Parameters
    ----------
    cells
        Also store the cells, for models and reference rows that read them.
    loaded
        Gives the screen if the caller has it already.
    tell
        Told how far a long conversion is.
    """
    folder = cache_folder() / "screens" / content_id([data_id, dataset.card.to_dict(), code_id(__name__)])[:32]
    ready = PreparedScreen(folder)
    targets = {"sums": folder} | ({"cells": ready.cells_folder} if cells else {})
    whole = [whole_or_quarantined(path) for path in targets.values()]
    if not all(whole):
        _make((loaded or dataset.load)(), targets, tell)
    return ready


def _make(screen: Screen, targets: Mapping[str, Path], tell: Callable[[str], None]) -> None:
    half = halves(screen.adata.obs_names, screen.codes)
    groups, n_groups = 2 * screen.codes + half, 2 * len(screen.conditions)
    if screen.rows is not None:
        partial = targets["sums"].with_name(f"{targets['sums'].name}.partial")
        convert(screen, groups, n_groups, targets, lambda s, f: _write(screen, s, half, f), partial=partial, tell=tell)
        return
    X: Any = screen.adata.X

    def write(folder: Path) -> None:
        hashes, expressed = row_hashes(X)
        for name, value in (("row_hashes", hashes), ("expressed", expressed.astype(np.int32))):
            np.save(folder / f"{name}.npy", value, allow_pickle=False)
        _write(screen, group_sums(X, groups, n_groups, scale=screen.card.scale), half, folder)

    for name, path in targets.items():
        if not path.exists():
            write_folder(path, write if name == "sums" else lambda folder: _write_cells(X, folder))


def _write_cells(X: Any, folder: Path) -> None:
    csr = sparse.csr_matrix(X, dtype=np.float32)
    # Columns need 32 bits and places of values 64, however many values there are.
    for name, value in (("data", csr.data), ("indices", csr.indices.astype(np.int32)), ("indptr", csr.indptr.astype(np.int64))):
        np.save(folder / f"{name}.npy", value, allow_pickle=False)


def _write(screen: Screen, sums: GroupSums, half: Array, folder: Path) -> None:
    codes, barcodes, genes = screen.codes, screen.barcodes, screen.genes
    order = np.argsort(genes, kind="stable")
    arrays = {
        "genes": genes[order],
        "gene_order": order,
        "codes": codes,
        "halves": half,
        "barcodes": barcodes,
        "by_barcode": np.argsort(barcodes, kind="stable"),
        "total": sums.total[:, order],
        "squares": sums.squares[:, order],
        "n": sums.n,
    }
    obs: Any = screen.adata.obs
    if "unit" in obs:
        arrays["unit"] = np.unique(obs["unit"].to_numpy().astype(str), return_inverse=True)[1]
    if "time" in obs:
        arrays["time"] = obs["time"].to_numpy().astype(np.float64)
    if screen.noise_free:
        arrays["noise_free"] = np.stack([np.asarray(v, dtype=np.float32)[order] for v in screen.noise_free.values()])
    for name, value in arrays.items():
        np.save(folder / f"{name}.npy", value, allow_pickle=False)
    for name, table in screen.resources.items():
        save_table(table, folder / f"resource-{name}.npz")
    known = screen.ground_truth
    if known is not None:
        parts: dict[str, Any] = {f.name: np.asarray(getattr(known, f.name)) for f in fields(known)}
        np.savez(folder / "ground_truth.npz", **parts)
    meta = {
        "card": screen.card.to_dict(),
        "conditions": [c.to_dict() for c in screen.conditions],
        "n_cells": [int(n) for n in screen.n_cells.values()],
        "noise_free": [c.to_dict() for c in screen.noise_free],
        "resources": sorted(screen.resources),
        "unit": "unit" in arrays,
        "time": "time" in arrays,
        "paired": "unit" in arrays and len(np.unique(arrays["unit"])) < len(codes),
        "latents": {} if known is None else {name: len(known.block(name)) for name in BLOCKS},
        "image_shape": [int(n) for n in np.asarray(screen.adata.uns.get("image_shape", ())).ravel()],
    }
    (folder / "screen.json").write_text(json.dumps(meta))


def cell_level_sums(screen: Screen, test_cells: tuple[str, ...], scratch: Path | None = None) -> GroupSums:
    """Sums for a split by cells: rows are ``4 * condition + 2 * is_test + half``; genes sorted."""
    half = halves(screen.adata.obs_names, screen.codes)
    groups = 4 * screen.codes + 2 * np.isin(screen.barcodes, np.asarray(test_cells)) + half
    X = screen.adata.X if screen.rows is None else screen.rows
    sums = group_sums(X, groups, 4 * len(screen.conditions), scale=screen.card.scale, scratch=scratch)
    order = np.argsort(screen.genes, kind="stable")
    return GroupSums(sums.total[:, order], sums.squares[:, order], sums.n)


def save_table(table: FeatureTable, path: Path) -> None:
    edges = {f"edge_{name}": value for name, value in vars(table.edges).items()} if table.edges else {}
    names = np.asarray(table.names)
    np.savez(path, names=names, values=table.values, source=table.source, same_screen=table.same_screen, **edges)


def load_table(path: Path) -> FeatureTable:
    with np.load(path, allow_pickle=False) as f:
        edges = GeneEdges(f["edge_source"], f["edge_target"], f["edge_weight"]) if "edge_source" in f else None
        return FeatureTable(tuple(map(str, f["names"])), f["values"], str(f["source"]), bool(f["same_screen"]), edges)
