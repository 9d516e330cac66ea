"""Differential-expression metrics against hand-computed values, scipy and scikit-learn, and against the ways to game them."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse, stats
from sklearn.metrics import average_precision_score, roc_auc_score

from pbench.bench.contracts.cell_truth import CellTruth
from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.metric import Comparison
from pbench.bench.contracts.training import Profiles
from pbench.bench.contracts.truth import Truth
from pbench.bench.kernels.extremes import extremes
from pbench.bench.kernels.row_keys import first_occurrences_first, row_keys
from pbench.metrics import expression
from pbench.metrics.expression_calls import predicted_by_cells, representative, true_by_mann_whitney, true_by_welch
from pbench.metrics.expression_case import (
    Case,
    auprc,
    auroc,
    count_ratio,
    f1,
    jaccard,
    lfc_spearman,
    overlap,
    precision,
    ranking_precision,
    recall,
    sign_agreement,
)
from pbench.metrics.gene_ranking import area_under_roc, average_precision, top_share

METRICS = {m.id: m for m in expression.METRICS}
#: Needs the order of differential genes, which the truths here leave out; it has tests of its own.
TOP = "de_top.k20@all~ctrl#welch"
CELLS = [name for name in METRICS if name.endswith("#cells")]
RANKINGS = [name for name in METRICS if name.endswith(("#score", "#welch")) and name != TOP]


def profiles_of(conditions, cells):
    mean = np.stack([c.mean(axis=0, dtype=np.float64) for c in cells]).astype(np.float32)
    var = np.stack([c.var(axis=0, ddof=1, dtype=np.float64) if len(c) > 1 else np.zeros(c.shape[1]) for c in cells])
    return Profiles(tuple(conditions), mean, var.astype(np.float32), np.array([len(c) for c in cells]))


def truth_of(cells, controls, *, targets=None, contexts=None, genes=None):
    """A Truth of dense cells by condition and of control cells by context, tests by a loop over scipy."""
    n, n_genes = len(cells), cells[0].shape[1]
    contexts = contexts or [None] * n
    conditions = [Condition((f"P{i:03d}",), context=c) for i, c in enumerate(contexts)]
    names = list(dict.fromkeys(contexts))
    control_profiles = profiles_of([Condition(context=c) for c in names], controls)
    rows = [names.index(c) for c in contexts]
    p, auc = np.full((n, n_genes), np.nan), np.full((n, n_genes), np.nan, dtype=np.float32)
    for i in range(n):
        for g in range(n_genes):
            a, b = cells[i][:, g].astype(np.float64), controls[rows[i]][:, g].astype(np.float64)
            result = stats.mannwhitneyu(a, b, method="asymptotic")
            auc[i, g] = result.statistic / len(a) / len(b)
            if np.ptp(np.concatenate([a, b])) > 0:
                p[i, g] = result.pvalue
    profiles = profiles_of(conditions, cells)
    ctrl = control_profiles.mean[rows].astype(np.float64)
    nothing = np.zeros((1, n_genes), dtype=np.float32)
    cell_truth = CellTruth(
        load=lambda i: sparse.csr_matrix(cells[i]),
        load_controls=lambda r: sparse.csr_matrix(controls[r]),
        p=p,
        auc=auc,
        pca_mean=nothing[0],
        pca_components=nothing,
        bandwidth=1.0,
        coordinates=lambda i: np.zeros((len(cells[i]), 1), dtype=np.float32),
    )
    return Truth(
        genes=np.array([f"gene{g:03d}" for g in range(n_genes)]) if genes is None else genes,
        profiles=profiles,
        controls=control_profiles,
        references={"ctrl": ctrl, "pert": ctrl, "loo": ctrl},
        de_order=np.zeros((n, 0), dtype=np.int64),
        target_genes=targets or ((),) * n,
        halves=(profiles, profiles),
        cells=cell_truth,
    )


def screen(seed=0, n=5, n_cells=40, n_controls=120, n_genes=60, effect=1.5):
    """Zero-inflated cells; condition i shifts 4 i genes, so that the first has no effect. Genes 0 and 1 are constant."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(2.0, 0.7, n_genes)

    def draw(size, shift):
        X = np.log1p(rng.poisson(rate * np.exp(shift), (size, n_genes))).astype(np.float32)
        X[:, 0], X[:, 1] = 0.0, 1.5
        return X

    cells = []
    for i in range(n):
        shift = np.zeros(n_genes)
        moved = rng.choice(np.arange(2, n_genes), min(4 * i, n_genes - 2), replace=False)
        shift[moved] = rng.choice([-effect, effect], len(moved))
        cells.append(draw(n_cells, shift))
    return cells, [draw(n_controls, 0.0)]


