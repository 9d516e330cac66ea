"""Run a command and all that it starts within one bound on memory, page cache included, as a container would.

``python tests/support/within_memory.py 4GB COMMAND ...`` makes a control group of Linux (version 1 or 2), for which it has to be root,
and prints to standard error what the command took. The command's exit code is passed on; 137 is what a kill for want of memory gives.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
UNITS = {"KB": 2**10, "MB": 2**20, "GB": 2**30}


class NoGroups(Exception):
    """Control groups of memory cannot be made here."""


@dataclass
class Usage:
    """What a command took: seconds, its exit code, bytes, and how often it ran into the bound or was killed for it.

    `peak` counts pages of files too, which the system gives up when memory is short; `private` is what it cannot give up.
    """

    seconds: float = 0.0
    code: int = 0
    peak: int = 0
    private: int = 0
    at_limit: int = 0
    killed: int = 0


class Group:
    """A control group with a bound on memory, of either version."""

    def __init__(self, n_bytes):
        v1 = (GROUPS / "memory" / "memory.limit_in_bytes").exists()
        self.folder = (GROUPS / "memory" if v1 else GROUPS) / f"bounded-{os.getpid()}"
        try:
            if not v1:
                (GROUPS / "cgroup.subtree_control").write_text("+memory")
            self.folder.mkdir()
            (self.folder / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(n_bytes))
        except OSError as error:
            if self.folder.exists():
                self.folder.rmdir()
            raise NoGroups(
                f"no control group of memory can be made ({error}); be root on Linux, in a container that allows it"
            ) from error
        # Without this, what does not fit would go to swap instead.
        swap = self.folder / ("memory.memsw.limit_in_bytes" if v1 else "memory.swap.max")
        if swap.exists():
            swap.write_text(str(n_bytes if v1 else 0))
        self.v1 = v1

    def enter(self):
        """Move this process into the group."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def private(self):
        """Bytes of memory that belongs to no file."""
        return self._of("memory.stat", "total_rss" if self.v1 else "anon")

    def read(self, usage):
        """Fill in what the group has counted."""
        usage.peak = self._number("memory.max_usage_in_bytes" if self.v1 else "memory.peak")
        usage.at_limit = self._number("memory.failcnt") if self.v1 else self._of("memory.events", "max")
        usage.killed = self._of("memory.oom_control" if self.v1 else "memory.events", "oom_kill")

    def close(self):
        """Remove the group; its processes have ended, and are waited for a little."""
        for _ in range(100):
            try:
                return self.folder.rmdir()
            except OSError:
                time.sleep(0.1)
        print(f"{self.folder} could not be removed", file=sys.stderr)

    def _number(self, name):
        try:
            return int((self.folder / name).read_text())
        except (OSError, ValueError):
            return 0

    def _of(self, name, key):
        try:
            lines = (self.folder / name).read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.split()[0] == key), 0)


def run_within(n_bytes, command, *, every=0.05, **options):
    """Run a command within a bound; returns its `Usage`. `options` are those of `subprocess.Popen`.

    Raises
    ------
    NoGroups
        If control groups cannot be made here.
    """
    group = Group(n_bytes)
    usage, ended = Usage(), threading.Event()

    def watch():
        while not ended.wait(every):
            usage.private = max(usage.private, group.private())

    watching = threading.Thread(target=watch)
    try:
        began = time.perf_counter()
        with subprocess.Popen(command, preexec_fn=group.enter, **options) as process:
            watching.start()
            try:
                usage.code = process.wait()
            finally:
                ended.set()
        usage.seconds = time.perf_counter() - began
        watching.join()
        group.read(usage)
    finally:
        group.close()
    return usage


def bytes_of(text):
    """``4GB`` as bytes."""
    unit = text[-2:].upper()
    try:
        return int(float(text[:-2]) * UNITS[unit])
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of memory; give one such as 4GB or 512MB") from None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("memory", type=bytes_of)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    try:
        usage = run_within(asked.memory, asked.command)
    except NoGroups as error:
        parser.error(str(error))
    print(json.dumps(asdict(usage)), file=sys.stderr)
    sys.exit(usage.code if usage.code >= 0 else 128 - usage.code)


if __name__ == "__main__":
    main()
