"""PerturBench, cell-eval, cell-load: names that break paths, separators and joins."""

from __future__ import annotations

import numpy as np
import pytest

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.model import Capabilities, Model
from pbench.bench.contracts.prediction import Prediction
from pbench.bench.engine.answer import ask
from pbench.bench.engine.score import evaluate
from pbench.metrics import CATALOGUE

NAMES = ("A/B", "A_B", "A B", "A+B", "A", "B", "Ünï-β", "../up", "x" * 500, "ctrl", "1", "K562", "a|b", "=1+1")


def screen_of(build, names, contexts=(None,), n=14):
    """A screen of singles in which each name has a level of its own in a gene of its own."""
    rng = np.random.default_rng(0)
    X, labels, where = [], [], []
    for k, context in enumerate(contexts):
        for i, label in enumerate(["control", *names]):
            rate = np.full(len(names) + 30, 4.0)
            rate[i] += 20 + 5 * k
            X.append(rng.poisson(rate, (n if i else 60, len(rate))))
            labels += [Condition((label,)).label if i else "control"] * len(X[-1])
            where += [context] * len(X[-1])
    genes = [f"gene{i:03d}" for i in range(len(names) + 30)]
    return build(np.concatenate(X).astype(np.float32), labels, where, genes)


class Looked(Model):
    """The true mean of each condition by equality of conditions."""

    capabilities = Capabilities(unseen_targets=True, unseen_contexts=True)

    def __init__(self, *, truth=None):
        self.truth = truth

    def fit(self, data, *, seed):
        self.fitted_ = True
        return self

    def predict(self, conditions, controls):
        rows = [self.truth.profiles.row(c) for c in conditions]
        return Prediction(tuple(conditions), self.truth.profiles.mean[rows])


def test_every_name_keeps_its_own_cells(assemble, build):
    """A slash broke output paths (cell-eval 191, 195), text before the first underscore became the covariate (CellSimBench)."""
    s = assemble(screen_of(build, NAMES), "unseen-single")
    everything = {c.targets[0]: c for c in s.screen.conditions if not c.is_control}
    assert set(everything) == set(NAMES)
    assert len({c.key for c in everything.values()}) == len({c.label for c in everything.values()}) == len(NAMES)
    for condition, row in zip(s.truth.conditions, s.truth.profiles.mean, strict=True):
        assert row.argmax() == 1 + NAMES.index(condition.targets[0])


def test_the_same_value_in_two_columns_is_no_collision(assemble, build):
    """A frozenset of values forgot which column they came from: (KLF1 in K562) was (K562 in KLF1)."""
    names = ("K562", "RPE1", "KLF1", "BAK1", "FOXA1", "CEBPE")
    s = assemble(screen_of(build, names, contexts=("K562", "RPE1", "KLF1")), "unseen-context")
    a, b = Condition(("K562",), context="RPE1"), Condition(("RPE1",), context="K562")
    assert a != b and a.key != b.key and a != Condition(("K562", "RPE1"))
    assert {c for c in s.screen.conditions if not c.is_control} == {
        Condition((t,), context=c) for t in names for c in ("K562", "RPE1", "KLF1")
    }
    assert len({c.context for c in s.truth.conditions}) == 1
    for condition, row in zip(s.truth.conditions, s.truth.profiles.mean, strict=True):
        assert row.argmax() == 1 + names.index(condition.targets[0])


@pytest.mark.parametrize("split", ["unseen-single", "unseen-context"])
def test_odd_names_are_scored_like_any_other(assemble, build, split):
    s = assemble(screen_of(build, NAMES, contexts=("a/b", "a_b", "β 1")), split)
    metrics = [CATALOGUE[m] for m in ("mse@all", "pearson_delta@all~ctrl", "retrieval.truths@all~ctrl#l2")]
    values = evaluate(metrics, s.truth, ask(Looked(truth=s.truth), s.data, s.truth, seed=0))
    for metric in metrics:
        defined = ~np.isnan(values[metric.id].value)
        assert defined.any()
        np.testing.assert_allclose(values[metric.id].value[defined], metric.perfect, atol=1e-6)


def test_reversed_targets_are_the_same_condition():
    """A+B in test and B+A in training was the commonest leak of all."""
    assert Condition(("B", "A")) == Condition(("A", "B")) and hash(Condition(("B", "A"))) == hash(Condition(("A", "B")))
    assert Condition(("B", "A"), doses=(2.0, 1.0)) == Condition(("A", "B"), doses=(1.0, 2.0))
