"""Anybody's .h5ad: what is read, and one sentence for each thing that can be wrong."""

from __future__ import annotations

import pickle
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pbench.bench.contracts import registry
from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import DataError, UsageError
from pbench.datasets.reader import from_h5ad

LABELS = ["control", "control", "KLF1", "KLF1", "KLF1+BAK1", "BAK1+KLF1"]


def load(path, **options):
    return from_h5ad(path, **{"scale": "counts", **options}).load()


def test_reads_what_was_written(write, counts):
    screen = load(write(LABELS))
    assert list(screen.adata.obs["perturbation"]) == ["control", "control", "KLF1", "KLF1", "BAK1+KLF1", "BAK1+KLF1"]
    assert screen.n_cells == {Condition(): 2, Condition(("KLF1",)): 2, Condition(("BAK1", "KLF1")): 2}
    assert sparse.isspmatrix_csr(screen.adata.X) and screen.adata.X.dtype == np.float32
    np.testing.assert_array_equal(screen.adata.X.toarray(), counts(6))
    assert (screen.card.name, screen.card.n_cells, screen.card.n_genes, screen.card.n_perturbations) == ("my", 6, 5, 2)


def test_reads_only_the_columns_that_are_named(write):
    path = write(LABELS, donor=list("aabbab"), secret=list("abcdef"))
    adata = anndata.read_h5ad(path)
    adata.obsm["X_pca"], adata.uns["big"] = np.zeros((6, 2)), np.arange(9)
    adata.write_h5ad(path)
    read = load(path, batch_key="donor").adata
    assert list(read.obs) == ["perturbation", "batch"] and list(read.obs["batch"]) == list("aabbab")
    assert not read.uns and not read.obsm and not read.layers


def test_keeps_dense_files_dense(write, counts):
    X = load(write(LABELS, dense=True)).adata.X
    assert isinstance(X, np.ndarray) and X.dtype == np.float32
    np.testing.assert_array_equal(X, counts(6))


def test_csc_files_become_csr(write, counts):
    path = write(LABELS)
    adata = anndata.read_h5ad(path)
    adata.X = adata.X.tocsc().astype(np.int64)
    adata.write_h5ad(path)
    X = load(path).adata.X
    assert sparse.isspmatrix_csr(X)
    np.testing.assert_array_equal(X.toarray(), counts(6))


def test_reads_a_layer(write, counts, log1p_1e4):
    path = write(LABELS, X=log1p_1e4(counts(6)), layers={"umi": counts(6)})
    np.testing.assert_array_equal(load(path, layer="umi").adata.X.toarray(), counts(6))
    with pytest.raises(DataError, match=r"no layer 'umis'.*'umi'"):
        load(path, layer="umis")


def test_contexts_times_and_doses(write):
    path = write(
        ["NT", "NT", "drug b", "drug a+drug b", "drug a"],
        line=["x", "y", "x", "y", "x"],
        hours=[np.nan, np.nan, 24.0, 24.0, 48.0],
        conc=["0", "", "2500000", "0.1+1e6", "1e-3"],
    )
    screen = load(path, control_label="NT", context_key="line", time_key="hours", dose_key="conc")
    assert set(screen.conditions) == {
        Condition(context="x"),
        Condition(context="y"),
        Condition(("drug b",), (2.5e6,), 24, "x"),
        Condition(("drug a", "drug b"), (0.1, 1e6), 24, "y"),
        Condition(("drug a",), (0.001,), 48, "x"),
    }


def test_doses_follow_their_targets_into_canonical_order(write):
    screen = load(write(["control", "B+A"], conc=["", "1+2"]), dose_key="conc")
    assert screen.perturbed == (Condition(("A", "B"), (2.0, 1.0)),)


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-12, 1e15))
def test_any_numeric_dose_survives(dose):
    from pbench.datasets.labels import joined
    from pbench.datasets.reader import Layout, _dose

    text = _dose("A", str(dose), Layout("p", "counts", joined("+", control="control"), dose="d"), "file")
    assert [float(d) for d in text.split("+")] == [dose]


@pytest.mark.parametrize("name", ["a/b", "a b", "a_b", "β-ion", "100% DMSO", "HLA-A"])
def test_unusual_names_work(write, name):
    assert load(write(["control", name, f"{name}+SET"])).perturbed == (Condition((name,)), Condition((name, "SET")))


def test_names_with_a_plus_work_without_a_separator(write):
    screen = load(write(["control", "Na+", "CD8+T"]), separator=None)
    assert set(screen.perturbed) == {Condition(("Na+",)), Condition(("CD8+T",))}
    with pytest.raises(DataError, match=r"perturbation.*'Na\+'.*--separator"):
        load(write(["control", "Na+", "CD8+T"]))


def test_is_registered():
    assert registry.datasets.get("your.h5ad") is from_h5ad


def test_identity_follows_bytes_and_options_not_place(write, tmp_path):
    first = from_h5ad(write(LABELS, name="a.h5ad"), scale="counts")
    copy = tmp_path / "elsewhere.h5ad"
    copy.write_bytes((tmp_path / "a.h5ad").read_bytes())
    assert from_h5ad(copy, scale="counts").data_id() == first.data_id()
    assert from_h5ad(copy, scale="raw").data_id() != first.data_id()
    assert from_h5ad(copy, scale="counts", separator="_").data_id() != first.data_id()
    assert from_h5ad(write([*LABELS[:-1], "SET"], name="b.h5ad"), scale="counts").data_id() != first.data_id()


