"""Models that misbehave in every way become rows with a reason; the good ones have values."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from pbench.bench.engine.store import Store

MODELS = '''
import os
import signal
import sys
import time

import numpy as np

from pbench import Capabilities, Model, Prediction, TrainingFailed


class Good(Model):
    """Predicts the control mean."""

    name = "good"
    capabilities = Capabilities(unseen_targets=True)

    def fit(self, data, *, seed):
        self.base_ = data.controls
        return self

    def diagnostics(self):
        return {"epochs": 7}

    def predict(self, conditions, controls):
        return Prediction(tuple(conditions), controls.control_mean(conditions))


class Raises(Good):
    name = "raises"

    def fit(self, data, *, seed):
        raise RuntimeError("a reason with a | pipe")


class Nan(Good):
    name = "nan"

    def predict(self, conditions, controls):
        return Prediction(tuple(conditions), controls.control_mean(conditions) * np.nan)


class WrongGenes(Good):
    name = "wrong-genes"

    def predict(self, conditions, controls):
        return Prediction(tuple(conditions), controls.control_mean(conditions)[:, 1:])


class Wordy(Good):
    name = "wordy"

    def fit(self, data, *, seed):
        raise ValueError("so it goes " * 5000)


class Choosy(Good):
    """Leaves out a condition, and says why at length."""

    name = "choosy"

    def predict(self, conditions, controls):
        first, *others = conditions
        return Prediction(tuple(others), controls.control_mean(others), absent={first: "because " * 5000})


class TooFewRows(Good):
    name = "too-few-rows"

    def predict(self, conditions, controls):
        return Prediction(tuple(conditions), controls.control_mean(conditions)[1:])


class Greedy(Good):
    name = "greedy"

    def fit(self, data, *, seed):
        self.much_ = np.ones(2**29)
        return super().fit(data, seed=seed)


class Slow(Good):
    name = "slow"

    def fit(self, data, *, seed):
        time.sleep(600)


class Suicidal(Good):
    name = "suicidal"

    def fit(self, data, *, seed):
        os.kill(os.getpid(), signal.SIGKILL)


class Quits(Good):
    name = "quits"

    def fit(self, data, *, seed):
        os._exit(3)


class Diverges(Good):
    name = "diverges"

    def fit(self, data, *, seed):
        raise TrainingFailed("the loss became nan in epoch 3.", {"layer.weight": np.arange(6.0).reshape(2, 3)})


class Chatty(Good):
    name = "chatty"

    def fit(self, data, *, seed):
        print("noise")
        os.write(1, b"noise")
        print("to the log", file=sys.stderr)
        return super().fit(data, seed=seed)
'''

EXPECTED = {
    "raises": ("failed", "RuntimeError: a reason with a"),
    "wordy": ("failed", "ValueError: so it goes so it goes"),
    "nan": ("invalid", "NaN"),
    "wrong-genes": ("invalid", "59 genes; the screen has 60"),
    "too-few-rows": ("invalid", "shape"),
    "greedy": ("out_of_memory", "1500 MB"),
    "slow": ("timeout", "time limit of 6 s"),
    "suicidal": ("killed", "signal 9"),
    "quits": ("killed", "exit code 3"),
    "diverges": ("failed", "the loss became nan in epoch 3. They lie in"),
}


@pytest.fixture(scope="module")
def finished(pbench, toy_plugin, tmp_path_factory):
    folder = tmp_path_factory.mktemp("failures")
    (folder / "bad_models.py").write_text(MODELS)
    return folder, pbench(
        *("run", "--json", "--plugin", "bad_models.py", "--plugin", toy_plugin, "--dataset", "toy-screen", "--out", "results"),
        *(
            "--models",
            ",".join(["good", "chatty", "choosy", *EXPECTED]),
            "--metrics",
            "headline",
            "--timeout",
            "6",
            "--memory",
            "1500",
            "-j",
            "2",
        ),
        cwd=folder,
    )


def test_the_run_ends_with_1_and_one_json_object(finished):
    _, done = finished
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert (report["computed"], report["failed"]) == (3 + len(EXPECTED), len(EXPECTED))


def test_every_bad_model_is_recorded_with_its_reason(finished):
    _, done = finished
    found = {card["model"]: (card["status"], card.get("reason", "")) for card in json.loads(done.stdout)["jobs"]}
    assert found.keys() == {"good", "chatty", "choosy", *EXPECTED}
    for model, (status, reason) in EXPECTED.items():
        assert found[model][0] == status, model
        assert reason in found[model][1], model
    assert found["good"][0] == found["chatty"][0] == found["choosy"][0] == "ok"


def test_every_bad_model_is_a_row_with_a_reason_and_the_good_ones_have_values(finished):
    folder, _ = finished
    text = (folder / "results" / "leaderboard.md").read_text()
    ranked, _, without = text.partition("### Without a result")
    # Without the controls nothing is known of the metrics, and nothing ranks.
    assert re.search(r"^\| – +\| good +\|", ranked, re.M)
    assert re.search(r"^\| – +\| chatty +\|", ranked, re.M)
    for model, (status, reason) in EXPECTED.items():
        (row,) = [line for line in without.splitlines() if line.startswith(f"| {model} ")]
        assert status.replace("_", " ") in row and reason in row
        assert not re.search(rf"^\| \S+ +\| {model} ", ranked, re.M)


def test_the_traceback_is_kept_in_the_record(finished):
    folder, _ = finished
    cards = [json.loads(p.read_text()) for p in (folder / "results" / "records").glob("*.json")]
    (card,) = [c for c in cards if c["model"] == "raises"]
    assert "bad_models.py" in card["traceback"]


def test_the_last_good_weights_remain_where_training_broke_off(finished):
    _, done = finished
    (card,) = [c for c in json.loads(done.stdout)["jobs"] if c["model"] == "diverges"]
    path = card["reason"].rpartition(" in ")[2].rstrip(".")
    with np.load(path, allow_pickle=False) as weights:
        np.testing.assert_array_equal(weights["layer.weight"], np.arange(6.0).reshape(2, 3))


def test_what_a_model_says_of_its_training_is_on_the_card(finished):
    _, done = finished
    (card,) = [c for c in json.loads(done.stdout)["jobs"] if c["model"] == "good"]
    assert card["diagnostics"] == {"epochs": 7}


def test_a_reason_of_any_length_leaves_a_record_that_is_read(finished):
    folder, _ = finished
    store = Store(folder / "results")
    assert store.damaged() == []
    (card,) = [c for c in store.cards() if c["model"] == "choosy"]
    assert [why[:8] for why in card["absent"].values()] == ["because "]


def test_failures_are_tried_again_and_results_are_not(finished, pbench, toy_plugin):
    folder, _ = finished
    again = pbench(
        *("run", "--json", "--plugin", "bad_models.py", "--plugin", toy_plugin, "--dataset", "toy-screen", "--out", "results"),
        *("--models", "good,nan,raises", "--metrics", "headline"),
        cwd=folder,
    )
    report = json.loads(again.stdout)
    assert (report["computed"], report["reused"], report["failed"], again.returncode) == (2, 1, 2, 1)


CRASHING = """
import os
import signal

from pbench import DatasetCard
from pbench.bench.contracts.screen import Dataset

CARD = DatasetCard(name="crash", title="t", source="s", licence="l", scale="counts", control_label="control")
CRASH = Dataset(CARD, data_id=lambda: "0" * 64, load=lambda: os.kill(os.getpid(), signal.SIGSEGV))
"""


def test_data_that_crash_their_reader_end_as_a_data_error(pbench, tmp_path):
    (tmp_path / "crashing.py").write_text(CRASHING)
    done = pbench("run", "--plugin", "crashing.py", "--dataset", "crash", "--out", "results", cwd=tmp_path)
    assert done.returncode == 3 and "Traceback" not in done.stderr
    assert "'crash'" in done.stderr and "signal 11" in done.stderr and "fetch or copy it again" in done.stderr
