"""Scores over time against loops and scikit-learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score


def test_correlations_at_each_time(cells):
    late = cells.z + 1.5 * cells.time[:, None] * cells.rng.normal(size=cells.z.shape)
    by_time = []
    for t in range(3):
        rows = cells.report & (cells.time == t)
        by_time.append(np.mean([pearsonr(late[rows, i], cells.z[rows, i]).statistic for i in range(6)]))
    assert by_time[0] == pytest.approx(1) and by_time[2] < 0.6
    assert cells.score("mcc.time_first", late) == pytest.approx(by_time[0])
    assert cells.score("mcc.time_last", late) == pytest.approx(by_time[2])
    assert cells.score("mcc.time_mean", late) == pytest.approx(np.mean(by_time))


def test_a_code_that_is_only_the_time_says_nothing_at_any(cells):
    clock = cells.z + 8 * cells.time[:, None]
    truth = replace(cells.truth, values=clock)
    codes = cells.time[:, None] + 0.01 * cells.rng.normal(size=clock.shape)
    assert cells.score("mcc.pearson", codes, truth=truth) > 0.9
    assert abs(cells.score("mcc.time_mean", codes, truth=truth)) < 0.06


def test_the_next_instant_by_scikit_learn(cells):
    codes = cells.z[:, [0, 1, 4]] + 0.3 * cells.rng.normal(size=(len(cells.z), 3))
    label = np.eye(5)[cells.perturbation]
    before = np.flatnonzero(cells.time < 2)
    after, fit = before + 1, ~cells.report[before]
    assert (cells.unit[before] == cells.unit[after]).all()

    def told(x):
        x, y = np.hstack([x, label])[before], cells.z[after][:, :4]
        return r2_score(y[~fit], LinearRegression().fit(x[fit], y[fit]).predict(x[~fit]))

    expected = told(codes) / told(cells.z)
    assert 0.3 < expected < 0.95
    assert cells.score("latent_forecast", codes) == pytest.approx(expected, abs=5e-3)
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    assert cells.score("latent_forecast", cells.z @ turned) == pytest.approx(1, abs=1e-3)
    # The scale of codes is nothing beside the labels.
    for scale in (1e5, 1e-5):
        assert cells.score("latent_forecast", scale * codes) == pytest.approx(expected, abs=5e-3)


def test_the_order_of_cells_does_not_matter(cells):
    order = cells.rng.permutation(len(cells.z))
    moved = replace(
        cells.latents(cells.z[order, :3], cells.truth.at(order)),
        report=cells.report[order],
        perturbation=cells.perturbation[order],
        unit=cells.unit[order],
        time=cells.time[order],
    )
    for name in ("latent_forecast", "mcc.time_mean", "mcc.within", "invariance.constancy"):
        assert cells.score(name, moved) == pytest.approx(cells.score(name, cells.z[:, :3]), abs=2e-3)


def test_what_is_undefined_and_why(cells, build):
    once = build(seed=6, n_units=600, n_times=1)
    assert once.reason("latent_forecast", once.z) == "not_paired"
    for name in ("mcc.time_mean", "mcc.time_first", "mcc.time_last"):
        assert once.reason(name, once.z) == "no_times"
    unknown = replace(cells.latents(cells.z), time=np.full(len(cells.z), np.nan))
    assert cells.reason("mcc.time_mean", unknown) == "no_times" and cells.reason("latent_forecast", unknown) == "not_paired"
    assert cells.score("mcc.within", unknown) == pytest.approx(1)
    few = build(seed=6, n_units=40)
    assert few.reason("mcc.time_first", few.z) == "too_few_cells"
    noise = replace(cells.truth, values=cells.rng.normal(size=cells.z.shape))
    assert cells.reason("latent_forecast", cells.z, truth=noise) == "nothing_to_forecast"


def test_cells_without_a_time_take_no_part(cells):
    time = np.where(cells.rng.random(len(cells.z)) < 0.2, np.nan, cells.time)
    latents = replace(cells.latents(cells.z + cells.rng.normal(size=cells.z.shape)), time=time)
    rows = cells.report & (time == 2)
    h = latents.code("all")
    expected = np.mean([pearsonr(h[rows, i], cells.z[rows, i]).statistic for i in range(6)])
    assert cells.score("mcc.time_last", latents) == pytest.approx(expected)
