"""Boards of latent variables from records made by hand: intervals, ranks, agreements, and what is set beside predictions."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pbench.bench.contracts.metric import MetricInfo, Values
from pbench.leaderboards.board import boards
from pbench.leaderboards.identification import Score, ahead, identifications
from pbench.leaderboards.identification_tables import ranks
from pbench.leaderboards.markdown import render
from pbench.leaderboards.side_by_side import side_by_side


def nothing(comparison):
    return Values.of(np.zeros(1))


def metric(name, level="dataset", needs=("latents",), version=1, direction="up"):
    return MetricInfo(name, version, direction, -1, 1, 1, nothing, "x.", level=level, needs=needs, headline=True)


METRICS = {
    m.id: m
    for m in (
        metric("mcc.responsive"),
        metric("r2_block.invariant"),
        metric("r2_latent.nonlinear", level="latent"),
        metric("l2@all", level="perturbation", needs=("means",), direction="down"),
    )
}
#: MCC of the responsive variables by model and seed.
VALUES = {"first": (0.9, 0.92, 0.91), "second": (0.89, 0.93, 0.88), "third": (0.5, 0.52, 0.51), "fixed": (0.6,)}


def card(model, seed, *, dataset="known", status="ok", metrics=("mcc.responsive", "r2_block.invariant"), predicts=False, **more):
    spec = {
        "dataset": dataset,
        "split": "units",
        "fold": "1/1",
        "seed": seed,
        "data_id": "d" * 40,
        "split_id": "s" * 40,
        "environment": {},
    }
    return {
        "model": model,
        "spec": spec,
        "status": status,
        "reason": "",
        "metrics": list(metrics),
        "predicts": predicts,
        "score_id": f"{model}{seed}{dataset}",
        "job_id": f"job-{model}-{seed}-{dataset}",
        "started": 1.0,
        "audit": {"status": "pass", "findings": []},
        "reference_row": model.startswith("oracle"),
        "stochastic": model != "fixed",
        "claim": "permutation" if model == "first" else "",
        "uses_condition_at_encode": model == "second",
        "dataset_card": {"title": "a toy", "scale": "raw", "licence": "CC0", "simulated": True},
        "pbench": "0",
        "seconds": {"fit": 1.0},
        "group": "",
        "n_conditions": 2,
        "n_predicted": 2,
        "n_fallback": 0,
        "absent": {},
        **more,
    }  # fmt: skip


def row(model, seed, name, value, condition="*", reason=None, version=1, dataset="known"):
    return {
        "model": model, "seed": seed, "metric": name, "value": value, "condition": condition, "reason": reason, "version": version,
        "dataset": dataset, "split": "units", "fold": "1/1", "perturbation": condition, "context": None, "predicted": True,
        "fallback": False, "half_value": math.nan, "effect": 1.0, "n_cells": 20, "dose": None, "time": math.nan, "seen_k": None,
        "gi_class": None,
    }  # fmt: skip


@pytest.fixture
def records():
    """Cards and rows of four models on one data set, and agreements of the trainings of the first."""
    cards = [card(m, seed) for m, values in VALUES.items() for seed in range(len(values))]
    rows = [row(m, seed, "mcc.responsive", v) for m, values in VALUES.items() for seed, v in enumerate(values)]
    rows += [row(m, seed, "r2_block.invariant", v / 2) for m, values in VALUES.items() for seed, v in enumerate(values)]
    rows += [row("first", seed, "r2_latent.nonlinear", 0.1 * i, f"latent z{i}") for seed in range(3) for i in range(3)]
    agreements = [
        {"jobs": [f"job-first-{i}-known", f"job-first-{j}-known"], "value": v}
        for i, j, v in ((0, 1, 0.8), (0, 2, 0.9), (1, 2, 1.0))
    ]
    return cards, pd.DataFrame(rows), agreements


def test_a_score_is_the_mean_over_seeds_with_its_student_interval(records):
    (board,) = identifications(records[0], records[1], METRICS, records[2])
    lines = {x.model: x for x in board.lines}
    for model, values in VALUES.items():
        found = lines[model].scores["mcc.responsive"]
        assert found.mean == pytest.approx(np.mean(values))
        if len(values) > 1:
            expected = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
            assert (found.low, found.high) == pytest.approx(expected)
        else:
            assert math.isnan(found.low)
    assert lines["first"].agreement is not None and lines["first"].agreement.pairs == 3
    assert (lines["first"].agreement.mean, lines["first"].agreement.lowest) == pytest.approx((0.9, 0.8))
    assert lines["second"].agreement is None and lines["second"].told and lines["first"].claim == "permutation"
    assert lines["first"].by_latent == pytest.approx({"z0": 0, "z1": 0.1, "z2": 0.2})


def test_the_difference_has_the_interval_of_welch():
    a, b = (Score(float(np.mean(v)), 0, 0, v) for v in (VALUES["second"], VALUES["third"]))
    test = stats.ttest_ind(a.seeds, b.seeds, equal_var=False)
    low, high = test.confidence_interval(0.95)
    assert ahead(a, b) == pytest.approx((a.mean - b.mean, low, high))
    alone = Score(0.6, math.nan, math.nan, (0.6,))
    one_sample = stats.t.interval(0.95, 2, loc=a.mean - 0.6, scale=stats.sem(a.seeds))
    assert ahead(a, alone)[1:] == pytest.approx(one_sample)
    assert math.isnan(ahead(alone, alone)[1])


def test_models_share_a_rank_where_the_interval_reaches_zero(records):
    (board,) = identifications(records[0], records[1], METRICS, records[2])
    ordered = sorted(board.lines, key=lambda x: -x.scores["mcc.responsive"].mean)
    assert ranks(ordered) == {"first": 1, "second": 1, "fixed": 3, "third": 4}


def test_what_was_scored_by_another_version_does_not_count(records):
    cards, rows, agreements = records
    rows.loc[rows["model"] == "third", "version"] = 2
    (board,) = identifications(cards, rows, METRICS, agreements)
    (line,) = [x for x in board.lines if x.model == "third"]
    assert all(not s.seeds for s in line.scores.values())


def test_undefined_and_failed_models_are_named_with_their_reason(records):
    cards, rows, agreements = records
    cards.append(card("broken", 0) | {"status": "failed", "reason": "it broke"})
    rows = pd.concat(
        [
            rows,
            pd.DataFrame(
                [
                    row("fifth", 0, "mcc.responsive", 0.3),
                    row("fifth", 0, "r2_block.invariant", math.nan, reason="no_invariant_block"),
                ]
            ),
        ]
    )
    cards.append(card("fifth", 0))
    text = render([], METRICS, codes=identifications(cards, rows, METRICS, agreements))
    assert "| failed   | it broke |" in text
    assert "no\\_invariant\\_block: fifth" in text


def test_a_board_is_the_same_whatever_the_order_of_the_records(records):
    cards, rows, agreements = records
    text = render([], METRICS, codes=identifications(cards, rows, METRICS, agreements))
    shuffled = rows.sample(frac=1, random_state=0)
    assert render([], METRICS, codes=identifications(cards[::-1], shuffled, METRICS, agreements[::-1])) == text


def test_where_nothing_is_known_only_agreements_stand_on_the_board(records):
    cards = [card("first", seed, dataset="real") for seed in range(2)]
    agreements = [{"jobs": ["job-first-0-real", "job-first-1-real"], "value": 0.75}]
    rows = pd.DataFrame([row("first", s, "mcc.responsive", math.nan, reason="no_latents", dataset="real") for s in range(2)])
    (board,) = identifications(cards, rows, METRICS, agreements)
    assert not board.known and board.lines[0].agreement is not None
    text = render([], METRICS, codes=[board])
    assert "are not known" in text and "0.75" in text
    assert identifications(cards, rows, METRICS, []) == []
    alone = [card("second", 0, dataset="real") | {"status": "unavailable", "reason": "it has no encode"}]
    assert "it has no encode" in render([], METRICS, codes=identifications(alone, rows[:0], METRICS, []))


def test_identification_stands_beside_prediction(records):
    cards, rows, agreements = records
    predicting = [card(m, 0, metrics=["l2@all"], predicts=True) for m in ("first", "additive")]
    more = [row(m, 0, "l2@all", v, f"g{i}") for m, v in (("first", 2.0), ("additive", 1.0)) for i in range(2)]
    everything, table = cards + predicting, pd.concat([rows, pd.DataFrame(more)])
    codes = identifications(everything, table, METRICS, agreements)
    predictions = boards(everything, table, METRICS)
    assert [x.model for x in predictions[0].lines] == ["additive", "first"]
    assert {x.model for x in codes[0].lines} == set(VALUES)
    text = side_by_side(predictions, codes, METRICS)
    assert text is not None
    cells = {c[1]: c for line in text.splitlines() if len(c := [part.strip() for part in line.split("|")]) > 4}
    assert cells["first"][2].startswith("0.91") and cells["first"][4].startswith("2") and cells["first"][5] == "0.9"
    assert cells["additive"][2] == "–" and cells["additive"][4].startswith("1")
    assert cells["third"][4] == "–"
    assert side_by_side([], codes, METRICS) is None and side_by_side(predictions, [], METRICS) is None


def test_two_splits_of_a_data_set_keep_their_own_columns_beside_predictions(records):
    cards, rows, agreements = records
    other = [card("first", seed) for seed in range(2)]
    other = [c | {"spec": c["spec"] | {"split": "other"}, "job_id": c["job_id"] + "-other"} for c in other]
    again = [
        row("first", seed, m, 0.25) | {"split": "other"} for seed in range(2) for m in ("mcc.responsive", "r2_block.invariant")
    ]
    predicting = [card(m, 0, metrics=["l2@all"], predicts=True) for m in ("first", "additive")]
    more = [row(m, 0, "l2@all", 1.0, f"g{i}") for m in ("first", "additive") for i in range(2)]
    everything, table = cards + other + predicting, pd.concat([rows, pd.DataFrame(again + more)])
    agreements = [*agreements, {"jobs": [c["job_id"] for c in other], "value": 0.125}]
    codes = identifications(everything, table, METRICS, agreements)
    text = side_by_side(boards(everything, table, METRICS), codes, METRICS)
    assert text is not None
    lines = [[part.strip() for part in line.split("|")] for line in text.splitlines() if line.startswith("|")]
    (own,) = [dict(zip(lines[0], line, strict=True)) for line in lines if line[1] == "first"]
    assert own["known, other: mcc.responsive ↑"].startswith("0.25")
    assert own["known, units: mcc.responsive ↑"].startswith("0.91")
    assert (own["known, other: seed to seed ↑"], own["known, units: seed to seed ↑"]) == ("0.125", "0.9")


def test_scores_and_agreements_of_told_codes_are_marked_beside_predictions(records):
    cards, rows, _ = records
    cards += [card("first", 0, metrics=["l2@all"], predicts=True)]
    rows = pd.concat([rows, pd.DataFrame([row("first", 0, "l2@all", 1.0, f"g{i}") for i in range(2)])])
    both = [{"jobs": [f"job-{m}-0-known", f"job-{m}-1-known"], "value": 0.5} for m in ("first", "second")]
    text = side_by_side(boards(cards, rows, METRICS), identifications(cards, rows, METRICS, both), METRICS)
    assert text is not None
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert lines["second"].count("(told)") == 3 and "(told)" not in lines["first"]
    # Nothing is told where there is nothing.
    rows.loc[(rows["model"] == "second") & (rows["metric"] == "mcc.responsive"), "value"] = math.nan
    text = side_by_side(boards(cards, rows, METRICS), identifications(cards, rows, METRICS, both), METRICS)
    assert text is not None and "– (told)" not in text


def test_only_answers_to_the_newest_manifest_of_a_fold_stand_side_by_side(records):
    def answered(model, fold, manifest, started):
        one = card(model, 0)
        return one | {"started": started, "score_id": model + fold, "spec": one["spec"] | {"fold": fold, "split_id": manifest}}

    cards = [answered("first", "1/2", "new", 4.0), answered("first", "2/2", "new", 3.0)]
    cards += [answered("third", "1/2", "old", 2.0), answered("third", "2/2", "old", 1.0)]
    rows = pd.DataFrame([row(m, 0, "mcc.responsive", 0.5) | {"fold": f} for m in ("first", "third") for f in ("1/2", "2/2")])
    (board,) = identifications(cards, rows, METRICS, [])
    assert board.split_ids == ("new",) and [x.model for x in board.lines] == ["first"]


def test_a_random_model_that_was_trained_once_has_no_rank(records):
    cards, rows, agreements = records
    cards = [c for c in cards if c["model"] != "second" or c["spec"]["seed"] == 0]
    (board,) = identifications(cards, rows, METRICS, agreements)
    ordered = sorted(board.lines, key=lambda x: -x.scores["mcc.responsive"].mean)
    assert ranks(ordered) == {"first": 1, "fixed": 2, "third": 3}
