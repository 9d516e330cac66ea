"""How many threads a kernel uses when nobody says."""

from __future__ import annotations

import os


def default_threads() -> int:
    """``OMP_NUM_THREADS`` where it is set, or else the number of cores that this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if given.isdigit() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
