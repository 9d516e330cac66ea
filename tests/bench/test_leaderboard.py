"""A leaderboard is a pure function of the records, and no name from data can break it."""

from __future__ import annotations

import copy
import json
import os
import random
import re
import shutil

import pytest

from pbench.bench.cli.rendering import render_boards
from pbench.bench.contracts import registry
from pbench.bench.engine.store import Store, current
from pbench.leaderboards.board import boards, refused
from pbench.leaderboards.markdown import escape, number, render

MODELS = "no-change,train-mean,additive,oracle-mean"
#: What a run adds by itself.
ADDED = ("technical-duplicate", "interpolated-duplicate", "shuffled")


@pytest.fixture(scope="module")
def finished(pbench, toy_plugin, tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    done = pbench(
        *(
            "run",
            "--plugin",
            toy_plugin,
            "--dataset",
            "toy-screen",
            "--split",
            "doubles[holdout=0.9,validation=0.0]",
            "--out",
            "results",
            "--models",
            MODELS,
            "--metrics",
            "headline",
            "--controls",
        ),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (folder / "results" / "leaderboard.md").read_text().strip()
    return folder / "results"


@pytest.fixture
def results(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "results")


def rendered(results, keep=lambda card: True):
    return render_boards(results, keep)


def tables(text):
    """The tables of a board: for each a list of rows without alignment rows, each a list of cells."""
    found = []
    for block in re.findall(r"(?:^\|.*\n?)+", text, re.M):
        lines = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.splitlines()]
        found.append([line for line in lines if not set("".join(line)) <= set(":-")])
    return found


def rows(text):
    """Of the tables by model: rows by model without rank, ranks by model; and all lines that stand in no table."""
    found, ranks = {}, {}
    for header, *lines in tables(text):
        if header[:1] == ["rank"]:
            ranks |= {line[1]: line[0] for line in lines if line[0]}
            found |= {line[1]: line[1:] for line in lines if line[0]}
        elif header[:2] == ["model", "coverage"]:
            found |= {line[0]: line for line in lines}
    return found, ranks, [line for line in text.splitlines() if not line.startswith("|")]


def test_rendering_twice_gives_the_same_bytes(results):
    text = rendered(results)
    assert text == rendered(results) == (results / "leaderboard.md").read_text()
    assert "additive" in text and "toy-screen" in text


def test_times_of_files_and_their_order_do_not_matter(results):
    before = rendered(results)
    for i, path in enumerate(sorted((results / "records").iterdir(), reverse=True)):
        os.utime(path, (i, i))
    assert rendered(results) == before
    store = Store(results)
    metrics = {n: registry.metrics.get(n) for n in registry.metrics}
    for seed in range(4):
        cards = store.cards()
        random.Random(seed).shuffle(cards)
        table = store.rows(cards).sample(frac=1, random_state=seed)
        made = render(boards(current(cards), table, metrics), metrics, refused(cards))
        assert made == before


def test_another_model_moves_nothing_but_ranks(results):
    fewer, ranks_of_fewer, rest_of_fewer = rows(rendered(results, lambda card: card["model"] != "additive"))
    more, ranks, rest = rows(rendered(results))
    assert "additive" in more and "additive" not in fewer
    for model in ("no-change", "train-mean", "oracle-mean", *ADDED):
        assert more[model] == fewer[model]
    assert set(ranks) - set(ranks_of_fewer) == {"additive"}
    order = ("Rank stability", "Agreement")
    assert [line for line in rest_of_fewer if line not in rest and not line.startswith(order)] == []


def test_ranks_follow_the_primary_metric(results):
    made = boards(Store(results).cards(), Store(results).rows(Store(results).cards()), dict(registry_metrics()))
    (board,) = made
    error = {line.model: line.cells["l2@all"].mean for line in board.lines if not line.reference_row}
    _, ranks, _ = rows(rendered(results))
    ordered = [int(ranks[m]) for m in sorted(error, key=error.__getitem__)]
    assert ordered[0] == 1 and ordered == sorted(ordered)
    assert all(ranks[line.model] == str(line.rank) for line in board.lines if not line.reference_row)
    assert "oracle-mean" not in ranks


def registry_metrics():
    return ((n, registry.metrics.get(n)) for n in registry.metrics)


def edit(results, model, change):
    """Edit the run card of a model."""
    store = Store(results)
    for card in store.cards():
        if card["model"] == model:
            change(card)
            store.write(card["score_id"], card)


FAILED = {"rule": 2, "name": "reversed combinations", "status": "fail", "detail": "the reverse of 'A+B' is in training."}


def test_results_of_a_split_that_leaks_are_refused(results):
    def fail(card):
        card["audit"] = {"status": "fail", "findings": [FAILED]}

    edit(results, "train-mean", fail)
    text = rendered(results)
    board, _, apart = text.partition("## Refused")
    shown, _, _ = rows(board)
    assert "train-mean" not in shown and "additive" in shown
    assert "train-mean on toy-screen" in apart and "rule 2, reversed combinations" in apart
    for model in ("no-change", "additive", "oracle-mean", *ADDED):
        edit(results, model, fail)
    assert rendered(results).startswith("## Refused")


def test_of_two_answers_to_one_question_the_newer_counts(results):
    cards = Store(results).cards()
    older = copy.deepcopy(cards[0])
    older["started"] -= 100
    older["score_id"] = "0" * 64
    assert current([cards[0], older]) == current([older, cards[0]]) == [cards[0]]


def test_answers_on_other_data_do_not_stand_beside_the_newest(results):
    def of_old_data(card):
        card["spec"]["data_id"] = "old"
        card["started"] -= 1000

    edit(results, "train-mean", of_old_data)
    assert "train-mean" not in rows(rendered(results))[0]


def test_answers_to_an_older_split_of_the_same_name_do_not_stand_beside_the_newest(results):
    def of_old_split(card):
        card["spec"]["split_id"] = "old"
        card["started"] -= 1000

    edit(results, "train-mean", of_old_split)
    assert "train-mean" not in rows(rendered(results))[0]


def test_rows_of_a_superseded_seed_do_not_enter_a_mean(results):
    cards = Store(results).cards()
    table = Store(results).rows(cards)
    metrics = dict(registry_metrics())
    stale_cards, stale = [], []
    for card in cards:
        old = copy.deepcopy(card)
        old["spec"] |= {"seed": 9, "data_id": "old"}
        old["started"] -= 1000
        stale_cards.append(old)
        wrong = table[table["model"] == card["model"]].assign(seed=9)
        stale.append(wrong.assign(value=wrong["value"] + 100))
    import pandas as pd

    both = boards([*cards, *stale_cards], pd.concat([table, *stale], ignore_index=True), metrics)
    assert render(both, metrics) == render(boards(cards, table, metrics), metrics)


def test_a_damaged_record_is_named(results):
    path = next(p for p in sorted((results / "records").glob("*.json")) if json.loads(p.read_text())["model"] == "additive")
    path.with_name(json.loads(path.read_text())["rows_file"]).write_bytes(b"PAR1")
    text = rendered(results)
    assert "## Damaged records" in text and path.name in text
    assert "additive" not in rows(text)[0]


def test_a_run_of_other_metrics_hides_no_scores(results, pbench, toy_plugin):
    """Scores of an answer accumulate, whichever command asked for them; boards then show what both runs have given."""
    before = rows(rendered(results))
    split = ("--dataset", "toy-screen", "--split", "doubles[holdout=0.9,validation=0.0]")
    done = pbench(
        *("run", "--plugin", toy_plugin, *split, "--out", "results", "--models", "additive", "--metrics", "mae@all"),
        cwd=results.parent,
    )
    assert done.returncode == 0, done.stderr
    assert rows(rendered(results))[:2] == before[:2]
    (additive,) = (c for c in current(Store(results).cards()) if c["model"] == "additive")
    assert {"mae@all", "l2@all"} <= set(additive["metrics"])
    assert {"mae@all", "l2@all"} <= set(Store(results).rows([additive])["metric"])


NULL_PLUGIN = """
import numpy as np
from pbench.bench.contracts.screen import Dataset, DatasetCard, Screen

CARD = DatasetCard("null-screen", "null", "made by a test", "CC0", "counts", "control", simulated=True, default_split="unseen-single")


def load():
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(SEED)
    labels = np.repeat(["control"] * 10 + [f"G{i:03d}" for i in range(60)], 30)
    rate = rng.lognormal(0, 0.3, (len(labels), 1)) * np.exp(rng.normal(0, 1, 120))
    obs = pd.DataFrame({"perturbation": labels}, index=[f"c{i}" for i in range(len(labels))])
    var = pd.DataFrame(index=[f"G{i:03d}" for i in range(120)])
    return Screen(AnnData(csr_matrix(rng.poisson(rate).astype(np.float32)), obs=obs, var=var), CARD)


NULL = Dataset(card=CARD, data_id=lambda: "null-screen-SEED", load=load)
"""


@pytest.mark.parametrize("seed", [0, 1])
def test_on_data_without_any_effect_no_score_of_means_ranks(pbench, tmp_path, seed):
    """Duplicates and baselines are held to the same halves: on all cells the truth of one would be less noisy than that of the other."""
    (tmp_path / "null.py").write_text(NULL_PLUGIN.replace("SEED", str(seed)))
    names = ("l2@all", "mse@all", "l2@all", "pearson_delta@all~ctrl", "pearson_excess@all~ctrl")
    command = ("run", "--controls", "--plugin", "null.py", "--dataset", "null-screen", "--split", "unseen-single[folds=2]")
    done = pbench(*command, "--models", "train-mean", "--metrics", ",".join(names), "--out", "results", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (board,) = json.loads(pbench("leaderboard", "--plugin", "null.py", "--json", cwd=tmp_path).stdout)
    assert set(board["controls"]) == set(names)
    assert [m for m, c in board["controls"].items() if c["decides"]["separates"]] == []
    assert all(line["rank"] is None for line in board["lines"])


def test_an_empty_folder_says_what_to_type(tmp_path):
    (tmp_path / "records").mkdir()
    assert "pbench run" in rendered(tmp_path)


def test_the_command_renders_checks_and_narrows(results, pbench, tmp_path):
    shown = pbench("leaderboard", "--results", results, cwd=tmp_path)
    assert shown.stdout == (results / "leaderboard.md").read_text()
    assert pbench("leaderboard", "--results", results, "--check", results / "leaderboard.md", cwd=tmp_path).returncode == 0
    (tmp_path / "old.md").write_text(shown.stdout + "x")
    assert pbench("leaderboard", "--results", results, "--check", "old.md", cwd=tmp_path).returncode == 1
    both = ("--check", "old.md", "--json", "--write", "new.md")
    done = pbench("leaderboard", "--results", results, *both, cwd=tmp_path)
    assert done.returncode == 1 and "stale" in done.stderr
    found = json.loads(done.stdout)
    assert found["up_to_date"] is False and len(found["boards"]) == 1
    assert (tmp_path / "new.md").read_text() == shown.stdout
    done = pbench("leaderboard", "--results", results, "--check", "new.md", "--json", cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["up_to_date"] is True
    (board,) = json.loads(pbench("leaderboard", "--results", results, "--json", "--models", "add*", cwd=tmp_path).stdout)
    assert [line["model"] for line in board["lines"]] == ["additive"]
    # Controls say what the metrics can tell, also where they are not shown.
    assert board["controls"]["l2@all"]["positive"] == "interpolated-duplicate"
    assert set(board["lines"][0]["scores"]) == set(board["controls"])
    median = board["lines"][0]["cells"]["l2@all"]["median"]
    table = Store(results).rows(Store(results).cards())
    assert median == pytest.approx(table[(table["model"] == "additive") & (table["metric"] == "l2@all")]["value"].median())


def test_the_command_draws_the_order(results, pbench, tmp_path):
    from xml.etree import ElementTree

    done = pbench("leaderboard", "--results", results, "--figures", "a/b", cwd=tmp_path)
    again = pbench("leaderboard", "--results", results, "--figures", "c", cwd=tmp_path)
    (drawn,), (same,) = ((tmp_path / folder).iterdir() for folder in ("a/b", "c"))
    assert drawn.name in done.stderr and done.stdout == again.stdout
    assert drawn.read_bytes() == same.read_bytes()
    text = {e.text for e in ElementTree.parse(drawn).iter("{http://www.w3.org/2000/svg}text")}
    assert {"additive", "train-mean", "no-change"} <= text


HOSTILE = "a|b <img src=x onerror=1> `c` *d* _e_ [f](http://g) \\ & ~~h~~ \n# i"


def test_text_cannot_become_markup():
    assert not re.search(r"(?<!\\)[|`*_\[\]~<>]", escape(HOSTILE).replace("&lt;", "").replace("&gt;", ""))
    assert "\n" not in escape(HOSTILE) and "<" not in escape(HOSTILE)
    assert escape("a\\|b") == "a\\\\\\|b"
    assert escape("plain-name 1.5") == "plain-name 1.5"


@pytest.mark.parametrize(("value", "shown"), [(-0.0, "0"), (1e-15, "0"), (0.12345, "0.123"), (-2, "-2"), (123456.0, "1.23e+05")])
def test_numbers_are_short(value, shown):
    assert number(value) == shown


HOSTILE_PLUGIN = """
import numpy as np
from pbench import Capabilities, Model, Prediction
from pbench.bench.contracts.screen import Dataset, DatasetCard, Screen

NAMES = ["P|1", "<b>2", "*3*", "`4`", "_5_", "[6]", "7+7%"]
CARD = DatasetCard("h|<o>`s`", "a |title| with <b>markup</b>", "test", "CC|0", "log1p_1e4", "control", simulated=True)


def load():
    import pandas as pd
    from anndata import AnnData
    from pbench import Condition

    labels = np.repeat(["control", *(Condition((n,)).label for n in NAMES)], 20)
    X = np.random.default_rng(0).random((len(labels), 30)).astype(np.float32)
    obs = pd.DataFrame({"perturbation": labels}, index=[f"c{i}" for i in range(len(labels))])
    return Screen(AnnData(X, obs=obs, var=pd.DataFrame(index=[f"g|{i}" for i in range(30)])), CARD)


DATA = Dataset(CARD, lambda: "hostile", load)


class Odd(Model):
    name = "o|d<d>`~_"
    capabilities = Capabilities(unseen_targets=True)

    def __init__(self, *, text=""):
        self.text = text

    def fit(self, data, *, seed):
        return self

    def predict(self, conditions, controls):
        left = conditions[0]
        kept = tuple(conditions[1:])
        return Prediction(kept, controls.control_mean(kept), absent={left: f"nothing | known <i>of</i> {left.key}"})


class Fails(Odd):
    name = "f|ails"

    def fit(self, data, *, seed):
        raise ValueError("| a <table> | `row` |\\n| next |")
"""


def test_hostile_names_of_data_and_models_break_no_table(pbench, tmp_path):
    (tmp_path / "hostile.py").write_text(HOSTILE_PLUGIN)
    done = pbench(
        *(
            "run",
            "--plugin",
            "hostile.py",
            "--dataset",
            "h|<o>`s`",
            "--split",
            "unseen-single[folds=3]",
            "--metrics",
            "headline",
        ),
        *("--models", "o|d<d>`~_[text=x|<y>],f|ails,no-change", "--out", "results"),
        cwd=tmp_path,
    )
    assert done.returncode == 1, done.stderr
    text = done.stdout
    assert "o\\|d&lt;d&gt;\\`\\~\\_\\[text=x\\|&lt;y&gt;\\]" in text
    assert "<" not in text.replace("](<", "") and "`4`" not in text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.M)
    assert len(tables) >= 2
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


def test_intervals_stay_in_the_range_of_the_metric():
    import pandas as pd

    from pbench.leaderboards.aligned import align
    from pbench.leaderboards.cells import cells

    labels = ["A+B", "A+C", "D+E"]
    rows = pd.DataFrame(
        {
            "model": "m",
            "metric": "l2@all",
            "fold": "1/1",
            "seed": 0,
            "condition": labels,
            "perturbation": labels,
            "value": [0.001, 0.002, 3.0],
            "reason": None,
        }
    )
    metric = registry.metrics.get("l2@all")
    cell = cells(align(rows, ("l2@all",)), {"l2@all": metric})["m"]["l2@all"]
    assert 0 == metric.lower <= cell.low < cell.mean < cell.high


def test_seeds_are_averaged_and_reasons_counted_by_condition():
    import numpy as np
    import pandas as pd

    from pbench.leaderboards.aligned import align

    records = [
        ("m", "A", 0, 1.0, None),
        ("m", "A", 1, 3.0, None),
        ("m", "B", 0, np.nan, "zero_variance"),
        ("m", "B", 1, np.nan, "single_class"),
        ("n", "B", 0, np.nan, "zero_variance"),
        ("n", "B", 1, 5.0, None),
    ]
    rows = pd.DataFrame(records, columns=["model", "condition", "seed", "value", "reason"])
    rows = rows.assign(metric="x", fold="1/1", perturbation=rows["condition"])
    for own in (rows, rows[::-1], rows.sample(frac=1, random_state=1)):
        found = align(own, ("x",))["x"]
        assert found.units == ("1/1 A", "1/1 B") and found.targets == (("A",), ("B",))
        np.testing.assert_array_equal(found.values["m"], [2.0, np.nan])
        np.testing.assert_array_equal(found.values["n"], [np.nan, 5.0])
        np.testing.assert_array_equal(found.seeds["m"], [[1.0, np.nan], [3.0, np.nan]])
        np.testing.assert_array_equal(found.seeds["n"], [[np.nan, 5.0]])
        assert found.reasons == {"m": {"zero_variance": 1}, "n": {"not scored": 1}}, "the reason of the first seed, once"
        assert found.contexts is None
