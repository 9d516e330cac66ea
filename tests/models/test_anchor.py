"""The additive anchor around any model."""

from __future__ import annotations

import numpy as np
import pytest

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import UsageError
from pbench.bench.contracts.model import Capabilities, Model
from pbench.bench.contracts.prediction import Prediction
from pbench.bench.contracts.registry import models
from pbench.models.additive import Additive
from pbench.models.anchor import anchored
from pbench.models.train_mean import TrainMean

SEEN, HALF, NEW = Condition(("G00", "G04")), Condition(("G03", "G10")), Condition(("G10", "G11"))


class Made(Model):
    """Answers what a function says, on a scale of its own."""

    capabilities = Capabilities()

    def __init__(self, *, scale="log1p_1e4", silent=()):
        self.scale, self.silent = scale, silent

    def fit(self, data, *, seed):
        self.genes_ = data.genes
        return self

    def value(self, condition):
        rng = np.random.default_rng(sum(map(ord, condition.label)))
        return rng.uniform(0.5, 2, len(self.genes_))

    def predict(self, conditions, controls):
        self._check_fitted("genes_")
        known = tuple(c for c in conditions if len(c.targets) not in self.silent)
        mean = np.array([self.value(c) for c in known]).reshape(len(known), len(self.genes_))
        if self.scale == "delta":
            mean = mean - controls.control_mean(known)
        if self.scale == "counts":
            mean = np.expm1(mean)
        return Prediction(known, mean, scale=self.scale, absent={c: "no" for c in conditions if c not in known})


@pytest.mark.parametrize("scale", ["log1p_1e4", "delta", "counts"])
def test_the_formula(scale, screen):
    model = anchored(Made)(scale=scale).fit(screen, seed=0)
    prediction = model.predict([SEEN, Condition(("G00",))], screen.controls)
    control = screen.controls.mean[0].astype(np.float64)
    a, b = (screen.perturbed.mean[screen.perturbed.row(SEEN.single(t))] for t in SEEN.targets)
    f = model.value
    expected = a + b - control + f(SEEN) - f(SEEN.single("G00")) - f(SEEN.single("G04")) + f(Condition())
    np.testing.assert_allclose(prediction.mean[0], expected, rtol=1e-5)
    np.testing.assert_allclose(prediction.mean[1], f(Condition(("G00",))), rtol=1e-5)
    assert prediction.fallback.tolist() == [False, False]


def test_a_model_without_interaction_becomes_additive(screen):
    asked = [SEEN, Condition(("G01", "G05", "G06"))]
    expected = Additive().fit(screen, seed=0).predict(asked, screen.controls).mean
    for base in (Additive, TrainMean):
        model = anchored(base)().fit(screen, seed=0)
        mean = model.predict(asked, screen.controls).mean
        if base is Additive:
            np.testing.assert_allclose(mean, expected, rtol=1e-6)
        else:
            # The train mean answers every query alike, the one without targets too.
            np.testing.assert_allclose(mean, expected, atol=1e-6)


def test_without_training_singles_the_model_answers_and_says_so(screen):
    model = anchored(Made)().fit(screen, seed=0)
    prediction = model.predict([HALF, NEW, SEEN], screen.controls)
    assert prediction.fallback.tolist() == [True, True, False]
    np.testing.assert_allclose(prediction.mean[0], model.value(HALF))


def test_where_the_model_is_silent_the_observed_single_stands_for_it(screen):
    model = anchored(Made)(silent=(0, 1)).fit(screen, seed=0)
    prediction = model.predict([SEEN], screen.controls)
    np.testing.assert_allclose(prediction.mean[0], model.value(SEEN), rtol=1e-5)


def test_what_the_model_refuses_stays_absent(screen):
    model = anchored(Made)(silent=(2,)).fit(screen, seed=0)
    prediction = model.predict([SEEN, Condition(("G00",))], screen.controls)
    assert dict(prediction.absent) == {SEEN: "no"}
    assert prediction.conditions == (Condition(("G00",)),)


def test_any_registered_model_takes_it_by_its_name():
    cls = models.get("latent-additive+anchor")
    assert issubclass(cls, models.get("latent-additive"))
    assert models.get("latent-additive+anchor") is cls
    assert "latent-additive+anchor" in models
    assert "latent-additive+anchor" not in models.names()
    assert models.entry("additive+anchor").summary.endswith("the interaction only.")
    with pytest.raises(UsageError, match="there is no model 'nonsense'"):
        models.entry("nonsense+anchor")
    with pytest.raises(UsageError, match="no model 'additive\\+nonsense'"):
        models.entry("additive+nonsense")
