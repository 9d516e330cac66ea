"""Conditions as numbers, and which of them are held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pbench.bench.contracts.condition import Condition
from pbench.models.neural.condition_codes import ConditionCodes
from pbench.models.neural.held_out import held_out, seen_targets


def test_doses_contexts_and_times():
    conditions = [
        Condition(("B", "A"), doses=(2.0, 0.5), time=6, context="x"),
        Condition(("A",), doses=(1.0,), time=24, context="y"),
        Condition(context="x"),
    ]
    codes = ConditionCodes.of(conditions)
    assert codes.targets == ("A", "B")
    np.testing.assert_array_equal(codes.multi_hot(conditions), [[0.5, 1.0], [1.0, 0], [0, 0]])
    np.testing.assert_array_equal(codes.covariates(conditions), [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 0, 0]])
    assert codes.knows(conditions[2])
    assert not codes.knows(Condition(("A",), time=12, context="x"))
    assert not codes.knows(Condition(("C",), time=6, context="x"))
    assert not codes.knows(Condition(("A",), time=6, context="z"))


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
def test_the_unit_of_a_dose_does_not_matter(unit):
    def conditions(u):
        return [Condition(("A", "B"), doses=(u * 2, -u)), Condition(("A",), doses=(u / 2,)), Condition(("C",), doses=(0.0,))]

    codes = ConditionCodes.of(conditions(unit))
    expected = [[1, -1, 0], [0.25, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(codes.multi_hot(conditions(unit)), expected, rtol=1e-6)


def test_one_context_says_nothing():
    codes = ConditionCodes.of([Condition(("A",)), Condition()])
    assert codes.covariates([Condition(("A",))]).shape == (1, 0)
    np.testing.assert_array_equal(codes.multi_hot([Condition(("A",))]), [[1]])


def test_what_is_held_out_can_be_predicted_from_the_rest(make_data):
    genes = [f"G{i:02d}" for i in range(12)]
    singles = [Condition((g,)) for g in genes]
    doubles = [Condition((genes[i], genes[j])) for i in range(12) for j in range(i + 1, 12)]
    data = make_data([*singles, *doubles])
    kept, watched = held_out(data, seed=0, predictable=seen_targets)
    assert len(watched) == 7
    assert not set(kept) & set(watched.conditions)
    assert set(kept) | set(watched.conditions) == set(data.perturbed.conditions)
    assert all(seen_targets(c, list(kept)) for c in watched.conditions)
    again, _ = held_out(data, seed=0, predictable=seen_targets)
    other, _ = held_out(data, seed=1, predictable=seen_targets)
    assert again == kept != other


def test_the_splits_own_validation_comes_first(make_data):
    data = make_data([Condition((g,)) for g in ("G00", "G01", "G02")])
    more = make_data([Condition((a, b)) for a, b in (("G00", "G01"), ("G00", "G02"), ("G01", "G02"), ("G01", "G09"))])
    kept, watched = held_out(replace(data, validation=more.perturbed), seed=0, predictable=seen_targets)
    assert kept == data.perturbed.conditions
    assert [c.label for c in watched.conditions] == ["G00+G01", "G00+G02", "G01+G02"]


def test_few_perturbations_are_all_trained_on(make_data):
    data = make_data([Condition((g,)) for g in ("G00", "G01", "G02")])
    kept, watched = held_out(data, seed=0, predictable=seen_targets)
    assert kept == data.perturbed.conditions
    assert len(watched) == 0


def test_a_time_that_no_other_condition_has_cannot_be_predicted():
    early, late = Condition(("A",), time=6), Condition(("A",), time=24)
    assert seen_targets(early, [Condition(("A", "B"), time=6)])
    assert not seen_targets(late, [early])
    assert not seen_targets(Condition(("A",), context="x", time=6), [early])


def test_of_many_conditions_some_are_tried(make_data):
    """Singles, none of which can be predicted from the rest."""
    asked = []

    def predictable(condition, others):
        asked.append(condition)
        return False

    data = make_data([Condition((f"T{i:04d}",)) for i in range(700)])
    kept, watched = held_out(data, seed=0, predictable=predictable)
    assert len(watched) == 0
    assert len(kept) == 700
    assert len(asked) == 500
