"""From answers to records: values on the second halves, metrics that fail, and cells whatever an earlier run has left behind."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pbench.bench.contracts import registry
from pbench.bench.contracts.errors import InvalidPrediction
from pbench.bench.contracts.metric import MetricInfo, Values
from pbench.bench.engine.answer import ask
from pbench.bench.engine.assemble import Assembly, de_order
from pbench.bench.engine.plan import scoring_id
from pbench.bench.engine.prepare import prepare
from pbench.bench.engine.score import evaluate, failures
from pbench.models.additive import Additive

TOY = ("run", "--dataset", "toy-screen", "--json")
CONTROLS = ("technical-duplicate", "interpolated-duplicate", "train-mean", "no-change", "shuffled")


def records(folder):
    import pandas as pd

    return pd.read_parquet(folder / "results" / "records.parquet")


@pytest.fixture(scope="module")
def run_with_controls(pbench, toy_plugin, tmp_path_factory):
    folder = tmp_path_factory.mktemp("halves")
    metrics = "l2@all,rmse@all,energy@all#pca,variance_spearman@all"
    done = pbench(*TOY, "--plugin", toy_plugin, "--models", "additive", "--controls", "--metrics", metrics, cwd=folder)
    assert done.returncode == 0, done.stderr
    return records(folder)


def test_controls_are_also_scored_on_the_second_halves(run_with_controls):
    table = run_with_controls
    for model in ("technical-duplicate", "interpolated-duplicate"):
        own = table[table["model"] == model]
        assert own["half_value"].equals(own["value"]) and own["value"].notna().any()
    for model in ("train-mean", "no-change", "shuffled"):
        own = table[table["model"] == model]
        assert (own["half_value"].notna() == own["value"].notna()).all()
        errors = own[own["metric"] == "rmse@all"]
        # Half of the cells have more noise, so every error is larger against them, if only a little.
        assert (errors["half_value"] != errors["value"]).all()
    additive = table[table["model"] == "additive"].set_index("metric")["half_value"]
    assert additive["l2@all"].notna().all() and additive["rmse@all"].isna().all()


def test_values_on_the_halves_are_those_of_the_half_truth(make_screen, make_dataset, fresh_cache):
    screen = make_screen()
    manifest = registry.splits.get("doubles")(screen, data_id="toy")[0]
    assembly = Assembly(prepare(make_dataset(screen, "toy"), data_id="toy", cells=True), manifest)
    truth = assembly.truth()
    half = truth.against("half")
    order = de_order(truth.halves[1], truth.controls, truth.control_rows, truth.target_genes)
    np.testing.assert_array_equal(half.de_order, order)
    assert not np.array_equal(order, truth.de_order)
    answer = ask(Additive(), assembly.training({}, cells=False), truth, seed=0)
    mse = registry.metrics.get("mse@de20")
    for i in range(len(truth.conditions)):
        top = order[i, :20]
        expected = np.mean((answer.mean[i, top] - truth.halves[1].mean[i, top]) ** 2)
        np.testing.assert_allclose(evaluate([mse], half, answer)["mse@de20"].value[i], expected, rtol=1e-5)


def test_cells_do_not_depend_on_what_earlier_runs_have_prepared(pbench, toy_plugin, tmp_path):
    """An answer that was archived when no cells were prepared used to stay without cells for ever."""
    first = (*TOY, "--plugin", toy_plugin, "--models", "additive", "--controls")
    cache = tmp_path / "cache"
    for metrics in ("mse@de20", "mse@de20,energy@all#pca"):
        assert pbench(*first, "--metrics", metrics, cwd=tmp_path, cache=cache).returncode == 0
    table = records(tmp_path)
    energy = table[table["metric"] == "energy@all#pca"].set_index("model")["value"]
    for model in ("technical-duplicate", "no-change", "shuffled"):
        assert energy[model].notna().all(), model
    (tmp_path / "fresh").mkdir()
    done = pbench(*first, "--metrics", "mse@de20,energy@all#pca", cwd=tmp_path / "fresh", cache=tmp_path / "other-cache")
    assert done.returncode == 0
    fresh = records(tmp_path / "fresh")
    keys = ["model", "metric", "condition"]
    a, b = (t.sort_values(keys).reset_index(drop=True)[[*keys, "value", "half_value"]] for t in (table, fresh))
    assert a.equals(b)


FAILING = """
import numpy as np
from pathlib import Path
from pbench.bench.contracts.metric import MetricInfo, Values


def fragile(comparison):
    if not Path("mended").exists():
        raise ValueError("not today")
    return Values.of(np.zeros(len(comparison.truth.conditions)))


FRAGILE = MetricInfo("fragile@all", 1, "down", 0, 1, 0, fragile, "Fails until it is mended.")
"""


def test_a_metric_that_failed_is_named_and_tried_again(pbench, toy_plugin, tmp_path):
    (tmp_path / "fragile.py").write_text(FAILING)
    asked = (*TOY, "--plugin", toy_plugin, "--plugin", "fragile.py", "--models", "additive", "--metrics", "mse@de20,fragile@all")
    done = pbench(*asked, cwd=tmp_path)
    report = json.loads(done.stdout)
    assert (done.returncode, report["failed"], report["computed"]) == (1, 1, 1)
    assert report["jobs"][0]["metrics_failed"] == {"fragile@all": "ValueError: not today"}
    assert records(tmp_path).set_index("metric")["value"]["mse@de20"].notna().all()
    (tmp_path / "mended").touch()
    again = pbench(*asked, cwd=tmp_path)
    report = json.loads(again.stdout)
    assert (again.returncode, report["computed"], report["reused"]) == (0, 1, 0)
    assert (records(tmp_path).set_index("metric")["value"]["fragile@all"] == 0).all()


def raising(error):
    def function(comparison):
        raise error

    return MetricInfo("raising@all", 1, "down", 0, 1, 0, function, "Raises.")


@pytest.mark.parametrize("error", [MemoryError("full"), InvalidPrediction("NaN in cells")])
def test_what_is_no_fault_of_a_metric_ends_the_job(make_screen, make_dataset, fresh_cache, error):
    screen = make_screen()
    manifest = registry.splits.get("doubles")(screen, data_id="toy")[0]
    assembly = Assembly(prepare(make_dataset(screen, "toy"), data_id="toy", cells=True), manifest)
    truth = assembly.truth()
    answer = ask(Additive(), assembly.training({}, cells=False), truth, seed=0)
    with pytest.raises(type(error)):
        evaluate([raising(error)], truth, answer)
    values = evaluate([raising(ValueError("odd")), registry.metrics.get("mse@all")], truth, answer)
    assert failures(values) == {"raising@all": "ValueError: odd"}


def test_what_a_metric_needs_is_part_of_the_identity_of_scores():
    def same(comparison):
        return Values.of(np.zeros(1))

    def metric(**facts):
        return MetricInfo("m@all", 1, "down", 0, 1, 0, same, "m.", **facts)

    ids = {scoring_id("job", [metric(**f)]) for f in ({}, {"needs": ("cells",)}, {"level": "dataset"}, {"headline": True})}
    assert len(ids) == 4
