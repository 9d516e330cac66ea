"""Mean correlation coefficients: each true variable beside one code of its own, and what a model claims to find.

Variables and codes are paired on one half of the cells, with signs, and correlated on the other; the mean is over all real
variables that vary, so that one without a code counts as 0. Angles and classes take no part, see the regressions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...bench.contracts.identity import derived_seed
from ...bench.contracts.latents import LatentComparison
from ...bench.contracts.metric import MetricInfo
from ...bench.kernels import matching
from ...bench.kernels.matching import Matching
from .halves import MIN_CELLS, Score, Scores, Undefined, chosen_cells, continuous, info
from .regression import block_r2

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Chosen:
    """The code of each real variable of a block by the correlations of the half that is not reported."""

    block: str = "all"
    ranks: bool = False
    blind: bool = False

    def __call__(self, latents: LatentComparison) -> Matching:
        fit = ~latents.report
        z = latents.truth.values[:, continuous(latents, self.block)]
        return matching.matching(z[fit], latents.code(self.block, blind=self.blind)[fit], ranks=self.ranks)


def correlations(latents: LatentComparison, rows: Array, chosen: Chosen) -> Array:
    """Signed correlations of the variables of a block with their codes on some rows."""
    z = latents.truth.values[:, continuous(latents, chosen.block)]
    h = latents.code(chosen.block, blind=chosen.blind)
    return matching.values_on(latents.once(chosen), z[rows], h[rows], ranks=chosen.ranks)


def mcc(latents: LatentComparison, *, chosen: Chosen) -> float:
    """Mean over the real variables of a block of the correlation with their code."""
    return float(correlations(latents, latents.report, chosen).mean())


def each(latents: LatentComparison) -> Array:
    """(d,) correlation of each variable with its code.

    Raises
    ------
    Undefined
        As `continuous`; variables that are angles, classes or constant are NaN.
    """
    out = np.full(latents.truth.d, np.nan)
    out[continuous(latents, "all")] = correlations(latents, latents.report, Chosen())
    return out


def floor(latents: LatentComparison) -> float:
    """`rotation_floor` of all real variables; ``one_latent`` for a single one, whose rotation is itself."""
    found = continuous(latents, "all")
    if len(found) < 2:
        raise Undefined("one_latent")
    return matching.rotation_floor(latents.truth.values[:, found], seed=derived_seed("identification", "rotations"))


def adjusted(latents: LatentComparison) -> float:
    """(MCC - floor) / (1 - floor)."""
    lowest = latents.once(floor)
    if lowest > 1 - 1e-9:
        raise Undefined("one_latent")
    return (mcc(latents, chosen=Chosen()) - lowest) / (1 - lowest)


def affine(latents: LatentComparison) -> float:
    """Mean over the real variables of the correlations of canonical pairs."""
    z = latents.truth.values[:, continuous(latents, "all")]
    return float(matching.canonical(z, latents.code("all"), latents.report).mean())


def elementwise(latents: LatentComparison) -> float:
    """Mean over the real variables of the largest correlation of a function of each with a function of its code."""
    fit, new, _ = latents.once(chosen_cells)
    z = latents.truth.values[:, continuous(latents, "all")]
    rows = np.concatenate([fit, new])
    report = np.arange(len(rows)) >= len(fit)
    return float(matching.elementwise(z[rows], latents.code("all")[rows], report).mean())


def within(latents: LatentComparison) -> float:
    """Mean over environments (perturbation and time) of the mean correlation among their cells.

    Codes and signs are those chosen on all cells of the other half. Environments with fewer than `MIN_CELLS` reported cells and
    variables that are constant within one are left out; ``too_few_cells`` where nothing is left.
    """
    place = np.unique(latents.time, return_inverse=True)[1]
    return by_group(latents, latents.perturbation * (place.max() + 1) + place)


def by_group(latents: LatentComparison, group: Array) -> float:
    """Mean over groups of cells of the mean correlation of variables and codes among the reported cells of the group.

    Cells of a group below 0 are left out; ``too_few_cells`` where no group has `MIN_CELLS` of them.
    """
    z, found = latents.truth.values[:, continuous(latents, "all")], []
    for g in np.unique(group[latents.report & (group >= 0)]):
        rows = latents.report & (group == g)
        if rows.sum() >= MIN_CELLS and (varies := np.ptp(z[rows], axis=0) > 0).any():
            found.append(correlations(latents, rows, Chosen())[varies].mean())
    if not found:
        raise Undefined("too_few_cells")
    return float(np.mean(found))


def dead(latents: LatentComparison) -> float:
    """Number of codes that do not vary."""
    return float(matching.dead_codes(latents.code("all")[~latents.report]).sum())


def rotated(latents: LatentComparison) -> float:
    r"""1 - SSE / SST on the reported half of the real variables predicted as :math:`a + s H Q`.

    Q has orthonormal rows or columns and s is one number, of least squares on the other half (Schoenemann, Psychometrika 1966). Neither
    side is whitened: whitened, every invertible linear map is a rotation.
    """
    z, h, fit = latents.truth.values[:, continuous(latents, "all")], latents.code("all"), ~latents.report
    own, code = z - z[fit].mean(axis=0), h - h[fit].mean(axis=0)
    size = np.square(code[fit]).sum()
    u, s, vt = np.linalg.svd(code[fit].T @ own[fit], full_matrices=False)
    guess = code @ (u @ vt) * (s.sum() / np.square(code[fit] @ u).sum() if size > 0 else 0.0)
    reported = own[latents.report]
    left = np.square(reported - guess[latents.report]).sum()
    return float(1 - left / np.square(reported - reported.mean(axis=0)).sum())


def blocks(latents: LatentComparison) -> float:
    """Mean of the nonlinear R2 of both blocks, each from its own codes."""
    return float(np.mean([block_r2(latents, block=block, how="kernel") for block in ("responsive", "invariant")]))


#: What scores a claim.
CLAIMED: dict[str, Callable[[LatentComparison], float]] = {
    "permutation": partial(mcc, chosen=Chosen()),
    "affine": affine,
    "orthogonal": rotated,
    "block": blocks,
}


def claimed(latents: LatentComparison) -> float:
    """The score of the equivalence class that the model claims; ``no_claim`` where it claims none."""
    if latents.claim not in CLAIMED:
        raise Undefined("no_claim")
    return CLAIMED[latents.claim](latents)


_HYVARINEN = "Hyvarinen & Morioka, NIPS 2016; Khemakhem et al., AISTATS 2020 (iVAE); halves as in Buchholz et al., NeurIPS 2023"
_PAIRS = "each real variable has a code of its own (Hungarian method), chosen with its sign on the other half of the cells"
_LEVEL = (
    "A code that keeps everything and sorts out nothing, as PCA, is near the rotation floor (mcc.floor, 0.72 for five independent "
    "variables) and not near 0, which only noise gets."
)
_MONOTONE = "Elementwise maps lower it: 0.78 for a cube of a normal variable, 0 for a square."


def _mcc(name: str, chosen: Chosen, what: str, caveats: str, **facts: Any) -> MetricInfo:
    kind = "Spearman" if chosen.ranks else "Pearson"
    summary = f"Mean over {what} of the {kind} correlation with its code, 0 for one without; {_PAIRS}."
    return info(name, Score(partial(mcc, chosen=chosen)), summary, caveats, _HYVARINEN, lower=-1.0, **facts)


METRICS: tuple[MetricInfo, ...] = (
    _mcc("mcc.pearson", Chosen(), "all real variables", f"{_LEVEL} {_MONOTONE}", headline=True),
    _mcc("mcc.spearman", Chosen(ranks=True), "all real variables", f"{_LEVEL} Monotone elementwise maps do not change it."),
    _mcc(
        "mcc.responsive",
        Chosen("responsive"),
        "the real responsive variables",
        f"Of the responsive codes, or of all where the model does not part them. {_LEVEL}",
        headline=True,
    ),
    _mcc(
        "mcc.invariant",
        Chosen("invariant"),
        "the real invariant variables",
        "Of the invariant codes, or of all where the model does not part them; most theories promise these variables as a block only.",
    ),
    _mcc(
        "mcc.blind",
        Chosen(blind=True),
        "all real variables",
        "As mcc.pearson when the model is told at encoding that all cells are controls; where it is lower, a part of mcc.pearson is "
        "the label of the condition and was not read from the cells.",
        headline=True,
    ),
    info(
        "mcc.adjusted",
        Score(adjusted),
        "(MCC - floor) / (1 - floor), MCC that of mcc.pearson and floor that of mcc.floor.",
        "0 is a code that keeps everything and sorts out nothing, 1 is perfect; lost information and noise are below 0.",
        "Ours, after the chance correction of Hubert & Arabie, Journal of Classification 1985",
        lower=float("-inf"),
    ),
    info(
        "mcc.floor",
        Score(floor),
        "Mean MCC of 20 random rotations of the standardised real variables, from their correlation matrix.",
        "A property of the data set, the same for every model; it rises with the correlation of the variables.",
        "Ours",
        direction="down",
        perfect=0.0,
    ),
    info(
        "mcc.affine",
        Score(affine),
        "Mean over the real variables of the correlations on one half of the canonical pairs fitted on the other, 0 without a pair.",
        "1 for any invertible linear map, so PCA and ICA do well: it says that the information is there linearly, not that it is "
        "sorted out.",
        "Khemakhem et al., NeurIPS 2020 (ICE-BeeM), weak identifiability; Hotelling, Biometrika 1936",
        lower=-1.0,
    ),
    info(
        "mcc.elementwise",
        Score(elementwise),
        "Mean over the real variables of corr(f(z), g(h)) on one half, f and g sums of 8 cosines of the rank fitted, and code h "
        "chosen, on the other.",
        "Elementwise maps of any shape keep it near 1, but so does a code that keeps only a part of its variable, such as its sign or "
        "its square.",
        "Lopez-Paz et al., NIPS 2013 (randomised dependence coefficient), with fixed features",
        lower=-1.0,
    ),
    info(
        "mcc.within",
        Score(within),
        f"Mean over perturbations and times with at least {MIN_CELLS} reported cells of the mean correlation among their cells, codes "
        "chosen as for mcc.pearson on all.",
        "What is only the difference between conditions counts in mcc.pearson and not here; small environments are noisy.",
        "Ours, after the environments of Khemakhem et al., AISTATS 2020",
        lower=-1.0,
    ),
    info(
        "mcc_latent.pearson",
        Scores(each),
        f"Pearson correlation of each real variable with its code, 0 for one without; {_PAIRS}.",
        "The mean over variables is mcc.pearson; undefined for angles and classes.",
        _HYVARINEN,
        level="latent",
        lower=-1.0,
    ),
    info(
        "dead_codes",
        Score(dead),
        "Number of codes whose standard deviation is below 1e-3 of the median over codes, or below 1e-6 of the largest one or of "
        "its own mean.",
        "Dead codes correlate with nothing in every metric here; a model with more codes than variables may well leave some dead.",
        "Ours; collapse as in Bowman et al., CoNLL 2016",
        direction="down",
        upper=float("inf"),
        perfect=0.0,
    ),
    info(
        "claimed",
        Score(claimed),
        "The score of what the model claims: mcc.pearson for permutation, mcc.affine for affine, R2 of a rotation with one scale fitted on "
        "the other half for orthogonal, mean of the nonlinear R2 of both blocks for block.",
        "Not comparable between claims: a weaker claim is easier to keep.",
        "Ours, after Roeder et al., ICML 2021, and von Kuegelgen et al., NeurIPS 2021",
        lower=float("-inf"),
        headline=True,
    ),
)
