"""The same screen gives the same numbers however it lies in the file: format, order of genes, cells and labels, hash seed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import sparse

from pbench.bench.contracts import registry
from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.model import Capabilities, build
from pbench.bench.engine.answer import ask
from pbench.bench.engine.assemble import Assembly
from pbench.bench.engine.prepare import prepare
from pbench.bench.engine.score import evaluate
from pbench.bench.engine.toy import toy
from pbench.metrics import CATALOGUE as METRICS
from pbench.models import CATALOGUE as MODELS

CONTEXTS = ("K562", "RPE1")


def capabilities(name):
    return getattr(registry.models.get(name), "capabilities", Capabilities())


DETERMINISTIC = tuple(n for n, value in MODELS.items() if len(value) == 2 and not capabilities(n).stochastic)


@pytest.fixture
def scores(make_dataset, tmp_path_factory, monkeypatch):
    """Values of every deterministic model and metric by (model, metric, condition), through all of the engine."""

    def compute(screen, split="doubles"):
        monkeypatch.setenv("PBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        manifest = registry.splits.get(split)(screen, data_id="same")[0]
        assembly = Assembly(prepare(make_dataset(screen, "same"), data_id="same", cells=True), manifest)
        assembly.write_cell_truth(folder := tmp_path_factory.mktemp("truth") / "cells")
        truth, found, metrics = assembly.truth(folder), {}, [m for m in METRICS.values() if not m.of_latents]
        table = toy(Capabilities(resources=("any",))).data.resources["any"]
        for name in DETERMINISTIC:
            declared = capabilities(name)
            model = build(registry.models.get(name), {}, name=name)
            data = assembly.training(dict.fromkeys(declared.resources, table), cells=declared.needs_cells)
            answer = ask(model, data, truth, seed=0)
            against = truth.against(getattr(model, "scored_against", "all"))
            for metric, values in evaluate(metrics, against, answer).items():
                keys = [c.key for c in truth.conditions] if len(values.value) == len(truth.conditions) else ["*"]
                assert not any(str(r).startswith("metric failed") for r in values.reason), (name, metric, values.reason[0])
                found |= {(name, metric, key): float(v) for key, v in zip(keys, values.value, strict=True)}
        return found

    return compute


def assert_same(a, b):
    assert a.keys() == b.keys()
    keys = list(a)
    left, right = np.array([a[k] for k in keys]), np.array([b[k] for k in keys])
    different = ~np.isclose(left, right, rtol=1e-6, atol=1e-6, equal_nan=True)
    assert not different.any(), [(keys[i], left[i], right[i]) for i in np.flatnonzero(different)[:5]]


@pytest.fixture
def original(make_screen, scores):
    return scores(make_screen(contexts=CONTEXTS))


def test_every_model_has_a_number(original):
    defined = {name for (name, _, _), value in original.items() if not np.isnan(value)}
    assert {"additive", "no-change", "oracle-mean", "technical-duplicate"} <= defined
    assert len(defined) >= len(DETERMINISTIC) - 2


@pytest.mark.parametrize(
    "kind", [sparse.csc_matrix, np.asarray, np.asfortranarray, lambda X: sparse.csr_matrix(X, dtype=np.float64)]
)
def test_the_format_of_the_matrix_does_not_matter(original, scores, make_screen, kind):
    assert_same(original, scores(make_screen(contexts=CONTEXTS, kind=kind)))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_cells_and_genes_does_not_matter(original, scores, make_screen, seed):
    rng = np.random.default_rng(seed)
    assert_same(original, scores(make_screen(contexts=CONTEXTS, order=rng.permutation(840), genes=rng.permutation(60))))


def test_the_type_and_order_of_labels_do_not_matter(original, scores, make_screen):
    import pandas as pd

    screen = make_screen(contexts=CONTEXTS)
    labels = screen.adata.obs["perturbation"].astype(str)
    backwards = sorted(set(labels), reverse=True)
    screen.adata.obs["perturbation"] = pd.Categorical(labels, categories=backwards, ordered=True)
    fresh = type(screen)(screen.adata, screen.card)
    assert fresh.conditions == make_screen(contexts=CONTEXTS).conditions
    assert_same(original, scores(fresh))


def test_targets_in_another_order_are_the_same_condition(original, scores, make_screen):
    screen = make_screen(contexts=CONTEXTS)
    screen.adata.obs["perturbation"] = ["+".join(reversed(str(x).split("+"))) for x in screen.adata.obs["perturbation"]]
    fresh = type(screen)(screen.adata, screen.card)
    assert Condition(("G00", "G01"), context="K562") in fresh.conditions
    assert_same(original, scores(fresh))


def test_counts_and_their_logs_agree(scores, make_screen):
    # float32 logs in the file carry their rounding through ratios of small differences.
    from_counts, from_logs = (scores(make_screen(scale=s)) for s in ("counts", "log1p_1e4"))
    keys = [k for k in from_counts if k[1].startswith(("mse", "l2", "mae", "rmse")) and k[0] == "additive"]
    assert keys
    np.testing.assert_allclose([from_counts[k] for k in keys], [from_logs[k] for k in keys], rtol=1e-4)


def test_python_hash_seeds_do_not_matter(pbench, toy_plugin, tmp_path):
    texts = []
    models = "additive,no-change,nearest,matching-mean,oracle-mean,shuffled"
    for seed in "012":
        done = pbench(
            *("run", "--plugin", toy_plugin, "--dataset", "toy-screen", "--models", models, "--out", f"results{seed}", "--json"),
            cwd=tmp_path,
            cache=tmp_path / f"cache{seed}",
            PYTHONHASHSEED=seed,
        )
        assert done.returncode == 0, done.stderr
        ids = [job["score_id"] for job in json.loads(done.stdout)["jobs"]]
        texts.append(((tmp_path / f"results{seed}" / "leaderboard.md").read_text(), ids))
    assert texts[0] == texts[1] == texts[2]
