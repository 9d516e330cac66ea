"""Ask one model what it says of the latent variables of held-out cells, and set it beside what is known of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..contracts.errors import InvalidPrediction
from ..contracts.latents import CLAIMS, Encoding, GroundTruth, LatentComparison
from ..contracts.model import Capabilities
from ..contracts.training import Cells

Array = np.ndarray[Any, Any]
#: Names of codes that are scored.
SCORED = ("responsive", "latent", "invariant")


@dataclass(frozen=True)
class HeldOut:
    """Cells of units that no model was fitted on, and their latent variables where they are known."""

    cells: Cells
    truth: GroundTruth | None

    @cached_property
    def unit(self) -> Array:
        """(n,) int64 unit of each cell; each is its own where the screen has no units."""
        n = len(self.cells.codes)
        return np.arange(n) if self.cells.unit is None else np.unique(self.cells.unit, return_inverse=True)[1]

    @cached_property
    def report(self) -> Array:
        """(n,) bool: the half of the units of each perturbation, chosen by hash, on which scores are reported."""
        digest = {u: hashlib.sha256(f"report:{u}".encode()).digest() for u in np.unique(self.unit).tolist()}
        labels = self._labels
        # A unit belongs to the perturbation of its first cell; halves are equal to one unit within each.
        first = {u: labels[i] for i, u in reversed(list(enumerate(self.unit.tolist())))}
        chosen: set[int] = set()
        by_label: dict[int, list[int]] = {}
        for u, label in first.items():
            by_label.setdefault(label, []).append(u)
        for own in by_label.values():
            ordered = sorted(own, key=lambda u: digest[u])
            chosen.update(ordered[: len(ordered) // 2])
        return np.isin(self.unit, np.array(sorted(chosen), dtype=np.int64))

    @cached_property
    def _perturbations(self) -> tuple[str, ...]:
        if self.truth is not None:
            return self.truth.perturbations
        return tuple(dict.fromkeys(c.label for c in sorted(self.cells.conditions, key=lambda c: (not c.is_control, c.label))))

    @cached_property
    def _labels(self) -> Array:
        """(n,) index of each cell's perturbation."""
        number = {label: i for i, label in enumerate(self._perturbations)}
        return np.array([number.get(c.label, -1) for c in self.cells.conditions], dtype=np.int64)[self.cells.codes]

    def beside(self, encoding: Encoding, claim: str) -> LatentComparison | None:
        """The comparison that metrics score; None where the latent variables are not known."""
        if self.truth is None:
            return None
        time = np.full(len(self.unit), np.nan) if self.cells.time is None else self.cells.time
        return LatentComparison(self.truth, encoding, self.report, self._labels, self.unit, time, claim)

    @cached_property
    def blind(self) -> Cells:
        """The same cells, each said to be a control cell of its context."""
        conditions = self.cells.conditions
        controls = tuple(dict.fromkeys(c.control() for c in conditions))
        number = np.array([controls.index(c.control()) for c in conditions], dtype=np.int64)
        return replace(self.cells, codes=number[self.cells.codes], conditions=controls)


def encode(model: Any, held_out: HeldOut) -> Encoding:
    """What a fitted model says of the held-out cells.

    Raises
    ------
    InvalidPrediction
        If its codes cannot be scored: another number of rows, NaN, or none of the names that are scored.
    """
    codes = _checked(model.encode(held_out.cells), len(held_out.cells.codes))
    blind = _checked(model.encode(held_out.blind), len(held_out.cells.codes))
    same = all(np.allclose(codes[name], blind[name], rtol=1e-4, atol=1e-6) for name in codes)
    width = codes["responsive" if "responsive" in codes else next(n for n in SCORED if n in codes)].shape[1]
    return Encoding(codes, None if same else blind, _targets(model, width), _graph(model, width))


def claim_of(model_class: Any) -> str:
    """Up to what a model claims to find latent variables; empty where it claims nothing that is known here."""
    claim = getattr(getattr(model_class, "capabilities", Capabilities()), "claim", "")
    return claim if claim in CLAIMS else ""


def _checked(codes: Mapping[str, Any], n: int) -> dict[str, Array]:
    if not isinstance(codes, Mapping):
        raise InvalidPrediction(f"encode must return arrays by name, not {type(codes).__name__}.")
    # Rounded once here: archived codes are float32 too.
    kept = {name: np.asarray(codes[name], dtype=np.float32).astype(np.float64) for name in SCORED if name in codes}
    if not kept:
        raise InvalidPrediction(f"encode returned {', '.join(codes) or 'nothing'}; name codes {', '.join(SCORED)}.")
    for name, value in kept.items():
        if value.ndim != 2 or len(value) != n or not value.shape[1]:
            raise InvalidPrediction(
                f"encode returned '{name}' of shape {value.shape} for {n} cells; (cells, codes) was expected."
            )
        if not np.isfinite(value).all():
            raise InvalidPrediction(f"encode returned NaN or infinite values in '{name}'.")
    return kept


def _targets(model: Any, width: int) -> dict[str, Array]:
    if not hasattr(model, "targets"):
        return {}
    found = {str(t): np.asarray(v, dtype=np.float64) for t, v in model.targets().items()}
    if wrong := [t for t, v in found.items() if v.shape != (width,) or not np.isfinite(v).all()]:
        raise InvalidPrediction(
            f"targets() gives {wrong[0]} {found[wrong[0]].shape} strengths; ({width},) finite ones were expected."
        )
    return found


def _graph(model: Any, width: int) -> Array | None:
    if not hasattr(model, "graph"):
        return None
    found = model.graph()
    if found is None:
        return None
    found = np.asarray(found, dtype=np.float64)
    if found.shape != (width, width) or not np.isfinite(found).all():
        raise InvalidPrediction(f"graph() gives {found.shape}; ({width}, {width}) finite strengths were expected.")
    return found
