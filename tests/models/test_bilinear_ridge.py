"""Bilinear ridge against an explicit Kronecker solve, and the invariances that the formula promises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.resource import FeatureTable
from pbench.models import bilinear_ridge
from pbench.models.bilinear_ridge import BilinearRidge
from pbench.models.bilinear_ridge_external import BilinearRidgeExternal

QUERIES = [Condition(("G20",)), Condition(("G00",)), Condition(("G00", "G21")), Condition(("G10", "G11", "G29"))]


def kronecker(Y, L, P, ridge):
    """W from vec(W) = [(P'P + rI) kron (L'L + rI)]^-1 (P kron L)' vec(Y - b), and b; Y is genes x conditions."""
    b = Y.mean(axis=1, keepdims=True)
    left, right = L.T @ L + ridge * np.eye(L.shape[1]), P.T @ P + ridge * np.eye(P.shape[1])
    vec = np.linalg.solve(np.kron(right, left), np.kron(P, L).T @ (Y - b).ravel(order="F"))
    return vec.reshape(L.shape[1], P.shape[1], order="F"), b[:, 0]


def explicit(data, queries, *, k, ridge, singles_only, contexts=(None,)):
    expression = np.vstack([data.perturbed.mean, data.controls.mean]).astype(np.float64).T
    L = PCA(n_components=k, svd_solver="full").fit_transform(expression)
    row = {g: L[i] for i, g in enumerate(data.genes)}
    used = [
        c for c in data.perturbed.conditions if all(t in row for t in c.targets) and (len(c.targets) == 1 or not singles_only)
    ]
    control = {c.context: m.astype(np.float64) for c, m in zip(data.controls.conditions, data.controls.mean, strict=True)}
    columns = [data.perturbed.mean[data.perturbed.row(c)] - control[c.context] for c in used]
    Y = np.array(columns + [np.zeros(len(data.genes))] * len(contexts)).T
    P = np.array([sum(row[t] for t in c.targets) for c in used] + [np.zeros(k)] * len(contexts))
    W, b = kronecker(Y, L, P, ridge)
    return [control[q.context] + b + L @ W @ sum(row[t] for t in q.targets) for q in queries]


@pytest.mark.parametrize("singles_only", [False, True])
@pytest.mark.parametrize(("k", "ridge"), [(3, 0.1), (10, 0.1), (5, 10.0)])
def test_prediction_is_that_of_the_explicit_solve(screen, k, ridge, singles_only):
    model = BilinearRidge(n_components=k, ridge=ridge, singles_only=singles_only).fit(screen, seed=0)
    prediction = model.predict(QUERIES, screen.controls)
    assert prediction.conditions == tuple(QUERIES)
    assert not prediction.fallback.any()
    np.testing.assert_allclose(prediction.mean, explicit(screen, QUERIES, k=k, ridge=ridge, singles_only=singles_only), atol=1e-5)


def test_combinations_change_the_fit_unless_singles_only(screen):
    a, b = (BilinearRidge(singles_only=s).fit(screen, seed=0).predict(QUERIES, screen.controls).mean for s in (False, True))
    assert np.abs(a - b).max() > 1e-3


def test_every_training_context_brings_its_control(two_contexts):
    queries = [Condition(("G07",), context="c"), Condition(("G01",), context="b")]
    mean = BilinearRidge(n_components=3).fit(two_contexts, seed=0).predict(queries, two_contexts.controls).mean
    expected = explicit(two_contexts, queries, k=3, ridge=0.1, singles_only=False, contexts="ab")
    np.testing.assert_allclose(mean, expected, atol=1e-5)


def test_rotating_the_loadings_changes_nothing(screen, monkeypatch):
    straight = BilinearRidge().fit(screen, seed=0).predict(QUERIES, screen.controls)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    original = bilinear_ridge.gene_loadings

    def rotated(data, n_components):
        table = original(data, n_components)
        return FeatureTable(table.names, table.values @ rotation, "rotated")

    monkeypatch.setattr(bilinear_ridge, "gene_loadings", rotated)
    turned = BilinearRidge().fit(screen, seed=0).predict(QUERIES, screen.controls)
    np.testing.assert_allclose(turned.mean, straight.mean, atol=1e-8)


def test_a_strong_penalty_leaves_the_mean_change(screen):
    """With W = 0 every query gets b, the mean over the training conditions and the control."""
    measured = [c for c in screen.perturbed.conditions if "drug" not in c.targets]
    total = sum(screen.shifts[screen.perturbed.row(c)] for c in measured)
    mean = BilinearRidge(ridge=1e9).fit(screen, seed=0).predict(QUERIES, screen.controls).mean
    np.testing.assert_allclose(mean, screen.controls.control_mean(QUERIES) + total / (len(measured) + 1), atol=1e-5)


def test_a_target_that_is_no_measured_gene_is_absent(screen):
    prediction = BilinearRidge().fit(screen, seed=0).predict([Condition(("G00", "drug")), QUERIES[0]], screen.controls)
    assert prediction.conditions == (QUERIES[0],)
    assert prediction.absent == {Condition(("G00", "drug")): "capability: target drug is not a measured gene"}


def test_without_a_usable_training_condition_the_train_mean_answers(make_data):
    data = make_data([Condition(("x",)), Condition(("y",))])
    prediction = BilinearRidge().fit(data, seed=0).predict([QUERIES[0]], data.controls)
    np.testing.assert_allclose(prediction.mean[0], data.perturbed.mean.mean(axis=0), rtol=1e-5)
    assert prediction.fallback.tolist() == [True]


def test_external_embedding_finds_what_it_was_made_of(make_data):
    """Changes that are linear in the embedding are recovered for targets that were never seen."""
    rng = np.random.default_rng(5)
    names = [f"d{i}" for i in range(40)]
    vectors = rng.normal(size=(40, 3))
    data = make_data([Condition((n,)) for n in names[:35]], contexts=[None])
    level = np.linspace(0.2, 3, len(data.genes))
    # The first three directions of expression are those of the response, so that the loadings span it.
    directions = np.linalg.qr(np.column_stack([np.ones_like(level), level, rng.normal(size=(len(level), 3))]))[0][:, 2:]
    change = {c: directions @ vectors[names.index(c.targets[0])] for c in data.perturbed.conditions}
    perturbed = replace(data.perturbed, mean=np.array([level + change[c] for c in data.perturbed.conditions]))
    controls = replace(data.controls, mean=level[None])
    table = FeatureTable(tuple(names), vectors.astype(np.float32), "made up")
    data = replace(data, perturbed=perturbed, controls=controls, resources={"embedding": table})
    queries = [Condition((n,)) for n in names[35:]]
    prediction = BilinearRidgeExternal(ridge=1e-6).fit(data, seed=0).predict(queries, data.controls)
    truth = np.array([level + directions @ vectors[names.index(c.targets[0])] for c in queries])
    assert np.corrcoef((prediction.mean - level).ravel(), (truth - level).ravel())[0, 1] > 0.99
