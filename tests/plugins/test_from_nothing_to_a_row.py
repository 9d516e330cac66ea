"""A stranger's way: a package is written, installed without a network, listed, checked, run, and has its row on the board."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

ENTRY = "from pbench.bench.cli.main import main; main()"


@pytest.fixture
def typed(tmp_path):
    """The command line in a process of its own, in a folder without anything, beside what is installed in ``site``."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("PBENCH")}
    env = {**own, "PBENCH_CACHE": str(tmp_path / "cache"), "PBENCH_DATA": "/nonexistent", "PYTHONPATH": str(tmp_path / "site")}

    def call(*arguments, program=("-c", ENTRY)):
        command = [sys.executable, *program, *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240)

    return call


def test_a_model_and_a_data_set_of_a_stranger(typed, tmp_path):
    for kind, name in (("model", "my-model"), ("dataset", "my-screen")):
        assert typed("new", kind, name).returncode == 0
        pip = ("-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", tmp_path / "site")
        done = typed(tmp_path / name, program=tuple(map(str, pip)))
        if done.returncode:
            pytest.skip(f"pip could not install a package here: {done.stderr.strip().splitlines()[-1]}")

    listed = json.loads(typed("list", "--json").stdout)
    found = {e["name"]: e for kind in ("models", "datasets") for e in listed[kind] if e["origin"] != "built in"}
    assert {n: e["origin"] for n, e in found.items()} == {
        "my-model": "pbench-my-model 0.1.0",
        "my-screen": "pbench-my-screen 0.1.0",
    }
    assert all(e["summary"] for e in found.values()) and listed["broken"] == {}

    checked = typed("check", "my-model", "--json")
    assert checked.returncode == 0, checked.stdout
    assert json.loads(checked.stdout)["checked"][0]["kind"] == "model"

    ran = typed(
        "run", "--models", "my-model,additive", "--dataset", "my-screen", "--metrics", "l2@all", "--no-controls", "--quiet"
    )
    assert ran.returncode == 0, ran.stderr
    board = (tmp_path / "results" / "leaderboard.md").read_text()
    assert any(line.startswith("|") and "my-model" in line for line in board.splitlines()), board
