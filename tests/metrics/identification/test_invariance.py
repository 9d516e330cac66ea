"""Invariant codes: what they hold, what they leak, and how they move, against loops, scipy and known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from pbench.metrics.identification.invariance import intraclass

ALL = ("leakage", "decodability", "shift", "constancy", "combined")


def scores(cells, codes, *names, **facts):
    return [cells.score(f"invariance.{name}", codes, **facts) for name in names or ALL]


def parted(cells, invariant):
    return {"responsive": cells.z[:, cells.responsive], "invariant": invariant}


def test_the_true_blocks(cells):
    leakage, decodability, shift, constancy, combined = scores(cells, cells.oracle)
    # Invariant variables cause responsive ones, which they tell in part; that is no leakage.
    assert 0 <= leakage < 0.01 and decodability < 0.1 and constancy == pytest.approx(1)
    # A unit is seen three times, so that the distances are those of a third as many cells.
    assert abs(shift) < 0.2 and combined > 0.95


def test_a_constant_cannot_win(cells):
    constant = parted(cells, np.full((len(cells.z), 2), 0.3))
    assert scores(cells, constant, "leakage", "decodability", "combined") == [0, 0, 0]
    assert {cells.reason(f"invariance.{n}", constant) for n in ("shift", "constancy")} == {"zero_variance"}
    assert cells.score("r2_block.invariant", constant) <= 0


def test_noise_holds_nothing(cells):
    leakage, decodability, shift, constancy, combined = scores(cells, parted(cells, cells.rng.normal(size=(len(cells.z), 2))))
    assert leakage < 0.02 and decodability < 0.1 and abs(shift) < 0.05 and abs(constancy) < 0.1 and combined < 0.03


def test_codes_that_follow_the_perturbation(cells):
    responsive = cells.z[:, cells.responsive]
    leakage, decodability, shift, constancy, combined = scores(cells, parted(cells, np.hstack([responsive, cells.z[:, [4, 5]]])))
    assert leakage > 0.5 and decodability == pytest.approx(1, abs=0.15) and shift > 0.1 and constancy < 0.9 and combined < 0.4
    labels = np.eye(5)[cells.perturbation] + 0.01 * cells.rng.normal(size=(len(cells.z), 5))
    # The labels tell perturbations better than the responsive variables do.
    assert cells.score("invariance.decodability", parted(cells, labels)) > 1.2
    assert cells.score("invariance.combined", parted(cells, np.hstack([labels, cells.z[:, [4, 5]]]))) == 0


def test_without_invariant_codes_the_whole_code_is_taken(cells):
    whole = scores(cells, cells.z)
    own = scores(cells, parted(cells, np.hstack([cells.z[:, :4], cells.z[:, 4:]])))
    np.testing.assert_allclose(whole, own, atol=1e-9)


def test_combined_is_the_harmonic_mean(cells):
    codes = parted(cells, cells.z[:, [4, 5]] + 0.7 * cells.z[:, :2] + 0.4 * cells.rng.normal(size=(len(cells.z), 2)))
    full, told = cells.score("r2_block.invariant", codes), cells.score("invariance.decodability", codes)
    assert 0.2 < full < 0.8 and 0.05 < told < 0.8
    assert cells.score("invariance.combined", codes) == pytest.approx(2 / (1 / full + 1 / (1 - told)))


def test_the_highest_shift_by_all_pairs(cells):
    code = cells.z[:, [4, 5]] + np.where(cells.perturbation == 3, 0.8, 0.0)[:, None]
    fit = code[~cells.report]
    points = ((code - fit.mean(axis=0)) / fit.std(axis=0) / np.sqrt(2))[cells.report]
    label, found = cells.perturbation[cells.report], []
    for p in range(1, 5):
        x, y = points[label == p], points[label == 0]
        n, m = len(x), len(y)
        found.append(2 * cdist(x, y).mean() - cdist(x, x).sum() / (n * (n - 1)) - cdist(y, y).sum() / (m * (m - 1)))
    assert np.argmax(found) == 2
    assert cells.score("invariance.shift", parted(cells, code)) == pytest.approx(max(found), abs=1e-5)
    # Scale and origin of a code are nothing.
    assert cells.score("invariance.shift", parted(cells, 30 * code - 4)) == pytest.approx(max(found), abs=1e-5)


def test_leakage_is_what_the_true_variables_do_not_tell(cells):
    codes = parted(cells, cells.z[:, [0, 4, 5]])
    told = cells.values("r2_latent.nonlinear", cells.z[:, [0, 4, 5]]).value[:4].mean()
    oracle = cells.values("r2_latent.nonlinear", cells.z[:, [4, 5]]).value[:4].mean()
    assert oracle > 0.02 and cells.score("invariance.leakage", codes) == pytest.approx(told - oracle)


def test_intraclass_correlation_by_loops():
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(30), rng.integers(1, 5, 30))
    unit = np.unique(unit, return_inverse=True)[1]
    values = np.stack([rng.normal(size=30)[unit] + s * rng.normal(size=len(unit)) for s in (0.1, 1.0, 10.0)], axis=1)
    for column, found in zip(values.T, intraclass(values, unit), strict=True):
        groups = [column[unit == u] for u in range(30)]
        n, k = len(column), 30
        between = sum(len(g) * (g.mean() - column.mean()) ** 2 for g in groups) / (k - 1)
        within = sum(((g - g.mean()) ** 2).sum() for g in groups) / (n - k)
        size = (n - sum(len(g) ** 2 for g in groups) / n) / (k - 1)
        assert found == pytest.approx((between - within) / (between + (size - 1) * within))
    assert intraclass(values, unit)[0] > 0.95 and abs(intraclass(values, unit)[2]) < 0.3
    assert np.isnan(intraclass(np.ones((4, 1)), np.array([0, 0, 1, 1])))


def test_intraclass_correlation_is_the_share_of_variance_between_units(build):
    cells = build(seed=2, n_units=3000)
    unit = np.random.default_rng(1).normal(size=(3000, 2))[cells.unit]
    code = unit + np.array([0.5, 2.0]) * cells.rng.normal(size=unit.shape)
    expected = np.mean([1 / (1 + 0.25), 1 / (1 + 4)])
    assert cells.score("invariance.constancy", parted(cells, code)) == pytest.approx(expected, abs=0.02)


def test_what_is_undefined_and_why(cells, build):
    none = replace(cells.truth, blocks=("responsive",) * 6)
    assert {cells.reason(f"invariance.{n}", cells.oracle, truth=none) for n in ALL} == {"no_invariant_block"}
    only = replace(cells.truth, blocks=("invariant",) * 6)
    for name in ("leakage", "decodability", "combined"):
        assert cells.reason(f"invariance.{name}", cells.oracle, truth=only) == "no_responsive_block"
    once = build(seed=4, n_units=600, n_times=1)
    assert once.reason("invariance.constancy", once.oracle) == "not_paired"
    alone = replace(cells.latents(cells.oracle), perturbation=np.zeros(len(cells.z), dtype=int))
    assert {cells.reason(f"invariance.{n}", alone) for n in ("decodability", "shift")} == {"too_few_conditions"}
    shuffled = replace(cells.latents(cells.oracle), perturbation=cells.rng.integers(0, 5, len(cells.z)))
    assert cells.reason("invariance.decodability", shuffled) == "nothing_to_decode"
    uncontrolled = replace(cells.latents(cells.oracle), perturbation=np.maximum(cells.perturbation, 1))
    assert cells.reason("invariance.shift", uncontrolled) == "no_controls"
    # Cells of perturbations that the truth does not name take no part.
    unnamed = np.where(cells.rng.random(len(cells.z)) < 0.1, -1, cells.perturbation)
    for name in ("decodability", "shift"):
        some = cells.score(f"invariance.{name}", replace(cells.latents(cells.oracle), perturbation=unnamed))
        assert some == pytest.approx(cells.score(f"invariance.{name}", cells.oracle), abs=0.1)


def test_nothing_is_fitted_on_the_reported_half(cells):
    """Labels and codes of the fitted half fix the classifier: scrambled ones there leave nothing to find in the other."""
    codes = parted(cells, cells.z[:, :4] + 0.01)
    mixed = cells.perturbation.copy()
    mixed[~cells.report] = cells.rng.permutation(mixed[~cells.report])
    latents = replace(cells.latents(codes), perturbation=mixed)
    assert cells.reason("invariance.decodability", latents) == "nothing_to_decode"
    other = np.where(cells.report[:, None], cells.z, cells.z[cells.rng.permutation(len(cells.z))])
    assert cells.score("invariance.leakage", codes, truth=replace(cells.truth, values=other)) < 0.05
