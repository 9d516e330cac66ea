"""Screens without any effect: what is worth nothing must score as nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pbench.bench.contracts import registry
from pbench.bench.contracts.metric import Comparison
from pbench.bench.engine.answer import ask
from pbench.bench.engine.inference import gain
from pbench.bench.engine.score import evaluate
from pbench.bench.kernels.energy_test import energy_test
from pbench.metrics import CATALOGUE

RETRIEVAL = [m for m in CATALOGUE if m.startswith(("retrieval.truths", "retrieval.predictions"))]


def wrong_ones(s):
    """The profile of the next condition for each: two independent null perturbations."""
    return np.roll(s.truth.profiles.mean, 1, axis=0).astype(float)


@pytest.mark.parametrize(("n", "n_control"), [(30, 30), (30, 10), (20, 180)])
def test_a_shared_control_correlates_unrelated_perturbations(scene, n, n_control):
    """Against one finite control two null perturbations correlate at n / (n + n0): 0.91 for 1000 against 100 control cells.

    This is a property of the reference and not of a model, so it stands in the board's controls and not in a correction.
    """
    metric = "pearson_delta@all~ctrl"
    values = []
    for seed in range(4):
        s = scene(seed, effect=0.0, n_cells=n, n_control=n_control, n_genes=400, targets=tuple(f"G{i}" for i in range(8)))
        values.append(s.score(wrong_ones(s), names=[metric])[metric].value.mean())
    assert np.mean(values) == pytest.approx(n / (n + n_control), abs=0.08)


def test_a_control_of_its_own_for_either_side_takes_that_away(scene):
    """The same with disjoint halves of the control cells for truth and prediction has mean zero."""
    metric, values = "pearson_delta@all~ctrl", []
    for seed in range(4):
        s = scene(seed, effect=0.0, n_cells=30, n_control=20, n_genes=400, targets=tuple(f"G{i}" for i in range(8)))
        cells = s.truth.cells.load_controls(0).toarray()
        true, own = cells[:10].mean(axis=0), cells[10:].mean(axis=0)
        truth = replace(s.truth, references={"ctrl": np.tile(true, (len(s.truth.conditions), 1))})
        moved = wrong_ones(s) - own + true
        values.append(replace(s, truth=truth).score(moved, names=[metric])[metric].value.mean())
    assert abs(np.mean(values)) < 0.05


@pytest.mark.parametrize("metric", RETRIEVAL)
@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_labels_drawn_at_random_are_retrieved_at_chance(scene, metric, effect):
    """However large the effects and whatever they share, an answer for the wrong perturbation is worth one half."""
    values = []
    for seed in range(6):
        s = scene(seed, effect=effect)
        rng = np.random.default_rng(seed)
        for _ in range(8):
            rows = rng.permutation(len(s.truth.conditions))
            values.append(s.score(s.truth.profiles.mean[rows], names=[metric])[metric].value.mean())
    assert abs(np.mean(values) - 0.5) < 3 * np.std(values, ddof=1) / np.sqrt(len(values)) + 0.01


def test_the_train_mean_of_nothing_retrieves_nothing(scene):
    """The constant mean of a screen without effects had a correlation of 0.54 in cell-eval; what it can tell apart is nothing."""
    for seed in range(3):
        s = scene(seed, effect=0.0)
        answer = ask(registry.models.get("train-mean")(), s.data, s.truth, seed=0)
        values = evaluate([CATALOGUE[m] for m in RETRIEVAL], s.truth, answer)
        for metric, v in values.items():
            assert v.value.mean() == pytest.approx(0.5, abs=1e-12), metric


@pytest.mark.parametrize("n", [10, 30, 100])
def test_rare_perturbations_are_not_strong_ones(n):
    """The V statistic of two samples of one distribution grows as 1 / n (1.02 for 10 cells, 0.07 for 300): rare looked strong."""
    from pbench.bench.kernels.pairwise import energy_distance

    rng = np.random.default_rng(n)
    unbiased, biased = [], []
    for _ in range(60):
        x, y = rng.normal(size=(n, 20)).astype(np.float32), rng.normal(size=(150, 20)).astype(np.float32)
        unbiased.append(energy_distance(x, y))
        within = [np.linalg.norm(a[:, None] - a[None], axis=2).mean() for a in (x, y)]
        biased.append(2 * np.linalg.norm(x[:, None] - y[None], axis=2).mean() - sum(within))
    error = np.std(unbiased, ddof=1) / np.sqrt(len(unbiased))
    assert abs(np.mean(unbiased)) < 4 * error
    assert np.mean(biased) > 20 * error


def test_a_p_value_of_a_permutation_test_is_never_zero():
    """Exceedances over permutations can be exactly 0 (pertpy): with B relabellings no p lies below 1 / (B + 1)."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(50, 1, (20, 5)), rng.normal(0, 1, (40, 5)), rng.normal(0, 1, (20, 5))]).astype(np.float32)
    codes = np.repeat([0, 1, 2], [20, 40, 20])
    _, p = energy_test(points, codes, 3, 1, 99, seed=0)
    assert p[0] == 1 / 100 and 1 / 100 <= p[2] <= 1
    assert np.isnan(p[1])


