"""What a model may answer, and what is refused in plain words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import InvalidPrediction
from pbench.bench.contracts.model import Capabilities, Model
from pbench.bench.contracts.prediction import Prediction
from pbench.bench.contracts.training import Profiles, TrainingData
from pbench.bench.contracts.truth import Truth
from pbench.bench.engine.answer import ask, checked

A, B, AB = Condition(("A",)), Condition(("B",)), Condition(("A", "B"))
GENES = np.array(["A", "B", "X", "Y"])
CONTROLS = Profiles((Condition(),), np.array([[1.0, 2, 3, 4]]), np.ones((1, 4)), np.array([9]))
MEAN = np.arange(8.0).reshape(2, 4)


def check(prediction, queries=(A, B)):
    return checked(prediction, queries, GENES, CONTROLS)


def test_a_valid_prediction_passes_unchanged():
    mean, fallback = check(Prediction((A, B), MEAN))
    np.testing.assert_array_equal(mean, MEAN)
    assert fallback.tolist() == [False, False]
    assert check(Prediction((B, A), MEAN, fallback=[True, False]))[1].tolist() == [True, False]


NAN, INFINITE, HUGE = (np.where(MEAN == 5, value, MEAN) for value in (np.nan, np.inf, 1e39))
INVALID = {
    "NaN": (Prediction((A, B), NAN), "NaN or infinite values in 1 of 2 rows .first: 'B'"),
    "infinite": (Prediction((A, B), INFINITE), "NaN or infinite"),
    "beyond float32": (Prediction((A, B), HUGE), "NaN or infinite"),
    "too few genes": (Prediction((A, B), MEAN[:, :3]), "3 genes; the screen has 4"),
    "too many genes": (Prediction((A, B), np.ones((2, 5))), "5 genes; the screen has 4"),
    "wrong names": (Prediction((A, B), MEAN, genes=np.array(["A", "B", "X", "Z"])), "lacks 1 of 4 genes .first: Y"),
    "names twice": (Prediction((A, B), MEAN, genes=np.array(["A", "B", "X", "X"])), "3 distinct genes for 4 columns"),
    "names for other columns": (Prediction((A, B), MEAN, genes=GENES[:3]), "3 distinct genes for 4 columns"),
    "too few rows": (Prediction((A, B), MEAN[:1]), "shape .1, 4.; 2 conditions x 4 genes"),
    "one dimension": (Prediction((A, B), MEAN[0]), "shape .4,."),
    "left out": (Prediction((A,), MEAN[:1]), "left out 1 of 2 conditions without a reason .first: 'B'"),
    "twice": (Prediction((A, A, B), np.ones((3, 4))), "twice"),
    "unasked": (Prediction((A, B, AB), np.ones((3, 4))), r"'A\+B', which was not asked"),
    "unknown scale": (Prediction((A, B), MEAN, scale="log2"), "scale 'log2' is unknown"),
    "negative counts": (Prediction((A, B), MEAN - 1, scale="counts"), "negative"),
    "fallback of another length": (Prediction((A, B), MEAN, fallback=np.array([True])), "fallback mask"),
    "an array": (MEAN, "must return a pbench.Prediction, not ndarray"),
    "nothing": (None, "not NoneType"),
}


@pytest.mark.parametrize("case", INVALID)
def test_what_cannot_be_scored_is_refused(case):
    prediction, says = INVALID[case]
    with pytest.raises(InvalidPrediction, match=says):
        check(prediction)


def test_genes_are_put_in_order_by_name():
    order = np.array([2, 0, 3, 1])
    mean, _ = check(Prediction((A, B), MEAN[:, order], genes=GENES[order]))
    np.testing.assert_array_equal(mean, MEAN)
    extra, _ = check(Prediction((A, B), np.hstack([np.full((2, 1), 7.0), MEAN]), genes=np.array(["more", *GENES])))
    np.testing.assert_array_equal(extra, MEAN)


def test_scales_are_converted_once():
    np.testing.assert_array_equal(check(Prediction((A, B), MEAN, scale="delta"))[0], MEAN + [[1, 2, 3, 4]])
    np.testing.assert_allclose(check(Prediction((A, B), MEAN, scale="counts"))[0], np.log1p(MEAN))
    shuffled = Prediction((A, B), MEAN[:, ::-1], scale="delta", genes=GENES[::-1])
    np.testing.assert_array_equal(check(shuffled)[0], MEAN + [[1, 2, 3, 4]])


def test_changes_are_taken_from_the_control_of_their_own_context():
    here, there = Condition(("A",), context="K562"), Condition(("A",), context="RPE1")
    controls = Profiles(
        (Condition(context="K562"), Condition(context="RPE1")),
        np.array([[1.0] * 4, [10.0] * 4]),
        np.ones((2, 4)),
        np.array([5, 5]),
    )
    mean, _ = checked(Prediction((there, here), np.zeros((2, 4)), scale="delta"), (here, there), GENES, controls)
    np.testing.assert_array_equal(mean, [[10.0] * 4, [1.0] * 4])


class Echo(Model):
    """Answers with what it is made of."""

    capabilities = Capabilities(unseen_targets=True, unseen_contexts=True)

    def __init__(self, *, reply=None, returns_self=True):
        self.reply, self.returns_self = reply, returns_self

    def fit(self, data, *, seed):
        self.seed_ = seed
        return self if self.returns_self else None

    def predict(self, conditions, controls):
        self.asked_ = tuple(conditions)
        return self.reply(conditions) if self.reply else Prediction(tuple(conditions), np.ones((len(conditions), 4)))


@pytest.fixture
def scene():
    seen = Profiles((A,), np.ones((1, 4)), np.ones((1, 4)), np.array([20]))
    data = TrainingData(GENES, seen, CONTROLS, seen.select(lambda c: False))
    asked = Profiles((A, AB, B), np.ones((3, 4)), np.ones((3, 4)), np.array([20, 20, 20]))
    truth = Truth(GENES, asked, CONTROLS, {}, np.zeros((3, 1), dtype=int), ((), (), ()), (asked, asked))
    return data, truth


def test_answers_are_aligned_with_what_was_asked(scene):
    def reply(conditions):
        order = tuple(reversed(conditions))
        return Prediction(order, np.array([[float(len(c.targets))] * 4 for c in order]), fallback=[c == B for c in order])

    answer = ask(Echo(reply=reply), *scene, seed=5)
    np.testing.assert_array_equal(answer.mean[:, 0], [1, 2, 1])
    assert answer.fallback.tolist() == [False, False, True]
    assert answer.absent.tolist() == ["", "", ""]
    assert set(answer.seconds) == {"fit", "predict"}


def test_what_lies_outside_the_capabilities_is_not_asked(scene):
    class Narrow(Echo):
        capabilities = Capabilities(max_targets=1)

    model = Narrow()
    answer = ask(model, *scene, seed=0)
    assert model.asked_ == (A,)
    assert answer.absent.tolist() == ["", "capability: at most 1 target(s)", "capability: unseen target B"]
    assert np.isnan(answer.mean[1:]).all() and np.isfinite(answer.mean[0]).all()


def test_a_model_that_can_answer_nothing_is_not_asked(scene):
    class Other(Echo):
        capabilities = Capabilities(max_targets=0)

    model = Other()
    answer = ask(model, *scene, seed=0)
    assert not hasattr(model, "asked_")
    assert (answer.absent != "").all() and np.isnan(answer.mean).all()


@pytest.mark.parametrize(("reason", "shown"), [("no embedding for B", "no embedding for B"), ("", "the model gave no reason")])
def test_declared_absence_keeps_its_reason(scene, reason, shown):
    def reply(conditions):
        kept = tuple(c for c in conditions if c != B)
        return Prediction(kept, np.ones((len(kept), 4)), absent={B: reason})

    answer = ask(Echo(reply=reply), *scene, seed=0)
    assert answer.absent.tolist() == ["", "", shown]
    assert np.isnan(answer.mean[2]).all()


def test_fit_must_return_the_model(scene):
    with pytest.raises(InvalidPrediction, match="return self"):
        ask(Echo(returns_self=False), *scene, seed=0)


def test_an_empty_screen_of_questions(scene):
    data, truth = scene
    nothing = replace(truth, profiles=truth.profiles.select(lambda c: False))
    assert ask(Echo(), data, nothing, seed=0).mean.shape == (0, 4)
