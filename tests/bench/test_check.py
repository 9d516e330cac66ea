"""The conformance kit: good models pass, and each bad one fails exactly where it is bad, in plain words."""

from __future__ import annotations

import numpy as np
import pytest

from pbench.bench.contracts import registry
from pbench.bench.contracts.model import Capabilities, Model, parameters
from pbench.bench.contracts.prediction import Prediction
from pbench.bench.engine.check import CHECKS, check_model
from pbench.bench.engine.toy import toy
from pbench.models import CATALOGUE


@pytest.mark.parametrize("name", [n for n, value in CATALOGUE.items() if value[2:] not in (("submission",), ("official",))])
def test_every_registered_model_passes_every_check(name, monkeypatch):
    """Adapters of official packages have tests of their own; networks are checked after two epochs."""
    cls = registry.models.get(name)
    if "epochs" in parameters(cls):
        monkeypatch.setitem(cls.__init__.__kwdefaults__, "epochs", 2)
    problems = {v.check: v.problem for v in check_model(cls) if v.problem}
    assert problems == {}


class Good(Model):
    capabilities = Capabilities(unseen_targets=True)

    def fit(self, data, *, seed):
        self.shift_ = data.mean_shift
        return self

    def predict(self, conditions, controls):
        self._check_fitted("shift_")
        return Prediction(tuple(conditions), controls.control_mean(conditions) + self.shift_)


class GoodStochastic(Good):
    capabilities = Capabilities(unseen_targets=True, stochastic=True)

    def __init__(self, *, width=0.1, name=None, options=()):
        self.width, self.name, self.options = width, name, options

    def fit(self, data, *, seed):
        super().fit(data, seed=seed)
        self.shift_ = self.shift_ + np.random.default_rng(seed).normal(0, self.width, len(self.shift_))
        return self


class GoodDelta(Good):
    def predict(self, conditions, controls):
        self._check_fitted("shift_")
        return Prediction(tuple(conditions), np.tile(self.shift_, (len(conditions), 1)), scale="delta")


class GoodWithCells(Good):
    capabilities = Capabilities(unseen_targets=True, needs_cells=True)

    def fit(self, data, *, seed):
        self.mean_ = np.asarray(data.cells.X.mean(axis=0)).ravel()
        return super().fit(data, seed=seed)


class GoodWithoutInheritance:
    capabilities = Capabilities(unseen_targets=True)

    def fit(self, data, *, seed):
        self.fitted = True
        return self

    def predict(self, conditions, controls):
        if not hasattr(self, "fitted"):
            from pbench.bench.contracts.errors import NotFitted

            raise NotFitted("fit first")
        return Prediction(tuple(conditions), controls.control_mean(conditions))


class Encodes(Good):
    def encode(self, cells):
        return {"latent": cells.X[:, :3].toarray()}


@pytest.mark.parametrize("model", [Good, GoodStochastic, GoodDelta, GoodWithCells, GoodWithoutInheritance, Encodes])
def test_good_models_pass(model):
    assert {v.check: v.problem for v in check_model(model) if v.problem} == {}
    assert len(list(check_model(model))) == len(CHECKS)


class PositionalParameter(Good):
    def __init__(self, alpha=1.0):
        self.alpha = alpha


class ChangedParameter(Good):
    def __init__(self, *, alpha=1):
        self.alpha = alpha * 2


class UnstoredParameter(Good):
    def __init__(self, *, alpha=1):
        self.beta = alpha


class UnwritableParameter(Good):
    def __init__(self, *, alpha=np.float32):
        self.alpha = alpha


class AnyParameter(Good):
    def __init__(self, **options):
        self.options = options


class NoCapabilities:
    fit, predict = Good.fit, Good.predict
    _check_fitted = Model._check_fitted


class SilentOnFit(Good):
    def predict(self, conditions, controls):
        return Prediction(tuple(conditions), controls.control_mean(conditions))


class OtherErrorBeforeFit(Good):
    def predict(self, conditions, controls):
        return Prediction(tuple(conditions), controls.control_mean(conditions) + self.shift_)


class Unrepeatable(Good):
    capabilities = Capabilities(unseen_targets=True, stochastic=True)

    def predict(self, conditions, controls):
        answer = super().predict(conditions, controls)
        return Prediction(answer.conditions, answer.mean + np.random.default_rng().normal(size=answer.mean.shape))


class SecretlyStochastic(GoodStochastic):
    capabilities = Capabilities(unseen_targets=True)


class Remembers(Good):
    def fit(self, data, *, seed):
        self.shift_ = getattr(self, "shift_", 0) + data.mean_shift
        return self


class Overwrites(Good):
    def fit(self, data, *, seed):
        self.shift_ = data.mean_shift.copy()
        data.controls.var[:] = 0
        return self


class OrderOfCells(GoodWithCells):
    def fit(self, data, *, seed):
        super().fit(data, seed=seed)
        self.shift_ = self.shift_ + data.cells.X[0].toarray().ravel()
        return self


class LooksAround(Good):
    def predict(self, conditions, controls):
        answer = super().predict(conditions, controls)
        return Prediction(answer.conditions, answer.mean + len(conditions))


class LooksAroundInChanges(Good):
    def predict(self, conditions, controls):
        self._check_fitted("shift_")
        return Prediction(tuple(conditions), np.tile(self.shift_, (len(conditions), 1)) * len(conditions), scale="delta")


class AnswersNothing(Good):
    def predict(self, conditions, controls):
        self._check_fitted("shift_")
        return Prediction((), np.empty((0, 40)), absent=dict.fromkeys(conditions, "I do not know"))


