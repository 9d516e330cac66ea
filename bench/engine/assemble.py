"""From a prepared screen and a manifest to the two sides of a job: what `fit` may see, and the truth."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contracts.cell_truth import CellTruth
from ..contracts.condition import Condition, sort_key
from ..contracts.errors import DataError
from ..contracts.latents import GroundTruth
from ..contracts.memory import available
from ..contracts.split import SplitManifest
from ..contracts.training import Cells, Profiles, TrainingData
from ..contracts.truth import Truth
from .cell_truth import read_cell_truth, read_classes, write_cell_truth
from .prepare import PreparedScreen
from .statistics import GroupSums, welch_t

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Array = np.ndarray[Any, Any]
DE_GENES = 100
#: Share of the memory that cells may take at a time; copies of them are made on their way.
CELLS_SHARE = 0.25
#: Bytes of cells, over what they may take, above which they stay on disk.
IN_MEMORY = 1.0


class Assembly:
    """Training data and truth of one manifest.

    Parameters
    ----------
    screen
        The prepared screen that the manifest was made for.
    manifest
        The split.
    cell_sums
        ``.npz`` with `cell_level_sums`, for splits by cells.
    memory_bytes
        Bound on memory that the user has set; without one, it is what the machine has left. Cells that take more than a share
        of it stay on disk and are read as they are asked for, which changes no number.

    Raises
    ------
    DataError
        If the manifest names conditions that the screen does not have.
    """

    def __init__(
        self,
        screen: PreparedScreen,
        manifest: SplitManifest,
        cell_sums: Path | None = None,
        *,
        memory_bytes: int | None = None,
    ) -> None:
        self.screen, self.manifest, self.memory_bytes = screen, manifest, memory_bytes
        self.by_cell = bool(manifest.test_cells)
        self._position = {c: i for i, c in enumerate(screen.conditions)}
        if unknown := [c for c in manifest.roles if c not in self._position]:
            raise DataError(
                f"split {manifest.name} names {unknown[0].key!r}, which data set '{manifest.dataset}' does not have; rebuild the manifest."
            )
        if self.by_cell:
            assert cell_sums is not None
            with np.load(cell_sums, allow_pickle=False) as f:
                self._sums = GroupSums(f["total"], f["squares"], f["n"])
        else:
            self._sums = screen.sums

    def _pool(self, conditions: tuple[Condition, ...], *, side: str, half: int | None = None) -> Profiles:
        """Profiles over all cells of a condition on a side (``train`` or ``test``; only splits by cells tell them apart)."""
        offsets = (0, 1) if half is None else (half,)
        if self.by_cell:
            groups = [[4 * self._position[c] + 2 * (side == "test") + o for o in offsets] for c in conditions]
        else:
            groups = [[2 * self._position[c] + o for o in offsets] for c in conditions]
        return self._sums.pool(groups, conditions)

    @property
    def controls(self) -> Profiles:
        return self._pool(tuple(c for c in self.screen.conditions if c.is_control), side="train")

    def _role(self, role: str) -> tuple[Condition, ...]:
        return tuple(sorted(self.manifest.with_role(role), key=sort_key))

    @property
    def train_conditions(self) -> tuple[Condition, ...]:
        trained = self._role("train") + (self._role("test") if self.by_cell else ())
        return tuple(sorted(trained, key=sort_key))

    def training(self, resources: Mapping[str, Any], *, cells: bool, controls: bool = True) -> TrainingData:
        """What `fit` may see; nothing in it was computed from a test cell.

        Parameters
        ----------
        cells, controls
            Whether it may read training cells, and control cells, where the screen has them prepared.
        """
        return TrainingData(
            genes=self.screen.genes,
            perturbed=self._pool(self.train_conditions, side="train"),
            controls=self.controls,
            validation=self._pool(self._role("validation"), side="train"),
            scale=self.screen.scale,
            resources=dict(resources),
            load_cells=self._load_cells if cells else None,
            load_controls=self._control_cells if controls and self.screen.has_cells else None,
            latents=self.screen.meta["latents"],
            image_shape=tuple(self.screen.meta["image_shape"]),
        )

    def _load_cells(self, role: str) -> Cells:
        if role == "validation":
            wanted = self._role("validation")
        else:
            wanted = tuple(c for c in self.screen.conditions if c.is_control) + self.train_conditions
        return self._cells(wanted, ~self._test_barcodes if self.by_cell else None)

    @cached_property
    def room(self) -> int:
        """Bytes that cells may take at a time."""
        return int(CELLS_SHARE * (available() if self.memory_bytes is None else self.memory_bytes))

    def _read(self, rows: Array, *, profile_scale: bool = False) -> Any:
        """Cells in memory, or `StoredRows` where they would take too much of it."""
        stored = self.screen.stored(rows, profile_scale=profile_scale, room=self.room, bound=self.memory_bytes)
        return stored if stored.nbytes > IN_MEMORY * self.room else stored.tocsr()

    def _cells(self, conditions: tuple[Condition, ...], keep: Array | None) -> Cells:
        """The cells of some conditions among those that `keep` marks."""
        number = np.full(len(self.screen.conditions), -1)
        number[[self._position[c] for c in conditions]] = np.arange(len(conditions))
        code = number[self.screen.codes]
        rows = self.screen.sorted_rows(code >= 0 if keep is None else (code >= 0) & keep)
        units, times = self.screen.units, self.screen.times
        return Cells(
            self._read(rows),
            code[rows],
            conditions,
            self.screen.scale,
            unit=None if units is None else units[rows],
            time=None if times is None else times[rows],
        )

    def held_out_cells(self) -> tuple[Cells, GroundTruth | None]:
        """The test cells of a split by cells, controls among them, and their latent variables where they are known."""
        trained = tuple(c for c in self.screen.conditions if c.is_control) + self.train_conditions
        cells = self._cells(trained, self._test_barcodes)
        known = self.screen.ground_truth
        if known is None:
            return cells, None
        kept = np.isin(self.screen.codes, [self._position[c] for c in trained]) & self._test_barcodes
        return cells, known.at(self.screen.sorted_rows(kept))

    def _control_cells(self, context: str | None) -> Any:
        keep = self.screen.codes == self._position[Condition(context=context)]
        if self.by_cell:
            keep &= ~self._test_barcodes
        return self._read(self.screen.sorted_rows(keep), profile_scale=True)

    @cached_property
    def _test_barcodes(self) -> Array:
        """(N,) bool: cells that a split by cells names as test; none for other splits."""
        return np.isin(self.screen.barcodes, np.asarray(self.manifest.test_cells, dtype=str))

    @cached_property
    def _held_out(self) -> Array:
        """(N,) bool: cells of test conditions that are not in training."""
        test = np.zeros(len(self.screen.conditions), dtype=bool)
        test[[self._position[c] for c in self._role("test")]] = True
        held_out = test[self.screen.codes]
        return held_out & self._test_barcodes if self.by_cell else held_out

    def _test_cells(self, condition: Condition, half: int | None = None) -> Any:
        keep = (self.screen.codes == self._position[condition]) & self._held_out
        if half is not None:
            keep &= self.screen.halves == half
        return self._one(self.screen.sorted_rows(keep))

    def _one(self, rows: Array) -> csr_matrix:
        """Cells of one condition on the scale of the profiles, in memory; `TooLarge` where there is no room for them."""
        return self.screen.stored(rows, profile_scale=True, room=self.room, bound=self.memory_bytes).tocsr()

    def write_cell_truth(self, folder: Path) -> None:
        """Work out what `truth` reads from `folder`."""
        trained = np.zeros(len(self.screen.conditions), dtype=bool)
        trained[[self._position[c] for c in (*self.train_conditions, *self.controls.conditions)]] = True
        train = trained[self.screen.codes] & ~self._held_out
        if self.by_cell:
            train &= ~self._test_barcodes
        write_cell_truth(
            folder,
            self.screen,
            self._role("test"),
            self._held_out,
            train,
            self._interaction_classes(),
            memory_bytes=self.memory_bytes,
        )

    def _interaction_classes(self) -> list[str]:
        """Class of the genetic interaction of each scored double, empty for others and where its singles were not measured."""
        from ..kernels.interaction import expressed_genes, interaction_class, interaction_scores

        conditions = self._role("test")
        control = self.controls.control_mean(conditions)
        shifts = self._pool(conditions, side="test").mean - control
        index = {g: i for i, g in enumerate(self.screen.genes)}
        classes = []
        for i, (condition, own) in enumerate(zip(conditions, self._single_shifts(conditions, self.controls), strict=True)):
            if own is None or len(own) != 2:
                classes.append("")
                continue
            genes = expressed_genes(control[i], tuple(index[t] for t in condition.targets if t in index))
            classes.append(interaction_class(interaction_scores(own[0][genes], own[1][genes], shifts[i][genes])))
        return classes

    def truth(self, cell_truth: Path | None = None, *, cells: bool = True, ground: GroundTruth | None = None) -> Truth:
        """Statistics of the scored test conditions.

        Parameters
        ----------
        cell_truth
            Folder that `write_cell_truth` has filled, for metrics that read cells.
        cells
            Whether reference rows may read test cells, where the screen has them prepared.
        ground
            Of the cells that will be encoded.
        """
        conditions = self._role("test")
        profiles = self._pool(conditions, side="test")
        controls = self.controls
        control_of = np.array([controls.row(c.control()) for c in conditions], dtype=int)
        genes = self.screen.genes
        index = {g: i for i, g in enumerate(genes)}
        targets = tuple(tuple(index[t] for t in c.targets if t in index) for c in conditions)
        noise_free = self.screen.noise_free
        singles = self._single_shifts(conditions, controls)
        halves = (self._pool(conditions, side="test", half=0), self._pool(conditions, side="test", half=1))
        both: tuple[CellTruth | None, CellTruth | None] = (None, None)
        classes = [""] * len(conditions)
        if cell_truth is not None:
            both = read_cell_truth(
                cell_truth, self.screen, controls.conditions, self._one, partial(self._read, profile_scale=True)
            )
            classes = read_classes(cell_truth)
        return Truth(
            genes=genes,
            profiles=profiles,
            controls=controls,
            references=self._references(conditions, controls),
            de_order=de_order(profiles, controls, control_of, targets),
            half_de_order=de_order(halves[1], controls, control_of, targets),
            scale="raw" if self.screen.scale == "raw" else "log1p_1e4",
            target_genes=targets,
            halves=halves,
            subgroups=tuple(
                dict(self.manifest.subgroups.get(c, {})) | ({"gi_class": classes[i]} if classes[i] else {})
                for i, c in enumerate(conditions)
            ),
            noise_free=np.stack([noise_free[c] for c in conditions])
            if conditions and all(c in noise_free for c in conditions)
            else None,
            load_cells=self._test_cells if cells and self.screen.has_cells else None,
            single_shifts=singles,
            training=self._pool(self.train_conditions, side="train"),
            cells=both[0],
            half_cells=both[1],
            ground=ground,
        )

    def _single_shifts(self, conditions: tuple[Condition, ...], controls: Profiles) -> tuple[Array | None, ...]:
        """Of each combination the (k, G) changes of its singles, over all their cells whatever role the split gave them."""
        wanted = [[c.single(t) for t in c.targets] if len(c.targets) > 1 else [] for c in conditions]
        known = sorted({s for singles in wanted for s in singles if s in self._position}, key=sort_key)
        pooled = self.screen.sums.pool([[2 * self._position[c], 2 * self._position[c] + 1] for c in known], tuple(known))
        shifts = pooled.mean - controls.control_mean(known)
        row = {c: i for i, c in enumerate(known)}
        return tuple(
            shifts[[row[s] for s in singles]] if singles and all(s in row for s in singles) else None for singles in wanted
        )

    def _references(self, conditions: tuple[Condition, ...], controls: Profiles) -> dict[str, Array]:
        ctrl = controls.control_mean(conditions)
        train = self._pool(self.train_conditions, side="train")
        train_shift = (
            (train.mean - controls.control_mean(train.conditions)).mean(axis=0, dtype=np.float64)
            if len(train)
            else np.full(ctrl.shape[1], np.nan)
        )
        perturbed = tuple(c for c in self.screen.conditions if not c.is_control)
        everything = self.screen.sums.pool([[2 * self._position[c], 2 * self._position[c] + 1] for c in perturbed], perturbed)
        shifts = everything.mean - controls.control_mean(perturbed)
        # The same targets in another context, at another dose or time, are no other perturbation.
        group = {targets: i for i, targets in enumerate(dict.fromkeys(c.targets for c in perturbed))}
        number = np.array([group[c.targets] for c in perturbed], dtype=int)
        sums = np.zeros((len(group), ctrl.shape[1]))
        np.add.at(sums, number, shifts)
        own = np.array([group[c.targets] for c in conditions], dtype=int)
        left = len(perturbed) - np.bincount(number, minlength=len(group))[own]
        with np.errstate(divide="ignore", invalid="ignore"):
            others = np.where(left[:, None] > 0, (shifts.sum(axis=0) - sums[own]) / left[:, None], np.nan)
        return {"ctrl": ctrl, "pert": ctrl + train_shift, "loo": ctrl + others}


def de_order(profiles: Profiles, controls: Profiles, control_of: Array, targets: tuple[tuple[int, ...], ...]) -> Array:
    """Genes by \\|Welch t\\|, best first; a stable sort on sorted genes breaks ties by name, -1 fills short rows."""
    k = min(DE_GENES, profiles.mean.shape[1])
    out = np.full((len(profiles), k), -1, dtype=np.int64)
    score = np.abs(welch_t(profiles, controls, control_of))
    for i, own in enumerate(targets):
        score[i, list(own)] = -1.0
        ranked = np.argsort(-score[i], kind="stable")[:k]
        out[i] = np.where(score[i, ranked] >= 0, ranked, -1)
    return out
