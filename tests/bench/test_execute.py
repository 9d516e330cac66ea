"""Whatever a call does to its process, it becomes an outcome, and the others finish."""

from __future__ import annotations

import importlib
import sys
import time

import pytest

from pbench.bench.engine.execute import execute

# Job processes import functions by name, so they lie in a module that they can find.
CALLS = """
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from pbench.bench.contracts.errors import DataError, InvalidPrediction


def call(argument):
    what, where = argument
    Path(where).write_text(str(os.getpid()))
    return globals()[what](where)


def fine(where):
    return 42


def raises(where):
    raise ValueError("a reason")


def exits(where):
    os._exit(3)


def leaves(where):
    sys.exit(5)


def kills_itself(where):
    os.kill(os.getpid(), signal.SIGKILL)


def segfaults(where):
    os.kill(os.getpid(), signal.SIGSEGV)


def sleeps(where):
    time.sleep(600)


def no_memory(where):
    raise MemoryError


def allocates(where):
    return float(np.ones(2**29).sum())


def allocates_little(where):
    return float(np.ones(2**20).sum())


def unpicklable(where):
    return lambda: None


class Sour:
    def __reduce__(self):
        return (int, ("not a number",))


def unreadable(where):
    return Sour()


def prints(where):
    print("noise from print")
    sys.stdout.write("noise from write\\n")
    sys.stdout.flush()
    os.write(1, b"noise from a file descriptor\\n")
    subprocess.run(["echo", "noise from a process"])
    return 1


def mistaken(where):
    raise DataError("no such column")


def invalid(where):
    raise InvalidPrediction("three genes")


def deep(where):
    return deep(where) + 1


def large(where):
    return b"x" * 30_000_000


def thread_that_never_ends(where):
    threading.Thread(target=time.sleep, args=(600,), daemon=False).start()
    return 7


def has_a_child(where):
    child = subprocess.Popen(["sleep", "600"])
    Path(where + ".child").write_text(str(child.pid))
    return 8


def has_a_child_and_sleeps(where):
    has_a_child(where)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    (folder / "pbench_test_calls.py").write_text(CALLS)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield importlib.import_module("pbench_test_calls").call
    sys.path.remove(str(folder))


@pytest.fixture
def outcomes(call, tmp_path):
    def run(*names, workers=2, **options):
        arguments = [(name, str(tmp_path / f"{i}-{name}")) for i, name in enumerate(names)]
        found = {o.key: o for o in execute(call, arguments, workers=workers, **options)}
        assert sorted(found) == list(range(len(names)))
        return [found[i] for i in range(len(names))]

    return run


ENDS = {
    "fine": ("ok", ""),
    "raises": ("failed", "ValueError: a reason"),
    "exits": ("killed", "exit code 3"),
    "leaves": ("failed", "SystemExit: 5"),
    "kills_itself": ("killed", "signal 9"),
    "segfaults": ("killed", "signal 11"),
    "no_memory": ("out_of_memory", "ran out of memory"),
    "unpicklable": ("failed", "could not be returned"),
    "unreadable": ("failed", "could not be returned"),
    "mistaken": ("failed", "no such column"),
    "invalid": ("invalid", "three genes"),
    "deep": ("failed", "RecursionError"),
}


def test_every_end_is_an_outcome_and_the_others_finish(outcomes, tmp_path, alive):
    names = [*ENDS, "fine"]
    found = outcomes(*names)
    for name, outcome in zip(names, found, strict=True):
        status, reason = ENDS[name]
        assert outcome.status == status, name
        assert reason in outcome.reason, name
    assert found[-1].value == 42
    assert found[names.index("mistaken")].exit_code == 3
    assert "ValueError" in found[names.index("raises")].traceback
    assert found[names.index("mistaken")].traceback == ""
    pids = [int(p.read_text()) for p in tmp_path.iterdir()]
    assert len(pids) == len(names)
    assert not [pid for pid in pids if alive(pid)]


def test_a_process_that_takes_too_long_is_stopped(outcomes, tmp_path, alive):
    late, fine = outcomes("sleeps", "fine", timeout=3)
    assert (late.status, late.reason) == ("timeout", "exceeded the time limit of 3 s")
    assert fine.status == "ok"
    assert not alive(int((tmp_path / "0-sleeps").read_text()))


def test_memory_is_bounded_where_it_is_asked(outcomes):
    large, small = outcomes("allocates", "allocates_little", memory_mb=1500)
    assert large.status == "out_of_memory"
    assert "1500 MB" in large.reason
    assert small.value == float(2**20)


def test_what_a_call_prints_does_not_reach_standard_output(outcomes, capfd):
    (outcome,) = outcomes("prints")
    assert (outcome.status, outcome.value) == ("ok", 1)
    assert "noise" not in capfd.readouterr().out


def test_a_large_result_arrives(outcomes):
    (outcome,) = outcomes("large")
    assert len(outcome.value) == 30_000_000


def test_a_thread_that_never_ends_keeps_nobody_waiting(outcomes, tmp_path, alive):
    (outcome,) = outcomes("thread_that_never_ends")
    assert outcome.value == 7
    assert not alive(int((tmp_path / "0-thread_that_never_ends").read_text()))


def gone(alive, pid):
    for _ in range(100):
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


def test_what_a_call_has_started_ends_with_it(outcomes, tmp_path, alive):
    done, late = outcomes("has_a_child", "has_a_child_and_sleeps", timeout=4)
    assert (done.value, late.status) == (8, "timeout")
    for child in tmp_path.glob("*.child"):
        assert gone(alive, int(child.read_text()))


def test_leaving_early_ends_what_is_running(call, tmp_path, alive):
    arguments = [("fine", str(tmp_path / "a")), ("sleeps", str(tmp_path / "b"))]
    stream = execute(call, arguments, workers=2)
    assert next(stream).key == 0
    for _ in range(200):
        if (tmp_path / "b").exists() and (tmp_path / "b").read_text():
            break
        time.sleep(0.05)
    stream.close()
    assert gone(alive, int((tmp_path / "b").read_text()))


def test_calls_start_in_order_and_no_more_at_a_time_than_asked(call, tmp_path):
    started = []
    stream = execute(call, [("fine", str(tmp_path / f"{i}")) for i in range(4)], workers=1, on_start=started.append)
    for n, outcome in enumerate(stream, 1):
        assert outcome.key == n - 1
        assert started == list(range(n))


def test_nothing_to_do_is_done_at_once(call):
    assert list(execute(call, [], workers=2)) == []
