"""The metrics on centroids of a real screen: Norman 2019, the small extract that PerturBench ships."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr

from pbench.bench.contracts.metric import Comparison
from pbench.metrics import CATALOGUE

FILE = "perturbench_devel.h5ad"


@pytest.fixture(scope="module")
def norman(make_truth):
    """(truth, mean training change): every other perturbation is test, the others are training."""
    folder = os.environ.get("PBENCH_DATA")
    if not folder:
        pytest.skip("PBENCH_DATA is not set; it names the folder of real screens")
    if not (Path(folder) / FILE).exists():
        pytest.skip(f"{FILE} is not in PBENCH_DATA")
    import anndata

    adata = anndata.read_h5ad(Path(folder) / FILE)
    adata = adata[(adata.obs["dataset"] == "norman19").to_numpy()]
    label = adata.obs["condition"].astype(str).to_numpy()
    X = adata.X.toarray().astype(np.float64)
    ctrl = X[label == "control"].mean(axis=0)
    names = sorted(set(label) - {"control"})
    means = np.stack([X[label == name].mean(axis=0) for name in names])
    gene = {g: i for i, g in enumerate(adata.var_names)}
    targets = tuple(tuple(gene[t] for t in name.split("+") if t in gene) for name in names)
    train = (means[::2] - ctrl).mean(axis=0)
    truth = make_truth(means[1::2], ctrl, pert=ctrl.astype(np.float32) + train, targets=targets[1::2])
    return truth, train


def test_pearson_delta_is_that_of_scipy(norman, score):
    truth, train = norman
    ctrl = truth.references["ctrl"]
    predicted = (ctrl + train).astype(np.float32).astype(np.float64)
    naive = [pearsonr(x - c, p - c).statistic for x, p, c in zip(truth.profiles.mean, predicted, ctrl, strict=True)]
    np.testing.assert_allclose(score("pearson_delta@all~ctrl", truth, predicted).value, naive, atol=1e-6)


def test_the_training_mean_and_no_change_are_seen_through(norman, score):
    truth, train = norman
    mean, nothing = ((truth.references["ctrl"] + shift).astype(np.float32) for shift in (train, 0 * train))
    n = len(truth.conditions)
    for family in ("pearson_delta", "spearman_delta", "cosine_delta"):
        for genes in ("all", "de20"):
            assert score(f"{family}@{genes}~pert", truth, mean).reason.tolist() == ["zero_variance"] * n
            assert score(f"{family}@{genes}~ctrl", truth, nothing).reason.tolist() == ["zero_variance"] * n
    assert (score("magnitude_ratio@all~ctrl", truth, nothing).value == 0).all()
    for distance in ("cosine", "l2", "l1"):
        assert score(f"retrieval.truths@all~ctrl#{distance}", truth, mean).value.mean() == pytest.approx(0.5)
        assert (score(f"retrieval.predictions@all~ctrl#{distance}", truth, mean).value == 0.5).all()


def test_a_perfect_prediction_is_perfect_and_defined_everywhere(norman):
    truth, _ = norman
    comparison = Comparison(truth, truth.profiles.mean.astype(np.float64))
    for name, metric in CATALOGUE.items():
        if metric.needs != ("means",) or name.startswith(
            ("gi_", "legacy_", "de_", "conformal_", "truth_", "effect_", "magnitude_log", "pearson_excess")
        ):
            continue
        np.testing.assert_allclose(metric(comparison).value, metric.perfect, atol=1e-12, err_msg=name)


def test_the_excess_of_the_truth_is_one_on_average(norman):
    truth, _ = norman
    excess = CATALOGUE["pearson_excess@all~ctrl"](Comparison(truth, truth.profiles.mean.astype(np.float64))).value
    assert excess.mean() == pytest.approx(1, abs=1e-9) and excess.std() > 0.05
