"""The catalogue: ids, profiles and facts that tables rely on."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys

import numpy as np

from pbench.bench.contracts.registry import Registry
from pbench.metrics import CATALOGUE, PROFILES

GRAMMAR = re.compile(r"[a-z0-9_]+(\.[a-z]+)?@(all|de20|de50)(~(ctrl|pert|loo))?(#(cosine|l2|l1))?")


def test_ids_follow_the_grammar_and_families_keep_their_order():
    assert all(GRAMMAR.fullmatch(name) and CATALOGUE[name].id == name for name in CATALOGUE)
    kinds = ["retrieval" if n.startswith("retrieval") else "delta" if "~" in n else "pointwise" for n in CATALOGUE]
    assert [k for i, k in enumerate(kinds) if i == 0 or kinds[i - 1] != k] == ["pointwise", "delta", "retrieval"]
    assert (kinds.count("pointwise"), kinds.count("delta"), kinds.count("retrieval")) == (12, 29, 6)


def test_profiles():
    assert set(PROFILES["headline"]) == {
        "mse@de20",
        "l2@all",
        "pearson_delta@all~ctrl",
        "pearson_delta@de20~pert",
        "retrieval.truths@all~ctrl#cosine",
        "magnitude_ratio@all~ctrl",
    }
    assert PROFILES["full"] == tuple(CATALOGUE)


def test_facts_are_complete_and_fit_a_markdown_table():
    for metric in CATALOGUE.values():
        assert metric.summary and metric.reference and "|" not in metric.summary + metric.reference
        assert "\n" not in metric.summary and metric.summary.endswith(".")
        assert metric.direction in ("up", "down", "target") and metric.version == 1
        assert metric.lower <= metric.perfect <= metric.upper
    assert CATALOGUE["magnitude_ratio@all~ctrl"].direction == "target"


def test_the_registry_finds_them():
    assert Registry("metric", "pbench.metrics").get("l2@all") is CATALOGUE["l2@all"]


def test_metrics_travel_to_another_process(random_screen, score):
    truth, predicted = random_screen(0)
    for name, metric in CATALOGUE.items():
        copy = pickle.loads(pickle.dumps(metric))
        assert copy.function.keywords.keys() == metric.function.keywords.keys()
        assert np.isfinite(score(name, truth, predicted).value).all()


def test_import_loads_neither_scipy_nor_pandas():
    code = "import sys, pbench.metrics; print([m for m in ('scipy', 'pandas', 'sklearn', 'anndata') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