def compare(truth, predicted_cells=None, predicted=None):
    """A Comparison of predicted cells by row, whose means are the predicted means unless others are given."""
    if predicted is None:
        predicted = np.full(truth.profiles.mean.shape, np.nan)
        for i, c in predicted_cells.items():
            mean = np.asarray(c.mean(axis=0, dtype=np.float64)).ravel()
            predicted[i] = mean.astype(np.float32)
    return Comparison(truth, predicted, cells=predicted_cells or {})


def case(positive, called, change, guess, true_rank=None, rank=None, evidence=None):
    change, guess = np.array(change, dtype=float), np.array(guess, dtype=float)
    true_rank, rank = (np.abs(v) if r is None else np.array(r, float) for v, r in ((change, true_rank), (guess, rank)))
    evidence = rank if evidence is None else np.array(evidence, dtype=float)
    return Case(np.array(positive, dtype=bool), np.array(called, dtype=bool), change, guess, true_rank, rank, evidence)


# Six genes; S = {0, 1, 2}, called = {0, 2, 3, 4}.
SIX = case([1, 1, 1, 0, 0, 0], [1, 0, 1, 1, 1, 0], [3, -2, 1, 0.5, 0, 0], [1, -4, -2, 3, 0.5, 0])


def test_hand_computed_sets():
    assert precision(SIX) == 2 / 4 and recall(SIX) == 2 / 3 and f1(SIX) == 4 / 7 and count_ratio(SIX) == 4 / 3
    # The called genes by |guess| are 3 (3), 2 (2), 0 (1), 4 (0.5): the first three hold 2 and 0.
    assert overlap(SIX) == 2 / 3
    # The first two of S are 0 and 1, of the called 3 and 2: nothing shared.
    assert overlap(SIX, k=2) == 0 and jaccard(SIX, k=2) == 0
    assert overlap(SIX, k=50) == 2 / 3 and jaccard(SIX, k=20) == 2 / 4
    assert precision(SIX, k=2) == 1 / 2 and precision(SIX, k=50) == 2 / 4
    # A ranking of all genes: 1, 3, 2, 0, ...; the first three hold 1 and 2.
    assert ranking_precision(SIX, k=50) == 2 / 3 and ranking_precision(SIX, k=1) == 1


def test_hand_computed_direction_and_order():
    # Gene 0 up and up, 1 down and down, 2 up and down.
    assert sign_agreement(SIX) == 2 / 3
    # True ranks 3, 1, 2; predicted ranks 3, 1, 2.
    assert lfc_spearman(SIX) == 1.0
    silent = case([1, 1, 1, 1], [1] * 4, [1, -1, 2, 0], [0, -1, -1, 1])
    assert sign_agreement(silent) == (0.5 + 1 + 0) / 3
    assert sign_agreement(case([1, 0], [1, 1], [0, 1], [1, 1])) == "zero_variance"
    assert lfc_spearman(case([1, 1, 1], [1] * 3, [1, 2, 3], [2, 2, 2])) == "zero_variance"
    assert lfc_spearman(case([1, 1, 0], [1] * 3, [1, 2, 3], [1, 2, 3])) == "too_few_genes"
    ties = case([1] * 4, [1] * 4, [1, 1, 2, 3], [0, 1, 1, 2])
    assert lfc_spearman(ties) == pytest.approx(stats.spearmanr([1, 1, 2, 3], [0, 1, 1, 2]).statistic)


def test_hand_computed_areas():
    # Evidence 4 (1 of 1 positive), 3 (1 of 2), 2 (2 of 4 with a tie of a positive and a negative).
    tied = case([1, 0, 1, 0, 0], [1] * 5, [0] * 5, [0] * 5, evidence=[4, 3, 2, 2, 0])
    assert auprc(tied) == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)
    # Pairs: 4 beats 3, 2, 0; 2 loses to 3, ties 2, beats 0.
    assert auroc(tied) == (3 + 0 + 0.5 + 1) / 6
    everything = case([1, 1], [1, 1], [1, 1], [1, 1])
    assert auprc(everything) == auroc(everything) == "single_class"


def test_nothing_called():
    silent = case([1, 1, 0], [0, 0, 0], [1, 2, 0], [1, 1, 1])
    assert (precision(silent), precision(silent, k=50)) == ("none_called", "none_called")
    assert (recall(silent), f1(silent), overlap(silent), jaccard(silent, k=20), count_ratio(silent)) == (0, 0, 0, 0, 0)


def test_everything_called():
    loud = case([1, 0, 0, 0], [1] * 4, [1, 0, 0, 0], [1, 2, 3, 4])
    assert (precision(loud), precision(loud, k=2), recall(loud), overlap(loud)) == (0.25, 0, 1, 0)


