"""The models that predict a mean: no change, train mean, context mean, matching mean and additive, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import UsageError
from pbench.bench.contracts.training import Profiles
from pbench.models.additive import Additive
from pbench.models.context_mean import ContextMean
from pbench.models.matching_mean import MatchingMean
from pbench.models.no_change import NoChange
from pbench.models.train_mean import TrainMean, TrainMeanCells

TIGHT = {"rtol": 1e-6, "atol": 1e-6}


def profile(data, *targets, context=None, **where):
    return data.perturbed.mean[data.perturbed.row(Condition(targets, context=context, **where))].astype(np.float64)


def control(data, context=None):
    return data.controls.mean[data.controls.row(Condition(context=context))].astype(np.float64)


def ask(model, data, *conditions):
    return model.fit(data, seed=0).predict(conditions, data.controls)


def test_no_change_is_the_control_of_the_context(two_contexts):
    prediction = ask(NoChange(), two_contexts, Condition(("x",), context="b"), Condition(("x",), context="c"))
    np.testing.assert_allclose(prediction.mean, [control(two_contexts, "b"), control(two_contexts, "c")])
    assert not prediction.fallback.any()


def test_train_mean_of_one_context_is_the_mean_of_the_centroids(screen):
    mean = ask(TrainMean(), screen, Condition(("x",))).mean[0]
    np.testing.assert_allclose(mean, np.mean(screen.perturbed.mean.astype(np.float64), axis=0), **TIGHT)


def test_train_mean_of_cells_is_the_mean_of_all_perturbed_cells(screen):
    total = sum(n * row.astype(np.float64) for n, row in zip(screen.perturbed.n_cells, screen.perturbed.mean, strict=True))
    mean = ask(TrainMeanCells(), screen, Condition(("x",))).mean[0]
    np.testing.assert_allclose(mean, total / screen.perturbed.n_cells.sum(), **TIGHT)
    np.testing.assert_array_equal(mean, ask(TrainMean(weight="cell"), screen, Condition(("x",))).mean[0])
    assert np.abs(mean - ask(TrainMean(), screen, Condition(("x",))).mean[0]).max() > 1e-3


def test_train_mean_of_several_contexts_moves_the_mean_change(two_contexts):
    data = two_contexts
    changes = [
        profile(data, *targets, context=context) - control(data, context)
        for targets, context in [(("G00",), "a"), (("G01",), "a"), (("G00",), "b"), (("G02",), "b"), (("G00", "G02"), "b")]
    ]
    prediction = ask(TrainMean(), data, Condition(("x",), context="c"))
    np.testing.assert_allclose(prediction.mean[0], control(data, "c") + np.mean(changes, axis=0), **TIGHT)
    assert not prediction.fallback.any()


def test_unknown_weight_is_refused(screen):
    with pytest.raises(UsageError, match="'perturbation'"):
        TrainMean(weight="perturbations").fit(screen, seed=0)


def test_context_mean_is_the_train_mean_of_the_context(two_contexts):
    data = two_contexts
    prediction = ask(ContextMean(), data, *(Condition(("x",), context=c) for c in "abc"))
    expected_a = np.mean([profile(data, t, context="a") for t in ("G00", "G01")], axis=0)
    expected_b = np.mean([profile(data, *t, context="b") for t in [("G00",), ("G02",), ("G00", "G02")]], axis=0)
    np.testing.assert_allclose(prediction.mean[:2], [expected_a, expected_b], **TIGHT)
    np.testing.assert_allclose(prediction.mean[2], ask(TrainMean(), data, Condition(("x",), context="c")).mean[0], **TIGHT)
    assert prediction.fallback.tolist() == [False, False, True]


def test_additive_adds_the_changes(screen):
    prediction = ask(Additive(), screen, Condition(("G04",)), Condition(("G00", "G04")), Condition(("G00", "G04", "G05")))
    c = control(screen)
    np.testing.assert_allclose(prediction.mean[0], profile(screen, "G04"), **TIGHT)
    np.testing.assert_allclose(prediction.mean[1], profile(screen, "G00") + profile(screen, "G04") - c, **TIGHT)
    three = profile(screen, "G00") + profile(screen, "G04") + profile(screen, "G05") - 2 * c
    np.testing.assert_allclose(prediction.mean[2], three, **TIGHT)
    assert not prediction.fallback.any()


def test_additive_does_not_use_a_target_that_was_only_seen_in_combination(screen):
    """G10 is in two training doubles, so the capabilities let it through; it was never alone."""
    asked = Condition(("G00", "G10"))
    assert Additive.capabilities.refusal(asked, screen.perturbed.conditions) is None
    prediction = ask(Additive(), screen, asked)
    assert prediction.conditions == ()
    assert prediction.mean.shape == (0, len(screen.genes))
    assert prediction.absent == {asked: "capability: no training single for G10"}


def test_additive_takes_the_own_context_first_and_the_mean_of_the_others_where_it_must(two_contexts):
    data = two_contexts
    own, absent_here, both = Condition(("G00",), context="a"), Condition(("G01",), context="b"), Condition(("G00",), context="c")
    prediction = ask(Additive(), data, own, absent_here, both)
    from_a = profile(data, "G01", context="a") - control(data, "a")
    mean_of_two = np.mean([profile(data, "G00", context=c) - control(data, c) for c in "ab"], axis=0)
    np.testing.assert_allclose(prediction.mean[0], profile(data, "G00", context="a"), **TIGHT)
    np.testing.assert_allclose(prediction.mean[1], control(data, "b") + from_a, **TIGHT)
    np.testing.assert_allclose(prediction.mean[2], control(data, "c") + mean_of_two, **TIGHT)
    assert not prediction.fallback.any()


def test_singles_are_matched_at_their_dose_and_time(make_data):
    low, high, late = Condition(("A",), (1.0,), 6.0), Condition(("A",), (10.0,), 6.0), Condition(("B",), (10.0,), 24.0)
    data = make_data([low, high, late], contexts=[None])
    both = Condition(("A", "B"), (10.0, 10.0), 24.0)
    prediction = ask(Additive(), data, low, high, both)
    np.testing.assert_allclose(prediction.mean, [data.perturbed.mean[data.perturbed.row(c)] for c in (low, high)], **TIGHT)
    assert prediction.absent == {both: "capability: no training single for A at dose 10 at time 24"}
    matching = ask(MatchingMean(), data, both)
    expected = (profile(data, "B", doses=(10.0,), time=24.0) + np.mean(data.perturbed.mean.astype(np.float64), axis=0)) / 2
    np.testing.assert_allclose(matching.mean[0], expected, **TIGHT)
    assert matching.fallback.tolist() == [True]


def test_matching_mean_averages_and_flags_what_it_replaced(screen):
    asked = [Condition(("G04",)), Condition(("G00", "G04")), Condition(("G00", "x")), Condition(("x", "y"))]
    prediction = ask(MatchingMean(), screen, *asked)
    train_mean = np.mean(screen.perturbed.mean.astype(np.float64), axis=0)
    expected = [
        profile(screen, "G04"),
        (profile(screen, "G00") + profile(screen, "G04")) / 2,
        (profile(screen, "G00") + train_mean) / 2,
        train_mean,
    ]
    np.testing.assert_allclose(prediction.mean, expected, **TIGHT)
    assert prediction.fallback.tolist() == [False, False, True, True]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([f"G{i:02d}" for i in range(10)]), min_size=2, max_size=4, unique=True), st.randoms())
def test_additive_effect_is_the_number_of_targets_times_the_matching_mean_effect(screen, targets, random):
    shuffled = list(targets)
    random.shuffle(shuffled)
    additive, matching = (
        ask(Additive(), screen, Condition(tuple(targets))),
        ask(MatchingMean(), screen, Condition(tuple(shuffled))),
    )
    c = control(screen)
    np.testing.assert_allclose(additive.mean[0] - c, len(targets) * (matching.mean[0] - c), rtol=1e-9, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.floats(-2, 2, width=32), st.integers(0, 4))
def test_scaling_a_single_scales_its_share_of_the_sum(screen, factor, which):
    """Additive is linear in each training change."""
    single, asked = Condition((f"G{which:02d}",)), Condition((f"G{which:02d}", "G09"))
    mean = screen.perturbed.mean.astype(np.float64)
    row, c = screen.perturbed.row(single), control(screen)
    mean[row] = c + factor * (mean[row] - c)
    p = screen.perturbed
    scaled = type(screen)(screen.genes, Profiles(p.conditions, mean, p.var, p.n_cells), screen.controls, screen.validation)
    expected = c + factor * (profile(screen, single.targets[0]) - c) + profile(screen, "G09") - c
    np.testing.assert_allclose(ask(Additive(), scaled, asked).mean[0], expected, rtol=1e-5, atol=1e-5)


def test_moments_over_cells_of_some_conditions(two_contexts):
    """Pooled over rows as over the cells that they were made of; the order of the conditions does not matter."""
    data = two_contexts
    wanted = [Condition(("G02",), context="b"), Condition(context="a"), Condition(("G00",), context="a")]
    pooled = data.profiles(wanted)
    assert pooled.conditions == (wanted[1], wanted[2], wanted[0])
    cells = data.cells
    X = cells.X.toarray()[np.isin(cells.codes, [cells.conditions.index(c) for c in wanted])].astype(np.float64)
    np.testing.assert_allclose(pooled.pooled_mean(), X.mean(axis=0), rtol=1e-5)
    n = pooled.n_cells[:, None]
    within = (pooled.var * (n - 1) / n * n).sum(axis=0) / n.sum()
    between = ((pooled.mean - X.mean(axis=0)) ** 2 * n).sum(axis=0) / n.sum()
    np.testing.assert_allclose(within + between, X.var(axis=0), rtol=1e-4)
    # Rows hold unbiased variances, so the pooled one lies a little above that of the cells.
    np.testing.assert_allclose(pooled.pooled_variance(), (pooled.var * n).sum(axis=0) / n.sum() + between, rtol=1e-4)
