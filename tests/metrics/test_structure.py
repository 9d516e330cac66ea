"""Likeness of perturbations against arithmetic by hand, scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import pdist
from sklearn.neighbors import NearestNeighbors

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.metric import Comparison
from pbench.metrics.structure import METRICS, neighbours

EVERY = {m.id: m for m in METRICS}
MANTEL = {d: EVERY[f"mantel@all~ctrl#{d}"] for d in ("cosine", "l2")}
NEIGHBOURS = EVERY["neighbours.k5@all~ctrl#cosine"]
SYSTEMATIC = EVERY["truth_systematic_variation@all~ctrl"]
SCIPY = {"cosine": "cosine", "l2": "euclidean"}


def changes(truth, profile):
    dropped = sorted({g for own in truth.target_genes for g in own})
    return np.delete(profile - truth.references["ctrl"], dropped, axis=1)


def test_mantel_by_hand(make_truth):
    """True distances 1, 2, 3 (of 12, 23, 13) against predicted 3, 1, 4: ranks 1, 2, 3 and 2, 1, 3 correlate by 1/2."""
    truth = make_truth([[1, 0, 0], [2, 0, 0], [4, 0, 0]], [0, 0, 0])
    values = MANTEL["l2"](Comparison(truth, np.array([[0.0, 1, 0], [0, 4, 0], [0, 5, 0]])))
    np.testing.assert_allclose(values.value, [0.5])
    assert values.reason.tolist() == [""]


@pytest.mark.parametrize("distance", ["cosine", "l2"])
def test_mantel_against_scipy(random_screen, distance):
    truth, predicted = random_screen(40, n=15)
    predicted[4] = np.nan
    kept = np.delete(np.arange(15), 4)
    a, b = (pdist(changes(truth, m)[kept], SCIPY[distance]) for m in (truth.profiles.mean.astype(float), predicted))
    value = MANTEL[distance](Comparison(truth, predicted)).value
    np.testing.assert_allclose(value, [stats.spearmanr(a, b).statistic], atol=1e-9)


@pytest.mark.parametrize("distance", ["cosine", "l2"])
def test_contexts_are_averaged_and_never_mixed(make_truth, distance):
    rng = np.random.default_rng(41)
    ctrl = np.repeat(rng.gamma(1.0, size=(2, 20)), [5, 8], axis=0)
    mean, predicted = ctrl + rng.normal(size=(13, 20)), ctrl + rng.normal(size=(13, 20))
    conditions = tuple(Condition((f"P{i}",), context="ab"[i >= 5]) for i in range(13))
    together = MANTEL[distance](Comparison(make_truth(mean, ctrl, conditions=conditions), predicted)).value
    apart = [
        MANTEL[distance](Comparison(make_truth(mean[s], ctrl[s], conditions=conditions[s]), predicted[s])).value
        for s in (slice(5), slice(5, 13))
    ]
    np.testing.assert_allclose(together, np.mean(apart, axis=0))


@pytest.mark.parametrize("distance", ["cosine", "l2"])
def test_mantel_is_undefined_with_a_reason(make_truth, random_screen, distance):
    truth, predicted = random_screen(42, n=8)
    constant = np.tile(truth.profiles.mean.mean(axis=0, dtype=float), (8, 1))
    assert MANTEL[distance](Comparison(truth, constant)).reason.tolist() == ["zero_variance"]
    assert MANTEL[distance](Comparison(truth, np.full_like(predicted, np.nan))).reason.tolist() == ["absent"]
    pair = make_truth([[1, 2, 3], [3, 1, 1]], [0, 0, 0])
    assert MANTEL[distance](Comparison(pair, np.array([[1.0, 2, 3], [2, 2, 3]]))).reason.tolist() == ["too_few_conditions"]
    no_effect = make_truth(np.ones((4, 3)), np.ones(3))
    assert MANTEL[distance](Comparison(no_effect, np.eye(4, 3))).reason.tolist() == ["zero_variance"]
    few = np.where(np.arange(8)[:, None] < 2, predicted, np.nan)
    assert MANTEL[distance](Comparison(truth, few)).reason.tolist() == ["too_few_conditions"]


def test_neighbours_by_hand(make_truth):
    """On a circle, one neighbour each: the true ones of 0, 10, 30 and 70 degrees against those of 0, 60, 70 and 10."""
    at = [np.stack([np.cos(a), np.sin(a)], axis=1) for a in np.radians([[0, 10, 30, 70], [0, 60, 70, 10]])]
    values = neighbours(Comparison(make_truth(at[0], [0, 0]), at[1]), k=1, distance="cosine")
    # True: 1, 0, 1, 2. Predicted: 3, 2, 1, 0.
    assert values.value.tolist() == [0, 0, 1, 0]


def test_neighbours_against_scikit_learn(random_screen):
    truth, predicted = random_screen(43, n=20)
    predicted[3] = np.nan
    kept = np.delete(np.arange(20), 3)
    found = []
    for profile in (truth.profiles.mean, predicted):
        points = changes(truth, profile)[kept]
        nearest = NearestNeighbors(n_neighbors=6, metric="cosine").fit(points).kneighbors(points, return_distance=False)
        found.append([set(row) - {i} for i, row in enumerate(nearest)])
    naive = [len(a & b) / 5 for a, b in zip(*found, strict=True)]
    values = NEIGHBOURS(Comparison(truth, predicted))
    np.testing.assert_allclose(values.value[kept], naive)
    assert values.reason[3] == "absent"
    assert 0 < np.mean(naive) < 1


def test_a_constant_prediction_shares_neighbours_by_chance(random_screen):
    truth, _ = random_screen(44, n=12)
    constant = np.tile(truth.profiles.mean.mean(axis=0, dtype=float), (12, 1))
    np.testing.assert_allclose(NEIGHBOURS(Comparison(truth, constant)).value, 5 / 11)


def test_neighbours_are_undefined_with_a_reason(make_truth, random_screen):
    truth, predicted = random_screen(45, n=6)
    assert NEIGHBOURS(Comparison(truth, predicted)).reason.tolist() == ["too_few_conditions"] * 6
    truth, predicted = random_screen(46, n=8)
    predicted[2] = truth.references["ctrl"][2]
    values = NEIGHBOURS(Comparison(truth, predicted))
    assert values.reason.tolist() == ["", "", "zero_variance"] + [""] * 5
    # Eight equal truths: nobody has five nearest.
    same = make_truth(np.tile([1.0, 2, 3, 4], (8, 1)), np.zeros(4))
    assert NEIGHBOURS(Comparison(same, np.random.default_rng(0).normal(size=(8, 4)))).reason.tolist() == ["zero_variance"] * 8
    all_targets = make_truth(np.eye(8, 2) + 1, np.zeros(2), targets=((0,), (1,)) + ((),) * 6)
    assert NEIGHBOURS(Comparison(all_targets, np.ones((8, 2)))).reason.tolist() == ["too_few_genes"] * 8
    assert MANTEL["l2"](Comparison(all_targets, np.ones((8, 2)))).reason.tolist() == ["too_few_genes"]


def test_target_genes_say_nothing(make_truth):
    """Perturbations that are alike only in the genes that they target are not alike."""
    rng = np.random.default_rng(47)
    mean = rng.normal(size=(9, 12))
    truth = make_truth(mean, np.zeros(12), targets=tuple((i % 2,) for i in range(9)))
    predicted = rng.normal(size=(9, 12))
    moved = predicted.copy()
    moved[:, :2] += 9 * rng.normal(size=(9, 2))
    for metric in (*MANTEL.values(), NEIGHBOURS):
        np.testing.assert_array_equal(metric(Comparison(truth, predicted)).value, metric(Comparison(truth, moved)).value)


def test_systematic_variation_by_hand_and_of_the_truth_alone(make_truth):
    """Changes (1, 0), (0, 1) and (0, 0): the mean points between the first two, at 45 degrees; zero has no angle."""
    truth = make_truth([[1, 2], [0, 3], [0, 2]], [0, 2])
    for predicted in (np.zeros((3, 2)), np.full((3, 2), np.nan)):
        np.testing.assert_allclose(SYSTEMATIC(Comparison(truth, predicted)).value, [0.5**0.5])
    nothing = make_truth([[1, 2], [1, 2]], [1, 2])
    assert SYSTEMATIC(Comparison(nothing, np.zeros((2, 2)))).reason.tolist() == ["zero_variance"]
    alike = make_truth(1 + np.outer([1, 2, 3], [1, 2]), [1, 1])
    np.testing.assert_allclose(SYSTEMATIC(Comparison(alike, np.zeros((3, 2)))).value, [1])


def test_a_perfect_prediction_is_perfect_and_facts_are_complete(random_screen):
    truth, _ = random_screen(48, n=14, n_contexts=2)
    for name, metric in EVERY.items():
        assert 1 <= metric.caveats.count(". ") + 1 <= 3 and metric.summary.endswith(".")
        assert "|" not in metric.caveats + metric.summary
        if metric is not SYSTEMATIC:
            values = metric(Comparison(truth, truth.profiles.mean.astype(np.float64)))
            np.testing.assert_allclose(values.value, 1, atol=1e-12, err_msg=name)
