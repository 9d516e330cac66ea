"""Latent variables: what is known of those that generated a screen, and what a model says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .errors import DataError

if TYPE_CHECKING:
    from anndata import AnnData

Array = np.ndarray[Any, Any]
T = TypeVar("T")

#: What a latent variable can be: a real number, an angle in radians, or a class numbered from 0.
KINDS = ("continuous", "circular", "categorical")
#: Up to what a model can claim to find the latent variables.
CLAIMS = {
    "permutation": "order, sign and scale of each variable",
    "affine": "an invertible affine map of all variables",
    "orthogonal": "a rotation of all variables",
    "block": "an invertible map within the responsive and within the invariant variables",
}
#: What a latent variable can belong to: those that perturbations act on, and those that they leave alone.
BLOCKS = ("responsive", "invariant")


@dataclass(frozen=True)
class GroundTruth:
    """The latent variables that generated cells, and how perturbations act on them.

    Parameters
    ----------
    values
        (n, d) float64, a row for each cell.
    names
        (d,) names.
    blocks
        (d,) one of `BLOCKS` for each variable.
    kinds
        (d,) one of `KINDS` for each variable.
    perturbations
        (P,) canonical labels, the control first.
    targets
        (P, d) bool: variables whose own mechanism a perturbation changes.
    graph
        (d, d) bool: [i, j] where variable j is a direct cause of i in the same instant.
    lagged
        (L, d, d) bool: the same for causes one instant earlier, two, …; L = 0 for static screens. A variable that keeps some of
        its value is a cause of itself.
    """

    values: Array
    names: tuple[str, ...]
    blocks: tuple[str, ...]
    kinds: tuple[str, ...]
    perturbations: tuple[str, ...]
    targets: Array
    graph: Array
    lagged: Array

    def __len__(self) -> int:
        return len(self.values)

    @property
    def d(self) -> int:
        """Number of latent variables."""
        return len(self.names)

    def block(self, name: str) -> Array:
        """Indices of the variables of a block."""
        return np.flatnonzero(np.array(self.blocks) == name)

    @cached_property
    def reached(self) -> Array:
        """(P, d) bool: variables that a perturbation changes directly or through others, at any later instant."""
        step = self.graph | self.lagged.any(axis=0) if len(self.lagged) else self.graph
        found = self.targets.copy()
        for _ in range(self.d):
            found = found | (found @ step.T)
        return found

    def at(self, rows: Array) -> GroundTruth:
        """The same of some cells."""
        return GroundTruth(
            self.values[rows],
            self.names,
            self.blocks,
            self.kinds,
            self.perturbations,
            self.targets,
            self.graph,
            self.lagged,
        )

    def write(self, adata: AnnData) -> None:
        """Into ``obsm["latents"]`` and ``uns["ground_truth"]``, where `read_ground_truth` finds it."""
        adata.obsm["latents"] = self.values
        adata.uns["ground_truth"] = {name: np.asarray(getattr(self, name)) for name in _STORED}


_STORED = ("names", "blocks", "kinds", "perturbations", "targets", "graph", "lagged")


def read_ground_truth(adata: AnnData) -> GroundTruth | None:
    """What `GroundTruth.write` has written; None where a screen has no known latent variables.

    Raises
    ------
    DataError
        If the parts do not fit together.
    """
    if "latents" not in adata.obsm or "ground_truth" not in adata.uns:
        return None
    return ground_truth_of(np.asarray(adata.obsm["latents"]), adata.uns["ground_truth"])


def ground_truth_of(values: Array, parts: Mapping[str, Any]) -> GroundTruth:
    """A `GroundTruth` of (n, d) values and its other fields by name.

    Raises
    ------
    DataError
        If the parts do not fit together.
    """
    if missing := [name for name in _STORED if name not in parts]:
        raise DataError(f"ground truth of latent variables lacks '{missing[0]}' (it needs {', '.join(_STORED)}).")
    values = np.asarray(values, dtype=np.float64)
    text = {n: tuple(map(str, np.asarray(parts[n]).tolist())) for n in ("names", "blocks", "kinds", "perturbations")}
    d, P = values.shape[1] if values.ndim == 2 else -1, len(text["perturbations"])
    lagged = np.asarray(parts["lagged"], dtype=bool)
    truth = GroundTruth(
        values,
        **text,
        targets=np.asarray(parts["targets"], dtype=bool),
        graph=np.asarray(parts["graph"], dtype=bool),
        lagged=lagged.reshape(-1, d, d) if lagged.size or d < 1 else np.zeros((0, d, d), dtype=bool),
    )
    shapes = {"targets": (P, d), "graph": (d, d)}
    if wrong := [n for n, shape in shapes.items() if getattr(truth, n).shape != shape]:
        raise DataError(f"ground truth: '{wrong[0]}' is {getattr(truth, wrong[0]).shape} and should be {shapes[wrong[0]]}.")
    if wrong := [n for n in ("names", "blocks", "kinds") if len(text[n]) != d]:
        raise DataError(f"ground truth: {len(text[wrong[0]])} '{wrong[0]}' for {d} latent variables.")
    if strange := (set(text["blocks"]) - set(BLOCKS)) | (set(text["kinds"]) - set(KINDS)):
        raise DataError(
            f"ground truth: '{sorted(strange)[0]}' is neither a block ({', '.join(BLOCKS)}) nor a kind ({', '.join(KINDS)})."
        )
    if not np.isfinite(values).all():
        raise DataError("ground truth: a latent variable is NaN or infinite.")
    return truth


@dataclass(frozen=True)
class Encoding:
    """What a model says of the latent variables of n cells.

    Parameters
    ----------
    codes
        Latent means (n, m) by name, as `Model.encode` gives them: ``responsive`` and ``invariant``, or ``latent`` where the model
        does not tell them apart; other names are not scored.
    blind
        The same of the same cells when the model is told that all of them are control cells; None where that changes nothing.
    targets
        (m,) strength with which each target acts on each responsive code, where the model says so.
    graph
        (m, m) strength with which the code of the column is a direct cause of that of the row, where the model says so; of a
        model of processes the strongest of both kinds of cause, the same instant and earlier.
    """

    codes: Mapping[str, Array]
    blind: Mapping[str, Array] | None = None
    targets: Mapping[str, Array] = field(default_factory=dict)
    graph: Array | None = None


@dataclass(frozen=True)
class LatentComparison:
    """Held-out cells: their true latent variables beside a model's codes.

    Parameters
    ----------
    truth
        Of the n held-out cells; None on screens whose latent variables are not known.
    encoding
        What the model says of the same cells.
    report
        (n,) bool: whatever is aligned, chosen or fitted is so on the cells where it is False, and reported on the others. No unit
        has cells on both sides.
    perturbation
        (n,) index into ``truth.perturbations`` of each cell.
    unit
        (n,) int: cells with the same number are one unit at several times.
    time
        (n,) float, NaN where it is not known.
    claim
        A key of `CLAIMS`, or empty where the model claims nothing.
    """

    truth: GroundTruth
    encoding: Encoding
    report: Array
    perturbation: Array
    unit: Array
    time: Array
    claim: str = ""
    _memory: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, function: Callable[[LatentComparison], T]) -> T:
        """``function(self)``, computed on the first call."""
        if function not in self._memory:
            self._memory[function] = function(self)
        return self._memory[function]

    @property
    def parted(self) -> bool:
        """Whether the model tells invariant codes apart from the others."""
        return "invariant" in self.encoding.codes

    def code(self, name: str, *, blind: bool = False) -> Array:
        """(n, m) codes ``responsive``, ``invariant``, or ``all`` of them side by side.

        A model that does not tell them apart is taken at all of its codes under each name, which can only help it.
        """
        codes = self.encoding.codes if not blind or self.encoding.blind is None else self.encoding.blind
        parts = [codes[n] for n in ("responsive", "latent", "invariant") if n in codes]
        if name != "all" and name in codes and self.parted:
            return codes[name]
        if name == "responsive" and self.parted:
            return codes["latent"] if "latent" in codes else codes["invariant"]
        return np.concatenate(parts, axis=1)
