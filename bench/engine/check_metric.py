"""The conformance kit for metrics: named checks on right, wrong and odd predictions of a toy screen, or codes of toy cells."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from scipy import sparse

from ..contracts.errors import PbenchError
from ..contracts.metric import NEEDS, Comparison, MetricInfo, Values
from ..contracts.plugin import DIRECTIONS, LEVELS
from .inference import gain
from .toy_latents import stage_of_codes
from .toy_predictions import Stage, stage_of_predictions
from .verdict import Verdict, verdicts

Array = np.ndarray[Any, Any]
#: How far two values may lie apart that should be equal: sums in another order; probes that are fitted step by step.
SAME, FITTED = 1e-6, 0.02
#: Share of what the wrong predictions lack that a perfect one may lack, where noise of the truth is taken into account.
SHORT = 0.2
#: How much better codes of noise may be than true ones: they leak nothing either.
LEAKED = 0.1


def check_metric(info: MetricInfo) -> Iterator[Verdict]:
    """Run every check on a metric; one that gives no values is not checked further."""
    if not isinstance(info, MetricInfo):
        problem = f"this is {type(info).__name__}; a metric is a MetricInfo, whose `function` computes the values."
        return iter([Verdict(FACTS, problem)])
    # A copy: whatever this metric does to its inputs, the next one gets its own. Functions are not copied, so they hold no arrays.
    stage = copy.deepcopy(_stage(info.of_latents))
    return verdicts(CHECKS, info, stage, needed=(VALUES,))


@cache
def _stage(of_latents: bool) -> Stage:
    return stage_of_codes() if of_latents else stage_of_predictions()


class _Wrong(PbenchError):
    """What the metric returned is no `Values` of the right shape."""


def _values(info: MetricInfo, comparison: Comparison) -> Values:
    found = info(comparison)
    if not isinstance(found, Values):
        raise _Wrong(f"the function returned {type(found).__name__}; return Values.of(array), or Values(array, reasons).")
    n = info.size(comparison)
    for name in ("value", "reason"):
        shape = np.shape(getattr(found, name))
        if shape != (n,):
            raise _Wrong(f"the function returned '{name}' of shape {shape}; level '{info.level}' has ({n},) here.")
    return found


def _fresh(comparison: Comparison) -> Comparison:
    """The same without anything that was remembered."""
    return replace(comparison, truth=comparison.truth and replace(comparison.truth))


def _mean(info: MetricInfo, comparison: Comparison) -> float:
    value = _values(info, comparison).value
    return float(np.mean(value[~np.isnan(value)])) if (~np.isnan(value)).any() else math.nan


def _facts(info: MetricInfo, stage: Stage) -> str | None:
    if not info.id or any(ch in info.id for ch in "[],=* \t\n|"):
        return f"the id {info.id!r} is empty or holds spaces, commas, brackets, '=', '*' or '|'; such as median_error@all."
    if not isinstance(info.version, int) or info.version < 1:
        return f"version is {info.version!r}; start with 1 and raise it whenever the definition changes."
    if info.direction not in DIRECTIONS:
        return f"direction is {info.direction!r}; say up, down or target (closest to `perfect` is best)."
    if info.level not in LEVELS:
        return f"level is {info.level!r}; say one of {', '.join(LEVELS)}."
    if unknown := [n for n in (*info.needs, *info.reads) if n not in NEEDS]:
        return f"needs or reads names {unknown[0]!r}, which is not one of {', '.join(NEEDS)}."
    if (info.level == "latent") > info.of_latents:
        return "level 'latent' is for metrics with needs=('latents',)."
    if not info.lower <= info.perfect <= info.upper:
        return f"perfect={info.perfect:g} does not lie between lower={info.lower:g} and upper={info.upper:g}."
    for name, what in (
        ("summary", "one sentence with the formula"),
        ("reference", "the paper or implementation, or 'defined here'"),
        ("caveats", "how the number can mislead, in a sentence"),
    ):
        text = getattr(info, name)
        if not text:
            return f"{name} is empty; write {what}: it stands on the metric's page."
        if "\n" in text or "|" in text:
            return f"{name} holds a line break or '|', which tables cannot hold."
    return None


def _shape(info: MetricInfo, stage: Stage) -> str | None:
    tried = (stage.perfect, stage.middling, *stage.wrong.values())
    found = [_values(info, comparison) for comparison in tried]
    if all(np.isnan(v.value).all() for v in found):
        why = sorted({str(r) for v in found for r in v.reason})
        return f"undefined for every prediction of a whole screen, even the truth itself ({', '.join(why) or 'no reason'})."
    return None


def _range(info: MetricInfo, stage: Stage) -> str | None:
    for what, comparison in _everything(stage):
        value = _values(info, comparison).value
        if np.isinf(value).any():
            return f"infinite for {what}; what is undefined is NaN with a reason."
        slack = 1e-9 * max(1.0, *(abs(b) for b in (info.lower, info.upper) if math.isfinite(b)), 1.0)
        out = value[(value < info.lower - slack) | (value > info.upper + slack)]
        if len(out):
            return f"{out[0]:g} for {what} lies outside of the declared range, {info.lower:g} to {info.upper:g}."
    return None


def _everything(stage: Stage) -> Iterator[tuple[str, Comparison]]:
    yield "the truth itself", stage.perfect
    yield "the truth with noise", stage.middling
    yield from stage.wrong.items()
    yield from stage.odd.items()


def _reasons(info: MetricInfo, stage: Stage) -> str | None:
    for what, comparison in _everything(stage):
        found = _values(info, comparison)
        undefined = np.isnan(found.value)
        said = np.array([bool(str(r or "")) for r in found.reason], dtype=bool)
        if (undefined & ~said).any():
            return f"NaN without a reason for {what}; Values.of(array, reason) gives every NaN one."
        if (said & ~undefined).any():
            return f"a reason beside a value for {what} ({found.reason[said & ~undefined][0]!r}); only NaN has one."
    return None


def _absent(info: MetricInfo, stage: Stage) -> str | None:
    if info.of_latents or _describes_data(info, stage):
        return None
    value = _values(info, stage.odd[NOTHING]).value
    if not np.isnan(value).all():
        return f"{value[~np.isnan(value)][0]:g} for a model that predicts nothing; where rows of `predicted` are NaN there is no value."
    return None


NOTHING = "a prediction of nothing"


def _perfect(info: MetricInfo, stage: Stage) -> str | None:
    # Scores of cells carry the noise of a finite sample; they have to be nearer than the wrong ones, which the next check sees to.
    if {*info.needs, *info.reads} - {"means", "log1p"}:
        return None
    right = _mean(info, stage.perfect)
    others = [_mean(info, c) for c in (stage.middling, *stage.wrong.values())]
    distances = [abs(v - info.perfect) for v in others if not math.isnan(v)]
    if math.isnan(right) or _describes_data(info, stage):
        return None
    short = abs(right - info.perfect)
    if short > 1e-6 and short > SHORT * max(distances, default=0.0):
        return f"the true means score {right:g} and perfect={info.perfect:g} is declared."
    return None


def _beaten(info: MetricInfo, stage: Stage) -> str | None:
    def gains(comparison: Comparison) -> Array:
        return gain(_values(info, comparison).value, direction=info.direction, perfect=info.perfect)

    right, slack = gains(stage.perfect), LEAKED if info.of_latents else SAME
    for what, comparison in stage.wrong.items():
        wrong = gains(comparison)
        both = ~np.isnan(right) & ~np.isnan(wrong)
        if both.any() and wrong[both].mean() > right[both].mean() + slack * max(1.0, abs(right[both].mean())):
            values = [_values(info, c).value[both].mean() for c in (comparison, stage.perfect)]
            return f"{what} scores {values[0]:g} and the truth itself {values[1]:g}, which is worse with direction '{info.direction}'."
    return None


def _depends(info: MetricInfo, stage: Stage) -> str | None:
    # Codes of noise are not worse in everything: there are as many of them, for one.
    if not info.of_latents and info.direction != "target" and _indifferent(info, stage):
        return "says the same of every prediction; what describes the data alone has direction 'target'."
    return None


def _describes_data(info: MetricInfo, stage: Stage) -> bool:
    return info.direction == "target" and _indifferent(info, stage)


def _indifferent(info: MetricInfo, stage: Stage) -> bool:
    first, *others = (_values(info, c).value for c in (stage.perfect, stage.middling, *stage.wrong.values()))
    return all(np.array_equal(first, v, equal_nan=True) for v in others)


def _order(info: MetricInfo, stage: Stage) -> str | None:
    before, after = _values(info, stage.middling), _values(info, stage.moved)
    rows = stage.order if info.level == "perturbation" and stage.order is not None else np.arange(len(before.value))
    slack = FITTED if info.of_latents else SAME
    if not np.allclose(after.value, before.value[rows], rtol=slack, atol=slack, equal_nan=True):
        what = "cells" if info.of_latents else "conditions and genes"
        return f"the values change with the order of {what}; join by name, and break ties by name or at mid-rank."
    return None


def _again(info: MetricInfo, stage: Stage) -> str | None:
    first, second = (_values(info, _fresh(stage.middling)) for _ in range(2))
    if not np.array_equal(first.value, second.value, equal_nan=True):
        return "two calls give other values; draw nothing, or draw from np.random.default_rng with a fixed seed."
    return None


def _no_mutation(info: MetricInfo, stage: Stage) -> str | None:
    comparison = _fresh(stage.middling)
    given = list(_arrays(comparison))
    before = [a.copy() for a in given]
    _values(info, comparison)
    if not all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(before, given, strict=True)):
        return "the function changed what it was given; copy before you change an array."
    return None


def _arrays(comparison: Comparison) -> Iterator[Array]:
    latents, truth = comparison.latents, comparison.truth
    if latents is not None:
        yield from (latents.truth.values, latents.report, latents.perturbation, latents.unit, latents.time)
        yield from latents.encoding.codes.values()
        return
    yield comparison.predicted
    if comparison.variance is not None:
        yield comparison.variance
    for cells in comparison.cells.values():
        yield cells.data if sparse.issparse(cells) else cells
    for profiles in (truth.profiles, truth.controls, *truth.halves):
        yield from (profiles.mean, profiles.var, profiles.n_cells)
    yield from truth.references.values()
    yield truth.de_order
    if truth.cells is not None:
        yield from (truth.cells.p, truth.cells.auc)


def _declared(info: MetricInfo, stage: Stage) -> str | None:
    declared = (*info.needs, *info.reads)
    try:
        bare = _values(info, stage.bare(stage.middling, declared)).value
    except Exception as error:  # noqa: BLE001 - whatever it raises without what it did not ask for is the finding
        return f"fails where only {', '.join(declared)} are there ({type(error).__name__}: {error}); name what it reads in needs."
    if not np.array_equal(bare, _values(info, stage.middling).value, equal_nan=True):
        return f"gives other values where only {', '.join(declared)} are there; name what it takes into account in reads."
    return None


def _odd(info: MetricInfo, stage: Stage) -> str | None:
    for what, comparison in stage.odd.items():
        try:
            _values(info, comparison)
        except _Wrong:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it raises is the finding
            return f"raised {type(error).__name__} for {what}: {error}; undefined is NaN with a reason."
    return None


FACTS = "facts are complete: id, version, direction, range, formula, reference, how it misleads"
VALUES = "gives a value for each condition, or one for the data set"
CHECKS: dict[str, Callable[[MetricInfo, Stage], str | None]] = {
    FACTS: _facts,
    VALUES: _shape,
    "needs and reads name all that it looks at": _declared,
    "same input, same values": _again,
    "inputs are left unchanged": _no_mutation,
    "one condition, one gene, a screen without effect: no error": _odd,
    "values lie in the declared range": _range,
    "what is undefined is NaN with a reason, and nothing else has one": _reasons,
    "what a model does not predict has no value": _absent,
    "the truth reaches the perfect value": _perfect,
    "nothing that knows nothing beats the truth": _beaten,
    "the values depend on the prediction": _depends,
    "order of conditions and genes does not matter": _order,
}
