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
    chosen = ("--metrics", "mse@de20", "--name", "first try", "--jobs", "2")
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
    assert own["spec"]["params"] == {"content": report["submission"]["id"]} and own["pretraining_overlap"] == "unknown"
    assert report["submission"]["missing"] == ["G06+G07"] and report["submission"]["layout"] == "cell-eval"
    assert any("train-mean" in note and "--split" in note for note in report["notes"])
    (tmp_path / "moved.h5ad").write_bytes(predictions.read_bytes())
    again = json.loads(pbench("score", "moved.h5ad", *options, *chosen, cwd=tmp_path).stdout)
    assert (again["computed"], again["reused"]) == (0, 5)


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
LOG = ("--prediction-scale", "log1p_1e4")
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
