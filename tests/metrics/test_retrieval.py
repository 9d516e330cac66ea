"""Retrieval against arithmetic by hand and a naive ranking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.metric import Comparison
from pbench.metrics import retrieval
from pbench.metrics.retrieval import METRICS

NEAREST = {m.id.split("@")[0].split(".")[1]: m for m in METRICS if m.id.split("@")[0].endswith(("top1", "top5", "mrr"))}

DISTANCES = {
    "l1": lambda a, b: sum(abs(x - y) for x, y in zip(a, b, strict=True)),
    "l2": lambda a, b: sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5,
    "cosine": lambda a, b: 1 - float(np.dot(a, b)) / (np.dot(a, a) * np.dot(b, b)) ** 0.5,
}
ORIENTATIONS = ("truths", "predictions")
EVERY = [(r, d) for r in ORIENTATIONS for d in DISTANCES]


def test_by_hand_with_ties(make_truth, score):
    truth = make_truth(1 + np.eye(3), np.ones(3))
    predicted = 1 + np.array([[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0]])
    # Prediction 2 is at 0 from truth 1 and at 2 from truths 2 and 3; prediction 3 at 1, 1 and 2.
    assert score("retrieval.truths@all~ctrl#l1", truth, predicted).value.tolist() == [1, 0.25, 0]
    # Truth 1 is at 0, 0, 1 from the predictions, truth 2 at 2, 2, 1, truth 3 at 2, 2, 2.
    assert score("retrieval.predictions@all~ctrl#l1", truth, predicted).value.tolist() == [0.75, 0.25, 0.5]


@pytest.mark.parametrize(("ranked", "distance"), EVERY)
def test_against_a_naive_loop(random_screen, score, ranked, distance):
    truth, predicted = random_screen(9, n=11, n_genes=40, n_contexts=2)
    predicted[4] = np.nan
    values = score(f"retrieval.{ranked}@all~ctrl#{distance}", truth, predicted)
    expected = truth.profiles.mean.astype(np.float64)
    ctrl = truth.references["ctrl"]
    for i, condition in enumerate(truth.conditions):
        if i == 4:
            assert values.reason[i] == "absent"
            continue
        group = [j for j, c in enumerate(truth.conditions) if c.context == condition.context]
        dropped = {g for j in group for g in truth.target_genes[j]}
        kept = [g for g in range(40) if g not in dropped]
        assert dropped
        if ranked == "truths":
            rivals, query, answers = group, predicted, expected
        else:
            rivals, query, answers = [j for j in group if j != 4], expected, predicted
        distances = [DISTANCES[distance]((query - ctrl)[i, kept], (answers - ctrl)[j, kept]) for j in rivals]
        rank = rankdata(np.round(distances, 12))[rivals.index(i)]
        assert values.value[i] == pytest.approx(1 - (rank - 1) / (len(rivals) - 1))


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("n", [2, 3, 10])
def test_a_constant_prediction_is_one_half(random_screen, score, distance, n):
    truth, _ = random_screen(10, n=n, n_genes=33)
    constant = np.tile(truth.profiles.mean.mean(axis=0), (n, 1))
    truths = score(f"retrieval.truths@all~ctrl#{distance}", truth, constant).value
    np.testing.assert_allclose(np.sort(truths), np.arange(n) / (n - 1), atol=1e-15)
    assert (score(f"retrieval.predictions@all~ctrl#{distance}", truth, constant).value == 0.5).all()


def test_a_constant_change_is_one_half_in_every_context(random_screen, score):
    truth, _ = random_screen(11, n=12, n_contexts=3)
    shifted = (truth.references["ctrl"] + np.linspace(-1, 1, 60)).astype(np.float32)
    for distance in DISTANCES:
        assert (score(f"retrieval.predictions@all~ctrl#{distance}", truth, shifted).value == 0.5).all()
        truths = score(f"retrieval.truths@all~ctrl#{distance}", truth, shifted).value
        assert [truths[context::3].mean() for context in range(3)] == pytest.approx([0.5] * 3)


def test_no_change_has_no_angle_and_is_a_constant_elsewhere(random_screen, score):
    truth, _ = random_screen(12)
    nothing = truth.references["ctrl"].astype(np.float32)
    for ranked in ORIENTATIONS:
        assert score(f"retrieval.{ranked}@all~ctrl#cosine", truth, nothing).reason.tolist() == ["zero_variance"] * 6
        assert score(f"retrieval.{ranked}@all~ctrl#l2", truth, nothing).value.mean() == pytest.approx(0.5)


def test_zero_changes_are_no_candidates_for_the_cosine(make_truth, score):
    truth = make_truth(1 + np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]]), np.ones(3))
    predicted = 1 + np.array([[1, 0.1, 0], [0, 1, 0], [0, 1, 1]])
    values = score("retrieval.truths@all~ctrl#cosine", truth, predicted)
    assert values.reason.tolist() == ["", "", "zero_variance"]
    assert values.value[:2].tolist() == [1, 1]
    # Turned round, the third prediction is a rival of the others although its own truth has no direction.
    predicted[2] = [1, 2, 1]
    assert score("retrieval.predictions@all~ctrl#cosine", truth, predicted).value[:2].tolist() == [1, 0.75]


def test_target_genes_do_not_give_the_answer_away(make_truth, score):
    """Truth and prediction differ between conditions in the perturbed genes alone."""
    effect = np.array([[-1, 0, 0.5, 0.2], [0, -1, 0.5, 0.2]])
    truth = make_truth(2 + effect, np.full(4, 2), targets=((0,), (1,)))
    told = make_truth(2 + effect, np.full(4, 2))
    for ranked, distance in EVERY:
        metric = f"retrieval.{ranked}@all~ctrl#{distance}"
        assert score(metric, truth, 2 + effect).value.tolist() == [0.5, 0.5]
        assert score(metric, told, 2 + effect).value.tolist() == [1, 1]


def test_too_few_conditions_and_genes(make_truth, score):
    single = make_truth([[1, 2, 3]], [0, 0, 0])
    pair = make_truth([[1, 2, 3], [3, 1, 1]], [0, 0, 0])
    all_targets = make_truth([[1, 2], [2, 1]], [0, 0], targets=((0,), (1,)))
    for distance in DISTANCES:
        for ranked in ORIENTATIONS:
            metric = f"retrieval.{ranked}@all~ctrl#{distance}"
            assert score(metric, single, [[1, 2, 3]]).reason.tolist() == ["too_few_conditions"]
            assert score(metric, all_targets, [[1, 2], [np.nan, 1]]).reason.tolist() == ["too_few_genes", "absent"]
        half_present = [[1, 2, 3], [np.nan] * 3]
        assert score(f"retrieval.truths@all~ctrl#{distance}", pair, half_present).value[0] == 1
        values = score(f"retrieval.predictions@all~ctrl#{distance}", pair, half_present)
        assert values.reason.tolist() == ["too_few_conditions", "absent"]


def test_scale_costs_l2_and_not_the_cosine(random_screen, score):
    truth, _ = random_screen(13, n=20)
    ctrl = truth.references["ctrl"]
    inflated = ctrl + 50 * (truth.profiles.mean - ctrl)
    assert (score("retrieval.truths@all~ctrl#cosine", truth, inflated).value == 1).all()
    assert score("retrieval.truths@all~ctrl#l2", truth, inflated).value.mean() < 0.95


@pytest.mark.parametrize(("ranked", "distance"), EVERY)
def test_contexts_with_the_same_names_do_not_mix(make_truth, score, ranked, distance):
    """Labels that occur as a target here and as a context there, or in two contexts (T18)."""
    rng = np.random.default_rng(14)
    names = ("A/B", "A+B", "p_1 x", "Ω", "x" * 300)
    ctrl = np.repeat(rng.gamma(1.0, size=(2, 20)), 5, axis=0)
    mean = ctrl + rng.normal(size=(10, 20))
    predicted = ctrl + rng.normal(size=(10, 20))
    conditions = tuple(Condition((name,), context=context) for context in ("A/B", "Ω") for name in names)
    metric = f"retrieval.{ranked}@all~ctrl#{distance}"
    together = score(metric, make_truth(mean, ctrl, conditions=conditions), predicted).value
    apart = [
        score(metric, make_truth(mean[s], ctrl[s], conditions=conditions[s]), predicted[s]).value
        for s in (slice(5), slice(5, 10))
    ]
    np.testing.assert_array_equal(together, np.concatenate(apart))


def test_nearest_by_hand_with_ties(make_truth):
    """Ranks 1, 2 of 2 tied after one closer, and 1 to 3 tied; fewer than six conditions have no five nearest."""
    truth = make_truth(1 + np.eye(3), np.ones(3))
    predicted = 1 + np.array([[3, 1, 0], [2, 1, 1], [1, 1, 1.0]])
    values = {name: metric(Comparison(truth, predicted)) for name, metric in NEAREST.items()}
    np.testing.assert_allclose(values["top1"].value, [1, 0, 1 / 3])
    np.testing.assert_allclose(values["mrr"].value, [1, (1 / 2 + 1 / 3) / 2, (1 + 1 / 2 + 1 / 3) / 3])
    assert values["top5"].reason.tolist() == ["too_few_conditions"] * 3


def test_nearest_is_the_expectation_over_random_orders_of_ties(random_screen):
    truth, predicted = random_screen(30, n=9, n_genes=40)
    truth.profiles.mean[3] = truth.profiles.mean[5] = truth.profiles.mean[7]
    predicted += 4 * np.random.default_rng(30).normal(size=predicted.shape)
    predicted[4] = predicted[0]
    d = np.array(predicted - truth.references["ctrl"])
    t = truth.profiles.mean - truth.references["ctrl"]
    dropped = [g for own in truth.target_genes for g in own]
    d[:, dropped] = t[:, dropped] = 0
    distance = np.round([[DISTANCES["cosine"](a, b) for b in t] for a in d], 12)
    rng = np.random.default_rng(30)
    ranks, seen = [], set()
    for _ in range(4000):
        order = np.argsort(distance + 1e-13 * rng.random((9, 9)), axis=1)
        ranks.append([list(row).index(i) for i, row in enumerate(order)])
    for name, naive in (("top1", lambda r: r < 1), ("top5", lambda r: r < 5), ("mrr", lambda r: 1 / (r + 1))):
        found = NEAREST[name](Comparison(truth, predicted)).value
        np.testing.assert_allclose(found, naive(np.array(ranks)).mean(axis=0), atol=0.03)
        seen |= set(found)
    assert len(seen) > 5


@pytest.mark.parametrize("n", [6, 7, 12])
def test_a_constant_prediction_finds_the_nearest_as_often_as_chance(random_screen, n):
    truth, _ = random_screen(31, n=n)
    constant = Comparison(truth, np.tile(truth.profiles.mean.mean(axis=0), (n, 1)))
    chance = {"top1": 1 / n, "top5": 5 / n, "mrr": sum(1 / r for r in range(1, n + 1)) / n}
    for name, metric in NEAREST.items():
        assert metric(constant).value.mean() == pytest.approx(chance[name])


def test_rounding_does_not_break_ties(make_truth, score):
    """Distances that are equal in arithmetic and not in floating point: tied, whatever the order of the genes."""
    true = np.array([[0.1, 0.2, 0.3, 0], [0.3, 0.1, 0.2, 0], [0.2, 0.3, 0.1, 0], [0, 0.1, 0.2, 0.3]])
    guess = np.full((4, 4), 0.7)
    for columns in ([0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0]):
        truth = make_truth(true[:, columns], np.zeros(4))
        for ranked, distance in EVERY:
            assert (score(f"retrieval.{ranked}@all~ctrl#{distance}", truth, guess).value == 0.5).all()


def test_one_matrix_of_distances_serves_every_metric_of_a_distance(random_screen, monkeypatch):
    from pbench.bench.kernels import distances as kernel

    truth, predicted = random_screen(32, n=8)
    calls = []
    whole = kernel.distances
    monkeypatch.setattr(kernel, "distances", lambda a, b, name: calls.append(name) or whole(a, b, name))
    comparison = Comparison(truth, predicted)
    for metric in METRICS:
        metric(comparison)
    assert sorted(calls) == sorted(DISTANCES)


def test_blocks_of_predictions_change_nothing(random_screen, monkeypatch):
    truth, predicted = random_screen(33, n=150, n_genes=30)
    before = [metric(Comparison(truth, predicted)).value for metric in METRICS]
    monkeypatch.setattr(retrieval, "_BLOCK_DISTANCES", 1)
    for metric, value in zip(METRICS, before, strict=True):
        np.testing.assert_array_equal(metric(Comparison(truth, predicted)).value, value)


def test_every_metric_has_a_caveat_of_one_to_three_sentences():
    for metric in METRICS:
        assert 1 <= metric.caveats.count(". ") + 1 <= 3 and metric.caveats.endswith("."), metric.id
        assert "|" not in metric.caveats and "\n" not in metric.caveats


grids = arrays(np.float64, st.tuples(st.just(2), st.integers(2, 6), st.just(3)), elements=st.integers(0, 2).map(float))


@settings(max_examples=60, deadline=None)
@given(grids)
def test_ranks_on_a_grid_are_exact(make_truth, grid):
    """Ties of every kind: between equal truths, equal predictions, and by symmetry."""
    true, guess = grid
    truth = make_truth(true, np.zeros(3))
    comparison = Comparison(truth, guess)
    n = len(true)
    naive = {"l1": [[sum(abs(a - b)) for b in true] for a in guess], "l2": [[sum((a - b) ** 2) for b in true] for a in guess]}
    for metric in METRICS:
        ranked, distance = metric.parts["variant"], metric.parts["representation"]
        if distance == "cosine":
            continue
        d = np.array(naive[distance]) if ranked == "truths" else np.array(naive[distance]).T
        rank = [rankdata(d[i])[i] for i in range(n)]
        np.testing.assert_allclose(metric(comparison).value, [1 - (r - 1) / (n - 1) for r in rank], atol=1e-15)
