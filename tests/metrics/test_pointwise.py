"""Pointwise errors against arithmetic by hand and scikit-learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import mean_absolute_error, mean_squared_error, root_mean_squared_error

from pbench.bench.contracts.cell_truth import CellTruth
from pbench.bench.contracts.metric import Comparison
from pbench.metrics.per_condition import Table
from pbench.metrics.pointwise import METRICS

EVERY = {m.id: m for m in METRICS}


def with_cells(truth, cells):
    """The truth with these cells, one matrix a condition, and their moments."""
    empty = np.empty((0, 0), dtype=np.float32)
    profiles = replace(
        truth.profiles,
        mean=np.stack([c.mean(axis=0) for c in cells]).astype(np.float32),
        var=np.stack([c.var(axis=0, ddof=1) if len(c) > 1 else 0 * c[0] for c in cells]).astype(np.float32),
        n_cells=np.array([len(c) for c in cells]),
    )

    def load(i):
        return sparse.csr_matrix(cells[i].astype(np.float32))

    return replace(truth, profiles=profiles, cells=CellTruth(load, load, empty, empty, empty, empty, 1.0, lambda i: empty))


@pytest.mark.parametrize(
    ("metric", "first", "second"),
    [("mse@all", 4 / 3, 25 / 3), ("rmse@all", (4 / 3) ** 0.5, (25 / 3) ** 0.5), ("mae@all", 2 / 3, 7 / 3), ("l2@all", 2, 5)],
)
def test_by_hand(make_truth, score, metric, first, second):
    truth = make_truth([[1, 2, 3], [0, 0, 0], [1, 1, 1]], [0, 0, 0])
    values = score(metric, truth, [[1, 2, 5], [3, 4, 0], [1, np.nan, 1]])
    np.testing.assert_allclose(values.value, [first, second, np.nan], rtol=1e-15)
    assert values.reason.tolist() == ["", "", "absent"]


@pytest.mark.parametrize("genes", ["all", "de20", "de50"])
def test_against_scikit_learn(random_screen, score, genes):
    truth, predicted = random_screen(1, n=7, n_genes=80)
    for i, row in enumerate(truth.profiles.mean.astype(np.float64)):
        columns = np.arange(80) if genes == "all" else truth.de_order[i, : int(genes[2:])]
        x, guess = row[columns], predicted[i, columns]
        assert score(f"mse@{genes}", truth, predicted).value[i] == pytest.approx(mean_squared_error(x, guess))
        assert score(f"rmse@{genes}", truth, predicted).value[i] == pytest.approx(root_mean_squared_error(x, guess))
        assert score(f"mae@{genes}", truth, predicted).value[i] == pytest.approx(mean_absolute_error(x, guess))
        assert score(f"l2@{genes}", truth, predicted).value[i] == pytest.approx(np.linalg.norm(x - guess))


def test_a_screen_larger_than_one_block_is_scored_row_by_row(random_screen, score):
    truth, predicted = random_screen(2, n=30, n_genes=10_000)
    naive = [float(np.mean((p - x) ** 2)) for p, x in zip(predicted, truth.profiles.mean.astype(np.float64), strict=True)]
    np.testing.assert_allclose(score("mse@all", truth, predicted).value, naive, rtol=1e-12)


def test_too_few_genes_by_width_and_by_padding(make_truth, score):
    rng = np.random.default_rng(0)
    narrow = make_truth(rng.normal(size=(2, 19)), np.zeros(19))
    assert score("mse@de20", narrow, narrow.profiles.mean).reason.tolist() == ["too_few_genes"] * 2
    padded = make_truth(rng.normal(size=(2, 20)), np.zeros(20), targets=((3,), ()))
    values = score("mse@de20", padded, padded.profiles.mean)
    assert padded.de_order[0, 19] == -1
    assert values.reason.tolist() == ["too_few_genes", ""]
    assert np.isnan(values.value[0]) and values.value[1] == 0


def test_absent_comes_before_other_reasons(make_truth, score):
    truth = make_truth([[1, 2, 3]], [0, 0, 0])
    assert score("mse@de20", truth, [[np.nan] * 3]).reason.tolist() == ["absent"]


def test_no_conditions_give_no_values(make_truth, score):
    truth = make_truth(np.empty((0, 3)), np.zeros(3), de_order=np.empty((0, 3), int), pert=np.zeros(3))
    for metric in ("mse@all", "mse@de20", "pearson_delta@all~pert", "retrieval.truths@all~ctrl#cosine"):
        assert score(metric, truth, np.empty((0, 3))).value.shape == (0,)


def test_error_relative_to_no_change_by_hand(make_truth):
    true = np.array([[1.0] * 10 + [2] * 10, [0] * 20, [3] * 20])
    guess = np.array([[1.0] * 10 + [1] * 10, [1] * 20, [0] * 20])
    values = EVERY["nmse@de20"](Comparison(make_truth(1 + true, np.ones(20)), 1 + guess))
    np.testing.assert_allclose(values.value, [10 / 50, np.nan, 1], rtol=1e-15)
    assert values.reason.tolist() == ["", "zero_variance", ""]


def test_error_relative_to_no_change_is_a_ratio_of_errors(random_screen, score):
    truth, predicted = random_screen(18, n_contexts=2)
    ratio = score("mse@de20", truth, predicted).value / score("mse@de20", truth, truth.references["ctrl"]).value
    np.testing.assert_allclose(EVERY["nmse@de20"](Comparison(truth, predicted)).value, ratio, rtol=1e-9)


def test_share_within_a_deviation_by_hand(make_truth):
    """Errors of 1 against deviations of 2, 1, 0 and 0.5: a hit, a miss (not below), one left out, and misses."""
    truth = make_truth(np.ones((3, 20)), np.zeros(20))
    variance = np.array([4.0] * 5 + [1] * 5 + [0] * 4 + [0.25] * 6)
    profiles = replace(truth.profiles, var=np.stack([variance, 0 * variance, variance]), n_cells=np.array([9, 9, 1]))
    truth = replace(truth, profiles=profiles, de_order=np.tile(np.arange(20), (3, 1)))
    values = EVERY["frac_sigma@de20"](Comparison(truth, np.full((3, 20), 2.0)))
    np.testing.assert_allclose(values.value, [5 / 16, np.nan, np.nan])
    assert values.reason.tolist() == ["", "zero_variance", "too_few_cells"]


def test_share_within_the_quartiles_by_hand(make_truth):
    # Quartiles of 0, 1, 2, 3, 4 are 1 and 3.
    cells = [np.repeat(np.arange(5.0)[:, None], 20, axis=1), np.repeat(np.arange(3.0)[:, None], 20, axis=1)]
    truth = with_cells(make_truth(np.ones((2, 20)), np.zeros(20)), cells)
    guess = np.array([1.0] * 3 + [3] * 4 + [2] * 5 + [0.99] * 4 + [3.01] * 4)
    metric = EVERY["frac_in_range@de20"]
    values = metric(Comparison(truth, np.tile(guess, (2, 1))))
    np.testing.assert_allclose(values.value, [12 / 20, np.nan])
    assert values.reason.tolist() == ["", "too_few_cells"]
    without = metric(Comparison(make_truth(np.ones((2, 20)), np.zeros(20)), np.tile(guess, (2, 1))))
    assert without.reason.tolist() == ["no_truth_cells"] * 2


def test_shares_against_a_naive_loop(random_screen):
    truth, predicted = random_screen(19, n=5)
    rng = np.random.default_rng(19)
    cells = [np.maximum(rng.normal(m, 1, size=(int(rng.integers(8, 20)), 60)), 0) for m in truth.profiles.mean]
    truth = with_cells(truth, cells)
    predicted[3] = np.nan
    found = {name: EVERY[name](Comparison(truth, predicted)) for name in ("frac_sigma@de20", "frac_in_range@de20")}
    for i, sample in enumerate(cells):
        top = truth.de_order[i, :20]
        if i == 3:
            assert {v.reason[i] for v in found.values()} == {"absent"}
            continue
        near = [abs(predicted[i, g] - sample[:, g].mean()) < sample[:, g].std(ddof=1) for g in top if sample[:, g].std() > 0]
        low, high = np.percentile(sample, [25, 75], axis=0)
        within = [low[g] <= predicted[i, g] <= high[g] for g in top]
        assert found["frac_sigma@de20"].value[i] == pytest.approx(np.mean(near))
        assert found["frac_in_range@de20"].value[i] == pytest.approx(np.mean(within))


def test_metrics_of_one_family_share_a_pass(random_screen, monkeypatch):
    truth, predicted = random_screen(20)
    passes = []
    whole = Table.__call__
    monkeypatch.setattr(Table, "__call__", lambda self, comparison: passes.append(self) or whole(self, comparison))
    comparison = Comparison(truth, predicted)
    for name in ("mse@all", "rmse@all", "mae@all", "l2@all", "mse@all", "mse@de20"):
        EVERY[name](comparison)
    assert [(t.genes, t.reference) for t in passes] == [("all", None), ("de20", None)]


def test_every_metric_has_a_caveat_of_one_to_three_sentences():
    for metric in EVERY.values():
        assert 1 <= metric.caveats.count(". ") + 1 <= 3 and metric.caveats.endswith("."), metric.id
        assert "|" not in metric.caveats and "\n" not in metric.caveats
