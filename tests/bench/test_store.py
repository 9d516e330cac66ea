"""A record is there as a whole or not there, whatever was done to the folder."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
from cards import row_table, run_card

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import PbenchError
from pbench.bench.contracts.split import SplitManifest
from pbench.bench.engine.answer import Answer
from pbench.bench.engine.folders import cache_folder, write_atomically
from pbench.bench.engine.store import OK, Store, current

ID = "ab" * 32
CONDITIONS = (Condition(("A",)), Condition(("A", "B"), (1.0, 0.5), 6.0, "K562"), Condition(("C",)))
GENES = np.array(["A", "B", "X"])


def card_of(score_id=ID, status=OK, model="m", started=1.0, **more):
    return run_card(score_id, status=status, model=model, started=started, **more)


def table(n=3):
    return row_table([float(i) for i in range(n)], model="additive")


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "results")
    store.write(ID, card_of(), table())
    return store


def json_of(store):
    return next((store.folder / "records").glob("*.json"))


def rows_of(store):
    return next((store.folder / "records").glob("*.parquet"))


def test_a_record_is_read_back(store):
    card = store.card(ID)
    assert card is not None and card["status"] == OK
    assert store.rows([card])["value"].tolist() == [0, 1, 2]
    assert store.cards() == [card] and store.damaged() == []


def test_a_record_that_was_never_written_is_absent(tmp_path):
    store = Store(tmp_path / "nothing")
    assert store.card(ID) is None and store.cards() == [] and store.damaged() == []
    assert store.prediction(ID, CONDITIONS) is None
    assert store.rows([]).empty


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def without_field(name):
    def damage(path):
        card = json.loads(path.read_text())
        del card[name]
        path.write_text(json.dumps(card))

    return damage


DAMAGE = {
    "rows truncated": (rows_of, truncate),
    "rows flipped": (rows_of, flip),
    "rows missing": (rows_of, os.unlink),
    "rows emptied": (rows_of, lambda p: p.write_bytes(b"")),
    "card truncated": (json_of, truncate),
    "card emptied": (json_of, lambda p: p.write_text("")),
    "card garbage": (json_of, lambda p: p.write_text("{nonsense")),
    "card binary": (json_of, lambda p: p.write_bytes(b"\xff\xfe\x00")),
    "card a list": (json_of, lambda p: p.write_text("[]")),
    "card without status": (json_of, without_field("status")),
    "card without hash": (json_of, without_field("rows_sha256")),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_record_counts_as_absent_and_is_listed(store, case):
    which, damage = DAMAGE[case]
    damage(which(store))
    assert store.card(ID) is None
    assert store.cards() == []
    assert store.damaged() == [json_of(store)]
    store.consolidate()


def test_writing_again_mends_a_damaged_record(store):
    truncate(rows_of(store))
    store.write(ID, card_of(), table(2))
    assert store.damaged() == []
    assert len(store.rows(store.cards())) == 2


def test_a_failure_has_no_rows(tmp_path):
    store = Store(tmp_path)
    store.write(ID, card_of(status="failed", reason="because"))
    assert store.card(ID) == {"schema": 2, **card_of(status="failed", reason="because")}
    assert list((tmp_path / "records").glob("*.parquet")) == []


def test_left_over_temporary_files_do_not_count(store):
    records = store.folder / "records"
    (records / f".{ID[:32]}.json.12345678.tmp").write_text("{")
    (records / f".{ID[:32]}.parquet.12345678.tmp").write_bytes(b"PAR1")
    assert len(store.cards()) == 1 and store.damaged() == []


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_cannot_be_written_is_said_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PbenchError, match="cannot write .*another folder"):
        write_atomically(tmp_path / "file" / "below", lambda p: p.write_text("x"))

    def full(path):
        raise OSError(28, "No space left on device")

    with pytest.raises(PbenchError, match="No space left"):
        write_atomically(tmp_path / "other", full)


def test_consolidated_rows_are_those_of_the_records_that_count(tmp_path):
    import pyarrow.parquet as pq

    store = Store(tmp_path)

    store.write("ab" * 32, card_of("ab" * 32, model="old"), table(3))
    store.write("cd" * 32, card_of("cd" * 32, model="other"), table(2))
    store.write("ef" * 32, card_of("ef" * 32, "failed", model="failing"))
    assert pq.read_table(store.consolidate()).num_rows == 5
    store.write("12" * 32, card_of("12" * 32, model="old", started=2.0), table(4))
    assert pq.read_table(store.consolidate()).num_rows == 6


def scored(store, score_id, metrics, started, *, job="answer", status=OK, value=0.0):
    """A record of one question with a value for each of some metrics."""
    facts = card_of(score_id, status, started=started, job_id=job)
    rows = row_table([value] * len(metrics), metric=list(metrics))
    store.write(score_id, facts | {"metrics": list(metrics)}, rows if status == OK else None)


def values(store):
    table = store.rows(c for c in current(store.cards()) if c["status"] == OK)
    assert not table.duplicated("metric").any()
    return dict(zip(table["metric"], table["value"], strict=True)) if len(table) else {}


def test_a_later_run_with_other_metrics_hides_no_scores_of_the_same_answer(tmp_path):
    store = Store(tmp_path)
    scored(store, "ab" * 32, ["mse", "l2"], 1.0, value=1.0)
    scored(store, "cd" * 32, ["l2", "mae"], 2.0, value=2.0)
    scored(store, "ef" * 32, ["mae"], 3.0, value=3.0)
    assert values(store) == {"mse": 1.0, "l2": 2.0, "mae": 3.0}
    (card,) = current(store.cards())
    assert (card["score_id"], card["metrics"]) == ("ef" * 32, ["l2", "mae", "mse"])
    import pyarrow.parquet as pq

    assert sorted(pq.read_table(store.consolidate())["metric"].to_pylist()) == ["l2", "mae", "mse"]


def test_scores_of_another_answer_are_never_mixed_in(tmp_path):
    store = Store(tmp_path)
    scored(store, "ab" * 32, ["mse", "l2"], 1.0, job="old code", value=1.0)
    scored(store, "cd" * 32, ["l2"], 2.0, job="new code", value=2.0)
    assert values(store) == {"l2": 2.0}
    scored(store, "ef" * 32, ["mae"], 3.0, job="new code", status="failed")
    assert values(store) == {}, "the newest record says that the model fails now"
    scored(store, "12" * 32, ["mse"], 4.0, job="new code", value=4.0)
    assert values(store) == {"l2": 2.0, "mse": 4.0}


def test_every_file_is_read_once_for_cards_and_damage(store):
    json_of(store).with_name("broken.json").write_text("{")
    whole, damaged = store.whole_and_damaged()
    assert whole == store.cards() and damaged == store.damaged() and [p.name for p in damaged] == ["broken.json"]


@pytest.fixture
def answer():
    mean = np.arange(9, dtype=np.float32).reshape(3, 3)
    mean[2] = np.nan
    absent = np.array(["", "", "no | reason\nat all"], dtype=object)
    return Answer(mean, np.array([False, True, False]), absent, {"fit": 1.5, "predict": 0.25})


def test_predictions_are_read_back_to_the_last_bit(tmp_path, answer):
    store = Store(tmp_path)
    store.save_prediction(ID, CONDITIONS, GENES, answer)
    again = store.prediction(ID, CONDITIONS)
    assert again is not None
    np.testing.assert_array_equal(again.mean, answer.mean)
    assert again.mean.dtype == np.float32
    assert again.fallback.tolist() == [False, True, False]
    assert again.absent.tolist() == answer.absent.tolist()
    assert dict(again.seconds) == answer.seconds
    assert store.prediction(ID, CONDITIONS[:2]) is None
    assert store.prediction(ID, CONDITIONS[::-1]) is None
    assert store.prediction("cd" * 32, CONDITIONS) is None


def test_archives_hold_no_pickle(tmp_path, answer):
    store = Store(tmp_path)
    store.save_prediction(ID, CONDITIONS, GENES, answer)
    (path,) = (tmp_path / "predictions").iterdir()
    with np.load(path, allow_pickle=False) as archive:
        assert sorted(archive.files) == ["facts", "genes", "mean"]
        assert all(archive[name].dtype != object for name in archive.files)


@pytest.mark.parametrize("position", [0.05, 0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("how", ["truncate", "flip"])
def test_a_damaged_archive_counts_as_absent(tmp_path, answer, how, position):
    store = Store(tmp_path)
    store.save_prediction(ID, CONDITIONS, GENES, answer)
    (path,) = (tmp_path / "predictions").iterdir()
    data = bytearray(path.read_bytes())
    at = int(len(data) * position)
    path.write_bytes(
        data[:at] if how == "truncate" else data[:at] + bytes(b ^ 0xFF for b in data[at : at + 40]) + data[at + 40 :]
    )
    assert store.prediction(ID, CONDITIONS) is None


def test_a_pickle_in_place_of_an_archive_is_not_loaded(tmp_path, answer):
    store = Store(tmp_path)
    store.save_prediction(ID, CONDITIONS, GENES, answer)
    (path,) = (tmp_path / "predictions").iterdir()
    path.write_bytes(pickle.dumps({"mean": 1}))
    assert store.prediction(ID, CONDITIONS) is None
    np.savez(path, mean=np.array([{}], dtype=object), facts=np.array("{}"), genes=GENES)
    assert store.prediction(ID, CONDITIONS) is None


def test_manifests_are_kept_by_identity(tmp_path):
    manifest = SplitManifest("d", "i", "doubles", {}, "1/1", 1, {CONDITIONS[0]: "train", CONDITIONS[2]: "test"})
    path = Store(tmp_path).save_manifest(manifest)
    assert path == Store(tmp_path).save_manifest(manifest)
    assert SplitManifest.load(path).id == manifest.id
    assert path.stem == manifest.id[:32]


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PBENCH_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("PBENCH_CACHE")
    assert cache_folder().name == "pbench"
