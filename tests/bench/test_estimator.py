"""Models with the manners of scikit-learn: clone, parameters, grids, folds, and conditions that cannot be answered."""

from __future__ import annotations

import gc
import pickle
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.validation import check_is_fitted

import pbench
from pbench import PerturbationPredictor
from pbench.bench.cli.progress import Silent
from pbench.bench.contracts import registry
from pbench.bench.contracts.errors import DataError, NotFitted, PbenchError, UsageError
from pbench.bench.engine.execute import execute_here
from pbench.bench.engine.plan import Request
from pbench.bench.engine.run import Matrix, run_matrix
from pbench.bench.engine.store import Store


def means(adata):
    """Mean of log1p of counts per 10,000 by label."""
    X = adata.X.toarray().astype(np.float64)
    frame = pd.DataFrame(np.log1p(1e4 * X / X.sum(axis=1, keepdims=True)), columns=adata.var_names)
    return frame.groupby(adata.obs["perturbation"].astype(str).to_numpy()).mean()


@pytest.fixture(scope="module")
def adata(make_screen):
    return make_screen(seed=7).adata


@pytest.fixture(scope="module")
def singles(adata):
    return adata[~adata.obs["perturbation"].astype(str).str.contains("+", regex=False)]


@pytest.fixture(scope="module")
def additive(singles):
    return PerturbationPredictor("additive", scale="counts").fit(singles)


def test_predictions_are_those_of_the_formula(additive, adata):
    found = additive.predict(["G01+G00", "G03", "G02+G05"])
    m = means(adata)
    expected = m.loc["G00"] + m.loc["G01"] - m.loc["control"]
    assert list(found.obs["perturbation"]) == ["G00+G01", "G03", "G02+G05"]
    assert found.to_df().shape == (3, 60)
    np.testing.assert_allclose(found.to_df().iloc[0][m.columns], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.to_df().iloc[1][m.columns], m.loc["G03"], rtol=1e-4, atol=1e-4)
    assert found.uns["scale"] == "log1p_1e4"
    assert additive.predict(["G03", "G03"]).n_obs == 2


def test_what_a_model_cannot_answer_is_absent_with_a_reason(additive):
    found = additive.predict(["G03", "NEVER", "G03+NEVER"])
    assert list(found.obs["absent"]) == ["", "capability: unseen target NEVER", "capability: unseen target NEVER"]
    assert np.isnan(found.X[1:]).all()
    assert np.isfinite(found.X[0]).all()
    assert additive.predict(["NEVER"]).n_obs == 1


def test_it_has_the_manners_of_an_estimator(additive, adata):
    predictor = PerturbationPredictor("ridge-pca", params={"ridge": 3.0}, scale="counts", seed=4)
    copy = clone(predictor)
    assert copy is not predictor
    assert copy.get_params() == predictor.get_params()
    assert copy.get_params()["model__ridge"] == 3.0
    assert copy.get_params()["model__n_components"] == 10
    assert "model__ridge" not in copy.get_params(deep=False)
    copy.set_params(model__ridge=0.5, seed=1)
    assert (copy.params, copy.seed, predictor.params) == ({"ridge": 0.5}, 1, {"ridge": 3.0})
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)
    check_is_fitted(additive)
    assert not hasattr(clone(additive), "fitted_")
    assert "PerturbationPredictor" in repr(predictor)


def test_a_second_fit_forgets_the_first(adata, singles):
    predictor = PerturbationPredictor("additive", scale="counts").fit(adata)
    twice = predictor.fit(singles).predict(["G00+G01"]).X
    np.testing.assert_array_equal(twice, PerturbationPredictor("additive", scale="counts").fit(singles).predict(["G00+G01"]).X)


