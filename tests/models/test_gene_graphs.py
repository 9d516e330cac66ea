"""Graphs over genes against loops and dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.resource import FeatureTable, GeneEdges
from pbench.bench.contracts.training import Cells
from pbench.models.neural.gene_graphs import (
    GeneGraph,
    coexpression_edges,
    heaviest,
    normalised,
    random_edges,
    similarity_edges,
    table_graph,
)


def edges(*triples):
    source, target, weight = zip(*triples, strict=True) if triples else ((), (), ())
    return GeneEdges(np.array(source, np.int64), np.array(target, np.int64), np.array(weight, np.float32))


def dense(found, n):
    out = np.zeros((n, n))
    for s, t, w in zip(found.source, found.target, found.weight, strict=True):
        out[t, s] = w
    return out


def naive_normalised(A):
    """Own loops for those that lack one, then D^-1/2 A D^-1/2 entry by entry."""
    A = A.copy()
    n = len(A)
    for i in range(n):
        if A[i, i] == 0:
            A[i, i] = 1
    degree = [sum(A[i, j] for j in range(n)) for i in range(n)]
    return np.array([[A[i, j] / np.sqrt(degree[i] * degree[j]) for j in range(n)] for i in range(n)])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_normalised_adjacency_is_that_of_a_loop(seed, n):
    rng = np.random.default_rng(seed)
    A = rng.uniform(0.1, 1, (n, n)) * (rng.random((n, n)) < 0.4)
    t, s = np.nonzero(A)
    found = normalised(GeneEdges(s, t, A[t, s].astype(np.float32)), n)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.toarray(), naive_normalised(A), rtol=1e-5)


def test_an_edge_listed_twice_counts_once_with_its_heavier_weight():
    twice = normalised(edges((0, 1, 0.2), (0, 1, 0.8), (1, 1, 0.5)), 2)
    np.testing.assert_array_equal(twice.toarray(), normalised(edges((0, 1, 0.8), (1, 1, 0.5)), 2).toarray())


def test_a_graph_without_edges_leaves_each_gene_to_itself():
    np.testing.assert_array_equal(normalised(edges(), 3).toarray(), np.eye(3))
    assert normalised(edges(), 0).shape == (0, 0)


def test_what_a_condition_takes_is_the_sum_over_its_targets():
    adjacency = normalised(edges((0, 1, 1.0), (2, 1, 0.5), (1, 2, 0.3)), 3)
    graph = GeneGraph(("a", "b", "c"), adjacency)
    taken = graph.taken([Condition(("b", "c")), Condition(), Condition(("a",))]).toarray()
    A = adjacency.toarray()
    np.testing.assert_allclose(taken, [A[1] + A[2], np.zeros(3), A[0]])
    assert graph.refusal(Condition(("a", "x"))) == "graph: x is not in the gene graph"
    assert graph.refusal(Condition(("a", "c"))) is None
    assert graph.refusal(Condition()) is None


@pytest.mark.parametrize("binary", [True, False])
def test_similarity_is_that_of_a_loop(binary):
    rng = np.random.default_rng(0)
    values = (rng.random((40, 12)) < 0.3).astype(float) if binary else rng.normal(size=(40, 12))
    values[7] = 0
    found = similarity_edges(values, n_neighbors=4, threshold=0.1)
    wanted = np.zeros((40, 40))
    for i in range(40):
        similar = []
        for j in range(40):
            if binary:
                either = sum(a or b for a, b in zip(values[i], values[j], strict=True))
                value = sum(a and b for a, b in zip(values[i], values[j], strict=True)) / either if either else 0.0
            else:
                size = np.linalg.norm(values[i]) * np.linalg.norm(values[j])
                value = values[i] @ values[j] / size if size else 0.0
            similar.append(np.float32(value))
        for j in sorted(range(40), key=lambda j: (-round(float(similar[j]), 6), j))[:5]:
            if similar[j] > 0.1:
                wanted[i, j] = similar[j]
    np.testing.assert_allclose(dense(found, 40), wanted, rtol=1e-5, atol=1e-7)
    assert not np.any(found.target == 7)


def test_stored_edges_are_cut_to_the_heaviest():
    found = heaviest(edges((0, 0, 1.0), (1, 0, 0.2), (2, 0, 0.9), (3, 0, 0.2), (3, 1, 0.1)), 2)
    assert sorted(zip(found.source, found.target, strict=True)) == [(0, 0), (1, 0), (2, 0), (3, 1)]


def test_the_graph_of_a_table_is_its_edges_or_the_similarity_of_its_rows():
    values = np.array([[1, 0, 1], [1, 0, 1], [0, 1, 0]], dtype=np.float32)
    own = edges((0, 2, 0.5))
    with_edges = table_graph(FeatureTable(("a", "b", "c"), values, "", edges=own))
    np.testing.assert_array_equal(with_edges.adjacency.toarray(), normalised(own, 3).toarray())
    without = table_graph(FeatureTable(("a", "b", "c"), values, ""))
    assert without.names == ("a", "b", "c")
    np.testing.assert_allclose(without.adjacency.toarray(), [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]])


def counts(n, n_genes, seed=0):
    rng = np.random.default_rng(seed)
    rate = np.exp(rng.normal(size=(n, 3)) @ rng.normal(size=(3, n_genes)) + 1)
    X = rng.poisson(rate).astype(np.float32)
    X[:, 5] = 0
    return Cells(sparse.csr_matrix(X), np.zeros(n, np.int64), (Condition(),), "counts")


def test_coexpression_is_numpys_correlation_of_normalised_cells():
    cells = counts(200, 30)
    X = cells.X.toarray().astype(float)
    Y = np.log1p(1e4 * X / X.sum(axis=1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        wanted = np.abs(np.nan_to_num(np.corrcoef(Y.T)))
    wanted[wanted <= 0.3] = 0
    for row in wanted:
        row[np.argsort(-row)[4:]] = 0
    found = coexpression_edges(cells, seed=0, n_neighbors=3, threshold=0.3)
    np.testing.assert_allclose(dense(found, 30), wanted, rtol=1e-4, atol=1e-6)
    assert not np.any(found.target == 5)
    assert (wanted > 0).sum() > 40


def test_coexpression_of_many_cells_is_that_of_a_sample_by_seed():
    cells = counts(400, 30)
    one, same = (dense(coexpression_edges(cells, seed=1, sample=30 * 100), 30) for _ in range(2))
    other = dense(coexpression_edges(cells, seed=2, sample=30 * 100), 30)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    whole = dense(coexpression_edges(cells, seed=1), 30)
    both = (one > 0) & (whole > 0)
    assert both.sum() > 100
    assert np.abs(one - whole)[both].mean() < 0.1


def test_random_neighbours_are_others():
    found = random_edges(50, seed=0, n_neighbors=20)
    assert not np.any(found.source == found.target)
    assert np.bincount(found.target).tolist() == [20] * 50
    assert len({*zip(found.source.tolist(), found.target.tolist(), strict=True)}) == 1000
    assert (found.source.min(), found.source.max()) == (0, 49)
    np.testing.assert_array_equal(found.source, random_edges(50, seed=0, n_neighbors=20).source)
    assert len(random_edges(1, seed=0).source) == 0
