"""Genetic interactions of doubles against hand-computed values, loops over genes and doubles, and scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.metric import Comparison
from pbench.bench.contracts.training import Profiles
from pbench.bench.kernels.detection import tp_fdp_curve
from pbench.bench.kernels.interaction import expressed_genes, interaction_scores
from pbench.metrics.doubles import doubles, null
from pbench.metrics.interaction import METRICS, RANKED, curve

CATALOGUE = {m.id: m for m in METRICS}
SET = "@expressed1000~ctrl"
REASONS = {"absent", "not_a_double", "no_singles", "zero_variance", "too_few_genes", "too_few_conditions", "single_class"}
few = settings(max_examples=15, deadline=None)
shapes = st.tuples(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from([1, 3, 30, 120]))


def run(name, truth, predicted):
    return CATALOGUE[name](Comparison(truth, np.asarray(predicted, dtype=np.float64)))


def everything(truth, predicted):
    comparison = Comparison(truth, np.asarray(predicted, dtype=np.float64))
    return {name: metric(comparison) for name, metric in CATALOGUE.items()}


@pytest.fixture(scope="module")
def screen(make_truth):
    """All doubles and some singles of a few targets: the sum of single changes, and an interaction in a tenth of the genes."""

    def build(seed, n_targets=6, n_genes=120, interaction=1.0):
        rng = np.random.default_rng(seed)
        control = rng.gamma(2.0, size=n_genes) + 0.5
        single = {f"P{k}": (0.3 * rng.normal(size=n_genes)).astype(np.float32) for k in range(n_targets)}
        pairs = list(combinations(single, 2))
        conditions = (*(Condition((t,)) for t in list(single)[:2]), *(Condition(p) for p in pairs))
        shift = [single[c.targets[0]] if len(c.targets) == 1 else single[c.targets[0]] + single[c.targets[1]] for c in conditions]
        extra = rng.normal(size=(len(conditions), n_genes)) * (rng.random((len(conditions), n_genes)) < 0.1)
        mean = control + np.array(shift) + 0.03 * rng.normal(size=extra.shape)
        mean[2:] += interaction * extra[2:]
        targets = tuple(tuple(int(t[1:]) for t in c.targets if int(t[1:]) < n_genes) for c in conditions)
        truth = make_truth(mean, control, conditions=conditions, targets=targets)
        singles = tuple(np.array([single[t] for t in c.targets]) if len(c.targets) == 2 else None for c in conditions)
        return replace(truth, single_shifts=singles), rng

    return build


def additive(truth):
    """Control plus the true single changes, in float32 as models predict."""
    rows = [
        truth.references["ctrl"][i] + (0 if s is None else s.astype(np.float64).sum(axis=0))
        for i, s in enumerate(truth.single_shifts)
    ]
    return np.array(rows).astype(np.float32)


def test_three_doubles_of_three_genes_by_hand(make_truth):
    conditions = tuple(Condition(p) for p in (("A", "B"), ("A", "C"), ("B", "C")))
    # Changes of A, B and C are (1, 0, 0), (0, 1, 0), (0, 0, 1); true residuals (1, 2, 3), (0, 0, 1) and (1, -1, 0).
    single = {"A": [1, 0, 0], "B": [0, 1, 0], "C": [0, 0, 1]}
    control = np.full(3, 4.0)
    truth = make_truth(control + [[2, 3, 3], [1, 0, 2], [1, 0, 1]], control, conditions=conditions)
    truth = replace(truth, single_shifts=tuple(np.array([single[t] for t in c.targets], dtype=float) for c in conditions))
    # Predicted residuals (2, 4, 6), (1, 1, 0) and (0, 1, 2).
    predicted = control + [[3, 5, 6], [2, 1, 1], [0, 2, 3]]
    values = run("gi_residual_pearson@all~ctrl", truth, predicted)
    # The third: (1, -1, 0) . (-1, 0, 1) / 2.
    np.testing.assert_allclose(values.value, [1, -1, -0.5])
    assert run(f"gi_auprc{SET}", truth, predicted).reason.tolist() == ["too_few_genes"]
    # Solutions of two genes each: the truth of (A, B) has c = (2, 3), its prediction (3, 5), on the genes A and B.
    np.testing.assert_allclose(
        run(f"gi_magnitude_error{SET}", truth, predicted).value[0], np.hypot(3, 5) - np.hypot(2, 3), rtol=1e-6
    )
    np.testing.assert_allclose(
        run(f"gi_dominance_error{SET}", truth, predicted).value[0], abs(np.log10(5 / 3) - np.log10(3 / 2)), rtol=1e-6
    )


def test_pooled_metrics_are_those_of_a_loop_and_of_scikit_learn(screen):
    truth, rng = screen(0)
    predicted = truth.profiles.mean + 0.3 * rng.normal(size=truth.profiles.mean.shape)
    values = everything(truth, predicted)
    cut = null(truth)
    actual, guess, additive_sum, true_double, guess_double = [], [], [], [], []
    for i, condition in enumerate(truth.conditions):
        if len(condition.targets) < 2:
            continue
        for g in range(predicted.shape[1]):
            if g in truth.target_genes[i]:
                continue
            r, (a, b) = truth.references["ctrl"][i, g], truth.single_shifts[i][:, g].astype(np.float64)
            additive_sum.append(a + b)
            true_double.append(truth.profiles.mean[i, g].astype(np.float64) - r)
            guess_double.append(predicted[i, g] - r)
            actual.append(true_double[-1] - a - b)
            guess.append(guess_double[-1] - a - b)
    actual, guess, additive_sum, true_double, guess_double = map(
        np.array, (actual, guess, additive_sum, true_double, guess_double)
    )
    for tail, scores, positive in (
        ("", abs(guess), abs(actual) >= cut.size),
        (".upper", guess, actual >= cut.upper),
        (".lower", -guess, actual <= cut.lower),
    ):
        assert 20 < positive.sum() < len(positive) / 4
        assert values[f"gi_auprc{tail}{SET}"].value[0] == pytest.approx(sklearn.average_precision_score(positive, scores))
        assert values[f"gi_auroc{tail}{SET}"].value[0] == pytest.approx(sklearn.roc_auc_score(positive, scores))
    positive = abs(actual) >= cut.size
    order = np.argsort(-abs(guess))
    true, called = np.cumsum(positive[order]), np.arange(1, len(order) + 1)
    within = 1 - true / called <= 0.2
    assert values[f"gi_recall.fdp20{SET}"].value[0] == pytest.approx(max(true[within], default=0) / positive.sum())
    grid = np.linspace(0, 1, 20_001)
    best = [max(true[1 - true / called <= at], default=0) / positive.sum() for at in grid]
    assert values[f"gi_tp_fdp_area{SET}"].value[0] == pytest.approx(np.mean(best), abs=1e-3)

    def kind(double, expected):
        return "opposite" if double * expected < 0 else "buffering" if abs(double) < abs(expected) else "synergistic"

    hits = {"opposite": [], "buffering": [], "synergistic": []}
    for k in np.flatnonzero(positive):
        own = kind(true_double[k], additive_sum[k])
        hits[own].append(kind(guess_double[k], additive_sum[k]) == own)
    assert all(hits.values())
    assert values[f"gi_class_agreement{SET}"].value[0] == pytest.approx(np.mean([np.mean(h) for h in hits.values()]))


def test_the_curve_can_be_drawn(screen):
    truth, rng = screen(1)
    comparison = Comparison(truth, truth.profiles.mean + 0.3 * rng.normal(size=truth.profiles.mean.shape))
    for tail in ("both", "upper", "lower"):
        proportion, share = curve(comparison, tail)
        assert proportion[0] == 0 and share[-1] == 1
    steps = curve(comparison)
    area = np.sum(np.diff(steps[0], append=1) * steps[1])
    assert area == pytest.approx(CATALOGUE[f"gi_tp_fdp_area{SET}"](comparison).value[0])
    assert curve(Comparison(screen(1, n_genes=3)[0], np.zeros((17, 3))))[0].size == 0


def test_scores_are_those_of_the_kernel_over_the_chosen_genes(screen):
    truth, rng = screen(2)
    predicted = truth.profiles.mean + 0.2 * rng.normal(size=truth.profiles.mean.shape)
    values = everything(truth, predicted)
    both = {}
    for i in range(2, len(truth.conditions)):
        genes = expressed_genes(truth.references["ctrl"][i], truth.target_genes[i])
        first, second = truth.single_shifts[i][:, genes].astype(np.float64)
        both[i] = [
            interaction_scores(first, second, (profile[i].astype(np.float64) - truth.references["ctrl"][i])[genes])
            for profile in (truth.profiles.mean, predicted)
        ]
    for score in ("magnitude", "dominance", "model_fit", "similarity", "equality"):
        true, guess = (np.array([getattr(s[side], score) for s in both.values()]) for side in (0, 1))
        np.testing.assert_allclose(values[f"gi_{score}_error{SET}"].value[2:], abs(true - guess), rtol=1e-6)
        if score == "magnitude":
            assert values[f"gi_magnitude_pearson{SET}"].value[0] == pytest.approx(stats.pearsonr(true, guess).statistic)
            assert values[f"gi_magnitude_spearman{SET}"].value[0] == pytest.approx(stats.spearmanr(true, guess).statistic)
    shares = []
    for name, (score, sign) in RANKED.items():
        true, guess = (np.array([sign * getattr(s[side], score) for s in both.values()]) for side in (0, 1))
        shares.append(len(set(np.argsort(-true)[:10]) & set(np.argsort(-guess)[:10])) / 10)
        assert values[f"gi_precision.k10_{name}{SET}"].value[0] == pytest.approx(shares[-1])
    assert values[f"gi_precision.k10{SET}"].value[0] == pytest.approx(np.mean(shares))


def test_only_the_genes_that_controls_express_most_are_pooled(screen):
    truth, rng = screen(3, n_targets=3, n_genes=1100)
    chosen = doubles(truth).expressed
    for row, i in enumerate(doubles(truth).rows):
        best = np.argsort(-truth.references["ctrl"][i])[:1000]
        assert set(np.flatnonzero(chosen[row])) == set(best) - set(truth.target_genes[i])
    predicted = truth.profiles.mean + 0.3 * rng.normal(size=truth.profiles.mean.shape)
    changed = predicted.copy()
    changed[2:][~chosen] += rng.normal(size=(~chosen).sum())
    before, after = everything(truth, predicted), everything(truth, changed)
    for name in CATALOGUE:
        if name != "gi_residual_pearson@all~ctrl":
            np.testing.assert_array_equal(before[name].value, after[name].value, err_msg=name)


def test_target_genes_do_not_count(screen):
    truth, rng = screen(4)
    predicted = truth.profiles.mean + 0.3 * rng.normal(size=truth.profiles.mean.shape)
    changed = predicted.copy()
    for i, own in enumerate(truth.target_genes):
        changed[i, list(own)] += 5
    before, after = everything(truth, predicted), everything(truth, changed)
    for name in CATALOGUE:
        np.testing.assert_array_equal(before[name].value, after[name].value, err_msg=name)


def test_an_additive_prediction_is_chance_or_undefined(screen):
    """Rounded to float32, as a model would give it: rounding is no ranking."""
    truth, _ = screen(5)
    values = everything(truth, additive(truth))
    prevalence = {}
    cut, true = null(truth), doubles(truth)
    residual = true.residual[true.expressed]
    prevalence[".upper"], prevalence[".lower"] = np.mean(residual >= cut.upper), np.mean(residual <= cut.lower)
    prevalence[""] = np.mean(np.abs(residual) >= cut.size)
    for tail, share in prevalence.items():
        assert values[f"gi_auprc{tail}{SET}"].value[0] == pytest.approx(share, rel=1e-12)
        assert values[f"gi_auroc{tail}{SET}"].value[0] == 0.5
    assert values[f"gi_tp_fdp_area{SET}"].value[0] == pytest.approx(prevalence[""])
    assert values[f"gi_recall.fdp20{SET}"].value[0] == 0
    assert values[f"gi_class_agreement{SET}"].value[0] == 0
    assert values["gi_residual_pearson@all~ctrl"].reason.tolist() == ["not_a_double"] * 2 + ["zero_variance"] * 15
    for kind in ("pearson", "spearman"):
        assert values[f"gi_magnitude_{kind}{SET}"].reason.tolist() == ["zero_variance"]
    # All magnitudes are the square root of two, so any ten of fifteen are as good.
    for name in ("synergy", "suppressor", "neomorphic"):
        assert values[f"gi_precision.k10_{name}{SET}"].value[0] == pytest.approx(10 / 15)


def test_no_change_calls_everything_buffering(screen):
    truth, _ = screen(6)
    values = everything(truth, truth.references["ctrl"].astype(np.float32))
    assert values[f"gi_class_agreement{SET}"].value[0] == pytest.approx(1 / 3)
    assert values[f"gi_auprc{SET}"].value[0] > 0
    assert (values["gi_residual_pearson@all~ctrl"].value[2:] > -1).all()
    assert values[f"gi_similarity_error{SET}"].reason[2:].tolist() == ["zero_variance"] * 15
    true = np.array([interaction_scores(a[g], b[g], ab[g]).magnitude for a, b, ab, g in _sides(truth)])
    np.testing.assert_allclose(values[f"gi_magnitude_error{SET}"].value[2:], true)


def _sides(truth):
    d = doubles(truth)
    return zip(d.first, d.second, d.double, d.expressed, strict=True)


def test_an_additive_truth_has_no_interaction(screen):
    truth, rng = screen(7)
    exact = replace(truth, profiles=replace(truth.profiles, mean=additive(truth)))
    values = everything(exact, exact.profiles.mean + 0.1 * rng.normal(size=truth.profiles.mean.shape))
    for name in ("gi_auprc", "gi_auroc", "gi_recall.fdp20", "gi_tp_fdp_area", "gi_class_agreement"):
        assert values[name + SET].reason.tolist() == ["single_class"]
    assert set(values["gi_residual_pearson@all~ctrl"].reason) == {"not_a_double", "zero_variance"}


def test_a_random_prediction_is_chance(screen):
    """The interaction is known to nobody: over seeds the area under the ROC curve is one half within its error."""
    areas = []
    for seed in range(12):
        truth, rng = screen(100 + seed)
        areas.append(run(f"gi_auroc{SET}", truth, additive(truth) + 0.1 * rng.normal(size=truth.profiles.mean.shape)).value[0])
    assert abs(np.mean(areas) - 0.5) < 3 * np.std(areas) / np.sqrt(12) + 0.005


@few
@given(shapes)
def test_a_perfect_prediction_is_perfect_or_undefined_with_a_reason(screen, shape):
    truth, _ = screen(*shape)
    for name, values in everything(truth, truth.profiles.mean).items():
        defined = ~np.isnan(values.value)
        np.testing.assert_allclose(values.value[defined], CATALOGUE[name].perfect, atol=1e-9, err_msg=name)
        assert set(values.reason[~defined]) <= REASONS


@few
@given(shapes)
def test_values_stay_in_range_and_only_undefined_ones_have_a_reason(screen, shape):
    truth, rng = screen(*shape)
    predicted = truth.profiles.mean + 0.5 * rng.normal(size=truth.profiles.mean.shape)
    predicted[rng.random(len(predicted)) < 0.3] = np.nan
    for name, values in everything(truth, predicted).items():
        info, undefined = CATALOGUE[name], np.isnan(values.value)
        assert values.value.shape == values.reason.shape == ((1,) if info.level == "dataset" else (len(predicted),))
        np.testing.assert_array_equal(values.reason != "", undefined)
        assert set(values.reason[undefined]) <= REASONS
        inside = values.value[~undefined]
        assert ((inside >= info.lower) & (inside <= info.upper)).all()
        if info.level != "dataset":
            assert (values.reason[np.isnan(predicted).any(axis=1)] == "absent").all()


@few
@given(shapes, st.randoms(use_true_random=False))
def test_the_order_of_genes_and_conditions_does_not_matter(screen, shape, random):
    truth, rng = screen(*shape)
    predicted = truth.profiles.mean + 0.5 * rng.normal(size=truth.profiles.mean.shape)
    rows, columns = (np.array(random.sample(range(k), k)) for k in predicted.shape)
    before, after = everything(truth, predicted), everything(_reordered(truth, rows, columns), predicted[np.ix_(rows, columns)])
    for name, values in before.items():
        own = slice(None) if len(values.value) == 1 else rows
        np.testing.assert_allclose(after[name].value, values.value[own], rtol=1e-6, atol=1e-6, err_msg=name)
        assert after[name].reason.tolist() == values.reason[own].tolist()


def _reordered(truth, rows, columns):
    position, old = np.argsort(columns), truth.profiles
    return replace(
        truth,
        profiles=Profiles(
            tuple(old.conditions[i] for i in rows),
            old.mean[np.ix_(rows, columns)],
            old.var[np.ix_(rows, columns)],
            old.n_cells[rows],
        ),
        references={name: r[np.ix_(rows, columns)] for name, r in truth.references.items()},
        target_genes=tuple(tuple(int(position[g]) for g in truth.target_genes[i]) for i in rows),
        single_shifts=tuple(None if truth.single_shifts[i] is None else truth.single_shifts[i][:, columns] for i in rows),
    )


def test_reasons(screen, make_truth):
    truth, _ = screen(8)
    predicted = truth.profiles.mean.astype(np.float64)
    gone = predicted.copy()
    gone[[0, 3]] = np.nan
    lost = replace(truth, single_shifts=(*truth.single_shifts[:4], None, *truth.single_shifts[5:]))
    for name, metric in CATALOGUE.items():
        if metric.level == "dataset":
            assert run(name, truth, np.full_like(predicted, np.nan)).reason.tolist() == ["absent"]
            assert run(name, replace(truth, single_shifts=()), predicted).reason.tolist() == ["no_singles"]
            assert run(name, make_truth([[1, 2, 3]], [1, 1, 1]), [[1, 2, 4]]).reason.tolist() == ["not_a_double"]
        else:
            expected = ["absent", "not_a_double", "", "absent", "no_singles", *[""] * 12]
            assert run(name, lost, gone).reason.tolist() == expected
    triple = make_truth([[1, 2, 3]], [1, 1, 1], conditions=(Condition(("A", "B", "C")),))
    triple = replace(triple, single_shifts=(np.ones((3, 3)),))
    assert run("gi_residual_pearson@all~ctrl", triple, [[1, 2, 4]]).reason.tolist() == ["not_a_double"]


def test_absent_doubles_are_left_out_of_the_pool(screen):
    truth, rng = screen(9)
    predicted = truth.profiles.mean + 0.3 * rng.normal(size=truth.profiles.mean.shape)
    cut, true = null(truth), doubles(truth)
    predicted[5:] = np.nan
    rows, genes = true.residual[:3], true.expressed[:3]
    positive = (np.abs(rows) >= cut.size)[genes]
    guess = np.abs(predicted[2:5] - truth.references["ctrl"][2:5] - (true.first + true.second)[:3])[genes]
    assert run(f"gi_auprc{SET}", truth, predicted).value[0] == pytest.approx(sklearn.average_precision_score(positive, guess))
    assert tp_fdp_curve(guess, positive)[1][-1] == 1
    assert run(f"gi_precision.k10{SET}", truth, predicted).reason.tolist() == ["too_few_conditions"]


def test_tied_doubles_share_their_places(screen):
    """The expectation over random orders of ties, by drawing them."""
    truth, rng = screen(10)
    predicted = truth.profiles.mean.astype(np.float64)
    # Half of the doubles are predicted additive, and so have the same magnitude.
    rows = np.arange(2, 17, 2)
    predicted[rows] = additive(truth)[rows]
    value = run(f"gi_precision.k10_synergy{SET}", truth, predicted).value[0]
    true, guess = (
        np.array(
            [
                interaction_scores(a[g], b[g], ab[g]).magnitude
                for a, b, ab, g in zip(d.first, d.second, double, d.expressed, strict=True)
            ]
        )
        for d in (doubles(truth),)
        for double in (d.double, predicted[2:] - truth.references["ctrl"][2:])
    )
    top = set(np.argsort(-true)[:10])
    drawn = [len(top & set(np.lexsort((rng.random(15), -np.round(guess, 5)))[:10])) / 10 for _ in range(4000)]
    assert value == pytest.approx(np.mean(drawn), abs=0.01)


def test_inputs_are_left_alone_and_precision_does_not_matter(screen):
    truth, rng = screen(11)
    predicted = (truth.profiles.mean + 0.3 * rng.normal(size=truth.profiles.mean.shape)).astype(np.float32).astype(np.float64)
    inputs = [predicted, truth.profiles.mean, truth.references["ctrl"], *(s for s in truth.single_shifts if s is not None)]
    copies = [a.copy() for a in inputs]
    wide, narrow = everything(truth, predicted), everything(truth, predicted.astype(np.float32))
    for array, copy in zip(inputs, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    for name in CATALOGUE:
        np.testing.assert_array_equal(wide[name].value, narrow[name].value)
