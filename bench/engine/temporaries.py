"""Names of files that are being written, and which of them nobody is writing any more."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

#: Seconds after which a temporary file of another machine counts as left over; whether its writer lives cannot be seen from here.
PATIENCE = 3600.0
_NAME = re.compile(r"(?P<own>.*)\.(?P<host>[A-Za-z0-9_-]{1,40})-(?P<pid>[0-9]{1,10})-[0-9a-f]{8}\.tmp", re.DOTALL)
#: As earlier versions named them.
_OLD = re.compile(r".*\.[0-9a-f]{8}\.tmp|.*\.tmp\.npz", re.DOTALL)


def temporary_beside(path: Path, *, hidden: bool = True) -> Path:
    """A name beside `path` that nobody else takes, and that says which process of which machine writes it.

    It ends in ``.tmp``. Pattern of the whole: ``.NAME.HOST-PID-RANDOM.tmp``.
    """
    return path.with_name(f"{'.' if hidden else ''}{path.name}.{_host()}-{os.getpid()}-{uuid4().hex[:8]}.tmp")


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", socket.gethostname())[:40] or "host"


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is one that is or was being written."""
    return bool(_NAME.fullmatch(name) or _OLD.fullmatch(name))


def is_left_over(path: Path, *, now: float | None = None) -> bool:
    """Whether a temporary file or folder has no writer any more.

    Its writer was a process of this machine that has ended, or nothing has changed in it for `PATIENCE` seconds.
    """
    found = _NAME.fullmatch(path.name)
    if found is None and not _OLD.fullmatch(path.name):
        return False
    if found is not None and found["host"] == _host() and not _lives(int(found["pid"])):
        return True
    try:
        newest = max([path.lstat().st_mtime, *(p.lstat().st_mtime for p in (path.rglob("*") if path.is_dir() else ()))])
    except OSError:
        return False
    return (time.time() if now is None else now) - newest > PATIENCE


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    with contextlib.suppress(OSError):
        # A zombie writes nothing more.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in "ZX"
    return True


def abandoned(folder: Path) -> Iterable[Path]:
    """Temporary files and folders directly in `folder` whose writer was a process of this machine and has ended."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        found = _NAME.fullmatch(name)
        if found is not None and found["host"] == _host() and not _lives(int(found["pid"])):
            yield folder / name


def sweep(*folders: Path) -> int:
    """Remove what processes of this machine that have ended were writing, which no reader ever looks at; returns how many.

    Without this, runs that are killed again and again would fill the disk.
    """
    removed = 0
    for folder in folders:
        for path in abandoned(folder):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()
            removed += not path.exists()
    return removed
