"""Importances, targets and graphs against scikit-learn, loops and known answers."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.metrics import average_precision_score, f1_score, r2_score

from pbench.bench.kernels import edges
from pbench.bench.kernels.boosted_trees import boosted, completeness, disentanglement
from pbench.metrics.identification.targets import declared, shifts

few = settings(max_examples=20, deadline=None)


@pytest.mark.parametrize(("rho", "level"), [(0.0, 0.97), (0.5, 0.94), (0.9, 0.61)])
def test_trees_are_those_of_scikit_learn(rho, level):
    rng = np.random.default_rng(0)
    z = rng.multivariate_normal(np.zeros(5), np.full((5, 5), rho) + (1 - rho) * np.eye(5), size=3000)
    h = z + 0.3 * rng.normal(size=z.shape)
    found = boosted(h[:1500], z[:1500], h[1500:])
    for i in range(2):
        model = GradientBoostingRegressor(n_estimators=50, max_depth=3, random_state=0).fit(h[:1500], z[:1500, i])
        np.testing.assert_allclose(found.importance[:, i], model.feature_importances_, atol=0.03)
        expected = r2_score(z[1500:, i], model.predict(h[1500:]))
        assert r2_score(z[1500:, i], found.predicted[:, i]) == pytest.approx(expected, abs=0.01)
    # Of a code that is sorted out perfectly but for noise; correlated variables lower it.
    assert disentanglement(found.importance) == pytest.approx(level, abs=0.03)


def test_trees_on_few_values_are_exactly_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    x, new = rng.integers(0, 20, (300, 3)).astype(float), rng.integers(-2, 23, (100, 3)).astype(float)
    y = x[:, :1] * (x[:, 1:2] > 9) + rng.normal(size=(300, 1))
    model = GradientBoostingRegressor(n_estimators=10, max_depth=2, random_state=0).fit(x, y[:, 0])
    found = boosted(x, y, new, trees=10, depth=2)
    np.testing.assert_allclose(found.predicted[:, 0], model.predict(new), atol=1e-9)
    np.testing.assert_allclose(found.importance[:, 0], model.feature_importances_, atol=1e-9)


def test_trees_that_have_nothing_to_split():
    found = boosted(np.ones((20, 2)), np.arange(20.0)[:, None], np.zeros((3, 2)))
    assert found.predicted.tolist() == [[9.5]] * 3 and not found.importance.any()
    assert not boosted(np.arange(20.0)[:, None], np.ones((20, 1)), np.zeros((3, 1))).importance.any()


@few
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 6))
def test_disentanglement_and_completeness_by_loops(seed, m, d):
    importance = np.random.default_rng(seed).exponential(size=(m, d)) * (np.random.default_rng(seed + 1).random((m, d)) < 0.7)
    if not importance.any():
        return
    rows = [
        importance[j].sum() / importance.sum() * (1 - entropy(importance[j], base=d)) for j in range(m) if importance[j].any()
    ]
    assert disentanglement(importance) == pytest.approx(sum(rows))
    own = [1 - entropy(importance[:, i], base=m) for i in range(d) if importance[:, i].any()]
    assert completeness(importance) == pytest.approx(np.mean(own))


def test_importances_without_choice():
    assert disentanglement(np.eye(4)) == completeness(np.eye(4)) == 1
    assert disentanglement(np.ones((3, 4))) == pytest.approx(0, abs=1e-12)
    # A single variable, or a single code.
    assert disentanglement(np.array([[1.0], [3.0]])) == 1 and completeness(np.array([[1.0, 2.0]])) == 1
    assert np.isnan(disentanglement(np.zeros((2, 2)))) and np.isnan(completeness(np.zeros((2, 2))))


def test_codes_from_sorted_out_to_noise(cells):
    z = cells.z
    turned = z @ np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    noise = cells.rng.normal(size=z.shape)
    scores = {
        n: [cells.score(f"dci.{n}", h) for h in (z, turned, noise)]
        for n in ("disentanglement", "completeness", "informativeness")
    }
    for name in ("disentanglement", "completeness"):
        assert scores[name][0] > 0.97 > 0.6 > scores[name][1] > 0.1 > scores[name][2], name
    assert scores["informativeness"][0] > 0.97 and scores["informativeness"][1] > 0.8 and scores["informativeness"][2] < 0.02
    assert cells.score("dci.disentanglement", z[:, :1]) < 1 == cells.score("dci.completeness", z[:, :1])
    assert cells.reason("dci.disentanglement", np.ones_like(z)) == "zero_variance"
    # A dead code changes nothing.
    assert cells.score("dci.completeness", np.hstack([z, np.ones((len(z), 3))])) == scores["completeness"][0]


def test_trees_are_not_fitted_on_the_reported_half(cells):
    values = np.where(cells.report[:, None], cells.rng.normal(size=cells.z.shape), cells.z)
    other = replace(cells.truth, values=values)
    for name in ("disentanglement", "completeness"):
        assert cells.score(f"dci.{name}", cells.z, truth=other) == cells.score(f"dci.{name}", cells.z)
    assert cells.score("dci.informativeness", cells.z, truth=other) < 0


def graph(d, *pairs):
    """Edges by (cause, effect)."""
    out = np.zeros((d, d), dtype=bool)
    for cause, effect in pairs:
        out[effect, cause] = True
    return out


def test_hamming_distance_by_hand():
    true = graph(4, (0, 1), (1, 2), (0, 3))
    assert edges.hamming(true, true) == 0
    assert edges.hamming(true, graph(4, (1, 0), (1, 2), (0, 3))) == 1
    assert edges.hamming(true, graph(4, (1, 2), (0, 3))) == 1
    assert edges.hamming(true, graph(4, (0, 1), (1, 2), (0, 3), (2, 3))) == 1
    assert edges.hamming(true, true.T) == 3
    assert edges.hamming(true, true | np.eye(4, dtype=bool)) == 0
    # Both ways where the truth has one, and the other way round; both ways where it has none.
    both = graph(2, (0, 1), (1, 0))
    assert edges.hamming(graph(2, (0, 1)), both) == edges.hamming(both, graph(2, (0, 1))) == 1
    assert edges.hamming(graph(2), both) == edges.hamming(both, graph(2)) == 2


@few
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_hamming_distance_is_the_fewest_steps(seed, d):
    """Steps: add an edge, delete one, turn one; found by search over each pair of variables."""
    rng = np.random.default_rng(seed)
    true, guess = rng.random((2, d, d)) < 0.4
    total = 0
    for i in range(d):
        for j in range(i):
            state, goal, reached, count = (guess[i, j], guess[j, i]), (true[i, j], true[j, i]), set(), 0
            reached.add(state)
            while goal not in reached:
                count += 1
                for a, b in list(reached):
                    reached |= {(not a, b), (a, not b)} | ({(b, a)} if a != b else set())
            total += count
    assert edges.hamming(true, guess) == total


def test_the_empty_and_the_random_graph():
    true = graph(10, *((i, j) for i, j in product(range(10), range(10)) if i < j and (i + j) % 3 == 0))
    count = int(true.sum())
    assert edges.empty_distance(true) == 1
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        chosen = rng.choice(90, count, replace=False)
        guess = np.zeros((10, 10), dtype=bool)
        guess[~np.eye(10, dtype=bool)] = np.isin(np.arange(90), chosen)
        found.append(edges.hamming(true, guess) / count)
    assert 1.2 < np.mean(found) == pytest.approx(edges.random_distance(true, seed=1, draws=300), abs=0.05)
    assert np.isnan(edges.empty_distance(graph(3))) and np.isnan(edges.random_distance(graph(3), seed=0))


def test_strongest_edges():
    strength = np.array([[9, 3, 2], [1, 9, 0], [2, 0.5, 9]], dtype=float)
    assert edges.strongest(strength, 1).nonzero() == ([0], [1])
    # The second and third place are tied, so that two edges cannot be told from three.
    assert edges.strongest(strength, 2).sum() == 1 and edges.strongest(strength, 3).sum() == 3
    assert edges.strongest(strength, 6).sum() == 5 and not edges.strongest(strength, 0).any()
    assert not edges.strongest(np.ones((4, 4)), 3).any() and edges.strongest(np.ones((2, 2)), 2).sum() == 2


@few
@given(st.integers(0, 10_000))
def test_f1_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    true, guess = rng.random((2, 12)) < 0.4
    if true.any():
        assert edges.f1(true, guess) == pytest.approx(f1_score(true, guess))
    assert np.isnan(edges.f1(np.zeros(3, bool), np.ones(3, bool))) and edges.f1(np.ones(3, bool), np.zeros(3, bool)) == 0


def summary(cells):
    own = cells.responsive
    return cells.truth.lagged[0][np.ix_(own, own)].astype(float)


GRAPH = ("graph_shd", "graph_f1.directed", "graph_f1.skeleton", "graph_auprc")


def test_graphs_of_permuted_codes(cells):
    order = np.array([2, 0, 3, 1])
    codes = {"responsive": -cells.z[:, cells.responsive][:, order], "invariant": cells.z[:, cells.invariant]}
    true = summary(cells)
    own = true[np.ix_(order, order)]
    assert [cells.score(n, codes, graph=own) for n in GRAPH] == [0, 1, 1, 1]
    assert [cells.score(n, codes, graph=-2 * own) for n in GRAPH] == [0, 1, 1, 1]
    assert cells.score("graph_f1.skeleton", codes, graph=own.T) == 1
    assert cells.score("graph_f1.directed", codes, graph=own.T) == 0 and cells.score("graph_shd", codes, graph=own.T) == 1
    # Left in the order of the variables it is another graph: nothing is permuted to make the graphs agree.
    assert cells.score("graph_shd", codes, graph=true) > 0
    count = int((true > 0).sum() - 4)
    half = own * (np.cumsum(own.ravel()).reshape(4, 4) % 2 == 0)
    off = ~np.eye(4, dtype=bool)
    guess = half[np.ix_(np.argsort(order), np.argsort(order))][off]
    assert cells.score("graph_f1.directed", codes, graph=half) == pytest.approx(f1_score(true[off] > 0, guess > 0))
    assert cells.score("graph_shd", codes, graph=half) == pytest.approx(1 - (guess > 0).sum() / count)
    weights = np.random.default_rng(0).random((4, 4))
    expected = average_precision_score(true[off] > 0, weights[np.ix_(np.argsort(order), np.argsort(order))][off])
    assert cells.score("graph_auprc", codes, graph=weights) == pytest.approx(expected)


def test_graphs_that_say_nothing(cells):
    for strength in (np.zeros((4, 4)), np.ones((4, 4))):
        assert [cells.score(n, cells.oracle, graph=strength) for n in GRAPH[:3]] == [1, 0, 0]
    assert {cells.reason(n, cells.oracle) for n in GRAPH} == {"no_graph"}
    none = replace(cells.truth, lagged=np.zeros((0, 6, 6), dtype=bool))
    assert {cells.reason(n, cells.oracle, truth=none, graph=np.ones((4, 4))) for n in GRAPH} == {"no_edges"}


def test_instantaneous_and_lagged_causes_are_taken_together(cells):
    instant = replace(cells.truth, graph=cells.truth.lagged[0], lagged=np.zeros((0, 6, 6), dtype=bool))
    for truth in (instant, replace(instant, lagged=cells.truth.lagged), cells.truth):
        assert cells.score("graph_shd", cells.oracle, truth=truth, graph=summary(cells)) == 0


def test_graphs_over_fewer_codes_than_variables(cells):
    codes = {"responsive": cells.z[:, [0, 1]], "invariant": cells.z[:, [4, 5]]}
    own = summary(cells)[:2, :2]
    true = summary(cells) * (1 - np.eye(4))
    assert cells.score("graph_shd", codes, graph=own) == pytest.approx(1 - 1 / true.sum())


def strengths(cells):
    return {f"P{p}": cells.truth.targets[p, cells.responsive].astype(float) for p in range(1, 5)}


def test_declared_targets(cells):
    order = np.array([3, 1, 0, 2])
    codes = {"responsive": cells.z[:, cells.responsive][:, order], "invariant": cells.z[:, cells.invariant]}
    true = {name: -3 * s[order] for name, s in strengths(cells).items()}
    for name in ("targets_auprc.direct", "targets_f1.direct", "targets_top1.direct"):
        assert cells.score(name, codes, targets=true) == 1
    # Against all that is reached, the direct ones are only a part.
    reached = cells.truth.reached[1:][:, cells.responsive]
    assert reached.sum() > 4
    direct = np.array(list(strengths(cells).values()))
    assert cells.score("targets_f1.total", codes, targets=true) == pytest.approx(f1_score(reached.ravel(), direct.ravel() > 0))
    assert cells.score("targets_auprc.total", codes, targets=true) == pytest.approx(
        average_precision_score(reached.ravel(), direct.ravel())
    )
    full = {f"P{p}": reached[p - 1][order].astype(float) for p in range(1, 5)}
    assert cells.score("targets_auprc.total", codes, targets=full) == cells.score("targets_f1.total", codes, targets=full) == 1


def test_targets_that_say_nothing(cells):
    nothing = {name: 0 * s for name, s in strengths(cells).items()}
    assert cells.score("targets_f1.direct", cells.oracle, targets=nothing) == 0
    assert cells.score("targets_top1.direct", cells.oracle, targets=nothing) == 0
    assert cells.score("targets_auprc.direct", cells.oracle, targets=nothing) == 0.25
    equal = {name: np.ones(4) for name in nothing}
    assert cells.score("targets_top1.direct", cells.oracle, targets=equal) == 0.25
    unknown = {"other": np.ones(4)}
    assert cells.score("targets_f1.direct", cells.oracle, targets=unknown) == 0
    assert cells.reason("targets_auprc.direct", cells.oracle) == "no_targets"
    none = replace(cells.truth, targets=np.zeros_like(cells.truth.targets))
    assert cells.reason("targets_f1.direct", cells.oracle, truth=none, targets=equal) == "single_class"
    every = replace(cells.truth, targets=np.ones_like(cells.truth.targets))
    assert cells.reason("targets_auprc.direct", cells.oracle, truth=every, targets=equal) == "single_class"
    assert cells.reason("targets_top1.direct", cells.oracle, truth=every, targets=equal) == "no_singles"


def test_half_of_the_highest_strength_is_the_threshold(cells):
    weak = {name: s * (0.49 if name == "P2" else 1.0) for name, s in strengths(cells).items()}
    assert cells.score("targets_f1.direct", cells.oracle, targets=weak) == pytest.approx(2 * 3 / (3 + 4))
    # The highest of all codes, also of one that stands for no variable.
    wide = {"responsive": np.hstack([cells.z[:, cells.responsive], np.ones((len(cells.z), 1))]), "invariant": cells.z[:, [4, 5]]}
    other = {name: np.append(s, 10.0) for name, s in strengths(cells).items()}
    assert cells.score("targets_f1.direct", wide, targets=other) == 0
    assert cells.score("targets_auprc.direct", wide, targets=other) == 1


def test_two_targets_have_the_larger_of_their_strengths(cells):
    truth = replace(cells.truth, perturbations=("control", "A+B", "A", "B", "C"))
    given = {"A": np.array([0.5, -2, 0, 0]), "B": np.array([1, 1, 0, 0.0])}
    found = declared(cells.latents(cells.oracle, truth, targets=given))
    np.testing.assert_array_equal(found, [[1, 2, 0, 0], [0.5, 2, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]])


def test_random_strengths_find_no_more_than_chance(build):
    """Where columns are chosen to agree with the targets, random strengths reach an F1 of about a third."""
    rng = np.random.default_rng(0)
    cells, found = build(seed=5, n_units=200, n_times=1), []
    for _ in range(100):
        guess = {f"P{p}": (rng.random(4) < 0.25).astype(float) for p in range(1, 5)}
        guess["P1"][0] = max(guess["P1"][0], 0.01)
        found.append(cells.score("targets_f1.direct", cells.oracle, targets=guess))
    assert np.mean(found) < 0.32


def test_shifts_of_codes_by_a_loop(cells):
    h = cells.z[:, cells.responsive] * np.array([1, -5, 0.3, 2])
    latents = cells.latents(h)
    found, fit = shifts(latents), ~cells.report
    base = h[fit & (cells.perturbation == 0)]
    for p, j in product(range(1, 5), range(4)):
        parts, sizes = [], []
        for t in np.unique(cells.time):
            own, control = (fit & (cells.perturbation == q) & (cells.time == t) for q in (p, 0))
            parts.append(h[own, j].mean() - h[control, j].mean())
            sizes.append(own.sum())
        assert found[p - 1, j] == pytest.approx(abs(np.average(parts, weights=sizes)) / base[:, j].std(ddof=1))
    reached = cells.truth.reached[1:][:, cells.responsive]
    assert cells.score("targets_auprc.shift", latents) == pytest.approx(average_precision_score(reached.ravel(), found.ravel()))
    direct = cells.truth.targets[1:][:, cells.responsive]
    assert cells.score("targets_auprc.shift_direct", latents) == pytest.approx(
        average_precision_score(direct.ravel(), found.ravel())
    )
    called = found.ravel() >= 0.5 * found.max()
    assert cells.score("targets_f1.shift_direct", latents) == pytest.approx(f1_score(direct.ravel(), called))
    assert cells.score("targets_top1.shift_direct", latents) == 1


def test_shifts_are_of_cells_at_the_same_time(cells):
    """Control cells drift as the others do: where only late perturbed cells are seen, the drift is no effect of theirs."""
    drift = cells.z[:, :4] + 5 * cells.time[:, None]
    kept = (cells.perturbation == 0) | (cells.time == 2)
    part = cells.latents(drift[kept], cells.truth.at(kept))
    part = replace(
        part, report=cells.report[kept], perturbation=cells.perturbation[kept], unit=cells.unit[kept], time=cells.time[kept]
    )
    still = replace(part, encoding=cells.latents(cells.z[kept][:, :4]).encoding)
    sd = [lat.code("all")[(part.perturbation == 0) & ~part.report].std(axis=0, ddof=1) for lat in (part, still)]
    np.testing.assert_allclose(shifts(part) * sd[0], shifts(still) * sd[1])
    # Without a time in common, all cells are compared.
    apart = replace(still, time=np.where(still.perturbation == 0, 0.0, 1.0))
    fit = ~still.report
    means = [still.code("all")[fit & (still.perturbation == p)].mean(axis=0) for p in (0, 1)]
    np.testing.assert_allclose(shifts(apart)[0] * sd[1], np.abs(means[1] - means[0]))


def test_shifts_need_controls_and_live_codes(cells):
    latents = replace(cells.latents(cells.oracle), perturbation=np.maximum(cells.perturbation, 1))
    assert cells.reason("targets_auprc.shift", latents) == "no_controls"
    assert not shifts(cells.latents(np.ones_like(cells.z))).any()
    assert cells.score("targets_f1.shift", np.ones_like(cells.z)) == 0


def test_targets_and_graphs_do_not_look_at_the_reported_half(cells):
    values = np.where(cells.report[:, None], cells.rng.normal(size=cells.z.shape), cells.z)
    other = replace(cells.truth, values=values)
    facts = {"targets": strengths(cells), "graph": summary(cells)}
    names = [*GRAPH, *(f"targets_{s}.{e}" for s in ("auprc", "f1") for e in ("direct", "total", "shift", "shift_direct"))]
    for name in names:
        assert cells.score(name, cells.oracle, truth=other, **facts) == cells.score(name, cells.oracle, **facts), name