def refused(path, *words, error=DataError, exit_code=3, **options):
    with pytest.raises(error) as caught:
        load(path, **options)
    message = str(caught.value)
    assert caught.value.exit_code == exit_code
    assert not [w for w in words if w not in message], message
    assert "\n" not in message


def test_no_such_file(tmp_path):
    refused(tmp_path / "nowhere.h5ad", "nowhere.h5ad", "no such file")


def test_unknown_scale(write):
    refused(write(LABELS), "log1p", "'log1p_1e4'", scale="log1p", error=UsageError, exit_code=2)


def test_not_hdf5(tmp_path):
    (tmp_path / "text.h5ad").write_text("barcode,gene\n")
    refused(tmp_path / "text.h5ad", "text.h5ad", "HDF5")


def test_truncated(write):
    path = write(LABELS)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path, "my.h5ad", "truncated")


def test_hdf5_that_is_no_anndata(tmp_path):
    with h5py.File(tmp_path / "other.h5ad", "w") as f:
        f["matrix"] = np.eye(2)
    refused(tmp_path / "other.h5ad", "other.h5ad", "no AnnData file")


class Touch:
    """Leaves a mark when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_never_unpickles(write, tmp_path):
    path, mark = write(LABELS), tmp_path / "unpickled"
    with h5py.File(path, "a") as f:
        for group in ("obs", "uns"):
            f.create_dataset(f"{group}/pickle", data=np.void(pickle.dumps(Touch(mark))))
    load(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("option", "flag"),
    [("perturbation_key", "--perturbation-key"), ("context_key", "--context-key"), ("batch_key", "--batch-key")],
)
def test_no_such_column(write, option, flag):
    path = write(LABELS, cell_type=list("abcabc"))
    refused(path, "my.h5ad", "no column 'celltype'", "'cell_type'", flag, **{option: "celltype"})


def test_missing_control_label(write):
    refused(write(["Ctrl", "Ctrl", "KLF1"]), "my.h5ad", "obs['perturbation']", "'control'", "'Ctrl', 'KLF1'", "--control-label")
    refused(write(["controls", "controls", "KLF1"]), "did you mean 'controls'?")


def test_counts_declared_as_logs_and_logs_as_counts(write, counts, log1p_1e4):
    refused(write(LABELS), "my.h5ad", "--scale counts", scale="log1p_1e4")
    refused(write(LABELS, X=log1p_1e4(counts(6))), "my.h5ad", "--scale log1p_1e4", scale="counts")


@pytest.mark.filterwarnings("ignore:Observation names")
def test_duplicates(write):
    refused(write(LABELS, barcodes=list("abcdea")), "my.h5ad", "barcodes", "'a'")
    refused(write(LABELS, genes=["KLF1", "SET", "AHR", "SET", "TBX3"]), "my.h5ad", "genes", "'SET'")


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-1.0, "negative")])
def test_impossible_values(write, counts, value, word):
    X = counts(6).astype(float)
    X[2, 1] = value
    refused(write(LABELS, X=X), "my.h5ad", word)


@pytest.mark.parametrize(
    ("labels", "word"),
    [
        (["control", "", "KLF1"], "empty label"),
        (["control", "  ", "KLF1"], "empty label"),
        (["control", None, "KLF1"], "missing in 1 of 3"),
        (["control", "nan", "KLF1"], "missing in 1 of 3"),
        (["control", "KLF1+", "KLF1"], "empty target"),
    ],
)
def test_empty_labels(write, labels, word):
    refused(write(labels), "my.h5ad", "obs['perturbation']", word)


def test_a_target_called_control_is_refused(write):
    refused(write(["NT", "control", "KLF1"]), "my.h5ad", "'control'", control_label="NT")


@pytest.mark.parametrize(("label", "dose"), [("A+A", "1+2"), ("A+B+C", "1+2"), ("A+B", "1+2+3")])
def test_doses_that_fit_no_target(write, label, dose):
    refused(write(["control", label], conc=["0", dose]), "my.h5ad", "obs['conc']", repr(dose), repr(label), dose_key="conc")


def test_a_target_that_is_named_twice_counts_once(write):
    assert load(write(["control", "A+A", "A"], conc=[0, 2, 2]), dose_key="conc").perturbed == (Condition(("A",), (2.0,)),)


def test_controls_may_be_called_none(write):
    assert load(write(["None", "None", "KLF1"]), control_label="None").n_cells == {Condition(): 2, Condition(("KLF1",)): 1}


@pytest.mark.parametrize("dose", ["high", "1+2", "", "inf", "nan"])
def test_doses_that_are_no_numbers(write, dose):
    refused(write(["control", "KLF1"], conc=["0", dose]), "my.h5ad", "obs['conc']", repr(dose), dose_key="conc")


def test_times_that_are_no_numbers(write):
    refused(write(["control", "KLF1"], t=["0", "late"]), "my.h5ad", "obs['t']", "'late'", time_key="t")
    refused(write(["control", "KLF1"], t=[0.0, np.nan]), "my.h5ad", "obs['t']", "missing in 1 of 1", time_key="t")


def test_contexts_with_gaps_or_without_controls(write):
    refused(write(LABELS, line=["a", None, "a", "a", "a", "a"]), "obs['line']", "missing in 1 of 6", context_key="line")
    refused(write(LABELS, line=["a", "a", "a", "a", "b", "b"]), "'b'", "obs['line']", "no control cells", context_key="line")


def test_only_controls(write):
    refused(write(["control", "control"]), "my.h5ad", "every cell")
