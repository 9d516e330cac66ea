"""Running a script with another Python interpreter, so that nothing of it outlives the job."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

from ...bench.contracts.errors import PbenchError, UsageError
from .bridge import CANNOT_IMPORT

BRIDGE = Path(__file__).with_name("bridge.py")
#: Lines of standard error that an error quotes at most.
_TAIL = 4


def interpreter(python: str, variable: str, name: str) -> str:
    """Path of the interpreter that the user names, by the parameter ``python`` or by an environment variable.

    Raises
    ------
    UsageError
        If none is named, or the one that is named does not exist.
    """
    named = python or os.environ.get(variable, "")
    if not named:
        raise UsageError(
            f"'{name}' runs the official package in an interpreter of its own, and none is named. "
            f"Type: export {variable}=/path/to/environment/bin/python (docs/official.md says how to make one)."
        )
    found = shutil.which(os.path.expanduser(named))
    if found is None:
        raise UsageError(f"'{named}', named for '{name}', is no program. Set {variable} to the python of its environment.")
    return found


def run(python: str, script: Path, folder: Path, step: str, name: str, *, failure: type[PbenchError] = PbenchError) -> None:
    """Run a step of a script and wait; the process and all that it starts end with this call, whatever ends it.

    The child has a process group of its own, which is killed at the end. Should this process be killed outright, the pipe to
    the child closes and the child kills its group itself.

    Parameters
    ----------
    failure
        Class of the error for a script that does not succeed.

    Raises
    ------
    UsageError
        If the interpreter lacks a package.
    PbenchError
        If the script fails: one sentence with the end of what it wrote to standard error.
    """
    # What belongs to our own environment would make the other one find our packages.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    environment |= {"PYTHONWARNINGS": "ignore", "MPLBACKEND": "Agg", "PYTHONUNBUFFERED": "1"}
    # The packages save settings beside weights as pickles; torch 2.6 stopped loading those, and these files are our own.
    environment["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    log = folder / "stderr.txt"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [python, str(BRIDGE), str(script), str(folder), step],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        try:
            # Not reaped yet, so that the number of its group cannot pass to another before the group is killed.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        finally:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
            if process.stdin:
                process.stdin.close()
    if code == CANNOT_IMPORT:
        raise UsageError(f"{python} cannot run '{name}': {_end(log, 1)} (docs/official.md says how to make its environment).")
    if code:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise failure(f"'{name}' {how} in the step '{step}': {_end(log, _TAIL)}")


def _end(log: Path, n: int) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-n:])[-800:] or "it wrote nothing to standard error"
