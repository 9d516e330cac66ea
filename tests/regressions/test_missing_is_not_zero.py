"""OpenProblems, cz-benchmarks, cell-load: what is missing became 0, and 0 is an answer."""

from __future__ import annotations

import numpy as np
import pytest

from pbench.bench.contracts.errors import InvalidPrediction
from pbench.bench.contracts.model import Capabilities, Model
from pbench.bench.contracts.prediction import Prediction
from pbench.bench.engine.answer import ask
from pbench.bench.engine.score import evaluate, rows
from pbench.metrics import CATALOGUE

MEANS = [m for m in CATALOGUE.values() if m.needs == ("means",) and m.level == "perturbation"]


class Partial(Model):
    """Answers all but the first condition, and says so, or hides it in some way."""

    capabilities = Capabilities(unseen_targets=True)

    def __init__(self, *, hide="declared"):
        self.hide = hide

    def fit(self, data, *, seed):
        self.shift_ = data.mean_shift
        return self

    def predict(self, conditions, controls):
        mean = controls.control_mean(conditions) + self.shift_ * np.linspace(0.5, 1.5, len(conditions))[:, None]
        if self.hide == "nan":
            mean[0] = np.nan
            return Prediction(tuple(conditions), mean)
        absent = {conditions[0]: "resource: no embedding"} if self.hide == "declared" else {}
        return Prediction(tuple(conditions[1:]), mean[1:], absent=absent)


@pytest.mark.parametrize("hide", ["nan", "silently"])
def test_a_missing_prediction_is_refused_and_never_filled(scene, hide):
    """NaN in a submission became 0 (OpenProblems), conditions and genes without an answer were skipped (cz-benchmarks)."""
    s = scene()
    with pytest.raises(InvalidPrediction, match="NaN|without a reason"):
        ask(Partial(hide=hide), s.data, s.truth, seed=0)


def test_a_declared_gap_has_no_value_and_its_reason_in_every_metric(scene):
    s = scene()
    answer = ask(Partial(), s.data, s.truth, seed=0)
    values = evaluate(MEANS, s.truth, answer)
    for metric, v in values.items():
        assert np.isnan(v.value[0]) and v.reason[0] == "resource: no embedding", metric
    table = rows(values, MEANS, s.truth, answer, {}).to_pylist()
    first = [r for r in table if r["condition"] == s.truth.conditions[0].key]
    assert first and all(r["value"] is None and r["reason"] == "resource: no embedding" and not r["predicted"] for r in first)


@pytest.mark.parametrize(
    "metric", [m.id for m in MEANS if m.parts["family"].endswith(("pearson_delta", "spearman_delta", "cosine_delta"))]
)
def test_a_correlation_that_does_not_exist_is_undefined(scene, metric):
    """Non-finite correlations became 0: a row of zeros counted as uncorrelated, ahead of every honest negative."""
    s = scene()
    reference = s.truth.references[CATALOGUE[metric].parts["reference"]]
    values = s.score(reference, names=[metric])[metric]
    assert np.isnan(values.value).all() and set(values.reason) == {"zero_variance"}


def test_what_a_model_does_not_give_is_no_zero(scene):
    """CellSimBench wrote 0.0 for a score that was switched off."""
    s = scene()
    values = s.score(s.truth.profiles.mean)
    for metric, info in CATALOGUE.items():
        if {"cells", "variance"} & set(info.needs):
            assert np.isnan(values[metric].value).all() and all(values[metric].reason), metric