class AnswersNonsense(Good):
    def predict(self, conditions, controls):
        self._check_fitted("shift_")
        return Prediction(tuple(conditions), np.full((len(conditions), 40), np.nan))


class EncodesDraws(Encodes):
    def encode(self, cells):
        return {"latent": np.random.default_rng().normal(size=(len(cells.codes), 3))}


class EncodesInAnotherOrder(Encodes):
    def encode(self, cells):
        return {"latent": np.sort(cells.X[:, :3].toarray(), axis=0)}


class EncodesUnderNoName(Encodes):
    def encode(self, cells):
        return {"z": cells.X[:, :3].toarray()}


class EncodesTooFew(Encodes):
    def encode(self, cells):
        return {"latent": cells.X[1:, :3].toarray()}


class DoesNothing(AnswersNothing):
    capabilities = Capabilities(predicts=False)


CONSTRUCTOR, STORES = "constructor: keyword-only, all with defaults", "constructor: stores parameters unchanged, JSON values"
ENCODES = "encode gives codes by name, the same again, row by row"
BAD = {
    EncodesDraws: (ENCODES, "means, not draws"),
    EncodesInAnotherOrder: (ENCODES, "order in which they came"),
    EncodesUnderNoName: (ENCODES, "name codes"),
    EncodesTooFew: (ENCODES, "of shape"),
    DoesNothing: ("fit and predict give a valid prediction", "what is it for"),
    PositionalParameter: (CONSTRUCTOR, "not keyword-only"),
    AnyParameter: (CONSTRUCTOR, "takes any argument"),
    ChangedParameter: (STORES, "changes 'alpha' from 1 to 2"),
    UnstoredParameter: (STORES, "does not store 'alpha'"),
    UnwritableParameter: (STORES, "JSON"),
    NoCapabilities: ("capabilities are declared", "no capabilities"),
    SilentOnFit: ("predict before fit raises NotFitted", "gives an answer"),
    OtherErrorBeforeFit: ("predict before fit raises NotFitted", "raised AttributeError instead of NotFitted"),
    Unrepeatable: ("same seed, same answer", "same seed differ"),
    SecretlyStochastic: ("a seed that matters is declared", "stochastic is False"),
    Remembers: ("a second fit forgets the first", "forget"),
    Overwrites: ("inputs are left unchanged", "copy before"),
    OrderOfCells: ("order of training cells does not matter", "order of the training cells"),
    LooksAround: ("a query does not depend on the others", "must not depend on the other queries"),
    LooksAroundInChanges: ("a query does not depend on the others", "must not depend on the other queries"),
    AnswersNothing: ("fit and predict give a valid prediction", "I do not know"),
    AnswersNonsense: ("fit and predict give a valid prediction", "NaN"),
}
# What cannot be scored at all cannot pass the checks that compare answers either; what is drawn anew each time also
# differs after a second fit.
FURTHER = {
    AnswersNonsense: set(list(CHECKS)[5:-1]),
    EncodesDraws: set(list(CHECKS)[5:10]) - {"inputs are left unchanged"},
    EncodesInAnotherOrder: {"order of training cells does not matter"},
    EncodesUnderNoName: set(list(CHECKS)[3:-1]),
    EncodesTooFew: set(list(CHECKS)[3:-1]),
    AnswersNothing: {"a query does not depend on the others"},
    Unrepeatable: {"a second fit forgets the first", "test cells are never read"},
    NoCapabilities: set(),
}


@pytest.mark.parametrize("model", BAD, ids=lambda m: m.__name__)
def test_a_bad_model_fails_where_it_is_bad(model):
    check, says = BAD[model]
    problems = {v.check: v.problem for v in check_model(model) if v.problem}
    assert says in problems.get(check, "nothing"), problems
    assert set(problems) - FURTHER.get(model, set()) == {check}, problems
    assert "Traceback" not in problems[check]


def test_reading_test_cells_is_noticed(monkeypatch):
    """A model cannot reach test cells through its arguments; one that got hold of them in another way is found out."""
    scenes = []

    def watched(*arguments, **options):
        scenes.append(toy(*arguments, **options))
        return scenes[-1]

    class Thief(Good):
        def fit(self, data, *, seed):
            (self.scene_,) = [scene for scene in scenes if scene.data is data]
            return super().fit(data, seed=seed)

        def predict(self, conditions, controls):
            self._check_fitted("shift_")
            mean = np.nan_to_num(self.scene_.truth.profiles.mean, nan=-1.0)
            return Prediction(tuple(conditions), mean[: len(conditions)])

    monkeypatch.setattr("pbench.bench.engine.check.toy", watched)
    problems = {v.check: v.problem for v in check_model(Thief) if v.problem}
    assert "reads them somehow" in problems["test cells are never read"]


def test_every_check_has_a_model_that_fails_it():
    assert {check for check, _ in BAD.values()} | {"test cells are never read"} == set(CHECKS)


@pytest.mark.parametrize(
    "capabilities",
    [
        Capabilities(),
        Capabilities(max_targets=1),
        Capabilities(unseen_targets=True),
        Capabilities(unseen_targets=True, max_targets=1),
        Capabilities(unseen_targets=True, needs_cells=True, resources=("go",)),
    ],
)
def test_the_toy_stays_inside_what_is_declared(capabilities):
    scene = toy(capabilities)
    assert len(scene.truth.conditions) > 0
    for condition in scene.truth.conditions:
        assert capabilities.refusal(condition, scene.data.perturbed.conditions) is None
        # A model of single, seen targets has nothing left to be asked but what it was trained on.
        assert condition not in scene.data.perturbed or capabilities == Capabilities(max_targets=1)
    assert set(scene.data.resources) == set(capabilities.resources)
