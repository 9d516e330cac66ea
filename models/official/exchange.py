"""The files that pass between a model and an official implementation: cells one way, predictions the other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...bench.contracts.condition import CONTROL, Condition, escape
from ...bench.contracts.errors import InvalidPrediction
from ...bench.contracts.resource import FeatureTable, GeneEdges
from ...bench.contracts.training import Cells
from ...bench.kernels.normalisation import log1p_per_10k

Array = np.ndarray[Any, Any]
#: What a screen without contexts calls its one context.
ONLY = "only"
#: Twice the largest value that log1p of counts per 10,000 can have; what is beyond was not on that scale.
_HIGHEST = 2 * float(np.log1p(1e4))
#: Neighbours of each name where a table brings no graph: as many as GEARS takes.
_NEIGHBORS = 20
_THRESHOLD = 0.1


def token(target: str) -> str:
    """A target's name as the packages can read it: ``+`` joins targets, and ``ctrl`` within a name would be taken for control."""
    return escape(target).replace("ctrl", "ct%72l")


def names_of(condition: Condition) -> dict[str, str]:
    """What a condition is called: ``perturbation`` (A+B, control), ``condition`` (A+ctrl, A+B, ctrl), ``dose`` and ``context``."""
    doses = condition.doses or (1.0,) * len(condition.targets)
    pairs = sorted(zip(map(token, condition.targets), doses, strict=True))
    targets = [t for t, _ in pairs]
    return {
        "perturbation": "+".join(targets) or CONTROL,
        "condition": "+".join([*targets, "ctrl"] if len(targets) == 1 else targets) or "ctrl",
        "dose": "+".join(str(d) for _, d in pairs) or "1.0",
        "context": ONLY if condition.context is None else str(condition.context),
    }


def write_cells(
    path: Path, genes: Array, parts: Sequence[tuple[str, Cells, Sequence[Condition]]], *, log1p: bool
) -> dict[str, int]:
    """Write cells as ``.h5ad`` that any anndata since 0.8 reads.

    ``obs`` has the columns of `names_of` and ``split``; ``var_names`` are the genes.

    Parameters
    ----------
    parts
        Value of ``split``, cells, and which of their conditions are meant; those of other conditions are not written.
    log1p
        Whether counts are normalised; other scales are written as they are.

    Returns
    -------
    dict
        Number of cells by value of ``split``.
    """
    import anndata
    import pandas as pd
    from scipy import sparse

    blocks, columns, n_cells = [], {}, {}
    for split, cells, meant in parts:
        wanted = set(meant)
        rows = np.flatnonzero(np.isin(cells.codes, [i for i, c in enumerate(cells.conditions) if c in wanted]))
        X: Any = cells.X[rows]
        blocks.append(log1p_per_10k(X) if log1p and cells.scale == "counts" else X)
        called = [{**names_of(c), "split": split} for c in cells.conditions]
        for key in (*names_of(Condition()), "split"):
            columns.setdefault(key, []).extend(called[code][key] for code in cells.codes[rows])
        n_cells[split] = n_cells.get(split, 0) + len(rows)
    X = sparse.csr_matrix(sparse.vstack(blocks, format="csr"), dtype=np.float32)
    # Objects, not pandas' own strings: older readers do not know how these are stored.
    obs = pd.DataFrame(
        {
            k: pd.Categorical(np.array(v, dtype=object), categories=np.array(sorted(set(v)), dtype=object))
            for k, v in columns.items()
        },
        index=pd.Index(np.array([f"cell{i}" for i in range(X.shape[0])], dtype=object), dtype=object),
    )
    var = pd.DataFrame(index=pd.Index(np.array([str(g) for g in genes], dtype=object), dtype=object))
    anndata.AnnData(X=X, obs=obs, var=var).write_h5ad(path)
    return n_cells


