"""Intervals, tests and ranks against naive loops, scipy, statsmodels and simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pbench.bench.contracts.errors import UsageError
from pbench.bench.engine import inference
from pbench.bench.engine.dependence import design_effect
from pbench.bench.engine.inference import bootstrap_interval, gain, holm, paired_test
from pbench.bench.engine.ranks import rank_stability, tied_ranks
from pbench.bench.engine.strata import resampled_means

FEW = settings(max_examples=25, deadline=None)
NUMBERS = st.lists(st.integers(-40, 40).map(lambda i: i / 8), min_size=2, max_size=20)
UP = {"direction": "up", "perfect": 1.0}


def width(n, level=0.95):
    """By how much a percentile interval of n values is too narrow: its variance is divided by n for n - 1, and z stands for t."""
    tail = (1 + level) / 2
    return np.sqrt(n / (n - 1)) * scipy.stats.t.ppf(tail, n - 1) / scipy.stats.norm.ppf(tail)


def doubles(rng, n, genes):
    """n different pairs of genes, some genes in many pairs."""
    weight = (1.0 + np.arange(genes)) ** -0.5
    pairs: set[tuple[int, int]] = set()
    while len(pairs) < n:
        i, j = rng.choice(genes, 2, replace=False, p=weight / weight.sum())
        pairs.add((min(i, j), max(i, j)))
    return sorted(pairs)


def gene_effects(rng, pairs, genes, share):
    """Values with mean 0 and variance 1, of which `share` comes from the two genes."""
    effect = rng.normal(size=genes)
    of_genes = np.array([effect[i] + effect[j] for i, j in pairs])
    return np.sqrt(share / 2) * of_genes + np.sqrt(1 - share) * rng.normal(size=len(pairs))


def as_clusters(pairs):
    return [(f"G{i}", f"G{j}") for i, j in pairs]


def naive_design_effect(values, clusters):
    n = len(values)
    e = [v - sum(values) / n for v in values]
    together = [(p, q) for p in range(n) for q in range(n) if p == q or set(clusters[p]) & set(clusters[q])]
    ratio = sum(e[p] * e[q] for p, q in together) / sum(x * x for x in e)
    return max(1.0, ratio / ((1 - len(together) / n**2) / (1 - 1 / n)))


# -- orientation


def test_gain_puts_the_better_value_higher():
    values = np.array([0.2, 1.5, np.nan])
    assert np.array_equal(gain(values, direction="up", perfect=1.0), values, equal_nan=True)
    assert np.array_equal(gain(values, direction="down", perfect=0.0), -values, equal_nan=True)
    np.testing.assert_allclose(gain(values, direction="target", perfect=1.0), [-0.8, -0.5, np.nan])
    with pytest.raises(UsageError, match="up, down, target"):
        gain(values, direction="higher", perfect=1.0)


# -- intervals


def test_interval_is_the_one_of_scipy():
    values = np.random.default_rng(3).gamma(2.0, size=60)
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20000, rng=1).confidence_interval
    wider = values.mean() + width(60) * (np.array(theirs) - values.mean())
    np.testing.assert_allclose(bootstrap_interval(values, n_boot=20000), wider, atol=0.008)


@pytest.mark.parametrize("n", [2, 3, 5, 17])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_few_values_are_widened_as_by_a_t_interval(n, level):
    values = np.random.default_rng(n).normal(size=n)
    low, high = bootstrap_interval(values, level=level)
    drawn = resampled_means(np.sort(values)[:, None], np.full((n, 1), 1 / n), np.zeros(n, dtype=int), n_boot=2000, seed=0)
    ends = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    np.testing.assert_allclose((low, high), values.mean() + width(n, level) * (ends - values.mean()), rtol=1e-9)


def test_interval_grows_with_the_level():
    values = np.random.default_rng(3).normal(size=30)
    (a, b), (c, d) = bootstrap_interval(values, level=0.5), bootstrap_interval(values, level=0.99)
    assert c < a < values.mean() < b < d


def test_interval_of_equal_values_is_a_point_and_of_one_value_undefined():
    assert bootstrap_interval(np.full(7, 0.25)) == (0.25, 0.25)
    assert bootstrap_interval(np.full(4, 0.25), clusters=[("A", "B"), ("A", "C"), ("D",), ("E",)]) == (0.25, 0.25)
    for few in ([], [1.0]):
        assert np.isnan(bootstrap_interval(np.array(few))).all()


@FEW
@given(NUMBERS, st.randoms(use_true_random=False))
def test_order_of_perturbations_is_irrelevant(values, random):
    clusters = [tuple(random.sample("ABCDEFGH", random.randint(1, 2))) for _ in values]
    order = random.sample(range(len(values)), len(values))
    v, mixed = np.array(values), [tuple(reversed(clusters[i])) for i in order]
    ours = bootstrap_interval(v, clusters=clusters, n_boot=50), design_effect(v, clusters)
    theirs = bootstrap_interval(v[order], clusters=mixed, n_boot=50), design_effect(v[order], mixed)
    np.testing.assert_allclose(np.hstack(ours), np.hstack(theirs), rtol=1e-9, atol=1e-12)


def test_coverage_of_independent_values():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        low, high = bootstrap_interval(rng.normal(0.3, 1.0, 40), n_boot=500)
        covered += low <= 0.3 <= high
    assert 0.90 <= covered / 400 <= 0.98


@pytest.mark.parametrize("share", [0.0, 0.8])
def test_coverage_of_doubles_that_share_genes(share):
    rng = np.random.default_rng(1)
    pairs = doubles(rng, 90, 70)
    clustered = independent = 0
    for _ in range(400):
        values = gene_effects(rng, pairs, 70, share)
        low, high = bootstrap_interval(values, n_boot=500, clusters=as_clusters(pairs))
        clustered += low <= 0 <= high
        low, high = bootstrap_interval(values, n_boot=500)
        independent += low <= 0 <= high
    assert 0.90 <= clustered / 400 <= 0.98
    assert (independent / 400 < 0.85) == (share > 0)


# -- dependence


@pytest.mark.parametrize("seed", range(4))
def test_design_effect_is_the_sum_over_pairs_that_share_a_target(seed):
    rng = np.random.default_rng(seed)
    pairs = doubles(rng, 30, 16)
    values = gene_effects(rng, pairs, 16, 0.8)
    clusters = [*as_clusters(pairs), ("G1",), ("alone",), (), ("G1", "G2", "G3")]
    values = np.append(values, rng.normal(size=4))
    assert design_effect(values, clusters) == pytest.approx(naive_design_effect(values, clusters), rel=1e-9)


def test_design_effect_of_copies_is_their_number():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=400), 3)
    # Three equal values for each of 400 targets: the mean is as uncertain as that of 400 values.
    assert design_effect(values, [(f"G{i // 3}",) for i in range(1200)]) == pytest.approx(3, rel=0.01)


def test_without_shared_targets_the_interval_is_that_of_independent_values():
    values = np.random.default_rng(0).normal(size=20)
    clusters = [(f"A{i}", f"B{i}") for i in range(20)]
    assert design_effect(values, clusters) == 1
    assert bootstrap_interval(values, clusters=clusters) == bootstrap_interval(values)
    hub = [("HUB", *c) for c in clusters]
    assert bootstrap_interval(values, clusters=hub) == bootstrap_interval(values), "a target of all is part of the question"


def test_where_every_two_share_a_target_nothing_is_known():
    triangle = [("A", "B"), ("A", "C"), ("B", "C")]
    values = np.array([0.1, 0.5, 0.7])
    assert np.isnan(design_effect(values, triangle))
    assert np.isnan(bootstrap_interval(values, clusters=triangle)).all()
    assert np.isnan(paired_test(values, -values, clusters=triangle).p)


# -- tests


@pytest.mark.parametrize("n", [2, 5, 9])
def test_exact_p_is_the_share_of_sign_patterns(n):
    d = np.random.default_rng(n).normal(0.5, 1.0, n)
    extreme = [abs(np.dot(signs, d)) >= abs(d.sum()) - 1e-12 for signs in product([-1, 1], repeat=n)]
    found = paired_test(d, np.zeros(n))
    assert found.p == pytest.approx(np.mean(extreme))
    assert found.n == n
    assert found.difference == pytest.approx(d.mean())
    assert (found.low, found.high) == bootstrap_interval(d)


def test_exact_p_agrees_with_scipy():
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.6, 1, 12), rng.normal(0, 1, 12)
    theirs = scipy.stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    assert paired_test(a, b).p == pytest.approx(theirs.pvalue)


def test_random_patterns_come_close_to_all_of_them(monkeypatch):
    d = np.random.default_rng(5).normal(0.5, 1.0, 12)
    exact = paired_test(d, np.zeros(12)).p
    monkeypatch.setattr(inference, "EXACT", 0)
    assert paired_test(d, np.zeros(12), n_perm=40_000).p == pytest.approx(exact, abs=0.01)
    assert paired_test(d, np.zeros(12), seed=1).p != paired_test(d, np.zeros(12), seed=2).p


def test_random_patterns_never_give_zero():
    assert paired_test(np.full(40, 1.0), np.zeros(40), n_perm=999).p == 1 / 1000


def test_large_samples_are_cut_into_pieces_without_effect():
    d = np.random.default_rng(0).normal(0.04, 1, 3000)
    assert paired_test(d, np.zeros(3000), n_perm=4000).p == pytest.approx(scipy.stats.ttest_1samp(d, 0).pvalue, abs=0.03)


def test_equal_models_have_p_one_and_missing_pairs_are_dropped():
    a = np.array([0.5, 0.1, 0.3, np.nan])
    assert paired_test(a, a).p == 1
    assert paired_test(a, a).n == 3
    b = np.array([0.1, np.nan, 0.2, 0.4])
    assert paired_test(a, b) == paired_test(a[[0, 2]], b[[0, 2]])
    one = paired_test(np.array([1.0, np.nan]), np.array([0.5, 0.0]))
    assert one.n == 1
    assert one.difference == 0.5
    assert np.isnan([one.p, one.low, one.high]).all()
    none = paired_test(np.array([np.nan]), np.array([1.0]))
    assert none.n == 0
    assert np.isnan([none.p, none.difference]).all()


def test_columns_of_different_length_are_refused():
    with pytest.raises(UsageError, match=r"\[2, 3\]"):
        paired_test(np.zeros(2), np.zeros(3))


@FEW
@given(NUMBERS, st.randoms(use_true_random=False))
def test_p_depends_on_neither_order_nor_side(values, random):
    a = np.array(values)
    b = np.array([random.randint(-8, 8) / 8 for _ in values])
    order = random.sample(range(len(values)), len(values))
    ours, theirs = paired_test(a, b, n_perm=200), paired_test(a[order], b[order], n_perm=200)
    assert (ours.p, ours.n, ours.difference) == (theirs.p, theirs.n, theirs.difference)
    np.testing.assert_allclose((ours.low, ours.high), (theirs.low, theirs.high), rtol=1e-9, atol=1e-12)
    assert paired_test(a, b, n_perm=200).p == paired_test(b, a, n_perm=200).p


@pytest.mark.parametrize("n", [10, 30])
def test_size_of_the_test(n):
    rng = np.random.default_rng(n)
    p = np.array([paired_test(*rng.standard_t(4, (2, n)), n_perm=400, seed=seed).p for seed in range(800)])
    assert 0.035 <= (p <= 0.05).mean() <= 0.065


def test_size_on_doubles_that_share_genes():
    rng = np.random.default_rng(4)
    pairs = doubles(rng, 60, 50)
    rejected = {True: 0, False: 0}
    for _ in range(300):
        values = gene_effects(rng, pairs, 50, 0.8)
        for clustered in rejected:
            found = paired_test(values, np.zeros(60), n_perm=400, clusters=as_clusters(pairs) if clustered else None)
            rejected[clustered] += found.p <= 0.05
    assert rejected[True] / 300 <= 0.07
    assert rejected[False] / 300 >= 0.15


# -- many tests


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, np.nan, 0.03])), [0.06, 0.03, np.nan, 0.06])
    assert np.isnan(holm(np.array([np.nan, np.nan]))).all()
    assert len(holm(np.array([]))) == 0


@FEW
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(p):
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is not installed")
    np.testing.assert_allclose(holm(np.array(p)), multitest.multipletests(p, method="holm")[1], atol=1e-12)


# -- ranks


def test_models_far_apart_have_ranks_of_their_own():
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 30))
    values = {"b": 0.5 + noise[0], "a": 0.9 + noise[1], "c": 0.1 + noise[2]}
    assert tied_ranks(values, **UP) == {"a": 1, "b": 2, "c": 3}
    assert tied_ranks(values, direction="down", perfect=0.0) == {"c": 1, "b": 2, "a": 3}
    assert tied_ranks(values, direction="target", perfect=0.5) == {"b": 1, "a": 2, "c": 2}


def test_equal_models_share_a_rank_and_the_next_counts_them():
    good, bad = np.linspace(0.8, 0.9, 20), np.linspace(0.1, 0.2, 20)
    assert tied_ranks({"x": good, "y": good.copy(), "z": bad}, **UP) == {"x": 1, "y": 1, "z": 3}


def test_a_group_is_held_together_by_its_leader_not_by_neighbours():
    rng = np.random.default_rng(8)
    values = {m: mean + rng.normal(0, 1, 80) for m, mean in (("a", 1.0), ("b", 0.7), ("c", 0.4))}
    p = {(x, y): paired_test(values[x], values[y]).p for x, y in ("ab", "bc", "ac")}
    assert p["a", "b"] > 0.05
    assert p["b", "c"] > 0.05
    assert 3 * p["a", "c"] < 0.05
    # b is like both, a and c differ: chaining neighbours would put all three on one rank.
    assert tied_ranks(values, **UP) == {"a": 1, "b": 1, "c": 3}


def test_few_or_missing_values_give_ties_or_no_rank():
    assert tied_ranks({}, **UP) == {}
    assert tied_ranks({"a": np.array([0.3])}, **UP) == {"a": 1}
    assert tied_ranks({"a": np.array([0.9]), "b": np.array([0.1])}, **UP) == {"a": 1, "b": 1}
    ten = np.linspace(0.5, 0.6, 10)
    gone = np.full(10, np.nan)
    half = np.where(np.arange(10) < 8, ten - 0.4, np.nan)
    assert tied_ranks({"a": ten, "gone": gone, "half": half}, **UP) == {"a": 1, "half": 2}
    apart = {"a": np.array([1.0, np.nan]), "b": np.array([np.nan, 0.0])}
    assert tied_ranks(apart, **UP) == {"a": 1, "b": 1}


def test_a_better_mean_on_easier_perturbations_is_no_evidence():
    easy = np.arange(40) < 20
    whole = np.where(easy, 0.95, 0.1)
    picky = np.where(easy, 0.9, np.nan)
    # On what both answered, `whole` is better by 0.05 throughout; over all it answered, `picky` has the higher mean.
    assert tied_ranks({"picky": picky, "whole": whole}, **UP) == {"picky": 1, "whole": 1}


def test_enough_sign_patterns_are_drawn_for_many_models():
    values = {f"m{i:02d}": np.arange(30) / 100 + i for i in range(15)}
    # 105 pairs: with 10,000 patterns the smallest adjusted p would be 0.0105 and no two models could ever differ.
    assert list(tied_ranks(values, **UP, alpha=0.01).values()) == list(range(1, 16))


def test_shared_genes_make_ranks_more_cautious():
    rng = np.random.default_rng(0)
    pairs = doubles(rng, 60, 50)
    found = {True: 0, False: 0}
    for _ in range(100):
        values = {"a": gene_effects(rng, pairs, 50, 0.8), "b": np.zeros(60)}
        for clustered in found:
            ranks = tied_ranks(values, **UP, clusters=as_clusters(pairs) if clustered else None, n_perm=200)
            found[clustered] += max(ranks.values()) > 1
    assert found[True] <= 10 < found[False]


@FEW
@given(st.integers(2, 5), st.integers(2, 20), st.randoms(use_true_random=False))
def test_ranks_depend_on_no_order(models, n, random):
    values = {f"m{i}": np.array([random.choice([np.nan, *range(6)]) + i for _ in range(n)], dtype=float) for i in range(models)}
    order = random.sample(range(n), n)
    names = random.sample(sorted(values), models)
    mixed = {m: values[m][order] for m in names}
    assert tied_ranks(values, **UP, n_perm=200) == tied_ranks(mixed, **UP, n_perm=200)
    ours, theirs = (rank_stability(v, **UP, n_boot=50) for v in (values, mixed))
    assert ours == theirs or np.isnan([ours, theirs]).all()


# -- stability


def test_stability_is_the_mean_of_scipys_tau():
    rng = np.random.default_rng(0)
    table = rng.normal(0, 1, (4, 25)) + np.array([[0.0], [0.2], [0.4], [0.4]])
    table[2, :3] = np.nan
    values = {f"m{i}": row for i, row in enumerate(table)}
    own = np.random.default_rng(7)
    taus = []
    for _ in range(3000):
        drawn = own.integers(0, 25, 25)
        taus.append(scipy.stats.kendalltau(np.nanmean(table, axis=1), np.nanmean(table[:, drawn], axis=1)).statistic)
    assert rank_stability(values, **UP, n_boot=3000) == pytest.approx(np.mean(taus), abs=0.03)


def test_stability_counts_ties_as_scipy_does():
    # Whatever is drawn, the means are 0.3, 0.3 and 0.8 or further apart: every tau is the same and known.
    values = {"a": np.full(6, 0.3), "b": np.full(6, 0.3), "c": np.linspace(0.8, 0.9, 6)}
    assert rank_stability(values, **UP) == pytest.approx(scipy.stats.kendalltau([0.3, 0.3, 0.8], [0.3, 0.3, 0.9]).statistic)


def test_stability_of_clear_and_of_undefined_orders():
    ladder = {f"m{i}": np.linspace(0, 0.5, 12) + i for i in range(4)}
    assert rank_stability(ladder, **UP) == pytest.approx(1)
    assert rank_stability(ladder, direction="down", perfect=0.0) == pytest.approx(1)
    for undefined in ({}, {"a": np.ones(3)}, {"a": np.ones(3), "b": np.ones(3)}, {"a": np.ones(1), "b": np.zeros(1)}):
        assert np.isnan(rank_stability(undefined, **UP))
    assert np.isnan(rank_stability({"a": np.ones(3), "b": np.full(3, np.nan)}, **UP))


def test_target_metrics_are_ranked_by_distance():
    rng = np.random.default_rng(0)
    values = {"near": 1 + rng.normal(0, 0.01, 15), "far": 1 + np.where(np.arange(15) % 2, 0.5, -0.5)}
    assert tied_ranks(values, direction="target", perfect=1.0) == {"near": 1, "far": 2}
    assert rank_stability(values, direction="target", perfect=1.0) == pytest.approx(1)
