"""``pbench score`` as it is typed: the board, the numbers of a model with the same answers, and what is asked and refused."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from pbench.bench.cli.main import main
from pbench.bench.engine.store import Store

LOG = ("--prediction-scale", "log1p_1e4")
PLUGIN = """
import numpy as np
from scipy import sparse
from pbench import Capabilities, Model, Prediction
from pbench.bench.contracts.prediction import LazyCells


class SameAnswers(Model):
    capabilities = Capabilities(unseen_targets=True)

    def fit(self, data, *, seed):
        with np.load("{path}") as f:
            self.labels_, self.X_ = f["labels"], f["X"][:, np.argsort(f["genes"], kind="stable")]
        return self

    def predict(self, conditions, controls):
        self._check_fitted("X_")
        own = {{c: self.X_[self.labels_ == c.label] for c in conditions}}
        there = tuple(c for c in conditions if len(own[c]))
        mean = np.array([own[c].mean(axis=0, dtype=np.float64) for c in there])
        cells = LazyCells(there, lambda c: sparse.csr_matrix(own[c]))
        return Prediction(there, mean, cells=cells, absent={{c: "resource: none" for c in conditions if c not in there}})
"""


@pytest.fixture(scope="module")
def cells(toy_plugin):
    """Predicted cells of the toy screen: its own, in a smaller number, moved and with noise; one double is not predicted."""
    screen = runpy.run_path(str(toy_plugin))["load"]()
    X = screen.adata.X.toarray().astype(np.float64)
    X = np.log1p(1e4 * X / X.sum(axis=1, keepdims=True))
    rng = np.random.default_rng(0)
    labels = screen.adata.obs["perturbation"].to_numpy().astype(str)
    keep = (np.arange(len(labels)) % 3 > 0) & (labels != "G06+G07")
    X = np.maximum(X + rng.normal(0, 0.2, X.shape), 0) * (X > 0)
    return X[keep].astype(np.float32), labels[keep], screen.adata.var_names.to_numpy().astype(str)


@pytest.fixture(scope="module")
def predictions(cells, tmp_path_factory):
    """The same cells as cell-eval would have them, in another order of rows and genes."""
    X, labels, genes = cells
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(len(X)), rng.permutation(len(genes))
    obs = pd.DataFrame({"target_gene": np.where(labels == "control", "non-targeting", labels)[rows]})
    obs.index = obs.index.astype(str)
    path = tmp_path_factory.mktemp("predictions") / "mine.h5ad"
    AnnData(sparse.csr_matrix(X[rows][:, columns]), obs=obs, var=pd.DataFrame(index=genes[columns])).write_h5ad(path)
    return path


def values(folder, model):
    store = Store(folder)
    rows = store.rows(c for c in store.cards() if c["model"] == model)
    return rows.set_index(["fold", "condition", "metric"]).sort_index()[["value", "reason"]]


def test_the_numbers_are_those_of_a_model_with_the_same_answers(pbench, toy_plugin, cells, predictions, tmp_path):
    """One run of each command, on all metrics: what comes from a file is scored as what comes from a model."""
    np.savez(tmp_path / "cells.npz", X=cells[0], labels=cells[1], genes=cells[2])
    (tmp_path / "same.py").write_text(PLUGIN.format(path=tmp_path / "cells.npz"))
    common = ("--split", "doubles", "--plugin", toy_plugin, "--quiet", "--jobs", "2", "--metrics", "full")
    scored = pbench("score", predictions, "--truth", "toy-screen", "--prediction-scale", "log1p_1e4", *common, cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    board, notes = scored.stdout, scored.stderr
    for row in ("mine", "oracle-mean", "technical-duplicate", "interpolated-duplicate", "train-mean", "no-change", "shuffled"):
        assert f"| {row} " in board
    assert "16 predicted control row(s) are ignored" in notes
    assert "1 of 4 test perturbations are not predicted and count as absent: G06+G07." in notes
    models = ("--models", "same-answers", "--plugin", "same.py", "--no-controls", "--out", "other")
    run = pbench("run", "--dataset", "toy-screen", *models, *common, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    ours, theirs = values(tmp_path / "results", "mine"), values(tmp_path / "other", "same-answers")
    assert list(ours.index) == list(theirs.index) and ours["value"].notna().sum() > 20
    np.testing.assert_allclose(ours["value"], theirs["value"], rtol=1e-5, atol=1e-6)
    absent = ours.index.get_level_values("condition") == "G06+G07"
    assert absent.any() and (ours["reason"][absent] == "resource: not in the file of predictions").all()
    assert ours["value"][absent].isna().all()


def test_without_a_split_everything_is_test(pbench, toy_plugin, predictions, tmp_path):
    """And the same command again computes nothing, whatever the file is called."""
    options = ("--plugin", toy_plugin, "--truth", "toy-screen", "--prediction-scale", "log1p_1e4", "--json")
    chosen = ("--metrics", "l2@all", "--name", "first try", "--jobs", "2")
    done = pbench("score", predictions, *options, *chosen, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {c["model"] for c in report["jobs"]} == {"first try", "oracle-mean", "technical-duplicate", "no-change", "shuffled"}
    assert {c["spec"]["split"] for c in report["jobs"]} == {"everything"}
    board = Path(report["leaderboard"]).read_text()
    assert "## Refused" not in board and "### Models" in board and "nobody has said which were training" in board
    (own,) = [c for c in report["jobs"] if c["model"] == "first try"]
    assert (own["n_conditions"], own["n_predicted"], own["absent"]) == (
        15,
        14,
        {"G06+G07": "resource: not in the file of predictions"},
    )
    params = own["spec"]["params"]
    assert (params["content"], params["label"]) == (report["submission"]["id"], "first try") and own[
        "pretraining_overlap"
    ] == "unknown"
    assert report["submission"]["rows_per_perturbation"] == 16 and report["submission"]["cells"] is True
    assert report["submission"]["missing"] == ["G06+G07"] and report["submission"]["layout"] == "cell-eval"
    assert any("train-mean" in note and "--split" in note for note in report["notes"])
    # Whoever sees the board alone is told too, also when it is drawn again from the records.
    assert "rows per perturbation: 16, taken as cells" in board
    redrawn = pbench("leaderboard", cwd=tmp_path).stdout
    for text in (board, redrawn):
        facts = text.partition("### ")[0].replace("\\", "")
        assert "No --split was named: all perturbations are test" in facts and "made from training" in facts
    (tmp_path / "moved.h5ad").write_bytes(predictions.read_bytes())
    again = json.loads(pbench("score", "moved.h5ad", *options, *chosen, cwd=tmp_path).stdout)
    assert (again["computed"], again["reused"]) == (0, 5)


def test_a_label_is_part_of_what_is_shown(pbench, toy_plugin, cells, predictions, tmp_path):
    """One file under two names is two rows; two files under one name are refused on a board, and nowhere else."""
    common = ("--plugin", toy_plugin, "--truth", "toy-screen", *LOG, "--metrics", "l2@all", "--jobs", "2")

    def call(path, *options):
        done = pbench("score", path, *common, *options, "--json", cwd=tmp_path)
        return done, json.loads(done.stdout) if done.returncode == 0 else None

    first, one = call(predictions, "--name", "one")
    assert first.returncode == 0, first.stderr
    _, two = call(predictions, "--name", "two")
    assert (two["name"], two["computed"], two["reused"]) == ("two", 1, 4)
    assert "two" in {c["model"] for c in two["jobs"]} and "one" not in {c["model"] for c in two["jobs"]}
    board = Path(two["leaderboard"]).read_text()
    assert "| two " in board and "predictions two" in board and "| one " not in board
    shown = pbench("leaderboard", cwd=tmp_path).stdout
    assert "| one " in shown and "| two " in shown
    X, labels, genes = cells
    obs = pd.DataFrame({"target_gene": np.where(labels == "control", "non-targeting", labels)})
    obs.index = obs.index.astype(str)
    AnnData(X[:, ::-1] + np.float32(0.1), obs=obs, var=pd.DataFrame(index=genes[::-1])).write_h5ad(tmp_path / "one.h5ad")
    refused, _ = call("one.h5ad")
    assert refused.returncode == 2 and refused.stdout == ""
    other = call("one.h5ad", "--name", "three")[1]["submission"]["id"]
    assert one["submission"]["id"][:12] in refused.stderr and other[:12] in refused.stderr
    assert "--name" in refused.stderr and "--overwrite always" in refused.stderr
    assert call("one.h5ad", "--split", "doubles")[0].returncode == 0
    _, taken = call("one.h5ad", "--overwrite", "always")
    assert taken["computed"] == 5 and call("one.h5ad")[1]["reused"] == 5
    assert call(predictions, "--name", "one")[0].returncode == 2


def test_replicates_are_no_cells(pbench, toy_plugin, cells, tmp_path):
    X, labels, genes = cells
    groups = [np.flatnonzero(labels == x) for x in dict.fromkeys(labels) if x != "control"]
    means = np.array([X[g[k::2]].mean(axis=0) for g in groups for k in (0, 1)])
    obs = pd.DataFrame({"target_gene": [labels[g[0]] for g in groups for _ in (0, 1)], "replicate": ["a", "b"] * len(groups)})
    obs.index = obs.index.astype(str)
    AnnData(means, obs=obs, var=pd.DataFrame(index=genes)).write_h5ad(tmp_path / "bulk.h5ad")
    typed = ("score", "bulk.h5ad", "--plugin", toy_plugin, "--truth", "toy-screen", *LOG, "--metrics", "l2@all", "--quiet")
    asked = pbench(*typed, cwd=tmp_path)
    assert asked.returncode == 2 and asked.stdout == "" and "Traceback" not in asked.stderr
    assert "--rows cells or --rows means" in asked.stderr and "replicate" in asked.stderr
    done = pbench(*typed, "--rows", "means", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "rows per perturbation: 2, taken as means and averaged" in done.stdout
    assert "CAUTION: the 2 row(s)" in done.stdout and "CAUTION: the 2 row(s)" in done.stderr
    report = json.loads(pbench(*typed, "--rows", "means", "--json", cwd=tmp_path).stdout)
    assert report["submission"]["cells"] is False and report["submission"]["rows_apart"] == ["replicate"]
    assert report["notes"][0].startswith("CAUTION") and report["reused"] == 5


def test_legacy_metrics_bring_the_cells_beside_their_mean(pbench, toy_plugin, predictions, tmp_path):
    """The true cells score worse than their mean on pairs drawn at random: the row shows that the metric is at fault."""
    chosen = ("--metrics", "legacy")
    done = pbench("score", predictions, "--plugin", toy_plugin, "--truth", "toy-screen", *LOG, *chosen, "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "| oracle-sampler " in done.stdout
    sampler, mean = (
        values(tmp_path / "results", m).xs("legacy_random_pair_rmse@all", level="metric")
        for m in ("oracle-sampler", "oracle-mean")
    )
    assert (sampler["value"] > 1.1 * mean["value"]).all()


@pytest.fixture
def typed(monkeypatch, capsys, tmp_path):
    """The command line in this process; returns exit code, standard output and standard error."""
    (tmp_path / "means.csv").write_text("perturbation,A,B\nA,1.5,2\n")
    (tmp_path / "train-mean.csv").write_text("perturbation,A,B\nA,1.5,2\n")
    (tmp_path / "old.npz").write_text("nothing")
    (tmp_path / "means.xlsx").write_text("nothing")
    (tmp_path / "truth.h5ad").write_text("nothing")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["pbench", "score", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return end.value.code, out, " ".join(err.split())

    return call


SIM = ("--truth", "norman-sim")
MISTAKES = [
    (["means.csv"], 2, "'--truth'"),
    ([*SIM], 2, "'PREDICTIONS'"),
    (["missing.h5ad", *SIM, *LOG], 3, "there is no such file"),
    (["means.xlsx", *SIM, *LOG], 2, "files that end in .h5ad"),
    (
        ["means.csv", *SIM],
        2,
        "say what its values are with --prediction-scale log1p_1e4, counts, delta or raw; it is never guessed",
    ),
    (["means.csv", *SIM, "--prediction-scale", "log1p"], 2, "Did you mean 'log1p_1e4'?"),
    (["old.npz", *SIM, *LOG], 2, "knows its scale"),
    (["means.csv", "--truth", "norman-smi", *LOG], 2, "Did you mean 'norman-sim'"),
    (["means.csv", "--truth", "norman-sim,norman-mini", *LOG], 2, "names 2 data sets"),
    (["means.csv", "--truth", "missing.h5ad", *LOG], 3, "--truth missing.h5ad: there is no such file"),
    (["means.csv", "--truth", "truth.h5ad", *LOG], 2, "--scale counts"),
    (["means.csv", *SIM, "--scale", "counts", *LOG], 2, "--truth names none"),
    (["means.csv", *SIM, *LOG, "--split", "doubels"], 2, "Did you mean 'doubles'?"),
    (["means.csv", *SIM, *LOG, "--metrics", "mse@de2"], 2, "Did you mean"),
    (["means.csv", *SIM, *LOG, "--layout", "excel"], 2, "'cell-eval'"),
    (["means.csv", *SIM, *LOG, "--rows", "cells"], 2, "holds means, a row a perturbation"),
    (["train-mean.csv", *SIM, *LOG], 2, "'train-mean' is a registered model"),
    (["means.csv", *SIM, *LOG, "--name", "a\nb"], 2, "cannot be shown on a board"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_a_mistake_says_what_to_type(typed, tmp_path, arguments, code, message):
    found, out, err = typed(*arguments)
    assert (found, out) == (code, "") and message in err, err
    assert "Traceback" not in err and not (tmp_path / "results" / "records").exists()


def test_what_is_wrong_with_a_file_is_told_from_its_process(pbench, toy_plugin, tmp_path):
    (tmp_path / "means.csv").write_text("perturbation,A,B\nG00,1.5,2\n")
    done = pbench("score", "means.csv", "--truth", "toy-screen", "--plugin", toy_plugin, *LOG, "--quiet", cwd=tmp_path)
    assert done.returncode == 3 and done.stdout == ""
    assert "Error: means.csv lacks 60 of 60 genes of the truth" in done.stderr and "Traceback" not in done.stderr
