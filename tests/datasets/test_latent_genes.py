"""The gene-expression screen with cell-to-cell variation: closed forms, exact profiles, Monte Carlo and its own labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import UsageError
from pbench.datasets import gene_sim
from pbench.datasets.gene_sim import Programs
from pbench.datasets.latent.cell_averages import GeneProfiles, normal_points
from pbench.datasets.latent.gene_programs import DRIVEN, GENE_SIM, _counts, balanced, log_shares, simulate
from pbench.datasets.noise_free import expected_profiles

SMALL = {"n_genes": 40, "n_programs": 4, "n_singles": 6, "n_doubles": 5, "cells_per_perturbation": 6, "n_controls": 10}


@pytest.fixture(scope="module")
def screen():
    return GENE_SIM.load()


def log1p_1e4(counts):
    counts = counts.toarray().astype(np.float64)
    return np.log1p(1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def test_the_default_screen_is_what_its_card_says(screen):
    card, truth, uns = GENE_SIM.card, screen.ground_truth, screen.adata.uns
    assert card == screen.card and card.simulated and card.scale == "counts" and card.default_split == "doubles"
    assert (screen.adata.n_obs, screen.adata.n_vars, len(screen.perturbed)) == (card.n_cells, card.n_genes, card.n_perturbations)
    assert truth.blocks == ("responsive",) * 10 + ("invariant",) * 3
    assert truth.perturbations == tuple(uns["conditions"]) and set(truth.perturbations) == {c.label for c in screen.conditions}
    # Targets are the programs that a perturbation shifts directly; each program is one of them.
    assert np.array_equal(truth.targets[:, :10], uns["shifts"] != 0) and truth.targets[:, :10].any(axis=0).all()
    assert np.array_equal(truth.graph[:10, :10], uns["dag"].T != 0) and truth.graph.sum() == (uns["dag"] != 0).sum() > 3
    # Side information and labels of epistasis as in the screen without variation between cells.
    assert sorted(screen.resources) == ["embedding", "go"] and "gene-sim" in screen.resources["go"].source
    assert set(screen.resources["go"].names) == set(screen.adata.var_names)
    assert set(uns["epistasis"].values()) == set(gene_sim.KINDS)
    assert set(uns["epistasis"]) == {c.label for c in screen.conditions if len(c.targets) == 2}
    assert set(screen.noise_free) == set(screen.conditions)


def test_cells_of_a_condition_differ_in_programs_and_states(screen):
    truth, labels = screen.ground_truth, screen.adata.obs["perturbation"]
    for label in ("control", truth.perturbations[5]):
        z = truth.values[(labels == label).to_numpy()]
        assert z.std(axis=0) == pytest.approx(np.ones(13), rel=0.3 if label != "control" else 0.12)
    # The mean of a program is what its shift amounts to, in units of its standard deviation.
    uns = screen.adata.uns
    own = (labels == truth.perturbations[5]).to_numpy()
    expected = np.append(uns["activities"][5] / 0.5, np.zeros(3))
    assert np.abs((truth.values[own].mean(axis=0) - expected) * np.sqrt(own.sum())).max() < 4


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 9), st.floats(0.1, 1.5))
def test_programs_have_the_same_variance_whatever_drives_them(seed, k, sd):
    rng = np.random.default_rng(seed)
    order = rng.permutation(k)
    dag = np.zeros((k, k))
    dag[np.ix_(order, order)] = np.triu((rng.random((k, k)) < 0.5) * rng.normal(size=(k, k)), 1)
    effects, noise = balanced(dag, sd)
    through = np.linalg.inv(np.eye(k) - effects)
    # (I - dag)^-T diag(noise^2) (I - dag)^-1
    assert np.diag(through.T @ np.diag(noise**2) @ through) == pytest.approx(np.full(k, sd**2))
    assert np.array_equal(effects != 0, dag != 0) and (noise**2 >= (1 - DRIVEN) * sd**2 * (1 - 1e-9)).all()
    ratio = np.where(dag != 0, effects / np.where(dag != 0, dag, 1), np.nan)
    for column in ratio.T:
        present = column[np.isfinite(column)]
        assert not len(present) or (np.ptp(present) < 1e-9 and 0 < present[0] <= 1 + 1e-12)
    z = Programs(effects, np.zeros((1, k)), np.zeros(1), np.ones(1)).activities(noise * rng.standard_normal((5000, k)))
    assert z.std(axis=0) == pytest.approx(np.full(k, sd), rel=0.06)


def test_counts_have_the_moments_of_their_law():
    rng = np.random.default_rng(0)
    programs = Programs(np.zeros((0, 0)), rng.normal(size=(6, 2)), rng.normal(size=6), rng.lognormal(1.5, 0.5, 6))
    shares = log_shares(programs, rng.standard_normal((7, 2)), np.array([0.0, 2.0, 0, 0, 0, 0]))
    assert np.exp(shares).sum(axis=1) == pytest.approx(np.ones(7)), "shares are normalised over genes"
    plain = log_shares(programs, np.zeros((1, 2)), np.zeros(6))
    raised = log_shares(programs, np.zeros((1, 2)), np.array([0.0, 2.0, 0, 0, 0, 0]))
    odds = [np.exp(s[0, 1] - s[0, 0]) for s in (plain, raised)]
    assert odds[1] / odds[0] == pytest.approx(np.exp(2.0))
    n = 40_000
    counts = _counts(np.random.default_rng(1), np.repeat(shares[:1], n, axis=0), programs.dispersion, library_median=300.0, library_sd=0.0).toarray()  # fmt: skip
    mean = 300 * np.exp(shares[0])
    variance = mean + mean**2 / programs.dispersion
    assert np.abs((counts.mean(axis=0) - mean) / np.sqrt(variance / n)).max() < 4
    assert counts.var(axis=0) == pytest.approx(variance, rel=0.05)
    totals = _counts(np.random.default_rng(1), np.repeat(shares[:1], n, axis=0), programs.dispersion, library_median=300.0, library_sd=0.4).sum(axis=1)  # fmt: skip
    assert totals.mean() == pytest.approx(300 * np.exp(0.4**2 / 2), rel=0.02)


def test_gene_profiles_agree_with_the_exact_scheme():
    """Cells that differ in composition, each against the integral that takes all of its genes into account."""
    rng = np.random.default_rng(3)
    base, dispersion = 1.3 * rng.standard_normal(300), rng.lognormal(1.5, 0.5, 300)
    logits = base + 0.4 * rng.standard_normal((24, 300))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    library = {"library_median": 6000.0, "library_sd": 0.35}
    exact = expected_profiles(shares, dispersion, **library)
    low, high = np.log(shares).min(axis=0), np.log(shares).max(axis=0)
    found = GeneProfiles(shares.mean(axis=0), dispersion, low=low, high=high, **library)(np.log(shares))
    assert np.abs(found - exact).max() < 0.012
    assert np.abs((found - exact).mean(axis=0)).max() < 0.003
    assert np.ptp(exact, axis=0).mean() > 0.5, "the cells differ"


def test_noise_free_profiles_are_those_of_many_cells():
    n = 6000
    screen = simulate(n_genes=30, n_programs=4, n_singles=4, n_doubles=2, cells_per_perturbation=n, n_controls=n)
    errors = []
    for i, condition in enumerate(screen.conditions):
        cells = log1p_1e4(screen.adata.X[screen.codes == i])
        errors.append((cells.mean(axis=0) - screen.noise_free[condition]) / np.sqrt(cells.var(axis=0) / n + 0.002**2))
    assert np.abs(errors).max() < 4.5 and np.abs(np.mean(errors)) < 0.5
    # Leaving out what varies between cells would be seen here.
    programs = Programs(screen.adata.uns["dag"], screen.adata.uns["loadings"], screen.adata.uns["baseline"], screen.adata.uns["dispersion"])  # fmt: skip
    still = np.exp(log_shares(programs, np.zeros((1, screen.ground_truth.d)), np.zeros(30)))
    still = expected_profiles(still, programs.dispersion, library_median=6000.0, library_sd=0.35)[0]
    assert np.abs(still - screen.noise_free[Condition()]).max() > 0.03


def test_points_are_normal_and_evenly_spread():
    points = normal_points(1, 512, 5)
    assert points.mean(axis=0) == pytest.approx(np.zeros(5), abs=0.01) and points.std(axis=0) == pytest.approx(
        np.ones(5), rel=0.02
    )
    assert np.abs(np.corrcoef(points.T) - np.eye(5)).max() < 0.05
    assert np.array_equal(points, normal_points(1, 512, 5)) and not np.array_equal(points, normal_points(2, 512, 5))


def test_cells_of_different_conditions_share_nothing():
    screen = simulate(n_genes=40, n_singles=3, n_doubles=0, cells_per_perturbation=2000, n_controls=2000)
    counts = screen.adata.X.toarray()
    for m in (screen.ground_truth.values, log1p_1e4(screen.adata.X), counts.sum(axis=1, keepdims=True)):
        a, b = m[:2000], m[2000:4000]
        found = np.corrcoef(a.T, b.T)[: a.shape[1], a.shape[1] :]
        assert np.abs(found).max() < 5 / np.sqrt(2000)


def test_a_part_of_the_screen_does_not_depend_on_the_size_of_another():
    def cells(screen, label):
        return screen.adata.X[(screen.adata.obs["perturbation"] == label).to_numpy()].toarray()

    plain, again = simulate(**SMALL), simulate(**SMALL)
    fewer = simulate(**SMALL | {"n_doubles": 1, "n_controls": 12})
    assert (plain.adata.X != again.adata.X).nnz == 0 and np.array_equal(plain.ground_truth.values, again.ground_truth.values)
    single = plain.ground_truth.perturbations[1]
    assert np.array_equal(cells(plain, single), cells(fewer, single))
    assert (simulate(**SMALL, seed=1).adata.X != plain.adata.X).nnz > 0
    still = simulate(**SMALL | {"program_sd": 1e-6, "n_states": 0, "cells_per_perturbation": 50})
    assert np.ptp(still.ground_truth.values[10:60], axis=0) == pytest.approx(np.full(4, 5), abs=3)
    assert still.ground_truth.d == 4


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"n_programs": 2}, "n_programs=2 is too small"),
        ({"n_singles": 501}, "singles are up to 500 genes"),
        ({"n_doubles": 781}, "doubles up to 780 pairs"),
        ({"program_sd": 0.0}, "program_sd=0.0"),
        ({"n_controls": 0}, "n_controls=0 is too small"),
    ],
)
def test_dials_beyond_their_range_are_refused(dials, message):
    with pytest.raises(UsageError, match=message):
        simulate(**dials)
