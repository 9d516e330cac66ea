"""Edges of graphs and of annotations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pbench.bench.contracts.errors import DataError
from pbench.bench.engine.prepare import load_table, save_table
from pbench.datasets.feature_table import read_feature_table
from pbench.datasets.gene_graph import annotation_edges


def naive(annotations, n_neighbors, threshold):
    found = {}
    for target, own in enumerate(annotations):
        scores = [len(own & other) / len(own | other) if own | other else 0.0 for other in annotations]
        order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[: n_neighbors + 1]
        found.update({(source, target): scores[source] for source in order if scores[source] > threshold})
    return found


@given(st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=12), st.integers(1, 5), st.sampled_from([0.0, 0.1, 0.5]))
@settings(deadline=None, max_examples=60)
def test_edges_are_the_most_similar_annotations(annotations, n_neighbors, threshold):
    matrix = sparse.csr_matrix(np.array([[float(t in own) for t in range(8)] for own in annotations]))
    edges = annotation_edges(matrix, n_neighbors=n_neighbors, threshold=threshold)
    ours = {(int(s), int(t)): float(w) for s, t, w in zip(edges.source, edges.target, edges.weight, strict=True)}
    expected = naive(annotations, n_neighbors, threshold)
    assert ours.keys() == expected.keys()
    for pair, weight in expected.items():
        assert ours[pair] == pytest.approx(weight, rel=1e-6)


def test_edge_lists_by_name_keep_direction_and_weight(tmp_path):
    path = tmp_path / "graph.csv"
    path.write_text("source,target,importance\nB,A,0.5\nA,C,1\n")
    table = read_feature_table(path)
    assert table.names == ("A", "B", "C")
    named = [(table.names[s], table.names[t], w) for s, t, w in zip(*vars(table.edges).values(), strict=True)]
    assert named == [("B", "A", 0.5), ("A", "C", 1.0)]
    # The features count an edge in both directions.
    np.testing.assert_array_equal(table.values, [[0, 0.5, 1], [0.5, 0, 0], [1, 0, 0]])


def test_a_list_without_weights(tmp_path):
    path = tmp_path / "graph.tsv"
    path.write_text("source\ttarget\nB\tA\n")
    assert read_feature_table(path).edges.weight.tolist() == [1.0]


@pytest.mark.parametrize("line", ["B,,1", ",A,1", "B,A,-1", "B,A,x"])
def test_edges_that_are_none(tmp_path, line):
    path = tmp_path / "graph.csv"
    path.write_text(f"source,target,importance\n{line}\n")
    with pytest.raises(DataError, match="graph.csv"):
        read_feature_table(path)


def test_annotations_bring_edges_and_tables_of_numbers_do_not(tmp_path):
    (tmp_path / "go.csv").write_text("gene,term\nA,x\nB,x\nB,y\nC,z\n")
    (tmp_path / "numbers.csv").write_text("gene,a\nA,1\nB,2\n")
    edges = read_feature_table(tmp_path / "go.csv").edges
    assert sorted(zip(edges.source.tolist(), edges.target.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)]
    assert read_feature_table(tmp_path / "numbers.csv").edges is None


def test_edges_survive_the_cache(tmp_path):
    (tmp_path / "go.csv").write_text("gene,term\nA,x\nB,x\n")
    table = read_feature_table(tmp_path / "go.csv")
    save_table(table, tmp_path / "t.npz")
    again = load_table(tmp_path / "t.npz")
    for name in ("source", "target", "weight"):
        np.testing.assert_array_equal(getattr(again.edges, name), getattr(table.edges, name))
    save_table(read_feature_table((tmp_path / "n.csv").write_text("gene,a\nA,1\n") and tmp_path / "n.csv"), tmp_path / "n.npz")
    assert load_table(tmp_path / "n.npz").edges is None
