"""Regressions on features of the targets against scikit-learn fed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import NearestNeighbors

from pbench.bench.contracts.condition import Condition
from pbench.models.feature_regression import ForestGo, ForestPca, KnnGo, KnnPca, RidgeGo, RidgePca

QUERIES = [Condition(("G20",)), Condition(("G00",)), Condition(("G00", "G21"))]


def features(vector_of, train, queries, width):
    """Centred, scaled principal components of the training targets, summed over a combination."""
    targets = sorted({t for c in train for t in c.targets})
    vectors = np.array([vector_of[t] for t in targets], dtype=np.float64)
    pca = PCA(n_components=min(width, len(targets) - 1, vectors.shape[1]), svd_solver="full").fit(vectors)
    scale = np.sqrt(np.mean(np.sum((vectors - vectors.mean(axis=0)) ** 2, axis=1)))
    return [np.array([sum(pca.transform([vector_of[t]])[0] for t in c.targets) / scale for c in cs]) for cs in (train, queries)]


def go(data):
    table = data.resources["go"]
    return dict(zip(table.names, table.values, strict=True)), list(data.perturbed.conditions)


def loadings(data):
    expression = np.vstack([data.perturbed.mean, data.controls.mean]).astype(np.float64).T
    scores = PCA(n_components=10, svd_solver="full").fit_transform(expression)
    vector_of = dict(zip(data.genes, scores / scores.std(axis=0), strict=True))
    return vector_of, [c for c in data.perturbed.conditions if "drug" not in c.targets]


@pytest.mark.parametrize(("cls", "source", "width"), [(RidgeGo, go, 50), (RidgePca, loadings, 10)])
def test_ridge_is_the_closed_form(screen, cls, source, width):
    vector_of, train = source(screen)
    X, Q = features(vector_of, train, QUERIES, width)
    Y = np.array([screen.shifts[screen.perturbed.row(c)] for c in train])
    centred = X - X.mean(axis=0)
    coefficients = np.linalg.solve(centred.T @ centred + np.eye(X.shape[1]), centred.T @ (Y - Y.mean(axis=0)))
    expected = screen.controls.control_mean(QUERIES) + Y.mean(axis=0) + (Q - X.mean(axis=0)) @ coefficients
    prediction = cls().fit(screen, seed=0).predict(QUERIES, screen.controls)
    np.testing.assert_allclose(prediction.mean, expected, atol=1e-5)
    assert not prediction.fallback.any()


@pytest.mark.parametrize(("cls", "source", "width"), [(KnnGo, go, 50), (KnnPca, loadings, 10)])
def test_neighbours_are_those_of_scikit_learn(screen, cls, source, width):
    vector_of, train = source(screen)
    X, Q = features(vector_of, train, QUERIES, width)
    rows = NearestNeighbors(n_neighbors=3).fit(X).kneighbors(Q, return_distance=False)
    shifts = [np.mean([screen.shifts[screen.perturbed.row(train[i])] for i in own], axis=0) for own in rows]
    prediction = cls(n_neighbors=3).fit(screen, seed=0).predict(QUERIES, screen.controls)
    np.testing.assert_allclose(prediction.mean, screen.controls.control_mean(QUERIES) + shifts, atol=1e-6)


def test_more_neighbours_than_training_perturbations_is_the_train_mean(screen):
    prediction = KnnGo(n_neighbors=1000).fit(screen, seed=0).predict(QUERIES, screen.controls)
    np.testing.assert_allclose(prediction.mean, np.tile(screen.perturbed.mean.mean(axis=0), (3, 1)), rtol=1e-5)


def test_a_forest_on_components_is_a_forest_on_genes(make_data):
    """Trees split by distances between responses, which principal components keep."""
    data = make_data([Condition((f"G{i:02d}",)) for i in range(20)], seed=8)
    vector_of, train = go(data)
    X, Q = features(vector_of, train, QUERIES, 50)
    direct = RandomForestRegressor(n_estimators=300, random_state=1).fit(X, data.shifts).predict(Q)
    ours = ForestGo(n_trees=300).fit(data, seed=0).predict(QUERIES, data.controls).mean - data.controls.control_mean(QUERIES)
    linear = LinearRegression().fit(X, data.shifts).predict(Q)
    apart = [np.linalg.norm(a - b) for a, b in zip(ours, direct, strict=True)]
    far = [np.linalg.norm(a - b) for a, b in zip(linear, direct, strict=True)]
    assert max(a / b for a, b in zip(apart, far, strict=True)) < 0.35


def test_a_forest_follows_its_seed_and_stays_within_what_it_saw(screen):
    a, b, c = (ForestPca(n_trees=20).fit(screen, seed=s).predict(QUERIES, screen.controls).mean for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1e-4
    assert (a >= screen.perturbed.mean.min(axis=0) - 1e-5).all()
    assert (a <= screen.perturbed.mean.max(axis=0) + 1e-5).all()


def test_a_forest_of_constant_changes_returns_them(make_data):
    data = make_data([Condition((g,)) for g in ("G00", "G01", "G02")])
    data = replace(data, perturbed=replace(data.perturbed, mean=np.tile(data.controls.mean + 1, (3, 1))))
    prediction = ForestPca().fit(data, seed=0).predict(QUERIES, data.controls)
    np.testing.assert_allclose(prediction.mean, data.controls.control_mean(QUERIES) + 1, rtol=1e-6)


@pytest.mark.parametrize("cls", [RidgePca, KnnPca, ForestPca])
def test_targets_that_are_no_measured_genes_are_absent(screen, cls):
    prediction = cls().fit(screen, seed=0).predict([Condition(("drug",)), QUERIES[0]], screen.controls)
    assert prediction.conditions == (QUERIES[0],)
    assert prediction.absent == {Condition(("drug",)): "capability: target drug is not a measured gene"}


@pytest.mark.parametrize("cls", [RidgePca, KnnGo, ForestGo])
def test_too_little_to_learn_from_gives_the_train_mean_and_says_so(make_data, cls):
    data = make_data([Condition(("G00",), context=c) for c in "ab"])
    asked = [Condition(("G05",), context="a")]
    prediction = cls().fit(data, seed=0).predict(asked, data.controls)
    np.testing.assert_allclose(prediction.mean, data.controls.control_mean(asked) + data.shifts.mean(axis=0))
    assert prediction.fallback.tolist() == [True]


def test_the_same_targets_in_two_contexts_are_one_neighbour(two_contexts):
    asked = [Condition(("G00",), context="c")]
    prediction = KnnGo(n_neighbors=1).fit(two_contexts, seed=0).predict(asked, two_contexts.controls)
    own = [i for i, c in enumerate(two_contexts.perturbed.conditions) if c.targets == ("G00",)]
    expected = two_contexts.controls.control_mean(asked) + two_contexts.shifts[own].mean(axis=0)
    np.testing.assert_allclose(prediction.mean, expected)
