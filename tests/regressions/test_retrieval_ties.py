"""PerturBench, Systema, CellSimBench: the same matrix of distances, and what each of them made of ties."""

from __future__ import annotations

import numpy as np
import pytest

from pbench.metrics import CATALOGUE

RETRIEVAL = [m for m in CATALOGUE if m.startswith(("retrieval.truths", "retrieval.predictions"))]
PREDICTIONS = [m for m in RETRIEVAL if "predictions" in m]


@pytest.mark.parametrize("metric", RETRIEVAL)
def test_ties_are_not_broken_by_chance(scene, metric):
    """PerturBench shuffled ties with a generator that nobody seeded: every call gave other numbers."""
    s = scene()
    rng = np.random.default_rng(0)
    tied = np.repeat(s.truth.references["ctrl"][:4] + rng.normal(0, 0.3, (4, len(s.truth.genes))), 2, axis=0)
    values = [s.score(tied, names=[metric])[metric].value for _ in range(3)]
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[0], values[2])


@pytest.mark.parametrize("metric", PREDICTIONS)
def test_a_tie_is_neither_won_nor_lost(scene, metric):
    """Ranked by "at most", a constant prediction was the worst there is (1 of 0 to 1); by "less than", ties always lost."""
    s = scene()
    constant = s.truth.references["ctrl"] + 0.5
    assert s.score(constant, names=[metric])[metric].value.tolist() == [0.5] * len(constant)


@pytest.mark.parametrize("metric", RETRIEVAL)
def test_the_last_of_n_gets_0_and_the_first_gets_1(scene, metric):
    """Dividing by N instead of N - 1 made 1 / N the worst score and left two boards on different scales."""
    s = scene(targets=("G00", "G01", "G02", "G03"))
    true, control = s.truth.profiles.mean.astype(float), s.truth.references["ctrl"]
    assert len(true) == 2
    assert s.score(true, names=[metric])[metric].value.tolist() == [1.0, 1.0]
    assert s.score(control + (true - control)[::-1], names=[metric])[metric].value.tolist() == [0.0, 0.0]


def test_the_two_orientations_are_two_metrics(scene):
    """Forty right directions, each stretched by its own factor: 0.999 one way and 0.649 the other, under one name."""
    s = scene(seed=4, targets=tuple(f"G{i:02d}" for i in range(16)))
    control = s.truth.references["ctrl"]
    factor = np.random.default_rng(0).lognormal(0, 1.0, (len(control), 1))
    stretched = control + factor * (s.truth.profiles.mean - control)
    truths, predictions = (
        np.mean(s.score(stretched, names=[m])[m].value)
        for m in ("retrieval.truths@all~ctrl#l2", "retrieval.predictions@all~ctrl#l2")
    )
    assert truths > predictions + 0.05


def test_the_mean_of_all_is_undefined_against_itself_and_not_a_tenth(assemble, build):
    """Systema weighted its baseline by cells and its reference by centroid: 0.10 on Norman where there is nothing to say."""
    from pbench.bench.contracts import registry
    from pbench.bench.engine.answer import ask
    from pbench.bench.engine.score import evaluate

    rng = np.random.default_rng(0)
    targets = [f"G{i:02d}" for i in range(12)]
    sizes = {t: 14 + 20 * i for i, t in enumerate(targets)} | {"control": 80}
    X, labels = [], []
    for label, n in sizes.items():
        X.append(rng.poisson(rng.gamma(2, 2, 90), (n, 90)))
        labels += [label] * n
    genes = [*targets, *(f"X{i:02d}" for i in range(78))]
    s = assemble(build(np.concatenate(X).astype(np.float32), labels, [None] * len(labels), genes), "unseen-single")
    against = [
        m
        for m in CATALOGUE.values()
        if m.parts["reference"] == "pert" and m.parts["family"].endswith(("pearson_delta", "cosine_delta"))
    ]
    assert len(against) >= 4
    answer = ask(registry.models.get("train-mean")(), s.data, s.truth, seed=0)
    for metric, values in evaluate(against, s.truth, answer).items():
        assert np.isnan(values.value).all() and set(values.reason) == {"zero_variance"}, metric
    by_cell = ask(registry.models.get("train-mean-cells")(), s.data, s.truth, seed=0)
    assert not np.isnan(evaluate(against[:1], s.truth, by_cell)[against[0].id].value).all(), (
        "weights by cell are another baseline"
    )
