"""Latent variables over time: how well each instant is identified, and whether codes say what comes next."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...bench.contracts.identity import derived_seed
from ...bench.contracts.latents import LatentComparison
from ...bench.contracts.metric import MetricInfo
from ...bench.kernels.latent_regression import Rows, folds, linear, r2
from .correlation import by_group
from .halves import MIN_CELLS, Score, Undefined, block_of, columns, info
from .regression import mean_of

Array = np.ndarray[Any, Any]

#: R2 that the true variables must reach for a ratio to it to mean something.
MIN_TOLD = 0.05


def at(latents: LatentComparison, *, which: str) -> float:
    """MCC among the reported cells of one time, ``first`` or ``last``, or the ``mean`` over times; codes chosen on cells of all times.

    Raises
    ------
    Undefined
        ``no_times`` where fewer than two times are known; ``too_few_cells`` where none has enough.
    """
    time = latents.time
    times = np.unique(time[latents.report & ~np.isnan(time)])
    if len(times) < 2:
        raise Undefined("no_times")
    wanted = {"first": times[:1], "last": times[-1:], "mean": times}[which]
    number = np.searchsorted(times, np.where(np.isnan(time), times[0], time))
    return by_group(latents, np.where(np.isin(time, wanted), number, -1))


def steps(latents: LatentComparison) -> tuple[Array, Array]:
    """(s,) rows of the cells of a unit that is seen again, and the rows of the same units at the next time."""
    order = np.lexsort((latents.time, latents.unit))
    order = order[~np.isnan(latents.time[order])]
    follows = (latents.unit[order][1:] == latents.unit[order][:-1]) & (latents.time[order][1:] > latents.time[order][:-1])
    return order[:-1][follows], order[1:][follows]


def forecast(latents: LatentComparison) -> float:
    """R2 of the next responsive variables from codes and perturbation, over that from the true variables and perturbation.

    Raises
    ------
    Undefined
        ``not_paired`` where too few units are seen at several times, ``nothing_to_forecast`` where the true variables do not say
        what comes next.
    """
    before, _ = latents.once(steps)
    reported = latents.report[before]
    if min(reported.sum(), (~reported).sum()) < MIN_CELLS:
        raise Undefined("not_paired")
    best = _next(latents, np.concatenate([columns(latents, i) for i in range(latents.truth.d)], axis=1))
    if not best >= MIN_TOLD:
        raise Undefined("nothing_to_forecast")
    return _next(latents, latents.code("all")) / best


def _next(latents: LatentComparison, codes: Array) -> float:
    """Mean R2 over the responsive variables at the next time by ridge regression on codes and perturbation."""
    before, after = latents.once(steps)
    new = latents.report[before]
    fold = folds(latents.unit[before][~new], derived_seed("identification", "folds"))
    first, second = Rows(codes[before][~new], codes[before][new], fold).features()
    label = (latents.perturbation[before][:, None] == np.unique(latents.perturbation[before])).astype(np.float64)
    # Codes to unit variance, so that none of the two is taken for a dead one beside the other.
    width = np.sqrt(max(1, first.shape[1]))
    rows = Rows(np.hstack([first * width, label[~new]]), np.hstack([second * width, label[new]]), fold)
    found = []
    for i in block_of(latents, "responsive"):
        if latents.truth.kinds[i] != "categorical":
            y = columns(latents, int(i))[after]
            found.append(r2(y[new], linear(rows, y[~new])))
    return mean_of(np.array(found)) if found else float("nan")


_TIMES = {
    "mean": "the mean over times",
    "first": "at the first time",
    "last": "at the last time",
}

METRICS: tuple[MetricInfo, ...] = (
    *(
        info(
            f"mcc.time_{which}",
            Score(partial(at, which=which)),
            f"Mean over the real variables of the Pearson correlation with its code among the reported cells of one time, {text}; codes "
            "and signs are chosen on the cells of all times of the other half.",
            "Differences between times count in mcc.pearson and not here. A time needs 30 reported cells.",
            "Yao et al., NeurIPS 2022 (TDRL), by time; halves as for mcc.pearson",
            lower=-1.0,
        )
        for which, text in _TIMES.items()
    ),
    info(
        "latent_forecast",
        Score(forecast),
        "Mean R2 of the responsive variables at a unit's next time by ridge regression on codes and perturbation, over the same from the "
        "true variables and perturbation.",
        "Only of paired data. The perturbation itself tells a part: compare with the row of the labels. Linear, so above 1 where codes "
        "say more of what comes next than the true variables do linearly.",
        "Ours",
        lower=float("-inf"),
        upper=float("inf"),
    ),
)