def test_a_duplicate_does_not_choose_the_genes_that_it_is_judged_on(assemble, build):
    """Genes ranked by all cells made half of them predict the other half of pure noise, on 97 % of conditions."""
    rng = np.random.default_rng(3)
    labels = ["control"] * 300 + [f"G{i:02d}" for i in range(80) for _ in range(60)]
    X = rng.poisson(rng.gamma(2, 2, 90) * rng.lognormal(0, 0.3, (len(labels), 1))).astype(np.float32)
    s = assemble(build(X, labels, [None] * len(labels), [f"G{i:02d}" for i in range(90)]), "unseen-single")
    half = s.truth.against("half")
    duplicate, trivial = s.truth.halves[0].mean.astype(np.float64), half.references["pert"]
    wins = {}
    for name in ("mse@de20", "pearson_delta@de20~ctrl", "sign_agreement@de20~ctrl"):
        metric = CATALOGUE[name]
        a, b = (
            gain(metric(Comparison(half, m)).value, direction=metric.direction, perfect=metric.perfect)
            for m in (duplicate, trivial)
        )
        wins[name] = np.mean((1 + np.sign(a - b)) / 2)
    assert all(share < 0.6 for share in wins.values()), wins
    defect = replace(half, de_order=s.truth.de_order)
    metric = CATALOGUE["pearson_delta@de20~ctrl"]
    assert metric(Comparison(defect, duplicate)).value.mean() > 0.3 + metric(Comparison(half, duplicate)).value.mean()


def test_cells_of_control_are_as_near_to_null_cells_as_cells_are(assemble, build):
    """Components fitted on the very cells that no-change returns made a duplicate win on four of five null conditions."""
    wins = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        labels = ["control"] * 300 + [f"G{i:02d}" for i in range(40) for _ in range(60)]
        X = rng.poisson(rng.gamma(2, 2, 120) * rng.lognormal(0, 0.3, (len(labels), 1))).astype(np.float32)
        s = assemble(build(X, labels, [None] * len(labels), [f"G{i:02d}" for i in range(120)]), "unseen-single")
        half, energy = s.truth.against("half"), CATALOGUE["energy@all#pca"]
        duplicate = {i: s.truth.load_cells(c, 0) for i, c in enumerate(half.conditions)}
        control = dict.fromkeys(duplicate, half.cells.load_controls(0))
        a, b = (energy(Comparison(half, half.profiles.mean.astype(float), None, cells)).value for cells in (duplicate, control))
        wins.append(np.mean((1 + np.sign(b - a)) / 2))
    assert 0.3 < np.mean(wins) < 0.7, wins
