"""What must hold for every metric there is, whoever adds the next one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pbench.bench.contracts import registry
from pbench.bench.contracts.metric import NEEDS
from pbench.bench.engine.answer import ask
from pbench.bench.engine.inference import gain
from pbench.bench.engine.score import evaluate
from pbench.metrics import CATALOGUE

OF_CELLS = [m for m, info in CATALOGUE.items() if {"cells", "variance"} & set(info.needs)]
OF_MEANS = [m for m in CATALOGUE if m not in OF_CELLS]


def better(metric, values):
    """Gains: larger is better, whatever the direction of the metric."""
    info = CATALOGUE[metric]
    return gain(values, direction=info.direction, perfect=info.perfect)


#: Families whose perfect value no finite sample reaches, or that the true means alone cannot reach, and why. Anything else
#: must give its perfect value for a perfect prediction, or no value with a reason.
UNREACHED = {
    "energy": "unbiased on the side of the truth: its own cells lie below zero",
    "mmd": "likewise",
    "classifier": "cross-fitted on a finite sample",
    "crps": "the spread of the cells remains",
    "nll": "the spread of the cells remains",
    "coverage_error": "true cells are not normally distributed",
    "frac_in_range": "a mean may lie outside the quartiles of a skewed gene",
    "magnitude_log_error": "the true length has its sampling noise taken out, the predicted one has not",
    "effect_size_spearman": "ranks of the same two lengths",
    "truth_systematic_variation": "says something about the screen and nothing about a prediction",
    "pearson_excess": "one in the mean over conditions, not for each",
    "legacy_random_pair_rmse": "compares cells drawn at random; published scores did",
}
#: Genes that the truth calls by a test of cells, ranked by predicted means alone.
RANKED_BY_MEANS = ("#score",)


@pytest.mark.parametrize("effect", [1.0, 0.0])
@pytest.mark.parametrize("contexts", [(None,), ("K562", "RPE1")])
def test_a_perfect_prediction_is_perfect_or_undefined_with_a_reason(scene, effect, contexts):
    """Also on a screen without any effect, where no gene is differentially expressed."""
    s = scene(effect=effect, contexts=contexts)
    values = s.score(s.truth.profiles.mean, s.cells)
    exact = 0
    for metric, info in CATALOGUE.items():
        undefined = np.isnan(values[metric].value)
        np.testing.assert_array_equal(values[metric].reason != "", undefined, err_msg=metric)
        assert not any(str(r).startswith("metric failed") for r in values[metric].reason), metric
        if info.parts["family"] not in UNREACHED and not info.id.endswith(RANKED_BY_MEANS):
            reached = values[metric].value[~undefined]
            np.testing.assert_allclose(reached, info.perfect, atol=1e-4, err_msg=metric)
            exact += 1
    assert exact > 30


@pytest.mark.parametrize("power", [1, 2])
def test_a_second_sample_of_the_truth_is_as_far_as_its_size_says(assemble, build, power):
    """What stands in for exactness: unbiased for the truth, and above zero by the mean distance of m cells over m."""
    from pbench.bench.kernels.pairwise import energy_distance, forecast_energy

    rng = np.random.default_rng(0)
    labels = ["control"] * 200 + [f"G{i:02d}" for i in range(60) for _ in range(40)]
    X = rng.poisson(rng.gamma(2, 2, 80) * rng.lognormal(0, 0.3, (len(labels), 1))).astype(np.float32)
    s = assemble(build(X, labels, [None] * len(labels), [f"G{i:02d}" for i in range(80)]), "unseen-single")
    half = s.truth.against("half")
    pairs = [(s.truth.cells.embed(s.truth.load_cells(c, 0)), half.cells.embedded(i)) for i, c in enumerate(s.truth.conditions)]
    unbiased = np.array([energy_distance(x, y, power=power) for x, y in pairs])
    assert len(unbiased) >= 10 and abs(unbiased.mean()) < 4 * unbiased.std(ddof=1) / np.sqrt(len(unbiased))
    above = [np.sum(np.linalg.norm(x[:, None] - x[None], axis=2) ** power) / len(x) / (len(x) - 1) / len(x) for x, _ in pairs]
    forecast = [forecast_energy(x, y, power=power) for x, y in pairs]
    np.testing.assert_allclose(forecast, unbiased + above, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("metric", [m for m in CATALOGUE if m.startswith("energy") or m.startswith("mmd")])
def test_the_truths_own_cells_are_below_zero(scene, metric):
    s = scene()
    assert (s.score(cells=s.cells, names=[metric])[metric].value < 0).all()


def test_nothing_can_be_said_of_a_prediction_of_means_about_cells(scene):
    """Undefined with the reason that cells are missing, and no metric of means is touched by cells."""
    s = scene()
    mean = s.truth.profiles.mean + np.random.default_rng(0).normal(0, 0.1, s.truth.profiles.mean.shape)
    bare, full = s.score(mean), s.score(mean, s.cells)
    for metric in OF_CELLS:
        assert np.isnan(bare[metric].value).all(), metric
        assert set(bare[metric].reason) <= {NEEDS["cells"], NEEDS["variance"]}, metric
    # The legacy error compares a random cell of either side where there are cells, as those who published it did.
    for metric in (m for m in OF_MEANS if CATALOGUE[m].parts["family"] != "legacy_random_pair_rmse"):
        np.testing.assert_array_equal(bare[metric].value, full[metric].value, err_msg=metric)


def test_the_truth_is_better_than_the_wrong_truth_in_the_declared_direction(scene):
    """A distance was once published as a similarity. The declared direction must put what is right above what is wrong."""
    s = scene(seed=1, n_cells=40, targets=tuple(f"G{i:02d}" for i in range(16)))
    rows = np.roll(np.arange(len(s.truth.conditions)), 1)
    right, wrong = s.score(cells=s.cells), s.score(cells={i: s.cells[j] for i, j in enumerate(rows.tolist())})
    compared = 0
    for metric, info in CATALOGUE.items():
        a, b = better(metric, right[metric].value), better(metric, wrong[metric].value)
        both = ~np.isnan(a) & ~np.isnan(b)
        # One says something of the truth alone, the other of the prediction alone.
        if both.any() and info.parts["family"] not in ("truth_systematic_variation", "cells_mean_gap"):
            assert a[both].mean() > b[both].mean(), metric
            compared += 1
    assert compared > 60


# Cells of which there are more, or that vary more, are no better cells.


def copies(k):
    return lambda cells, rng: np.repeat(cells, k, axis=0)


def drawn(k):
    return lambda cells, rng: cells[rng.integers(len(cells), size=k * len(cells))]


def nearly_copies(k):
    def make(cells, rng):
        many = np.repeat(cells, k, axis=0)
        return np.maximum(many + rng.normal(0, 0.01, many.shape), 0)

    return make


def inflated(factor):
    return lambda cells, rng: np.maximum(cells.mean(axis=0) + factor * (cells - cells.mean(axis=0)), 0)


def improvement(metric, before, after):
    """Mean gain over conditions, less two standard errors and half a percent of the value, which rounding and ddof are worth."""
    a, b = better(metric, before), better(metric, after)
    both = ~np.isnan(a) & ~np.isnan(b)
    if not both.any():
        return 0.0
    gained = (b - a)[both]
    error = gained.std(ddof=1) / np.sqrt(len(gained)) if len(gained) > 1 else 0.0
    return gained.mean() - 2 * error - 0.005 * max(1.0, np.abs(before[both]).mean())


@pytest.fixture(scope="module")
def samples(scene):
    """Two predictions by cells with the scene that each is scored on: a second sample of the truth, and moved control cells."""
    s = scene(n_cells=40)
    first = {i: s.truth.load_cells(c, 0).toarray() for i, c in enumerate(s.truth.conditions)}
    control = s.truth.cells.load_controls(0).toarray()
    mean = s.truth.references["ctrl"] + s.data.mean_shift
    moved = {i: np.maximum(row + (control - control.mean(axis=0))[:40], 0) for i, row in enumerate(mean)}
    return {"duplicate": (replace(s, truth=s.truth.against("half")), first), "moved": (s, moved)}


@pytest.mark.parametrize(
    ("base", "trick"),
    [
        ("duplicate", copies(2)),
        ("duplicate", copies(20)),
        ("duplicate", drawn(10)),
        ("duplicate", nearly_copies(20)),
        ("duplicate", inflated(3.0)),
        ("moved", copies(2)),
        ("moved", copies(20)),
        ("moved", drawn(10)),
    ],
    ids=lambda x: x if isinstance(x, str) else x.__qualname__.split(".")[0],
)
def test_more_cells_and_more_variance_improve_no_score(samples, base, trick):
    """Copies, draws and inflated variance set the number of significant genes, and so the DE score of the challenge, at will."""
    s, cells = samples[base]
    mean = np.stack([cells[i].mean(axis=0) for i in range(len(cells))])
    rng = np.random.default_rng(0)
    names = [m for m in OF_CELLS if CATALOGUE[m].level == "perturbation"]
    before = s.score(mean, cells, names=names)
    after = s.score(mean, {i: trick(x, rng) for i, x in cells.items()}, names=names)
    won = {m: g for m in names if (g := improvement(m, before[m].value, after[m].value)) > 0}
    assert won == {}
    assert len(names) > 20


def test_copies_change_no_score_of_a_whole_data_set(samples):
    s, cells = samples["duplicate"]
    names = [m for m in OF_CELLS if CATALOGUE[m].level == "dataset"]
    before, after = (s.score(cells=x, names=names) for x in (cells, {i: np.repeat(x, 20, axis=0) for i, x in cells.items()}))
    for metric in names:
        np.testing.assert_allclose(after[metric].value, before[metric].value, atol=0.005, err_msg=metric)


@pytest.mark.parametrize("name", ["train-mean", "no-change", "gaming-hub", "gaming-constant-cells"])
def test_constant_predictions_never_win_a_headline(scene, name):
    """Mean collapse: what says the same of all perturbations beats neither the additive model, here nearly right, nor true cells."""
    s = scene(seed=2)
    metrics = [info for info in CATALOGUE.values() if info.headline]
    constant, additive, sampler = (
        evaluate(metrics, s.truth, ask(registry.models.get(n)(), s.data, s.truth, seed=0))
        for n in (name, "additive", "oracle-sampler")
    )
    for metric in constant:
        mine = better(metric, constant[metric].value)
        right = better(metric, (sampler if np.isnan(additive[metric].value).all() else additive)[metric].value)
        if not np.isnan(mine).all():
            assert np.nanmean(right) > np.nanmean(mine), metric
