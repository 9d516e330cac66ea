"""Whole runs that are killed, interrupted, or started twice: nothing is lost, and the end is that of an undisturbed run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

import pytest

from pbench.bench.engine.folders import QUARANTINE
from pbench.bench.engine.store import Store
from pbench.bench.engine.survey import survey_cache, survey_results
from pbench.bench.engine.temporaries import is_temporary

LITTER = {"left over", "rows without a card", "being written", "stale"}


def whole(out):
    """Run cards of the records that are whole, with the bytes of their rows."""
    store = Store(out)
    return {c["score_id"]: (c, store.rows([c]).to_csv()) for c in store.cards()}


def temporary(folder):
    return [p for p in folder.rglob("*") if is_temporary(p.name)]


def ends_like(bench, out, undisturbed, read_contents, cache=None):
    """The next run goes on to the end of an undisturbed one."""
    before = whole(out)
    done = bench.call(*bench.run_arguments(out), cache=cache)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["computed"], report["reused"]) == (6 - len(before), len(before))
    assert all(whole(out)[name] == kept for name, kept in before.items())
    assert read_contents(out) == undisturbed
    assert temporary(out) == []


def test_runs_that_are_killed_at_any_moment_go_on_to_the_same_end(bench, undisturbed, read_contents, dice, how_many, tmp_path):
    out = cache = None
    for point in range(how_many(0.12, 2)):
        if out is None:
            out = tmp_path / f"results-{point}"
            # Half of the times the cache is made anew, and killed in the middle of that too.
            cache = tmp_path / f"cache-{point}" if dice.random() < 0.5 else bench.cache
        before = whole(out)
        process = bench.start(*bench.run_arguments(out), cache=cache, nap=0.1)
        time.sleep(dice.uniform(0.3, 1.0) * bench.seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert bench.all_ended(), "a job outlived its run"
        after = whole(out)
        assert all(after[name] == kept for name, kept in before.items())
        found = survey_results(out) + survey_cache(cache)
        assert {f.kind for f in found} <= LITTER, [str(f) for f in found]
        if len(after) == 6 or dice.random() < 0.3:
            ends_like(bench, out, undisturbed, read_contents, cache)
            out = None
    if out is not None:
        ends_like(bench, out, undisturbed, read_contents, cache)


def test_two_runs_at_once_on_one_folder_both_end_well(bench, undisturbed, read_contents, tmp_path):
    out = tmp_path / "results"
    both = [bench.start(*bench.run_arguments(out, jobs=1), cache=tmp_path / "cache", nap=0.1) for _ in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert all(len(json.loads(answer)["jobs"]) == 6 for answer, _ in said)
    assert read_contents(out) == undisturbed
    # Rows of the one that was replaced stay until doctor puts them aside.
    assert {f.kind for f in survey_results(out)} <= LITTER - {"left over"} and survey_cache(tmp_path / "cache") == []
    assert not (out / QUARANTINE).exists() and temporary(out) + temporary(tmp_path / "cache") == []


@pytest.mark.slow
def test_a_run_takes_what_another_one_has_finished_meanwhile(bench, undisturbed, tmp_path):
    out = tmp_path / "results"
    slow = bench.start(*bench.run_arguments(out, jobs=1), nap=1.0)
    while not list((out / "records").glob("*.json")):
        time.sleep(0.02)
        assert slow.poll() is None
    quick = bench.call(*bench.run_arguments(out, jobs=2))
    assert quick.returncode == 0, quick.stderr
    after = {p.name: p.read_bytes() for p in (out / "records").glob("*.json")}
    answer, error = slow.communicate(timeout=60)
    assert slow.returncode == 0, error
    # It was in the middle of one job at most.
    now = {p.name: p.read_bytes() for p in (out / "records").glob("*.json")}
    assert sum(now[name] != data for name, data in after.items()) <= 1
    assert len(json.loads(answer)["jobs"]) == 6


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ([signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGTERM], 143),
        pytest.param([signal.SIGHUP, signal.SIGTERM], 129, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_asked_to_stop_leaves_no_process_and_no_temporary_file(bench, undisturbed, tmp_path, asked, code):
    out = tmp_path / "results"
    # A shell without job control starts its background commands, and so this test run perhaps, deaf to Ctrl-C.
    process = bench.start(
        *bench.run_arguments(out), nap=1, preexec_fn=lambda: [signal.signal(s, signal.SIG_DFL) for s in {*asked, signal.SIGINT}]
    )
    while not list((out / "records").glob("*.json")):
        time.sleep(0.02)
        assert process.poll() is None, process.communicate()
    for number in asked:
        os.kill(process.pid, number)
        time.sleep(0.005)
    answer, error = process.communicate(timeout=20)
    assert (process.returncode, answer) == (code, ""), error
    assert "Interrupted. Finished jobs are kept; type the same command again" in error and "Traceback" not in error
    assert bench.all_ended()
    assert (
        0 < len(whole(out)) < 6 and temporary(out) == [] and {f.kind for f in survey_results(out)} <= {"stale", "being written"}
    )


@pytest.mark.slow
def test_a_program_that_was_told_to_ignore_a_hang_up_does_so(bench, undisturbed, read_contents, tmp_path):
    out = tmp_path / "results"
    process = bench.start(*bench.run_arguments(out), nap=0.3, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    while not list((out / "records").glob("*.json")):
        time.sleep(0.02)
        assert process.poll() is None, process.communicate()
    os.kill(process.pid, signal.SIGHUP)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert read_contents(out) == undisturbed


@pytest.mark.slow
def test_a_results_folder_that_vanishes_in_the_middle_is_said(bench, undisturbed, read_contents, tmp_path):
    out = tmp_path / "results"
    process = bench.start(*bench.run_arguments(out, jobs=1), nap=0.5)
    while not list((out / "records").glob("*.json")):
        time.sleep(0.02)
        assert process.poll() is None, process.communicate()
    shutil.rmtree(out, ignore_errors=True)
    answer, error = process.communicate(timeout=60)
    assert process.returncode == 3 and answer == "" and "Traceback" not in error
    assert "record(s) that were there are gone from" in error and "Type the same command again" in error
    ends_like(bench, out, undisturbed, read_contents)
