"""cell-eval, pdex, the Virtual Cell Challenge: logarithms or counts, guessed from the largest value."""

from __future__ import annotations

import numpy as np
import pytest

from pbench.bench.contracts import registry
from pbench.bench.contracts.model import Capabilities, Model
from pbench.bench.contracts.prediction import Prediction
from pbench.bench.engine.answer import ask
from pbench.bench.engine.score import evaluate
from pbench.metrics import CATALOGUE

METRICS = [CATALOGUE[m] for m in ("mse@all", "l2@all", "pearson_delta@all~ctrl", "r2_delta@all~ctrl")]


class OnScale(Model):
    """The train mean, written on a scale that is declared, or that is not."""

    capabilities = Capabilities(unseen_targets=True)

    def __init__(self, *, written="log1p_1e4", declared="log1p_1e4"):
        self.written, self.declared = written, declared

    def fit(self, data, *, seed):
        self.shift_ = data.mean_shift
        return self

    def predict(self, conditions, controls):
        mean = controls.control_mean(conditions) + self.shift_
        changed = {"log1p_1e4": mean, "counts": np.expm1(mean), "delta": mean - controls.control_mean(conditions)}
        return Prediction(tuple(conditions), changed[self.written], scale=self.declared)


def scores(s, model):
    return {m: v.value for m, v in evaluate(METRICS, s.truth, ask(model, s.data, s.truth, seed=0)).items()}


@pytest.mark.parametrize("scale", ["counts", "delta"])
def test_a_declared_scale_is_converted(scene, scale):
    s = scene()
    expected, found = scores(s, OnScale()), scores(s, OnScale(written=scale, declared=scale))
    for metric, value in expected.items():
        np.testing.assert_allclose(found[metric], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("written", ["counts", "delta"])
def test_a_wrong_declaration_is_believed_and_costs_what_it_costs(scene, written):
    """Nothing is looked at and nothing mended: whoever writes counts and says logarithms has predicted those numbers."""
    s = scene()
    honest, wrong = scores(s, OnScale()), scores(s, OnScale(written=written))
    for metric in ("mse@all", "l2@all"):
        assert (wrong[metric] > 2 * honest[metric]).all()


@pytest.mark.parametrize("name", ["gaming-count-scale", "gaming-mixed-scale", "gaming-extra-log"])
def test_no_mixture_of_scales_beats_the_honest_answer(scene, name):
    """Mixing both in one submission moved the guess of the evaluator (issue 204)."""
    s = scene()
    honest, mixed = scores(s, registry.models.get("train-mean")()), scores(s, registry.models.get(name)())
    for metric in METRICS:
        sign = 1 if metric.direction == "up" else -1
        assert sign * np.mean(mixed[metric.id]) < sign * np.mean(honest[metric.id]), metric.id


def test_an_evaluator_that_guesses_would_have_been_moved(scene):
    """The defect itself: undoing the logarithm where the largest value is small makes two predictions of one."""
    s = scene()
    model = registry.models.get("gaming-mixed-scale")().fit(s.data, seed=0)
    mean = model.predict(s.truth.conditions, s.truth.controls).mean
    honest = registry.models.get("train-mean")().fit(s.data, seed=0).predict(s.truth.conditions, s.truth.controls).mean
    guessed = np.array([np.log1p(row) if row.max() > 15 else row for row in mean])
    np.testing.assert_allclose(guessed, honest, rtol=1e-6)
    assert np.abs(mean - honest).max() > 10
