"""Which latent variables a perturbation acts on: what a model declares, and what its codes show.

Columns of codes stand for the variables that they are paired with by correlation on one half of the cells, never for those that
would agree best with the targets: chosen so, random strengths find a third of all targets.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...bench.contracts.condition import parse_label
from ...bench.contracts.latents import LatentComparison
from ...bench.contracts.metric import MetricInfo
from ...bench.kernels.detection import average_precision
from ...bench.kernels.edges import f1
from ...bench.kernels.matching import dead_codes
from .correlation import Chosen
from .halves import Score, Undefined, continuous, info

Array = np.ndarray[Any, Any]

#: Share of a model's highest strength from which a variable counts as acted on.
THRESHOLD = 0.5


def perturbations(latents: LatentComparison) -> Array:
    """Indices of the perturbations with cells, control left out."""
    found = np.unique(latents.perturbation)
    return found[found > 0]


def declared(latents: LatentComparison) -> Array:
    """(p, m) size of the strength that the model gives each responsive code, the larger of those of two targets.

    A target that the model does not know has no strength.

    Raises
    ------
    Undefined
        ``no_targets`` where the model declares none.
    """
    given = latents.encoding.targets
    if not given:
        raise Undefined("no_targets")
    out = np.zeros((len(perturbations(latents)), latents.code("responsive").shape[1]))
    for row, p in zip(out, perturbations(latents), strict=True):
        for target in parse_label(latents.truth.perturbations[p]):
            strength = np.abs(given.get(target, np.zeros(0)))[: len(row)]
            row[: len(strength)] = np.maximum(row[: len(strength)], strength)
    return out


def shifts(latents: LatentComparison) -> Array:
    """(p, m) size of the mean shift of each responsive code against control in its standard deviations, on the half that is fitted.

    Perturbed and control cells are compared at the same time, and the shifts at several times are averaged with the numbers of
    perturbed cells as weights; all cells are taken together where no time has both.

    Raises
    ------
    Undefined
        ``no_controls`` with fewer than two.
    """
    h = latents.code("responsive")
    fit, control = ~latents.report, latents.perturbation == 0
    base = h[fit & control]
    if len(base) < 2:
        raise Undefined("no_controls")
    sd = base.std(axis=0, ddof=1)
    alive = ~dead_codes(h[fit]) & (sd > 0)
    place = np.unique(latents.time, return_inverse=True)[1]
    out = np.zeros((len(perturbations(latents)), h.shape[1]))
    for row, p in zip(out, perturbations(latents), strict=True):
        own = fit & (latents.perturbation == p)
        shared = np.intersect1d(place[own], place[fit & control])
        parts = [(h[own & (place == t)], h[fit & control & (place == t)]) for t in shared] or [(h[own], base)]
        sizes = np.array([len(a) for a, _ in parts])
        if sizes.sum():
            moved = np.stack([a.mean(axis=0) - b.mean(axis=0) for a, b in parts])
            row[alive] = np.abs(sizes @ moved / sizes.sum())[alive] / sd[alive]
    return out


def edges(latents: LatentComparison, *, estimate: str) -> tuple[Array, Array]:
    """(p, d) bool targets and (p, d) strengths over the real responsive variables, strengths over the highest of all codes.

    Parameters
    ----------
    estimate
        ``direct`` and ``total``: `declared`, against the targets and against all variables that are reached; ``shift_direct`` and
        ``shift``: `shifts`, against the same two.

    Raises
    ------
    Undefined
        ``single_class`` where no variable is one.
    """
    strength = latents.once(shifts if estimate.startswith("shift") else declared)
    variables, chosen = continuous(latents, "responsive"), latents.once(Chosen("responsive"))
    truth = latents.truth.targets if estimate.endswith("direct") else latents.truth.reached
    highest = strength.max(initial=0.0)
    true = truth[perturbations(latents)][:, variables]
    if not true.any():
        raise Undefined("single_class")
    return true, chosen.columns(strength) / (highest if highest > 0 else 1.0)


def precision(latents: LatentComparison, *, estimate: str) -> float:
    """Average precision of the pairs of perturbation and variable by strength; ``single_class`` where all are true."""
    true, strength = edges(latents, estimate=estimate)
    if true.all():
        raise Undefined("single_class")
    return average_precision(strength.ravel(), true.ravel())


def agreement(latents: LatentComparison, *, estimate: str) -> float:
    """F1 of the pairs from `THRESHOLD` of the highest strength on; 0 where the model has none."""
    true, strength = edges(latents, estimate=estimate)
    return f1(true, strength >= THRESHOLD)


def first(latents: LatentComparison, *, estimate: str) -> float:
    """Share of the perturbations with one target whose strongest variable is that target; of k equally strong ones each counts 1 / k.

    Raises
    ------
    Undefined
        ``no_singles`` where no perturbation has exactly one target.
    """
    _, strength = edges(latents, estimate=estimate)
    true = latents.truth.targets[perturbations(latents)][:, continuous(latents, "responsive")]
    single = true.sum(axis=1) == 1
    if not single.any():
        raise Undefined("no_singles")
    best = (strength == strength.max(axis=1, keepdims=True)) & (strength > 0)
    return float((best & true)[single].sum(axis=1) @ (1 / np.maximum(1, best[single].sum(axis=1))) / single.sum())


_DECLARED = "the strengths that the model declares"
_SHIFT = "the mean shift of codes against control at the same times over the control's standard deviation, on the half that is not reported"
_TRUE = {"direct": "the variables whose own mechanism it changes", "total": "all variables that it reaches, also through others"}
_ESTIMATES = {
    "direct": (_DECLARED, "direct"),
    "total": (_DECLARED, "total"),
    "shift": (_SHIFT, "total"),
    "shift_direct": (_SHIFT, "direct"),
}
_COLUMNS = "codes stand for the real responsive variables that they are paired with as for mcc.responsive"
_SHIFTS = (
    "Asked of any model, also of one that knows no targets. Codes that are mixtures of the variables shift for every target. "
)
_CHANCE = "Chance is the share of true pairs. A variable without a code has no strength."
_ALL = "Undefined where each perturbation reaches every variable in the end. "
_OTHERS = "Variables that are reached through others shift too, so that even the true variables are below 1. "
_LOPEZ = "Lopez et al., CLeaR 2023 (sVAE+); Bereket & Karaletsos, NeurIPS 2023 (SAMS-VAE); columns are not chosen by the targets"


def _metric(statistic: str, estimate: str) -> MetricInfo:
    what, kind = _ESTIMATES[estimate]
    function, summary = {
        "auprc": (
            precision,
            f"Average precision over pairs of perturbation and variable of {what}, for {_TRUE[kind]}; {_COLUMNS}.",
        ),
        "f1": (
            agreement,
            f"2 TP / (2 TP + FP + FN) over pairs of perturbation and variable for {_TRUE[kind]}, called from half of the highest of all "
            f"strengths on; strengths are {what}; {_COLUMNS}.",
        ),
        "top1": (
            first,
            f"Share of the perturbations with one target whose strongest variable is that target, ties shared; by {what}; {_COLUMNS}.",
        ),
    }[statistic]
    caveats = _SHIFTS if what == _SHIFT else ""
    if kind == "total" and statistic == "auprc":
        caveats += _ALL
    if estimate == "shift_direct":
        caveats += _OTHERS
    chance = "Chance is one over the number of variables." if statistic == "top1" else _CHANCE
    return info(
        f"targets_{statistic}.{estimate}",
        Score(partial(function, estimate=estimate)),
        summary,
        caveats + chance,
        _LOPEZ,
        headline=(statistic, estimate) in (("auprc", "shift"), ("auprc", "shift_direct")),
    )


METRICS: tuple[MetricInfo, ...] = (
    *(_metric(statistic, estimate) for statistic in ("auprc", "f1") for estimate in _ESTIMATES),
    _metric("top1", "direct"),
    _metric("top1", "shift_direct"),
)
