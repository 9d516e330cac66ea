"""Means over contexts: weights, draws and dependence against naive loops, and in simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pbench.bench.engine import strata as module
from pbench.bench.engine.dependence import design_effect
from pbench.bench.engine.inference import bootstrap_interval, bootstrap_intervals, paired_test
from pbench.bench.engine.ranks import mean_ranks, rank_stability, tied_ranks
from pbench.bench.engine.strata import context_mean, resampled_means, strata, weights

FEW = settings(max_examples=25, deadline=None)
UP = {"direction": "up", "perfect": 1.0}


def naive_mean(values, contexts):
    by_context = {}
    for v, c in zip(values, contexts, strict=True):
        if not np.isnan(v):
            by_context.setdefault(c, []).append(v)
    return np.mean([np.mean(own) for own in by_context.values()]) if by_context else np.nan


# -- means


@FEW
@given(st.lists(st.tuples(st.sampled_from([np.nan, 0.0, 0.5, 2.0, 7.0]), st.sampled_from("abc")), min_size=1, max_size=20))
def test_the_mean_is_that_over_contexts(rows):
    values, contexts = np.array([v for v, _ in rows]), [c for _, c in rows]
    assert context_mean(values, contexts) == pytest.approx(naive_mean(values, contexts), nan_ok=True)
    known = ~np.isnan(values)
    if known.any():
        own = [c for c, k in zip(contexts, known, strict=True) if k]
        w = weights(own, len(own))
        assert w.sum() == pytest.approx(1)
        assert (w * values[known]).sum() == pytest.approx(naive_mean(values, contexts))


def test_one_context_is_no_context():
    values = np.random.default_rng(0).normal(size=17)
    assert context_mean(values, ["x"] * 17) == context_mean(values, None) == np.sort(values).mean()
    np.testing.assert_allclose(weights(["x"] * 17, 17), weights(None, 17))
    assert bootstrap_interval(values, contexts=["x"] * 17) == bootstrap_interval(values)
    assert context_mean(values, ["x"] * 17, of=np.median) == np.median(values)


def test_contexts_of_one_perturbation_are_drawn_together():
    assert strata(["a", "a", "b", "b", "b"], 5).tolist() == [0, 0, 1, 1, 1]
    assert strata(["a", "b", "c", "c", "d"], 5).tolist() == [0, 0, 1, 1, 0]
    # A lone one joins the smallest of the others.
    assert strata(["a", "b", "b", "b", "c", "c"], 6).tolist() == [1, 0, 0, 0, 1, 1]
    assert strata(["a"], 1).tolist() == [0]
    assert strata(None, 3).tolist() == [0, 0, 0]


# -- draws


def test_draws_are_those_of_a_loop():
    rng = np.random.default_rng(1)
    contexts = ["a"] * 5 + ["b"] * 4 + ["c"]
    values = rng.normal(size=(10, 3))
    w, s = weights(contexts, 10), strata(contexts, 10)
    found = resampled_means(values, w[:, None], s, n_boot=50, seed=3)
    for b in range(50):
        total = np.zeros(3)
        for number in range(s.max() + 1):
            rows = np.flatnonzero(s == number)
            counts = module.draws(len(rows), 50, 3, number)[b]
            assert counts.sum() == len(rows)
            share = w[rows].sum()
            total += share * (counts * w[rows]) @ values[rows] / (counts @ w[rows])
        np.testing.assert_allclose(found[b], total)


def test_strata_are_drawn_apart():
    first, second = (module.draws(8, 500, 0, number) for number in (0, 1))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
    assert np.array_equal(first, module.draws(8, 500, 0, 0))


def test_undefined_values_count_in_no_draw():
    values = np.array([[1.0, 1.0], [2.0, np.nan], [3.0, np.nan]])
    w = np.where(np.isnan(values), 0.0, 1 / 3)
    found = resampled_means(values, w, np.zeros(3, dtype=int), n_boot=400, seed=0)
    assert found[:, 0].std() > 0.1
    missed = module.draws(3, 400, 0)[:, 0] == 0
    assert np.isnan(found[missed, 1]).all()
    assert (found[~missed, 1] == 1).all()


# -- intervals


def test_interval_of_the_mean_over_contexts():
    rng = np.random.default_rng(2)
    contexts = ["a"] * 60 + ["b"] * 12
    values = np.concatenate([rng.normal(0, 1, 60), rng.normal(5, 1, 12)])
    low, high = bootstrap_interval(values, contexts=contexts, n_boot=8000)
    assert low < naive_mean(values, contexts) < high
    means = [(rng.choice(values[:60], 60).mean() + rng.choice(values[60:], 12).mean()) / 2 for _ in range(8000)]
    plain, centre = np.quantile(means, [0.025, 0.975]), naive_mean(values, contexts)
    # The bootstrap's variance of a context's mean is (n - 1) / n of the unbiased one; Welch's degrees of freedom.
    parts = [values[:60].var(ddof=1) / 60 / 4, values[60:].var(ddof=1) / 12 / 4]
    free = sum(parts) ** 2 / (parts[0] ** 2 / 61 + parts[1] ** 2 / 13) - 2
    width = np.sqrt(sum(parts) / (parts[0] * 59 / 60 + parts[1] * 11 / 12)) * scipy.stats.t.ppf(0.975, free) / 1.959964
    assert 1.08 < width < 1.2
    np.testing.assert_allclose((low, high), centre + width * (plain - centre), atol=0.02)


@pytest.mark.parametrize("sizes", [(50, 15), (20,) * 4, (1,) * 30, (30, 10, 1), (40, *(1,) * 12)])
def test_coverage_with_contexts(sizes):
    rng = np.random.default_rng(3)
    contexts = [f"c{i}" for i, n in enumerate(sizes) for _ in range(n)]
    centre = np.repeat(rng.normal(0, 1, len(sizes)), sizes)
    # Contexts of one perturbation show no variance of their own: there, contexts differ no more than perturbations do.
    centre *= 0 if 1 in sizes else 1
    truth = naive_mean(centre, contexts)
    covered = 0
    for _ in range(400):
        low, high = bootstrap_interval(centre + rng.normal(0, 1, len(centre)), n_boot=400, contexts=contexts)
        covered += low <= truth <= high
    assert 0.90 <= covered / 400 <= 0.98


@pytest.mark.parametrize(("contexts", "size"), [(1, 5), (8, 3), (30, 2)])
def test_coverage_of_few_perturbations(contexts, size):
    """Plain percentile intervals cover 0.83, 0.85 and 0.82 here."""
    rng = np.random.default_rng(0)
    named = [f"c{i}" for i in range(contexts) for _ in range(size)]
    centre = np.repeat(rng.normal(0, 1, contexts), size)
    covered = 0
    for _ in range(1000):
        low, high = bootstrap_interval(centre + rng.normal(0, 1, len(centre)), n_boot=400, contexts=named)
        covered += low <= centre.mean() <= high
    assert 0.92 <= covered / 1000 <= 0.98


def test_coverage_of_perturbations_that_are_alike_in_all_contexts():
    rng = np.random.default_rng(4)
    clusters = [(f"G{i}",) for _ in range(4) for i in range(40)]
    contexts = [f"c{k}" for k in range(4) for _ in range(40)]
    covered = {True: 0, False: 0}
    for _ in range(400):
        values = np.tile(rng.normal(0, 1, 40), 4) + rng.normal(0, 0.3, 160)
        for clustered in covered:
            low, high = bootstrap_interval(values, n_boot=400, contexts=contexts, clusters=clusters if clustered else None)
            covered[clustered] += low <= 0 <= high
    assert 0.90 <= covered[True] / 400 <= 0.98
    assert covered[False] / 400 < 0.80


@FEW
@given(st.lists(st.tuples(st.integers(-9, 9), st.sampled_from("ab")), min_size=2, max_size=15), st.randoms(use_true_random=False))
def test_order_of_perturbations_is_irrelevant(rows, random):
    values, contexts = np.array([v for v, _ in rows]) / 8, [c for _, c in rows]
    order = random.sample(range(len(rows)), len(rows))
    ours = bootstrap_interval(values, contexts=contexts, n_boot=50)
    theirs = bootstrap_interval(values[order], contexts=[contexts[i] for i in order], n_boot=50)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("contexts", [None, ["a"] * 13 + ["b"] * 9 + ["c"]])
def test_neighbours_do_not_move_a_bit_of_an_interval(contexts):
    rng = np.random.default_rng(5)
    clusters = [(f"G{i % 7}", f"H{i}") for i in range(23)]
    table = rng.normal(size=(23, 150))
    table[rng.random(table.shape) < np.where(np.arange(150) % 3 == 0, 0.1, 0.0)] = np.nan
    low, high = bootstrap_intervals(table, clusters=clusters, contexts=contexts)
    for columns in ([0], [7, 3], list(range(149, 20, -1))):
        again = bootstrap_intervals(table[:, columns], clusters=clusters, contexts=contexts)
        np.testing.assert_array_equal(again, (low[columns], high[columns]))
    known = ~np.isnan(table[:, 0])
    keep = [i for i in range(23) if known[i]]
    alone = bootstrap_interval(
        table[known, 0], clusters=[clusters[i] for i in keep], contexts=contexts and [contexts[i] for i in keep]
    )
    assert alone == (low[0], high[0])


# -- dependence


def naive_design_effect(values, clusters, contexts):
    n = len(values)
    size = {c: contexts.count(c) for c in contexts}
    w = [1 / (len(size) * size[c]) for c in contexts]
    centre = {c: np.mean([v for v, own in zip(values, contexts, strict=True) if own == c]) for c in size}
    e = [w[p] * (values[p] - centre[contexts[p]]) for p in range(n)]
    together = [(p, q) for p in range(n) for q in range(n) if p == q or set(clusters[p]) & set(clusters[q])]
    ratio = sum(e[p] * e[q] for p, q in together) / sum(x * x for x in e)
    # Of independent values with variance 1, E[e_p e_q] = w_p w_q ((p == q) - [same context] / n_context).
    mean = {
        (p, q): w[p] * w[q] * ((p == q) - (contexts[p] == contexts[q]) / size[contexts[p]]) for p in range(n) for q in range(n)
    }
    return max(1.0, ratio / (sum(mean[pair] for pair in together) / sum(mean[p, p] for p in range(n))))


@pytest.mark.parametrize("seed", range(4))
def test_design_effect_is_the_sum_over_pairs_in_and_across_contexts(seed):
    rng = np.random.default_rng(seed)
    clusters = [(f"G{i}", f"G{j}") for i, j in rng.integers(0, 12, (30, 2))]
    contexts = rng.choice(["a", "b", "b", "c"], 30).tolist()
    values = rng.normal(size=30) + np.array([int(c[0][1:]) / 4 for c in clusters])
    found = design_effect(values, clusters, contexts)
    assert found == pytest.approx(naive_design_effect(values, clusters, contexts), rel=1e-9)


def test_copies_across_contexts_count_once():
    values = np.tile(np.random.default_rng(0).normal(size=300), 3)
    clusters = [(f"G{i % 300}",) for i in range(900)]
    assert design_effect(values, clusters, [f"c{i // 300}" for i in range(900)]) == pytest.approx(3, rel=0.01)


def test_where_every_two_of_a_context_share_a_target_nothing_is_known():
    clusters = [("A", "B"), ("A", "C"), ("B", "C"), ("D", "E"), ("D", "F"), ("E", "F")]
    contexts = ["x"] * 3 + ["y"] * 3
    assert np.isnan(design_effect(np.arange(6.0), clusters, contexts))
    assert np.isnan(bootstrap_interval(np.arange(6.0), clusters=clusters, contexts=contexts)).all()


# -- tests and ranks


def test_size_of_the_test_with_contexts():
    rng = np.random.default_rng(6)
    contexts = ["a"] * 25 + ["b"] * 8
    p = np.array([paired_test(*rng.standard_t(4, (2, 33)), n_perm=400, seed=s, contexts=contexts).p for s in range(800)])
    assert 0.035 <= (p <= 0.05).mean() <= 0.065


def test_what_is_tested_is_the_mean_over_contexts():
    rng = np.random.default_rng(7)
    contexts = ["a"] * 60 + ["b"] * 20
    # Better by 0.2 in the large context and worse by 0.6 in the small one.
    a = np.concatenate([np.full(60, 0.2), np.full(20, -0.6)]) + rng.normal(0, 0.1, 80)
    b = np.zeros(80)
    plain, by_context = paired_test(a, b), paired_test(a, b, contexts=contexts)
    assert plain.difference == pytest.approx(a.mean())
    assert by_context.difference == pytest.approx(naive_mean(a, contexts))
    assert by_context.difference == pytest.approx(-0.2, abs=0.05)
    assert by_context.high < 0
    assert by_context.p < 0.05
    assert tied_ranks({"a": a + 1, "b": b + 1}, **UP, contexts=contexts) == {"b": 1, "a": 2}
    # Over all perturbations the two cannot be told apart.
    assert tied_ranks({"a": a + 1, "b": b + 1}, **UP) == {"a": 1, "b": 1}
    assert mean_ranks({"a": a, "b": b}, **UP, contexts=contexts)["a"] == pytest.approx(naive_mean(1.0 + (a < b), contexts))


def test_stability_with_contexts_is_that_of_a_loop():
    rng = np.random.default_rng(8)
    contexts = ["a"] * 12 + ["b"] * 5
    table = rng.normal(0, 1, (3, 17)) + np.array([[0.0], [0.3], [0.6]])
    from scipy.stats import kendalltau

    where = np.array(contexts)
    base = [naive_mean(row, contexts) for row in table]
    taus = []
    for _ in range(2000):
        drawn = np.concatenate([rng.choice(np.flatnonzero(where == c), (where == c).sum()) for c in "ab"])
        taus.append(kendalltau(base, [naive_mean(row[drawn], where[drawn]) for row in table]).statistic)
    values = {f"m{i}": row for i, row in enumerate(table)}
    assert rank_stability(values, **UP, n_boot=3000, contexts=contexts) == pytest.approx(np.mean(taus), abs=0.04)
