"""The static causal model against closed forms, regressions and its own labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import UsageError
from pbench.bench.contracts.identity import derived_seed
from pbench.datasets.latent.mechanisms import MECHANISMS, NOISES
from pbench.datasets.latent.mixing import mixing
from pbench.datasets.latent.static_causal import HARD_SD, LATENT_STATIC, REGIMES, Intervention, causal_model, simulate

SMALL = {"cells_per_perturbation": 40, "n_controls": 60, "n_features": 12}


def streams(seed):
    return lambda *part: np.random.default_rng(derived_seed(seed, *part))


def model_of(seed, *, mechanism="linear", noise="gaussian", degree=3.0):
    return causal_model(streams(seed), 6, 2, degree=degree, mechanism=mechanism, noise=noise)


@pytest.fixture(scope="module")
def screen():
    return LATENT_STATIC.load()


def test_the_default_screen_is_what_its_card_says(screen):
    card, truth, obs = LATENT_STATIC.card, screen.ground_truth, screen.adata.obs
    assert card == screen.card and card.simulated and card.modality == "simulated" and card.default_split == "units"
    assert (screen.adata.n_obs, screen.adata.n_vars, len(screen.perturbed)) == (card.n_cells, card.n_genes, card.n_perturbations)
    assert truth.blocks == ("responsive",) * 7 + ("invariant",) * 3 and truth.lagged.shape == (0, 10, 10)
    assert truth.perturbations[0] == "control" and set(truth.perturbations) == set(obs["perturbation"])
    # A perturbation for each responsive variable, and pairs whose targets are those of both.
    singles = {p: truth.targets[i] for i, p in enumerate(truth.perturbations) if i and "+" not in p}
    assert np.array_equal(np.stack(list(singles.values())), np.eye(7, 10, dtype=bool))
    for i, p in enumerate(truth.perturbations):
        if "+" in p:
            assert np.array_equal(truth.targets[i], np.logical_or(*(singles[name] for name in p.split("+"))))
    assert set(screen.noise_free) == set(screen.conditions)
    assert "unit" not in obs and "time" not in obs and screen.adata.X.dtype == np.float32


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("noise", NOISES)
def test_unperturbed_variables_have_mean_zero_and_variance_one(mechanism, noise):
    z = model_of(1, mechanism=mechanism, noise=noise).sample(np.random.default_rng(0), 40_000)
    # 40,000 cells and 20,000 that fixed the scale: standard errors of a variance of about .01, more with heavy tails.
    assert np.abs(z.mean(axis=0)).max() < 0.04
    assert np.abs(z.var(axis=0) - 1).max() < 0.08


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 5))
def test_linear_models_have_the_covariance_of_the_closed_form(seed, degree):
    model = model_of(seed, degree=degree)
    weights = np.zeros((8, 8))
    for j, m in enumerate(model.mechanisms):
        weights[j, model.graph[j]] = m.share * m.linear / m.spread
        assert not model.graph[j].any() or 0.16 <= m.sd**2 <= 0.49
        assert m.share**2 + m.sd**2 == pytest.approx(1)
    assert np.array_equal(weights != 0, model.graph)
    assert not np.triu(model.graph[np.ix_(model.order, model.order)]).any(), "a cause comes after its effect"
    assert model.graph[:6, :6].any()
    through = np.linalg.inv(np.eye(8) - weights)
    assert np.diag(through @ np.diag([m.sd**2 for m in model.mechanisms]) @ through.T) == pytest.approx(np.ones(8), abs=0.06)


def test_variances_do_not_tell_the_order_of_causes():
    found = []
    for seed in range(12):
        model = model_of(seed)
        variance = model.sample(np.random.default_rng(seed), 2000).var(axis=0)
        found += [variance[j] < variance[i] for i in range(8) for j in range(8) if model.graph[i, j]]
    assert 0.35 < np.mean(found) < 0.65 and len(found) > 80


@pytest.mark.parametrize("mechanism", ["linear", "mlp"])
@pytest.mark.parametrize("regime", REGIMES)
def test_regimes_change_a_mechanism_as_they_promise(regime, mechanism):
    model = model_of(4, mechanism=mechanism)
    node = next(j for j in range(6) if model.graph[j].sum() >= 2)
    m = model.mechanisms[node]
    z = model.sample(np.random.default_rng(1), 20_000, (Intervention(node, -2.0),), regime)
    effect = m.effect(z[:, model.graph[node]])
    slope, level = np.polyfit(effect, z[:, node], 1)
    rest = (z[:, node] - slope * effect - level).std()
    expected = {"hard": (0.0, HARD_SD), "soft": (0.4, m.sd), "shift": (1.0, m.sd)}[regime]
    assert slope == pytest.approx(expected[0], abs=0.03)
    assert rest == pytest.approx(expected[1], rel=0.03)
    assert level == pytest.approx(-2.0, abs=0.03)


def test_location_scale_noise_depends_on_causes_and_other_noise_does_not():
    for noise, kurtosis, depends in (("gaussian", 3, False), ("laplace", 6, False), ("location-scale", None, True)):
        model = model_of(2, noise=noise)
        node = next(j for j in range(6) if model.graph[j].any())
        m, causes = model.mechanisms[node], np.random.default_rng(0).standard_normal((200_000, int(model.graph[node].sum())))
        eps = m.noise(np.random.default_rng(1), 200_000)
        assert np.mean(eps**2) == pytest.approx(1, rel=0.02)
        assert kurtosis is None or np.mean(eps**4) == pytest.approx(kurtosis, rel=0.06)
        assert (np.ptp(m.disturbance(causes, np.ones(200_000))) > 0.1) == depends


def test_a_part_of_the_screen_does_not_depend_on_the_size_of_another():
    def rows(screen, label):
        mask = (screen.adata.obs["perturbation"] == label).to_numpy()
        return screen.adata.X[mask], screen.ground_truth.values[mask]

    plain = simulate(**SMALL)
    again, more = simulate(**SMALL), simulate(**{**SMALL, "n_controls": 90, "n_doubles": 2})
    assert np.array_equal(plain.adata.X, again.adata.X) and np.array_equal(plain.ground_truth.values, again.ground_truth.values)
    for label in ("P1", "P7"):
        assert all(np.array_equal(a, b) for a, b in zip(rows(plain, label), rows(more, label), strict=True))
        assert np.array_equal(plain.noise_free[Condition((label,))], more.noise_free[Condition((label,))])
    doubles = [p for p in more.ground_truth.perturbations if "+" in p]
    assert len(doubles) == 2 and all(np.array_equal(rows(plain, d)[0], rows(more, d)[0]) for d in doubles)


def test_seeds_share_nothing():
    """Neither the noise of cells nor the network of one seed can be learnt from another."""
    z, x = zip(*((s.ground_truth.values, s.adata.X) for s in (simulate(seed=k, n_controls=2000, n_features=12) for k in (0, 1))), strict=True)  # fmt: skip
    between = np.corrcoef(z[0][:2000].T, z[1][:2000].T)[:10, 10:]
    assert np.abs(between).max() < 5 / np.sqrt(2000)
    between = np.corrcoef(x[0][:2000].T, x[1][:2000].T)[:12, 12:]
    assert np.abs(between).max() < 5 / np.sqrt(2000)


def test_cells_of_different_conditions_share_nothing():
    screen = simulate(cells_per_perturbation=2000, n_controls=2000, n_features=12)
    truth, labels = screen.ground_truth, screen.adata.obs["perturbation"]
    values, x = ([m[(labels == p).to_numpy()] for p in ("control", "P1")] for m in (truth.values, screen.adata.X))
    for a, b in (values, x):
        assert np.abs(np.corrcoef(a.T, b.T)[: a.shape[1], a.shape[1] :]).max() < 5 / np.sqrt(2000)


def test_noise_free_means_are_those_of_many_cells():
    screen = simulate(
        cells_per_perturbation=3000, n_controls=3000, n_features=12, mechanism="mlp", regime="soft", mixing_layers=5
    )
    for i, condition in enumerate(screen.conditions):
        x = screen.adata.X[screen.codes == i]
        error = (x.mean(axis=0) - screen.noise_free[condition]) / np.sqrt(x.var(axis=0) * (1 / 3000 + 1 / 20_000))
        assert np.abs(error).max() < 4.5


def test_dials_of_the_measurement_do_what_they_say():
    plain, noisy = (simulate(**SMALL | {"observation_noise": s}) for s in (0.0, 0.2))
    assert np.array_equal(plain.ground_truth.values, noisy.ground_truth.values)
    assert (noisy.adata.X - plain.adata.X).std() == pytest.approx(0.2, rel=0.05)
    unexplained = []
    for layers in (1, 3, 5):
        screen = simulate(**SMALL | {"observation_noise": 0.0, "mixing_layers": layers})
        z = np.column_stack([screen.ground_truth.values, np.ones(screen.adata.n_obs)])
        rest = screen.adata.X - z @ np.linalg.lstsq(z, screen.adata.X, rcond=None)[0]
        unexplained.append(rest.var() / screen.adata.X.var())
    assert unexplained[0] < 1e-12 and 0.01 < unexplained[1] < unexplained[2]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(0, 6), st.integers(1, 5))
def test_the_network_is_standardised_and_loses_nothing(seed, d, more, layers):
    rng = np.random.default_rng(seed)
    reference = rng.standard_normal((500, d)) * rng.uniform(0.5, 2, d)
    network = mixing(rng, reference, n_features=d + more, n_layers=layers)
    x = network(reference)
    assert len(network.layers) == layers and x.shape == (500, d + more)
    assert x.mean(axis=0) == pytest.approx(np.zeros(d + more), abs=1e-9) and x.std(axis=0) == pytest.approx(np.ones(d + more))
    assert network.inverse(x) == pytest.approx(reference, abs=1e-8)


def test_two_perturbations_of_a_variable_move_it_in_opposite_directions():
    screen = simulate(**SMALL | {"per_node": 2, "cells_per_perturbation": 200})
    truth, labels = screen.ground_truth, screen.adata.obs["perturbation"]
    assert len(truth.perturbations) == 1 + 14 + 5
    for node in range(7):
        a, b = (truth.values[(labels == f"P{node + 1}{k}").to_numpy(), node] for k in "ab")
        assert a.std() == pytest.approx(HARD_SD, rel=0.2)
        assert a.mean() * b.mean() < 0 and min(abs(a.mean()), abs(b.mean())) > 1.3


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"regime": "stiff"}, "regime=stiff is not known"),
        ({"mechanism": "cubic"}, "Known: linear, mlp, quadratic"),
        ({"noise": "laplac"}, "Did you mean 'laplace'"),
        ({"n_responsive": 1}, "n_responsive=1 is too small"),
        ({"n_features": 9}, "n_features=9 is too small; give at least 10"),
        ({"mixing_layers": 0}, "mixing_layers=0"),
        ({"observation_noise": -0.1}, "observation_noise=-0.1"),
        ({"per_node": 3}, "per_node=3"),
        ({"n_doubles": 22}, "up to 21 pairs"),
    ],
)
def test_dials_beyond_their_range_are_refused(dials, message):
    with pytest.raises(UsageError, match=message):
        simulate(**dials)
