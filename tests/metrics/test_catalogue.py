"""The catalogue: ids, profiles, pages and facts that tables rely on."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pbench
from pbench.bench.cli.catalogue import pages
from pbench.bench.contracts.metric import NEEDS, Comparison, MetricInfo
from pbench.bench.contracts.registry import Registry
from pbench.metrics import CATALOGUE, FAMILIES, PROFILES

GRAMMAR = re.compile(
    r"[a-z0-9_]+(\.[a-z0-9_]+)?@(all|de20|de50|deg|expressed1000)(~(ctrl|pert|loo))?(#(cosine|l2|l1|score|cells|welch|pca))?"
)
#: Scores of latent variables read no genes.
OF_LATENTS = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")
DOCS = Path(pbench.__file__).parent / "docs" / "metrics"


def test_ids_follow_the_grammar_and_are_unique():
    every = [m.id for metrics in FAMILIES.values() for m in metrics]
    assert len(every) == len(set(every)) == len(CATALOGUE)
    for name, metric in CATALOGUE.items():
        assert (OF_LATENTS if metric.of_latents else GRAMMAR).fullmatch(name) and metric.id == name
        family, variant, genes, reference, representation = metric.parts.values()
        rebuilt = family + (f".{variant}" if variant else "") + (f"@{genes}" if genes else "")
        assert name == rebuilt + (f"~{reference}" if reference else "") + (f"#{representation}" if representation else "")


def test_profiles_name_metrics_that_exist():
    assert set(PROFILES) == {"headline", "full", "identifiability", "vcc", "gears", "perturbench", "legacy"}
    assert sorted(PROFILES["full"] + PROFILES["identifiability"]) == sorted(CATALOGUE)
    assert all(CATALOGUE[i].of_latents for i in PROFILES["identifiability"])
    assert not any(CATALOGUE[i].of_latents for name in set(PROFILES) - {"identifiability"} for i in PROFILES[name])
    for ids in PROFILES.values():
        assert ids and len(set(ids)) == len(ids) and set(ids) <= set(CATALOGUE)
    assert all(CATALOGUE[i].headline for i in PROFILES["headline"]) and "l2@all" in PROFILES["headline"]


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=list(CATALOGUE))
def test_facts_are_complete_and_fit_a_markdown_table(metric):
    for text in (metric.summary, metric.caveats, metric.reference):
        assert text and "|" not in text and "\n" not in text
    assert metric.summary.endswith(".") and metric.caveats.endswith(".")
    assert (
        metric.direction in ("up", "down", "target")
        and metric.level in ("perturbation", "dataset", "latent")
        and metric.version >= 1
    )
    assert metric.lower <= metric.perfect <= metric.upper
    assert set(metric.needs) <= set(NEEDS)


def test_the_pages_in_the_docs_are_those_of_the_catalogue():
    expected = pages(FAMILIES, PROFILES)
    assert {p.name for p in DOCS.glob("*.md")} == set(expected)
    for name, text in expected.items():
        assert (DOCS / name).read_text() == text, f"stale: type pbench list metrics --write {DOCS}"
    for family, metrics in FAMILIES.items():
        assert all(f"`{m.id}`" in expected[f"{family}.md"] for m in metrics)


def test_the_registry_finds_them():
    assert Registry("metric", "pbench.metrics").get("l2@all") is CATALOGUE["l2@all"]


def test_metrics_travel_to_another_process(random_screen):
    truth, predicted = random_screen(0)
    for metric in CATALOGUE.values():
        copy = pickle.loads(pickle.dumps(metric))
        here, there = metric(Comparison(truth, predicted)), copy(Comparison(truth, predicted))
        np.testing.assert_array_equal(here.value, there.value)


def test_what_a_metric_needs_and_is_not_there_is_its_reason(random_screen):
    truth, predicted = random_screen(0)
    for name, metric in CATALOGUE.items():
        values = metric(Comparison(truth, predicted))
        # The hand-made truth has no cells and the prediction neither cells nor variances.
        if missing := [NEEDS[n] for n in metric.needs if n not in ("means", "log1p")]:
            assert np.isnan(values.value).all() and set(values.reason) <= {missing[0]}, name
        n = {"perturbation": len(truth.conditions), "dataset": 1, "latent": 0}[metric.level]
        assert values.value.shape == values.reason.shape == (n,), name


def test_what_needs_logarithms_is_undefined_on_another_scale(random_screen):
    truth, predicted = random_screen(0)
    values = CATALOGUE["cosine_logfc@all~ctrl"](Comparison(replace(truth, scale="raw"), predicted))
    assert np.isnan(values.value).all() and set(values.reason) == {"wrong_scale"}
    assert {m.id for m in CATALOGUE.values() if "log1p" in m.needs} == {"cosine_logfc@all~ctrl", "library_size@all"}


def test_parts_of_an_id_without_the_grammar():
    metric = MetricInfo("my metric", 1, "up", 0, 1, 1, print, "x.")
    assert metric.parts["family"] == "my metric" and metric.parts["genes"] == ""


def test_import_loads_neither_scipy_nor_pandas():
    code = (
        "import sys, pbench.metrics; print([m for m in ('scipy', 'pandas', 'sklearn', 'anndata', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
