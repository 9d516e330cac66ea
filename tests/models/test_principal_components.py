"""Principal components and gene loadings against scikit-learn, and the embedding of targets by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.resource import FeatureTable
from pbench.models.gene_loadings import gene_loadings
from pbench.models.principal_components import principal_components
from pbench.models.target_embedding import TargetEmbedding


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 12), st.integers(0, 1000))
def test_scores_are_those_of_scikit_learn_up_to_sign(n, p, k, seed):
    matrix = np.random.default_rng(seed).normal(size=(n, p))
    matrix -= matrix.mean(axis=0)
    scores, axes = principal_components(matrix, k)
    rank = min(n - 1, p, k)
    assert scores.shape == (n, rank)
    assert axes.shape == (p, rank)
    expected = PCA(n_components=rank, svd_solver="full").fit_transform(matrix)
    np.testing.assert_allclose(np.abs(scores), np.abs(expected), atol=1e-6)
    np.testing.assert_allclose(axes.T @ axes, np.eye(rank), atol=1e-6)
    np.testing.assert_allclose(matrix @ axes, scores, atol=1e-6)
    assert (scores.max(axis=0) >= -scores.min(axis=0)).all()


@pytest.mark.parametrize("shape", [(20, 7), (7, 20)])
def test_directions_without_variance_are_no_components(shape):
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(shape[0], 3)) @ rng.normal(size=(3, shape[1]))
    matrix -= matrix.mean(axis=0)
    scores, axes = principal_components(matrix, 6)
    assert scores.shape[1] == 3
    np.testing.assert_allclose(scores @ axes.T, matrix, atol=1e-8)
    assert principal_components(np.zeros(shape), 4)[0].shape == (shape[0], 0)


def test_gene_loadings_are_scores_of_genes_on_expression_with_the_control(screen):
    expression = np.vstack([screen.perturbed.mean, screen.controls.mean]).astype(np.float64).T
    expected = PCA(n_components=4, svd_solver="full").fit_transform(expression)
    table = gene_loadings(screen, 4)
    assert table.names == tuple(screen.genes)
    np.testing.assert_allclose(np.abs(table.values), np.abs(expected), atol=1e-5)
    white = gene_loadings(screen, 4, whiten=True).values
    np.testing.assert_allclose(white.std(axis=0), 1)
    np.testing.assert_allclose(np.abs(np.sum(white * table.values, axis=0)), np.linalg.norm(table.values, axis=0) * np.sqrt(30))


def test_embedding_is_centred_on_the_training_targets_and_sums_over_a_combination():
    rng = np.random.default_rng(2)
    table = FeatureTable(("A", "B", "C", "D"), rng.normal(5, 2, size=(4, 6)).astype(np.float32), "made up")
    train = [Condition(("A",)), Condition(("A",), context="x"), Condition(("B", "C")), Condition(("gone",))]
    embedding = TargetEmbedding.reduced(table, train, 10, "no vector for {}")
    a, b, c, d = embedding([Condition((t,)) for t in "ABCD"])
    assert embedding.width == 2
    np.testing.assert_allclose(a + b + c, 0, atol=1e-6)
    np.testing.assert_allclose(np.mean([x @ x for x in (a, b, c)]), 1)
    np.testing.assert_allclose(embedding([Condition(("D", "A", "B"))])[0], a + b + d)
    x = table.values.astype(np.float64)
    true_ratio = np.linalg.norm(x[0] - x[1]) / np.linalg.norm(x[0] - x[2])
    np.testing.assert_allclose(np.linalg.norm(a - b) / np.linalg.norm(a - c), true_ratio)
    assert embedding.refusal(Condition(("A", "gone"))) == "no vector for gone"
    assert embedding.refusal(Condition(("A", "D"))) is None


def test_embedding_without_differences_has_no_dimensions():
    table = FeatureTable(("A", "B"), np.ones((2, 3), np.float32), "made up")
    for train in ([Condition(("A",))], [Condition(("A",)), Condition(("B",))], [Condition(("gone",))], []):
        assert TargetEmbedding.reduced(table, train, 5, "{}")([Condition(("B",))]).shape == (1, 0)
