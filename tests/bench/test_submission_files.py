"""Files of predictions as other tools write them, and what is said of those that are damaged or unclear."""

from __future__ import annotations

import tarfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from anndata import AnnData
from scipy import sparse

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import DataError, UsageError
from pbench.bench.engine.answer import Answer
from pbench.bench.engine.store import Store
from pbench.bench.engine.submission_files import open_predictions
from pbench.bench.engine.submission_layouts import Reading

GENES = ["A", "B", "C", "D"]
LABELS = ["non-targeting", "A", "A", "B", "A+B"]
VALUES = np.arange(20, dtype=np.float32).reshape(5, 4) / 4


@pytest.fixture
def write(tmp_path):
    def make(name="predictions.h5ad", *, X=None, var=GENES, layer=None, **obs):
        obs = pd.DataFrame(obs or {"target_gene": pd.Categorical(LABELS)})
        obs.index = obs.index.astype(str)
        X = sparse.csr_matrix(VALUES) if X is None else X
        adata = AnnData(X if layer is None else None, obs=obs, var=pd.DataFrame({"symbol": [f"s{g}" for g in var]}, index=var))
        if layer is not None:
            adata.layers[layer] = X
        adata.write_h5ad(tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def read(tmp_path):
    """All that a file says: layout, conditions by row, genes, values, and whether it is a table of means."""

    def call(path, **reading):
        reading.setdefault("scale", None if Path(path).suffix == ".npz" else "log1p_1e4")
        with open_predictions(Path(path), Reading(**reading), tmp_path / "scratch") as found:
            blocks = [b.toarray() if sparse.issparse(b) else b for _, b in found.rows]
            conditions = [found.labels.stated[k] for k in found.labels.codes]
            return found.labels.layout, conditions, list(found.genes), np.concatenate(blocks), found.table

    return call


A, B, AB = Condition(("A",)), Condition(("B",)), Condition(("A", "B"))


def test_cell_eval(read, write):
    """An AnnData with obs['target_gene'], controls 'non-targeting' and X log-normalised: cell-eval's defaults."""
    layout, conditions, genes, values, table = read(write())
    assert (layout, genes, table) == ("cell-eval", GENES, False)
    assert conditions == [Condition(), A, A, B, AB]
    np.testing.assert_array_equal(values, VALUES)


def test_cell_eval_prep(read, write, tmp_path):
    """A .vcc is a tar with pred.h5ad.zst and watermark.txt."""
    data = write("pred.h5ad").read_bytes()
    with pa.CompressedOutputStream(pa.OSFile(str(tmp_path / "pred.h5ad.zst"), "wb"), "zstd") as out:
        out.write(data)
    (tmp_path / "watermark.txt").write_text("vcc-prep")
    with tarfile.open(tmp_path / "run.prep.vcc", "w") as tar:
        for name in ("pred.h5ad.zst", "watermark.txt"):
            tar.add(tmp_path / name, arcname=name)
    layout, conditions, _, values, _ = read(tmp_path / "run.prep.vcc")
    assert layout == "cell-eval" and conditions[1:] == [A, A, B, AB]
    np.testing.assert_array_equal(values, VALUES)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_scperturb(read, write):
    """obs['perturbation'] with 'control', combinations joined by '_', and obs['nperts']."""
    path = write(perturbation=["control", "A", "B_A", "B", "B"], nperts=[0, 1, 2, 1, 1], ncounts=[5.0] * 5)
    layout, conditions, *_ = read(path)
    assert layout == "scperturb" and conditions == [Condition(), A, AB, B, B]
    assert read(path, separator="none")[1][2] == Condition(("B_A",))
    assert read(path, layout="pbench")[1][2] == Condition(("B_A",))


def test_gears_and_pbench(read, write):
    assert read(write(condition=["ctrl", "A+ctrl", "ctrl+A", "B+ctrl", "B+A"]))[:2] == ("gears", [Condition(), A, A, B, AB])
    assert read(write(perturbation=["control", "A", "A+ctrl", "B", "B+A"]))[:2] == ("pbench", [Condition(), A, A, B, AB])


def test_columns_and_labels_of_ones_own(read, write):
    path = write(drug=["DMSO", "A", "A", "B", "A;B"], line=["x", "x", "y", "y", "x"], layer="predicted")
    layout, conditions, genes, _, _ = read(
        path,
        perturbation_key="drug",
        control_label="DMSO",
        separator=";",
        context_key="line",
        layer="predicted",
        gene_key="symbol",
    )
    assert layout == "pbench" and genes == ["sA", "sB", "sC", "sD"]
    assert conditions[0] == Condition(context="x") and conditions[-1] == Condition(("A", "B"), context="x")
    with pytest.raises(DataError, match="no X.*--prediction-layer"):
        read(path, perturbation_key="drug")
    with pytest.raises(DataError, match="no layer 'predict'.*'predicted'"):
        read(path, perturbation_key="drug", layer="predict")
    with pytest.raises(DataError, match="no column 'lin'.*'line'.*--prediction-context-key"):
        read(path, perturbation_key="drug", layer="predicted", context_key="lin")
    with pytest.raises(DataError, match="var has no column 'symbl'.*'symbol'"):
        read(path, perturbation_key="drug", layer="predicted", gene_key="symbl")


def test_what_is_unclear_is_asked(read, write):
    with pytest.raises(UsageError, match="holds each of target_gene, perturbation.*--layout"):
        read(write(target_gene=LABELS, perturbation=LABELS))
    with pytest.raises(UsageError, match=r"names none of its columns \(drug\).*--prediction-perturbation-key"):
        read(write(drug=LABELS))
    with pytest.raises(DataError, match=r"no column 'target_gene' with perturbations \(layout cell-eval\)"):
        read(write(drug=LABELS), layout="cell-eval")
    with pytest.raises(UsageError, match="files that end in .h5ad"):
        read(write("predictions.h5ad").rename(write("predictions.h5ad").with_suffix(".pkl")))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["A", None, "B", "B", "B"], "'target_gene' is missing in 1 of 5 rows"),
        (["A", "nan", "B", "B", "B"], r"'target_gene' is missing in 1 of 5 rows \(first: row 2\)"),
        (["A", "A+", "B", "B", "B"], "'A\\+' names an empty target.*--prediction-separator"),
        (["A", " ", "B", "B", "B"], "holds an empty label"),
    ],
)
def test_labels_that_say_nothing(read, write, labels, message):
    with pytest.raises(DataError, match=message):
        read(write(target_gene=labels))