def test_parameters_of_the_model_matter_and_seeds_too(singles):
    weak, strong = (
        PerturbationPredictor("ridge-pca", scale="counts").set_params(model__ridge=r).fit(singles).predict(["G00+G01"]).X
        for r in (0.01, 1e6)
    )
    assert not np.allclose(weak, strong)
    a, b, c = (PerturbationPredictor("forest-pca", scale="counts", seed=s).fit(singles).predict(["G00"]).X for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_the_score_is_a_mean_over_perturbations_and_higher_is_better(additive, adata):
    doubles = adata[
        adata.obs["perturbation"].astype(str).str.contains("+", regex=False) | (adata.obs["perturbation"] == "control")
    ]
    m = means(adata)
    labels = [x for x in m.index if "+" in x]
    errors = []
    for label in labels:
        a, b = label.split("+")
        errors.append(np.linalg.norm(m.loc[a] + m.loc[b] - m.loc["control"] - m.loc[label]))
    assert additive.score(doubles) == pytest.approx(-np.mean(errors), rel=1e-4)
    changes = [
        np.corrcoef(m.loc[x.split("+")[0]] + m.loc[x.split("+")[1]] - 2 * m.loc["control"], m.loc[x] - m.loc["control"])[0, 1]
        for x in labels
    ]
    assert additive.score(doubles, metric="pearson_delta@all~ctrl") == pytest.approx(np.mean(changes), rel=1e-3)


def test_contexts_are_averaged_first(make_screen):
    adata = make_screen(seed=8, contexts=("a", "b"), n_cells=14, n_control=30).adata
    keep = (adata.obs["context"] == "a") | adata.obs["perturbation"].isin(["control", "G00", "G01"])
    adata = adata[keep]
    predictor = PerturbationPredictor("train-mean", scale="counts", context_key="context").fit(adata)
    rows = pbench.evaluate(
        adata,
        predictor.predict(adata),
        true_scale="counts",
        pred_scale="log1p_1e4",
        context_key="context",
        metrics="l2@all",
        baselines=False,
    )
    assert rows["context"].value_counts().to_dict() == {"a": 15, "b": 2}
    assert predictor.score(adata) == pytest.approx(-rows.groupby("context")["value"].mean().mean(), rel=1e-6)
    with pytest.raises(UsageError, match="which context"):
        predictor.predict(["G00"])
    asked = [pbench.Condition(("G00",), context="b"), pbench.Condition(("G00",), context="nowhere")]
    found = predictor.predict(asked)
    assert list(found.obs["context"]) == ["b", "nowhere"]
    assert list(found.obs["absent"]) == ["", "no control cells of context nowhere"]


def test_a_score_with_gaps_is_no_number(adata, singles):
    some = singles[singles.obs["perturbation"] != "G05"]
    predictor = PerturbationPredictor("additive", scale="counts").fit(some)
    with pytest.warns(UserWarning, match="capability: unseen target G05") as told:
        assert np.isnan(predictor.score(singles))
    assert "1 of 8 perturbations" in str(told[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert predictor.score(singles, partial=True) == pytest.approx(0, abs=1e-3)
    only = singles[singles.obs["perturbation"].isin(["G05", "control"])]
    with pytest.raises(UsageError, match="answers none of the 1 perturbations: capability: unseen target G05"):
        predictor.score(only)


def test_cross_validation_gives_the_numbers_of_a_run(adata, tmp_path):
    predictor = PerturbationPredictor("ridge-pca", params={"n_components": 3}, scale="counts")
    found = predictor.cross_validate(
        adata, split="unseen-single[folds=2]", metrics=["l2@all", "mse@de20"], baselines=["no-change"]
    )
    assert set(found["fold"]) == {"1/2", "2/2"}
    assert set(found["model"]) == {"ridge-pca[n_components=3]", "no-change"}
    adata.write_h5ad(tmp_path / "screen.h5ad")
    from pbench.bench.engine.stage import DatasetRequest

    matrix = Matrix(
        models=[Request("ridge-pca", {"n_components": 3})],
        datasets=[DatasetRequest("screen", str(tmp_path / "screen.h5ad"), {"scale": "counts"})],
        splits=[Request("unseen-single", {"folds": 2})],
        seeds=(0,),
        metrics=("l2@all", "mse@de20"),
        out=tmp_path / "results",
    )
    summary = run_matrix(matrix, Silent(), execute=execute_here)
    theirs = Store(tmp_path / "results").rows(summary.cards).set_index(["fold", "perturbation", "metric"])["value"].sort_index()
    ours = found[found["model"] != "no-change"].set_index(["fold", "perturbation", "metric"])["value"].sort_index()
    pd.testing.assert_series_equal(ours, theirs, check_exact=True)


def test_folds_are_those_of_the_split_and_hold_out_what_they_say(adata):
    predictor = PerturbationPredictor("ridge-pca", scale="counts")
    folds = predictor.folds(adata, split="unseen-single[folds=2]")
    labels = adata.obs["perturbation"].astype(str).to_numpy()
    assert len(folds) == 2
    tested = set()
    for train, test in folds:
        held_out = set(labels[test]) - {"control"}
        assert held_out and all("+" not in x for x in held_out)
        assert not held_out & {t for x in set(labels[train]) for t in x.split("+")}
        assert (labels[train] == "control").sum() == (labels[test] == "control").sum() == 60
        tested |= held_out
    assert tested == {f"G{i:02d}" for i in range(8)}


def test_grids_of_scikit_learn_work_over_our_folds(adata):
    predictor = PerturbationPredictor("ridge-pca", scale="counts")
    folds = predictor.folds(adata, split="unseen-single[folds=2]")
    grid = GridSearchCV(predictor, {"model__ridge": [0.1, 1e6]}, cv=folds, error_score="raise").fit(adata)
    assert grid.best_params_["model__ridge"] in (0.1, 1e6)
    assert grid.best_estimator_.predict(["G00+G01"]).n_obs == 1
    by_hand = []
    for train, test in folds:
        own = clone(predictor).set_params(model__ridge=0.1).fit(adata[train])
        by_hand.append(own.score(adata[test]))
    assert grid.cv_results_["mean_test_score"][0] == pytest.approx(np.mean(by_hand), rel=1e-9)
    models = GridSearchCV(predictor, {"model": ["no-change", "train-mean"]}, cv=folds, refit=False, error_score="raise").fit(
        adata
    )
    assert len(set(models.cv_results_["mean_test_score"])) == 2
    assert len(cross_val_score(predictor, adata, cv=folds)) == 2


PLUGIN = """
import pbench

class HalfWay(pbench.Model):
    \"\"\"The mean change, times a factor.\"\"\"
    capabilities = pbench.Capabilities(unseen_targets=True, needs_cells=True)

    def __init__(self, *, factor=0.5):
        self.factor = factor

    def fit(self, data, *, seed):
        self.n_cells_ = data.cells.X.shape[0]
        self.late_ = data
        self.shift_ = data.mean_shift
        return self

    def predict(self, conditions, controls):
        assert self.late_.load_cells("train").X.shape[0] == self.n_cells_
        return pbench.Prediction(tuple(conditions), controls.control_mean(conditions) + self.factor * self.shift_)
"""


def test_plugins_work_and_their_cells_last_as_long_as_they_do(singles, tmp_path, monkeypatch):
    registry.models.entries()
    for name in ("_entries", "_objects"):
        monkeypatch.setattr(registry.models, name, dict(getattr(registry.models, name)))
    (tmp_path / "half_way.py").write_text(PLUGIN)
    registry.load_plugin_file(tmp_path / "half_way.py")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    predictor = PerturbationPredictor("half-way", params={"factor": 1.0}, scale="counts").fit(singles)
    assert predictor.fitted_.model.n_cells_ == singles.n_obs
    train_mean = PerturbationPredictor("train-mean", scale="counts").fit(singles)
    np.testing.assert_allclose(predictor.predict(["NEW"]).X, train_mean.predict(["NEW"]).X, rtol=1e-5)
    assert list(scratch.iterdir())
    del predictor, train_mean
    gc.collect()
    assert not list(scratch.iterdir())


def test_a_fitted_predictor_can_be_pickled(additive):
    again = pickle.loads(pickle.dumps(additive))
    np.testing.assert_array_equal(again.predict(["G00+G01"]).X, additive.predict(["G00+G01"]).X)


MISTAKES = {
    "model": ({"model": "aditive"}, UsageError, "Did you mean 'additive'"),
    "reference": ({"model": "oracle-mean"}, UsageError, "no model that learns"),
    "encoder": ({"model": "pca"}, UsageError, "no model that learns"),
    "submission": ({"model": "submission"}, UsageError, "no model that learns"),
    "parameter": ({"params": {"rigde": 1}, "model": "ridge-pca"}, UsageError, "Did you mean 'ridge'?"),
    "preset": ({"preset": "fast"}, UsageError, "no preset 'fast'"),
    "no scale": ({"scale": None}, UsageError, "never guessed"),
    "scale": ({"scale": "logs"}, UsageError, "scale"),
    "wrong scale": ({"scale": "log1p_1e4"}, DataError, "scale='counts'"),
    "column": ({"perturbation_key": "gene"}, DataError, "adata.obs has no column 'gene'"),
    "resource": ({"resources": {"go": "x.tsv"}}, UsageError, "no chosen model reads it"),
    "resource file": ({"resources": {"go": "x.tsv"}, "model": "ridge-go"}, DataError, "x.tsv"),
    "no resource": ({"model": "ridge-go"}, DataError, "resources"),
    "layer": ({"layer": "counts"}, DataError, "no layer 'counts'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_plain_words(singles, mistake):
    arguments, kind, words = MISTAKES[mistake]
    with pytest.raises(kind) as told:
        PerturbationPredictor(**{"scale": "counts", **arguments}).fit(singles)
    message = str(told.value)
    assert words in message, message
    assert "--" not in message and "/tmp" not in message and ".h5ad" not in message, message


def test_wrong_questions_are_refused(additive, singles):
    with pytest.raises(NotFitted, match=r"call fit\(adata\) before predict"):
        PerturbationPredictor().predict(["G00"])
    with pytest.raises(UsageError, match="label of controls"):
        additive.predict(["control"])
    with pytest.raises(UsageError, match=r"predict\(\['G00'\]\)"):
        additive.predict("G00")
    with pytest.raises(DataError, match="an AnnData is needed"):
        PerturbationPredictor(scale="counts").fit(np.ones((3, 2)))
    with pytest.raises(UsageError, match="Did you mean"):
        additive.score(singles, metric="l2@al")
    with pytest.raises(UsageError, match="undefined for all 8 perturbations"):
        additive.score(singles, metric="pearson_delta@all~pert")
    with pytest.raises(UsageError, match="no parameter 'ridge'"):
        PerturbationPredictor("additive").set_params(model__ridge=1)
    with pytest.raises(ValueError, match="nonsense"):
        PerturbationPredictor("additive").set_params(nonsense=1)
    with pytest.raises(PbenchError, match="doubels"):
        additive.folds(singles, split="doubels")
    for split in ("", "doubles,iid", "file.json"):
        with pytest.raises(UsageError, match="name one registered split" if split else "split '' names no split"):
            additive.folds(singles, split=split)
    other = anndata.AnnData(singles.X[:, :30], obs=singles.obs, var=singles.var.iloc[:30])
    assert additive.score(other) <= 0
    wider = anndata.AnnData(np.hstack([singles.X.toarray()] * 2), obs=singles.obs)
    with pytest.raises(DataError, match="lacks"):
        additive.score(wider)


def test_nothing_is_left_where_the_user_works(adata, tmp_path):
    predictor = PerturbationPredictor("train-mean", scale="counts").fit(adata)
    predictor.score(adata)
    predictor.cross_validate(adata, split="doubles")
    assert list(Path(tmp_path).iterdir()) == []
