"""What boards say of made-up records: controls, calibrated scores, order, strata, contexts, seeds and the gaming suite."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.metric import MetricInfo
from pbench.bench.contracts.split import SplitManifest
from pbench.bench.engine.audit import Finding, audit, to_dict
from pbench.bench.engine.calibration import calibrate
from pbench.bench.engine.inference import paired_test
from pbench.bench.engine.scale import calibrated_score, reliability_ceiling
from pbench.leaderboards.board import boards
from pbench.leaderboards.controls import negative_controls
from pbench.leaderboards.figure import critical_difference, file_name
from pbench.leaderboards.markdown import escape, render

PRIMARY = "l2@all"
N = 30
LABELS = [f"G{i:02d}" for i in range(N)]
REFERENCES = ("technical-duplicate", "interpolated-duplicate", "shuffled")


def metric(name, direction="up", *, headline=True, level="perturbation"):
    lower, upper, perfect = (0.0, float("inf"), 0.0) if direction == "down" else (-1.0, 1.0, 1.0)
    return MetricInfo(name, 1, direction, lower, upper, perfect, print, "A formula.", headline=headline, level=level)


def records(
    values,
    *,
    labels=LABELS,
    contexts=None,
    columns=None,
    groups=None,
    seeds=(0,),
    absent=None,
    halves=None,
    fold="1/1",
    split="s",
    findings=(),
    started=1.0,
):
    """Run cards and rows of models: `values[model][metric]` is (n,) or (seeds, n); `halves` likewise, where they differ."""
    cards, frames = [], []
    n = len(labels)
    contexts = contexts or [None] * n
    keys = [label + (f" | context={c}" if c else "") for label, c in zip(labels, contexts, strict=True)]
    for model, own in values.items():
        reference = model in REFERENCES
        gone = np.zeros(n, dtype=bool) if not absent or model not in absent else np.asarray(absent[model])
        ran = seeds if any(np.ndim(v) == 2 for v in own.values()) else seeds[:1]
        for s, seed in enumerate(ran):
            spec = {
                "dataset": "d",
                "split": split,
                "fold": fold,
                "seed": seed,
                "data_id": "data",
                "split_id": f"split00000{fold}",
            }
            cards.append(
                {
                    "model": model,
                    "spec": spec | {"environment": {}},
                    "audit": to_dict(Finding(*f) for f in (findings(model) if callable(findings) else findings)),
                    "started": started,
                    "score_id": f"{model}-{seed}-{fold}",
                    "reference_row": reference,
                    "status": "ok",
                    "reason": "",
                    "n_predicted": int(n - gone.sum()),
                    "n_conditions": n,
                    "n_fallback": 0,
                    "absent": {keys[i]: "capability: no" for i in np.flatnonzero(gone)},
                    "dataset_card": {"simulated": False, "title": "t", "scale": "counts", "licence": "CC0"},
                    "pbench": "0",
                }
                | ({"group": groups[model]} if groups and model in groups else {})
            )
            for name, v in own.items():
                half = (halves or {}).get(model, {}).get(name, v)
                v, half = (x[s] if np.ndim(x) == 2 else x for x in (v, half))
                whole = len(v) == 1
                v, half = (x if whole else np.where(gone, np.nan, x) for x in (v, half))
                frames.append(
                    pd.DataFrame(
                        {
                            "model": model,
                            "dataset": "d",
                            "split": split,
                            "fold": fold,
                            "seed": seed,
                            "version": 1,
                            "half_value": half,
                        }
                        | {"condition": ["*"] if whole else keys, "perturbation": ["*"] if whole else labels}
                        | {"context": [None] if whole else contexts, "predicted": True if whole else ~gone, "fallback": False}
                        | {"metric": name, "value": v, "reason": np.where(np.isnan(v), "zero_variance", None)}
                        | ({} if whole else columns(model) if callable(columns) else columns or {})
                    )
                )
    return cards, pd.concat(frames, ignore_index=True)


def usual(rng, *, n=N, noise=0.02, models=("good", "bad")):
    """Errors of models and controls that the primary metric tells apart."""
    level = {"good": 0.3, "bad": 0.7, "train-mean": 0.8, "no-change": 1.0} | dict.fromkeys(models, 0.5)
    level |= {"technical-duplicate": 0.12, "interpolated-duplicate": 0.1, "shuffled": 1.2, "good": 0.3, "bad": 0.7}
    names = [*models, "train-mean", "no-change", *REFERENCES]
    return {m: {PRIMARY: level[m] + rng.normal(0, noise, n)} for m in names}


def with_metric(values, name, levels, rng, noise=0.02):
    """The same with a metric at some levels; NaN throughout for other models."""
    for model, own in values.items():
        own[name] = levels[model] + rng.normal(0, noise, N) if model in levels else np.full(N, np.nan)
    return values


def one(cards, rows, *metrics, **more):
    info = {m.id: m for m in (metric(PRIMARY, "down"), *metrics)}
    (board,) = boards(cards, rows, info, **more)
    return board, render([board], info)


def table(text, title):
    """Rows of cells of the table that follows a title."""
    found = re.search(r"(?:^\|.*\n?)+", text[text.index(title) :], re.M)
    assert found is not None
    lines = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in found[0].splitlines()]
    return [line for line in lines if not set("".join(line)) <= set(":-")]


# -- controls


@pytest.fixture
def rng():
    return np.random.default_rng(0)


ALL = {
    "good": 0.6,
    "bad": 0.4,
    "train-mean": 0.3,
    "no-change": 0.1,
    "technical-duplicate": 0.8,
    "interpolated-duplicate": 0.9,
    "shuffled": 0.0,
}


def test_calibrations_and_scores_are_those_of_the_engine(rng):
    values = with_metric(usual(rng), "pearson_delta@all~ctrl", ALL, rng)
    labels = [f"G{i % 17:02d}+H{i:02d}" for i in range(N)]
    targets = [tuple(label.split("+")) for label in labels]
    board, text = one(*records(values, labels=labels), metric("pearson_delta@all~ctrl"))
    own = {m: v["pearson_delta@all~ctrl"] for m, v in values.items()}
    up = {"direction": "up", "perfect": 1.0, "clusters": targets}
    known = board.controls["pearson_delta@all~ctrl"]
    assert (known.positive, known.negative) == ("interpolated-duplicate", "train-mean")
    expected = calibrate(own["interpolated-duplicate"], own["train-mean"], **up)
    assert known.decides.drf == pytest.approx(expected.drf)
    assert (known.decides.drf_low, known.decides.drf_high) == pytest.approx((expected.drf_low, expected.drf_high))
    assert set(known.others) == {"technical-duplicate over train-mean", "interpolated-duplicate over shuffled"}
    other = calibrate(own["technical-duplicate"], own["train-mean"], **up)
    assert known.others["technical-duplicate over train-mean"].drf == pytest.approx(other.drf)
    assert known.ceiling == reliability_ceiling(own["technical-duplicate"], clusters=targets)
    assert board.controls[PRIMARY].ceiling is None, "an error has no such ceiling"
    score = {line.model: line.scores["pearson_delta@all~ctrl"] for line in board.lines}["good"]
    alone = calibrated_score(own["good"], own["interpolated-duplicate"], own["train-mean"], **up)
    assert score.value == pytest.approx(alone.value)
    assert (score.low, score.high) == pytest.approx((alone.low, alone.high), abs=0.02)
    scores = {row[0]: row[1:] for row in table(text, "### Calibrated scores")}
    assert scores["train-mean"][1] == "0 \\[0, 0\\]"
    assert scores["interpolated-duplicate"][1] == "1 \\[1, 1\\]"
    footer = {row[1]: row[2:] for row in table(text, "### Models")[-3:]}
    assert footer["*dynamic range fraction*"][-1].startswith(f"{known.decides.drf:.3g} ")
    assert footer["*share of wins*"][-1].startswith("1 ")
    assert footer["*reliability ceiling*"][-2] == ""
    assert footer["*reliability ceiling*"][-1].startswith(f"{known.ceiling.value:.3g} ")


def test_a_metric_that_does_not_separate_is_grey_and_ranks_nothing(rng):
    values = usual(rng)
    for model in ("interpolated-duplicate", "train-mean"):
        values[model][PRIMARY] = 0.5 + rng.normal(0, 0.1, N)
    board, text = one(*records(values))
    assert board.grey == {PRIMARY}
    assert board.order is None
    assert all(line.rank is None for line in board.lines)
    rows = table(text, "### Models")
    assert rows[0][4] == "l2@all ↓ (grey)"
    assert [row[1] for row in rows[1:5]] == ["bad", "good", "no-change", "train-mean"], "by name: a grey column orders nothing"
    assert {row[0] for row in rows[1:5]} == {"–"}
    assert all(row[4].startswith("*") and row[4].endswith("*") for row in rows[1:5])
    assert "is grey here (the positive control beats the negative one no more often than by chance), and orders nothing" in text
    assert critical_difference(board) is None
    assert "by chance" in table(text, "### What the metrics can tell")[1][-1]
    assert "cannot be told from" in text[text.index("No score:") :]


def test_the_deciding_control_is_not_chosen_by_its_result(rng):
    beaten = ALL | {"interpolated-duplicate": 0.3}
    board, _ = one(*records(with_metric(usual(rng), "x", beaten, rng, noise=0.1)), metric("x"))
    assert board.controls["x"].others["technical-duplicate over train-mean"].separates
    assert not board.controls["x"].decides.separates
    assert board.grey == {"x"}
    noisy = ALL | {"technical-duplicate": 0.2}
    board, _ = one(*records(with_metric(usual(rng), "x", noisy, rng)), metric("x"))
    assert "beats the positive" in board.controls["x"].others["technical-duplicate over train-mean"].reason
    assert board.grey == frozenset(), "a duplicate with much noise loses to the train mean on a sound metric"


def test_metrics_of_cells_have_controls_with_cells(rng):
    cells = {"good": 0.6, "no-change": 0.1, "technical-duplicate": 0.8, "shuffled": 0.0}
    board, text = one(*records(with_metric(usual(rng), "energy@all", cells, rng)), metric("energy@all", headline=False))
    known = board.controls["energy@all"]
    assert (known.positive, known.negative) == ("technical-duplicate", "no-change")
    assert known.decides.separates
    assert set(known.others) == {"technical-duplicate over shuffled"}
    row = next(row for row in table(text, "### All metrics") if row[0].startswith("energy"))
    assert row[1].startswith(f"{known.decides.drf:.3g} \\[") and row[2].startswith("1 \\[") and row[3] == "yes"


def test_against_the_training_mean_the_negative_control_is_no_change(rng):
    assert negative_controls("pearson_delta@de20~pert") == ("no-change",)
    board, _ = one(*records(with_metric(usual(rng), "r2@all~pert", ALL, rng)), metric("r2@all~pert"))
    assert board.controls["r2@all~pert"].negative == "no-change"


def test_without_controls_nothing_is_known_and_nothing_is_ranked(rng):
    values = {m: v for m, v in usual(rng).items() if m in ("good", "bad")}
    values["gaming-x"] = values["good"]
    board, text = one(*records(values))
    assert board.controls == {} and board.grey == {PRIMARY}
    assert "controls not run" in board.unknown[PRIMARY]
    assert {line.model: line.rank for line in board.lines} == {"good": None, "bad": None}
    assert board.order is None and board.gaming.compared == ()
    assert "Not known" in text and "### Calibrated" not in text and "controls not run" in text
    assert table(text, "### Models")[0][4] == "l2@all ↓ (grey)"


@pytest.mark.parametrize(
    ("missing", "name"), [("train-mean", "x"), ("interpolated-duplicate", "x"), ("no-change", "r2@all~pert")]
)
def test_what_decides_does_not_depend_on_what_was_run(rng, missing, name):
    """A control that was not run does not give way to an easier one."""
    values = with_metric(usual(rng), name, ALL, rng)
    assert name in one(*records(values), metric(name))[0].controls
    del values[missing]
    board, text = one(*records(values), metric(name))
    assert name not in board.controls and name in board.grey
    assert board.unknown[name] == f"controls not run ({missing})"
    assert (
        f"controls not run ({missing})"
        in next(r for r in table(text, "### What the metrics can tell") if r[0] == escape(name))[-1]
    )


def test_where_nobody_has_said_what_was_in_training_no_change_decides(rng):
    manifest = SplitManifest(
        "d",
        "data",
        "everything",
        {},
        "1/1",
        1,
        {Condition((label,)): "test" for label in LABELS},
        subgroups={Condition((label,)): {"seen_k": "0"} for label in LABELS},
        declared={"controls": "shared by training and truth reference", "training": "not stated"},
    )
    findings = [(f.rule, f.name, f.status, f.detail) for f in audit(manifest)]
    values = {m: v for m, v in usual(rng).items() if m not in ("train-mean", "interpolated-duplicate")}
    board, text = one(*records(values, split="everything", findings=findings))
    assert not board.training_stated
    assert (board.controls[PRIMARY].positive, board.controls[PRIMARY].negative) == ("technical-duplicate", "no-change")
    assert {x.model: x.rank for x in board.lines if not x.reference_row} == {"good": 1, "bad": 2, "no-change": 3}
    assert "Nobody has said what was in training" in text
    # The name of the split alone excuses nothing.
    assert one(*records(values, split="everything"))[0].unknown[PRIMARY] == "controls not run (interpolated-duplicate)"


def test_calibration_is_on_the_halves_and_means_are_on_all_cells(rng):
    values = usual(rng)
    halves = {m: {PRIMARY: v[PRIMARY] + rng.normal(0.2, 0.01, N)} for m, v in values.items() if "duplicate" not in m}
    board, text = one(*records(values, halves=halves))
    down = {"direction": "down", "perfect": 0.0, "clusters": [(label,) for label in LABELS]}
    own = {m: halves.get(m, v)[PRIMARY] for m, v in values.items()}
    expected = calibrate(own["interpolated-duplicate"], own["train-mean"], **down)
    assert board.controls[PRIMARY].decides.drf == pytest.approx(expected.drf)
    line = next(x for x in board.lines if x.model == "good")
    assert line.cells[PRIMARY].mean == pytest.approx(values["good"][PRIMARY].mean())
    score = calibrated_score(own["good"], own["interpolated-duplicate"], own["train-mean"], **down)
    assert line.scores[PRIMARY].value == pytest.approx(score.value)
    other = calibrated_score(values["good"][PRIMARY], own["interpolated-duplicate"], own["train-mean"], **down)
    assert abs(score.value - other.value) > 0.1


def test_equal_controls_separate_in_neither_direction_when_their_truths_differ(rng):
    """Duplicates have the noise of half of the cells in their truth; against all cells the train mean would look better or worse."""
    error = 0.5 + rng.normal(0, 0.1, (2, N))
    values = usual(rng)
    for shift in (-0.3, 0.3):
        values["interpolated-duplicate"][PRIMARY], values["train-mean"][PRIMARY] = error[0], error[1] + shift
        board, _ = one(*records(values, halves={"train-mean": {PRIMARY: error[1]}}))
        assert "by chance" in board.controls[PRIMARY].decides.reason
        known = calibrate(error[0], error[1] + shift, direction="down", perfect=0.0)
        assert "by chance" not in known.reason, "which is what all cells would have said"


def test_records_without_halves_calibrate_nothing(rng):
    values = with_metric(usual(rng), "x", ALL, rng)
    old = {"train-mean": {"x": np.full(N, np.nan)}, "good": {PRIMARY: np.full(N, np.nan)}}
    board, text = one(*records(values, halves=old), metric("x"))
    assert "train-mean: not scored on the second halves" in board.unknown["x"] and board.grey == {"x"}
    score = next(x for x in board.lines if x.model == "good").scores[PRIMARY]
    assert np.isnan(score.value) and "second halves" in score.reason and "second halves" in text[text.index("No score:") :]
    cards, rows = records(values)
    board, _ = one(cards, rows.drop(columns="half_value"), metric("x"))
    assert board.controls == {} and board.grey == {"x", PRIMARY}
    assert all(x.rank is None for x in board.lines)


def test_a_metric_of_the_whole_data_set_never_separates(rng):
    """However many folds there are: they are the same data."""
    values = usual(rng)
    for i, own in enumerate(values.values()):
        own["auc"] = np.array([0.1 * i])
    parts = [records(values, fold=f"{k}/6", labels=[f"F{k}{label}" for label in LABELS]) for k in range(1, 7)]
    cards, rows = [c for part in parts for c in part[0]], pd.concat([part[1] for part in parts], ignore_index=True)
    board, text = one(cards, rows, metric("auc", level="dataset"))
    known = board.controls["auc"].decides
    assert known.bds == 1 and known.n == 6 and np.isnan(known.drf_low)
    assert not known.separates and "no sample" in known.reason
    assert "auc" in board.grey and "no (grey): one value for each fold" in text


# -- folds, seeds, versions


def in_folds(rng, *, skip=(), n=3, findings=None, **more):
    """Records of three folds; (model, fold) pairs in `skip` were not run."""
    cards, frames = [], []
    for k in range(1, n + 1):
        values = {m: v for m, v in usual(rng).items() if (m, k) not in skip}
        told = {} if findings is None else {"findings": findings(k), "started": float(findings.order[k])}
        part = records(values, fold=f"{k}/{n}", labels=[f"F{k}{label}" for label in LABELS], **told, **more)
        cards += part[0]
        frames.append(part[1])
    return cards, pd.concat(frames, ignore_index=True)


def test_a_model_that_ran_one_fold_of_three_is_not_ranked(rng):
    board, text = one(*in_folds(rng, skip={("good", 2), ("good", 3)}))
    lines = {x.model: x for x in board.lines}
    assert (lines["good"].predicted, lines["good"].asked, lines["good"].complete, lines["good"].rank) == (N, 3 * N, False, None)
    assert (lines["bad"].predicted, lines["bad"].asked, lines["bad"].rank) == (3 * N, 3 * N, 1)
    assert lines["good"].cells[PRIMARY].reasons == {"not scored": 2 * N}
    row = next(r for r in table(text, "### Models") if r[1] == "good")
    assert row[:3] == ["–", "good", f"{N}/{3 * N}"] and f"†({N})" in row[4]
    common = {x.model: x for x in board.common}
    assert {m: (x.predicted, x.asked) for m, x in common.items()} == dict.fromkeys(
        ("good", "bad", "train-mean", "no-change"), (N, 3 * N)
    )
    assert [common[m].rank for m in ("good", "bad", "train-mean", "no-change")] == [1, 2, 3, 4]


def test_models_that_share_no_fold_have_nothing_in_common(rng):
    skip = {(m, k) for m in ("bad", "train-mean", "no-change") for k in (1,)} | {("good", 2), ("good", 3)}
    board, _ = one(*in_folds(rng, skip=skip))
    assert board.common == () and all(x.rank is None for x in board.lines)
    assert {x.asked for x in board.lines} == {3 * N}


def test_a_model_that_lacks_a_fold_under_one_seed_is_not_ranked(rng):
    cards, rows = in_folds(rng)
    extra = [records({"good": {PRIMARY: np.full(N, 0.3)}}, fold="1/3", seeds=(1,), labels=[f"F1{label}" for label in LABELS])]
    cards, rows = cards + extra[0][0], pd.concat([rows, extra[0][1]], ignore_index=True)
    board, _ = one(cards, rows)
    good = next(x for x in board.lines if x.model == "good")
    assert (good.predicted, good.rank) == (N, None)
    assert {x.model: x.predicted for x in board.common}["good"] == N


def test_reasons_are_counted_by_condition_and_not_by_seed(rng):
    values = usual(rng)
    values["good"][PRIMARY] = 0.3 + rng.normal(0, 0.01, (3, N))
    board, text = one(*records(values, seeds=(0, 1, 2), absent={"good": np.arange(N) < 4}))
    good = next(x for x in board.lines if x.model == "good")
    assert good.absent == {"capability: no": 4}
    assert f"4 of {N} not predicted" in text


def test_values_of_two_versions_are_never_aligned(rng):
    cards, rows = records(with_metric(usual(rng), "x", ALL, rng))
    old = (rows["model"] == "good") & (rows["metric"] == PRIMARY)
    rows.loc[old, "version"], rows.loc[old, "value"] = 2, 1000.0
    board, text = one(cards, rows, metric("x"))
    good = next(x for x in board.lines if x.model == "good")
    assert PRIMARY not in good.cells and "x" in good.cells
    assert good.outdated == {PRIMARY: "scored by version 2; run again"} and good.rank is None and not good.complete
    assert "good, l2@all: scored by version 2; run again" in text.replace("\\", "")
    assert next(x for x in board.lines if x.model == "bad").rank == 1
    # In some rows only: the rest is not taken for the whole.
    half = old & (np.arange(len(rows)) % 2 == 0)
    rows.loc[old, "version"] = 1
    rows.loc[half, "version"] = 2
    board, _ = one(cards, rows, metric("x"))
    good = next(x for x in board.lines if x.model == "good")
    assert good.rank is None and good.cells[PRIMARY].defined == N - half.sum()
    # A metric without any row that counts tells nothing and ranks nothing.
    cards, rows = records(with_metric(usual(rng), "x", ALL, rng))
    rows.loc[rows["metric"] == "x", "version"] = 2
    board, text = one(cards, rows, metric("x"))
    assert board.unknown == {"x": "scored by other versions only; run again"} and board.grey == {"x"}
    assert next(x for x in board.lines if x.model == "good").rank == 1
    # Of another version throughout, or of none that is recorded.
    rows["version"] = np.where(rows["model"] == "good", 2, 1)
    board, text = one(cards, rows, metric("x"))
    assert ["good", "outdated", "scored by version 2; run again"] in table(text, "### Without a result")
    board, text = one(cards, rows.drop(columns="version"), metric("x"))
    assert all(not x.cells for x in board.lines) and "scored of an unknown version; run again" in text


def test_the_audit_of_a_board_is_the_worst_of_all_folds_whichever_ran_last(rng):
    def findings(k):
        model = (10, "pretraining overlap", "warn", "the model declares overlap with the test cells: unknown.")
        return [(9, "batch confounding", "warn" if k == 2 else "pass", f"fold {k}"), model]

    seen = set()
    for order in ((1, 2, 3), (3, 1, 2), (2, 3, 1)):
        findings.order = dict(enumerate(order, 1))
        board, text = one(*in_folds(np.random.default_rng(0), findings=findings))
        assert board.audit["status"] == "warn"
        assert [f["detail"] for f in board.audit["findings"] if f["status"] == "warn"] == ["fold 2"]
        assert {f["rule"] for f in board.audit["findings"]} == {9}, "rules about models are no finding about the split"
        seen.add(text)
    assert len(seen) == 1
    assert board.lines[0].remarks == ("pretraining overlap (the model declares overlap with the test cells: unknown.)",)
    assert "What the leakage audit says of models" in text


def test_what_is_undefined_in_part_says_in_how_many(rng):
    values = usual(rng)
    values["good"][PRIMARY][:13] = np.nan
    board, text = one(*records(values), metric("x"))
    row = next(r for r in table(text, "### Models") if r[1] == "good")
    assert row[4].startswith(f"{np.nanmean(values['good'][PRIMARY]):.3g}†({N - 13}) ")


def test_damaged_records_are_named():
    text = render([], {}, (), ["ab|c.json"])
    assert "ab\\|c.json" in text and "not whole" in text


# -- what stands beside a mean


def test_adding_a_model_moves_no_bit_of_the_others(rng):
    values = with_metric(usual(rng, models=("good", "bad", "new")), "x", ALL | {"new": 0.5}, rng)
    values["new"]["x"][::3] = np.nan
    columns = {"n_cells": np.arange(N) + 5, "effect": rng.uniform(0, 1, N), "seen_k": ["0", "1", "2"] * (N // 3)}
    info = metric("x"), metric("y", headline=False)
    more, _ = one(*records(values, columns=columns), *info)
    fewer, _ = one(*records({m: v for m, v in values.items() if m != "new"}, columns=columns), *info)
    assert {x.model for x in more.lines} - {x.model for x in fewer.lines} == {"new"}
    for line in fewer.lines:
        same = next(x for x in more.lines if x.model == line.model)
        assert repr(replace(same, rank=None)) == repr(replace(line, rank=None))
    assert repr(more.controls) == repr(fewer.controls)
    for a, b in zip(more.strata, fewer.strata, strict=True):
        assert repr({m: c for m, c in a.cells.items() if m != "new"}) == repr(dict(b.cells))
        assert (a.kind, a.level, a.n) == (b.kind, b.level, b.n)


def test_the_spread_over_seeds_is_that_of_the_means(rng):
    values = usual(rng)
    values["good"][PRIMARY] = np.array([[0.2], [0.3], [0.5]]) + rng.normal(0, 0.01, N)
    values["good"][PRIMARY][1, 0] = np.nan
    board, text = one(*records(values, seeds=(0, 1, 2)))
    cells = {line.model: line.cells[PRIMARY] for line in board.lines}
    expected = values["good"][PRIMARY][:, 1:].mean(axis=1).std(ddof=1)
    assert cells["good"].seed_sd == pytest.approx(expected)
    assert np.isnan(cells["bad"].seed_sd)
    header, *rows = table(text, "### Models")
    assert header[4] == "l2@all sd over seeds"
    assert {row[1]: row[4] for row in rows[:4]} == {"good": f"{expected:.3g}", "bad": "–", "train-mean": "–", "no-change": "–"}
    assert "sd over seeds" not in one(*records(usual(rng)))[1]


def test_means_and_medians_are_over_contexts(rng):
    contexts = ["a"] * 20 + ["b"] * 10
    values = usual(rng, noise=0.1)
    values["good"][PRIMARY] += np.where(np.arange(N) < 20, 0.0, 0.5)
    board, text = one(*records(values, contexts=contexts))
    own = values["good"][PRIMARY]
    cell = next(x for x in board.lines if x.model == "good").cells[PRIMARY]
    assert cell.mean == pytest.approx((own[:20].mean() + own[20:].mean()) / 2)
    assert cell.median == pytest.approx((np.median(own[:20]) + np.median(own[20:])) / 2)
    assert cell.low < cell.mean < cell.high
    assert board.contexts == 2
    assert "and 2 contexts" in text and "then over contexts" in text
    alone, text = one(*records(values, contexts=["a"] * N))
    assert next(x for x in alone.lines if x.model == "good").cells[PRIMARY].mean == pytest.approx(own.mean())
    assert alone.contexts == 1 and "contexts" not in text[: text.index("### What")]


def test_models_with_gaps_are_compared_on_what_all_answered(rng):
    gone = np.arange(N) < 6
    values = usual(rng)
    board, text = one(*records(values, absent={"bad": gone}))
    assert {x.model: x.rank for x in board.lines if not x.reference_row} == {
        "good": 1,
        "train-mean": 2,
        "no-change": 3,
        "bad": None,
    }
    common = {x.model: x for x in board.common}
    assert common["good"].cells[PRIMARY].mean == pytest.approx(values["good"][PRIMARY][6:].mean())
    assert [common[m].rank for m in ("good", "bad", "train-mean", "no-change")] == [1, 2, 3, 4]
    rows = table(text, f"### Models on the {N - 6} of {N}")
    assert [row[1] for row in rows[1:]] == ["good", "bad", "train-mean", "no-change"]


# -- order


def test_order_letters_and_agreement(rng):
    levels = {"a": 0.30, "b": 0.31, "c": 0.6}
    values = usual(rng, models=tuple(levels), noise=0.05)
    for model, level in levels.items():
        values[model][PRIMARY] = level + rng.normal(0, 0.05, N)
    values = with_metric(values, "x", ALL | {"a": 0.5, "b": 0.6, "c": 0.7}, rng)
    board, text = one(*records(values), metric("x"))
    assert board.order is not None
    assert board.order.groups["a"] == board.order.groups["b"] == "a"
    assert board.order.groups["c"] == "b"
    rows = table(text, "### Order of the models")
    assert [row[0] for row in rows[1:]] == list(board.order.groups)
    assert [float(row[1]) for row in rows[1:]] == sorted(float(row[1]) for row in rows[1:])
    assert 0.8 < board.order.stability <= 1
    assert "Rank stability" in text
    # By error a, b < c < train-mean < no-change; by x: c, b, a, train-mean, no-change.
    assert board.agreement is not None
    order = [np.mean(values[m][PRIMARY]) for m in ("a", "b")]
    assert board.agreement.mean == pytest.approx(0.4 if order[0] < order[1] else 0.6)
    assert board.agreement.pair == (PRIMARY, "x")


def test_the_drawing_is_safe_and_the_same_twice(rng):
    hostile = 'm<b>&"|\x00' + "x" * 60
    values = {hostile if m == "bad" else m: v for m, v in usual(rng).items()}
    cards, rows = records(values)
    board, _ = one(cards, rows)
    drawn = critical_difference(board)
    assert drawn is not None
    assert drawn == critical_difference(one(cards[::-1], rows[::-1])[0])
    root = ElementTree.fromstring(drawn)
    titles = [e.text for e in root.iter("{http://www.w3.org/2000/svg}title")]
    assert hostile.replace("\x00", " ") in titles
    assert re.fullmatch(r"[A-Za-z0-9.-]+\.svg", file_name(replace(board, dataset="../a b|<c>")))


# -- strata


def test_strata_are_means_over_their_conditions(rng):
    seen = ["0"] * 12 + ["1"] * 17 + ["2"]
    cells = np.repeat([10, 20, 90], 10)

    def columns(model):
        # Duplicates are scored against half of the cells.
        return {
            "seen_k": seen,
            "n_cells": cells // 2 if "duplicate" in model else cells,
            "effect": np.arange(N) / 10,
            "gi_class": None,
        }

    values = usual(rng)
    board, text = one(*records(values, columns=columns))
    found = {(s.kind, s.level): s for s in board.strata}
    own = values["good"][PRIMARY]
    zero = found["targets seen alone in training", "0"]
    assert (zero.n, zero.cells["good"].mean) == (12, pytest.approx(own[:12].mean()))
    assert zero.cells["good"].low < zero.cells["good"].mean < zero.cells["good"].high
    assert found["targets seen alone in training", "2"].n == 1
    assert found["targets seen alone in training", "2"].cells == {}, "one value is no mean"
    middle = found["number of test cells", "middle"]
    assert (middle.low, middle.high, middle.n) == (20, 20, 10)
    assert middle.cells["technical-duplicate"].mean == pytest.approx(values["technical-duplicate"][PRIMARY][10:20].mean())
    low = found["size of the true change", "low"]
    assert (low.n, low.cells["good"].mean) == (10, pytest.approx(own[:10].mean()))
    assert not [s for s in board.strata if s.kind == "genetic interaction"], "what is not recorded is left out"
    header = table(text, "By targets seen alone in training")[0]
    assert header == ["model", "0 (n = 12)", "1 (n = 17)", "2 (n = 1)"]
    assert next(row for row in table(text, "By targets seen alone") if row[0] == "good")[3] == "–"
    assert "middle (20 to 20, n = 10)" in table(text, "By number of test cells")[0]


def test_equal_values_are_never_cut_apart_and_old_records_have_no_strata(rng):
    board, text = one(*records(usual(rng), columns={"n_cells": [7] * 25 + [8] * 5, "effect": 1.0}))
    assert [(s.level, s.n) for s in board.strata] == [("low", 25), ("high", 5)]
    assert one(*records(usual(rng)))[0].strata == ()
    assert "by kind of condition" not in one(*records(usual(rng)))[1]


def test_each_fact_is_the_first_that_is_recorded(rng):
    """The row of most cells knows best, but it may leave a column empty that another row fills."""

    def columns(model):
        known = model == "bad"
        return {"n_cells": 10 if known else 20, "gi_class": ["additive", "synergy"] * (N // 2) if known else None}

    board, _ = one(*records(usual(rng), columns=columns))
    assert [(s.level, s.n) for s in board.strata] == [("additive", N // 2), ("synergy", N // 2)]


def test_classes_of_interaction_are_strata(rng):
    classes = ["additive"] * 10 + ["synergy"] * 10 + [None] * 10
    board, _ = one(*records(usual(rng), columns={"gi_class": classes}))
    assert [(s.kind, s.level, s.n) for s in board.strata] == [("genetic interaction", c, 10) for c in ("additive", "synergy")]


# -- gaming


def test_adversaries_have_a_section_of_their_own(rng):
    values = with_metric(usual(rng), "x", ALL, rng)
    values["gaming-loud"] = {PRIMARY: 3 + rng.normal(0, 0.1, N), "x": 0.7 + rng.normal(0, 0.02, N)}
    values["sly"] = {PRIMARY: 2 + rng.normal(0, 0.1, N), "x": 0.1 + rng.normal(0, 0.02, N)}
    cards, rows = records(values, groups={"sly": "gaming"})
    board, text = one(cards, rows, metric("x"), metric("y"))
    assert board.gaming is not None
    assert board.gaming.models == ("gaming-loud", "sly", "no-change", "train-mean")
    assert board.gaming.outranks == {"gaming-loud": ("x",), "sly": ()}
    assert set(board.gaming.compared) == {PRIMARY, "x"}
    main, section = text.split("### Gaming suite")
    assert "gaming-loud" not in main and "sly" not in main
    test = paired_test(values["gaming-loud"]["x"], values["train-mean"]["x"], clusters=[(label,) for label in LABELS])
    found = board.gaming.tests["gaming-loud"]["x"]
    assert (found.difference, found.low, found.high) == (test.difference, test.low, test.high)
    assert found.p == pytest.approx(2 * test.p), "Holm over the two adversaries"
    difference = {row[0]: row[1:] for row in table(section, "Gain over train-mean")}
    assert difference["gaming-loud"][1].startswith(f"{test.difference:.3g} \\[") and difference["gaming-loud"][1].endswith(
        "p 0.0002"
    )
    shown = {row[0]: row[1] for row in table(section, "|")}
    assert shown["gaming-loud"] == "yes: x" and shown["sly"] == "no" and shown["train-mean"] == "(baseline)"
    # What stands on the main board is the same without them.
    keep = [c for c in cards if c["model"] not in ("gaming-loud", "sly")]
    without, _ = one(keep, rows[~rows["model"].isin(["gaming-loud", "sly"])], metric("x"), metric("y"))
    assert repr(replace(board, gamers=(), gaming=None)) == repr(without)


def test_an_adversary_no_better_than_the_train_mean_does_not_outrank_it(rng):
    values = usual(rng)
    values["gaming-copy"] = {PRIMARY: values["train-mean"][PRIMARY] - 0.001 * rng.normal(0, 1, N)}
    board, _ = one(*records(values))
    assert board.gaming is not None and board.gaming.outranks == {"gaming-copy": ()}
    alone, text = one(*records({"gaming-copy": values["gaming-copy"]}))
    assert alone.gaming is not None and alone.gaming.compared == ()
    assert "not known" in text


def test_a_winner_is_not_hidden_behind_a_better_one(rng):
    """Shared ranks would put an adversary that beats the train mean into the group of one that is too noisy to."""
    values = with_metric(usual(rng), "x", ALL, rng)
    base, noise = values["train-mean"]["x"], rng.normal(0, 1.0, N)
    values["gaming-noisy"] = {"x": base + 0.25 + noise - noise.mean()}
    values["gaming-steady"] = {"x": base + 0.1 + rng.normal(0, 0.02, N)}
    board, _ = one(*records(values), metric("x"))
    assert board.gaming.outranks == {"gaming-noisy": (), "gaming-steady": ("x",)}


# -- text


def test_hostile_names_break_no_table(rng):
    columns = {"gi_class": ["a|b <i>"] * 15 + ["`c`"] * 15, "n_cells": np.arange(N)}
    values = {{"bad": "o|d*<d>`~_", "good": "[x](y)"}.get(m, m): v for m, v in usual(rng).items()}
    values["gaming-|<x>"] = values["train-mean"]
    _, text = one(*records(values, columns=columns))
    tables = re.findall(r"(?:^\|.*\n?)+", text, re.M)
    assert len(tables) >= 7
    for block in tables:
        assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in block.splitlines()}) == 1, block
    assert "<" not in text and "`c`" not in text and "[x](" not in text


def test_boards_can_be_written_as_json(rng):
    import json

    from pbench.bench.cli.leaderboard import _finite

    board, _ = one(*records(with_metric(usual(rng), "x", ALL, rng)), metric("x"))
    text = json.dumps(_finite(asdict(replace(board, seeds=(float("inf"),)))), sort_keys=True, allow_nan=False)
    assert json.loads(text)["seeds"] == [None]
    assert json.loads(text)["order"]["tests"][0][2] >= 0
