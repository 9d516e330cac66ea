"""The two halves of the held-out cells, the variables that can be scored on both, and scores as values with a reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...bench.contracts.identity import derived_seed
from ...bench.contracts.latents import LatentComparison
from ...bench.contracts.metric import Comparison, MetricInfo, Values
from ...bench.kernels.latent_regression import FOLDS, Rows, folds

Array = np.ndarray[Any, Any]

#: Cells that either half, or the part of one that a correlation is taken on, must have.
MIN_CELLS = 30
#: Cells of either half that what costs more than a few matrix products is computed on; more are drawn at random.
MAX_CELLS = 4000


class Undefined(Exception):
    """A score that is undefined, with its reason code."""

    @property
    def reason(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Score:
    """One number of the latent variables as the values of a metric."""

    function: Callable[[LatentComparison], float]

    def __call__(self, comparison: Comparison) -> Values:
        return Scores(lambda latents: np.array([self.function(latents)]), size=1)(comparison)


@dataclass(frozen=True)
class Scores:
    """A number for each latent variable as the values of a metric.

    Parameters
    ----------
    function
        Gives (d,) values; NaN has the reason ``zero_variance``.
    size
        How many there are; 0 for one for each variable.
    """

    function: Callable[[LatentComparison], Array]
    size: int = 0

    def __call__(self, comparison: Comparison) -> Values:
        latents = comparison.latents
        assert latents is not None, "a metric is only asked where what it needs is there"
        try:
            if min(latents.report.sum(), (~latents.report).sum()) < MIN_CELLS:
                raise Undefined("too_few_cells")
            return Values.of(self.function(latents), "zero_variance")
        except Undefined as undefined:
            return Values.of(np.full(self.size or latents.truth.d, np.nan), undefined.reason)


def info(name: str, function: Callable[..., Values], summary: str, caveats: str, reference: str, **facts: Any) -> MetricInfo:
    """A metric of latent variables: from 0 to 1, higher is better and 1 perfect, unless the facts say otherwise."""
    standard: dict[str, Any] = {"direction": "up", "lower": 0.0, "upper": 1.0, "perfect": 1.0, "level": "dataset"}
    return MetricInfo(
        id=name,
        version=1,
        function=function,
        summary=summary,
        caveats=caveats,
        reference=reference,
        needs=("latents",),
        **standard | facts,
    )


def block_of(latents: LatentComparison, block: str) -> Array:
    """Indices of the variables of a block or of ``all``.

    Raises
    ------
    Undefined
        ``no_responsive_block`` or ``no_invariant_block`` where there are none.
    """
    found = np.arange(latents.truth.d) if block == "all" else latents.truth.block(block)
    if not len(found):
        raise Undefined(f"no_{block}_block")
    return found


def continuous(latents: LatentComparison, block: str) -> Array:
    """Indices of the real variables of a block that vary on both halves.

    Raises
    ------
    Undefined
        ``no_continuous`` where the block has none, ``zero_variance`` where none of them varies, and as `block_of`.
    """
    found = block_of(latents, block)
    found = found[np.array(latents.truth.kinds)[found] == "continuous"]
    if not len(found):
        raise Undefined("no_continuous")
    varies = latents.once(varying)[found]
    if not varies.any():
        raise Undefined("zero_variance")
    return found[varies]


def varying(latents: LatentComparison) -> Array:
    """(d,) bool: variables with more than one value on either half."""
    z = latents.truth.values
    return (np.ptp(z[latents.report], axis=0) > 0) & (np.ptp(z[~latents.report], axis=0) > 0)


def chosen_cells(latents: LatentComparison) -> tuple[Array, Array, Array]:
    """Rows to fit on, rows to report on, at most `MAX_CELLS` of each, and the fold of each fitted row."""
    out = []
    for side, rows in (("fit", np.flatnonzero(~latents.report)), ("report", np.flatnonzero(latents.report))):
        rng = np.random.default_rng(derived_seed("identification", "cells", side))
        out.append(np.sort(rng.permutation(rows)[:MAX_CELLS]))
    if len(np.unique(latents.unit[out[0]])) < FOLDS:
        raise Undefined("too_few_cells")
    return out[0], out[1], folds(latents.unit[out[0]], derived_seed("identification", "folds"))


def rows_of(latents: LatentComparison, values: Array) -> Rows:
    """Values (n, m) of all cells as what is fitted on and what is predicted."""
    fit, new, fold = latents.once(chosen_cells)
    return Rows(values[fit], values[new], fold)


def columns(latents: LatentComparison, i: int) -> Array:
    """(n, q) numbers for a variable: itself, (sin, cos) of an angle, or 0 and 1 for each class."""
    z, kind = latents.truth.values[:, i], latents.truth.kinds[i]
    if kind == "circular":
        return np.stack([np.sin(z), np.cos(z)], axis=1)
    if kind == "categorical":
        return (z[:, None] == np.unique(z)).astype(np.float64)
    return z[:, None]


def code_of(latents: LatentComparison, name: str) -> Array:
    """(n, m) codes of the model by name, or the true variables of a block as codes for ``true responsive`` and ``true invariant``."""
    if name.startswith("true "):
        block = block_of(latents, name.removeprefix("true "))
        return np.concatenate([columns(latents, int(i)) for i in block], axis=1)
    return latents.code(name)
