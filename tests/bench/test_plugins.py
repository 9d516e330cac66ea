"""Plugins by installation and by file, good and broken."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MODEL = '''
"""A model and a metric that somebody else wrote."""
import numpy as np
from pbench import Capabilities, MetricInfo, Model, Prediction, Values


class HalfShift(Model):
    """Half of the mean training shift."""

    name = "half-shift"
    capabilities = Capabilities(unseen_targets=True)

    def __init__(self, *, factor=0.5):
        self.factor = factor

    def fit(self, data, *, seed):
        self.shift_ = self.factor * data.mean_shift
        return self

    def predict(self, conditions, controls):
        return Prediction(tuple(conditions), controls.control_mean(conditions) + self.shift_)


def median_error(comparison):
    return Values.of(np.median(np.abs(comparison.predicted - comparison.expected), axis=1))


MEDIAN = MetricInfo("median-error", 1, "down", 0, np.inf, 0, median_error, "Median absolute error over genes.", headline=True)
'''

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "pbench-theirs"
version = "1.2"
[project.entry-points."pbench.models"]
half-shift = "theirs:HalfShift"
[project.entry-points."pbench.metrics"]
median-error = "theirs:MEDIAN"
[tool.setuptools]
py-modules = ["theirs"]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder for PYTHONPATH with a package that pip installed."""
    source, target = tmp_path_factory.mktemp("theirs"), tmp_path_factory.mktemp("site")
    (source / "theirs.py").write_text(MODEL)
    (source / "pyproject.toml").write_text(PYPROJECT)
    command = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", target, source]
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.skip(f"pip could not install a package here: {done.stderr.strip().splitlines()[-1]}")
    return target


def values(report):
    import pandas as pd

    rows = pd.read_parquet(report["records"])
    return rows[rows["model"] == "half-shift"].set_index(["metric", "condition"])["value"].sort_index()


def test_installed_and_file_plugins_give_equal_numbers(installed, run_json, pbench, toy_plugin, tmp_path):
    asked = [
        "--plugin",
        toy_plugin,
        "--dataset",
        "toy-screen",
        "--models",
        "half-shift,no-change",
        "--metrics",
        "median-error,l2@all",
    ]
    by_pip, code = run_json(*asked, "--out", "pip", cwd=tmp_path, PYTHONPATH=str(installed))
    assert code == 0
    (tmp_path / "theirs_file.py").write_text(MODEL)
    by_file, code = run_json(*asked, "--plugin", "theirs_file.py", "--out", "file", cwd=tmp_path)
    assert code == 0
    assert len(values(by_pip)) > 0 and values(by_pip).notna().all()
    assert values(by_pip).equals(values(by_file))
    origin = {job["model"]: job["origin"] for report in (by_pip, by_file) for job in report["jobs"]}
    assert origin == {"half-shift": "file theirs_file.py", "no-change": "built in"}
    listed = json.loads(pbench("list", "--json", cwd=tmp_path, PYTHONPATH=str(installed)).stdout)
    assert [
        e["origin"] for kind in ("models", "metrics") for e in listed[kind] if e["name"] in ("half-shift", "median-error")
    ] == [
        "pbench-theirs 1.2",
        "pbench-theirs 1.2",
    ]


def test_an_installed_plugin_and_a_file_of_the_same_name_clash_and_both_are_named(installed, pbench, tmp_path):
    (tmp_path / "mine.py").write_text(MODEL)
    done = pbench("list", "--plugin", "mine.py", cwd=tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "two models are named 'half-shift'" in done.stderr
    assert "pbench-theirs 1.2" in done.stderr and "file mine.py" in done.stderr


def test_a_file_cannot_take_a_built_in_name(pbench, tmp_path):
    (tmp_path / "mine.py").write_text(MODEL.replace("half-shift", "additive"))
    done = pbench("list", "--plugin", "mine.py", cwd=tmp_path)
    assert done.returncode == 2
    assert "built in" in done.stderr and "file mine.py" in done.stderr


@pytest.fixture(params=["ImportError('no such thing')", "RuntimeError('broken on import')", None])
def broken(request, tmp_path):
    """A folder with distributions whose entry points raise, are not there, or clash with built-in names."""
    info = tmp_path / "site" / "broken_thing-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-thing\nVersion: 0.1\n")
    points = "[pbench.models]\nbroken-model = broken_thing:Model\nadditive = broken_thing:Other\n"
    (info / "entry_points.txt").write_text(points + "[pbench.metrics]\nbroken-metric = broken_thing:METRIC\n")
    if request.param:
        (tmp_path / "site" / "broken_thing.py").write_text(f"raise {request.param}\n")
    return tmp_path / "site"


def test_a_broken_plugin_takes_nothing_down_and_is_named(broken, pbench, run_json, toy_plugin, tmp_path):
    path = {"PYTHONPATH": str(broken)}
    listed = pbench("list", cwd=tmp_path, **path)
    assert listed.returncode == 0 and "additive" in listed.stdout and "Traceback" not in listed.stderr
    assert "broken: additive: two models are named 'additive'" in listed.stdout and "broken-thing 0.1" in listed.stdout

    doctor = pbench("doctor", "--json", cwd=tmp_path, **path)
    assert doctor.returncode == 1 and "Traceback" not in doctor.stderr
    named = {"model broken-model", "model additive", "metric broken-metric"}
    assert set(json.loads(doctor.stdout)["broken plugins"]) == named

    shown = pbench("show", "broken-model", cwd=tmp_path, **path)
    assert shown.returncode == 2 and "broken-thing 0.1" in shown.stderr and "Traceback" not in shown.stderr

    asked = pbench("run", "--models", "broken-model", cwd=tmp_path, **path)
    assert asked.returncode == 2 and "broken-model" in asked.stderr and "Traceback" not in asked.stderr

    report, code = run_json("--plugin", toy_plugin, "--dataset", "toy-screen", "--models", "add*", cwd=tmp_path, **path)
    assert (code, [job["model"] for job in report["jobs"]]) == (0, ["additive"])


def test_a_plugin_file_names_its_models_by_class_or_attribute(pbench, tmp_path):
    (tmp_path / "two.py").write_text(
        "from pbench.models.no_change import NoChange\n\n\nclass MyModel(NoChange):\n    '''Mine.'''\n\n\n"
        "class Other(NoChange):\n    name = 'named'\n"
    )
    listed = json.loads(pbench("list", "models", "--json", "--plugin", "two.py", cwd=tmp_path).stdout)["models"]
    mine = {e["name"]: e for e in listed if e["origin"] == "file two.py"}
    assert set(mine) == {"my-model", "named"}
    assert mine["my-model"]["summary"] == "Mine."
