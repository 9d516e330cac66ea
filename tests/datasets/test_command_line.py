"""Bad data at the command line: one message, the right exit code, and what was there before stays as it was."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from pbench.bench.cli.main import cli

LABELS = ["control"] * 6 + ["KLF1"] * 3 + ["BAK1"] * 3 + ["KLF1+BAK1"] * 3


@pytest.fixture
def results(tmp_path):
    """A results folder with something in it, which must survive."""
    folder = tmp_path / "results"
    (folder / "records").mkdir(parents=True)
    (folder / "records" / "earlier.json").write_text('{"earlier": true}')
    (folder / "leaderboard.md").write_text("earlier")
    return folder


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def refused(monkeypatch, tmp_path, results):
    """Run `pbench run` and return the message of its refusal."""
    monkeypatch.setenv("PBENCH_CACHE", str(tmp_path / "cache"))
    before = contents(results)

    def run(*arguments, exit_code=3):
        command = ["run", "--models", "no-change", "--quiet", "--out", str(results), *map(str, arguments)]
        result = CliRunner().invoke(cli, command, standalone_mode=False)
        message = str(result.exception)
        assert getattr(result.exception, "exit_code", None) == exit_code, message
        assert "\n" not in message and contents(results) == before
        return message

    return run


def test_no_such_file(refused, tmp_path):
    assert "nowhere.h5ad" in refused("--dataset", tmp_path / "nowhere.h5ad", "--scale", "counts")


def test_the_scale_is_never_guessed(refused, write):
    assert "--scale counts" in refused("--dataset", write(LABELS), exit_code=2)
    assert "log1p_1e4" in refused("--dataset", write(LABELS), "--scale", "cpm", exit_code=2)


def test_options_of_a_file_without_a_file(refused):
    assert "--control-label" in refused("--dataset", "norman-sim", "--control-label", "NT", exit_code=2)


def test_a_missing_control_names_frequent_labels(refused, write):
    message = refused("--dataset", write([label.replace("control", "NT") for label in LABELS]), "--scale", "counts")
    assert "'NT', 'KLF1'" in message and "--control-label" in message


def test_an_absent_column_names_near_ones(refused, write):
    message = refused("--dataset", write(LABELS), "--scale", "counts", "--perturbation-key", "perturb")
    assert "my.h5ad" in message and "Did you mean 'perturbation'?" in message


def test_a_damaged_matrix(refused, write):
    path = write(LABELS)
    with h5py.File(path, "a") as f:
        f["X/indices"][0] = 99
    assert "my.h5ad" in refused("--dataset", path, "--scale", "counts")


def test_an_absent_data_set_says_what_to_do(refused, monkeypatch, tmp_path):
    def unreachable():
        raise OSError("Name or service not known")

    scanpy, pertpy = types.ModuleType("scanpy"), types.ModuleType("pertpy")
    scanpy.settings = types.SimpleNamespace(datasetdir=None)
    pertpy.dt = types.SimpleNamespace(norman_2019=unreachable)
    monkeypatch.setitem(sys.modules, "scanpy", scanpy)
    monkeypatch.setitem(sys.modules, "pertpy", pertpy)
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path / "data"))
    message = refused("--dataset", "norman")
    words = ["'norman'", "norman_2019.h5ad", "perturb_processed.h5ad", str(tmp_path / "data"), "pertpy.dt.norman_2019()"]
    assert not [w for w in [*words, "Name or service not known", "pbench run --dataset norman-sim"] if w not in message]


def test_an_absent_data_set_without_pertpy(refused, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pertpy", None)
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path / "data"))
    assert "pip install 'pbench[pertpy]'" in refused("--dataset", "norman", exit_code=4)


def test_the_command_itself(write, results, tmp_path):
    before = contents(results)
    start = "from pbench.bench.cli.main import main; main()"
    command = [sys.executable, "-c", start, "run", "--models", "no-change", "--quiet", "--out", str(results)]
    done = subprocess.run(
        [*command, "--dataset", str(write(LABELS, X=np.full((15, 5), 0.5))), "--scale", "counts"],
        capture_output=True,
        text=True,
        env={**os.environ, "PBENCH_CACHE": str(tmp_path / "cache")},
        check=False,
    )
    assert done.returncode == 3 and done.stdout == ""
    assert done.stderr.startswith("Error: my.h5ad") and "--scale log1p_1e4" in done.stderr and done.stderr.count("\n") == 1
    assert contents(results) == before


def test_odd_names_go_all_the_way(write, tmp_path, monkeypatch):
    monkeypatch.setenv("PBENCH_CACHE", str(tmp_path / "cache"))
    names = ["a/b", "a b", "../up", "β-ion", "100% DMSO", "x" * 3000, "A,B", "$(id)", "[1]", "C:\\x", "Na+"]
    labels = [label for label in ["control", *names] for _ in range(13)]
    path = write(labels, name="odd näme.h5ad", line=["b/β |1"] * len(labels))
    out = tmp_path / "results"
    command = ["run", "--models", "no-change", "--quiet", "--metrics", "mse@all", "--dataset", str(path), "--scale", "counts"]
    command += ["--separator", "none", "--context-key", "line", "--out", str(out)]
    result = CliRunner().invoke(cli, command, standalone_mode=False)
    assert result.exception is None and result.return_value == 0, result.exception
    assert (out / "leaderboard.md").is_file()
    assert {p.name for p in tmp_path.iterdir()} <= {"cache", "results", path.name}
