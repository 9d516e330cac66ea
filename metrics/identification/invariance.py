"""Whether the invariant codes stay put under perturbations, and whether they hold what they should.

A constant stays put perfectly, so that none of these means anything without the completeness of the block (``r2_block.invariant``).
The whole code is taken where a model has no invariant codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...bench.contracts.latents import LatentComparison
from ...bench.contracts.metric import MetricInfo
from ...bench.kernels.discriminant import accuracy, discriminant
from ...bench.kernels.latent_regression import Rows
from ...bench.kernels.matching import dead_codes
from .halves import Score, Undefined, block_of, chosen_cells, code_of, info, rows_of
from .regression import FEW_LANDMARKS, block_r2, discriminating, mean_of, told

Array = np.ndarray[Any, Any]

#: Cells of a perturbation, on either half, for it to take part.
MIN_OF_PERTURBATION = 10
#: How much better than chance the true responsive variables must tell perturbations apart for a ratio to them to mean something.
MIN_TOLD = 0.05


def leakage(latents: LatentComparison) -> float:
    """How much better the invariant codes predict the responsive variables than the true invariant variables do; 0 if not at all."""
    responsive = block_of(latents, "responsive")
    block_of(latents, "invariant")
    code, oracle = (told(latents, by, "kernel")[responsive] for by in ("invariant", "true invariant"))
    return max(0.0, mean_of(code) - max(0.0, mean_of(oracle)))


@dataclass(frozen=True)
class Recognised:
    """Balanced accuracy over chance, on the reported half, with which codes tell the perturbation of a cell.

    By linear discriminants on codes and Nystroem features; control is one of the perturbations.
    """

    by: str

    def __call__(self, latents: LatentComparison) -> float:
        fit, new, fold = latents.once(chosen_cells)
        kept = latents.once(recognisable)
        first, second = (np.isin(latents.perturbation[rows], kept) for rows in (fit, new))
        rows = rows_of(latents, code_of(latents, self.by))
        features = discriminating(Rows(rows.fit[first], rows.new[second], fold[first]), FEW_LANDMARKS)
        labels = latents.perturbation[fit][first]
        guess = discriminant(features[0], labels, features[1], fold[first], balanced=True)
        return accuracy(latents.perturbation[new][second], guess, balanced=True) - 1 / len(kept)


def recognisable(latents: LatentComparison) -> Array:
    """Perturbations with enough cells on both halves; ``too_few_conditions`` with fewer than two."""
    fit, new, _ = latents.once(chosen_cells)
    names = np.arange(len(latents.truth.perturbations))
    count = [(latents.perturbation[rows][:, None] == names).sum(axis=0) for rows in (fit, new)]
    kept = np.flatnonzero(np.minimum(*count) >= MIN_OF_PERTURBATION)
    if len(kept) < 2:
        raise Undefined("too_few_conditions")
    return kept


def decodability(latents: LatentComparison) -> float:
    """`Recognised` by the invariant codes over the same by the true responsive variables, 0 where chance is not reached.

    Raises
    ------
    Undefined
        ``nothing_to_decode`` where not even the true responsive variables tell perturbations apart.
    """
    block_of(latents, "invariant")
    most = latents.once(Recognised("true responsive"))
    if most < MIN_TOLD:
        raise Undefined("nothing_to_decode")
    return max(0.0, latents.once(Recognised("invariant" if latents.parted else "all"))) / most


def shift(latents: LatentComparison) -> float:
    """Highest energy distance over perturbations of the invariant codes to those of control, on the reported half.

    Codes are standardised by the other half and scaled to a mean squared length of 1. The highest and not the mean: one perturbation
    that moves the codes is enough.
    """
    from ...bench.kernels.pairwise import energy_distances

    block_of(latents, "invariant")
    _, points = rows_of(latents, latents.code("invariant")).features()
    if not points.shape[1]:
        raise Undefined("zero_variance")
    kept = latents.once(recognisable)
    if kept[0] != 0:
        raise Undefined("no_controls")
    _, new, _ = latents.once(chosen_cells)
    label = latents.perturbation[new]
    number = np.where(np.isin(label, kept), np.searchsorted(kept, label), -1)
    return float(energy_distances(points, number, len(kept), 0)[1:].max())


def constancy(latents: LatentComparison) -> float:
    """Mean over invariant codes of the intraclass correlation of the times of a unit, on the reported half.

    Raises
    ------
    Undefined
        ``not_paired`` where no units are seen at several times, ``zero_variance`` where no code is alive.
    """
    block_of(latents, "invariant")
    h = latents.code("invariant")
    alive = ~dead_codes(h[~latents.report])
    rows = latents.report
    _, unit, count = np.unique(latents.unit[rows], return_inverse=True, return_counts=True)
    several = count[unit] > 1
    number = np.unique(unit[several], return_inverse=True)[1]
    if number.max(initial=0) < 1:
        raise Undefined("not_paired")
    if not alive.any():
        raise Undefined("zero_variance")
    return mean_of(intraclass(h[rows][several][:, alive], number))


def intraclass(values: Array, unit: Array) -> Array:
    """(k,) intraclass correlation of (n, k) values of units (n,) numbered from 0, from a one-way analysis of variance.

    :math:`(B - W) / (B + (n_0 - 1) W)` with B and W the mean squares between and within units and :math:`n_0` the mean number of values of
    a unit, corrected for unequal ones. 1 where units are constant, about 0 where they say nothing; NaN without any variance.
    """
    count = np.bincount(unit)
    k, n = len(count), len(unit)
    means = np.zeros((k, values.shape[1]))
    np.add.at(means, unit, values)
    means /= count[:, None]
    between = count @ np.square(means - values.mean(axis=0)) / (k - 1)
    within = np.square(values - means[unit]).sum(axis=0) / (n - k)
    size = (n - np.square(count).sum() / n) / (k - 1)
    spread = between + (size - 1) * within
    return np.where(spread > 0, (between - within) / np.where(spread > 0, spread, 1.0), np.nan)


def combined(latents: LatentComparison) -> float:
    """Harmonic mean of completeness and 1 - decodability, each kept between 0 and 1; 0 where one of them is."""
    full = float(np.clip(block_r2(latents, block="invariant", how="kernel"), 0.0, 1.0))
    still = 1 - min(1.0, decodability(latents))
    return 2 * full * still / (full + still) if full * still > 0 else 0.0


_ALONE = "A constant code is perfect here: read it beside r2_block.invariant, or take invariance.combined."
_WHOLE = "The whole code is taken where the model has no invariant codes."
_OURS = "Ours, after von Kuegelgen et al., NeurIPS 2021 (blocks), and Lopez et al., CLeaR 2023"
_DOWN: dict[str, Any] = {"direction": "down", "upper": float("inf"), "perfect": 0.0}

METRICS: tuple[MetricInfo, ...] = (
    info(
        "invariance.leakage",
        Score(leakage),
        "Mean nonlinear R2 of the responsive variables from the invariant codes less that from the true invariant variables, at least 0.",
        f"{_ALONE} {_WHOLE}",
        _OURS,
        **_DOWN | {"upper": 1.0},
    ),
    info(
        "invariance.decodability",
        Score(decodability),
        "(a - c) / (b - c): balanced accuracy a with which linear discriminants on invariant codes and kernel features tell the "
        "perturbation, b the same from the true responsive variables, c chance; at least 0.",
        f"{_ALONE} {_WHOLE}",
        _OURS,
        **_DOWN,
    ),
    info(
        "invariance.shift",
        Score(shift),
        "Highest energy distance over perturbations of the invariant codes, standardised to a mean squared length of 1, to those of control.",
        "The highest of many is above 0 also for the true invariant variables, more so with few units: compare with the row of the "
        f"oracle. Undefined for a constant code. {_WHOLE}",
        "Szekely & Rizzo, Journal of Statistical Planning and Inference 2013; the maximum is ours",
        **_DOWN | {"lower": float("-inf")},
    ),
    info(
        "invariance.constancy",
        Score(constancy),
        "Mean over invariant codes of the intraclass correlation (B - W) / (B + (n - 1) W) over the times of a unit.",
        f"1 where codes do not change with time. Only of paired data; says nothing of what the codes hold. {_WHOLE}",
        "Shrout & Fleiss, Psychological Bulletin 1979, ICC(1)",
        lower=-1.0,
    ),
    info(
        "invariance.combined",
        Score(combined),
        "Harmonic mean of r2_block.invariant and 1 - invariance.decodability, both kept between 0 and 1.",
        f"0 for a constant code, which holds nothing, and for one that tells perturbations as well as the responsive variables. {_WHOLE}",
        _OURS,
        headline=True,
    ),
)
