"""Scores of changes against arithmetic by hand, scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import r2_score
from sklearn.metrics.pairwise import cosine_similarity

from pbench.bench.contracts.metric import Comparison
from pbench.metrics import delta
from pbench.metrics.delta import METRICS, average_ranks

EVERY = {m.id: m for m in METRICS}

# True and predicted changes of three genes, by hand.
TRUE = np.array([[1.0, 2, 3], [1, -1, 0], [0, 0, 0], [1, 1, 2], [1, 1, 1]])
GUESS = np.array([[1.0, 3, 2], [-1, 1, 0], [1, 2, 3], [1, 2, 2], [1, 2, 3]])
NAN = np.nan
BY_HAND = {
    "pearson_delta@all~ctrl": [0.5, -1, NAN, 0.5, NAN],
    "spearman_delta@all~ctrl": [0.5, -1, NAN, 0.5, NAN],
    "cosine_delta@all~ctrl": [13 / 14, -1, NAN, 7 / 54**0.5, 6 / 42**0.5],
    "r2_delta@all~ctrl": [0, -3, NAN, -0.5, NAN],
    "magnitude_ratio@all~ctrl": [1, 1, NAN, 1.5**0.5, (14 / 3) ** 0.5],
    "slope_delta@all~ctrl": [13 / 14, -1, 0, 7 / 9, 6 / 14],
}


@pytest.mark.parametrize("metric", BY_HAND)
def test_by_hand(make_truth, metric):
    truth = make_truth(1 + TRUE, [1, 1, 1])
    values = EVERY[metric](Comparison(truth, 1 + GUESS))
    np.testing.assert_allclose(values.value, BY_HAND[metric], rtol=1e-12, atol=1e-15)
    assert values.reason.tolist() == ["zero_variance" if np.isnan(v) else "" for v in BY_HAND[metric]]


def test_spearman_with_different_ranks_than_pearson(make_truth, score):
    truth = make_truth([[1, 2, 10], [0, 0, 1]], [0, 0, 0])
    assert score("spearman_delta@all~ctrl", truth, [[1, 2, 3], [1, 1, 1]]).value[0] == pytest.approx(1)
    assert score("pearson_delta@all~ctrl", truth, [[1, 2, 3], [1, 1, 1]]).value[0] < 0.95


def test_sign_agreement_by_hand(make_truth, score):
    true = np.array([1.0] * 10 + [-1] * 6 + [0] * 4)
    guess = np.array([2.0] * 7 + [0] * 3 + [-1] * 2 + [1] * 4 + [5] * 4)
    truth = make_truth([3 + true, 3 + 0 * true], np.full(20, 3))
    values = score("sign_agreement@de20~ctrl", truth, [3 + guess, 3 + guess])
    assert values.value[0] == pytest.approx((7 + 1.5 + 2) / 16)
    assert values.reason.tolist() == ["", "zero_variance"]
    opposite = EVERY["opposite_direction@de20~ctrl"](Comparison(truth, np.array([3 + guess, 3 + guess])))
    assert opposite.value[0] == pytest.approx(4 / 16)
    assert opposite.reason.tolist() == ["", "zero_variance"]


@pytest.mark.parametrize("reference", ["ctrl", "pert", "loo"])
@pytest.mark.parametrize("genes", ["all", "de20", "de50"])
def test_against_scipy_and_scikit_learn(random_screen, genes, reference):
    truth, predicted = random_screen(3, n=7, n_genes=80, n_contexts=2)
    expected = truth.profiles.mean.astype(np.float64)
    for i in range(7):
        columns = np.arange(80) if genes == "all" else truth.de_order[i, : int(genes[2:])]
        d, guess = (m[i, columns] - truth.references[reference][i, columns] for m in (expected, predicted))
        independent = {
            "pearson_delta": stats.pearsonr(d, guess).statistic,
            "spearman_delta": stats.spearmanr(d, guess).statistic,
            "cosine_delta": cosine_similarity(d[None], guess[None])[0, 0],
            "r2_delta": r2_score(d, guess),
            "sign_agreement": np.mean((d > 0) == (guess > 0)),
            "magnitude_ratio": np.linalg.norm(guess) / np.linalg.norm(d),
            "slope_delta": np.linalg.lstsq(guess[:, None], d, rcond=None)[0][0],
            "opposite_direction": np.mean((d > 0) != (guess > 0)),
        }
        checked = 0
        for family, value in independent.items():
            if (metric := f"{family}@{genes}~{reference}") in EVERY:
                assert EVERY[metric](Comparison(truth, predicted)).value[i] == pytest.approx(value, abs=1e-9), metric
                checked += 1
        assert checked or (genes, reference) == ("de50", "loo")


@settings(max_examples=30, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=st.integers(-3, 3).map(float)))
def test_average_ranks_are_those_of_scipy(rows):
    np.testing.assert_array_equal(average_ranks(rows), stats.rankdata(rows, axis=1))


def test_no_change_rounded_to_float32_is_no_change(make_truth, score):
    """Rounding alone would give a finite, arbitrary correlation; the guard must see through it."""
    rng = np.random.default_rng(4)
    # Controls that float32 cannot hold, as for a pooled or averaged control.
    truth = make_truth(rng.gamma(1.0, size=(5, 400)), np.zeros(400))
    ctrl = np.broadcast_to(rng.gamma(1.0, size=400) + 1e-3, (5, 400))
    truth.references["ctrl"] = ctrl
    predicted = ctrl.astype(np.float32).astype(np.float64)
    assert np.isfinite(np.corrcoef(predicted[0] - ctrl[0], truth.profiles.mean[0] - ctrl[0])[0, 1])
    for family in ("pearson_delta", "spearman_delta", "cosine_delta"):
        for genes in ("all", "de20"):
            values = score(f"{family}@{genes}~ctrl", truth, predicted)
            assert values.reason.tolist() == ["zero_variance"] * 5
    assert (score("magnitude_ratio@all~ctrl", truth, predicted).value == 0).all()
    assert (score("sign_agreement@de20~ctrl", truth, predicted).value == 0.5).all()
    assert (score("r2_delta@all~ctrl", truth, predicted).value <= 0).all()


def test_the_training_mean_rounded_to_float32_has_no_direction_against_itself(make_truth, score):
    rng = np.random.default_rng(5)
    train = rng.gamma(1.0, size=(200, 400)).astype(np.float32)
    truth = make_truth(rng.gamma(1.0, size=(5, 400)), np.ones(400), pert=train.mean(axis=0, dtype=np.float64))
    for precision in (np.float64, np.float32):  # a model may also have summed in float32
        predicted = np.tile(train.mean(axis=0, dtype=precision).astype(np.float32), (5, 1))
        for family in ("pearson_delta", "spearman_delta", "cosine_delta"):
            for genes in ("all", "de20"):
                assert score(f"{family}@{genes}~pert", truth, predicted).reason.tolist() == ["zero_variance"] * 5
        assert (score("sign_agreement@de20~pert", truth, predicted).value == 0.5).all()
        assert np.isfinite(score("pearson_delta@all~ctrl", truth, predicted).value).all()


def test_a_shift_shared_by_all_genes_has_direction_and_no_pattern(make_truth, score):
    rng = np.random.default_rng(6)
    ctrl = rng.gamma(1.0, size=50)
    truth = make_truth(rng.gamma(1.0, size=(3, 50)), ctrl)
    predicted = np.tile((ctrl + 0.3).astype(np.float32), (3, 1))
    assert score("pearson_delta@all~ctrl", truth, predicted).reason.tolist() == ["zero_variance"] * 3
    assert score("spearman_delta@all~ctrl", truth, predicted).reason.tolist() == ["zero_variance"] * 3
    assert np.isfinite(score("cosine_delta@all~ctrl", truth, predicted).value).all()


def test_spearman_does_not_rank_rounding(make_truth, score):
    """Only one gene is predicted to change: the other genes are tied, whatever float32 made of them."""
    rng = np.random.default_rng(7)
    truth = make_truth(rng.gamma(1.0, size=(1, 300)), np.zeros(300))
    truth.references["ctrl"] = ctrl = rng.gamma(1.0, size=(1, 300)) + 1e-3
    predicted = ctrl.astype(np.float32).astype(np.float64)
    predicted[0, 0] += 1
    one_hot = np.eye(1, 300)[0]
    independent = stats.spearmanr(truth.profiles.mean[0] - ctrl[0], one_hot).statistic
    assert score("spearman_delta@all~ctrl", truth, predicted).value[0] == pytest.approx(independent)


def test_small_changes_are_not_mistaken_for_rounding(random_screen, score):
    truth, _ = random_screen(8)
    ctrl = truth.references["ctrl"]
    weak = ctrl + 1e-3 * (truth.profiles.mean - ctrl)
    np.testing.assert_allclose(score("cosine_delta@all~ctrl", truth, weak).value, 1, atol=1e-6)
    np.testing.assert_allclose(score("magnitude_ratio@all~ctrl", truth, weak).value, 1e-3, rtol=1e-6)


def test_a_reference_that_does_not_exist_is_a_reason(make_truth, score):
    alone = make_truth([[1, 2, 4]], [1, 1, 1], pert=np.full(3, np.nan))
    for reference in ("loo", "pert"):
        assert score(f"pearson_delta@all~{reference}", alone, [[1, 3, 4]]).reason.tolist() == ["too_few_conditions"]
    assert score("pearson_delta@all~loo", alone, [[np.nan] * 3]).reason.tolist() == ["absent"]
    assert score("pearson_delta@all~ctrl", alone, [[1, 3, 4]]).reason.tolist() == [""]


def test_one_gene_has_no_pattern(make_truth, score):
    truth = make_truth([[2.0]], [1.0])
    for family in ("pearson_delta", "spearman_delta", "r2_delta"):
        assert score(f"{family}@all~ctrl", truth, [[3.0]]).reason.tolist() == ["zero_variance"]
    assert score("cosine_delta@all~ctrl", truth, [[3.0]]).value.tolist() == [1.0]
    assert score("magnitude_ratio@all~ctrl", truth, [[3.0]]).value.tolist() == [2.0]


def test_cosine_of_log_fold_changes_by_hand(make_truth):
    """Means of 0.1, 0.3, 0.7 and 1.5 are powers of two after the constant: logs of -2.32 + (0, 1, 2, 3) against 0.1."""
    metric = EVERY["cosine_logfc@all~ctrl"]
    truth = make_truth([[0.1, 0.3, 0.7], [0.3, 0.1, 0.1], [0.1, 0.1, 0.1]], [0.1, 0.1, 0.1])
    predicted = np.array([[0.3, 0.1, 1.5], [-5.0, 0.1, 0.1], [0.3, 0.3, 0.3]])
    values = metric(Comparison(truth, predicted))
    # (0, 1, 2) and (1, 0, 3); a negative prediction counts as 0, log2(0.1 / 0.2) = -1, against 1.
    np.testing.assert_allclose(values.value, [6 / 50**0.5, -1, np.nan], rtol=1e-6)
    assert values.reason.tolist() == ["", "", "zero_variance"]


def test_cosine_of_log_fold_changes_against_a_naive_loop(random_screen):
    truth, predicted = random_screen(21, n_contexts=2)
    predicted = np.abs(predicted)
    truth.profiles.mean[:] = np.abs(truth.profiles.mean)
    values = EVERY["cosine_logfc@all~ctrl"](Comparison(truth, predicted)).value
    for i in range(6):
        base = np.log2(truth.references["ctrl"][i] + 0.1)
        a, b = np.log2(truth.profiles.mean[i] + 0.1) - base, np.log2(predicted[i] + 0.1) - base
        assert values[i] == pytest.approx(cosine_similarity(a[None], b[None])[0, 0], abs=1e-6)


def test_silence_is_never_opposite_and_half_right(random_screen, score):
    truth, _ = random_screen(22)
    silent = truth.references["ctrl"].astype(np.float32)
    assert (EVERY["opposite_direction@de20~ctrl"](Comparison(truth, silent)).value == 0).all()
    assert (score("sign_agreement@de20~ctrl", truth, silent).value == 0.5).all()


def test_slope_sees_through_the_noise_of_the_truth(make_truth):
    """The mean slope of the noise-free change is 1; its length ratio is not (T9)."""
    rng = np.random.default_rng(23)
    effect = rng.normal(size=200)
    truth = make_truth(5 + effect + rng.normal(size=(2000, 200)), np.full(200, 5.0))
    exact = Comparison(truth, np.tile(5 + effect, (2000, 1)))
    slope = EVERY["slope_delta@all~ctrl"](exact).value
    assert abs(slope.mean() - 1) < 4 * slope.std() / 2000**0.5
    assert EVERY["magnitude_ratio@all~ctrl"](exact).value.mean() < 0.8


@pytest.mark.parametrize(("n", "n_control"), [(100, 100), (50, 200)])
def test_without_effects_shared_controls_correlate_and_split_controls_do_not(make_truth, n, n_control):
    """Two conditions without effect, against the same controls: n / (n + n_control) instead of 0 (T9).

    Split controls, a half for each side, take the shared noise away; then both sides are shifted to the same zero.
    """
    rng = np.random.default_rng(24)
    pairs, n_genes = 150, 400
    sd = 0.05 * rng.gamma(2.0, size=n_genes)
    base = 1 + rng.gamma(1.0, size=n_genes)

    def mean_of(cells, rows):
        return base + sd * rng.normal(size=(rows, n_genes)) / cells**0.5

    x, other, ctrl = mean_of(n, pairs), mean_of(n, pairs), mean_of(n_control, pairs)
    metric = EVERY["pearson_delta@all~ctrl"]
    shared = metric(Comparison(make_truth(x, ctrl), other)).value
    assert shared.mean() == pytest.approx(n / (n + n_control), abs=0.02)
    first, second = mean_of(n_control / 2, pairs), mean_of(n_control / 2, pairs)
    split = metric(Comparison(make_truth(x - first + base, base), other - second + base)).value
    assert abs(split.mean()) < 4 * split.std() / pairs**0.5


def test_true_ranks_are_shared_and_those_of_scipy(random_screen, monkeypatch):
    truth, predicted = random_screen(25, n=70)
    ranked = []
    monkeypatch.setattr(delta, "average_ranks", lambda rows: ranked.append(len(rows)) or average_ranks(rows))
    for guess in (predicted, -predicted):
        values = EVERY["spearman_delta@all~pert"](Comparison(truth, guess)).value
        d, g = truth.profiles.mean - truth.references["pert"], guess - truth.references["pert"]
        naive = [stats.spearmanr(a, b).statistic for a, b in zip(d, g, strict=True)]
        np.testing.assert_allclose(values, naive, atol=1e-6)
    assert sum(ranked) == 3 * 70  # the truth once, and each prediction


def test_every_metric_has_a_caveat_of_one_to_three_sentences():
    for metric in EVERY.values():
        assert 1 <= metric.caveats.count(". ") + 1 <= 3 and metric.caveats.endswith("."), metric.id
        assert "|" not in metric.caveats and "\n" not in metric.caveats
