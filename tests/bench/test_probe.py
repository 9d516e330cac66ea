"""Plugins that hang, crash, end the process or fill the memory when they are imported cost their user one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pbench.bench.contracts.errors import UsageError
from pbench.bench.engine import probe

MODEL = """
import numpy as np
from pbench import Capabilities, Model, Prediction

class Theirs(Model):
    "Theirs."
    name = "theirs"
    capabilities = Capabilities()
    def fit(self, data, *, seed): return self
    def predict(self, conditions, controls): return Prediction(tuple(conditions), controls.control_mean(conditions))
"""
BAD = {
    "hangs": ("import time; time.sleep(1000)", "takes more than 3 s"),
    "exits": ("import os; os._exit(0)", r"ends the process that imports it \(exit code 0\)"),
    "crashes": ("import ctypes; ctypes.string_at(0)", r"ends the process that imports it \(signal 11"),
    "eats": ("import numpy as np; x = [np.ones(2**24) for _ in range(1000)]", "takes more than 600 MB of memory"),
    "interrupts": ("raise KeyboardInterrupt", "only an interruption"),
    "killed": ("import os; os.kill(os.getpid(), 9)", "signal 9"),
}


@pytest.fixture(autouse=True)
def limits(monkeypatch):
    monkeypatch.setenv("PBENCH_PLUGIN_SECONDS", "3")
    monkeypatch.setattr(probe, "MEGABYTES", 600.0)


@pytest.fixture
def write(tmp_path):
    def make(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        return tmp_path / f"{name}.py"

    return make


@pytest.mark.parametrize("how", BAD)
def test_a_file_that_does_not_come_back(how, write):
    text, said = BAD[how]
    with pytest.raises(UsageError, match=f"--plugin .*{how}.py cannot be imported: it .*{said}" if how != "eats" else said):
        probe.check_files([write("good", MODEL), write(how, text)])


def test_what_it_has_started_ends_with_it(write, tmp_path):
    mark = tmp_path / "mark"
    text = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(4); open({str(mark)!r}, \"w\")'])"
    began = time.monotonic()
    probe.check_files([write("starts", text)])
    time.sleep(max(0.0, began + 6 - time.monotonic()))
    assert not mark.exists()


def test_good_files_pass_and_ordinary_errors_are_left_to_the_import(write):
    began = time.monotonic()
    probe.check_files([write("good", MODEL), write("raises", "1 / 0"), write("leaves", "raise SystemExit(3)")])
    assert time.monotonic() - began < 3


@pytest.fixture
def site(tmp_path):
    """A folder of installed packages: one good, one that hangs, one that ends the process."""
    for name, text in {"good": MODEL, "hangs": BAD["hangs"][0], "exits": BAD["exits"][0]}.items():
        (tmp_path / f"their_{name}.py").write_text(text)
        info = tmp_path / f"their_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: their-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[pbench.models]\ntheir-{name} = their_{name}:Theirs\n")
    return tmp_path


def test_installed_plugins_that_do_not_come_back_are_left_out_and_the_others_stay(site):
    program = "import sys; sys.argv = ['pbench', 'list', 'models']\nfrom pbench.bench.cli.main import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "their-good" in done.stdout and "Theirs." in done.stdout
    said = done.stdout + done.stderr
    assert "it takes more than 3 s" in said and "ends the process that imports it" in said


def test_processes_of_jobs_are_their_own_guard(monkeypatch):
    check = probe.modules_checked()
    monkeypatch.setattr(probe.multiprocessing, "parent_process", object)
    assert check(["no_such_module"]) == {} and isinstance(Path(probe.__file__), Path)
