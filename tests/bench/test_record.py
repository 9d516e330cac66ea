"""Records of other schemas, of strangers, of wrong clocks and of other writers: each is read, or has a name for what is wrong."""

from __future__ import annotations

import json
import os
import random
import time

import pytest
from cards import SPEC, row_table, run_card

from pbench.bench.contracts.errors import DataError
from pbench.bench.engine.counted import current
from pbench.bench.engine.record import OK, SCHEMA, Newer, read_record
from pbench.bench.engine.repair import repair
from pbench.bench.engine.sealed import Damaged, sealed_json
from pbench.bench.engine.store import Store
from pbench.bench.engine.survey import survey_results

ID = "ab" * 32


def card_of(score_id=ID, status=OK, started=1.0, **more):
    return run_card(score_id, status=status, started=started, metrics=["l2"], **more)


def table(value=0.0):
    return row_table([value])


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.write(ID, card_of(), table())
    return store


def path_of(store, score_id=ID):
    return store.folder / "records" / f"{score_id[:32]}.json"


def as_schema_1(store, /, **changes):
    """The record as pbench 0.1 wrote it: without a checksum, rows under its own name."""
    path = path_of(store)
    card = json.loads(path.read_text())
    os.rename(path.with_name(card.pop("rows_file")), path.with_suffix(".parquet"))
    del card["sha256"]
    path.write_text(json.dumps({**card, "schema": 1, **changes}, indent=1, sort_keys=True) + "\n")
    return path


def test_a_record_of_the_first_schema_is_read_and_replaced(store):
    path = as_schema_1(store)
    card = store.card(ID)
    assert card is not None and card["schema"] == 1 and store.rows([card])["value"].tolist() == [0.0]
    assert survey_results(store.folder) == []
    store.write(ID, {**card, "audit": {"status": "warn", "findings": []}})
    again = store.card(ID)
    assert again is not None and (again["schema"], again["audit"]["status"]) == (SCHEMA, "warn")
    assert store.rows([again])["value"].tolist() == [0.0] and not path.with_suffix(".parquet").exists()


def test_a_first_schema_card_with_nan_among_its_facts_is_read(store):
    path = as_schema_1(store)
    path.write_text(path.read_text().replace('"job_id"', '"diagnostics": {"loss": NaN}, "job_id"'))
    card = store.card(ID)
    assert card is not None and card["diagnostics"] == {"loss": None}


def test_a_record_of_a_newer_pbench_is_named_kept_and_not_written_over(store):
    path = path_of(store)
    data = sealed_json({"schema": SCHEMA + 1, "whatever": 1})
    for text in (data, b'{"schema": 99, "sha256": "of another form", "x": {}}'):
        path.write_bytes(text)
        with pytest.raises(Newer, match="written by a newer pbench .*upgrade pbench"):
            read_record(path)
        with pytest.raises(DataError, match="newer pbench .*upgrade"):
            store.card(ID)
        for status in (OK, "failed"):
            with pytest.raises(DataError, match="newer pbench"):
                store.write(ID, card_of(status=status), table())
        found = survey_results(store.folder)
        assert [f.kind for f in found] == ["newer schema"] and not any(f.is_defect for f in found)
        assert repair(found, store.folder, store.folder / "cache") == []
        assert path.read_bytes() == text and store.cards() == []