def text(path, rows, separator=","):
    path.write_text("\n".join(separator.join(map(str, r)) for r in rows) + "\n", encoding="utf-8")
    return path


ROWS = [["perturbation", "D", "A", "B", "C"], ["A", 0.1, 0.2, 0.3, 0.4], ["B+A", 1.0, 1.1, 1.2, 1.3]]


def test_tables(read, tmp_path):
    expected = ("pbench", [A, AB], ["D", "A", "B", "C"])
    frame = pd.DataFrame(ROWS[1:], columns=ROWS[0])
    frame.to_parquet(tmp_path / "flat.parquet")
    frame.set_index("perturbation").to_parquet(tmp_path / "indexed.parquet")
    frame.set_index("perturbation").rename_axis(None).to_parquet(tmp_path / "nameless.parquet")
    frame.set_index("perturbation").rename_axis(None).to_csv(tmp_path / "nameless.csv")
    text(tmp_path / "plain.csv", ROWS)
    text(tmp_path / "tabs.tsv", ROWS, "\t")
    text(tmp_path / "columns.csv", [[r[i] for i in (1, 0, 2, 3, 4)] for r in ROWS])
    for path in sorted(p for p in tmp_path.iterdir() if p.is_file()):
        layout, conditions, genes, values, table = read(path)
        assert (layout, conditions, genes) == expected and table, path
        np.testing.assert_array_equal(values, [[0.1, 0.2, 0.3, 0.4], [1.0, 1.1, 1.2, 1.3]])


