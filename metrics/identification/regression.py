"""How well codes predict true variables on cells that the regression was not fitted on.

Of a real variable it is R2, of an angle that of its point on the circle, and of a class the accuracy over that of the most frequent
one. Standardisation, intercept, penalty and kernel are chosen on one half of the cells; values are of the other. Negative ones are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...bench.contracts.identity import derived_seed
from ...bench.contracts.latents import LatentComparison
from ...bench.contracts.metric import MetricInfo
from ...bench.kernels import latent_regression as numerics
from ...bench.kernels.discriminant import discriminant
from ...bench.kernels.latent_regression import Rows
from .halves import Score, Scores, Undefined, block_of, chosen_cells, code_of, columns, info, rows_of, varying

Array = np.ndarray[Any, Any]

#: Of the regressions of one variable's codes, which are many.
FEW_LANDMARKS = 100


def seed() -> int:
    """Of the landmarks of all kernel regressions."""
    return derived_seed("identification", "landmarks")


@dataclass(frozen=True)
class Told:
    """(d,) score of every true variable as it is predicted from some codes; NaN for a variable that does not vary.

    Parameters
    ----------
    by
        Name of the codes, see `code_of`.
    how
        ``linear`` or ``kernel``.
    """

    by: str
    how: str

    def __call__(self, latents: LatentComparison) -> Array:
        return predicted(latents, rows_of(latents, code_of(latents, self.by)), self.how)


def told(latents: LatentComparison, by: str, how: str) -> Array:
    """`Told`, computed once; codes that a model does not part are the same under each name."""
    return latents.once(Told(by if latents.parted or by.startswith("true ") else "all", how))


def predicted(latents: LatentComparison, rows: Rows, how: str, landmarks: int = numerics.LANDMARKS) -> Array:
    """(d,) scores on the new rows of all variables predicted from codes."""
    fit, new, fold = latents.once(chosen_cells)
    varies, kinds = latents.once(varying), latents.truth.kinds
    out = np.full(latents.truth.d, np.nan)
    real = [i for i in range(latents.truth.d) if varies[i] and kinds[i] != "categorical"]
    if real:
        parts = [columns(latents, i) for i in real]
        scale = [p[fit].std(axis=0).max() or 1.0 for p in parts]
        y = np.concatenate([p / s for p, s in zip(parts, scale, strict=True)], axis=1)
        kernel = partial(numerics.kernel, seed=seed(), landmarks=landmarks)
        guess = (kernel if how == "kernel" else numerics.linear)(rows, y[fit])
        ends = np.cumsum([0, *(p.shape[1] for p in parts)])
        for i, start, end in zip(real, ends[:-1], ends[1:], strict=True):
            out[i] = numerics.r2(y[new, start:end], guess[:, start:end])
    classes = [i for i in range(latents.truth.d) if varies[i] and kinds[i] == "categorical"]
    if classes:
        features = discriminating(rows, landmarks) if how == "kernel" else rows.features()
        for i in classes:
            out[i] = _accuracy(latents.truth.values[fit, i], latents.truth.values[new, i], features, fold)
    return out


def discriminating(rows: Rows, landmarks: int) -> tuple[Array, Array]:
    """Features by which classes are told apart, of fitted and of new rows."""
    return numerics.expanded(rows, numerics.RATES[1], ranks=True, seed=seed(), landmarks=landmarks)


def _accuracy(labels: Array, actual: Array, features: tuple[Array, Array], fold: Array) -> float:
    """Accuracy over that of the most frequent fitted class, 0, with 1 perfect."""
    guess = discriminant(features[0], labels, features[1], fold, balanced=False)
    names, count = np.unique(labels, return_counts=True)
    base = float(np.mean(actual == names[count.argmax()]))
    return (float(np.mean(actual == guess)) - base) / (1 - base) if base < 1 else float("nan")


def mean_of(values: Array) -> float:
    """Mean of the values that are defined; NaN where none is."""
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")


def each(latents: LatentComparison, *, how: str) -> Array:
    """(d,) score of each variable from all codes."""
    return told(latents, "all", how)


def overall(latents: LatentComparison, *, how: str) -> float:
    """Mean over all variables of `each`."""
    return mean_of(told(latents, "all", how))


def block_r2(latents: LatentComparison, *, block: str, how: str) -> float:
    """Mean over the variables of a block of their scores from the codes of that block."""
    return mean_of(told(latents, block, how)[block_of(latents, block)])


def groups(latents: LatentComparison) -> Array:
    """(d, d) score of the variable of the column from the codes that belong to that of the row; a row of NaN for one without codes.

    A code belongs to the variable that it predicts best by itself, by cross-validation on the half that is not reported. Only angles
    and real variables that vary have rows and columns.
    """
    fit, _, fold = latents.once(chosen_cells)
    found = [i for i in np.flatnonzero(latents.once(varying)) if latents.truth.kinds[i] != "categorical"]
    if len(found) < 2:
        raise Undefined("one_latent")
    parts = [columns(latents, int(i))[fit] for i in found]
    y = np.concatenate(parts, axis=1)
    owner = np.repeat(np.arange(len(found)), [p.shape[1] for p in parts])
    variance = y.var(axis=0)
    codes = latents.code("all")
    rows = rows_of(latents, codes)
    alive = np.flatnonzero(~numerics.dead_codes(rows.fit))
    of = np.empty(len(alive), dtype=np.int64)
    for k, j in enumerate(alive):
        share = numerics.spline_r2(Rows(rows.fit[:, [j]], rows.new[:, [j]], fold), y)
        pooled = np.bincount(owner, share * variance) / np.bincount(owner, variance)
        of[k] = pooled.argmax()
    out = np.full((len(found), len(found)), np.nan)
    for i in np.unique(of):
        own = alive[of == i]
        scores = predicted(latents, Rows(rows.fit[:, own], rows.new[:, own], fold), "kernel", FEW_LANDMARKS)
        out[i] = scores[found]
    return out


def diagonal(latents: LatentComparison) -> float:
    """Mean over variables of the score from their own codes, 0 for one without codes."""
    return float(np.nan_to_num(np.diag(latents.once(groups))).mean())


def off_diagonal(latents: LatentComparison) -> float:
    """Mean over variables with codes of the highest score of another variable from these codes."""
    matrix = latents.once(groups).copy()
    np.fill_diagonal(matrix, -np.inf)
    told_of = matrix[~np.isnan(matrix).any(axis=1)]
    return float(told_of.max(axis=1).mean()) if len(told_of) else float("nan")


_HOW = {
    "linear": "ridge regression (classes: linear discriminants)",
    "kernel": "ridge regression on codes and 300 Nystroem features of a Gaussian kernel of the codes or of their normal scores (classes: linear discriminants on them)",
}
_SCORE = "1 - SSE / SST on one half (of an angle's sin and cos together; of a class (accuracy - majority) / (1 - majority))"
_MIXED = "Says that the information is there, not that it is sorted out: any invertible mixture of the variables keeps it."
_KUEGELGEN = "von Kuegelgen et al., NeurIPS 2021; Locatello et al., ICML 2020; Lachapelle et al., CLeaR 2022"
_CITRIS = "Lippe et al., ICML 2022 (CITRIS); codes are grouped as in Lippe et al., UAI 2023 (BISCUIT), but on the fitted half"
_NEGATIVE: dict[str, Any] = {"lower": float("-inf")}


def _both(how: str) -> tuple[MetricInfo, MetricInfo]:
    name = "nonlinear" if how == "kernel" else how
    each_one = f"{_SCORE} of each variable by {_HOW[how]} from all codes, fitted on the other half."
    mean = f"Mean over variables of {_SCORE} by {_HOW[how]} from all codes, fitted on the other half."
    return (
        info(f"r2.{name}", Score(partial(overall, how=how)), mean, _MIXED, _KUEGELGEN, headline=how == "kernel", **_NEGATIVE),
        info(f"r2_latent.{name}", Scores(partial(each, how=how)), each_one, _MIXED, _KUEGELGEN, level="latent", **_NEGATIVE),
    )


def _block(block: str, how: str) -> MetricInfo:
    return info(
        f"r2_block.{block}{'' if how == 'kernel' else '_linear'}",
        Score(partial(block_r2, block=block, how=how)),
        f"Mean over the {block} variables of {_SCORE} by {_HOW[how]} from the {block} codes, fitted on the other half.",
        "Of all codes where the model does not part them, which can only help it: then it says nothing of the parting. "
        "Variables of the other block may tell a part of these too, see the row of the oracle.",
        _KUEGELGEN,
        headline=block == "invariant" and how == "kernel",
        **_NEGATIVE,
    )


METRICS: tuple[MetricInfo, ...] = (
    *_both("linear"),
    *_both("kernel"),
    *(_block(block, how) for how in ("kernel", "linear") for block in ("responsive", "invariant")),
    info(
        "r2.diagonal",
        Score(diagonal),
        "Mean over variables of the nonlinear R2 from the codes that belong to each, 0 for one without; a code belongs to the variable that "
        "it predicts best by itself across folds of the other half.",
        "High for every code that keeps the information where few codes are mixed; read it beside r2.off_diagonal.",
        _CITRIS,
        **_NEGATIVE,
    ),
    info(
        "r2.off_diagonal",
        Score(off_diagonal),
        "Mean over variables with codes of the highest nonlinear R2 that another variable has from these codes.",
        "Variables that are correlated in truth tell of each other: compare with the row of the oracle, not with 0. Noise is near 0.",
        _CITRIS,
        direction="down",
        perfect=0.0,
        **_NEGATIVE,
    ),
)
