"""The site's data files say what the records say, are the same bytes for the same records, and hold no code from data."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic_records import BASELINES, GAMING, METRICS, PRIMARY, REFERENCES, Records, published, synthetic_records

from pbench.leaderboards.published import Published
from pbench.leaderboards.site import build as site_module
from pbench.leaderboards.site.build import build
from pbench.leaderboards.site.script import number, numbers, script
from pbench.leaderboards.slugs import slug

HOSTILE = [
    "</script><script>alert(1)</script>",
    "../../../etc/passwd",
    "a\"b'c\\",
    "line\u2028end",
    "x" * 3000,
    "__proto__",
    "<!--",
    "Gears",
    "gears",
]
UNITS = 12


@pytest.fixture(autouse=True)
def no_libraries(monkeypatch):
    """Data are tested without the packages that ship the table and the plotting library."""

    def written(folder):
        (folder / "assets").mkdir(parents=True)
        (folder / "index.html").write_text("<!doctype html>")
        (folder / "assets" / "app.js").write_text("//")

    monkeypatch.setattr(site_module, "write_assets", written)


@pytest.fixture(scope="module")
def records():
    return synthetic_records(9, 3, UNITS, n_seeds=2, n_genes=4)


@pytest.fixture(scope="module")
def content(records):
    return published(records)


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def read(folder, key):
    """What a data file hands to the page: a script of one call, whose second argument is JSON."""
    text = (folder / "data" / f"{key}.js").read_text(encoding="ascii")
    found = re.fullmatch(r"pbench\.put\((\"[^\"]*\"), (.*)\);\n", text, re.DOTALL)
    assert found is not None
    assert json.loads(found[1]) == key
    return json.loads(
        found[2].replace('["__proto__"]:', '"__proto__":'), parse_constant=lambda name: pytest.fail(f"{name} is no JSON")
    )


@pytest.fixture(scope="module")
def site(content, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site_module, "write_assets", lambda folder: (folder / "index.html").write_text("x"))
        folder = tmp_path_factory.mktemp("made") / "site"
        build(content, folder)
    return folder


def slugs(site):
    return [b["slug"] for b in read(site, "index")["boards"] if b["kind"] == "prediction"]


# -- what the files say


def test_the_index_lists_boards_and_models_with_ranks_and_means(site, content):
    index = read(site, "index")
    assert [b["slug"] for b in index["boards"]] == sorted(slugs(site)) + ["norman-sim--units--identification"]
    by_slug = {b["slug"]: b for b in index["boards"]}
    for board in content.boards:
        own = by_slug[f"{board.dataset}--{board.split}"]
        assert own["conditions"] == UNITS and own["seeds"] == 2 and own["audit"] == "warn"
        assert own["best"] == sorted(x.model for x in board.lines if x.rank == 1)
        assert own["simulated"] == board.dataset.endswith("-sim")
        assert own["title"] == f"{board.dataset}, {board.split}"
        for line in board.lines:
            (there,) = [m for m in index["models"] if m["name"] == line.model]
            found = [b for b in there["boards"] if b["slug"] == own["slug"]]
            assert bool(found) == (PRIMARY in line.cells)
            if found:
                assert found[0]["mean"] == pytest.approx(line.cells[PRIMARY].mean, rel=1e-4)
                assert found[0]["rank"] == line.rank
    assert {m["name"] for m in index["models"]}.isdisjoint(GAMING)
    assert index["metrics"][PRIMARY] | {"formula": "", "caveats": ""} == {
        "direction": "down", "perfect": 0, "lower": 0, "upper": None, "formula": "", "caveats": "", "version": 1, "headline": True, "level": "perturbation",
    }  # fmt: skip


def test_history_has_a_mean_for_every_release(site, content):
    history = read(site, "index")["history"]
    assert history["versions"] == ["0.1.0", "0.2.0", "0.3.0"]
    board = content.boards[0]
    series = {(s["board"], s["model"], s["metric"]): s["means"] for s in history["series"]}
    for place, line in enumerate(board.lines):
        if PRIMARY in line.cells:
            means = series[f"{board.dataset}--{board.split}", line.model, PRIMARY]
            assert means[2] == pytest.approx(line.cells[PRIMARY].mean, rel=1e-4)
            assert (means[0] is None) == (place == len(board.lines) - 1)


def test_identification_stands_beside_prediction(site, content):
    together = read(site, "index")["together"]
    assert [c["metric"] for c in together["columns"]] == ["mcc.responsive", "r2_block.invariant", PRIMARY, "seed to seed"]
    (codes,) = content.codes
    lines = {x.model: x for x in codes.lines}
    predicted = {x.model: x for b in content.boards if b.dataset == codes.dataset for x in b.lines}
    assert [r["model"] for r in together["rows"]] == sorted(
        (r["model"] for r in together["rows"]), key=lambda m: (m not in lines or lines[m].status != "ok", m)
    )
    for row in together["rows"]:
        score, _, error, agreed = row["cells"]
        line = lines.get(row["model"])
        assert (score is None) == (line is None or line.status != "ok")
        if score is not None:
            assert score["mean"] == pytest.approx(line.scores["mcc.responsive"].mean, rel=1e-4)
            assert agreed["mean"] == pytest.approx(line.agreement.mean, rel=1e-4)
            assert agreed["low"] <= agreed["mean"] <= agreed["high"]
        assert (error is None) == (PRIMARY not in predicted[row["model"]].cells)


def test_a_board_says_what_its_lines_say(site, content):
    for board in content.boards:
        page = read(site, f"board/{board.dataset}--{board.split}")
        lines = {x["model"]: x for x in page["lines"]}
        assert set(lines) == {x.model for x in board.lines} | set(GAMING)
        assert {x["model"] for x in page["lines"] if x["kind"] == "reference"} == set(REFERENCES)
        assert {x["model"] for x in page["lines"] if x["kind"] == "gaming"} == set(GAMING)
        for line in board.lines:
            own = lines[line.model]
            assert (own["rank"], own["predicted"], own["asked"], own["fallback"]) == (
                line.rank,
                line.predicted,
                line.asked,
                line.fallback,
            )
            assert set(own["cells"]) == set(line.cells)
            for metric, cell in line.cells.items():
                shown = own["cells"][metric]
                for name in ("mean", "low", "high", "median"):
                    assert shown[name] == pytest.approx(getattr(cell, name), rel=1e-4)
                assert (shown["seed_sd"] is None) == math.isnan(cell.seed_sd) == (line.model in BASELINES)
                assert (shown["defined"], shown["asked"], shown["reasons"]) == (cell.defined, cell.asked, cell.reasons)
            assert (own["letters"] != "") == (line.rank is not None)
        ranked = [x["cells"][PRIMARY]["mean"] for x in page["lines"] if x["rank"]]
        assert ranked == sorted(ranked) and len(ranked) > 3
        assert {t for better, other, _ in page["order"]["tests"] for t in (better, other)} == {
            x["model"] for x in page["lines"] if x["rank"]
        }
        assert page["metrics"] == page["headline"] == list(METRICS)
        assert page["words"]["command"].startswith("pbench run")
        assert len(page["conditions"]) == UNITS


def test_a_line_without_values_says_why(site):
    page = read(site, f"board/{slugs(site)[0]}")
    (gone,) = [x for x in page["lines"] if x["status"] == "unavailable"]
    assert "--resource" in gone["reason"] and gone["cells"] == {} and gone["rank"] is None and gone["seconds"]["fit"] is None
    assert not gone["detail"] and not (site / "data" / "model" / slugs(site)[0] / f"{gone['slug']}.js").exists()
    (partly,) = [x for x in page["lines"] if x["absent"]]
    assert partly["rank"] is None and not partly["complete"] and partly["predicted"] < partly["asked"]
    assert {x["model"] for x in page["common"]} >= {partly["model"]}
    assert page["common_n"] == partly["predicted"]


def test_grey_metrics_have_a_reason_and_controls_their_means(site, records):
    page = read(site, "board/norman-mini--doubles")
    dull = "retrieval.predictions@all~ctrl#l2"
    assert list(page["grey"]) == [dull] and page["controls"][dull]["reason"] == page["grey"][dull] != ""
    known = page["controls"][PRIMARY]
    assert (known["positive"], known["negative"], known["separates"]) == ("interpolated-duplicate", "train-mean", True)
    rows = records.rows
    own = rows[(rows["dataset"] == "norman-mini") & (rows["metric"] == PRIMARY)]
    for name in ("positive", "negative"):
        assert known[f"{name}_mean"] == pytest.approx(own.loc[own["model"] == known[name], "half_value"].mean(), rel=1e-4)


def test_values_of_a_model_are_those_of_the_rows_with_seeds_averaged(site, records):
    for board in slugs(site):
        page = read(site, f"board/{board}")
        rows = records.rows[(records.rows["dataset"] == page["dataset"]) & (records.rows["split"] == page["split"])]
        means = rows.groupby(["model", "metric", "fold", "condition"])["value"].mean()
        for line in page["lines"]:
            if line["detail"]:
                found = read(site, f"model/{board}/{line['slug']}")
                assert found["model"] == line["model"] and found["metrics"] == list(METRICS)
                for metric, values in found["values"].items():
                    expected = [means.get((line["model"], metric, c["fold"], c["label"]), math.nan) for c in page["conditions"]]
                    np.testing.assert_allclose([math.nan if v is None else v for v in values], expected, rtol=1e-4)
                gone = {i for i, c in enumerate(page["conditions"]) if found["values"][PRIMARY][i] is None}
                assert {int(i) for i in found["absent"]} == gone
                simpler = rows[(rows["model"] == line["model"]) & rows["fallback"]]
                assert {page["conditions"][i]["label"] for i in found["fallback"]} == set(simpler["condition"])


def test_shifts_are_those_of_the_frame(site, records):
    for board in slugs(site):
        page = read(site, f"board/{board}")
        shifts = records.shifts[(records.shifts["dataset"] == page["dataset"]) & (records.shifts["split"] == page["split"])]
        line = next(x for x in page["lines"] if x["absent"])
        found = read(site, f"model/{board}/{line['slug']}")
        assert set(found["shifts"]) == {str(i) for i in range(UNITS)} - set(found["absent"])
        for at, own in found["shifts"].items():
            asked = page["conditions"][int(at)]
            rows = shifts[
                (shifts["model"] == line["model"]) & (shifts["fold"] == asked["fold"]) & (shifts["condition"] == asked["label"])
            ]
            expected = {g: (t, p) for g, t, p in zip(rows["gene"], rows["truth"], rows["predicted"], strict=True)}
            ours = {found["genes"][g]: (t, p) for g, t, p in zip(own["g"], own["t"], own["p"], strict=True)}
            assert set(ours) == set(expected) and len(ours) == 4
            for gene, pair in ours.items():
                assert pair == pytest.approx(expected[gene], rel=1e-4)
            assert own["t"] == sorted(own["t"], key=abs, reverse=True)


def test_a_board_of_codes_has_its_scores(site, content):
    (codes,) = content.codes
    page = read(site, "board/norman-sim--units--identification")
    assert page["latents"] == [f"z{i}" for i in range(6)] and page["primary"] == "mcc.responsive"
    lines = {x["model"]: x for x in page["lines"]}
    for line in codes.lines:
        own = lines[line.model]
        assert (own["status"], own["told"], own["claim"]) == (line.status, line.told, line.claim)
        assert {m: len(s["seeds"]) for m, s in own["scores"].items()} == {m: len(s.seeds) for m, s in line.scores.items()}
        assert own["kind"] == ("reference" if line.model in ("oracle-code", "noise-code") else "model")
    ranks = [x["rank"] for x in page["lines"] if x["rank"]]
    assert ranks == sorted(ranks) and ranks[0] == 1
    assert {x["scores"]["dci.disentanglement"]["reason"] for x in lines.values() if x["scores"]} == {"", "one_latent"}


# -- the same records, the same bytes


def test_the_order_of_arrival_does_not_matter(site, records, tmp_path):
    rng = np.random.default_rng(0)
    plain = records.shifts.astype(dict.fromkeys(("dataset", "split", "model", "fold", "condition", "gene"), object))
    shuffled = Records(
        [records.cards[i] for i in rng.permutation(len(records.cards))],
        records.rows.iloc[rng.permutation(len(records.rows))].reset_index(drop=True),
        plain.iloc[rng.permutation(len(plain))],
        records.agreements[::-1],
    )
    again = published(shuffled)
    build(replace(again, history=[r | {"numbers": r["numbers"][::-1]} for r in again.history]), tmp_path / "site")
    ours, theirs = files(site / "data"), files(tmp_path / "site" / "data")
    assert set(ours) == set(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_adding_a_model_changes_nothing_of_the_others_but_ranks(tmp_path):
    names = ["gears", "scgen", "mlp-go", "cpa", "knn-go", "ridge-go", "additive"]
    after = synthetic_records(9, 2, 10, n_seeds=2, n_genes=3, names=names, n_codes=1)

    def without(frame):
        return frame[frame["model"] != "scgen"]

    before = Records(
        [c for c in after.cards if c["model"] != "scgen"], without(after.rows), without(after.shifts),
        [a for a in after.agreements if a["model"] != "scgen"],
    )  # fmt: skip
    build(published(before), tmp_path / "before")
    build(published(after), tmp_path / "after")
    ours, theirs = files(tmp_path / "before"), files(tmp_path / "after")
    moved = {name for name in ours if ours[name] != theirs[name]}
    assert set(theirs) - set(ours) == {f"data/model/{b}/scgen.js" for b in slugs(tmp_path / "after")}
    assert all(name.startswith(("data/board/", "data/index.js", "site.json")) for name in moved), "no file of another model"
    ordered = {"rank", "letters", "mean_rank"}
    for board in [*slugs(tmp_path / "after"), "norman-sim--units--identification"]:
        old, new = (read(tmp_path / f, f"board/{board}") for f in ("before", "after"))
        others = {x["model"]: x for x in new["lines"]}
        assert set(others) - {x["model"] for x in old["lines"]} == {"scgen"}
        for x in old["lines"]:
            assert {k: v for k, v in x.items() if k not in ordered} == {
                k: v for k, v in others[x["model"]].items() if k not in ordered
            }
        assert {k: v for k, v in old.items() if k not in ("lines", "order", "common", "common_n", "strata")} == {
            k: v for k, v in new.items() if k not in ("lines", "order", "common", "common_n", "strata")
        }
        for a, b in zip(old.get("strata", ()), new.get("strata", ()), strict=True):
            assert a == b | {"cells": {m: c for m, c in b["cells"].items() if m != "scgen"}}


# -- what comes from data


def test_hostile_names_stay_text(tmp_path):
    records = synthetic_records(len(HOSTILE) + 2, 1, 8, n_genes=2, names=HOSTILE, n_codes=0)
    card = records.cards[0]["dataset_card"] | {"title": "</script>\u2029<img src=x onerror=alert(1)>"}
    records = Records([c | {"dataset_card": card} for c in records.cards], records.rows, records.shifts, [])
    folder = tmp_path / "site"
    build(published(records), folder)
    (board,) = slugs(folder)
    page = read(folder, f"board/{board}")
    assert page["card"]["title"] == card["title"]
    names = {x["model"]: x["slug"] for x in page["lines"]}
    assert set(HOSTILE) < set(names)
    assert len({s.lower() for s in names.values()}) == len(names)
    for x in page["lines"]:
        if x["detail"]:
            assert read(folder, f"model/{board}/{x['slug']}")["model"] == x["model"]
    for name, data in files(tmp_path).items():
        assert re.fullmatch(r"site/([a-z]+/)*([a-z0-9.-]+/)?[a-z0-9.-]+", name), name
        if "/data/" in name:
            assert data.isascii() and not set(data) & set(b"<>&\x7f")
    assert '["__proto__"]:{' in (folder / "data" / "board" / f"{board}.js").read_text(), "a property, and not the prototype"


def test_two_boards_of_one_address_are_refused(content, tmp_path, monkeypatch):
    monkeypatch.setattr(site_module, "address", lambda board: "same")
    with pytest.raises(Exception, match="two boards have the same address") as caught:
        build(content, tmp_path / "site")
    assert caught.value.exit_code == 3 and not (tmp_path / "site").exists()


def test_nothing_published_is_a_site_too(tmp_path):
    build(Published([], [], {}, [], pd.DataFrame(), pd.DataFrame(), {}, [], ["refused"], ["damaged"]), tmp_path / "site")
    index = read(tmp_path / "site", "index")
    assert (index["boards"], index["together"], index["refused"], index["damaged"]) == ([], None, ["refused"], ["damaged"])


@pytest.mark.parametrize("value", [0.123456, 3.0, -0.0, 1e-7, 123456.7, 9.99999e-3, 1e30, 1e-30, 5e-324, -2.5e-12, 99999.5, 1e22])
def test_numbers_have_five_digits(value):
    expected = float(f"{value:.5g}")
    assert number(value) == expected
    (short,) = numbers(np.array([value]))
    assert short == pytest.approx(expected, rel=1e-15, abs=0) and len(repr(short).strip("-0.")) < 12
    assert numbers(np.array([value, math.nan, math.inf])) == [short, None, None]
    assert number(math.nan) is number(math.inf) is number(None) is None


def test_numbers_round_as_text_does():
    values = np.random.default_rng(0).lognormal(0, 4, 20_000)
    assert sum(float(f"{v:.5g}") != s for v, s in zip(values, numbers(values), strict=True)) <= 2, "but for halves"


def test_what_is_no_json_is_not_written():
    with pytest.raises(ValueError, match="JSON compliant"):
        script("x", math.nan)


# -- the folder


def test_files_of_earlier_builds_go_and_no_others(content, site, tmp_path):
    folder = tmp_path / "site"
    build(content, folder)
    (folder / "mine.txt").write_text("mine")
    (folder / "data" / "board" / "mine.js").write_text("mine")
    first = content.boards[0]
    build(replace(content, boards=content.boards[1:], codes=[]), folder)
    left = set(files(folder))
    gone = f"{first.dataset}--{first.split}"
    assert not [name for name in left if gone in name or "identification" in name]
    assert {"mine.txt", "data/board/mine.js", "index.html"} <= left
    assert not (folder / "data" / "model" / gone).exists()
    build(content, folder)
    assert set(files(folder)) - {"mine.txt", "data/board/mine.js"} == set(files(site)) | {"assets/app.js"}


@pytest.mark.parametrize("manifest", [None, "{", "[]", '{"format": 2, "files": []}', '{"format": 1}'])
def test_a_folder_of_somebody_else_is_refused(content, tmp_path, manifest):
    (tmp_path / "notes.txt").write_text("mine")
    if manifest is not None:
        (tmp_path / "site.json").write_text(manifest)
    before = files(tmp_path)
    with pytest.raises(Exception, match="not empty and holds no site") as caught:
        build(content, tmp_path)
    assert caught.value.exit_code == 2 and files(tmp_path) == before
    with pytest.raises(Exception, match="is a file"):
        build(content, tmp_path / "notes.txt")


def test_a_manifest_removes_nothing_outside_and_nothing_that_no_site_has(content, tmp_path):
    folder, other = tmp_path / "site", tmp_path / "other"
    other.mkdir()
    for path in (other / "x.js", tmp_path / "x.js"):
        path.write_text("keep")
    folder.mkdir()
    (folder / "data").symlink_to(other)
    (folder / "notes.txt").write_text("keep")
    named = ["../x.js", "data/../../x.js", "data/x.js", str(tmp_path / "x.js"), "notes.txt", "site.json", 3, "data/.."]
    (folder / "site.json").write_text(json.dumps({"format": 1, "files": named}))
    build(replace(content, boards=[], codes=[]), folder)
    assert (other / "x.js").read_text() == (tmp_path / "x.js").read_text() == (folder / "notes.txt").read_text() == "keep"


def test_a_build_that_breaks_off_leaves_files_that_the_next_one_knows(content, tmp_path, monkeypatch):
    folder = tmp_path / "site"

    def broken(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(site_module, "codes_data", broken)
        with pytest.raises(KeyboardInterrupt):
            build(content, folder)
    assert (folder / "data" / "index.js").exists()
    build(replace(content, boards=[], codes=[]), folder)
    assert set(files(folder)) == {"index.html", "assets/app.js", "data/index.js", "site.json"}


def test_slugs_name_the_files(site, content):
    for board in content.boards:
        for line in board.lines:
            there = (site / "data" / "model" / f"{slug(board.dataset)}--{slug(board.split)}" / f"{slug(line.model)}.js").exists()
            assert there == (line.status == "ok")