def test_labels_in_a_table_are_words(read, tmp_path):
    rows = [["target_gene", "A", "NA"], ["NA", 1, 2], ["007", 3, 4], ["non-targeting", 5, 6], ["1e5", 7, 8]]
    layout, conditions, genes, *_ = read(text(tmp_path / "words.csv", rows))
    assert (layout, genes) == ("cell-eval", ["A", "NA"])
    assert [c.targets for c in conditions] == [("NA",), ("007",), (), ("1e5",)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["perturbation", "A", "A"], ["A", 1, 2]], "'A'.*joined by name"),
        ([["perturbation", "A", "line"], ["A", 1, "K562"]], "'line' holds text, such as 'K562'.*--prediction-context-key"),
        ([["perturbation", "A"], ["A", 1, 2]], "no readable table"),
        ([["perturbation", "A"]], "has 0 rows"),
        ([["A", "B"], ["x", 1]], "names none of its columns"),
        ([[]], "names none of its columns|no readable table"),
    ],
    ids=["gene twice", "text", "long row", "empty", "no label", "nothing"],
)
def test_tables_that_cannot_be_read(read, tmp_path, rows, message):
    with pytest.raises((DataError, UsageError), match=message):
        read(text(tmp_path / "bad.csv", rows))
    for said, message in (({"layer": "X"}, "is a table"), ({"rows": "cells"}, "holds means"), ({"scale": None}, "never guessed")):
        with pytest.raises(UsageError, match=message):
            read(text(tmp_path / "good.csv", ROWS), **said)


def test_what_pbench_has_archived(read, tmp_path):
    conditions = (Condition(("A",), (2.0,), 6.0, "x"), B, AB)
    mean = np.array([[1, 2], [np.nan, np.nan], [3, 4]], dtype=np.float32)
    answer = Answer(mean, np.zeros(3, dtype=bool), np.array(["", "capability: no", ""], dtype=object), {})
    Store(tmp_path).save_prediction("0" * 64, conditions, ["A", "B"], answer)
    (path,) = (tmp_path / "predictions").glob("*.npz")
    layout, found, genes, values, table = read(path)
    assert (layout, found, genes, table) == ("archive", [conditions[0], AB], ["A", "B"], True)
    np.testing.assert_array_equal(values, mean[[0, 2]])
    for said, message in (({"scale": "log1p_1e4"}, "knows its scale"), ({"rows": "cells"}, "holds means")):
        with pytest.raises(UsageError, match=message):
            read(path, **said)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match="no archive of predictions"):
        read(path)


def test_gene_names_must_be_unique(read, write):
    with pytest.warns(UserWarning, match="not unique"):
        path = write(var=["A", "B", "B", "D"])
    with pytest.raises(DataError, match=r"1 gene name\(s\) occur more than once \(first: 'B'\)"):
        read(path)


def damaged(path, how):
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:2000])
    elif how == "text":
        path.write_text("target_gene,A,B")
    else:
        with h5py.File(path, "r+") as f:
            if how == "column beyond the last gene":
                f["X/indices"][3] = 99
            elif how == "rows overlap":
                f["X/indptr"][2] = 99
            elif how == "another shape":
                f["X"].attrs["shape"] = (5, 3)
            elif how == "words":
                del f["X/data"]
                f["X/data"] = np.array(["a"] * 19, dtype="S1")
            elif how == "a link":
                del f["X/data"]
                f["X/data"] = h5py.ExternalLink("elsewhere.h5", "data")
    return path


DAMAGE = {
    "truncated": "no readable HDF5",
    "text": "no readable HDF5",
    "column beyond the last gene": "damaged sparse matrix",
    "rows overlap": "damaged sparse matrix",
    "another shape": "5 x 3, obs has 5 rows and var 4",
    "words": "no matrix of real numbers",
    "a link": "is a link",
}


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_told(read, write, how, kind):
    with pytest.raises(DataError, match=DAMAGE[how]):
        read(damaged(write(X=kind(VALUES)), how))


def test_damaged_archives_are_told(read, tmp_path):
    path = tmp_path / "run.vcc"
    path.write_text("nothing")
    with pytest.raises(DataError, match="no readable .vcc"):
        read(path)
    (tmp_path / "pred.h5ad.zst").write_text("not compressed")
    with tarfile.open(path, "w") as tar:
        tar.add(tmp_path / "pred.h5ad.zst", arcname="pred.h5ad.zst")
    with pytest.raises(DataError, match="no readable .vcc"):
        read(path)
    with tarfile.open(path, "w") as tar:
        tar.add(tmp_path / "pred.h5ad.zst", arcname="notes.txt")
    with pytest.raises(DataError, match="holds no .h5ad.zst"):
        read(path)
    with pytest.raises(DataError, match="there is no such file"):
        read(tmp_path / "missing.h5ad")