HOSTILE = {
    "empty": (b"", "is empty"),
    "blank": (b"  \n", "is empty"),
    "binary": (b"\xff\xfe\x00", "is no JSON"),
    "cut": (b'{"schema": 1', "is no JSON"),
    "nested": (b"[" * 200_000 + b"]" * 200_000, "is no JSON"),
    "nested objects": (b'{"a":' * 100_000, "is no JSON"),
    "a list": (b"[]", "is no JSON object"),
    "null": (b"null", "is no JSON object"),
    "a huge number": (b'{"schema": 1, "started": ' + b"9" * 10_000 + b"}", "is no JSON"),
    "a key twice": (b'{"schema": 1, "schema": 2}', "a key is given twice"),
    "no schema": (b"{}", "has no schema"),
    "schema a text": (b'{"schema": "1"}', "has no schema"),
    "schema true": (b'{"schema": true}', "has no schema"),
    "schema -1": (b'{"schema": -1}', "has no schema"),
    "schema 2 without checksum": (b'{"schema": 2}', "its checksum is gone"),
}
WRONG = {
    "spec": ["a text", [], None, {}, {**SPEC, "seed": "0"}, {**SPEC, "seed": 0.5}, {**SPEC, "split": None}],
    "status": [[], None, 3],
    "started": ["yesterday", None, [], True, float("nan"), float("inf"), -float("inf")],
    "score_id": [None, "cd" * 32, 7, ""],
    "model": [None, ["m"]],
    "metrics": ["l2", [1], None],
    "audit": ["pass", None],
    "turn": [-1, "1", 1.5, 2**60],
    "job_id": ["../../etc/passwd", "a\\b", None],
    "rows_sha256": [None, 3],
    "metrics_failed": [[]],
    "claim": ["pe+rmutation", None, 3, ["permutation"]],
    "pbench": [None, 1],
    "reference_row": [None, "no"],
    "dataset_card": [None, {}, {"title": "t"}],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_card_has_a_name(store, name):
    data, said = HOSTILE[name]
    path_of(store).write_bytes(data)
    (finding,) = (f for f in survey_results(store.folder) if f.kind == "record")
    assert finding.path == path_of(store) and said in finding.why
    assert store.card(ID) is None and store.cards() == [] and store.damaged() == [path_of(store)]
    assert store.next_turn() == 1


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in WRONG.items() for v in values])
def test_a_field_of_another_kind_is_named(store, field, value):
    path = as_schema_1(store, **{field: value})
    (finding,) = (f for f in survey_results(store.folder) if f.kind == "record")
    assert finding.path == path and (
        "no card" in finding.why or "no whole card" in finding.why or "another record" in finding.why
    )
    assert store.card(ID) is None and current(store.cards()) == [] and store.next_turn() == 1


def test_links_pipes_and_folders_are_no_records_and_are_replaced(store):
    path, kept = path_of(store), path_of(store).read_bytes()
    elsewhere = store.folder / "elsewhere.json"
    elsewhere.write_bytes(kept)
    for make, said in (
        (lambda: os.symlink(elsewhere, path), "is a link"),
        (lambda: os.mkfifo(path), "is a special file"),
        (path.mkdir, "is a folder"),
    ):
        path.unlink()
        make()
        (finding,) = (f for f in survey_results(store.folder) if f.kind == "record")
        assert said in finding.why and store.card(ID) is None
        store.write(ID, card_of(), table(3.0))
        assert store.rows(store.cards())["value"].tolist() == [3.0] and elsewhere.read_bytes() == kept


def test_rows_outside_the_folder_are_never_named_by_a_card(store):
    card = json.loads(path_of(store).read_text())
    for name in ("../../x.parquet", "/etc/passwd", f"{'cd' * 16}.0123456789ab.parquet", None, 3):
        path_of(store).write_bytes(sealed_json({k: v for k, v in {**card, "rows_file": name}.items() if k != "sha256"}))
        with pytest.raises(Damaged, match="which rows are its own"):
            read_record(path_of(store))


def test_any_byte_of_a_record_that_changes_is_found(store):
    dice = random.Random(0)
    path = path_of(store)
    rows = path.with_name(json.loads(path.read_text())["rows_file"])
    for file in (path, rows):
        whole = file.read_bytes()
        for at in dice.sample(range(len(whole)), 60):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << dice.randrange(8))]) + whole[at + 1 :])
            assert store.card(ID) is None and store.damaged() == [path]
        file.write_bytes(whole)
    assert store.damaged() == []


def test_a_failure_never_hides_a_finished_record(store):
    store.write(ID, card_of(status="timeout", reason="too slow"))
    card = store.card(ID)
    assert card is not None and card["status"] == OK
    other = "cd" * 32
    store.write(other, card_of(other, status="timeout", reason="too slow"))
    store.write(other, card_of(other), table())
    assert {c["status"] for c in store.cards()} == {OK}


