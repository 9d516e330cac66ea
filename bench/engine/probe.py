"""Plugins are imported by a process that may hang, crash or fill its memory, before this one imports them."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..contracts import memory, registry
from ..contracts.errors import UsageError

#: Seconds that the import of one plugin may take, unless PBENCH_PLUGIN_SECONDS says otherwise, and megabytes of memory.
SECONDS, MEGABYTES = 60.0, 8192.0
#: Exit codes of the process for what an import may not do.
_RAN_OUT, _RAISED = 71, 72
#: What the process runs: one point for each plugin that can be left to the caller, which says what an ordinary error was.
_PROGRAM = f"""
import json, os, resource, sys
pipe, limit, path, kind, names = json.loads(sys.argv[1])
sys.path[:] = path
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import importlib
from pbench.bench.contracts import registry
for name in names:
    try:
        registry.load_plugin_file(name) if kind == "file" else importlib.import_module(name)
    except MemoryError:
        os._exit({_RAN_OUT})
    except (Exception, SystemExit) as error:
        while error is not None:
            if isinstance(error, MemoryError):
                os._exit({_RAN_OUT})
            error = error.__cause__
    except BaseException:
        os._exit({_RAISED})
    os.write(pipe, b".")
os._exit(0)
"""


def check_files(paths: Sequence[Path]) -> None:
    """Import plugin files elsewhere first.

    This keeps accidents away, not malice: a plugin is code that its user has chosen to run.

    Raises
    ------
    UsageError
        For the first that does not come back, in one sentence. What it raises is left to whoever imports it.
    """
    there = [str(path) for path in paths if path.is_file()]
    for name, problem in _probed("file", there).items():
        raise UsageError(f"--plugin {name} cannot be imported: {problem}.")


def modules_checked() -> Callable[[Sequence[str]], Mapping[str, str]]:
    """What a `Registry` asks before it imports modules of installed plugins: why each cannot be, of those that cannot."""
    known: dict[str, str] = {}

    def check(names: Sequence[str]) -> Mapping[str, str]:
        # A process of ours that was started for a job is one of its own already.
        if multiprocessing.parent_process() is None and (new := [n for n in dict.fromkeys(names) if n not in known]):
            known.update(dict.fromkeys(new, "") | _probed("module", new))
        return {name: known[name] for name in names if known.get(name)}

    return check


def _probed(kind: str, names: Sequence[str]) -> dict[str, str]:
    problems: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        done, problem = _attempt(kind, waiting)
        if done < len(waiting):
            problems[waiting[done]] = problem
        waiting = waiting[done + 1 :]
    return problems


def _attempt(kind: str, names: Sequence[str]) -> tuple[int, str]:
    """How many of the plugins came back one after the other, and what became of the next."""
    seconds = _seconds()
    limit = int(min(MEGABYTES * 2**20, memory.machine()))
    reader, writer = os.pipe()
    given = json.dumps([writer, limit, sys.path, kind, list(names)])
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM, given],
        stdin=nothing,
        stdout=nothing,
        stderr=nothing,
        pass_fds=(writer,),
        start_new_session=True,
    )
    os.close(writer)
    done = 0
    try:
        while done < len(names):
            end = time.monotonic() + seconds
            if not select.select([reader], [], [], max(0.0, end - time.monotonic()))[0]:
                return done, f"it takes more than {seconds:g} s; move what is slow into fit, load or the like"
            if not (found := os.read(reader, 4096)):
                break
            done += len(found)
        return done, "" if done >= len(names) else _told(process.wait(seconds), limit)
    except subprocess.TimeoutExpired:
        return done, f"it does not end within {seconds:g} s"
    finally:
        os.close(reader)
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _told(code: int, limit: int) -> str:
    if code == _RAN_OUT:
        return f"it takes more than {limit / 2**20:,.0f} MB of memory"
    if code == _RAISED:
        return "it raises what only an interruption raises"
    what = f"signal {-code}, a crash" if code < 0 else f"exit code {code}"
    return f"it ends the process that imports it ({what})"


def _seconds() -> float:
    try:
        return float(os.environ.get("PBENCH_PLUGIN_SECONDS", SECONDS))
    except ValueError:
        return SECONDS


def install() -> None:
    """Have all registries of this process ask first."""
    check = modules_checked()
    for entries in registry.REGISTRIES.values():
        entries.check_modules = check
