"""Encoder baselines: features, components, variational autoencoders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from scipy.optimize import linear_sum_assignment
from small_screens import made_up, training_data

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import NotFitted, TrainingFailed, UsageError
from pbench.bench.contracts.training import Cells
from pbench.models.encoders.beta_vae import BetaVAE
from pbench.models.encoders.components import Ica, Pca
from pbench.models.encoders.encoder import COMPONENTS, ENCODES_ONLY, FLOOR, SAMPLE, Features, Labels
from pbench.models.encoders.ivae import IVAE
from pbench.models.encoders.untrained import UntrainedCode
from pbench.models.neural.layers import draw
from pbench.models.neural.variational_encoder import ConditionalPrior, NormalPrior, RowBatches, Rows, VariationalNetwork

A, B, CONTROL = Condition(("A",)), Condition(("B",)), Condition()
SMALL = {"epochs": 3, "width": 16, "device": "cpu"}
EVERY = [Pca(), Ica(), BetaVAE(**SMALL), IVAE(**SMALL), UntrainedCode(width=16)]


def cells_of(X, codes=None, conditions=(CONTROL,), scale="raw", **other):
    codes = np.zeros(len(X), dtype=int) if codes is None else np.asarray(codes)
    return Cells(sparse.csr_matrix(np.asarray(X, dtype=np.float32)), codes, conditions, scale, **other)


def correlation(z, h):
    """Mean absolute correlation of matched columns."""
    found = np.abs(np.corrcoef(z.T, h.T)[: z.shape[1], z.shape[1] :])
    return found[linear_sum_assignment(-found)].mean()


@pytest.fixture(scope="module")
def small():
    return made_up([A, B, Condition(("A", "B"))], scale="log1p_1e4", n=20)


# ---------------------------------------------------------------- features


def test_features_are_standardised_by_training_cells_alone():
    rng = np.random.default_rng(0)
    X = rng.normal([1, 5, -2], [1, 2, 3], (500, 3))
    features = Features.of(cells_of(X))
    assert features.width == 3
    np.testing.assert_allclose(features(cells_of(X)), (X - X.mean(axis=0)) / X.std(axis=0), atol=1e-4)
    np.testing.assert_allclose(features(cells_of([[0.0, 0, 0]])), -(X.mean(axis=0) / X.std(axis=0))[None], atol=1e-4)
    assert features(cells_of(X)).dtype == np.float32


def test_genes_that_hardly_vary_are_not_blown_up():
    X = np.random.default_rng(0).normal(0, [1, 1, 1e-6], (400, 3))
    X[:, 2] += 7
    found = Features.of(cells_of(X))(cells_of(X))
    assert np.abs(found[:, 2]).max() < 1e-3
    np.testing.assert_allclose(Features.of(cells_of(X)).spread[2], FLOOR * np.sqrt(X.var(axis=0).mean()), rtol=1e-3)
    np.testing.assert_array_equal(Features.of(cells_of(np.ones((9, 4))))(cells_of(np.ones((9, 4)))), 0)


def test_counts_are_brought_to_the_scale_of_profiles():
    X = np.random.default_rng(0).poisson(3, (60, 5))
    X[0] = 0
    log = np.log1p(
        np.divide(1e4 * X, X.sum(axis=1, keepdims=True), out=np.zeros(X.shape), where=X.sum(axis=1, keepdims=True) > 0)
    )
    expected = (log - log.mean(axis=0)) / log.std(axis=0)
    np.testing.assert_allclose(Features.of(cells_of(X, scale="counts"))(cells_of(X, scale="counts")), expected, atol=1e-4)


def test_wide_cells_become_leading_principal_components_of_the_same_distances():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 8)) @ rng.normal(size=(8, 700)) + 0.01 * rng.normal(size=(300, 700))
    features = Features.of(cells_of(X))
    found = features(cells_of(X)).astype(float)
    assert found.shape == (300, COMPONENTS) and features.width == COMPONENTS
    standardised = (X - X.mean(axis=0)) / X.std(axis=0)
    left, size, _ = np.linalg.svd(standardised, full_matrices=False)
    best = (left * size)[:, :8] / features.unit
    np.testing.assert_allclose(found[:, :8] @ found[:, :8].T, best @ best.T, atol=1e-2)
    assert np.square(found).mean() == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(Features.of(cells_of(X))(cells_of(X)), found)


def test_axes_come_from_a_sample_and_moments_from_all():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(SAMPLE + 200, 3)) @ rng.normal(size=(3, 520))
    features = Features.of(cells_of(X))
    np.testing.assert_allclose(features.centre, X.mean(axis=0), atol=1e-4)
    found = features(cells_of(X[:50]))
    standardised = (X - X.mean(axis=0)) / X.std(axis=0)
    distances = lambda a: np.linalg.norm(a[:, None] - a[None], axis=2)  # noqa: E731
    np.testing.assert_allclose(distances(found) * features.unit, distances(standardised[:50]), rtol=1e-2, atol=1e-2)


def test_labels_hold_targets_contexts_and_times_of_controls_too():
    conditions = (
        Condition(context="x"),
        Condition(context="y"),
        Condition(("A",), time=1.0, context="x"),
        Condition(("A", "B"), time=2.0, context="y"),
    )
    cells = cells_of(np.ones((5, 2)), [0, 1, 2, 3, 0], conditions, time=np.array([1.0, 2, 1, 2, np.nan]))
    labels = Labels.of(cells)
    expected = [[0, 0, 1, 0, 1, 0], [0, 0, 0, 1, 0, 1], [1, 0, 1, 0, 1, 0], [1, 1, 0, 1, 0, 1], [0, 0, 1, 0, 0, 0]]
    np.testing.assert_array_equal(labels(cells), expected)
    later = replace(cells, time=np.full(5, 9.0))
    np.testing.assert_array_equal(labels.at(later), 0)
    # Without times of cells, those of their conditions.
    np.testing.assert_array_equal(
        Labels.of(replace(cells, time=None)).at(replace(cells, time=None)), [[0, 0], [0, 0], [1, 0], [0, 1], [0, 0]]
    )
    dosed = cells_of(np.ones((2, 2)), [0, 1], (Condition(("A",), (2.0,)), Condition(("A",), (8.0,))))
    np.testing.assert_array_equal(Labels.of(dosed)(dosed), [[0.25], [1]])


# ---------------------------------------------------------------- what all have in common


@pytest.mark.parametrize("model", EVERY, ids=lambda m: type(m).__name__)
def test_an_encoder_encodes_and_answers_nothing(model, small):
    with pytest.raises(NotFitted):
        type(model)().encode(small.cells)
    with pytest.raises(NotFitted):
        type(model)().predict([A], small.controls)
    model.fit(small, seed=0)
    codes = model.encode(small.cells)
    assert set(codes) == {"latent"} and codes["latent"].shape == (80, 10)
    assert np.isfinite(codes["latent"]).all()
    prediction = model.predict([A, CONTROL], small.controls)
    assert prediction.conditions == () and prediction.mean.shape == (0, 15)
    assert dict(prediction.absent) == {A: ENCODES_ONLY, CONTROL: ENCODES_ONLY}


@pytest.mark.parametrize("model", EVERY, ids=lambda m: type(m).__name__)
def test_as_many_codes_as_told(model, small):
    told = replace(small, latents={"responsive": 3, "invariant": 1})
    assert type(model)(**{**model.get_params(), "latent": None}).fit(told, seed=0).encode(small.cells)["latent"].shape[1] == 4
    assert type(model)(**{**model.get_params(), "latent": 2}).fit(told, seed=0).encode(small.cells)["latent"].shape[1] == 2
    with pytest.raises(UsageError, match="latent=0"):
        type(model)(**{**model.get_params(), "latent": 0}).fit(small, seed=0)


@pytest.mark.parametrize("model", EVERY, ids=lambda m: type(m).__name__)
def test_codes_follow_from_the_seed_and_each_cell_alone(model, small):
    first = model.fit(small, seed=1).encode(small.cells)["latent"]
    again = model.fit(small, seed=1).encode(small.cells)["latent"]
    np.testing.assert_array_equal(first, again)
    part = replace(small.cells, X=small.cells.X[7:9], codes=small.cells.codes[7:9])
    np.testing.assert_allclose(model.encode(part)["latent"], first[7:9], rtol=1e-4, atol=1e-5)
    other = model.fit(small, seed=2).encode(small.cells)["latent"]
    assert np.array_equal(first, other) == (not model.capabilities.stochastic)


@pytest.mark.parametrize("model", EVERY, ids=lambda m: type(m).__name__)
def test_only_ivae_is_told_what_was_done(model, small):
    model.fit(small, seed=0)
    cells = small.cells
    blind = replace(cells, codes=np.zeros_like(cells.codes), conditions=(CONTROL,))
    told, untold = model.encode(cells)["latent"], model.encode(blind)["latent"]
    controls = cells.codes == 0
    np.testing.assert_array_equal(told[controls], untold[controls])
    assert np.array_equal(told, untold) == (not isinstance(model, IVAE))
    unknown = replace(cells, codes=np.zeros_like(cells.codes), conditions=(Condition(("Z",)),))
    if isinstance(model, IVAE):
        with pytest.raises(UsageError, match="Z was not trained on"):
            model.encode(unknown)
    else:
        np.testing.assert_array_equal(model.encode(unknown)["latent"], told)


# ---------------------------------------------------------------- components


def test_pca_is_that_of_scikit_learn(small):
    from sklearn.decomposition import PCA

    features = Features.of(small.cells)(small.cells)
    expected = PCA(4, svd_solver="full").fit_transform(features.astype(float))
    found = Pca(latent=4).fit(small, seed=0).encode(small.cells)["latent"]
    sign = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * sign, expected, atol=1e-3)


def test_cells_of_few_dimensions_have_few_components():
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(60, 2)), 3, axis=1)
    data = training_data({CONTROL: X[:30], A: X[30:]})
    for model in (Pca(latent=5), Ica(latent=5)):
        assert model.fit(data, seed=0).encode(data.cells)["latent"].shape == (60, 2)


def test_ica_finds_independent_sources_of_a_linear_mixture_and_pca_does_not():
    rng = np.random.default_rng(3)
    z = rng.laplace(size=(4000, 5))
    X = z @ rng.normal(size=(5, 12))
    data = training_data({CONTROL: X[:2000], A: X[2000:]})
    ica = Ica(latent=5).fit(data, seed=0)
    found = ica.encode(data.cells)["latent"]
    assert correlation(z, found) > 0.99
    assert ica.diagnostics()["converged"]
    np.testing.assert_allclose(np.cov(found.T), np.eye(5), atol=0.01)
    assert correlation(z, Pca(latent=5).fit(data, seed=0).encode(data.cells)["latent"]) < 0.9


def test_ica_says_where_it_did_not_converge(recwarn):
    X = np.random.default_rng(0).normal(size=(300, 6))
    data = training_data({CONTROL: X[:150], A: X[150:]})
    assert Ica(latent=6, iterations=2).fit(data, seed=0).diagnostics() == {"iterations": 2, "converged": False}
    assert not [w for w in recwarn if "converge" in str(w.message)]


# ---------------------------------------------------------------- variational autoencoders


def test_the_divergence_of_the_conditional_prior_is_that_of_torch():
    torch.manual_seed(0)
    prior = ConditionalPrior(3, 2, width=8, hidden=1)
    told, mean, log_variance = torch.randn(7, 3), torch.randn(7, 2), torch.randn(7, 2)
    centre, spread = prior.moments(told)
    assert not torch.allclose(centre[0], centre[1])
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(mean, (0.5 * log_variance).exp()), normal(centre, (0.5 * spread).exp())
    ).sum(dim=1)
    torch.testing.assert_close(prior(told, mean, log_variance), expected, rtol=1e-4, atol=1e-5)
    assert not ConditionalPrior(3, 2, width=8, hidden=1, means=False).moments(told)[0].any()


def test_the_loss_is_the_bound_with_a_weighted_divergence():
    torch.manual_seed(0)
    network = VariationalNetwork(4, 2, 3, width=8, hidden=1, prior=NormalPrior(), beta=4.0)
    with torch.no_grad():
        network.log_noise.copy_(torch.tensor([0.3, -1, 0, 2]))
    rows = Rows(torch.randn(6, 4), torch.randn(6, 2))
    torch.manual_seed(5)
    loss = network.loss(rows)
    torch.manual_seed(5)
    mean, log_variance = network.encode(rows.x, rows.told)
    z = draw(mean, log_variance)
    scale = np.exp(0.5 * network.log_noise.detach().numpy())
    density = stats.norm.logpdf(rows.x.numpy(), network.decoder(z).detach().numpy(), scale).sum(axis=1)
    m, v = mean.detach().numpy(), np.exp(log_variance.detach().numpy())
    divergence = 0.5 * (v + m**2 - 1 - np.log(v)).sum(axis=1)
    assert float(loss.detach()) == pytest.approx(float((4 * divergence - density).mean()), rel=1e-4)


def test_the_encoder_reads_labels_only_where_it_is_told():
    x = torch.randn(5, 4)
    for told in (False, True):
        network = VariationalNetwork(4, 2, 3, width=8, hidden=1, prior=NormalPrior(), told=told)
        one, other = network.encode(x, torch.zeros(5, 2))[0], network.encode(x, torch.ones(5, 2))[0]
        assert torch.equal(one, other) == (not told)


def test_an_epoch_has_all_rows_once_but_a_rest_of_one():
    x = np.arange(9, dtype=np.float32)[:, None]
    batches = list(RowBatches(x, np.zeros((9, 0), np.float32), 4).epoch(np.random.default_rng(0)))
    assert [len(b) for b in batches] == [4, 4]
    seen = torch.cat([b.x for b in batches])[:, 0].tolist()
    assert len(set(seen)) == 8 and seen != sorted(seen)


@pytest.fixture(scope="module")
def modulated():
    """Sources that are independent given one of 10 perturbations, which sets their variances and means, mixed by a network."""
    rng = np.random.default_rng(0)
    conditions = [CONTROL, *(Condition((f"P{i}",)) for i in range(9))]
    lower, upper = np.linalg.qr(rng.normal(size=(3, 3)))[0], rng.normal(size=(3, 12))
    sources, blocks = [], {}
    for condition in conditions:
        z = rng.normal(rng.uniform(-1.5, 1.5, 3), rng.uniform(0.2, 2, 3), (300, 3))
        h = z @ lower
        blocks[condition] = np.where(h > 0, h, 0.3 * h) @ upper
        sources.append(z)
    return training_data(blocks), np.concatenate(sources), conditions


def test_ivae_finds_modulated_sources_where_others_keep_but_mix_them(modulated):
    data, z, _ = modulated
    found = {}
    for model in (IVAE(latent=3, width=64, epochs=40), BetaVAE(latent=3, width=64, epochs=40, beta=1.0), Pca(latent=3)):
        found[type(model)] = correlation(z, model.fit(data, seed=0).encode(data.cells)["latent"])
    assert found[IVAE] > 0.9
    assert found[IVAE] > max(found[BetaVAE], found[Pca]) + 0.05


def test_training_is_described_and_improves(modulated):
    data, _, _ = modulated
    few, more = (BetaVAE(latent=3, width=32, epochs=e, beta=1.0).fit(data, seed=0).diagnostics() for e in (2, 20))
    assert (few["epochs"], more["epochs"]) == (2, 20)
    assert more["loss"] < few["loss"] - 1
    assert UntrainedCode(latent=3).fit(data, seed=0).diagnostics() == {}


def test_a_large_beta_leaves_less_in_the_codes(modulated):
    data, _, _ = modulated
    features = Features.of(data.cells)(data.cells)

    def kept(beta):
        h = BetaVAE(latent=3, width=32, epochs=15, beta=beta).fit(data, seed=0).encode(data.cells)["latent"]
        h = np.column_stack([h, np.ones(len(h))])
        rest = features - h @ np.linalg.lstsq(h, features, rcond=None)[0]
        return 1 - rest.var() / features.var()

    assert kept(100.0) < kept(1.0) - 0.2


def test_a_loss_that_is_no_number_ends_training_with_a_sentence(modulated):
    with pytest.raises(TrainingFailed, match="learning_rate"):
        BetaVAE(latent=3, width=16, epochs=5, learning_rate=1e25).fit(modulated[0], seed=0)


def test_the_published_settings_train(small):
    codes = IVAE(**{**IVAE.presets["paper"], "epochs": 2}).fit(small, seed=0).encode(small.cells)
    assert codes["latent"].shape == (80, 10)
