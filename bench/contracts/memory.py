"""How much memory this process may still take."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def available(root: Path = Path("/")) -> int:
    """Bytes that can be allocated: what the machine, its container and the limit of this process have left, the least of them.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` lie; on systems without them, all of the machine's memory is taken to be free.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = [_kilobytes(root / "proc/meminfo", "MemAvailable:") or total]
    for limit, used, stat in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        groups = root / "sys/fs/cgroup"
        if (most := _number(groups / limit)) is not None:
            # What files have left behind in memory is given up when it is needed.
            kept = (_kilobytes(groups / stat, "inactive_file ") or 0) // 1024
            found.append(most - (_number(groups / used) or 0) + kept)
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if soft != resource.RLIM_INFINITY:
        found.append(soft - (_kilobytes(root / "proc/self/status", "VmData:") or 0))
    return max(0, min(found))


def machine(root: Path = Path("/")) -> int:
    """Bytes of memory of the machine or the container, taken or not."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    groups = root / "sys/fs/cgroup"
    limits = [_number(groups / name) for name in ("memory.max", "memory/memory.limit_in_bytes")]
    return min([total, *(n for n in limits if n)])


def _kilobytes(path: Path, key: str) -> int | None:
    try:
        line = next(line for line in path.read_text().splitlines() if line.startswith(key))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


#: What may be unpacked whatever the size of a file, and how many times its size otherwise: real tables stay far below it.
UNPACKED, TIMES = 256 * 2**20, 500


def unpackable(size: int, *, at_least: int = UNPACKED) -> int:
    """Bytes that a compressed file of a stranger may unpack to."""
    return min(available(), max(at_least, TIMES * size))


def amount(n: float) -> str:
    """Bytes for people.

    >>> amount(3), amount(2.5 * 2**20)
    ('3 bytes', '2.5 MB')
    """
    for unit in ("bytes", "KB", "MB", "GB"):
        if n < 1024:
            return f"{n:,.3g} {unit}" if n < 1000 else f"{n:,.0f} {unit}"
        n /= 1024
    return f"{n:,.3g} TB" if n < 1000 else f"{n:,.0f} TB"