def test_a_changed_card_without_rows_of_its_own_is_refused(tmp_path):
    with pytest.raises(DataError, match="lost its rows"):
        Store(tmp_path).write(ID, card_of())
    assert not list(tmp_path.rglob("*.json"))


def test_replaced_rows_are_gone_and_what_cannot_be_written_leaves_the_old_record(store, monkeypatch):
    store.write(ID, card_of(), table(1.0))
    assert len(list((store.folder / "records").iterdir())) == 2

    def fail(path, card):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "_put", staticmethod(fail))
    with pytest.raises(OSError):
        store.write(ID, card_of(), table(2.0))
    monkeypatch.undo()
    assert store.rows(store.cards())["value"].tolist() == [1.0] and len(list((store.folder / "records").iterdir())) == 2


def test_a_record_that_is_replaced_while_it_is_read_is_read_again(store, monkeypatch):
    import pbench.bench.engine.record as module

    plain, times = module.read_rows, []

    def read_rows(path, card):
        if not times:
            times.append(1)
            store.write(ID, card_of(), table(7.0))
        return plain(path, card)

    monkeypatch.setattr(module, "read_rows", read_rows)
    card, data = module.read_record(path_of(store))
    assert times and card["rows_sha256"] == store.card(ID)["rows_sha256"] and data


def test_a_clock_that_was_ahead_hides_no_later_result(tmp_path):
    store, now = Store(tmp_path), time.time()
    ids = ["ab" * 32, "cd" * 32, "ef" * 32]
    # A run in 2099, then one with a right clock, then one whose clock went back.
    for score_id, started in zip(ids, (4e9, now, 1e9), strict=True):
        turn = store.next_turn()
        store.write(score_id, card_of(score_id, started=started, job_id=score_id, turn=turn), table(float(turn)))
        (newest,) = current(store.cards())
        assert newest["score_id"] == score_id and store.rows([newest])["value"].tolist() == [turn]
    found = survey_results(tmp_path)
    assert {(f.kind, f.path.stem[:2]) for f in found} == {("clock", i[:2]) for i in ids}
    assert "from now: a clock was wrong" in str(found[0]) and not any(f.is_defect for f in found)


def test_a_first_schema_record_from_the_future_is_followed_by_the_next_run(store):
    as_schema_1(store, started=4e9)
    assert store.next_turn() == 1
    store.write("cd" * 32, card_of("cd" * 32, started=time.time(), turn=store.next_turn()), table(5.0))
    (newest,) = current(store.cards())
    assert newest["score_id"] == "cd" * 32


def test_records_without_a_turn_are_ordered_by_their_clocks():
    cards = [card_of("ab" * 32, started=2.0, job_id="a"), card_of("cd" * 32, started=1.0, job_id="b")]
    assert [c["score_id"] for c in current(cards)] == ["ab" * 32]


def test_a_card_that_nobody_would_read_is_not_written(tmp_path):
    with pytest.raises(DataError, match="more than is read of a card"):
        Store(tmp_path).write(ID, card_of(diagnostics={"log": "x" * 17 * 2**20}), table())
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_table_of_all_rows_that_is_older_than_the_records_is_stale(store):
    store.consolidate()
    store.write("cd" * 32, card_of("cd" * 32, turn=2, spec={**SPEC, "seed": 1}), table(2.0))
    os.utime(store.folder / "records.parquet", (1, 1))
    (finding,) = survey_results(store.folder)
    assert (finding.kind, finding.is_defect) == ("stale", False) and "the next run writes it again" in str(finding)
    os.utime(store.folder / "records.parquet")
    assert [f.kind for f in survey_results(store.folder)] == ["records.parquet"]
    repair(survey_results(store.folder), store.folder, store.folder / "cache")
    assert {f.kind for f in survey_results(store.folder)} == {"quarantine"}


def test_numbers_that_are_none_in_a_card_are_null(tmp_path):
    store = Store(tmp_path)
    store.write(ID, card_of(diagnostics={"loss": [float("nan"), 1.0], "best": float("inf")}), table())
    card = store.card(ID)
    assert card is not None and card["diagnostics"] == {"loss": [None, 1.0], "best": None}