@dataclass(frozen=True)
class Graph:
    """Named nodes and weighted edges, for a script.

    Parameters
    ----------
    names
        n nodes, as `token` writes them.
    source, target, weight
        (m,) positions of the ends of each edge, and its weight.
    """

    names: Array
    source: Array
    target: Array
    weight: Array

    @classmethod
    def of(cls, table: FeatureTable) -> Graph:
        """The edges of a table, or where it has none those to the 20 rows with the largest cosine above 0.1, its own among them."""
        names = np.array([token(n) for n in table.names])
        if table.edges is not None:
            return cls(names, table.edges.source, table.edges.target, table.edges.weight)
        length = np.linalg.norm(table.values, axis=1, keepdims=True)
        unit = np.divide(table.values, length, out=np.zeros_like(table.values), where=length > 0)
        similar = unit @ unit.T
        np.fill_diagonal(similar, 1.0)
        edges = GeneEdges.nearest(lambda block: similar[block], len(names), n_neighbors=_NEIGHBORS, threshold=_THRESHOLD)
        return cls(names, edges.source, edges.target, edges.weight)

    def write(self, path: Path) -> None:
        """Write it as ``.npz`` without pickles."""
        np.savez(path, names=self.names, source=self.source, target=self.target, weight=self.weight)


@dataclass(frozen=True)
class Answers:
    """What an official implementation has predicted, checked.

    Parameters
    ----------
    mean, variance
        (n, G) float32, genes in the order of the training data; variance is None where the package has none.
    conditions
        The n predicted conditions.
    absent
        Reason for each other condition that was asked.
    cells
        File of the predicted cells of a condition.
    """

    conditions: tuple[Condition, ...]
    mean: Array
    variance: Array | None
    absent: dict[Condition, str]
    cells: dict[Condition, Path]


def read_answers(folder: Path, asked: Sequence[Condition], genes: Array, scale: str, name: str) -> Answers:
    """Read what a script wrote and hold it against what was asked.

    Raises
    ------
    InvalidPrediction
        For an absent file, other genes, another scale, values that are no numbers or far beyond the scale, and a condition
        that is neither predicted nor declared absent.
    """
    if not (folder / "answer.npz").exists():
        raise InvalidPrediction(f"'{name}' ended without writing predictions.")
    said = json.loads((folder / "answer.json").read_text())
    with np.load(folder / "answer.npz", allow_pickle=False) as stored:
        arrays = {k: stored[k] for k in stored.files}
    if said["scale"] != scale:
        raise InvalidPrediction(f"'{name}' predicts on the scale '{said['scale']}', and '{scale}' was asked.")
    place = {str(g): i for i, g in enumerate(arrays["genes"])}
    if len(place) != len(genes) or any(str(g) not in place for g in genes):
        lost = [str(g) for g in genes if str(g) not in place]
        raise InvalidPrediction(f"'{name}' predicts {len(place)} genes where the screen has {len(genes)}; missing: {lost[:3]}.")
    order = [place[str(g)] for g in genes]
    numbers = [int(i) for i in arrays["numbers"]]
    if beyond := [i for i in numbers if not 0 <= i < len(asked)]:
        raise InvalidPrediction(f"'{name}' predicts query {beyond[0]}, which nobody asked.")
    shape = (len(numbers), len(genes))
    absent = {asked[int(i)]: str(reason) for i, reason in said["absent"].items()}
    present = tuple(asked[i] for i in numbers)
    answered = {*present, *absent}
    if silent := [c.key for c in asked if c not in answered]:
        raise InvalidPrediction(f"'{name}' neither predicts nor declares absent {len(silent)} condition(s), such as {silent[0]}.")
    for kind in ("mean", "variance"):
        if kind in arrays and arrays[kind].size != shape[0] * shape[1]:
            raise InvalidPrediction(f"'{name}' gives a {kind} of shape {arrays[kind].shape} instead of {shape}.")
        if kind in arrays and not np.isfinite(arrays[kind]).all():
            bad = present[int(np.flatnonzero(~np.isfinite(arrays[kind].reshape(shape)).all(axis=1))[0])]
            raise InvalidPrediction(f"'{name}' predicts a {kind} that is no number for {bad.key}.")
    mean = arrays["mean"].reshape(shape)[:, order]
    if scale == "log1p_1e4" and mean.size and mean.max() > _HIGHEST:
        raise InvalidPrediction(f"'{name}' predicts values up to {mean.max():.4g}, which are no log1p of counts per 10,000.")
    variance = arrays["variance"].reshape(shape)[:, order] if "variance" in arrays else None
    files = {asked[i]: folder / f"cells-{i}.npy" for i in numbers if (folder / f"cells-{i}.npy").exists()}
    return Answers(present, mean, variance, absent, files)
