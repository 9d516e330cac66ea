"""The feature-table reader against files written by hand, dense algebra and the published GO graph."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbench.bench.contracts.errors import DataError
from pbench.datasets import feature_table
from pbench.datasets.feature_table import default_path, read_feature_table

NAMES = ("NA", "KLF1", "BAK1")
VALUES = np.array([[0.5, -2.0], [1e-7, 3.0], [0.0, 4.25]], dtype=np.float32)


def write(folder: Path, kind: str, names=NAMES, values=VALUES) -> Path:
    path = folder / f"table.{kind}"
    frame = pd.DataFrame(values, columns=[f"d{i}" for i in range(values.shape[1])])
    frame.insert(0, "gene", list(names))
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "npz":
        np.savez(path, names=np.array(names), values=values)
    else:
        frame.to_csv(path, sep="\t" if kind == "tsv" else ",", index=False)
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "npz"])
def test_every_kind_of_file_gives_the_same_table(tmp_path, kind):
    table = read_feature_table(write(tmp_path, kind))
    assert table.names == NAMES
    np.testing.assert_array_equal(table.values, VALUES)
    assert table.values.dtype == np.float32 and not table.same_screen
    assert table.source.startswith(f"table.{kind} sha256:")


@settings(max_examples=10, deadline=None)
@given(values=st.lists(st.tuples(*[st.floats(-(2.0**100), 2.0**100, width=32)] * 2), min_size=1, max_size=6))
def test_numbers_survive_text(tmp_path_factory, values):
    array = np.array(values, dtype=np.float32)
    table = read_feature_table(write(tmp_path_factory.mktemp("f"), "csv", [f"G{i}" for i in range(len(values))], array))
    np.testing.assert_array_equal(table.values, array)


def test_names_may_be_the_index_of_a_parquet_file(tmp_path):
    pd.DataFrame(VALUES, index=list(NAMES), columns=["a", "b"]).to_parquet(tmp_path / "t.parquet")
    assert read_feature_table(tmp_path / "t.parquet").names == NAMES


def test_annotations_become_one_column_a_term(tmp_path):
    (tmp_path / "go.tsv").write_text("gene\tterm\nB\tt2\nA\tt1\nB\tt1\nB\tt2\nNA\tt3\n")
    table = read_feature_table(tmp_path / "go.tsv")
    assert table.names == ("A", "B", "NA")
    np.testing.assert_array_equal(table.values, [[1, 0, 0], [1, 1, 0], [0, 0, 1]])


def graph(folder: Path, **changes) -> Path:
    arrays = {
        "genes": np.array(["A", "B", "C"]),
        "source": np.array([0, 1, 0], dtype=np.int16),
        "target": np.array([0, 0, 2], dtype=np.int16),
        "weight": np.array([1.0, 0.5, 0.25], dtype=np.float32),
    }
    np.savez(folder / "graph.npz", **{**arrays, **changes})
    return folder / "graph.npz"


def test_rows_of_a_small_graph_are_the_features(tmp_path):
    table = read_feature_table(graph(tmp_path))
    assert table.names == ("A", "B", "C")
    np.testing.assert_array_equal(table.values, [[1, 0.5, 0.25], [0.5, 0, 0], [0.25, 0, 0]])


def test_an_edge_given_in_both_directions_takes_the_larger_weight(tmp_path):
    path = graph(tmp_path, source=np.array([0, 1]), target=np.array([1, 0]), weight=np.array([0.2, 0.7]))
    np.testing.assert_allclose(read_feature_table(path).values[:2, :2], [[0, 0.7], [0.7, 0]])


def test_a_large_graph_is_reduced_to_its_leading_singular_directions(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    n, k = 40, 5
    source, target = np.nonzero(rng.random((n, n)) < 0.2)
    weight = rng.random(len(source))
    path = graph(tmp_path, genes=np.array([f"G{i}" for i in range(n)]), source=source, target=target, weight=weight)
    whole = read_feature_table(path).values.astype(np.float64)
    monkeypatch.setattr(feature_table, "MAX_DENSE", n * n - 1)
    monkeypatch.setattr(feature_table, "N_COMPONENTS", k)
    table = read_feature_table(path)
    left, size, _ = np.linalg.svd(whole)
    np.testing.assert_allclose(table.values @ table.values.T, (left[:, :k] * size[:k] ** 2) @ left[:, :k].T, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(table.values, axis=0), size[:k], rtol=1e-5)
    assert (table.values.max(axis=0) == np.abs(table.values).max(axis=0)).all()
    assert table.source.endswith("5 leading singular directions")
    np.testing.assert_array_equal(table.values, read_feature_table(path).values)


TEXT_ERRORS = {
    "not a number": ("gene,d0\nA,1\nB,x\n", "column 'd0' has 'x' for 'B'"),
    "missing number": ("gene,d0\nA,1\nB,\n", "column 'd0' has '' for 'B'"),
    "missing text": ("gene,d0\nA,1\nB,NA\n", "column 'd0' has 'NA' for 'B'"),
    "infinite": ("gene,d0\nA,1\nB,inf\n", "value 1 of 'B' is not finite"),
    "too large for float32": ("gene,d0\nA,1\nB,1e39\n", "value 1 of 'B' is not finite"),
    "duplicate": ("gene,d0\nA,1\nA,2\n", "'A' occurs more than once"),
    "empty name": ("gene,d0\nA,1\n ,2\n", "name 2 is empty"),
    "no values": ("gene\nA\n", "1 columns"),
    "no rows": ("gene,d0\n", "0 rows"),
    "nothing": ("", "cannot be read"),
    "header too short": ("d0,d1\nA,1,2\nB,3,4\n", "more fields than its header"),
    "list of annotations without its header": ("A,t1\nB,t2\n", "header gene, term"),
    "annotation without a term": ("gene,term\nA,t1\nB,\n", "annotation 2 has no gene or no term"),
}


@pytest.mark.parametrize(("text", "message"), TEXT_ERRORS.values(), ids=TEXT_ERRORS.keys())
def test_a_wrong_text_file_is_one_clear_error(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_feature_table(path)
    assert "bad.csv" in str(error.value) and "\n" not in str(error.value)


GRAPH_ERRORS = {
    "position outside": ({"target": np.array([0, 0, 3])}, "'target' must hold whole numbers from 0 to 2"),
    "negative position": ({"source": np.array([0, -1, 0])}, "'source' must hold"),
    "fractional position": ({"source": np.array([0, 0.5, 0])}, "'source' must hold"),
    "lengths": ({"weight": np.ones(2)}, "of one length"),
    "nan": ({"weight": np.array([1, np.nan, 1])}, "'weight'"),
    "negative weight": ({"weight": np.array([1, -1, 1])}, "'weight'"),
    "duplicate": ({"genes": np.array(["A", "B", "A"])}, "'A' occurs more than once"),
    "names are numbers": ({"genes": np.arange(3)}, "must hold text"),
    "pickled names": ({"genes": np.array(["A", "B", "C"], dtype=object)}, "pickled objects"),
}


@pytest.mark.parametrize(("changes", "message"), GRAPH_ERRORS.values(), ids=GRAPH_ERRORS.keys())
def test_a_wrong_graph_is_one_clear_error(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        read_feature_table(graph(tmp_path, **changes))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"names": np.array(["A"]), "values": np.ones(1)}, "do not fit"),
        ({"names": np.array(["A"]), "values": np.ones((2, 3))}, "do not fit"),
        ({"names": np.array(["A"]), "values": np.array([["x"]])}, "do not fit"),
        ({"names": np.array(["A"]), "values": np.array([[np.nan]])}, "value 1 of 'A'"),
        ({"x": np.ones(3)}, "holds the arrays: x; it needs"),
    ],
)
def test_wrong_arrays_are_one_clear_error(tmp_path, arrays, message):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_feature_table(tmp_path / "t.npz")


class Trap:
    """Unpickling it leaves a trace."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["t.npz", "t.pkl", "inside.npz"])
