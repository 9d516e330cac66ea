"""The kit for metrics: the built-in ones pass, and each bad one fails where it is bad."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pbench import MetricInfo, Values
from pbench.bench.engine.check_metric import CHECKS, FACTS, VALUES, check_metric
from pbench.metrics import CATALOGUE, FAMILIES

#: One of each family, and those that tried the patience of a check; all of the catalogue takes a minute.
SOME = [metrics[0].id for metrics in FAMILIES.values()] + [
    "opposite_direction@de20~ctrl",
    "magnitude_log_error@all~ctrl",
    "truth_systematic_variation@all~ctrl",
    "energy@all#pca",
    "legacy_random_pair_rmse@all",
    "nll@all",
    "gi_auprc.lower@expressed1000~ctrl",
    "r2.off_diagonal",
    "invariance.shift",
]


def problems(info):
    return {v.check: v.problem for v in check_metric(info) if v.problem}


@pytest.mark.parametrize("name", dict.fromkeys(SOME))
def test_built_in_metrics_pass(name):
    assert problems(CATALOGUE[name]) == {}


def errors(comparison):
    return np.abs(comparison.predicted - comparison.expected).mean(axis=1)


def mean_error(comparison):
    return Values.of(errors(comparison), "absent")


GOOD = MetricInfo(
    "mean_error@all",
    1,
    "down",
    0.0,
    np.inf,
    0.0,
    mean_error,
    "Mean over genes of abs(xhat - x).",
    reference="defined here",
    caveats="Most genes do not respond.",
)


def but(function=mean_error, **facts):
    return replace(GOOD, function=function, **facts)


def test_a_good_metric_passes():
    assert problems(GOOD) == {} and len(list(check_metric(GOOD))) == len(CHECKS)


def zero_where_absent(comparison):
    return Values.of(np.nan_to_num(errors(comparison)))


def silent(comparison):
    value = errors(comparison)
    return Values(value, np.full(len(value), "", dtype=object))


def overwrites(comparison):
    np.subtract(comparison.predicted, comparison.expected, out=comparison.predicted)
    return Values.of(np.abs(comparison.predicted).mean(axis=1), "absent")


def draws(comparison):
    return Values.of(errors(comparison) * (1 + np.random.default_rng().random()), "absent")


def by_position(comparison):
    return Values.of(errors(comparison) * (1 + np.arange(len(comparison.predicted))), "absent")


def similarity(comparison):
    return Values.of(-errors(comparison), "absent")


def secretly_of_cells(comparison):
    n_cells = [comparison.cells[i].shape[0] if i in comparison.cells else np.nan for i in range(len(comparison.predicted))]
    return Values.of(errors(comparison) * np.array(n_cells), "absent")


def strict(comparison):
    if np.isnan(comparison.predicted).any():
        raise ValueError("NaN")
    return mean_error(comparison)


def infinite(comparison):
    with np.errstate(divide="ignore"):
        return Values.of(-np.log(errors(comparison)), "absent")


def constant(comparison):
    return Values.of(np.where(comparison.present, 0.0, np.nan), "absent")


def shifted(comparison):
    return Values.of(errors(comparison) + 5.0, "absent")


BAD = {
    "no caveats": (but(caveats=""), FACTS, "how the number can mislead"),
    "a direction of its own": (but(direction="sideways"), FACTS, "direction"),
    "perfect out of range": (but(perfect=-1.0), FACTS, "perfect=-1"),
    "an unknown need": (but(needs=("means", "colours")), FACTS, "colours"),
    "an array": (but(errors), VALUES, "returned ndarray"),
    "nothing": (but(lambda c: Values.of(np.full(len(c.predicted), np.nan), "too_few_genes")), VALUES, "too_few_genes"),
    "one value": (but(lambda c: Values.of(np.array([1.0]))), VALUES, "shape (1,)"),
    "zero": (but(zero_where_absent), "what a model does not predict has no value", "predicts nothing"),
    "silent": (but(silent), "what is undefined is NaN with a reason, and nothing else has one", "without a reason"),
    "overwrites": (but(overwrites), "inputs are left unchanged", "copy before"),
    "draws": (but(draws), "same input, same values", "two calls"),
    "by position": (but(by_position), "order of conditions and genes does not matter", "join by name"),
    "turned around": (but(similarity, direction="down", lower=-np.inf), "nothing that knows nothing beats the truth", "worse"),
    "undeclared": (but(secretly_of_cells), "needs and reads name all that it looks at", "reads"),
    "strict": (but(strict), "one condition, one gene, a screen without effect: no error", "raised ValueError"),
    "infinite": (but(infinite, direction="up", lower=-np.inf, perfect=np.inf), "values lie in the declared range", "infinite"),
    "out of range": (but(upper=1e-3), "values lie in the declared range", "outside"),
    "constant": (but(constant), "the values depend on the prediction", "says the same"),
    "never perfect": (but(shifted), "the truth reaches the perfect value", "perfect=0"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_metric_fails_where_it_is_bad(what):
    info, check, says = BAD[what]
    found = problems(info)
    assert says in found.get(check, "nothing"), found


def test_every_check_has_a_metric_that_fails_it():
    assert {check for _, check, _ in BAD.values()} == set(CHECKS)


def test_what_one_metric_does_to_its_inputs_reaches_no_other():
    problems(but(overwrites))
    assert problems(GOOD) == {}


def test_what_is_no_metric_is_told():
    assert "MetricInfo" in problems(mean_error)[FACTS]