def test_ties_count_their_expectation():
    assert top_share(np.array([1.0, 1, 1, 0]), 2).tolist() == [2 / 3, 2 / 3, 2 / 3, 0]
    assert top_share(np.array([1.0, -np.inf]), 5).tolist() == [1, 0] and top_share(np.array([-np.inf]), 1).tolist() == [0]
    # All predicted changes equal: two of the four genes at random, one of which is in S on average.
    constant = case([1, 1, 0, 0], [1] * 4, [1, 2, 0, 0], [1, 1, 1, 1])
    assert (overlap(constant), ranking_precision(constant, k=50), auroc(constant), auprc(constant)) == (0.5, 0.5, 0.5, 0.5)
    # Two genes of S tie for the first place, and either is right.
    assert overlap(case([1, 1, 0], [1] * 3, [1, -1, 0], [1, 0, 0]), k=1) == 1


small = st.integers(2, 12).flatmap(
    lambda g: st.tuples(arrays(bool, g), arrays(np.float64, g, elements=st.sampled_from([0.0, 0.5, 1.0, 3.0])))
)


@given(small)
def test_areas_equal_scikit_learn(drawn):
    positive, values = drawn
    if positive.any():
        assert average_precision(positive, values) == pytest.approx(average_precision_score(positive, values))
    if positive.any() and not positive.all():
        assert area_under_roc(positive, values) == pytest.approx(roc_auc_score(positive, values))
    else:
        assert np.isnan(area_under_roc(positive, values))


@given(small, st.integers(0, 14))
def test_shares_are_those_of_random_tie_breaks(drawn, k):
    _, values = drawn
    share = top_share(values, k)
    assert share.sum() == pytest.approx(min(k, len(values)))
    # Averaged over all rotations within the listing of the genes, a stable sort breaks ties evenly.
    found = np.zeros(len(values))
    for shift in range(len(values)):
        for direction in (1, -1):
            listing = np.roll(np.arange(len(values)), shift)[::direction]
            found[listing[np.argsort(-values[listing], kind="stable")[:k]]] += 1
    np.testing.assert_array_equal(share > 0, found > 0)
    np.testing.assert_array_equal(share == 1, found == 2 * len(values))


def naive(truth, predicted_cells, predicted, i):
    """Every value of condition i with sets and loops, scipy and scikit-learn; no ties and no more cells than the truth."""
    genes = [g for g in range(len(truth.genes)) if g not in truth.target_genes[i]]
    control = truth.cells.load_controls(truth.control_rows[i]).toarray().astype(np.float64)

    def called(p):
        tested = [g for g in genes if not np.isnan(p[g])]
        adjusted = stats.false_discovery_control([p[g] for g in tested])
        return {g for g, q in zip(tested, adjusted, strict=True) if q < 0.05}

    true = called(truth.cells.p[i])
    delta = truth.profiles.mean[i].astype(np.float64) - control.astype(np.float32).mean(axis=0, dtype=np.float64)
    guess = predicted[i] - control.astype(np.float32).mean(axis=0, dtype=np.float64)
    sd = control.std(axis=0, ddof=1)
    sd = np.where(sd > 0, sd, sd[sd > 0].min())
    cells = predicted_cells[i].astype(np.float64)
    p = np.ones(len(truth.genes))
    for g in genes:
        both = np.concatenate([cells[:, g], control[:, g]])
        right = (truth.cells.load(i).toarray()[:, g] == cells[0, g]).all()
        if np.ptp(both) == 0 and right:
            p[g] = np.nan
        elif np.ptp(cells[:, g]) > 0 or right:
            p[g] = stats.mannwhitneyu(cells[:, g], control[:, g], method="asymptotic").pvalue
    found = called(p)

    def top(among, values, k):
        return set(sorted(among, key=lambda g: -abs(values[g]))[:k])

    labels = [g in true for g in genes]
    n = len(true)
    k50, k20 = min(50, n), min(20, n)
    score = guess / sd
    evidence = [0.0 if np.isnan(p[g]) else -np.log10(p[g]) for g in genes]
    a20, b20, c20 = top(true, delta, k20), top(found, guess, k20), top(genes, score, k20)
    s20 = top(true, delta / sd, k20)
    return {
        "de_overlap.n@all~ctrl#cells": len(true & top(found, guess, n)) / n,
        "de_overlap.n@all~ctrl#score": len(true & top(genes, score, n)) / n,
        "de_overlap.k50@all~ctrl#cells": len(top(true, delta, k50) & top(found, guess, k50)) / k50,
        "de_overlap.k50@all~ctrl#score": len(top(true, delta / sd, k50) & top(genes, score, k50)) / k50,
        "de_jaccard.k20@all~ctrl#cells": len(a20 & b20) / len(a20 | b20),
        "de_jaccard.k20@all~ctrl#score": len(s20 & c20) / len(s20 | c20),
        "de_precision.k50@all~ctrl#cells": len(true & top(found, guess, 50)) / min(50, len(found)),
        "de_precision.k50@all~ctrl#score": len(true & top(genes, score, k50)) / k50,
        "de_precision@all~ctrl#cells": len(true & found) / len(found),
        "de_recall@all~ctrl#cells": len(true & found) / n,
        "de_f1@all~ctrl#cells": 2 * len(true & found) / (n + len(found)),
        "de_auprc@all~ctrl#cells": average_precision_score(labels, evidence),
        "de_auprc@all~ctrl#score": average_precision_score(labels, [abs(score[g]) for g in genes]),
        "de_auroc@all~ctrl#cells": roc_auc_score(labels, evidence),
        "de_auroc@all~ctrl#score": roc_auc_score(labels, [abs(score[g]) for g in genes]),
        "de_count_ratio@all~ctrl#cells": len(found) / n,
        "de_sign_agreement@deg~ctrl": np.mean([np.sign(delta[g]) == np.sign(guess[g]) for g in true]),
        "de_lfc_spearman@deg~ctrl": stats.spearmanr(*([v[g] for g in sorted(true)] for v in (delta, guess))).statistic,
    }


