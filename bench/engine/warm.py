"""What every job would do first, done once by the server that job processes are forked from; importing this does it."""

from __future__ import annotations

import gc
import importlib
import platform

import pyarrow as pa

from ..contracts import registry
from . import worker  # noqa: F401

# Names alone: plugins are imported by the jobs that use them, each in its own process.
for _entries in (registry.models, registry.metrics):
    _entries.entries()
importlib.import_module(registry.metrics.package)
# For the first table that it makes, pyarrow imports pandas.
pa.table({"": pa.array([""])})
# It starts a program to ask.
platform.platform()
# Nothing of this is garbage, and a collection in a job would copy all of it.
gc.freeze()
