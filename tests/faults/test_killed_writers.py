"""``kill -9`` at any moment of a process that writes, and many that write at once: what was finished is there, and whole."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time

import pytest
from fault_writers import (
    CONDITIONS,
    answer_of,
    card_of,
    replace_until,
    score_id,
    table_of,
    write_and_tell,
    write_one,
    write_rounds,
)

from pbench.bench.engine.repair import repair
from pbench.bench.engine.store import Store
from pbench.bench.engine.survey import survey_results

NUMBERS = list(range(12))
#: What a kill may leave; none of it is ever read.
LITTER = {"left over", "rows without a card", "being written", "stale"}


def check(store, number, writers=(0,)):
    """A record with its archive is one that one of some writers has written."""
    card = store.card(score_id(number))
    assert card is not None, f"record {number} is lost"
    writer = card["writer"]
    assert writer in writers and {k: card[k] for k in card_of(number, writer)} == card_of(number, writer)
    rows = store.rows([card])
    assert rows.equals(table_of(number, writer).to_pandas()) or len(writers) > 1
    assert set(rows["version"]) <= set(writers) and rows["version"].nunique() == 1
    kept = store.prediction(score_id(number), CONDITIONS)
    assert kept is not None and kept.mean.tobytes() == answer_of(number).mean.tobytes()


def test_what_was_finished_before_a_kill_is_there_after_it(forked, tmp_path, dice, how_many):
    store, finished = Store(tmp_path), set()
    context = multiprocessing.get_context("forkserver")
    for _ in range(how_many()):
        ear, mouth = context.Pipe(duplex=False)
        order = dice.sample(NUMBERS, len(NUMBERS))
        process = forked(write_and_tell, str(tmp_path), order, mouth)
        mouth.close()
        assert ear.poll(30)
        ear.recv()
        # However slow the disk is, some kills meet what is finished, and others the very first record.
        for _ in range(dice.randint(0, 2) if finished else 1):
            assert ear.poll(30)
            finished.add(ear.recv())
        time.sleep(dice.uniform(0, 0.08))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        try:
            while True:
                finished.add(ear.recv())
        except (EOFError, OSError):
            ear.close()
        found = survey_results(tmp_path)
        assert {f.kind for f in found} <= LITTER, [str(f) for f in found]
        for number in finished:
            check(store, number)
    assert finished
    # A later run clears away what the killed ones were writing, and doctor the rest.
    store.sweep()
    found = survey_results(tmp_path, now=time.time() + 7200)
    assert {f.kind for f in found} <= {"rows without a card", "stale"}
    whole = {n: store.card(score_id(n)) for n in finished}
    repair(found, tmp_path, tmp_path / "no-cache")
    assert {f.kind for f in survey_results(tmp_path, now=time.time() + 7200)} <= {"quarantine", "stale"}
    assert {n: store.card(score_id(n)) for n in finished} == whole


def test_four_writers_of_the_same_records_leave_each_whole_at_every_moment(forked, tmp_path, how_many):
    store, writers = Store(tmp_path), (1, 2, 3, 4)
    for number in NUMBERS:
        write_one(store, number, 1)
    processes = [forked(write_rounds, str(tmp_path), w, NUMBERS, how_many(0.1, 3)) for w in writers]
    looked, order = 0, random.Random(0)
    while any(p.is_alive() for p in processes):
        check(store, order.choice(NUMBERS), writers)
        if looked % 5 == 0:
            cards, damaged = store.whole_and_damaged()
            assert (len(cards), damaged) == (len(NUMBERS), [])
            frame = store.rows(cards)
            assert frame.groupby("seed")["version"].nunique().eq(1).all() and len(frame) == 800 * len(NUMBERS)
        looked += 1
    assert looked > 5 and [p.exitcode for p in processes] == [0, 0, 0, 0]
    for number in NUMBERS:
        check(store, number, writers)
    left = [f for f in survey_results(tmp_path) if f.kind not in ("being written", "stale")]
    assert left == [], [str(f) for f in left]


def test_four_writers_of_records_of_their_own_lose_none(forked, tmp_path):
    parts = [list(range(w * 10, w * 10 + 10)) for w in range(4)]
    processes = [forked(write_rounds, str(tmp_path), w, part, 2) for w, part in enumerate(parts)]
    for process in processes:
        process.join(60)
    assert [p.exitcode for p in processes] == [0, 0, 0, 0]
    store = Store(tmp_path)
    for writer, part in enumerate(parts):
        for number in part:
            check(store, number, (writer,))
    assert survey_results(tmp_path) == [] and len(store.cards()) == 40


@pytest.mark.parametrize("step", ["rows", "card", "old rows"])
def test_a_kill_between_any_two_steps_of_a_replacement_leaves_the_old_record_or_the_new(forked, tmp_path, step):
    store = Store(tmp_path)
    write_one(store, 0, 1)
    process = forked(replace_until, str(tmp_path), step)
    process.join(30)
    assert process.exitcode == 9
    check(store, 0, (1, 2))
    assert store.card(score_id(0))["writer"] == (1 if step == "rows" else 2)
    kinds = {f.kind for f in survey_results(tmp_path)}
    assert kinds <= LITTER and (kinds or step == "old rows")
