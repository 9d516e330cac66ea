"""Readers take mutated files for a moment: each ends in an answer or in one sentence, in bounded time and memory.

PBENCH_FUZZ_SECONDS is for how long, all together; for hours there is ``python tests/fuzz/run.py``.
"""

from __future__ import annotations

import os
import time

import pytest
from bounded import bounded
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mutation import mutated
from targets import TARGETS, run

from pbench.bench.contracts.errors import DataError

SECONDS = float(os.environ.get("PBENCH_FUZZ_SECONDS", "11"))


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_taken(name, tmp_path):
    """What is mutated is valid to begin with, or nothing but the first line of a reader would be tested."""
    target = TARGETS[name]
    taken = [run(target, seed, tmp_path / "x") for seed in target.seeds()]
    assert taken[0] and len(taken) == len(target.seeds())


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_bytes(name, tmp_path):
    target, seeds, each = TARGETS[name], TARGETS[name].seeds(), SECONDS / len(TARGETS)
    # Imports of readers are no part of what is measured and bounded.
    run(target, seeds[0], tmp_path / "x")

    def explore() -> None:
        end = time.monotonic() + each

        @settings(
            database=None,
            deadline=None,
            derandomize=True,
            max_examples=1_000_000,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(which=st.integers(0, len(seeds) - 1), rng=st.randoms(use_true_random=True))
        def one(which, rng):
            if time.monotonic() > end:
                # Hypothesis has no limit of time; an error of ours ends it and is none of a reader.
                raise DataError("over")
            run(target, mutated(seeds[which], rng), tmp_path / "x")

        one()

    try:
        assert bounded(explore, seconds=each + 30, megabytes=1500) == "over"
    except AssertionError as error:
        if target.native and ("the process ended" in str(error) or "it took more" in str(error)):
            pytest.skip("a library in C did not come back, which ends the reader's process and nothing else")
        raise
