"""Calls that end in every way in which one can, where a process that was forked by a server can import them."""

from __future__ import annotations

import os
import signal

import numpy as np

from pbench.bench.contracts.errors import UsageError


def ends(_):
    os.kill(os.getpid(), signal.SIGSEGV)


def eats(_):
    return [np.ones(2**24) for _ in range(1000)]


def asks(_):
    raise UsageError("say what")


def breaks(_):
    return 1 / 0


def goes_round_in_circles(path):
    """Reads with a libhdf5 that does not come back, as it does in files with damaged attributes."""
    import time

    from pbench.datasets import h5ad

    os.environ["PBENCH_OPEN_SECONDS"] = "1"
    h5ad.check = lambda *_: time.sleep(1000)
    return h5ad.columns(path)


def looks_and_waits(path):
    import time

    from pbench.datasets import h5ad

    os.environ["PBENCH_OPEN_SECONDS"] = "1"
    found = h5ad.columns(path)
    time.sleep(1.5)
    return found
