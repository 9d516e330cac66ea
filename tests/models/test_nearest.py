"""Nearest: the order of its criteria, ties, and what happens when nothing is shared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbench.bench.contracts.condition import Condition
from pbench.models.gene_loadings import gene_loadings
from pbench.models.nearest import Nearest


def nearest_of(data, query, controls=None):
    return Nearest().fit(data, seed=0).predict([query], data.controls if controls is None else controls)


def assert_copied(data, query, *sources, fallback=False):
    """The prediction is the mean change of the sources, in the context of the query."""
    prediction = nearest_of(data, query)
    changes = [data.perturbed.mean[data.perturbed.row(s)] - data.controls.control_mean([s])[0] for s in sources]
    np.testing.assert_allclose(prediction.mean[0] - data.controls.control_mean([query])[0], np.mean(changes, axis=0), atol=1e-9)
    assert prediction.fallback.tolist() == [fallback]


def test_a_training_condition_is_its_own_nearest(screen):
    for condition in screen.perturbed.conditions:
        assert_copied(screen, condition, condition)


def test_most_shared_targets_come_first_and_ties_are_averaged(make_data):
    a, b, ab, cd = (Condition(tuple(t)) for t in ("A", "B", "AB", "CD"))
    data = make_data([a, b, ab, cd])
    assert_copied(data, Condition(tuple("ABC")), ab)
    assert_copied(make_data([a, b, cd]), Condition(tuple("AB")), a, b)
    assert_copied(data, Condition(tuple("ACDE")), cd)


def test_then_the_same_context_then_dose_then_time(make_data):
    here, there = Condition(("A",), (1.0,), 6.0, "x"), Condition(("A",), (8.0,), 24.0, "y")
    data = make_data([here, there], contexts=["x", "y", "z"])
    assert_copied(data, Condition(("A",), (8.0,), 24.0, "x"), here)
    assert_copied(data, Condition(("A",), (8.0,), 6.0, "z"), there)
    assert_copied(data, Condition(("A",), (1.1,), 24.0, "z"), here)
    assert_copied(data, Condition(("A",), (8.0**0.5,), 20.0, "z"), there)
    assert_copied(data, Condition(("A",), (8.0**0.5,), 15.0, "z"), here, there)


def test_the_last_time_and_dose_are_carried_forward(make_data):
    series = [Condition(("A",), (d,), t) for d in (0.1, 1.0) for t in (1.0, 4.0)]
    data = make_data(series)
    assert_copied(data, Condition(("A",), (50.0,), 96.0), series[3])
    assert_copied(data, Condition(("A",), (0.01,), 0.5), series[0])
    # 0.3 is nearer to 0.1 on the scale of logarithms and nearer to 1 on none; 0.4 is the other way round.
    assert_copied(data, Condition(("A",), (0.3,), 4.0), series[1])
    assert_copied(data, Condition(("A",), (0.4,), 4.0), series[3])


def test_signs_are_equal_or_infinitely_far(make_data):
    up, down = Condition(("A",), (1.0,)), Condition(("A",), (-1.0,))
    data = make_data([up, down])
    assert_copied(data, up, up)
    assert_copied(data, down, down)
    assert_copied(data, Condition(("A",), (0.0,)), up, down)


def test_without_a_shared_target_the_most_similar_gene_answers(screen):
    query = Condition(("G25",))
    table = gene_loadings(screen, 10, whiten=True)
    usable = [c for c in screen.perturbed.conditions if "drug" not in c.targets]

    def cosine(c):
        x, y = table.sum(c.targets), table.sum(query.targets)
        return x @ y / np.sqrt((x @ x) * (y @ y))

    assert_copied(screen, query, max(usable, key=cosine), fallback=True)


def test_an_unmeasured_target_without_a_match_is_absent(screen, make_data):
    prediction = nearest_of(screen, Condition(("G25", "x")))
    assert prediction.absent == {Condition(("G25", "x")): "capability: target x is not a measured gene"}
    drugs = make_data([Condition(("x",)), Condition(("y",))])
    assert list(nearest_of(drugs, Condition(("G25",))).absent.values()) == [
        "capability: no training condition whose targets are measured genes"
    ]


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from([f"G{i:02d}" for i in range(12)]), min_size=1, max_size=4))
def test_jaccard_against_a_naive_search(screen, targets):
    query = Condition(tuple(targets))
    score = [len(targets & set(c.targets)) / len(targets | set(c.targets)) for c in screen.perturbed.conditions]
    best = [c for c, s in zip(screen.perturbed.conditions, score, strict=True) if s == pytest.approx(max(score))]
    if max(score) > 0:
        assert_copied(screen, query, *best)
