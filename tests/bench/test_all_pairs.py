"""Tests between all pairs of many models, against the plain test, against all sign patterns, and for what a p value must be."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from pbench.bench.engine.all_pairs import ENOUGH, sign_flip_pairs
from pbench.bench.engine.dependence import design_effect
from pbench.bench.engine.inference import holm, paired_test, sign_flip_p
from pbench.bench.engine.ranks import pairwise_tests

DOWN = {"direction": "down", "perfect": 0.0}


def models(rng, n, k, *, gap=0.12):
    """(n, k) errors of models, the later ones worse."""
    return rng.lognormal(0, 0.3, (n, 1)) * (0.4 + gap * np.arange(k)) * np.exp(rng.normal(0, 0.4, (n, k)))


def all_pairs(k):
    return np.array(list(combinations(range(k), 2)))


def differences(table, pairs):
    return table[:, pairs[:, 0]] - table[:, pairs[:, 1]]


def test_p_values_are_those_of_the_plain_test_up_to_the_patterns_drawn():
    rng = np.random.default_rng(0)
    table, pairs = models(rng, 60, 8), all_pairs(8)
    effects = np.linspace(1, 3, len(pairs))
    ours = sign_flip_pairs(table, pairs, effects, first_look=2_000, n_perm=40_000, seed=0)
    plain = sign_flip_p(differences(table, pairs), effects, n_perm=40_000, seed=1)
    # Patterns seen at least: those that `ENOUGH` exceedances took.
    error = np.sqrt((1 - plain) / np.minimum(ENOUGH, 40_000 * plain) + 1 / (40_000 * plain))
    assert (np.abs(np.log(ours / plain)) <= 5 * error).all()
    assert ours.min() < 0.001 and ours.max() > 0.1, "some differ and some do not"


def test_all_patterns_of_values_with_ties():
    """Differences on a lattice, where sums as large as the observed one are many and count as extreme."""
    rng = np.random.default_rng(1)
    table, pairs = rng.integers(0, 3, (16, 5)) / 3, all_pairs(5)
    d = differences(table, pairs)
    signs = 1 - 2 * (np.arange(2**16)[:, None] >> np.arange(16) & 1)
    exact = (np.abs(signs @ d) >= np.abs(d.sum(axis=0)) - 1e-9).mean(axis=0)
    ours = sign_flip_pairs(table, pairs, np.ones(10), first_look=10_000, n_perm=40_000, seed=0)
    np.testing.assert_allclose(ours, exact, atol=5 * np.sqrt(0.25 / 10_000))


def test_a_pair_that_needs_no_patterns_has_the_smallest_p():
    rng = np.random.default_rng(2)
    base = rng.normal(size=(80, 1))
    table = np.concatenate([base, base + 1 + 0.01 * rng.normal(size=(80, 1)), base + 0.05 * rng.normal(size=(80, 1))], axis=1)
    ours = sign_flip_pairs(table, all_pairs(3), np.ones(3), first_look=1_000, n_perm=50_000, seed=0)
    plain = sign_flip_p(differences(table, all_pairs(3)), np.ones(3), n_perm=50_000, seed=0)
    assert ours[0] == plain[0] == ours[2] == 1 / 50_001
    assert ours[1] > 0.01
    weak = sign_flip_pairs(table, all_pairs(3), np.array([1e3, 1.0, np.nan]), first_look=1_000, n_perm=50_000, seed=0)
    assert weak[0] > 1 / 50_001, "a design effect lowers the observed sum, and with it the bound"
    assert np.isnan(weak[2])


def test_p_values_are_valid_whenever_a_pair_is_left():
    """Without a difference, p <= a has at most the probability a, below, at and above the looks."""
    rng = np.random.default_rng(3)
    found = []
    for seed in range(60):
        table = rng.normal(size=(25, 40)) ** 3
        pairs = np.arange(40).reshape(20, 2)
        found.append(sign_flip_pairs(table, pairs, np.ones(20), first_look=300, n_perm=5_000, seed=seed))
    p = np.concatenate(found)
    for a in (0.002, 0.01, 0.05, 0.1, 101 / 301, 0.34, 0.5, 0.9):
        assert (p <= a).mean() <= a + 4 * np.sqrt(a * (1 - a) / len(p)), a


def test_neither_the_order_of_perturbations_nor_that_of_models_matters():
    rng = np.random.default_rng(4)
    table, pairs = models(rng, 50, 6), all_pairs(6)
    weight = rng.choice([0.5, 1.5], 50)
    more = {"first_look": 500, "n_perm": 8_000, "seed": 0}
    ours = sign_flip_pairs(table, pairs, np.ones(15), keys=(weight,), **more)
    rows, columns = rng.permutation(50), rng.permutation(6)
    place = np.argsort(columns)
    again = sign_flip_pairs(table[rows][:, columns], place[pairs][:, ::-1], np.ones(15), keys=(weight[rows],), **more)
    np.testing.assert_array_equal(ours, again)


def test_equal_models_differ_in_nothing():
    table = np.repeat(np.random.default_rng(5).normal(10, 1, (40, 1)), 3, axis=1)
    table[:, 2] += 1e-15 * np.arange(40)
    assert (table[:, 2] != table[:, 0]).any()
    assert (sign_flip_pairs(table, all_pairs(3), np.ones(3), first_look=500, n_perm=2_000, seed=0) == 1).all()


# -- where ranks use them


def oriented(rng, n, k, **more):
    table = models(rng, n, k, **more)
    return {f"m{i:02d}": table[:, i] for i in range(k)}


@pytest.mark.parametrize("case", ["plain", "contexts", "undefined", "few"])
def test_many_models_have_the_tests_of_each_pair(case):
    """Fourteen models, for which patterns are added, against `paired_test` of every pair with ten times as many."""
    rng = np.random.default_rng(6)
    n = 12 if case == "few" else 45
    values = oriented(rng, n, 14, gap=0.06)
    clusters = [(f"g{i % 9}", f"h{i}") for i in range(n)]
    contexts = [f"c{i % 3}" for i in range(n)] if case == "contexts" else None
    if case == "undefined":
        values["m03"][:4] = values["m08"][2:9] = np.nan
        for v in values.values():
            v[20] = np.nan
        values["m05"][1:] = np.nan
    tests = pairwise_tests(values, clusters=clusters, contexts=contexts, **DOWN)
    raw = [paired_test(-values[a], -values[b], clusters=clusters, contexts=contexts, n_perm=20_000, seed=9) for a, b in tests.p]
    expected = holm(np.array([t.p for t in raw]))
    ours = np.array(list(tests.p.values()))
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(expected))
    known = ~np.isnan(expected)
    assert known.all() == (case != "undefined")
    np.testing.assert_allclose(
        np.log(ours[known]), np.log(expected[known]), atol=0 if case == "few" else 1.6, rtol=1e-9 if case == "few" else 0
    )
    clear = {pair for pair, p, t in zip(tests.p, expected, raw, strict=True) if p < 0.02 and t.difference > 0}
    possible = {pair for pair, p, t in zip(tests.p, expected, raw, strict=True) if p < 0.12 and t.difference > 0}
    assert len(clear) > 5 or case == "few"
    assert clear <= tests.better <= possible


def test_few_models_have_the_plain_tests_to_the_last_bit():
    rng = np.random.default_rng(7)
    values = oriented(rng, 40, 10)
    clusters = [(f"g{i % 9}", f"h{i}") for i in range(40)]
    tests = pairwise_tests(values, clusters=clusters, **DOWN)
    d = np.stack([-values[a] + values[b] for a, b in tests.p], axis=1)
    effects = np.array([design_effect(column, clusters) for column in d.T])
    assert list(tests.p.values()) == holm(sign_flip_p(d, effects, n_perm=10_000, seed=0)).tolist()


def test_many_models_keep_the_family_wise_error():
    """Twelve models without any difference: at most one family in twenty names one, up to chance."""
    rng = np.random.default_rng(8)
    wrong = sum(
        bool(pairwise_tests({f"m{i}": rng.normal(size=20) for i in range(12)}, **DOWN, n_perm=200).better) for _ in range(60)
    )
    assert wrong <= 8
