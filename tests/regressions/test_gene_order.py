"""CellSimBench (2026), GEARS: genes and conditions are joined by name, whatever order a set or a file gives them."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from pbench.bench.contracts.model import Capabilities, Model
from pbench.bench.contracts.prediction import Prediction
from pbench.bench.engine.answer import ask
from pbench.bench.engine.score import evaluate
from pbench.metrics import CATALOGUE

HASHED = """
import numpy as np
from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.metric import Comparison
from pbench.bench.contracts.prediction import Prediction
from pbench.bench.contracts.training import Profiles
from pbench.bench.contracts.truth import Truth
from pbench.bench.engine.answer import checked
from pbench.metrics import CATALOGUE
rng = np.random.default_rng(0)
genes = np.array([f"gene{i:03d}" for i in range(200)])
conditions = tuple(Condition((f"P{i}",)) for i in range(4))
mean = rng.gamma(1.0, size=(4, 200)).astype(np.float32)
control = Profiles((Condition(),), rng.gamma(1.0, size=(1, 200)).astype(np.float32), np.ones((1, 200)), np.array([50]))
order = np.argsort(-abs(mean - control.mean), axis=1)[:, :100]
profiles = Profiles(conditions, mean, np.ones_like(mean), np.full(4, 50))
references = {"ctrl": control.control_mean(conditions)}
truth = Truth(genes, profiles, control, references, order, ((),) * 4, (profiles, profiles))
scattered = np.array(list(set(genes.tolist())))
column = [list(genes).index(g) for g in scattered]
answer, _ = checked(Prediction(conditions, mean[:, column], genes=scattered), conditions, genes, control)
values = CATALOGUE["pearson_delta@de20~ctrl"](Comparison(truth, answer))
print(scattered[0], values.value.round(9).tolist())
"""


def test_genes_that_went_through_a_set_are_put_back_by_name():
    """A mask in the order of the file on columns in the order of a set: perfect predictions scored 0.18, -0.06 and 0.16."""
    first = set()
    for seed in "012":
        env = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", HASHED], env=env, capture_output=True, text=True, check=True)
        gene, _, values = done.stdout.strip().partition(" ")
        first.add(gene)
        assert values == "[1.0, 1.0, 1.0, 1.0]"
    assert len(first) > 1, "the hash seed moved the genes, or this would test nothing"


class Scattered(Model):
    """The true means, in an order of genes and conditions of its own."""

    capabilities = Capabilities(unseen_targets=True)

    def __init__(self, *, truth=None, named=True):
        self.truth, self.named = truth, named

    def fit(self, data, *, seed):
        self.genes_ = data.genes
        return self

    def predict(self, conditions, controls):
        rng = np.random.default_rng(1)
        genes, rows = rng.permutation(len(self.genes_)), rng.permutation(len(conditions))
        asked = tuple(conditions[i] for i in rows)
        mean = np.stack([self.truth.profiles.mean[self.truth.profiles.row(c)] for c in asked])[:, genes]
        return Prediction(asked, mean, genes=self.genes_[genes] if self.named else None)


def test_conditions_are_joined_by_key_and_genes_by_name(scene):
    """Scores by position gave GEARS users other genes (issue 49), and file order leaked the answer elsewhere."""
    s = scene()
    metrics = [CATALOGUE[m] for m in ("mse@all", "pearson_delta@de20~ctrl", "retrieval.truths@all~ctrl#l2")]
    values = evaluate(metrics, s.truth, ask(Scattered(truth=s.truth), s.data, s.truth, seed=0))
    for metric in metrics:
        np.testing.assert_allclose(values[metric.id].value, metric.perfect, atol=1e-6)


def test_values_in_the_wrong_order_are_noticed(scene):
    """The same without names keeps every sum and variance over genes, and must not keep the score."""
    s = scene()
    metrics = [CATALOGUE[m] for m in ("pearson_delta@all~ctrl", "retrieval.truths@all~ctrl#l2")]
    values = evaluate(metrics, s.truth, ask(Scattered(truth=s.truth, named=False), s.data, s.truth, seed=0))
    assert np.mean(values["pearson_delta@all~ctrl"].value) < 0.3
    assert np.mean(values["retrieval.truths@all~ctrl#l2"].value) < 0.9


def fixed_sets():
    """Metrics of means and variances over a number of differential genes, and that number."""
    for metric, info in CATALOGUE.items():
        genes = info.parts["genes"]
        if genes.startswith("de") and genes[2:].isdigit() and "cells" not in info.needs and "truth_cells" not in info.needs:
            yield metric, int(genes[2:])


@pytest.mark.parametrize(("metric", "k"), list(fixed_sets()))
def test_metrics_over_differential_genes_see_no_other_gene(scene, metric, k):
    """What is predicted for a gene outside the set changes nothing, whatever its column."""
    s = scene()
    outside = np.ones(s.truth.profiles.mean.shape, dtype=bool)
    np.put_along_axis(outside, s.truth.de_order[:, :k], False, axis=1)
    mean = s.truth.profiles.mean + np.random.default_rng(0).normal(0, 0.2, outside.shape)
    narrow = np.full(outside.shape, 0.5)
    before = s.score(mean, variance=narrow, names=[metric])[metric].value
    after = s.score(np.where(outside, mean + 7, mean), variance=np.where(outside, 9.0, narrow), names=[metric])[metric].value
    assert not np.isnan(before).all()
    np.testing.assert_array_equal(before, after)