def noisy_prediction(seed=1):
    cells, controls = screen()
    rng = np.random.default_rng(seed)
    targets = ((3,), (), (5, 9), (7,), ())
    truth = truth_of(cells, controls, targets=targets)
    guesses = {
        i: (np.maximum(np.roll(c, 2, axis=1) * 0.3 + c * 0.7 + rng.normal(0, 0.3, c.shape), 0)).astype(np.float32)[:35]
        for i, c in enumerate(cells)
    }
    for c in guesses.values():
        c[:, 10] = 0.7
    return truth, guesses


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_every_value_equals_a_naive_computation(form):
    truth, guesses = noisy_prediction()
    comparison = compare(truth, {i: form(c) for i, c in guesses.items()})
    values = {name: METRICS[name](comparison) for name in METRICS}
    tried = set()
    for i in range(1, 5):
        for name, expected in naive(truth, guesses, comparison.predicted, i).items():
            assert values[name].value[i] == pytest.approx(expected, abs=1e-9), (name, i)
            tried.add(name)
    welch_and_dataset = {n for n in METRICS if n.endswith("#welch")} | {"de_count_spearman@all~ctrl#cells"}
    assert tried == set(METRICS) - welch_and_dataset


def test_number_of_genes_over_conditions():
    truth, guesses = noisy_prediction()
    comparison = compare(truth, guesses)
    true, found = (m.sum(axis=1) for m in (true_by_mann_whitney(truth), predicted_by_cells(comparison).significant))
    values = METRICS["de_count_spearman@all~ctrl#cells"](comparison)
    assert values.value.shape == (1,) and values.value[0] == pytest.approx(stats.spearmanr(true, found).statistic)
    few = METRICS["de_count_spearman@all~ctrl#cells"](compare(truth, {0: guesses[0], 1: guesses[1]}))
    assert np.isnan(few.value[0]) and few.reason[0] == "too_few_conditions"
    same = METRICS["de_count_spearman@all~ctrl#cells"](compare(truth, dict.fromkeys(guesses, guesses[2])))
    assert np.isnan(same.value[0]) == (
        len(set(predicted_by_cells(compare(truth, dict.fromkeys(guesses, guesses[2]))).significant.sum(1))) == 1
    )


