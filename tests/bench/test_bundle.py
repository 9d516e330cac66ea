"""Bundles: what is written is read back, the same results give the same bytes, and whatever somebody put there is refused in words."""

from __future__ import annotations

import copy
import io
import json
import os
import shutil
import zipfile
from dataclasses import asdict

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundled_results import cards_of, seal, write_cards
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_bundles import small_records, write_results

from pbench.bench.contracts import registry
from pbench.bench.contracts.errors import DataError, UsageError
from pbench.bench.contracts.identity import content_id
from pbench.bench.engine import bundle_files, tables
from pbench.bench.engine.bundle import find_bundles, read_bundle
from pbench.bench.engine.bundle_predictions import read_archived
from pbench.bench.engine.bundle_write import DROPPED, select, write_bundle
from pbench.bench.engine.encodings import read_agreements
from pbench.bench.engine.store import Store, current
from pbench.bench.engine.tables import ROW_COLUMNS, as_table
from pbench.leaderboards.board import boards
from pbench.leaderboards.identification import identifications
from pbench.leaderboards.markdown import render

RECORDS = small_records(boards=1, perturbations=5, codes=1)
METRICS = {name: registry.metrics.get(name) for name in registry.metrics}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Made-up results of two data sets, one of them with scores of codes."""
    return write_results(tmp_path_factory.mktemp("results"), RECORDS)


@pytest.fixture(scope="module")
def boarded(results):
    """Data set and split of the board of predictions."""
    return next((c["spec"]["dataset"], c["spec"]["split"]) for c in Store(results).cards() if c["predicts"])


@pytest.fixture(scope="module")
def written(results, boarded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "one"
    return write_bundle(results, folder, dataset=boarded[0], split=boarded[1], predictions=False)


@pytest.fixture
def bundle(written, tmp_path):
    return shutil.copytree(written, tmp_path / "one")


def all_boards(cards, rows, agreements):
    made = boards(cards, rows, METRICS), identifications(cards, rows, METRICS, agreements)
    return [asdict(b) for part in made for b in part], render(made[0], METRICS, [], [], made[1])


def places(results):
    return sorted({(c["spec"]["dataset"], c["spec"]["split"]) for c in Store(results).cards()})


def test_what_is_read_back_gives_the_same_boards(results, tmp_path):
    store = Store(results)
    assert len(places(results)) == 2
    for i, (dataset, split) in enumerate(places(results)):
        cards = current(c for c in store.cards() if (c["spec"]["dataset"], c["spec"]["split"]) == (dataset, split))
        rows = store.rows(c for c in cards if c["status"] == "ok")
        made = read_bundle(write_bundle(results, tmp_path / f"b{i}", dataset=dataset, split=split, predictions=False))
        key = ["model", "seed", "fold", "metric", "condition"]
        expected = rows.sort_values(key, kind="stable").reset_index(drop=True)
        pd.testing.assert_frame_equal(made.rows[expected.columns], expected, check_dtype=False, check_exact=True)
        kept = [
            {k: v for k, v in c.items() if k not in DROPPED} | {"schema": 1} for c in sorted(cards, key=lambda c: c["score_id"])
        ]
        assert list(made.cards) == kept
        theirs = all_boards(cards, rows, read_agreements(results))
        ours = all_boards(made.cards, made.rows, made.agreements)
        assert repr(ours[0]) == repr(theirs[0])
        assert ours[1] == theirs[1]


def test_the_same_results_give_the_same_bytes(results, boarded, tmp_path):
    dataset, split = boarded
    again = tmp_path / "again"
    # The same records, written in another order to another folder.
    for name in sorted(os.listdir(results / "records"), reverse=True):
        (again / "records").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(results / "records" / name, again / "records" / name)
    shutil.copytree(results / "manifests", again / "manifests")
    made = [
        write_bundle(r, tmp_path / str(i) / "b", dataset=dataset, split=split, predictions=False)
        for i, r in enumerate((results, again))
    ]
    files = [{p.relative_to(m).as_posix(): p.read_bytes() for p in m.rglob("*") if p.is_file()} for m in made]
    assert files[0] == files[1]
    assert set(files[0]) >= {"bundle.json", "cards.jsonl", "rows.parquet"}


def test_metrics_that_were_scored_later_are_in_one_card(results, boarded, tmp_path):
    """Two records of the same answer, each with half of the metrics, are one card with all of them and no parts."""
    copied = shutil.copytree(results, tmp_path / "results")
    store = Store(copied)
    dataset, split = boarded
    card = next(c for c in store.cards() if (c["spec"]["split"], c["status"]) == (split, "ok") and len(c["metrics"]) > 1)
    table = as_table(store.rows([card]), ROW_COLUMNS)
    first, rest = card["metrics"][:1], card["metrics"][1:]
    for score_id, metrics, started in ((card["score_id"], rest, card["started"]), ("f" * 64, first, card["started"] + 1)):
        own = table.filter(pa.compute.is_in(table["metric"], pa.array(metrics)))
        store.write(score_id, {**card, "score_id": score_id, "metrics": metrics, "started": started}, own)
    made = read_bundle(write_bundle(copied, tmp_path / "b", dataset=dataset, split=split, predictions=False))
    (merged,) = [c for c in made.cards if c["job_id"] == card["job_id"]]
    assert (merged["score_id"], merged["metrics"], "parts" in merged) == ("f" * 64, sorted(card["metrics"]), False)
    before = read_bundle(write_bundle(results, tmp_path / "a", dataset=dataset, split=split, predictions=False))
    pd.testing.assert_frame_equal(made.rows, before.rows)


def rewrite(results, change, which=lambda card: True):
    store = Store(results)
    for card in store.cards():
        if which(card):
            rows = None if card["status"] != "ok" else as_table(store.rows([card]), ROW_COLUMNS)
            (results / "records" / f"{card['score_id'][:32]}.json").unlink()
            changed = change(copy.deepcopy(card))
            store.write(changed["score_id"], changed, rows)


def test_what_is_left_out_is_told(results, boarded, tmp_path):
    copied = shutil.copytree(results, tmp_path / "results")
    dataset, split = boarded
    names = sorted({c["model"] for c in Store(copied).cards() if c["spec"]["split"] == split and c["status"] == "ok"})
    leaked, older = names[0], names[1]

    def change(card):
        if card["model"] == leaked:
            findings = [{"rule": 1, "name": "canonical labels", "status": "fail", "detail": "a test condition trains"}]
            return {**card, "audit": {"status": "fail", "findings": findings}}
        return {**card, "started": 0.0, "spec": {**card["spec"], "data_id": "e" * 64}}

    rewrite(copied, change, lambda c: c["spec"]["split"] == split and c["model"] in (leaked, older))
    chosen = select(copied, dataset, split)
    assert {c["model"] for c in chosen.cards}.isdisjoint({leaked, older})
    assert any(leaked in line and "audit failed" in line for line in chosen.left_out)
    assert any(older in line and "other data" in line for line in chosen.left_out)
    with pytest.raises(DataError, match="audit of all .* failed"):
        select(copied, dataset, split, [leaked])
    with pytest.raises(UsageError, match="no such model"):
        select(copied, dataset, split, ["nobody"])
    with pytest.raises(UsageError, match="several; choose one with --split"):
        select(copied)
    with pytest.raises(UsageError, match="no such record"):
        select(copied, dataset, "nothing")
    with pytest.raises(UsageError, match="holds no results"):
        select(tmp_path / "empty")


def test_only_a_bundle_of_the_same_board_is_replaced(results, bundle, tmp_path):
    dataset, split = read_bundle(bundle).meta["dataset"], read_bundle(bundle).meta["split"]
    other = next(p for p in places(results) if p != (dataset, split))
    write_bundle(results, bundle, dataset=dataset, split=split, predictions=False, note="again")
    assert read_bundle(bundle).meta["note"] == "again"
    with pytest.raises(UsageError, match="holds a bundle of"):
        write_bundle(results, bundle, dataset=other[0], split=other[1], predictions=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(UsageError, match="holds other things"):
        write_bundle(results, tmp_path / "mine", dataset=dataset, split=split, predictions=False)
    (tmp_path / "link").symlink_to(bundle)
    with pytest.raises(UsageError, match="is no folder"):
        write_bundle(results, tmp_path / "link", dataset=dataset, split=split, predictions=False)
    with pytest.raises(UsageError, match="is named with letters"):
        write_bundle(results, tmp_path / "x", dataset=dataset, split=split, predictions=False, name="../x")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "mine", "one"]


def test_bundles_are_found_below_a_folder(results, boarded, tmp_path):
    for place in ("b/two", "a", "b/one"):
        write_bundle(results, tmp_path / "root" / place, dataset=boarded[0], split=boarded[1], predictions=False)
    (tmp_path / "root" / "c").symlink_to(tmp_path / "root" / "a")
    assert [p.relative_to(tmp_path / "root").as_posix() for p in find_bundles(tmp_path / "root")] == ["a", "b/one", "b/two"]
    assert find_bundles(tmp_path / "root" / "a") == [tmp_path / "root" / "a"]
    assert find_bundles(tmp_path / "nowhere") == []


def _strange(folder, name, text="import os\n"):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)


def _cut(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])


def _link(folder, name):
    (folder / name).unlink()
    (folder / name).symlink_to("/etc/passwd")


def _linked_folder(folder):
    shutil.move(folder / "manifests", folder.parent / "elsewhere")
    (folder / "manifests").symlink_to(folder.parent / "elsewhere")


def _pipe(folder):
    (folder / "rows.parquet").unlink()
    os.mkfifo(folder / "rows.parquet")


def _large(folder):
    with open(folder / "rows.parquet", "r+b") as f:
        f.truncate(2**30)


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (lambda f: _strange(f, "setup.py"), r"setup\.py is no file of a bundle"),
        (lambda f: _strange(f, "evil.so"), r"evil\.so is no file"),
        (lambda f: _strange(f, "model.pkl"), r"model\.pkl is no file"),
        (lambda f: _strange(f, "look.ipynb"), r"look\.ipynb is no file"),
        (lambda f: _strange(f, ".hidden"), r"\.hidden is no file"),
        (lambda f: _strange(f, "predictions/x.npz"), r"predictions/x\.npz is no file"),
        (lambda f: _strange(f, "code/a.py"), "code/ is no folder"),
        (lambda f: _strange(f, "a\x1b[31m.py"), "a\N{REPLACEMENT CHARACTER}.31m.py is no file"),
        (lambda f: _strange(f, f"predictions/{'0' * 32}.npz"), "is not listed"),
        (lambda f: _link(f, "cards.jsonl"), r"cards\.jsonl is a link"),
        (lambda f: _link(f, "bundle.json"), r"bundle\.json is a link"),
        (_linked_folder, "manifests is a link"),
        (_pipe, r"rows\.parquet is a special file"),
        (_large, r"rows\.parquet has 1,024 MiB"),
        (lambda f: _cut(f, "rows.parquet"), r"rows\.parquet is not the file that bundle\.json lists"),
        (lambda f: _cut(f, "bundle.json"), r"bundle\.json is no JSON"),
        (lambda f: (f / "rows.parquet").unlink(), r"rows\.parquet is missing"),
        (lambda f: (f / "bundle.json").unlink(), r"no bundle\.json"),
        (lambda f: (f / "bundle.json").write_text("[" * 100_000), "nested too deep"),
        (lambda f: (f / "bundle.json").write_text('{"a": NaN}'), "NaN is no number"),
        (lambda f: (f / "bundle.json").write_text("[]"), "other fields"),
        (lambda f: (f / "bundle.json").write_bytes(b"\xff\xfe"), "is no JSON"),
    ],
)
def test_files_that_are_strange_are_named(bundle, tamper, said):
    tamper(bundle)
    with pytest.raises(DataError, match=said):
        read_bundle(bundle)


def _card(**changed):
    return lambda f: write_cards(f, [{**c, **changed} for c in cards_of(f)])


def _spec(**changed):
    return lambda f: write_cards(f, [{**c, "spec": {**c["spec"], **changed}} for c in cards_of(f)])


def _rows(change):
    def tamper(folder):
        table = change(pq.read_table(folder / "rows.parquet"))
        pq.write_table(table, folder / "rows.parquet")
        seal(folder)

    return tamper


def _column(table, name, values):
    return table.set_column(table.column_names.index(name), name, values)


def _reordered(folder):
    (folder / "cards.jsonl").write_text("".join(reversed((folder / "cards.jsonl").read_text().splitlines(keepends=True))))
    seal(folder)


def _edited(folder, **changed):
    meta = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**meta, **changed}))


def _spaced(folder):
    (folder / "cards.jsonl").write_text("".join(json.dumps(c) + "\n" for c in cards_of(folder)))
    seal(folder)


def _manifest(folder):
    (path,) = (folder / "manifests").glob("*.json")
    value = json.loads(path.read_text())
    value["conditions"][0]["role"] = "train"
    path.write_text(json.dumps(value))
    seal(folder)


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (lambda f: _edited(f, note="better"), "was edited"),
        (lambda f: _edited(f, format=2), "format 2, and this version of pbench reads 1"),
        (lambda f: seal(f, files={"../../.bashrc": "0" * 64}), "is not listed"),
        (lambda f: seal(f, name="../up"), "name '../up' or the note is none"),
        (lambda f: seal(f, seeds=["0"]), "seeds is no list of whole numbers"),
        (lambda f: seal(f, models=["somebody"]), "models are not those of the cards"),
        (lambda f: seal(f, dataset="other"), "dataset is"),
        (_spaced, "is not canonical JSON"),
        (_reordered, "is not sorted"),
        (lambda f: write_cards(f, [*cards_of(f), cards_of(f)[-1]]), "has one twice"),
        (lambda f: write_cards(f, cards_of(f)[1:]), "and no card says so|not those of the cards|belongs to no card"),
        (lambda f: write_cards(f, [*cards_of(f), {**cards_of(f)[-1], "score_id": "g" * 64}]), "answer the same question"),
        (_card(schema=2), "no run card of schema 1"),
        (_card(status="great"), "status is 'great', which it cannot be"),
        (_card(model=["a"]), "model is"),
        (_card(started="now"), "started is"),
        (_card(absent={"A": 1}), "absent is"),
        (_card(dataset_card={}), "dataset_card lacks"),
        (_card(audit={"status": "pass"}), "audit has no status or no findings"),
        (
            _card(audit={"status": "pass", "findings": [{"rule": 1, "name": "x", "status": "warn", "detail": ""}]}),
            "audit says pass, and its worst finding is warn",
        ),
        (
            _card(audit={"status": "fail", "findings": [{"rule": 1, "name": "x", "status": "fail", "detail": ""}]}),
            "are not published",
        ),
        (_spec(seed=True), "seed is .True."),
        (_spec(more=1), "spec has other fields"),
        (_spec(data_id="x"), "data_id is 'x'"),
        (_spec(split_id="x"), "split_ids are not"),
        (_manifest, "is no split manifest|was edited"),
        (lambda f: ((f / "cards.jsonl").write_text(""), seal(f)), "no cards.jsonl, or an empty one"),
        (lambda f: ((f / "rows.parquet").write_bytes(b"PAR1junkPAR1"), seal(f)), "no readable Parquet table"),
        (_rows(lambda t: t.drop_columns(["value"])), "has other columns"),
        (_rows(lambda t: t.drop_columns(["model"])), "has other columns"),
        (_rows(lambda t: _column(t, "value", t["value"].cast(pa.float32()))), "has other columns"),
        (_rows(lambda t: _column(t, "model", pa.array(["somebody"] * len(t)))), "rows of somebody"),
        (_rows(lambda t: _column(t, "metric", pa.array(["made_up"] * len(t)))), "rows of made_up"),
        (_rows(lambda t: _column(t, "seed", pa.array([9] * len(t)))), "seed 9, and no card says so"),
        (_rows(lambda t: _column(t, "reference_row", pa.array([True] * len(t)))), "no card says so"),
        (_rows(lambda t: _column(t, "condition", pa.array(["x" * 30_000] * len(t)))), "longer than 20000 characters"),
        (_rows(lambda t: _column(t, "condition", pa.array([None, *t["condition"].to_pylist()[1:]]))), "a row has no condition"),
    ],
)
def test_what_is_sealed_again_is_still_read_with_care(bundle, tamper, said):
    """Hashes that fit say nothing: every field is looked at, and what the parts say of each other."""
    tamper(bundle)
    with pytest.raises(DataError, match=said):
        read_bundle(bundle)


def test_a_table_of_absurd_size_is_not_unpacked(bundle, monkeypatch):
    """A text that is repeated is a number in the file and in memory; the count of rows is looked at first."""
    table = pq.read_table(bundle / "rows.parquet")
    many = pa.concat_tables([table.slice(0, 1)] * 20_000).combine_chunks()
    pq.write_table(many, bundle / "rows.parquet", compression="zstd")
    assert (bundle / "rows.parquet").stat().st_size < 50_000
    seal(bundle)
    assert len(read_bundle(bundle).rows) == 20_000
    monkeypatch.setattr(tables, "MAX_ROWS", 10_000)
    with pytest.raises(DataError, match="says that it has 20,000 rows"):
        read_bundle(bundle)


class Danger:
    """A pickle that would say so if it were ever loaded."""

    def __reduce__(self):
        return os.mkdir, ("loaded",)


FACTS = {"conditions": [{"targets": ["A"]}], "absent": [""], "fallback": [False], "has_cells": False, "cells_offered": True}


def npz(path, **changed):
    arrays = {"mean": np.zeros((1, 2), np.float32), "genes": np.array(["A", "B"]), "facts": np.array(json.dumps(FACTS))}
    arrays = {k: v for k, v in (arrays | changed).items() if v is not None}
    np.savez_compressed(path, **arrays)


def facts(**changed):
    return np.array(json.dumps(FACTS | changed))


def header(shape, descr="<f4"):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"shape": shape, "fortran_order": False, "descr": descr})
    return out.getvalue()


def _bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as f:
        with f.open("mean.npy", "w", force_zip64=True) as member:
            for _ in range(3):
                member.write(bytes(2**24))


def _lie(path):
    npz(path, mean=None)
    with zipfile.ZipFile(path, "a") as f:
        f.writestr("mean.npy", header((10**9, 10**9)))


def _twice(path):
    npz(path)
    with zipfile.ZipFile(path, "a") as f, pytest.warns(UserWarning):
        f.writestr("mean.npy", header((1, 2)) + bytes(8))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: npz(p, mean=np.array([[Danger()]], dtype=object)), "pickles. are never read|Object arrays"),
        (lambda p: npz(p, extra=np.zeros(3)), "holds extra.npy, which is no part"),
        (lambda p: npz(p, genes=None), "lacks the array genes"),
        (lambda p: npz(p, mean=np.zeros((2, 2), np.float32)), r"\(2, 2\) numbers for 1 conditions x 2 genes"),
        (lambda p: npz(p, mean=np.full((1, 2), np.nan, np.float32)), "holds a number that is none"),
        (lambda p: npz(p, facts=facts(absent=["why"])), "an absent one a number"),
        (lambda p: npz(p, variance=np.full((1, 2), -1, np.float32)), "variance is negative"),
        (lambda p: npz(p, facts=facts(conditions=[{"targets": ["control"]}])), "which conditions were asked for"),
        (lambda p: npz(p, facts=facts(conditions="A")), "which conditions were asked for"),
        (lambda p: npz(p, facts=facts(fallback=[1])), "fallback is no list of 1"),
        (lambda p: npz(p, facts=np.array("[" * 50_000)), "nested too deep"),
        (lambda p: npz(p, facts=np.array(3)), "has the type int64"),
        (_bomb, "unpacks to 48 MB"),
        (_lie, "says that it has the shape"),
        (_twice, "holds an array twice"),
        (lambda p: p.write_bytes(b"PK\x03\x04 no archive"), "no readable archive"),
        (lambda p: (npz(p), p.write_bytes(p.read_bytes()[:-60])), "no readable archive"),
    ],
)
def test_predictions_that_are_none_are_refused(tmp_path, make, said, monkeypatch):
    monkeypatch.setattr(bundle_files, "MAX_EXPANDED", 2**25)
    path = tmp_path / "predictions" / f"{'0' * 32}.npz"
    path.parent.mkdir()
    make(path)
    with pytest.raises(DataError, match=said):
        read_archived(path)
    assert not (tmp_path / "loaded").exists()


def test_predictions_are_read_as_they_were_written(tmp_path):
    npz(tmp_path / "a.npz", mean=np.array([[1, 2]], np.float32), variance=np.array([[3, 4]], np.float32))
    found = read_archived(tmp_path / "a.npz")
    assert [c.key for c in found.conditions] == ["A"]
    assert found.answer.mean.tolist() == [[1, 2]]
    assert found.answer.variance is not None
    assert found.answer.variance.tolist() == [[3, 4]]
    assert (found.answer.has_cells, found.answer.cells_offered) == (False, True)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def substituted(data, value):
    """The value with something else in a place that Hypothesis chooses."""
    path = []
    inner = value
    while isinstance(inner, dict | list) and inner and (not path or data.draw(st.booleans())):
        keys = sorted(inner) if isinstance(inner, dict) else range(len(inner))
        path.append(data.draw(st.sampled_from(list(keys))))
        inner = inner[path[-1]]
    out = copy.deepcopy(value)
    place = out
    for key in path[:-1]:
        place = place[key]
    if data.draw(st.booleans()) and isinstance(place, dict):
        del place[path[-1]]
    else:
        place[path[-1]] = data.draw(JSON)
    return out


@FUZZ
@given(data=st.data())
def test_no_index_breaks_its_reader(bundle, data):
    """Whatever stands in the index is refused in words, or is what was written."""
    kept = (bundle / "bundle.json").read_bytes()
    meta = json.loads(kept)
    changed = substituted(data, meta)
    if data.draw(st.booleans()) and "id" in changed:
        changed["id"] = content_id({k: v for k, v in changed.items() if k != "id"})
    try:
        (bundle / "bundle.json").write_text(json.dumps(changed))
        found = read_bundle(bundle)
        assert {k: found.meta[k] for k in ("dataset", "split", "models", "seeds", "files")} == {
            k: meta[k] for k in ("dataset", "split", "models", "seeds", "files")
        }
    except DataError as error:
        assert str(error).isprintable()
    finally:
        (bundle / "bundle.json").write_bytes(kept)


@FUZZ
@given(data=st.data())
def test_no_card_breaks_boards(bundle, data):
    """A card that is accepted can be shown on a board, whatever stands in it; others are refused in words."""
    kept = {name: (bundle / name).read_bytes() for name in ("bundle.json", "cards.jsonl")}
    cards = cards_of(bundle)
    i = data.draw(st.integers(0, len(cards) - 1))
    cards[i] = substituted(data, cards[i])
    try:
        write_cards(bundle, cards)
        found = read_bundle(bundle)
        all_boards(found.cards, found.rows, found.agreements)
    except DataError as error:
        assert str(error).isprintable()
    finally:
        for name, text in kept.items():
            (bundle / name).write_bytes(text)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["bundle.json", "cards.jsonl", "rows.parquet"]), junk=st.binary(max_size=200), at=st.floats(0, 1))
def test_no_bytes_break_the_reader(bundle, name, junk, at):
    """Bytes written over any place of a file, hashes made to fit, are refused in words or change nothing that is not a value."""
    kept = {n: (bundle / n).read_bytes() for n in ("bundle.json", name)}
    data = kept[name]
    place = int(at * len(data))
    try:
        (bundle / name).write_bytes(data[:place] + junk + data[place + len(junk) :])
        if name != "bundle.json":
            seal(bundle)
        found = read_bundle(bundle)
        assert len(found.cards) > 0
    except DataError as error:
        assert str(error).isprintable()
    finally:
        for n, text in kept.items():
            (bundle / n).write_bytes(text)
