"""What the cells of a split's test conditions say, worked out once and read by the jobs of all models and seeds."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts.cell_truth import CellTruth, embed
from ..contracts.condition import Condition
from .folders import write_folder
from .prepare import PreparedScreen
from .statistics import on_profile_scale

Array = np.ndarray[Any, Any]

COMPONENTS = 50
#: Share of its variance that a component must have among cells that it was not fitted on.
KEPT = 0.9
#: Training cells that the components are fitted on, and test cells that the bandwidth is taken from.
FIT_CELLS, BANDWIDTH_CELLS = 5000, 2000
#: Smaller side of a matrix up to which its components are exact.
EXACT = 600
SIDES = ("all", "half")


def write_cell_truth(
    folder: Path, screen: PreparedScreen, conditions: tuple[Condition, ...], test: Array, train: Array, classes: list[str]
) -> None:
    """Write `CellTruth` files for all test cells and for the second halves of each condition.

    Parameters
    ----------
    conditions
        The scored test conditions, sorted.
    test, train
        (N,) bool over the cells of the screen: cells of the truth, and training cells with controls.
    classes
        Class of each condition's genetic interaction, kept beside because it is as costly.
    """
    from ..kernels.pairwise import median_distance

    mean, components = principal_components(screen, train)
    position = {c: i for i, c in enumerate(screen.conditions)}
    number = np.full(len(screen.conditions), -1)
    number[[position[c] for c in conditions]] = np.arange(len(conditions))
    group = np.where(test, number[screen.codes], -1)
    rows = np.flatnonzero(group >= 0)
    rows = rows[np.lexsort((screen.barcodes[rows], group[rows]))]
    coordinates = np.concatenate(
        [embed(screen.cells(rows[i : i + 4096], profile_scale=True), mean, components) for i in range(0, max(1, len(rows)), 4096)]
    )
    chosen = np.sort(_fewest(screen.barcodes[rows], BANDWIDTH_CELLS, salt="bandwidth"))
    bandwidth = median_distance(coordinates[chosen]) if len(chosen) > 1 else float("nan")
    files = {
        "rows": rows,
        "counts": np.bincount(group[rows], minlength=len(conditions)),
        "in_half": screen.halves[rows] == 1,
        "coordinates": coordinates,
        "pca_mean": mean,
        "pca_components": components,
        "bandwidth": np.array(bandwidth),
        "gi_class": np.array(classes, dtype=str),
    }
    for side, keep in (("all", np.ones(len(group), dtype=bool)), ("half", screen.halves == 1)):
        files[f"p_{side}"], files[f"auc_{side}"] = _tests_against_control(screen, conditions, np.where(keep, group, -1))

    def save(building: Path) -> None:
        for name, value in files.items():
            np.save(building / f"{name}.npy", value, allow_pickle=False)

    write_folder(folder, save)


def _tests_against_control(screen: PreparedScreen, conditions: tuple[Condition, ...], group: Array) -> tuple[Array, Array]:
    """Mann-Whitney p and probability of superiority, each (n, G), of `group` (-1: not in it) against control cells."""
    from ..kernels.rank_sum import rank_sum

    position = {c: i for i, c in enumerate(screen.conditions)}
    controls = [c for c in screen.conditions if c.is_control]
    row = {c: len(conditions) + i for i, c in enumerate(controls)}
    codes = group.copy()
    for control, number in row.items():
        codes[screen.codes == position[control]] = number
    against = np.array([row[c.control()] for c in conditions] + list(row.values()), dtype=np.int64)
    transform = partial(on_profile_scale, scale=screen.scale) if screen.scale == "counts" else None
    found = rank_sum(screen.matrix, codes, len(conditions) + len(controls), against, transform=transform)
    order = screen.gene_order
    return found.p[: len(conditions)][:, order], found.auc[: len(conditions)][:, order]


def principal_components(screen: PreparedScreen, train: Array) -> tuple[Array, Array]:
    """Mean (G,) and components (d, G), float32, of training cells chosen by hashed barcode.

    Components are fitted on one set of at most `FIT_CELLS` training cells and kept if their variance among as many others is
    at least `KEPT` of that among the first: a component of noise is long only for the cells that it was fitted on, and would
    put the answers of models that return training or control cells far from cells that nobody has seen. The two longest are
    kept in any case. Exact where the smaller side of the matrix is at most `EXACT`, else by randomised subspace iteration with
    a fixed seed. The sign of each component makes its largest loading positive.

    References
    ----------
    Halko, Martinsson and Tropp, SIAM Review 53 (2011). The check on other cells is cross-validation of the components.
    """
    candidates = np.flatnonzero(train)
    rows = candidates[_fewest(screen.barcodes[candidates], 2 * FIT_CELLS, salt="components")]
    # By hash: the first and the second half of what was chosen are random halves.
    fitted, others = (_dense(screen, part) for part in np.array_split(rows, 2)[:2])
    mean = fitted.mean(axis=0) if len(fitted) else np.zeros(fitted.shape[1])
    fitted -= mean
    k = min(COMPONENTS, *fitted.shape)
    if min(fitted.shape) <= EXACT:
        components = np.linalg.svd(fitted, full_matrices=False)[2][:k]
    else:
        from sklearn.utils.extmath import randomized_svd

        components = randomized_svd(fitted, k, n_iter=4, random_state=0)[2]  # pyright: ignore[reportArgumentType]
    if len(others) > 1:
        inside, outside = ((cells @ components.T).var(axis=0) for cells in (fitted, others))
        kept = outside >= KEPT * inside
        kept[:2] = True
        components = components[kept]
    largest = np.abs(components).argmax(axis=1)
    components = components * np.sign(components[np.arange(len(components)), largest])[:, None]
    return mean.astype(np.float32), components.astype(np.float32)


def _dense(screen: PreparedScreen, rows: Array) -> Array:
    """(len(rows), G) float64 cells on the scale of the profiles, in the order of their barcodes."""
    ordered = rows[np.argsort(screen.barcodes[rows], kind="stable")]
    return screen.cells(ordered, profile_scale=True).toarray().astype(np.float64)


def _fewest(barcodes: Array, n: int, *, salt: str) -> Array:
    """Positions of the `n` barcodes with the smallest salted hash, smallest first: random, and blind to their order."""
    digest = [hashlib.sha256(f"{salt}\0{b}".encode()).digest() for b in barcodes.tolist()]
    return np.array(sorted(range(len(digest)), key=digest.__getitem__)[:n], dtype=np.int64)


def read_classes(folder: Path) -> list[str]:
    """The classes that `write_cell_truth` was given."""
    return np.load(folder / "gi_class.npy", allow_pickle=False).tolist()


def read_cell_truth(folder: Path, screen: PreparedScreen, contexts: tuple[Condition, ...]) -> tuple[CellTruth, CellTruth]:
    """The two sides that `write_cell_truth` wrote: all test cells, and second halves.

    Parameters
    ----------
    contexts
        Control conditions in the order of the rows of ``Truth.controls``.
    """
    stored = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in folder.glob("*.npy")}
    in_half = np.asarray(stored["in_half"])
    both = (_side(stored, side, None if side == "all" else in_half, screen, contexts) for side in SIDES)
    return tuple(both)  # type: ignore[return-value]


def _side(
    stored: dict[str, Any], side: str, keep: Array | None, screen: PreparedScreen, contexts: tuple[Condition, ...]
) -> CellTruth:
    ends = np.cumsum(stored["counts"])

    def members(i: int) -> Array:
        """Positions among the stored rows of the cells of condition i."""
        own = np.arange(ends[i] - stored["counts"][i], ends[i])
        return own if keep is None else own[keep[own]]

    def controls(row: int) -> Any:
        return screen.condition_cells(contexts[row])

    return CellTruth(
        load=lambda i: screen.cells(np.asarray(stored["rows"][members(i)]), profile_scale=True),
        load_controls=controls,
        p=np.asarray(stored[f"p_{side}"]),
        auc=np.asarray(stored[f"auc_{side}"]),
        pca_mean=np.asarray(stored["pca_mean"]),
        pca_components=np.asarray(stored["pca_components"]),
        bandwidth=float(stored["bandwidth"]),
        coordinates=lambda i: np.asarray(stored["coordinates"][members(i)]),
    )