def test_truth_by_welch_equals_scipy():
    cells, controls = screen()
    truth = truth_of(cells, controls, targets=((3,), (), (), (), ()))
    for i, row in enumerate(true_by_welch(truth)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of constant genes
            p = stats.ttest_ind(cells[i].astype(np.float64), controls[0].astype(np.float64), equal_var=False).pvalue
        tested = [g for g in range(len(p)) if g not in truth.target_genes[i] and g not in (0, 1)]
        q = stats.false_discovery_control(p[tested])
        assert set(np.flatnonzero(row)) == {g for g, v in zip(tested, q, strict=True) if v < 0.05}
    values = METRICS["de_auprc@all~ctrl#welch"](compare(truth, predicted=truth.profiles.mean.astype(np.float64)))
    sd = np.sqrt(truth.controls.var[0].astype(np.float64))
    score = np.abs(truth.profiles.mean[4] - truth.references["ctrl"][4])[2:] / sd[2:]
    assert values.value[4] == pytest.approx(average_precision_score(true_by_welch(truth)[4, 2:], score), abs=1e-6)


def test_welch_needs_no_cells():
    truth = replace(truth_of(*screen()), cells=None)
    comparison = compare(truth, predicted=truth.profiles.mean.astype(np.float64))
    for name, metric in METRICS.items():
        defined = ~np.isnan(metric(comparison).value)
        assert defined.any() == (name.endswith("#welch") and name != TOP), name


@pytest.mark.parametrize("seed", range(3))
def test_the_truths_own_cells_are_perfect_or_undefined_with_a_reason(seed):
    cells, controls = screen(seed)
    cells[2][:, 5] = 0.0  # a gene that the perturbation switches off: no variance, and right
    truth = truth_of(cells, controls, targets=((3,), (), (2,), (), (4,)))
    comparison = compare(truth, {i: sparse.csr_matrix(c) for i, c in enumerate(cells)})
    for name in [*CELLS, "de_sign_agreement@deg~ctrl", "de_lfc_spearman@deg~ctrl"]:
        values = METRICS[name](comparison)
        defined = ~np.isnan(values.value)
        assert defined.sum() >= len(defined) - 2, name
        np.testing.assert_allclose(values.value[defined], METRICS[name].perfect, atol=1e-12, err_msg=name)
        assert set(values.reason[~defined]) <= {"no_deg", "too_few_genes"} and (values.reason[defined] == "").all()


def test_true_means_rank_far_above_chance():
    truth = truth_of(*screen(2, n=4))
    comparison = compare(truth, predicted=truth.profiles.mean.astype(np.float64))
    for name in RANKINGS:
        values = METRICS[name](comparison)
        positive = (true_by_welch if name.endswith("welch") else true_by_mann_whitney)(truth)
        for i in (2, 3):
            assert positive[i].mean() + 0.4 < values.value[i] <= 1, name


def test_no_effect_is_undefined_and_never_zero():
    cells, controls = screen(0, effect=0.0)
    truth = truth_of(cells, controls)
    assert not true_by_mann_whitney(truth).any()
    comparison = compare(truth, dict(enumerate(cells)))
    for name, metric in METRICS.items():
        values = metric(comparison)
        if not name.endswith("#welch"):
            assert np.isnan(values.value).all()
            assert set(values.reason) == {"zero_variance" if metric.level == "dataset" else "no_deg"}, name


def test_constant_cells_are_undefined():
    cells, controls = screen()
    truth = truth_of(cells, controls)
    constant = {i: np.tile(c.mean(axis=0), (len(c), 1)).astype(np.float32) for i, c in enumerate(cells)}
    for name in CELLS:
        values = METRICS[name](compare(truth, constant))
        assert np.isnan(values.value).all()
        assert set(values.reason) == {"too_few_conditions" if METRICS[name].level == "dataset" else "zero_variance"}
    # With the variance of a single gene the others still count as tested and not significant.
    for c in constant.values():
        c[:, 30] += np.linspace(0, 0.1, len(c))
    calls = predicted_by_cells(compare(truth, constant))
    assert (calls.reason == "").all() and calls.significant.sum(axis=1).max() <= 1
    assert METRICS["de_recall@all~ctrl#cells"](compare(truth, constant)).value[4] < 0.2


def test_constant_genes_do_not_ease_the_correction_for_many_tests():
    """With only one of 60 genes free to vary its p-value is still multiplied by the number of genes."""
    rng = np.random.default_rng(0)
    cells, controls = screen(n=2)
    truth = truth_of(cells, controls)
    guess = np.tile(np.arange(60, dtype=np.float32) / 10, (40, 1))
    guess[:, 30] = controls[0][rng.choice(120, 40), 30] + 0.5
    calls = predicted_by_cells(compare(truth, {1: guess}))
    p = 10 ** -calls.evidence[1, 30]
    assert 0.05 / 58 < p < 0.05 and not calls.significant[1].any()


def test_a_constant_prediction_ranks_like_chance():
    truth = truth_of(*screen(n=6))
    positive = true_by_mann_whitney(truth)
    # The same change of every gene in units of its spread: the order of the genes is rounding, and says nothing.
    flat = truth.references["ctrl"] + 0.5 * np.sqrt(truth.controls.var[0].astype(np.float64))
    values = METRICS["de_auroc@all~ctrl#score"](compare(truth, predicted=flat)).value
    assert np.mean(values[2:]) == pytest.approx(0.5, abs=0.1)
    # A prediction of no change ties everywhere, to the last bit.
    silent = compare(truth, predicted=truth.references["ctrl"].copy())
    np.testing.assert_array_equal(METRICS["de_auroc@all~ctrl#score"](silent).value[2:], 0.5)
    np.testing.assert_allclose(METRICS["de_overlap.n@all~ctrl#score"](silent).value[2:], positive[2:].mean(axis=1))
    np.testing.assert_array_equal(METRICS["de_sign_agreement@deg~ctrl"](silent).value[2:], 0.5)


def test_repeated_cells_change_nothing():
    truth, guesses = noisy_prediction()
    expected = {name: METRICS[name](compare(truth, guesses)) for name in CELLS}
    for copies in (2, 5, 40):
        repeated = {i: sparse.csr_matrix(np.tile(c, (copies, 1))) for i, c in guesses.items()}
        for name in CELLS:
            got = METRICS[name](compare(truth, repeated))
            np.testing.assert_array_equal(got.value, expected[name].value, err_msg=name)
            np.testing.assert_array_equal(got.reason, expected[name].reason)


def test_more_cells_call_no_more_genes():
    """A shift of a quarter of the spread, which 40 cells cannot show and 4,000 would."""
    rng = np.random.default_rng(0)
    cells = [rng.normal(2, 1, (40, 60)).astype(np.float32)]
    truth = truth_of(cells, [rng.normal(2, 1, (500, 60)).astype(np.float32)])
    many = rng.normal(2.25, 1, (4000, 60)).astype(np.float32)
    p = stats.mannwhitneyu(many, truth.cells.load_controls(0).toarray()).pvalue
    assert np.mean(stats.false_discovery_control(p) < 0.05) > 0.9
    few, all_of_them = (predicted_by_cells(compare(truth, {0: c})).significant[0].mean() for c in (many[:40], many))
    assert few < 0.2 and all_of_them < 0.2


def test_null_prediction_stays_null_with_more_cells():
    cells, controls = screen(4, n=3, n_controls=400)
    truth = truth_of(cells, [controls[0][:200]])
    calls = predicted_by_cells(compare(truth, dict.fromkeys(range(3), controls[0][200:])))
    assert calls.significant.sum(axis=1).max() <= 1


def test_as_many_copies_as_the_truth_has_are_kept():
    cells, controls = screen(0, n=2)
    cells[0][10:20] = cells[0][:10]
    truth = truth_of(cells, controls)
    assert representative(cells[0], truth, 0).shape[0] == 40
    assert representative(np.tile(cells[0][:10], (4, 1)), truth, 0).shape[0] == 20
    assert representative(np.tile(cells[1][:10], (4, 1)), truth, 1).shape[0] == 10
    assert representative(cells[1][:7], truth, 1).shape[0] == 7


def permuted(truth_cells, controls, targets, guesses, order, rng):
    """The same comparison with genes in another order and cells shuffled."""
    position = np.argsort(order)
    moved = [rng.permutation(c)[:, order] for c in truth_cells]
    truth = truth_of(
        moved,
        [rng.permutation(c)[:, order] for c in controls],
        targets=tuple(tuple(int(position[g]) for g in t) for t in targets),
        genes=np.array([f"gene{g:03d}" for g in order]),
    )
    return truth, {i: rng.permutation(c)[:, order] for i, c in guesses.items()}


def test_order_of_genes_and_cells_changes_nothing():
    rng = np.random.default_rng(0)
    cells, controls = screen()
    targets = ((3,), (), (5, 9), (7,), ())
    guesses = {
        i: np.maximum(np.tile(np.roll(c, 1, 1), (3, 1)) + rng.normal(0, 0.4, (120, 60)), 0).astype(np.float32)
        for i, c in enumerate(cells)
    }
    before = compare(truth_of(cells, controls, targets=targets), guesses)
    after = compare(*permuted(cells, controls, targets, guesses, rng.permutation(60), rng))
    for name, metric in METRICS.items():
        a, b = metric(before), metric(after)
        np.testing.assert_allclose(a.value, b.value, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(a.reason, b.reason)


def test_order_of_conditions_and_other_conditions_change_nothing():
    cells, controls = screen()
    whole = compare(truth_of(cells, controls), dict(enumerate(np.roll(cells, 1, axis=2))))
    calls = predicted_by_cells(whole)
    part = truth_of(cells[:1] + cells[3:], controls)
    part = compare(part, {0: whole.cells[0], 2: whole.cells[4]})
    # Row 2 of the part is named P002 and not P004: the seed differs, and no subsample is drawn.
    np.testing.assert_array_equal(predicted_by_cells(part).significant[[0, 2]], calls.significant[[0, 4]])
    assert predicted_by_cells(part).reason.tolist() == ["", "no_cells", ""]


def test_each_context_has_its_own_controls():
    cells, controls = screen(5, n=4)
    other = controls[0] + 0.5
    both = truth_of(cells, [controls[0], other], contexts=["a", "b", "a", "b"])
    guesses = dict(enumerate(np.roll(cells, 1, axis=2)))
    calls = predicted_by_cells(compare(both, guesses))
    for rows, control in (([0, 2], controls[0]), ([1, 3], other)):
        alone = truth_of([cells[i] for i in rows], [control], contexts=["a", "a"])
        got = predicted_by_cells(compare(alone, dict(enumerate(guesses[i] for i in rows))))
        np.testing.assert_array_equal(calls.significant[rows], got.significant)


def test_absent_and_missing_cells_have_reasons():
    truth, guesses = noisy_prediction()
    predicted = truth.profiles.mean.astype(np.float64)
    predicted[1] = np.nan
    comparison = compare(truth, {1: guesses[1], 2: guesses[2], 3: guesses[3][:0]}, predicted)
    for name in set(CELLS) - {"de_count_spearman@all~ctrl#cells"}:
        values = METRICS[name](comparison)
        assert values.reason[1:].tolist() == ["absent", "", "no_cells", "no_cells"], name
    assert METRICS["de_auprc@all~ctrl#score"](comparison).reason[1:].tolist() == ["absent", "", "", ""]


def test_only_target_genes():
    cells, controls = screen(n=2)
    truth = truth_of(cells, controls, targets=(tuple(range(60)), ()))
    comparison = compare(truth, dict(enumerate(cells)))
    assert METRICS["de_overlap.n@all~ctrl#score"](comparison).reason[0] == "no_deg"
    assert METRICS["de_overlap.n@all~ctrl#cells"](comparison).reason[0] in ("no_deg", "zero_variance")


def test_targets_do_not_count():
    cells, controls = screen(n=2)
    cells[1][:, 40] += 5
    open_truth, closed = truth_of(cells, controls), truth_of(cells, controls, targets=((), (40,)))
    assert true_by_mann_whitney(open_truth)[1, 40] and not true_by_mann_whitney(closed)[1, 40]
    hit = np.repeat(open_truth.references["ctrl"], 1, axis=0)
    hit[:, 40] += 9
    values = [METRICS["de_overlap.k50@all~ctrl#score"](compare(t, predicted=hit.copy())).value[1] for t in (open_truth, closed)]
    assert values[0] > values[1]


def test_predicted_controls_do_not_exist():
    """What a model says of control cells has no way into the calls: they are tested against the truth's controls alone."""
    truth, guesses = noisy_prediction()
    calls = predicted_by_cells(compare(truth, guesses))
    p = stats.mannwhitneyu(guesses[4][:, 20].astype(float), truth.cells.load_controls(0).toarray()[:, 20].astype(float)).pvalue
    assert calls.evidence[4, 20] == pytest.approx(-np.log10(p))


def test_underflowing_p_values_keep_their_order():
    n = 4000
    controls = [np.stack([np.arange(n), np.arange(n), np.arange(n)], axis=1).astype(np.float32)]
    cells = [np.stack([np.arange(n) + 0.5, np.arange(n) + 4 * n + 0.5, np.arange(n) + 0.97 * n], axis=1).astype(np.float32)]
    evidence = predicted_by_cells(compare(truth_of(cells, controls), dict(enumerate(cells)))).evidence[0]
    assert evidence[0] < 1 and 400 < evidence[2] < evidence[1]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_values_stay_in_their_range(seed):
    rng = np.random.default_rng(seed)
    cells, controls = screen(seed, n=3, n_cells=15, n_controls=30, n_genes=25)
    truth = truth_of(cells, controls, targets=((2,), (), (3, 4)))
    guesses = {i: np.round(rng.gamma(1, 1, (rng.integers(2, 40), 25)), 1).astype(np.float32) for i in range(3)}
    for metric in METRICS.values():
        values = metric(compare(truth, guesses))
        defined = values.value[~np.isnan(values.value)]
        assert ((defined >= metric.lower) & (defined <= metric.upper)).all()
        assert ((values.reason == "") == ~np.isnan(values.value)).all()


def test_row_keys_know_content_and_not_place():
    rng = np.random.default_rng(0)
    X = (rng.gamma(1, 1, (50, 20)) * (rng.random((50, 20)) < 0.4)).astype(np.float32)
    X[7] = X[3]
    genes = rng.integers(0, 2**63, 20).astype(np.uint64)
    keys = row_keys(X, genes)
    assert len(set(keys.tolist())) == 49 and keys[7] == keys[3]
    order, columns = rng.permutation(50), rng.permutation(20)
    np.testing.assert_array_equal(row_keys(X[np.ix_(order, columns)], genes[columns]), keys[order])
    with_zeros = sparse.csr_matrix(X)
    with_zeros.data[:5] = 0.0
    np.testing.assert_array_equal(row_keys(with_zeros, genes), row_keys(with_zeros.toarray(), genes))
    np.testing.assert_array_equal(row_keys(sparse.csr_matrix(X), genes), keys)
    assert row_keys(np.zeros((1, 20), dtype=np.float32), genes)[0] == row_keys(np.full((1, 20), -0.0), genes)[0]
    first, different = first_occurrences_first(keys)
    assert different == 49 and {int(first[-1])} <= {3, 7} and len(set(keys[first[:49]].tolist())) == 49


@given(arrays(np.float32, (3, 4), elements=st.sampled_from([-1.0, 0.0, 2.0])))
@settings(deadline=None)
def test_extremes_equal_numpy(X):
    for form in (X, sparse.csr_matrix(X), sparse.csc_matrix(X)):
        np.testing.assert_array_equal(extremes(form), (X.min(axis=0), X.max(axis=0)))


def test_subsample_of_a_condition_has_no_pattern():
    """Each predicted cell is as likely as any other to be tested: chosen by hash, not by size or position."""
    rng = np.random.default_rng(0)
    cells, controls = screen(n=1)
    truth = truth_of(cells, controls)
    many = rng.gamma(1, 1, (4000, 60)).astype(np.float32)
    chosen = representative(many, truth, 0)
    assert chosen.shape == (40, 60)
    means = [representative(many[np.arange(s, 4000, 8)], truth, 0).mean() for s in range(8)]
    assert np.mean(means) == pytest.approx(many.mean(), abs=4 * many.std() / np.sqrt(8 * 40 * 60))


def test_facts():
    names = list(METRICS)
    assert len(names) == len(expression.METRICS) == len(set(names))
    for metric in METRICS.values():
        assert metric.summary.endswith(".") and metric.reference and metric.caveats
        assert not {"|", "\n"} & set(metric.summary + metric.caveats + metric.reference)
        assert pickle.loads(pickle.dumps(metric)).id == metric.id
        assert ("cells" in metric.needs) == metric.id.endswith("#cells")


def ordered(truth):
    """The truth with its differential genes in order, as the engine gives it."""
    from pbench.bench.engine.assemble import de_order

    return replace(truth, de_order=de_order(truth.profiles, truth.controls, truth.control_rows, truth.target_genes))


def test_top_genes_against_a_loop():
    """Of the genes that Welch's t puts first, how many come first by the t that the predicted means would have."""
    rng = np.random.default_rng(8)
    truth = ordered(truth_of(*screen(effect=1.0)))
    n, n_genes = truth.profiles.mean.shape
    predicted = truth.profiles.mean + rng.normal(0, 0.3, (n, n_genes))
    values = METRICS[TOP](Comparison(truth, predicted))
    a, b, rows = truth.profiles, truth.controls, truth.control_rows
    for i in range(n):
        own = np.setdiff1d(np.arange(n_genes), truth.target_genes[i])
        if len(own) < 20 or (truth.de_order[i, :20] < 0).any():
            assert values.reason[i] == "too_few_genes"
            continue
        se = np.sqrt(a.var[i] / a.n_cells[i] + b.var[rows[i]] / b.n_cells[rows[i]])[own]
        silent = (se == 0) & (a.mean[i] == b.mean[rows[i]])[own]
        t = np.abs(predicted[i] - b.mean[rows[i]])[own] / np.where(silent, np.inf, se)
        first = set(own[np.argsort(-t, kind="stable")[:20]].tolist())
        assert values.value[i] == pytest.approx(len(first & set(truth.de_order[i, :20].tolist())) / 20)
    perfect = METRICS[TOP](Comparison(truth, truth.profiles.mean.astype(np.float64)))
    assert (perfect.value == 1).all()
    nothing = METRICS[TOP](Comparison(truth, np.repeat(truth.controls.mean.astype(np.float64), n, axis=0)))
    assert set(nothing.reason) == {"zero_variance"}


def test_a_gene_that_nobody_expresses_is_no_evidence_for_a_dense_prediction():
    """A billionth in silent genes once took every first place, since a difference without variance has p = 0."""
    truth = truth_of(*screen())
    truth, silent = ordered(truth), 40
    wide = lambda m: np.concatenate([m, np.zeros((len(m), silent), m.dtype)], axis=1)  # noqa: E731
    padded = replace(
        truth,
        genes=np.array([f"g{i:04d}" for i in range(len(truth.genes) + silent)]),
        profiles=replace(truth.profiles, mean=wide(truth.profiles.mean), var=wide(truth.profiles.var)),
        controls=replace(truth.controls, mean=wide(truth.controls.mean), var=wide(truth.controls.var)),
        references={k: wide(np.asarray(v)) for k, v in truth.references.items()},
        cells=None,
    )
    exact = padded.profiles.mean.astype(np.float64)
    dense = exact + np.where(np.arange(exact.shape[1]) >= len(truth.genes), 1e-9, 0.0)
    for name in ("de_overlap.n@all~ctrl#welch", "de_auprc@all~ctrl#welch", "de_top.k20@all~ctrl#welch"):
        a, b = (METRICS[name](Comparison(padded, m)).value for m in (exact, dense))
        np.testing.assert_array_equal(a, b, err_msg=name)
