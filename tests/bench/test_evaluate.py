"""Scores from Python: the same numbers as on the command line, a tidy table, nothing left behind, errors in Python's words."""

from __future__ import annotations

import os
import re
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import pbench
from pbench.bench.contracts.errors import DataError, UsageError
from pbench.bench.tidy import COLUMNS, STATUSES
from pbench.bench.workspace import SET, said_in_python
from pbench.metrics import CATALOGUE, PROFILES

SCALES = {"true_scale": "counts", "pred_scale": "log1p_1e4"}


def log1p_1e4(X):
    X = X.toarray().astype(np.float64)
    return np.log1p(1e4 * X / X.sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def truth(make_screen):
    return make_screen(seed=5).adata


@pytest.fixture(scope="module")
def cells(truth):
    """Predicted cells: the true ones with noise, controls among them, genes and rows in another order."""
    rng = np.random.default_rng(0)
    rows, genes = rng.permutation(truth.n_obs), rng.permutation(truth.n_vars)
    values = (log1p_1e4(truth.X) + 0.2 * rng.normal(size=truth.shape))[rows][:, genes].astype(np.float32)
    return anndata.AnnData(values, obs=truth.obs.iloc[rows], var=truth.var.iloc[genes])


@pytest.fixture(scope="module")
def means(cells):
    """One predicted row for each perturbation."""
    table = cells.to_df().groupby(cells.obs["perturbation"].astype(str).to_numpy()).mean()
    return anndata.AnnData(table.to_numpy(), obs=pd.DataFrame({"perturbation": table.index}, index=table.index), var=cells.var)


@pytest.fixture(scope="module")
def scored(truth, means):
    return pbench.evaluate(truth, means, **SCALES, split="doubles")


def keyed(frame):
    return frame.set_index(["model", "perturbation", "metric"])["value"].sort_index()


def test_the_numbers_are_those_of_the_command_line(pbench_score, truth, cells):
    metrics = [*PROFILES["headline"], "mmd@all#pca", "de_overlap.n@all~ctrl#cells"]
    ours = pbench.evaluate(truth, cells, **SCALES, split="doubles", metrics=metrics, model="predictions")
    theirs = pbench_score(truth, cells, metrics)
    theirs = theirs.set_index(["model", "perturbation", "metric"])["value"].sort_index()
    ours = keyed(ours)
    assert list(ours.index) == list(theirs.index)
    assert ours.notna().sum() > 50
    np.testing.assert_array_equal(ours.to_numpy(), theirs.to_numpy(dtype=float))


@pytest.fixture
def pbench_score(pbench, tmp_path):
    def call(truth, predicted, metrics):
        truth.write_h5ad(tmp_path / "truth.h5ad")
        predicted.write_h5ad(tmp_path / "predictions.h5ad")
        done = pbench(
            *("score", "predictions.h5ad", "--truth", "./truth.h5ad", "--scale", "counts", "--prediction-scale", "log1p_1e4"),
            *("--split", "doubles", "--metrics", ",".join(metrics), "--quiet"),
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        return pd.read_parquet(tmp_path / "results" / "records.parquet")

    return call


def test_a_value_is_what_the_formula_says(truth, means, scored):
    """Independent of the engine: the Euclidean error of the mean of log1p."""
    expected = pd.DataFrame(log1p_1e4(truth.X), columns=truth.var_names)
    expected = expected.groupby(truth.obs["perturbation"].astype(str).to_numpy()).mean()
    own = scored[(scored["model"] == "prediction") & (scored["metric"] == "l2@all")].set_index("perturbation")["value"]
    assert len(own) == 4
    for label, value in own.items():
        error = expected.loc[label] - means.to_df().loc[label, expected.columns]
        assert value == pytest.approx(np.linalg.norm(error), rel=1e-4)


def test_the_layout_is_tidy(scored):
    assert tuple(scored.columns) == COLUMNS
    assert not scored.duplicated(["model", "split", "fold", "seed", "perturbation", "context", "dose", "time", "metric"]).any()
    assert scored["model"].iloc[0] == "prediction"
    assert {"oracle-mean", "train-mean", "no-change"} < set(scored["model"])
    assert set(scored["status"]) <= set(STATUSES)
    assert (scored["value"].notna() == (scored["status"] == "ok")).all()
    assert scored.loc[scored["status"] != "ok", "reason"].notna().all()
    assert set(scored["direction"]) <= {"up", "down", "target"}
    assert scored["split"].unique().tolist() == ["doubles[seed=0]"]


def test_what_is_not_predicted_is_unavailable_and_not_zero(truth, means):
    some = means[~means.obs["perturbation"].isin(["G02+G03"])]
    found = pbench.evaluate(truth, some, **SCALES, split="doubles", baselines=False)
    missing = found[found["perturbation"] == "G02+G03"]
    assert set(missing["status"]) == {"unavailable"}
    assert missing["value"].isna().all()
    assert set(missing["reason"]) == {"resource: not in the file of predictions"}
    assert set(found["model"]) == {"prediction"}
    assert any("1 of 4 test perturbations" in note for note in found.attrs["notes"])


def test_without_training_what_needs_it_is_undefined_with_a_reason(truth, means):
    found = pbench.evaluate(truth, means, **SCALES, metrics=["l2@all", "pearson_delta@all~pert"], baselines=["no-change"])
    own = found[found["model"] == "prediction"].set_index("metric")
    assert set(own.loc["l2@all", "status"]) == {"ok"}
    assert set(own.loc["pearson_delta@all~pert", "status"]) == {"undefined"}
    assert own.loc["pearson_delta@all~pert", "reason"].notna().all()
    assert found["perturbation"].nunique() == 15


def test_training_can_be_named_by_labels(truth, means):
    """The singles as training are the split by doubles, but for what that sets aside."""
    singles = [label for label in means.obs["perturbation"] if "+" not in label and label != "control"]
    found = pbench.evaluate(truth, means, **SCALES, training=singles, baselines=["additive", "train-mean"], metrics="l2@all")
    assert found["split"].unique().tolist() == ["stated[n=8]"]
    assert sorted(found["perturbation"].unique()) == sorted({p for p in means.obs["perturbation"] if "+" in p})
    table = found.pivot_table(index="perturbation", columns="model", values="value")
    assert (table["additive"] < table["train-mean"]).mean() > 0.5
    expected = pd.DataFrame(log1p_1e4(truth.X), columns=truth.var_names)
    expected = expected.groupby(truth.obs["perturbation"].astype(str).to_numpy()).mean()
    added = expected.loc["G00"] + expected.loc["G01"] - expected.loc["control"] - expected.loc["G00+G01"]
    assert table.loc["G00+G01", "additive"] == pytest.approx(np.linalg.norm(added), rel=1e-4)


def test_a_manifest_is_applied_by_the_names_of_conditions(make_screen, truth, means, tmp_path):
    from pbench.bench.contracts import registry

    (manifest,) = registry.splits.get("doubles")(make_screen(seed=5), data_id="of other bytes")
    manifest.save(tmp_path / "split.json")
    by_name, by_object, by_file = (
        pbench.evaluate(truth, means, **SCALES, split=split, metrics="l2@all", baselines=False)
        for split in ("doubles", manifest, tmp_path / "split.json")
    )
    pd.testing.assert_frame_equal(by_name, by_object)
    pd.testing.assert_frame_equal(by_name, by_file)


def test_contexts_and_other_columns(make_screen):
    adata = make_screen(seed=6, contexts=("a", "b"), n_cells=16, n_control=30).adata
    renamed = anndata.AnnData(
        sparse.csr_matrix(log1p_1e4(adata.X).astype(np.float32)),
        obs=pd.DataFrame(
            {
                "gene": adata.obs["perturbation"].astype(str).str.replace("+", "_").replace("control", "NT").to_numpy(),
                "line": adata.obs["context"].to_numpy(),
                "mixed": [1, "x"] * (adata.n_obs // 2),
            },
            index=adata.obs_names,
        ),
        var=pd.DataFrame({"symbol": adata.var_names}, index=[f"ENSG{i}" for i in range(adata.n_vars)]),
    )
    found = pbench.evaluate(
        adata,
        renamed,
        **SCALES,
        context_key="context",
        pred_perturbation_key="gene",
        pred_control_label="NT",
        pred_separator="_",
        pred_context_key="line",
        pred_gene_key="symbol",
        metrics="l2@all",
        baselines=False,
    )
    assert found["context"].value_counts().to_dict() == {"a": 15, "b": 15}
    # Cells of the truth itself: what is left is the rounding of float32.
    assert found["value"].max() < 1e-3


def test_nothing_is_left_behind(truth, means, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    environment = {name: os.environ.get(name) for name in SET}
    before = truth.copy(), means.copy()
    pbench.evaluate(truth, means, **SCALES, metrics="l2@all", baselines=False)
    with pytest.raises(DataError):
        pbench.evaluate(truth, means, true_scale="log1p_1e4", pred_scale="log1p_1e4")
    assert [p.name for p in tmp_path.rglob("*")] == ["scratch"]
    assert {name: os.environ.get(name) for name in SET} == environment
    for held, kept in zip((truth, means), before, strict=True):
        assert (held.X != kept.X).sum() == 0
        pd.testing.assert_frame_equal(held.obs, kept.obs)


def test_records_can_be_kept_for_a_board(truth, means, tmp_path, typed):
    ours = pbench.evaluate(truth, means, **SCALES, split="doubles", metrics="l2@all", model="mine", results=tmp_path / "kept")
    code, out, _ = typed("leaderboard", "--results", tmp_path / "kept")
    assert code == 0
    assert "mine" in out
    assert str(tmp_path) not in out
    assert "mine" in set(ours["model"])


@pytest.fixture
def typed(monkeypatch, capsys):
    from pbench.bench.cli.main import main

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["pbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return call


MISTAKES = {
    "scale of the truth": ({"true_scale": "logs"}, UsageError, "true_scale"),
    "wrong scale of the truth": ({"true_scale": "log1p_1e4"}, DataError, "true_scale='counts'"),
    "scale of the predictions": ({"pred_scale": "log"}, UsageError, "pred_scale"),
    "counts of means": ({"pred_scale": "counts"}, DataError, "pred_scale='log1p_1e4'"),
    "changes, not values": ({"pred_scale": "delta"}, DataError, "pred_scale='log1p_1e4'"),
    "column": ({"perturbation_key": "perturbatoin"}, DataError, "Did you mean 'perturbation'?"),
    "column of the predictions": ({"pred_perturbation_key": "gene"}, DataError, "adata_pred.obs has no column 'gene'"),
    "control": ({"control_label": "NT"}, DataError, "kept for unperturbed cells"),
    "context that is not there": ({"pred_context_key": "perturbation"}, UsageError, "pred_context_key"),
    "metric": ({"metrics": "l2@al"}, UsageError, "Did you mean"),
    "metrics, none": ({"metrics": []}, UsageError, "no metric was named"),
    "split": ({"split": "doubels"}, UsageError, "'doubles'"),
    "manifest": ({"split": "nowhere/split.json"}, DataError, "not a pbench split manifest"),
    "both": ({"split": "doubles", "training": ["G00"]}, UsageError, "leave out"),
    "training": ({"training": ["G0"]}, UsageError, "training names 'G0'"),
    "nothing in training": ({"training": []}, DataError, "training"),
    "baseline": ({"baselines": ["aditive"], "split": "doubles"}, UsageError, "'additive'"),
    "baseline that learns": ({"baselines": ["additive"]}, UsageError, "split or training"),
    "name of a model": ({"model": "additive"}, UsageError, "is a registered model"),
    "layer": ({"layer": "raw"}, DataError, "no layer 'raw'"),
    "layer of the predictions": ({"pred_layer": "raw"}, DataError, "adata_pred has no layer 'raw'"),
    "genes": ({"pred_gene_key": "symbol"}, DataError, "adata_pred.var has no column"),
    "rows": ({"rows": "bananas"}, UsageError, "rows"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_the_words_of_the_function(truth, means, mistake):
    arguments, kind, words = MISTAKES[mistake]
    with pytest.raises(kind) as told:
        pbench.evaluate(truth, means, **{**SCALES, **arguments})
    message = str(told.value)
    assert words in message, message
    assert "--" not in message.partition("with: pbench")[0], message
    assert ".h5ad" not in message and "/tmp" not in message, message
    assert "\n" not in message


def test_few_rows_are_asked_about(truth, cells):
    few = cells[cells.obs.groupby("perturbation", observed=True).cumcount().to_numpy() < 3]
    with pytest.raises(UsageError, match="rows='cells' or rows='means'"):
        pbench.evaluate(truth, few, **SCALES)
    told = pbench.evaluate(truth, few, **SCALES, rows="means", metrics="l2@all", baselines=False)
    assert any("averaged" in note for note in told.attrs["notes"])


def test_files_and_gaps_are_refused(truth, means):
    with pytest.raises(DataError, match="an AnnData is needed"):
        pbench.evaluate("truth.h5ad", means, **SCALES)  # type: ignore[arg-type]
    some = means[:, means.var_names[:10]]
    with pytest.raises(DataError, match=r"adata_pred lacks 50 of 60 genes.*pred_gene_key"):
        pbench.evaluate(truth, some, **SCALES)
    broken = means.copy()
    broken.X[0, 0] = np.nan
    with pytest.raises(DataError, match="NaN"):
        pbench.evaluate(truth, broken, **SCALES)


def test_options_are_said_as_arguments():
    shell = "rows='cells' or not. Type: pbench show doubles --rows FILE"
    assert said_in_python(shell.replace("rows=", "--rows ").replace("'", ""), {"rows": "rows"}) == shell
    assert said_in_python("adata_pred.h5ad lacks", {}) == "adata_pred lacks"
    assert said_in_python("with --prediction-dose-key.", {"prediction-dose-key": "pred_dose_key"}) == "with pred_dose_key."


def test_the_page_names_metrics_and_columns_that_exist():
    page = (Path(pbench.__file__).parent / "docs" / "evaluate.md").read_text()
    named = set(re.findall(r"`([a-z_.0-9]+@[^`]+)`", page))
    assert len(named) > 4
    assert named <= set(CATALOGUE)
    table = page.partition("### Columns")[2].partition("\n\n`scores.attrs")[0]
    assert set(COLUMNS) == {c for line in table.splitlines()[4:] for c in re.findall(r"`(\w+)`", line.split("|")[1])}


def test_importing_the_package_loads_none_of_it():
    import subprocess
    import sys

    code = "import sys, pbench; print([m for m in sys.modules if m.startswith('pbench.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=Path.cwd())
    assert done.stdout.strip() == "[]", done.stderr
