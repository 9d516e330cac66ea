"""What the cells of a split's test conditions say, worked out once and read by the jobs of all models and seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts.cell_truth import CellTruth, embed
from ..contracts.condition import Condition
from .folders import write_folder
from .prepare import PreparedScreen

Array = np.ndarray[Any, Any]

COMPONENTS = 50
#: Share of its variance that a component must have among cells that it was not fitted on.
KEPT = 0.9
#: Training cells that the components are fitted on, and test cells that the bandwidth is taken from.
FIT_CELLS, BANDWIDTH_CELLS = 5000, 2000
#: Smaller side of a matrix up to which its components are exact.
EXACT = 600
#: Barcodes that are hashed at a time.
HASHED = 2**17
SIDES = ("all", "half")


#: Share of a bound on memory that the buffers of the tests of genes take, and what they take without one.
BUFFER_SHARE, BUFFER = 0.25, 2**30


def write_cell_truth(
    folder: Path,
    screen: PreparedScreen,
    conditions: tuple[Condition, ...],
    test: Array,
    train: Array,
    classes: list[str],
    *,
    memory_bytes: int | None = None,
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
    memory_bytes
        Bound on memory: the tests of genes read the cells once for each set of genes whose values fit into a share of it.
    """
    from ..kernels.pairwise import median_distance

    mean, components = principal_components(screen, train)
    position = {c: i for i, c in enumerate(screen.conditions)}
    number = np.full(len(screen.conditions), -1)
    number[[position[c] for c in conditions]] = np.arange(len(conditions))
    group = np.where(test, number[screen.codes], -1)
    rows = screen.sorted_rows(test)
    rows = rows[group[rows] >= 0]
    rows = rows[np.argsort(group[rows], kind="stable")]
    coordinates = embed(screen.stored(rows, profile_scale=True), mean, components)
    chosen = np.sort(_fewest(screen.barcodes, rows, BANDWIDTH_CELLS, salt="bandwidth"))
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
    buffer = BUFFER if memory_bytes is None else int(BUFFER_SHARE * memory_bytes)
    for side, of_side in (("all", group), ("half", np.where(screen.halves == 1, group, -1))):
        files[f"p_{side}"], files[f"auc_{side}"] = _tests_against_control(screen, conditions, of_side, buffer)

    def save(building: Path) -> None:
        for name, value in files.items():
            np.save(building / f"{name}.npy", value, allow_pickle=False)

    write_folder(folder, save)


def _tests_against_control(
    screen: PreparedScreen, conditions: tuple[Condition, ...], group: Array, memory_bytes: int
) -> tuple[Array, Array]:
    """Mann-Whitney p and probability of superiority, each (n, G), of `group` (-1: not in it) against control cells."""
    from ..kernels.rank_sum import rank_sum

    position = {c: i for i, c in enumerate(screen.conditions)}
    controls = [c for c in screen.conditions if c.is_control]
    row = {c: len(conditions) + i for i, c in enumerate(controls)}
    codes = group.copy()
    for control, number in row.items():
        codes[screen.codes == position[control]] = number
    against = np.array([row[c.control()] for c in conditions] + list(row.values()), dtype=np.int64)
    # In the order of the files: each pass over the cells reads them from front to back.
    rows = np.flatnonzero(codes >= 0)
    stored = screen.stored(rows, profile_scale=True)
    cells = stored.tocsr() if 4 * stored.nbytes <= memory_bytes else stored
    found = rank_sum(cells, codes[rows], len(conditions) + len(controls), against, memory_bytes=memory_bytes)
    return found.p[: len(conditions)], found.auc[: len(conditions)]


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
    rows = candidates[_fewest(screen.barcodes, candidates, 2 * FIT_CELLS, salt="components")]
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
    cells = screen.stored(ordered, profile_scale=True)
    dense = np.empty(cells.shape)
    for where, block in cells.blocks():
        dense[where] = block.toarray()
    return dense


def _fewest(barcodes: Array, rows: Array, n: int, *, salt: str) -> Array:
    """Positions among `rows` of the `n` barcodes with the smallest salted hash, smallest first: random, and blind to their order."""
    kept: list[tuple[bytes, int]] = []
    for at in range(0, len(rows), HASHED):
        own = barcodes[rows[at : at + HASHED]].tolist()
        kept += [(hashlib.sha256(f"{salt}\0{b}".encode()).digest(), at + i) for i, b in enumerate(own)]
        kept = sorted(kept)[:n]
    return np.array([i for _, i in kept], dtype=np.int64)


def read_classes(folder: Path) -> list[str]:
    """The classes that `write_cell_truth` was given."""
    return np.load(folder / "gi_class.npy", allow_pickle=False).tolist()


def read_cell_truth(
    folder: Path,
    screen: PreparedScreen,
    contexts: tuple[Condition, ...],
    read: Callable[[Array], Any],
    read_controls: Callable[[Array], Any],
) -> tuple[CellTruth, CellTruth]:
    """The two sides that `write_cell_truth` wrote: all test cells, and second halves.

    Parameters
    ----------
    contexts
        Control conditions in the order of the rows of ``Truth.controls``.
    read, read_controls
        Read rows of the screen on the scale of the profiles: cells of one condition, and control cells.
    """
    stored = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in folder.glob("*.npy")}
    in_half = np.asarray(stored["in_half"])

    def controls(row: int) -> Any:
        return read_controls(screen.sorted_rows(screen.codes == screen.conditions.index(contexts[row])))

    both = (_side(stored, None if side == "all" else in_half, side, read, controls) for side in SIDES)
    return tuple(both)  # type: ignore[return-value]


def _side(
    stored: dict[str, Any], keep: Array | None, side: str, read: Callable[[Array], Any], controls: Callable[[int], Any]
) -> CellTruth:
    ends = np.cumsum(stored["counts"])

    def members(i: int) -> Array:
        """Positions among the stored rows of the cells of condition i."""
        own = np.arange(ends[i] - stored["counts"][i], ends[i])
        return own if keep is None else own[keep[own]]

    return CellTruth(
        load=lambda i: read(np.asarray(stored["rows"][members(i)])),
        load_controls=controls,
        p=np.asarray(stored[f"p_{side}"]),
        auc=np.asarray(stored[f"auc_{side}"]),
        pca_mean=np.asarray(stored["pca_mean"]),
        pca_components=np.asarray(stored["pca_components"]),
        bandwidth=float(stored["bandwidth"]),
        coordinates=lambda i: np.asarray(stored["coordinates"][members(i)]),
    )
