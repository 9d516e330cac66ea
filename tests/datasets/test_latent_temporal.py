"""The latent process against regressions on what it generates, its own labels and its modes."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import UsageError
from pbench.datasets.latent import process
from pbench.datasets.latent.temporal import LATENT_TEMPORAL, MODES, simulate

SMALL = {"units_per_perturbation": 20, "n_features": 10}


@pytest.fixture(scope="module")
def screen():
    return LATENT_TEMPORAL.load()


def drawn(seed, *, lag=1, instantaneous=False, edge=0.3):
    return process.process(np.random.default_rng(seed), 5, 2, lag=lag, instantaneous=instantaneous, edge=edge, invariant=0.3)


def test_the_default_screen_is_what_its_card_says(screen):
    card, truth, obs = LATENT_TEMPORAL.card, screen.ground_truth, screen.adata.obs
    assert card == screen.card and card.simulated and card.modality == "simulated" and card.default_split == "units"
    assert (screen.adata.n_obs, screen.adata.n_vars, len(truth.perturbations)) == (card.n_cells, card.n_genes, 11)
    assert card.n_perturbations == 10 and len(screen.conditions) == 1 + 10 * 6
    assert truth.blocks == ("responsive",) * 5 + ("invariant",) * 2
    assert truth.perturbations[0] == "control" and set(truth.perturbations) == set(obs["perturbation"])
    assert np.array_equal(truth.targets[1:6], np.eye(5, 7, dtype=bool)) and (truth.targets[6:].sum(axis=1) == 2).all()
    assert set(screen.noise_free) == set(screen.conditions)
    control = obs["perturbation"] == "control"
    assert set(obs.loc[control, "time"]) == set(obs.loc[~control, "time"]) == {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}


def test_units_are_seen_at_all_times_and_keep_their_invariant_variables(screen):
    obs, truth = screen.adata.obs, screen.ground_truth
    unit = np.unique(obs["unit"], return_inverse=True)[1]
    assert (np.bincount(unit) == 6).all() and obs.groupby("unit", observed=True)["perturbation"].nunique().max() == 1
    assert obs.groupby("unit", observed=True)["time"].nunique().min() == 6
    own = truth.block("invariant")
    first = truth.values[np.unique(unit, return_index=True)[1]][:, own]
    assert np.array_equal(truth.values[:, own], first[unit])
    # Standard normal, and of no use to tell perturbations apart.
    assert stats.kstest(first.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(first.T)[0, 1]) < 4 / np.sqrt(len(first))
    assert np.ptp(truth.values[:, truth.block("responsive")][unit == 0], axis=0).min() > 0


def test_unperturbed_variables_have_mean_zero_and_variance_one_at_all_times():
    screen = simulate(units_per_perturbation=4000, n_doubles=0, n_features=7, lag=2, instantaneous=True)
    control = (screen.adata.obs["perturbation"] == "control").to_numpy()
    z, time = screen.ground_truth.values[control], screen.adata.obs["time"][control]
    for t in range(6):
        now = z[(time == t).to_numpy()]
        assert np.abs(now.mean(axis=0)).max() < 0.07 and np.abs(now.var(axis=0) - 1).max() < 0.12
    # Measurements are standardised as well, and noise of .05 is added.
    assert screen.adata.X[control].var(axis=0) == pytest.approx(1.0025 * np.ones(7), abs=0.1)


def test_all_units_are_alike_until_time_zero_and_perturbed_ones_differ_later(screen):
    truth, obs = screen.ground_truth, screen.adata.obs
    labels, time = obs["perturbation"].to_numpy(dtype=str), obs["time"].to_numpy()
    for i, p in enumerate(truth.perturbations[1:], 1):
        a, b = ((labels == p), (labels == "control"))
        start = [stats.ks_2samp(truth.values[a & (time == 0), j], truth.values[b & (time == 0), j]).pvalue for j in range(7)]
        assert min(start) > 1e-4, p
        for j in np.flatnonzero(truth.targets[i]):
            assert stats.ks_2samp(truth.values[a & (time == 5), j], truth.values[b & (time == 5), j]).pvalue < 1e-8


def columns(z, v, t, node, wired):
    """What may enter the next value of a variable, as columns of a regression."""
    past = [np.tanh(z[:, t - lag, j]) for lag in range(1, len(wired.lagged) + 1) for j in range(5) if j != node]
    now = [np.tanh(z[:, t, j]) for j in range(5) if j in wired.order[: wired.order.index(node)]]
    return np.column_stack([z[:, t - 1, node], *v.T, *past, *now, np.ones(len(z))])


@pytest.mark.parametrize(("lag", "instantaneous"), [(1, False), (2, True)])
def test_regression_recovers_the_process_and_what_a_perturbation_changes(lag, instantaneous):
    wired = drawn(10, lag=lag, instantaneous=instantaneous, edge=0.6)
    # The two targets have causes in the same instant, whose effects a perturbation changes as well.
    assert not instantaneous or wired.instant[[1, 4]].any(axis=1).all()
    drive = process.drive(np.random.default_rng(2), 5, 1, 0) + process.drive(np.random.default_rng(3), 5, 4, 0)
    for acts in (process.neutral(5), drive):
        z, v = wired.sample(np.random.default_rng(0), 30_000, 4, acts)
        for node in range(5):
            X = columns(z, v, 3, node, wired)
            found, rest = np.linalg.lstsq(X, z[:, 3, node], rcond=None)[:2]
            edges = acts.edges[node]
            past = [edges * w[node, j] for w in wired.lagged for j in range(5) if j != node]
            now = [edges * wired.instant[node, j] for j in range(5) if j in wired.order[: wired.order.index(node)]]
            expected = [wired.keep[node], *wired.invariant[node], *past, *now, acts.shift[node]]
            error = np.sqrt(np.diag(np.linalg.inv(X.T @ X)) * rest / len(z))
            assert np.abs((found - expected) / error).max() < 4.5
            assert np.sqrt(rest[0] / len(z)) == pytest.approx(0.35 * acts.noise[node], rel=0.02)
        if acts is drive:
            assert (np.flatnonzero(acts.shift) == [1, 4]).all() and 0.5 <= np.abs(acts.shift[[1, 4]]).min()
            assert (acts.edges[[1, 4]] <= 0.6).all() and (acts.edges[[0, 2, 3]] == 1).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 2), st.booleans(), st.floats(0.05, 1.0))
def test_processes_forget_where_they_started(seed, lag, instantaneous, edge):
    wired = drawn(seed, lag=lag, instantaneous=instantaneous, edge=edge)
    assert process.gain(wired.keep, wired.lagged, wired.instant) <= process.GAIN
    assert (wired.lagged != 0).any() and (wired.instant != 0).any() == instantaneous
    assert all(not np.diag(w).any() for w in (*wired.lagged, wired.instant))
    assert not np.triu(wired.instant[np.ix_(wired.order, wired.order)]).any()
    # Two units that start far apart and have the same noise end up together.
    rng, rest = np.random.default_rng(0), process.neutral(5)
    past = [np.array([[-4.0] * 5, [4.0] * 5])] * lag
    v = np.zeros((2, 2))
    for _ in range(400):
        past = [*past[1:], wired._step(past[-lag:], v, np.repeat(rng.standard_normal((1, 5)), 2, axis=0), rest)]
    assert np.abs(past[-1][0] - past[-1][1]).max() < 1e-3


def test_a_pair_is_the_sum_of_its_shifts_and_the_product_of_its_factors():
    a, b = (process.drive(np.random.default_rng(k), 4, k, 3) for k in (0, 2))
    both = reduce(add, (a, b), process.neutral(4))
    assert np.array_equal(both.shift, a.shift + b.shift) and np.array_equal(both.edges, a.edges * b.edges)
    assert np.array_equal(both.noise, a.noise * b.noise)
    for t in range(6):
        for node, alone in ((0, a), (2, b)):
            assert (both.at(t).shift[node], both.at(t).edges[node]) == (alone.at(t).shift[node], alone.at(t).edges[node])
    assert not both.at(0).shift.any() and (both.at(0).noise == 1).all()


@pytest.mark.parametrize(("lag", "instantaneous"), [(1, False), (2, True)])
def test_graphs_hold_what_the_process_has(lag, instantaneous):
    truth = simulate(**SMALL, lag=lag, instantaneous=instantaneous).ground_truth
    assert truth.lagged.shape == (lag, 7, 7) and truth.graph.any() == instantaneous
    assert np.diag(truth.lagged[0]).all() and truth.lagged[0, :5, 5:].all()
    assert not truth.lagged[:, 5:, :5].any() and not truth.graph[5:].any() and not truth.graph[:, 5:].any()
    assert lag == 1 or not np.diag(truth.lagged[1]).any()


def test_modes_show_the_same_population():
    by_mode = {mode: simulate(mode=mode, units_per_perturbation=100, n_features=10) for mode in MODES}
    assert len({s.adata.n_obs for s in by_mode.values()}) == 1
    assert "unit" not in by_mode["endpoint"].adata.obs and "time" not in by_mode["endpoint"].adata.obs
    assert {c.time for c in by_mode["endpoint"].conditions} == {None}
    snapshot = by_mode["snapshot"].adata.obs
    assert snapshot["unit"].is_unique and (snapshot.groupby(["perturbation", "time"], observed=True).size() == 100).all()
    paired = by_mode["paired"]
    for p in ("control", "P2"):
        for t in (0.0, 5.0):
            a, b = (
                s.ground_truth.values[((s.adata.obs["perturbation"] == p) & (s.adata.obs["time"] == t)).to_numpy()]
                for s in (paired, by_mode["snapshot"])
            )
            assert min(stats.ks_2samp(a[:, j], b[:, j]).pvalue for j in range(7)) > 1e-4
        end = by_mode["endpoint"].ground_truth.values[(by_mode["endpoint"].adata.obs["perturbation"] == p).to_numpy()]
        assert min(stats.ks_2samp(a[:, j], end[:, j]).pvalue for j in range(7)) > 1e-4
        assert by_mode["endpoint"].noise_free[Condition(() if p == "control" else (p,))].shape == (10,)
    for time in (0.0, 5.0):
        assert np.array_equal(paired.noise_free[Condition(("P2",), time=time)], by_mode["snapshot"].noise_free[Condition(("P2",), time=time)])  # fmt: skip


def test_noise_free_means_are_those_of_many_units():
    screen = simulate(mode="snapshot", units_per_perturbation=1500, n_times=3, n_doubles=1, n_features=8)
    for i, condition in enumerate(screen.conditions):
        x = screen.adata.X[screen.codes == i]
        error = (x.mean(axis=0) - screen.noise_free[condition]) / np.sqrt(x.var(axis=0) * (1 / len(x) + 1 / 5000))
        assert np.abs(error).max() < 4.5, condition


def test_a_part_of_the_screen_does_not_depend_on_the_size_of_another():
    plain, again, fewer = simulate(**SMALL), simulate(**SMALL), simulate(**SMALL, n_doubles=2)
    assert np.array_equal(plain.adata.X, again.adata.X) and plain.adata.obs.equals(again.adata.obs)
    kept = plain.adata.obs["perturbation"].isin(fewer.ground_truth.perturbations).to_numpy()
    assert np.array_equal(plain.adata.X[kept], fewer.adata.X) and len(fewer.ground_truth.perturbations) == 8


def test_seeds_share_nothing():
    z = [simulate(seed=k, units_per_perturbation=300, n_doubles=0, mode="endpoint").ground_truth.values for k in (0, 1)]
    assert np.abs(np.corrcoef(z[0][:1800].T, z[1][:1800].T)[:7, 7:]).max() < 5 / np.sqrt(1800)


def test_units_of_different_perturbations_share_nothing():
    screen = simulate(units_per_perturbation=300, n_features=8, mode="endpoint")
    truth, labels = screen.ground_truth, screen.adata.obs["perturbation"]
    values, x = ([m[(labels == p).to_numpy()] for p in ("control", "P1")] for m in (truth.values, screen.adata.X))
    for a, b in (values, x):
        assert np.abs(np.corrcoef(a.T, b.T)[: a.shape[1], a.shape[1] :]).max() < 5 / np.sqrt(1800)


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"mode": "snap"}, "mode=snap is not known. Did you mean 'snapshot'"),
        ({"lag": 3}, "the lag is 1 or 2"),
        ({"onset": 5}, "onset up to 4 with 6 times"),
        ({"n_doubles": 11}, "pairs are up to 10"),
        ({"edge_probability": 0.0}, "the probability is above 0"),
        ({"n_times": 1}, "n_times=1 is too small"),
        ({"n_features": 6}, "give at least 7"),
    ],
)
def test_dials_beyond_their_range_are_refused(dials, message):
    with pytest.raises(UsageError, match=message):
        simulate(**dials)
