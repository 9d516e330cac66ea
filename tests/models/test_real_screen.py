"""The models on the Norman cells of the PerturBench test file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pbench.bench.contracts.condition import Condition, sort_key
from pbench.bench.contracts.training import Profiles, TrainingData
from pbench.models.additive import Additive
from pbench.models.bilinear_ridge import BilinearRidge
from pbench.models.feature_regression import ForestPca, RidgePca
from pbench.models.matching_mean import MatchingMean
from pbench.models.no_change import NoChange
from pbench.models.train_mean import TrainMean


@pytest.fixture(scope="module")
def norman():
    """Profiles of all conditions and of the control, and the gene names."""
    path = Path(os.environ.get("PBENCH_DATA", "")) / "perturbench_devel.h5ad"
    if "PBENCH_DATA" not in os.environ or not path.is_file():
        pytest.skip("needs perturbench_devel.h5ad in the folder PBENCH_DATA")
    import anndata

    adata = anndata.read_h5ad(path)
    adata = adata[(adata.obs["dataset"] == "norman19").to_numpy()]
    order = np.argsort(adata.var_names.to_numpy().astype(str))
    X = np.asarray(adata.X.todense())[:, order]
    labels = adata.obs["condition"].astype(str).to_numpy()

    def summary(label):
        cells = X[labels == label].astype(np.float64)
        return cells.mean(axis=0), cells.var(axis=0, ddof=1), len(cells)

    def table(rows):
        mean, var, n = zip(*(summary(label) for _, label in rows), strict=True)
        return Profiles(tuple(c for c, _ in rows), np.array(mean, np.float32), np.array(var, np.float32), np.array(n))

    perturbed = [(Condition(tuple(label.split("+"))), label) for label in sorted(set(labels) - {"control"})]
    genes = adata.var_names.to_numpy().astype(str)[order]
    return table(sorted(perturbed, key=lambda row: sort_key(row[0]))), table([(Condition(), "control")]), genes


@pytest.fixture(scope="module")
def split(norman):
    """All singles in training; the doubles with both singles are asked."""
    everything, controls, genes = norman
    singles = everything.select(lambda c: len(c.targets) == 1)
    doubles = everything.select(lambda c: len(c.targets) == 2 and all(Condition((t,)) in singles for t in c.targets))
    empty = everything.select(lambda c: False)
    return TrainingData(genes=genes, perturbed=singles, controls=controls, validation=empty), doubles


def error(model, split):
    data, doubles = split
    prediction = model.fit(data, seed=0).predict(doubles.conditions, data.controls)
    assert prediction.conditions == doubles.conditions
    return np.linalg.norm(prediction.mean - doubles.mean, axis=1).mean()


def test_the_order_of_the_simple_models_is_that_of_the_literature(split):
    """On doubles whose singles were seen additive is best, and knowing the targets beats not knowing them."""
    assert len(split[1]) >= 5
    additive, matching, mean, nothing = (error(m, split) for m in (Additive(), MatchingMean(), TrainMean(), NoChange()))
    assert additive < matching < mean < nothing


def test_linear_models_answer_what_is_measured_and_are_finite(split):
    data, doubles = split
    measured = set(data.genes)
    for model in (BilinearRidge(), RidgePca(), ForestPca()):
        prediction = model.fit(data, seed=0).predict(doubles.conditions, data.controls)
        assert prediction.conditions == tuple(c for c in doubles.conditions if set(c.targets) <= measured)
        assert np.isfinite(prediction.mean).all()