def test_a_pickle_is_refused_unopened(tmp_path, name):
    trap, trace = Trap(tmp_path / "trace"), tmp_path / "trace"
    if name == "inside.npz":
        np.savez(tmp_path / name, names=np.array(["A"]), values=np.array([[trap]], dtype=object))
    else:
        (tmp_path / name).write_bytes(pickle.dumps(trap))
    with pytest.raises(DataError, match=r"[Pp]ickle"):
        read_feature_table(tmp_path / name)
    assert not trace.exists()


def test_damaged_absent_and_unknown_files_are_clear_errors(tmp_path):
    (tmp_path / "half.npz").write_bytes(graph(tmp_path).read_bytes()[:200])
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    (tmp_path / "t.xlsx").write_bytes(b"")
    for name, message in (
        ("half.npz", "is no .npz"),
        ("bad.parquet", "no readable Parquet"),
        ("t.xlsx", "ending"),
        ("none.csv", "there is no"),
    ):
        with pytest.raises(DataError, match=message):
            read_feature_table(tmp_path / name)


def test_a_folder_without_the_file_has_no_default_resource(tmp_path):
    assert default_path("go", tmp_path) is None
    assert default_path("unheard-of", tmp_path) is None


def test_a_default_resource_is_found_by_its_customary_name(tmp_path):
    (tmp_path / "side_info").mkdir()
    graph(tmp_path).rename(tmp_path / "side_info" / "gears_go_graph_top20.npz")
    table = read_feature_table(default_path("go", tmp_path))
    assert table is not None and table.names == ("A", "B", "C")


def test_the_published_go_graph_puts_related_genes_together():
    folder = os.environ.get("PBENCH_DATA")
    if not folder or not (Path(folder) / feature_table.DEFAULT_FILES["go"][0]).is_file():
        pytest.skip("PBENCH_DATA names no folder with the GO graph")
    table = read_feature_table(default_path("go", folder))
    assert table is not None
    assert table.values.shape == (9853, 64) and np.isfinite(table.values).all()
    with np.load(Path(folder) / feature_table.DEFAULT_FILES["go"][0]) as file:
        source, target = file["source"].astype(int), file["target"].astype(int)
    rng = np.random.default_rng(0)
    edges = rng.choice(np.flatnonzero(source != target), 4000)
    unit = table.values / np.maximum(np.linalg.norm(table.values, axis=1, keepdims=True), 1e-6)
    joined = (unit[source[edges]] * unit[target[edges]]).sum(axis=1)
    random = (unit[source[edges]] * unit[rng.permutation(target[edges])]).sum(axis=1)
    assert joined.mean() > random.mean() + 0.3
