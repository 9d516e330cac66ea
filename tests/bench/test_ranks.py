"""Letters, mean ranks and agreement of orders against brute force and scipy."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pbench.bench.engine.inference import holm, paired_test
from pbench.bench.engine.ranks import against, kendall_tau, letters, mean_ranks, pairwise_tests, ranks_of, tied_ranks

FEW = settings(max_examples=60, deadline=None)
UP = {"direction": "up", "perfect": 1.0}


def split(text):
    """The letters of a display: a, b, …, z, a1, …"""
    found = []
    for c in text:
        if c.isdigit():
            found[-1] += c
        else:
            found.append(c)
    return set(found)


# -- letters


@FEW
@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.sampled_from([*combinations(range(n), 2), (0, 0)])))))
def test_a_shared_letter_is_no_difference_and_letters_are_few(case):
    n, pairs = case
    order = [f"m{i}" for i in range(n)]
    different = frozenset((order[a], order[b]) for a, b in pairs if a != b)
    found = {m: split(text) for m, text in letters(order, different).items()}
    for a, b in combinations(order, 2):
        assert bool(found[a] & found[b]) == ((a, b) not in different)
    # The groups are the largest sets without a difference, each once.
    alike = [
        set(group)
        for size in range(1, n + 1)
        for group in combinations(order, size)
        if not any(pair in different for pair in combinations(group, 2))
    ]
    largest = [g for g in alike if not any(g < other for other in alike)]
    named = sorted({letter for own in found.values() for letter in own})
    groups = [{m for m in order if letter in found[m]} for letter in named]
    assert sorted(map(sorted, groups)) == sorted(map(sorted, largest))


def test_letters_by_hand():
    assert letters([], frozenset()) == {}
    assert letters(["x", "y"], frozenset()) == {"x": "a", "y": "a"}
    assert letters(["x", "y"], frozenset({("y", "x")})) == {"x": "a", "y": "b"}, "in either order"
    chain = frozenset({("1", "3"), ("1", "4"), ("2", "4")})
    assert letters(["1", "2", "3", "4"], chain) == {"1": "a", "2": "ab", "3": "bc", "4": "c"}
    # Not a chain: the middle one differs from both ends, which do not differ.
    assert letters(["1", "2", "3"], frozenset({("1", "2"), ("2", "3")})) == {"1": "a", "2": "b", "3": "a"}
    many = [f"m{i:02d}" for i in range(30)]
    apart = letters(many, frozenset(combinations(many, 2)))
    assert len(set(apart.values())) == 30
    assert apart["m26"] == "a1"


# -- tests behind ranks and letters


def test_ranks_follow_from_the_pairwise_tests():
    rng = np.random.default_rng(0)
    values = {m: mean + rng.normal(0, 0.3, 40) for m, mean in (("a", 1.0), ("b", 0.9), ("c", 0.2), ("d", 0.18))}
    tests = pairwise_tests(values, **UP)
    assert set(tests.p) == set(combinations(tests.order, 2))
    assert ranks_of(tests) == tied_ranks(values, **UP) == {tests.order[0]: 1, tests.order[1]: 1, "c": 3, "d": 3}
    assert tests.better == {pair for pair, p in tests.p.items() if p < 0.05}
    assert letters(tests.order, tests.better)["c"] == letters(tests.order, tests.better)["d"] == "b"
    assert pairwise_tests({}, **UP).order == ()
    assert pairwise_tests({"a": np.ones(3)}, **UP).order == ("a",)


def test_direct_tests_are_paired_tests_with_holm_over_the_models_alone():
    rng = np.random.default_rng(3)
    base = rng.normal(1, 0.3, 30)
    values = {m: base + mean + rng.normal(0, 0.2, 30) for m, mean in (("a", -0.3), ("b", 0.1), ("c", -0.1), ("d", 0.0))}
    values["gone"] = np.full(30, np.nan)
    found = against(values, base, direction="down", perfect=0.0)
    alone = {m: paired_test(-values[m], -base) for m in "abcd"}
    assert set(found) == set(alone)
    expected = dict(zip("abcd", holm(np.array([alone[m].p for m in "abcd"])), strict=True))
    for m, test in found.items():
        assert test == replace(alone[m], p=pytest.approx(expected[m]))
        assert test.difference == pytest.approx((base - values[m]).mean()), "above 0 where the model has less error"
    assert against({}, base, **UP) == {}


def test_rounding_wins_no_direct_test():
    base = np.random.default_rng(5).uniform(-1, 1, 40)
    found = against({"same": base + 1e-8, "better": base + 1e-4}, base, **UP)
    assert (found["same"].difference, found["same"].p) == (0, 1)
    assert found["better"].p < 0.01
    assert np.isnan(against({"m": base}, np.full(40, np.nan), **UP)["m"].p)


def test_a_direct_test_sees_what_a_shared_rank_hides():
    """The leader of the group is noisy: the second cannot be told from it, and yet it is better than the baseline throughout."""
    rng = np.random.default_rng(4)
    base = rng.normal(0, 0.05, 30)
    values = {"noisy": base + 0.25 + rng.normal(0, 1.0, 30), "steady": base + 0.1 + rng.normal(0, 0.02, 30)}
    ranks = tied_ranks({**values, "baseline": base}, **UP)
    assert set(ranks.values()) == {1}
    assert against(values, base, **UP)["steady"].p < 0.001
    assert against(values, base, **UP)["noisy"].p > 0.05


def test_family_wise_errors_of_the_pairwise_tests():
    rng = np.random.default_rng(1)
    wrong = sum(
        bool(pairwise_tests({f"m{i}": rng.normal(size=25) for i in range(5)}, **UP, n_perm=200).better) for _ in range(200)
    )
    assert wrong / 200 <= 0.08


# -- mean ranks


def test_mean_ranks_are_those_of_scipy():
    rng = np.random.default_rng(2)
    table = rng.integers(0, 4, (5, 30)).astype(float)
    table[1, 3] = table[4, 8] = np.nan
    keep = ~np.isnan(table).any(axis=0)
    theirs = scipy.stats.rankdata(-table[:, keep], axis=0).mean(axis=1)
    found = mean_ranks({f"m{i}": row for i, row in enumerate(table)}, **UP)
    np.testing.assert_allclose([found[f"m{i}"] for i in range(5)], theirs)
    assert sum(found.values()) == pytest.approx(15)
    down = mean_ranks({f"m{i}": -row for i, row in enumerate(table)}, direction="down", perfect=0.0)
    assert down == found
    assert mean_ranks({}, **UP) == {}
    apart = {"a": np.array([1.0, np.nan]), "b": np.array([np.nan, 1.0])}
    assert mean_ranks(apart, **UP) == {}


# -- agreement


@FEW
@given(st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_tau_is_that_of_scipy(n, seed):
    x, *rest = np.random.default_rng(seed).integers(0, 4, (4, n)).astype(float)
    theirs = [scipy.stats.kendalltau(x, y).statistic for y in rest]
    np.testing.assert_allclose(kendall_tau(x, np.array(rest)), theirs, atol=1e-12)


def test_rounding_is_a_tie():
    x = np.array([0.3, 0.1 + 0.2, 1.0])
    assert x[0] != x[1]
    assert kendall_tau(x, np.array([5.0, 5.0, 6.0]))[0] == 1
