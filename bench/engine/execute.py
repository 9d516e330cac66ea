"""Run calls in processes of their own, a few at a time, whatever happens inside them."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..contracts.errors import InvalidPrediction, PbenchError


@dataclass(frozen=True)
class Outcome:
    """What became of a call.

    Parameters
    ----------
    status
        ``ok``, ``failed``, ``invalid``, ``out_of_memory``, ``timeout`` or ``killed``.
    value
        What the function returned, where it is ok.
    reason
        One sentence, where it is not ok.
    exit_code
        Of a `PbenchError`.
    """

    key: int
    status: str
    value: Any = None
    reason: str = ""
    traceback: str = ""
    exit_code: int = 1
    seconds: float = 0.0


@dataclass
class _Running:
    key: int
    process: Any
    pipe: Any
    began: float = field(default_factory=time.perf_counter)


def execute(
    function: Callable[[Any], Any],
    arguments: Sequence[Any],
    *,
    workers: int,
    timeout: float | None = None,
    memory_mb: float | None = None,
    preload: Sequence[str] = (),
    on_start: Callable[[int], None] = lambda key: None,
) -> Iterator[Outcome]:
    """Call `function` on each argument in a fresh process; yield an `Outcome` as each ends, in no fixed order.

    Parameters
    ----------
    workers
        Processes at a time.
    timeout
        Seconds after which a process is killed.
    memory_mb
        Bound on the private memory of a process; beyond it allocations fail and the outcome is ``out_of_memory``.
    preload
        Modules that the server imports from which the processes are forked; only the first call of a program counts.
    on_start
        Told the index of each argument as its process starts.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pbench.bench.engine.worker", "pbench.bench.cli.main", *preload])
    waiting = deque(range(len(arguments)))
    running: dict[Any, _Running] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                key = waiting.popleft()
                pipe, child_end = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(child_end, function, arguments[key], memory_mb), daemon=False)
                on_start(key)
                process.start()
                child_end.close()
                running[pipe] = _Running(key, process, pipe)
            ends = [r.began + timeout for r in running.values()] if timeout else []
            patience = max(0.0, min(ends) - time.perf_counter()) if ends else None
            for pipe in multiprocessing.connection.wait(list(running), patience):
                yield _collect(running.pop(pipe), memory_mb)
            for late in [r for r in running.values() if timeout and time.perf_counter() - r.began > timeout]:
                del running[late.pipe]
                _kill(late.process)
                yield Outcome(
                    late.key,
                    "timeout",
                    reason=f"exceeded the time limit of {timeout:g} s",
                    seconds=time.perf_counter() - late.began,
                )
    finally:
        for r in running.values():
            _kill(r.process)


def execute_here(
    function: Callable[[Any], Any],
    arguments: Sequence[Any],
    *,
    on_start: Callable[[int], None] = lambda key: None,
    **unused: Any,
) -> Iterator[Outcome]:
    """The same in this process, one after the other, for callers from Python; what is raised reaches the caller.

    Nothing is guarded: there is no limit of time or memory, and `unused` takes the options that set them.
    """
    for key, argument in enumerate(arguments):
        on_start(key)
        began = time.perf_counter()
        yield Outcome(key, "ok", function(argument), seconds=time.perf_counter() - began)


def _kill(process: Any) -> None:
    """End a process with whatever it has started."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _collect(run: _Running, memory_mb: float | None) -> Outcome:
    try:
        status, value, reason, trace, exit_code = run.pipe.recv()
    except (EOFError, OSError):
        run.process.join()
        code = run.process.exitcode
        status, value, trace, exit_code = "killed", None, "", 1
        if code is not None and code < 0:
            limit = f" (limit {memory_mb:g} MB)" if memory_mb else ""
            reason = f"the process was killed by signal {-code}" + (
                f", most often because memory ran out{limit}" if code == -9 else ""
            )
        else:
            reason = f"the process ended with exit code {code} and gave no result"
    except Exception as error:  # noqa: BLE001 - a value that cannot be read back is a failure of this job alone
        status, value, reason, trace, exit_code = "failed", None, f"the result could not be returned: {error}", "", 1
    _kill(run.process)
    return Outcome(run.key, status, value, reason, trace, exit_code, time.perf_counter() - run.began)


def _child(pipe: Any, function: Callable[[Any], Any], argument: Any, memory_mb: float | None) -> None:
    # A session of its own, so that all that a model starts can be ended with it.
    os.setsid()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    # What a plugin prints belongs to nobody's standard output: `--json` must stay one object.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if memory_mb:
        limit = int(memory_mb * 2**20)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        message = ("ok", function(argument), "", "", 0)
    except MemoryError as error:
        limit_text = f" of {memory_mb:g} MB" if memory_mb else ""
        message = ("out_of_memory", None, f"ran out of memory{limit_text}: {str(error) or 'an allocation failed'}", "", 1)
    except InvalidPrediction as error:
        message = ("invalid", None, str(error), "", error.exit_code)
    except PbenchError as error:
        message = ("failed", None, str(error), "", error.exit_code)
    except BaseException as error:  # noqa: BLE001 - whatever a plugin raises becomes a row with a reason
        message = ("failed", None, f"{type(error).__name__}: {error}", traceback.format_exc(limit=-6), 1)
    try:
        pipe.send(message)
    except Exception as error:  # noqa: BLE001 - a value that cannot be sent is a failure of this job alone
        pipe.send(("failed", None, f"the result could not be returned: {error}", "", 1))
    pipe.close()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)
