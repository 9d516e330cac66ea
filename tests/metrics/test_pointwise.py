"""Pointwise errors against arithmetic by hand and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, root_mean_squared_error


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
