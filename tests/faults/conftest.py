"""How many faults, of which seeds, and processes that start fast enough to be killed by the hundred.

``PBENCH_FAULTS=200 python -m pytest tests/faults`` injects 200 kills of writers and a fraction of that of everything slower;
``PBENCH_FAULTS_SEED`` moves all of them.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from toy_plugins import SLEEPERS, TOY_SCREEN

ENTRY = "from pbench.bench.cli.main import main; main()"
FAULTS = int(os.environ.get("PBENCH_FAULTS", "12"))
SEED = int(os.environ.get("PBENCH_FAULTS_SEED", "0"))


def pytest_collection_modifyitems(items):
    """What takes long waits for a run of many faults."""
    for item in items:
        if item.get_closest_marker("slow") and FAULTS < 50:
            item.add_marker(pytest.mark.skip(reason="takes long; asked for with PBENCH_FAULTS=200"))


@pytest.fixture(scope="session")
def how_many():
    """A number of faults as a share of those that are asked for, at least `least`."""

    def number(share=1.0, least=1):
        return max(least, round(FAULTS * share))

    return number


@pytest.fixture
def dice(request):
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(scope="session")
def forked():
    """Starts a function in a process of its own within milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pandas", "pyarrow.parquet", "pbench.bench.engine.store"])

    def start(function, *arguments):
        process = context.Process(target=function, args=arguments, daemon=True)
        process.start()
        return process

    return start


class Bench:
    """``pbench`` in processes of their own that all carry a token, by which those that are left over are found."""

    def __init__(self, folder):
        self.folder, self.token = folder, uuid.uuid4().hex
        self.cache, self.whole, self.seconds = folder / "cache", folder / "undisturbed", 0.0
        (folder / "toy_screen.py").write_text(TOY_SCREEN)
        (folder / "sleepers.py").write_text(SLEEPERS)

    def run_arguments(self, out, *more, jobs=2):
        plugins = ["--plugin", self.folder / "sleepers.py", "--plugin", self.folder / "toy_screen.py"]
        arguments = ["run", "--json", "--no-controls", *plugins, "--dataset", "toy-screen", "--models", "m?"]
        return [*arguments, "--metrics", "headline", "-j", jobs, "--out", out, *more]

    def start(self, *arguments, cache=None, nap=0, **options):
        own = {k: v for k, v in os.environ.items() if not k.startswith("PBENCH")}
        env = {**own, "PBENCH_CACHE": str(cache or self.cache), "PBENCH_DATA": "/nonexistent", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", ENTRY, *map(str, arguments)],
            cwd=self.folder,
            env=env | {"FAULT_TOKEN": self.token, "NAP": str(nap)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )

    def call(self, *arguments, timeout=120, **options):
        process = self.start(*arguments, **options)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def living(self):
        """Processes of this bench that live."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if self.token.encode() in (place / "environ").read_bytes():
                    state = (place / "stat").read_text().rpartition(")")[2].split()[0]
                    found += [int(place.name)] if state not in "ZX" else []
            except (OSError, IndexError):
                continue
        return found

    def all_ended(self, within=10.0):
        end = time.monotonic() + within
        while time.monotonic() < end:
            if not self.living():
                return True
            time.sleep(0.05)
        return False


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="session")
def undisturbed(bench):
    """Rows and predictions of a run that nothing happened to, by record and by job."""
    began = time.monotonic()
    done = bench.call(*bench.run_arguments(bench.whole), nap=0.1)
    assert done.returncode == 0, done.stderr
    bench.seconds = time.monotonic() - began
    return contents(bench.whole)


def contents(out):
    """The bytes of the rows of every whole record, and the arrays of every prediction."""
    import numpy as np

    from pbench.bench.engine.record import read_record
    from pbench.bench.engine.sealed import read_arrays

    rows = {p.stem: read_record(p)[1] for p in sorted((out / "records").glob("*.json"))}
    archives = {p.stem: read_arrays(p) for p in sorted((out / "predictions").glob("*.npz"))}
    seen = {name: np.asarray(a["mean"]).tobytes() for name, a in archives.items()}
    return rows, seen


@pytest.fixture(scope="session")
def read_contents():
    return contents
