"""The same screen gives the same numbers: hash seeds, threads, precision and form of the file (CellSimBench, BLAS)."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("every_value.py")
FORMS = tuple(runpy.run_path(str(PROGRAM))["FORMS"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Values of the whole catalogue from a process of its own."""

    def call(*forms, hash_seed, threads):
        folder = tmp_path_factory.mktemp("process")
        own = {k: str(threads) for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
        env = {**os.environ, **own, "PYTHONHASHSEED": str(hash_seed), "PBENCH_CACHE": str(folder / "cache")}
        done = subprocess.run([sys.executable, PROGRAM, folder, *forms], env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    return call


@pytest.fixture(scope="module")
def original(run):
    return run(*FORMS, hash_seed=0, threads=1)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        left, right = (np.array(v, dtype=float) for v in (a[key], b[key]))
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-6, err_msg=key)


def test_most_of_the_catalogue_has_a_value(original):
    defined = {key.partition(", ")[2] for key, values in original["csr"].items() if any(v is not None for v in values)}
    assert len(defined) > 0.85 * len({key.partition(", ")[2] for key in original["csr"]})


@pytest.mark.parametrize(("hash_seed", "threads"), [(1, 2), (2, 1)])
def test_neither_the_hash_seed_nor_the_number_of_threads_matters(original, run, hash_seed, threads):
    assert_same(original["csr"], run("csr", hash_seed=hash_seed, threads=threads)["csr"])


@pytest.mark.parametrize("form", FORMS[1:])
def test_the_form_of_the_file_does_not_matter(original, form):
    assert_same(original["csr"], original[form])
