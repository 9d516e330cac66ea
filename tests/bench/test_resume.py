"""What is done is done: interrupted runs go on, and a change recomputes exactly what it touches."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from toy_plugins import SLEEPERS


@pytest.fixture(scope="module")
def command(toy_plugin, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sleepers")
    (folder / "sleepers.py").write_text(SLEEPERS)
    (folder / "pids").mkdir()
    arguments = ["run", "--json", "--plugin", folder / "sleepers.py", "--plugin", toy_plugin, "--dataset", "toy-screen"]
    return folder, [*arguments, "--models", "m?", "--metrics", "headline", "-j", "2"]


def records(out):
    return {p.name: p.read_bytes() for p in (out / "records").glob("*.json")} if out.exists() else {}


def wait_for_records(process, out):
    for _ in range(600):
        if records(out):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("no record was written")


@pytest.fixture(scope="module")
def undisturbed(pbench, command):
    folder, arguments = command
    done = pbench(*arguments, "--out", folder / "undisturbed", cwd=folder, PIDS=str(folder / "pids"), NAP="0")
    assert done.returncode == 0, done.stderr
    return (folder / "undisturbed" / "leaderboard.md").read_bytes()


def resumed(pbench, command, out, before, undisturbed):
    folder, arguments = command
    done = pbench(*arguments, "--out", out, cwd=folder, PIDS=str(folder / "pids"), NAP="0")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["computed"], report["reused"]) == (6 - len(before), len(before))
    after = records(out)
    assert all(after[name] == before[name] for name in before)
    assert (out / "leaderboard.md").read_bytes() == undisturbed


def no_job_lives(alive, folder):
    for _ in range(100):
        if not [p for p in (folder / "pids").iterdir() if alive(int(p.name))]:
            return True
        time.sleep(0.05)
    return False


def test_a_killed_run_leaves_nothing_behind_and_goes_on(start_pbench, pbench, command, undisturbed, alive):
    folder, arguments = command
    out = folder / "killed"
    process = start_pbench(*arguments, "--out", out, cwd=folder, PIDS=str(folder / "pids"), NAP="1")
    wait_for_records(process, out)
    process.kill()
    process.communicate()
    assert no_job_lives(alive, folder)
    before = records(out)
    assert 0 < len(before) < 6
    # Longer than the nap of a job that would still be running.
    time.sleep(1.5)
    assert records(out) == before
    resumed(pbench, command, out, before, undisturbed)


def test_an_interrupted_run_says_so_and_goes_on(start_pbench, pbench, command, undisturbed, alive):
    folder, arguments = command
    out = folder / "interrupted"
    process = start_pbench(*arguments, "--out", out, cwd=folder, PIDS=str(folder / "pids"), NAP="1")
    wait_for_records(process, out)
    os.kill(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Interrupted. Finished jobs are kept" in stderr and "Traceback" not in stderr
    assert stdout == ""
    assert no_job_lives(alive, folder)
    before = records(out)
    assert 0 < len(before) < 6
    resumed(pbench, command, out, before, undisturbed)


def test_a_damaged_record_is_computed_again(pbench, command, undisturbed):
    folder, arguments = command
    out = folder / "undisturbed"
    rows = sorted((out / "records").glob("*.parquet"))
    rows[0].write_bytes(rows[0].read_bytes()[:100])
    rows[1].unlink()
    (out / "records" / f"{rows[2].name.split('.')[0]}.json").write_text("{")
    doctor = pbench("doctor", "--results", out, "--json", cwd=folder)
    assert doctor.returncode == 1
    assert len(json.loads(doctor.stdout)["damaged records"]) == 3
    done = pbench(*arguments, "--out", out, cwd=folder, PIDS=str(folder / "pids"), NAP="0")
    report = json.loads(done.stdout)
    assert (report["computed"], report["reused"]) == (3, 3)
    assert (out / "leaderboard.md").read_bytes() == undisturbed
    assert pbench("doctor", "--results", out, cwd=folder).returncode == 0


ONE = '''
"""A model."""
import os
from pbench import Capabilities, Model, Prediction


class NAME(Model):
    """Scales the mean shift."""

    name = "NAME"
    capabilities = Capabilities(unseen_targets=True)

    def __init__(self, *, factor=1.0):
        self.factor = factor

    def fit(self, data, *, seed):
        with open(os.environ["FITS"], "a") as log:
            log.write("NAME ")
        self.shift_ = data.mean_shift * self.factor
        return self

    def predict(self, conditions, controls):
        return Prediction(tuple(conditions), controls.control_mean(conditions) + self.shift_)
'''

METRIC = '''
import numpy as np
from pbench import MetricInfo, Values


def largest(comparison):
    """Largest error."""
    return Values.of(np.abs(comparison.predicted - comparison.expected).max(axis=1))


LARGEST = MetricInfo("largest-error", 1, "down", 0, np.inf, 0, largest, "Largest absolute error over genes.", headline=True)
'''


class Bench:
    """Two models and a metric in files that a test edits between runs."""

    def __init__(self, folder, run_json, toy_plugin):
        self.folder, self.run_json = folder, run_json
        self.write("one.py", ONE.replace("NAME", "one"))
        self.write("two.py", ONE.replace("NAME", "two"))
        self.write("metric.py", METRIC)
        self.toy_plugin = toy_plugin

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def edit(self, name, old, new):
        text = (self.folder / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def run(self, *more, models="one,two"):
        log = self.folder / "fits"
        log.write_text("")
        before = time.time()
        plugins = [a for file in ("one.py", "two.py", "metric.py", self.toy_plugin) for a in ("--plugin", file)]
        options = ["--dataset", "toy-screen", "--models", models, "--metrics", "largest-error,l2@all", "--out", "results"]
        report, code = self.run_json(*plugins, *options, *more, cwd=self.folder, FITS=str(log))
        assert code == 0, report
        rescored = sorted(card["model"] for card in report["jobs"] if card["rescored"] and card["started"] > before)
        return report["computed"], report["reused"], log.read_text().split(), rescored


def test_a_change_recomputes_exactly_what_it_touches(tmp_path, run_json, toy_plugin):
    bench = Bench(tmp_path, run_json, toy_plugin)
    computed, reused, fits, rescored = bench.run()
    assert (computed, reused, sorted(fits), rescored) == (2, 0, ["one", "two"], [])

    bench.edit("one.py", '"""A model."""', '"""Another docstring."""\n# and a comment')
    bench.edit("metric.py", '"""Largest error."""', '"""The largest error."""')
    assert bench.run() == (0, 2, [], [])

    bench.edit("one.py", "* self.factor", "* self.factor * 1.5")
    assert bench.run("--overwrite", "never") == (0, 1, [], [])
    bench.edit("metric.py", ".max(axis=1)", ".max(axis=1) + 1")
    assert bench.run() == (2, 0, ["one"], ["two"])

    assert bench.run(models="one[factor=2],two") == (1, 1, ["one"], [])

    bench.edit("metric.py", '"largest-error", 1,', '"largest-error", 2,')
    assert bench.run() == (2, 0, [], ["one", "two"])

    computed, reused, fits, rescored = bench.run("--overwrite", "always")
    assert (computed, reused, sorted(fits), rescored) == (2, 0, ["one", "two"], [])
