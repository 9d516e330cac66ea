"""What measures within a bound on memory: it bounds, it counts, and its table says what was measured."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


within_memory = load(HERE.parent / "support" / "within_memory.py")
scale = load(HERE / "scale.py")
TAKES = "import sys; x = bytearray(b'1' * (int(sys.argv[1]) * 2**20)); print(len(x))"


def taken(megabytes, bound):
    try:
        return within_memory.run_within(bound, [sys.executable, "-c", TAKES, str(megabytes)], every=0.002, stdout=subprocess.PIPE)
    except within_memory.NoGroups as error:
        pytest.skip(str(error))


def test_a_command_is_bounded_and_counted():
    fine = taken(60, 300 * 2**20)
    assert (fine.code, fine.killed) == (0, 0)
    assert 60 * 2**20 < fine.private <= fine.peak < 300 * 2**20
    beyond = taken(400, 200 * 2**20)
    assert beyond.code == -9 and beyond.killed == 1
    assert not list(within_memory.GROUPS.glob(f"**/bounded-{os.getpid()}"))


def test_its_command_line_passes_the_exit_code_on():
    taken(1, 2**30)
    command = [sys.executable, within_memory.__file__, "1GB", sys.executable, "-c", "import sys; sys.exit(7)"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 7 and json.loads(done.stderr)["seconds"] > 0
    wrong = subprocess.run([*command[:2], "much", "true"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "'much' is no amount of memory; give one such as 4GB" in wrong.stderr


def test_exponents_are_those_of_powers():
    sizes = [250_000, 500_000, 2_000_000]
    assert scale.exponent(sizes, [3 * n**1.25 for n in sizes]) == pytest.approx(1.25)
    found = [{"cells": n, "bytes": 2**30, "seconds": {"fit": n / 1e5}, "usage": {"private": 2**29, "peak": 2**31}} for n in sizes]
    assert "| fit | 2.50 s | 5.00 s | 20.00 s | 1.00 |" in scale.table(found)
