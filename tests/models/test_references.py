"""Reference rows: what they take from the truth, and what they leave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_ind_from_stats

from pbench.bench.contracts.condition import Condition
from pbench.models.references import InterpolatedDuplicate, NoiseFree, OracleMean, OracleSampler, Shuffled, TechnicalDuplicate

TEST = [Condition((f"G{i:02d}",)) for i in range(20, 28)]


@pytest.fixture(scope="module")
def truth(make_truth, screen):
    return make_truth(TEST, screen)


def ask(model, data, truth, *, seed=0, conditions=None):
    return model.fit(data, seed=seed, truth=truth).predict(truth.conditions if conditions is None else conditions, truth.controls)


def test_scored_against_the_half_they_did_not_see():
    assert TechnicalDuplicate.scored_against == InterpolatedDuplicate.scored_against == "half"
    assert OracleMean.scored_against == OracleSampler.scored_against == Shuffled.scored_against == "all"


def test_oracle_mean_is_the_truth_to_the_last_bit(screen, truth):
    prediction = ask(OracleMean(), screen, truth, conditions=truth.conditions[::-1])
    assert prediction.mean.dtype == truth.profiles.mean.dtype
    assert prediction.mean.tobytes() == truth.profiles.mean[::-1].tobytes()


@pytest.mark.parametrize("cls", [OracleMean, TechnicalDuplicate, InterpolatedDuplicate, OracleSampler, Shuffled])
def test_a_condition_without_test_cells_is_absent(cls, screen, truth):
    stranger = Condition(("G00",))
    prediction = ask(cls(), screen, truth, conditions=[stranger, TEST[0]])
    assert prediction.conditions == (TEST[0],)
    assert list(prediction.absent) == [stranger]
    nobody = ask(cls(), screen, truth, conditions=[stranger])
    assert nobody.mean.shape == (0, len(screen.genes))


def test_technical_duplicate_is_the_first_half(screen, truth):
    np.testing.assert_array_equal(ask(TechnicalDuplicate(), screen, truth).mean, truth.halves[0].mean)


@pytest.mark.parametrize("cls", [TechnicalDuplicate, InterpolatedDuplicate])
def test_duplicates_need_cells_in_both_halves(cls, screen, truth):
    n = truth.halves[1].n_cells.copy()
    n[2] = 0
    lone = replace(truth, halves=(truth.halves[0], replace(truth.halves[1], n_cells=n)))
    prediction = ask(cls(), screen, lone)
    assert prediction.absent == {truth.conditions[2]: "resource: fewer than two test cells"}
    assert len(prediction.conditions) == len(TEST) - 1


def test_interpolated_duplicate_gene_by_gene(screen, truth):
    half, control = truth.halves[0], truth.controls
    train_mean = screen.perturbed.mean.astype(np.float64).mean(axis=0)
    prediction = ask(InterpolatedDuplicate(), screen, truth)
    for i in range(len(TEST)):
        p = ttest_ind_from_stats(
            half.mean[i].astype(np.float64),
            np.sqrt(half.var[i].astype(np.float64)),
            half.n_cells[i],
            control.mean[0].astype(np.float64),
            np.sqrt(control.var[0].astype(np.float64)),
            control.n_cells[0],
            equal_var=False,
        ).pvalue
        order = np.argsort(p)
        adjusted = np.empty_like(p)
        adjusted[order] = np.minimum.accumulate((p[order] * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1]
        alpha = 1 - np.minimum(adjusted, 1)
        np.testing.assert_allclose(prediction.mean[i], alpha * half.mean[i] + (1 - alpha) * train_mean, rtol=1e-5)
        assert 0 < np.ptp(alpha)


def test_oracle_sampler_draws_the_test_cells(screen, truth):
    prediction = ask(OracleSampler(), screen, truth)
    for i, condition in enumerate(truth.conditions):
        drawn, observed = prediction.cells[condition].toarray(), truth.load_cells(condition).toarray()
        assert drawn.shape == observed.shape
        rows = {row.tobytes() for row in observed}
        assert all(row.tobytes() in rows for row in drawn)
        assert len({row.tobytes() for row in drawn}) < len(drawn)
        np.testing.assert_allclose(prediction.mean[i], drawn.astype(np.float64).mean(axis=0), rtol=1e-9)


def test_oracle_sampler_has_the_spread_of_a_bootstrap(screen, truth):
    means = np.array([ask(OracleSampler(), screen, truth, seed=s, conditions=[TEST[0]]).mean[0] for s in range(400)])
    cells = truth.load_cells(TEST[0]).toarray().astype(np.float64)
    np.testing.assert_allclose(
        means.mean(axis=0), cells.mean(axis=0), atol=5 * np.sqrt(cells.var(axis=0).max() / len(cells) / 400)
    )
    ratio = means.var(axis=0).sum() / (cells.var(axis=0).sum() / len(cells))
    assert ratio == pytest.approx(1, abs=0.15)


def test_oracle_sampler_depends_on_the_seed_and_the_condition_alone(screen, truth):
    a = ask(OracleSampler(), screen, truth, seed=3)
    b = ask(OracleSampler(), screen, truth, seed=3, conditions=TEST[::-1])
    np.testing.assert_array_equal(a.mean, b.mean[::-1])
    assert np.abs(a.mean - ask(OracleSampler(), screen, truth, seed=4).mean).max() > 1e-3


def test_oracle_sampler_without_cells_is_absent(screen, truth):
    prediction = ask(OracleSampler(), screen, replace(truth, load_cells=None))
    assert len(prediction.absent) == len(TEST)
    assert OracleSampler.capabilities.needs_cells


@pytest.mark.parametrize("seed", range(8))
def test_shuffled_gives_every_condition_another_ones_profile(screen, truth, seed):
    prediction = ask(Shuffled(), screen, truth, seed=seed)
    true_rows = [row.tobytes() for row in truth.profiles.mean]
    given = [true_rows.index(row.tobytes()) for row in prediction.mean]
    assert sorted(given) == list(range(len(TEST)))
    assert all(i != j for i, j in enumerate(given))


def test_shuffled_differs_between_seeds_and_not_within_one(screen, truth):
    a, b, c = (ask(Shuffled(), screen, truth, seed=s).mean for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_shuffled_stays_in_the_context_and_leaves_out_the_lonely(two_contexts, make_truth):
    in_a = [Condition((g,), context="a") for g in ("G20", "G21", "G22")]
    lonely = Condition(("G20",), context="b")
    truth = make_truth([*in_a, lonely], two_contexts)
    prediction = ask(Shuffled(), two_contexts, truth)
    assert prediction.absent == {lonely: "capability: no other test condition in its context"}
    from_a = [truth.profiles.mean[truth.profiles.row(c)].tobytes() for c in in_a]
    assert sorted(row.tobytes() for row in prediction.mean) == sorted(from_a)


def test_noise_free_returns_the_known_profile_and_is_absent_without_one(screen, truth):
    known = replace(truth, noise_free=truth.profiles.mean + 0.25)
    prediction = ask(NoiseFree(), screen, known)
    assert np.array_equal(prediction.mean, known.noise_free)
    unknown = ask(NoiseFree(), screen, replace(truth, noise_free=None))
    assert unknown.conditions == () and set(unknown.absent) == set(truth.conditions)
